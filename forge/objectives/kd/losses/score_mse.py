"""Squared difference of attention scores before the softmax."""

from __future__ import annotations

import torch

from forge.objectives.kd.losses._numeric import fp32, require_same_shape


def score_mse(
    student_BHQK: torch.Tensor,
    teacher_BHQK: torch.Tensor,
    mask_BQK: torch.Tensor,
    *,
    center: bool = False,
    average_heads: bool = False,
) -> torch.Tensor:
    """loss_BQ = 1/H · Σ_h Σ_{k valid} (S^s_hqk − S^t_hqk)², in squared scores, from 0 to ∞.

    Jiao et al. 2020 (TinyBERT), arXiv 1909.10351, eq. 7, for one pair of layers; S = Q · Kᵀ / √d before mask and
    softmax. Divide the sum over queries by the number of true entries of `mask_BQK`, which says what query may see
    what key: a query without any gives 0. With `center` each row first loses its mean over valid keys, an offset that
    softmax ignores. With `average_heads` scores are first averaged over heads, whose numbers may then differ.
    """
    student_BHQK, teacher_BHQK = fp32(student_BHQK), fp32(teacher_BHQK)
    if average_heads:
        student_BHQK, teacher_BHQK = student_BHQK.mean(1, keepdim=True), teacher_BHQK.mean(1, keepdim=True)
    require_same_shape(student_BHQK, teacher_BHQK)
    mask_B1QK = mask_BQK[:, None]
    difference_BHQK = torch.where(mask_B1QK, student_BHQK - teacher_BHQK, 0.0)
    if center:
        keys_B1Q1 = mask_B1QK.sum(-1, keepdim=True).clamp(min=1)
        mean_BHQ1 = difference_BHQK.sum(-1, keepdim=True) / keys_B1Q1
        difference_BHQK = torch.where(mask_B1QK, difference_BHQK - mean_BHQ1, 0.0)
    return difference_BHQK.square().sum((1, 3)) / difference_BHQK.shape[1]
