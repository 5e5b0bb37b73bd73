"""Kullback-Leibler divergence of attention distributions."""

from __future__ import annotations

import math
from typing import Any

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
    student_BHQK, teacher_BHQK, mask_B1QK = fp32(student_BHQK), fp32(teacher_BHQK), mask_BQK[:, None]
    if not average_heads and not teacher_BHQK.requires_grad:
        require_same_shape(student_BHQK, teacher_BHQK)
        loss_BQ: torch.Tensor = _FrozenTeacher.apply(student_BHQK, teacher_BHQK, mask_B1QK)  # type: ignore[no-untyped-call]
        return loss_BQ
    log_q_BHQK, log_p_BHQK = _log_attention(student_BHQK, mask_B1QK), _log_attention(teacher_BHQK, mask_B1QK)
    if average_heads:
        log_q_BHQK, log_p_BHQK = _mean_heads(log_q_BHQK), _mean_heads(log_p_BHQK)
    require_same_shape(log_q_BHQK, log_p_BHQK)
    return kl(log_p_BHQK, log_q_BHQK).mean(1)


class _FrozenTeacher(torch.autograd.Function):
    """The same with its gradient written out, ∂/∂S^s = A^s − A^t: backward keeps one map a layer, not several."""

    @staticmethod
    def forward(ctx: Any, student_BHQK: torch.Tensor, teacher_BHQK: torch.Tensor, mask_B1QK: torch.Tensor) -> Any:
        log_q_BHQK, log_p_BHQK = _log_attention(student_BHQK, mask_B1QK), _log_attention(teacher_BHQK, mask_B1QK)
        p_BHQK = log_p_BHQK.exp()
        loss_BQ = log_p_BHQK.sub_(log_q_BHQK).mul_(p_BHQK).sum(-1).mean(1)
        ctx.save_for_backward(log_q_BHQK.exp_().sub_(p_BHQK))
        return loss_BQ

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        (difference_BHQK,) = ctx.saved_tensors
        return difference_BHQK * (gradients[0] / difference_BHQK.shape[1])[:, None, :, None], None, None


def _log_attention(scores_BHQK: torch.Tensor, mask_B1QK: torch.Tensor) -> torch.Tensor:
    """Log of the softmax over valid keys. A query without any is uniform on both sides, hence its loss is 0."""
    return torch.where(mask_B1QK, scores_BHQK, FLOOR).log_softmax(-1)


def _mean_heads(log_p_BHQK: torch.Tensor) -> torch.Tensor:
    """Log of the mean over heads of probabilities."""
    return log_p_BHQK.logsumexp(1, keepdim=True) - math.log(log_p_BHQK.shape[1])
