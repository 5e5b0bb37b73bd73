"""On-policy distillation: what a teacher would say along the student's own samples."""

from __future__ import annotations

from torch import Tensor

from forge.objectives.kd.losses.jsd import jsd
from forge.objectives.kd.top_k import TopK


def gkd_loss(student_nV: Tensor, teacher_nV: Tensor | TopK, *, beta: float = 0.5, temperature: float = 1.0) -> Tensor:
    """loss_n = the generalised Jensen-Shannon divergence to the teacher at rows of the student's samples, in nats · T².

    Agarwal et al. 2024 (GKD), arXiv 2306.13649, eq. 1 and algorithm 1 with λ = 1: the samples are constants, no
    gradient flows through the sampling. β = 0 is the forward KL, 1 the reverse, as in `jsd`. Compares what both models
    say themselves: rules of sampling are left out, since −∞ on both sides would say nothing. Vocabularies may be
    padded to different sizes; what both have is compared.
    """
    if isinstance(teacher_nV, TopK):
        teacher_nV = teacher_nV.logits()
    shared = min(student_nV.shape[-1], teacher_nV.shape[-1])
    return jsd(student_nV[..., :shared], teacher_nV[..., :shared], beta=beta, temperature=temperature)
