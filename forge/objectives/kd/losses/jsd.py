"""Generalised Jensen-Shannon divergence."""

from __future__ import annotations

import math

import torch

from forge.objectives.kd.losses._numeric import kl, log_probs, require_same_shape, teacher_log_probs


def jsd(
    student_NC: torch.Tensor, teacher_NC: torch.Tensor, *, beta: float = 0.5, temperature: float = 1.0
) -> torch.Tensor:
    """loss_N = T² · [β · KL(p ‖ m) + (1 − β) · KL(q ‖ m)] with m = β · p + (1 − β) · q, in nats · T².

    Agarwal et al. 2024 (GKD), arXiv 2306.13649, eq. 1; p = softmax(teacher / T), q = softmax(student / T). β weights
    the teacher. The ends are the limits of loss / β and loss / (1 − β): KL(p ‖ q) at β = 0, KL(q ‖ p) at β = 1. From 0
    to T² · log 2 for 0 < β < 1, from 0 to ∞ at the ends. T² is this library's convention, as in the forward KL; the
    paper has none. Any leading dimensions. Leaves out sampling from the student. A teacher may hold −∞ for classes it
    excludes, unless β = 1; the student is finite.
    """
    require_same_shape(student_NC, teacher_NC)
    log_p_NC, log_q_NC = teacher_log_probs(teacher_NC, temperature), log_probs(student_NC, temperature)
    if beta == 0.0:
        loss_N = kl(log_p_NC, log_q_NC)
    elif beta == 1.0:
        loss_N = kl(log_q_NC, log_p_NC)
    else:
        log_m_NC = torch.logaddexp(log_p_NC + math.log(beta), log_q_NC + math.log1p(-beta))
        loss_N = beta * kl(log_p_NC, log_m_NC) + (1.0 - beta) * kl(log_q_NC, log_m_NC)
    return loss_N * temperature**2
