"""Linear centred kernel alignment."""

from __future__ import annotations

import torch

from forge.objectives.kd.losses._numeric import fp32, full_precision


def linear_cka(student_ND: torch.Tensor, teacher_NE: torch.Tensor, mask_N: torch.Tensor) -> torch.Tensor:
    """Loss = 1 − ‖XᵀY‖²_F / (‖XᵀX‖_F · ‖YᵀY‖_F), a scalar from 0 to 1 without unit.

    Kornblith et al. 2019, arXiv 1905.00414, §3, linear CKA; X_ND and Y_NE are the rows where `mask_N` is true, less
    their mean. Blind to rotation, to one common scale and to widths, so it needs no projection. With fewer than two
    rows it is 0; where one side does not vary it is 1, in both cases without gradient. It is a statistic of the whole
    set of rows: losses of parts do not add up to it, and with far fewer rows than D it is near 0 for anything.
    """
    rows, student_width, teacher_width = student_ND.shape[0], student_ND.shape[1], teacher_NE.shape[1]
    mask_N1, count = mask_N[:, None], mask_N.sum()
    x_ND, y_NE = _centred(student_ND, mask_N1, count), _centred(teacher_NE, mask_N1, count)
    with full_precision(student_ND):
        if rows * (student_width + teacher_width) < (
            student_width**2 + teacher_width**2 + student_width * teacher_width
        ):  # fewer products through matrices of rows by rows: ‖XᵀY‖² = ⟨XXᵀ, YYᵀ⟩
            own, other = x_ND @ x_ND.T, y_NE @ y_NE.T
            shared = (own * other).sum()
        else:
            own, other = x_ND.T @ x_ND, y_NE.T @ y_NE
            shared = (x_ND.T @ y_NE).square().sum()
    scale = own.norm() * other.norm()
    varies = scale > 0
    similarity = torch.where(varies, shared / torch.where(varies, scale, 1.0), 0.0)
    return torch.where(count > 1, 1.0 - similarity, 0.0)


def _centred(rows_ND: torch.Tensor, mask_N1: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """Valid rows less their mean, 0 elsewhere."""
    valid_ND = torch.where(mask_N1, fp32(rows_ND), 0.0)
    return torch.where(mask_N1, valid_ND - valid_ND.sum(0) / count.clamp(min=1), 0.0)
