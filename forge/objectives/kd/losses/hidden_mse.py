"""Mean squared difference of hidden states."""

from __future__ import annotations

import torch

from forge.objectives.kd.losses._numeric import fp32, require_same_shape


def hidden_mse(student_BLD: torch.Tensor, teacher_BLD: torch.Tensor) -> torch.Tensor:
    """loss_BL = 1/D · Σ_d (h^s(d) − h^t(d))², in squared activations, from 0 to ∞.

    Romero et al. 2015 (FitNets), arXiv 1412.6550, eq. 3, and Jiao et al. 2020 (TinyBERT), arXiv 1909.10351, eq. 8, for
    one pair of layers. One value per token: which tokens count, and the mean over them, are the caller's. Leaves out
    the projection of the student to the teacher's width.
    """
    require_same_shape(student_BLD, teacher_BLD)
    return (fp32(student_BLD) - fp32(teacher_BLD)).square().mean(-1)
