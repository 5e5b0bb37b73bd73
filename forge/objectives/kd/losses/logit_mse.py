"""Mean squared difference of logits."""

from __future__ import annotations

import torch

from forge.objectives.kd.losses._numeric import fp32, require_same_shape


def logit_mse(student_NC: torch.Tensor, teacher_NC: torch.Tensor, *, center: bool = True) -> torch.Tensor:
    """loss_N = 1/C · Σ_c (z^s(c) − z^t(c))², in squared logits, from 0 to ∞.

    Ba & Caruana 2014, arXiv 1312.6184, eq. 1. With `center` each row of logits first loses its mean: softmax ignores a
    constant offset, the plain square does not. Half of the centred loss is the limit of the forward KL as T → ∞
    (Hinton et al. 2015, arXiv 1503.02531, eq. 4). Any leading dimensions. Logits are finite.
    """
    require_same_shape(student_NC, teacher_NC)
    difference_NC = fp32(student_NC) - fp32(teacher_NC)
    if center:  # the mean square of centred values is their variance, one pass
        return difference_NC.var(-1, correction=0)
    return difference_NC.square().mean(-1)
