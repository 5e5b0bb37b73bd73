"""Cosine distance of hidden states."""

from __future__ import annotations

import torch

from forge.objectives.kd.losses._numeric import fp32, require_same_shape

_SMALLEST = 1e-12
"""A vector shorter than this has no direction: cosine 0 and no gradient, in place of 0 / 0."""


def cosine(student_BLD: torch.Tensor, teacher_BLD: torch.Tensor) -> torch.Tensor:
    """loss_BL = 1 − cos(h^s, h^t), from 0 to 2 without unit.

    The alignment term of Sanh et al. 2019 (DistilBERT), arXiv 1910.01108, §3, for one pair of layers; the squared
    distance of unit vectors (PKD, arXiv 1908.09355, eq. 7) is twice this. One value per token: which tokens count, and
    the mean over them, are the caller's. Leaves out lengths, and the projection to the teacher's width.
    """
    require_same_shape(student_BLD, teacher_BLD)
    student_BLD, teacher_BLD = fp32(student_BLD), fp32(teacher_BLD)
    norm_BL, teacher_norm_BL1 = student_BLD.norm(dim=-1), teacher_BLD.norm(dim=-1, keepdim=True)
    unit_BLD = teacher_BLD / teacher_norm_BL1.clamp(min=_SMALLEST)
    long_BL = norm_BL > _SMALLEST
    # The divisor is replaced before the division: a gradient of 0 · ∞ would be NaN after it.
    cosine_BL = (student_BLD * unit_BLD).sum(-1) / torch.where(long_BL, norm_BL, 1.0)
    return 1.0 - torch.where(long_BL, cosine_BL, 0.0)
