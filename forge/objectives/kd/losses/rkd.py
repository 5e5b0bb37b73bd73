"""Relational knowledge distillation."""

from __future__ import annotations

import torch
from torch.nn import functional

from forge.objectives.kd.losses._numeric import fp32, full_precision


def rkd(
    student_ND: torch.Tensor,
    teacher_NE: torch.Tensor,
    mask_N: torch.Tensor,
    *,
    distance_weight: float = 25.0,
    angle_weight: float = 50.0,
    max_rows: int = 64,
) -> torch.Tensor:
    """Loss = w_d · 1/n² · Σ_ij ℓ(ψ^t_ij, ψ^s_ij) + w_a · 1/n³ · Σ_ijk ℓ(φ^t_ijk, φ^s_ijk), from 0 to ∞ without unit.

    Park et al. 2019, arXiv 1904.05068, §3.2: ψ_ij = ‖x_i − x_j‖ / its mean over pairs that differ, φ_ijk = the
    cosine of the angle at x_j between x_i and x_k, ℓ = smooth-L1 with threshold 1, n = number of rows where `mask_N` is
    true. Sums run over all i, j, k, as in the authors' code. Rows that coincide have distance 0, angle 0 and no
    gradient. Angles take n³ values, hence only the first `max_rows` valid rows count. Blind to rotation and to one
    common scale, so it needs no projection. Losses of parts do not add up to that of the whole.
    """
    if student_ND.shape[0] > max_rows:
        first_N = torch.sort(mask_N, descending=True, stable=True).indices[:max_rows]
        student_ND, teacher_NE, mask_N = student_ND[first_N], teacher_NE[first_N], mask_N[first_N]
    pairs_NN, count = mask_N[:, None] & mask_N[None], mask_N.sum().clamp(min=1)
    (distance_NN, unit_NND), (teacher_NN, teacher_NNE) = _pairs(student_ND, pairs_NN), _pairs(teacher_NE, pairs_NN)
    loss = distance_weight * functional.smooth_l1_loss(distance_NN, teacher_NN, reduction="sum") / count**2
    if angle_weight:
        with full_precision(student_ND):
            cosine_NNN, teacher_NNN = unit_NND @ unit_NND.mT, teacher_NNE @ teacher_NNE.mT
        loss = loss + angle_weight * functional.smooth_l1_loss(cosine_NNN, teacher_NNN, reduction="sum") / count**3
    return loss


def _pairs(rows_ND: torch.Tensor, pairs_NN: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Distances over their mean, and unit vectors between rows; 0 for pairs that coincide or do not count."""
    difference_NND = torch.where(pairs_NN[..., None], fp32(rows_ND)[:, None] - fp32(rows_ND)[None], 0.0)
    distance_NN = difference_NND.norm(dim=-1)
    apart_NN = distance_NN > 0
    mean = distance_NN.sum() / apart_NN.sum().clamp(min=1)
    unit_NND = difference_NND / torch.where(apart_NN, distance_NN, 1.0)[..., None]
    return distance_NN / torch.where(mean > 0, mean, 1.0), unit_NND
