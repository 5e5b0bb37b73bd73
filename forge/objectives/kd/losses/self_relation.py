"""Kullback-Leibler divergence of self-relations of queries, keys or values."""

from __future__ import annotations

import math

import torch

from forge.objectives.kd.losses._numeric import fp32, full_precision
from forge.objectives.kd.losses.attention_kl import attention_kl


def self_relation(
    student_BLD: torch.Tensor, teacher_BLE: torch.Tensor, mask_BQK: torch.Tensor, *, relation_heads: int
) -> torch.Tensor:
    """loss_BQ = 1/A · Σ_a KL(R^t_aq ‖ R^s_aq) with R_a = softmax(X_a · X_aᵀ / √d_r), in nats, from 0 to ∞.

    Wang et al. 2021 (MiniLMv2), arXiv 2012.15828, §3.1, for one of X = Q, K or V: all heads side by side, cut
    anew into A = relation_heads heads of d_r = width / A, on each side by its own width. For V with the model's own
    number of heads it is the value relation of MiniLM, arXiv 2002.10957, §3.2. The mask and what to divide by
    are as in `attention_kl`. Leaves out the sum over Q, K and V and their weights.
    """
    used_BL1 = (mask_BQK.any(1) | mask_BQK.any(2))[..., None]
    return attention_kl(
        _relations(student_BLD, used_BL1, relation_heads, "student"),
        _relations(teacher_BLE, used_BL1, relation_heads, "teacher"),
        mask_BQK,
    )


def _relations(states_BLD: torch.Tensor, used_BL1: torch.Tensor, heads: int, side: str) -> torch.Tensor:
    """Scaled products of all pairs of tokens, (B, A, L, L), before the softmax."""
    width = states_BLD.shape[-1]
    if width % heads:
        raise ValueError(f"relation_heads = {heads} does not divide the {side}'s width, {width}")
    # Padded states are cleared here as well: in the backward product their ∞ would meet a gradient of 0.
    cut_BLAd = torch.where(used_BL1, fp32(states_BLD), 0.0).reshape(*states_BLD.shape[:2], heads, width // heads)
    cut_BALd = cut_BLAd.transpose(1, 2)
    with full_precision(states_BLD):
        return cut_BALd / math.sqrt(width // heads) @ cut_BALd.mT
