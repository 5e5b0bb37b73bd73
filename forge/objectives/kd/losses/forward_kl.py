"""Forward Kullback-Leibler divergence with temperature."""

from __future__ import annotations

import torch

from forge.objectives.kd.losses._numeric import fp32, kl, log_probs, require_same_shape, teacher_log_probs


def forward_kl(
    student_NC: torch.Tensor, teacher_NC: torch.Tensor, *, temperature: float = 1.0, standardise: bool = False
) -> torch.Tensor:
    """loss_N = T² · Σ_c p_T(c) · [log p_T(c) − log q_T(c)], in nats · T², from 0 to ∞.

    p_T = softmax(teacher / T) and q_T = softmax(student / T): Hinton et al. 2015, arXiv 1503.02531, eq. 1, less the
    teacher's entropy, so that it is 0 where both agree. T² is always there: gradients keep their size as T grows.
    With `standardise` both logits are first (z − mean) / sample standard deviation over the classes (Sun et al. 2024,
    arXiv 2403.01427, algorithm 1), which hides how confident either side is. Any leading dimensions. Leaves out the
    cross-entropy against labels. A teacher may hold −∞ for classes it excludes, unless `standardise`; the student is
    finite.
    """
    require_same_shape(student_NC, teacher_NC)
    if standardise:
        student_NC, teacher_NC = _standardised(student_NC), _standardised(teacher_NC)
    return kl(teacher_log_probs(teacher_NC, temperature), log_probs(student_NC, temperature)) * temperature**2


def _standardised(logits_NC: torch.Tensor) -> torch.Tensor:
    variance_N1, mean_N1 = torch.var_mean(fp32(logits_NC), -1, keepdim=True)
    # Equal logits have no scale: they stay 0, with the gradient of centring alone.
    return (logits_NC - mean_N1) * torch.where(variance_N1 > 0, variance_N1, 1.0).rsqrt()
