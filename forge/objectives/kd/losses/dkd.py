"""Decoupled knowledge distillation."""

from __future__ import annotations

import torch
from torch.nn import functional

from forge.objectives.kd.losses._numeric import FLOOR, kl, require_same_shape, scaled
from forge.tasks.base import IGNORED_LABEL


def dkd(
    student_NC: torch.Tensor,
    teacher_NC: torch.Tensor,
    labels_N: torch.Tensor,
    *,
    temperature: float = 1.0,
    target_weight: float = 1.0,
    other_weight: float = 8.0,
) -> torch.Tensor:
    """loss_N = T² · [α · KL(b^t ‖ b^s) + β · KL(p̂^t ‖ p̂^s)], in nats · T², from 0 to ∞.

    Zhao et al. 2022, arXiv 2203.08679, eq. 7: b = (p_y, 1 − p_y) for the label y, p̂ = softmax over the classes other
    than y, α = target_weight, β = other_weight. With α = 1 and β = 1 − p_y it is the forward KL. The second term is 0
    with two classes. Rows labelled IGNORED_LABEL give 0, whatever their logits. Any leading dimensions. Leaves out the
    cross-entropy against labels and the paper's warm-up of β. A teacher may hold −∞ for classes it excludes;
    the student is finite.
    """
    require_same_shape(student_NC, teacher_NC)
    valid_N = labels_N != IGNORED_LABEL
    valid_N1, label_N1 = valid_N[..., None], torch.where(valid_N, labels_N, 0)[..., None]
    student = _parts(torch.where(valid_N1, scaled(student_NC, temperature), 0.0), label_N1)
    # Above FLOOR, so that a one-hot teacher leaves the other classes equal and the label's slot empty.
    teacher = _parts(torch.where(valid_N1, scaled(teacher_NC, temperature), 0.0).clamp(min=FLOOR / 2), label_N1)
    target_N, other_N = kl(teacher[0], student[0]), kl(teacher[1], student[1])
    return (target_weight * target_N + other_weight * other_N) * temperature**2


def _parts(logits_NC: torch.Tensor, label_N1: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logarithms of b, two entries, and of p̂, whose entry at the label is empty (FLOOR)."""
    others_NC = logits_NC.scatter(-1, label_N1, FLOOR)
    others_N1 = others_NC.logsumexp(-1, keepdim=True)
    margin_N1 = logits_NC.gather(-1, label_N1) - others_N1
    # p_y is the sigmoid of this margin, whose logarithm stays exact where the rest of the mass rounds to 0.
    return functional.logsigmoid(torch.cat((margin_N1, -margin_N1), -1)), others_NC - others_N1
