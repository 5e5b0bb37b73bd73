"""Universal logit distillation: two vocabularies compared by rank."""

from __future__ import annotations

import torch

from forge.objectives.kd.losses._numeric import scaled


def uld(student_NC: torch.Tensor, teacher_NV: torch.Tensor, *, temperature: float = 1.0) -> torch.Tensor:
    """loss_N = Σ_r |p_(r) − q_(r)| over ranks r, a difference of probabilities, from 0 to 2.

    Boizard et al. 2024, arXiv 2402.12030, §3: p_(r) and q_(r) are the r-th largest of softmax(teacher / T) and
    softmax(student / T); the smaller vocabulary is padded with zeros. No T²: gradients of probabilities shrink as 1/T.
    Any leading dimensions, the same on both sides. Leaves out which class a probability belongs to, and how positions
    of two tokenizations are matched.
    """
    if student_NC.shape[:-1] != teacher_NV.shape[:-1]:
        raise ValueError(f"student is {tuple(student_NC.shape)}, teacher is {tuple(teacher_NV.shape)}: rows must agree")
    q_NC = scaled(student_NC, temperature).softmax(-1).sort(dim=-1, descending=True).values
    p_NV = scaled(teacher_NV, temperature).softmax(-1).sort(dim=-1, descending=True).values
    shared = min(q_NC.shape[-1], p_NV.shape[-1])
    ranked_N = (p_NV[..., :shared] - q_NC[..., :shared]).abs().sum(-1)
    return ranked_N + p_NV[..., shared:].sum(-1) + q_NC[..., shared:].sum(-1)
