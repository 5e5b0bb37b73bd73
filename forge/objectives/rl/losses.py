"""The policy's loss of each sampled token, and how the tokens of a step are weighed.

Every loss is elementwise; what a token weighs in the mean of a step is known before the forward pass. So a share of the
step's loss is Σ weights · losses, and shares add up to the same number however the step was cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["grpo", "gspo", "cispo"]
Normaliser = Literal["grpo", "bnpo", "dapo", "dr_grpo"]

LIMIT = 20.0
"""As in `kl`: log-ratios are cut to ±20, so that neither a ratio nor its gradient is ever ∞ or NaN."""


@dataclass(frozen=True)
class Policy:
    """Which loss. Defaults of `low` and `high` suit `grpo`; gspo wants about 3e-4 and 4e-4, cispo None and about 4."""

    kind: Kind = "grpo"
    low: float | None = 0.2  # None: no lower bound
    high: float = 0.28
    dual: float | None = None  # largest ratio that a bad sample is punished with; above 1 + high


def log_ratios(logp_NT: Tensor, old_NT: Tensor, mask_NT: Tensor) -> Tensor:
    """Log ρ_it = log p(y_it) − log p_old(y_it), cut to ±20; 0 where the mask is false, whatever is there."""
    difference_NT = torch.where(mask_NT, logp_NT, 0.0) - torch.where(mask_NT, old_NT, 0.0)
    return difference_NT.clamp(-LIMIT, LIMIT)


def sequence_log_ratios(logp_NT: Tensor, old_NT: Tensor, mask_NT: Tensor) -> Tensor:
    """Log s_i = 1/n_i · Σ_t log ρ_it, shape (N, 1): Zheng et al. 2025 (GSPO), arXiv 2507.18071, eq. 7."""
    total_N1 = log_ratios(logp_NT, old_NT, mask_NT).sum(-1, keepdim=True)
    return total_N1 / mask_NT.sum(-1, keepdim=True).clamp(min=1)


def clipped_loss(
    log_ratio: Tensor, advantage: Tensor, *, low: float | None = 0.2, high: float = 0.28, dual: float | None = None
) -> Tensor:
    """Loss = −min(ρ · A, clip(ρ, 1 − low, 1 + high) · A), and with `dual` at most −dual · A where A < 0.

    Schulman et al. 2017 (PPO), arXiv 1707.06347, eq. 7; two bounds: Yu et al. 2025 (DAPO), arXiv 2503.14476, eq. 10;
    dual: Ye et al. 2020, arXiv 1912.09729, eq. 5 (verl's `clip_ratio_c`, TRL's `delta`). Unit and range are those of A;
    shapes broadcast. On the first update after sampling ρ is 1 and the gradient that of −A · log p.
    """
    ratio = log_ratio.exp()
    loss = -torch.minimum(ratio * advantage, ratio.clamp(_least(low), 1.0 + high) * advantage)
    if dual is None:
        return loss
    return torch.where(advantage < 0, torch.minimum(loss, -dual * advantage), loss)


def cispo_loss(
    log_ratio: Tensor, logp: Tensor, advantage: Tensor, *, low: float | None = None, high: float = 4.0
) -> Tensor:
    """Loss = −sg(clip(ρ, 1 − low, 1 + high)) · A · log p: MiniMax 2025 (CISPO), arXiv 2506.13585, eq. 4.

    sg stops the gradient: a token beyond the bound still learns, with a weight that does not grow. TRL's `epsilon_high`
    of 5 is a `high` of 4. Without `low` only the upper bound counts, as the paper does it.
    """
    ratio = log_ratio.detach().exp()
    return -ratio.clamp(_least(low), 1.0 + high) * advantage * logp


def is_clipped(log_ratio: Tensor, advantage: Tensor, *, low: float | None, high: float) -> Tensor:
    """Whether the clipped loss has no gradient: the ratio has left its bounds to the side that the advantage wants."""
    ratio = log_ratio.detach().exp()
    return ((ratio > 1.0 + high) & (advantage > 0)) | ((ratio < _least(low)) & (advantage < 0))


def _least(low: float | None) -> float:
    return 0.0 if low is None else 1.0 - low


def policy_loss(logp_NT: Tensor, old_NT: Tensor, advantages_N: Tensor, mask_NT: Tensor, policy: Policy) -> Tensor:
    """losses_NT of every sampled token, 0 where the mask is false; for gspo the sample's loss at each of its tokens."""
    logp_NT, advantages_N1 = torch.where(mask_NT, logp_NT, 0.0), advantages_N[:, None]
    if policy.kind == "gspo":
        ratio_N1 = sequence_log_ratios(logp_NT, old_NT, mask_NT)
        loss_NT = clipped_loss(ratio_N1, advantages_N1, low=policy.low, high=policy.high, dual=policy.dual)
    else:
        loss_NT = token_loss(log_ratios(logp_NT, old_NT, mask_NT), logp_NT, advantages_N1, policy)
    return torch.where(mask_NT, loss_NT, 0.0)


def token_loss(log_ratio: Tensor, logp: Tensor, advantage: Tensor, policy: Policy) -> Tensor:
    """The loss of tokens given their log-ratios, elementwise."""
    if policy.kind == "cispo":
        return cispo_loss(log_ratio, logp, advantage, low=policy.low, high=policy.high)
    return clipped_loss(log_ratio, advantage, low=policy.low, high=policy.high, dual=policy.dual)


def spread(sequence_log_ratio_N1: Tensor, logp_NT: Tensor) -> Tensor:
    """Log-ratios whose value is the sample's and whose gradient goes to each token alone (GSPO-token, eq. 14).

    With one advantage a sample the gradient of the step is that of GSPO, while a token no longer needs the others: its
    loss can be taken chunk by chunk once the samples' ratios are known.
    """
    return sequence_log_ratio_N1.detach() + (logp_NT - logp_NT.detach())


def without_truncated(mask_NT: Tensor, ended_N: Tensor) -> Tensor:
    """The mask without samples that were cut off before they ended: DAPO, arXiv 2503.14476, §3.4."""
    return mask_NT & ended_N[:, None]


def count_tokens(mask_NT: Tensor) -> dict[str, float]:
    """What a micro-batch adds to the normalisers. Samples that are masked as a whole stay among the samples."""
    return {"samples": float(len(mask_NT)), "tokens": float(mask_NT.sum()), "micro_batches": 1.0}


def token_weights(
    mask_NT: Tensor,
    normaliser: Normaliser,
    totals: Mapping[str, float],
    longest: int,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """weights_NT of each token in the mean of the step; 0 where the mask is false. Totals are over the whole step.

        grpo     1 / (n_i · samples)           every sample weighs the same: long ones learn less per token
        dapo     1 / tokens                    every token weighs the same
        dr_grpo  1 / (samples · longest)       as dapo, but the step does not shrink as samples grow; Σ < 1
        bnpo     1 / (Σ_here m · micro_batches)  as dapo within a micro-batch

    n_i are the tokens of sample i, `longest` is the limit of sampling. bnpo is the mean of the micro-batches' own
    means, as TRL computes it: it depends on how a step was cut, and is here to compare with.
    """
    mask = mask_NT.to(dtype)
    if normaliser == "grpo":
        return mask / (mask.sum(-1, keepdim=True).clamp(min=1) * max(totals["samples"], 1.0))
    if normaliser == "dapo":
        return mask / max(totals["tokens"], 1.0)
    if normaliser == "dr_grpo":
        return mask / (max(totals["samples"], 1.0) * longest)
    return mask / (mask.sum().clamp(min=1) * max(totals["micro_batches"], 1.0))
