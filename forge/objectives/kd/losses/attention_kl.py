"""Kullback-Leibler divergence of attention distributions."""

from __future__ import annotations

import math

import torch

from forge.objectives.kd.losses._numeric import FLOOR, fp32, kl, require_same_shape


def attention_kl(
    student_BHQK: torch.Tensor,
    teacher_BHQK: torch.Tensor,
    mask_BQK: torch.Tensor,
    *,
    average_heads: bool = False,
) -> torch.Tensor:
    """loss_BQ = 1/H · Σ_h Σ_{k valid} A^t_hqk · (log A^t_hqk − log A^s_hqk), in nats, from 0 to ∞.

    Wang et al. 2020 (MiniLM), arXiv 2002.10957, §3.1. Inputs are scores before the softmax; A is their softmax over
    the keys that are true in `mask_BQK`. Divide the sum over queries by the number of queries with at least one such
    key; those without give 0. With `average_heads` each side's A is first averaged over its heads, whose numbers may
    then differ. Leaves out attention dropout.
    """
    mask_B1QK = mask_BQK[:, None]
    # A query without keys has FLOOR everywhere: uniform on both sides, hence 0.
    log_q_BHQK = torch.where(mask_B1QK, fp32(student_BHQK), FLOOR).log_softmax(-1)
    log_p_BHQK = torch.where(mask_B1QK, fp32(teacher_BHQK), FLOOR).log_softmax(-1)
    if average_heads:
        log_q_BHQK, log_p_BHQK = _mean_heads(log_q_BHQK), _mean_heads(log_p_BHQK)
    require_same_shape(log_q_BHQK, log_p_BHQK)
    return kl(log_p_BHQK, log_q_BHQK).mean(1)


def _mean_heads(log_p_BHQK: torch.Tensor) -> torch.Tensor:
    """Log of the mean over heads of probabilities."""
    return log_p_BHQK.logsumexp(1, keepdim=True) - math.log(log_p_BHQK.shape[1])
