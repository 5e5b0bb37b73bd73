"""Skew Kullback-Leibler divergence."""

from __future__ import annotations

import math

import torch

from forge.objectives.kd.losses._numeric import kl, log_probs, require_same_shape, teacher_log_probs


def skew_kl(
    student_NC: torch.Tensor, teacher_NC: torch.Tensor, *, skew: float = 0.1, temperature: float = 1.0
) -> torch.Tensor:
    """loss_N = T² · KL(p ‖ α · p + (1 − α) · q) with α = skew, in nats · T², from 0 to T² · log(1 / α).

    Ko et al. 2024 (DistiLLM), arXiv 2402.03898, §3.1; p = softmax(teacher / T), q = softmax(student / T). The bound is
    what keeps gradients small where the student has lost a class. α = 0 is the forward KL. T² is this library's
    convention, as there. Any leading dimensions. Leaves out the reverse form. A teacher may hold −∞ for classes it
    excludes; the student is finite.
    """
    require_same_shape(student_NC, teacher_NC)
    log_p_NC, log_m_NC = teacher_log_probs(teacher_NC, temperature), log_probs(student_NC, temperature)
    if skew > 0.0:
        log_m_NC = torch.logaddexp(log_p_NC + math.log(skew), log_m_NC + math.log1p(-skew))
    return kl(log_p_NC, log_m_NC) * temperature**2
