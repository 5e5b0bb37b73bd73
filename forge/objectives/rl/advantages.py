"""From rewards to advantages: how much better a sample is than the others of its prompt.

A reward of NaN is one that could not be told: that sample is left out of its group's mean and deviation, and its
advantage is 0. It is never taken for 0, which would teach the model to avoid whatever could not be scored.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Scale = Literal["group", "batch", "none"]
Baseline = Literal["mean", "leave_one_out"]

EPSILON = 1e-4
TOLERANCE = 1e-6
"""Rewards of a group that differ by no more than this are equal. Deviations cannot tell: of equal fp32 numbers they are
not always 0, and divided by themselves such residues make advantages of ±1 out of nothing."""


def flat_groups(rewards_BG: Tensor, tolerance: float = TOLERANCE) -> Tensor:
    """flat_B: groups that teach nothing, since max − min ≤ tolerance or fewer than two samples have a reward."""
    known_BG = ~rewards_BG.isnan()
    highest_B = rewards_BG.masked_fill(~known_BG, -torch.inf).amax(-1)
    lowest_B = rewards_BG.masked_fill(~known_BG, torch.inf).amin(-1)
    return (known_BG.sum(-1) < 2) | (highest_B - lowest_B <= tolerance)


def group_advantages(
    rewards_BG: Tensor,
    *,
    scale: Scale = "group",
    baseline: Baseline = "mean",
    epsilon: float = EPSILON,
    tolerance: float = TOLERANCE,
) -> Tensor:
    """A_i = (r_i − b_i) / (s + ε), shape (B, G), without unit; 0 in flat groups and where the reward is NaN.

    b_i is the mean reward of the prompt's samples, or of the others (`leave_one_out`, Kool et al. 2019; that is
    G / (G − 1) times the former difference). s is the sample standard deviation (divisor G − 1) of the prompt's rewards
    (`group`: Shao et al. 2024, arXiv 2402.03300, §4.1.2), or of all rewards (`batch`: Liu et al. 2025, arXiv
    2508.08221), or s + ε is 1 (`none`: Liu et al. 2025, arXiv 2503.20783, so that updates grow with the rewards).
    The deviation is that of the whole group for `leave_one_out` too: without sample i it would be near 0 where the
    others agree. Needs all prompts of the step, since `batch` looks at all of them.
    """
    known_BG = ~rewards_BG.isnan()
    values_BG = torch.where(known_BG, rewards_BG, 0.0)
    count_B1 = known_BG.sum(-1, keepdim=True)
    mean_B1 = values_BG.sum(-1, keepdim=True) / count_B1.clamp(min=1)
    centred_BG = torch.where(known_BG, values_BG - mean_B1, 0.0)
    advantages_BG = centred_BG
    if baseline == "leave_one_out":
        advantages_BG = centred_BG * (count_B1 / (count_B1 - 1).clamp(min=1))
    if scale == "group":
        deviation_B1 = (centred_BG.square().sum(-1, keepdim=True) / (count_B1 - 1).clamp(min=1)).sqrt()
        advantages_BG = advantages_BG / (deviation_B1 + epsilon)
    elif scale == "batch":
        advantages_BG = advantages_BG / (deviation(rewards_BG) + epsilon)
    useless_BG = flat_groups(rewards_BG, tolerance)[:, None] | ~known_BG
    return advantages_BG.masked_fill(useless_BG, 0.0)


def deviation(rewards: Tensor) -> Tensor:
    """Sample standard deviation of all known rewards, a scalar; 0 of fewer than two."""
    known = rewards[~rewards.isnan()]
    return known.std() if len(known) > 1 else rewards.new_zeros(())


def combined_rewards(parts_BGK: Tensor, weights_K: Tensor, passed_BG: Tensor | None = None) -> Tensor:
    """rewards_BG = Σ_k w_k · r_k / Σ_k w_k, from 0 to 1 when each part is; NaN of a sample without any part.

    A part that is NaN is left out. Where no sample of a prompt has it, the weights of the others count alone. Where
    some have it, it counts as the mean of those: the sample is then judged by its other parts, and fails to gain from
    breaking one (the sum of what is left would be lower than any other sample's, and their mean might be higher). A
    sample that a gate stopped (`passed_BG` false) has reward 0, the least there is.
    """
    known_BGK = ~parts_BGK.isnan()
    values_BGK = torch.where(known_BGK, parts_BGK, 0.0)
    means_B1K = values_BGK.sum(1, keepdim=True) / known_BGK.sum(1, keepdim=True).clamp(min=1)
    filled_BGK = torch.where(known_BGK, values_BGK, means_B1K)
    present_B1K = known_BGK.any(1, keepdim=True) & (weights_K > 0)
    weights_B1K = torch.where(present_B1K, weights_K, 0.0)
    total_B1 = weights_B1K.sum(-1)
    rewards_BG = (weights_B1K * filled_BGK).sum(-1) / torch.where(total_B1 > 0, total_B1, 1.0)
    told_BG = (known_BGK & (weights_K > 0)).any(-1)
    rewards_BG = rewards_BG.masked_fill(~told_BG, torch.nan)
    return rewards_BG if passed_BG is None else rewards_BG.masked_fill(~passed_BG, 0.0)


def decoupled_advantages(
    parts_BGK: Tensor,
    weights_K: Tensor,
    passed_BG: Tensor | None = None,
    *,
    epsilon: float = EPSILON,
    tolerance: float = TOLERANCE,
) -> Tensor:
    """advantages_BG of several parts, each normalised in its group before they are added (GDPO, arXiv 2601.05242).

    A = (a − mean(a)) / (std(a) + ε) over all samples, a_i = Σ_k w_k · A_ik with A_ik as `group_advantages` of part k:
    a part with a narrow range pulls as much as one with a wide range. A part that is NaN adds nothing. A stopped
    sample has 0 in every part before that. Samples without any reward, and prompts all of whose parts are flat, keep 0.
    """
    if passed_BG is not None:
        parts_BGK = parts_BGK.masked_fill(~passed_BG[..., None], 0.0)
    each = [
        weight * group_advantages(parts_BG, epsilon=epsilon, tolerance=tolerance)
        for weight, parts_BG in zip(weights_K.tolist(), parts_BGK.unbind(-1), strict=True)
    ]
    added_BG = torch.stack(each).sum(0)
    flat_BK = torch.stack([flat_groups(parts_BG, tolerance) for parts_BG in parts_BGK.unbind(-1)], -1)
    counts_BG = ~(flat_BK | (weights_K <= 0)).all(-1)[:, None] & ~parts_BGK.isnan().all(-1)
    kept = added_BG[counts_BG]
    if len(kept) < 2:
        return torch.zeros_like(added_BG)
    return torch.where(counts_BG, (added_BG - kept.mean()) / (kept.std() + epsilon), 0.0)
