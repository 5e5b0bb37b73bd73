"""From what was sampled to what is learned and logged: rewards, advantages, figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from forge.config.schema.rl import Advantages
from forge.objectives.rl.advantages import (
    combined_rewards,
    decoupled_advantages,
    deviation,
    flat_groups,
    group_advantages,
)
from forge.objectives.rl.guards import Figures
from forge.objectives.rl.judge import Judge
from forge.objectives.rl.kl import kl_estimate
from forge.objectives.rl.rollout import Merged


def rewards_of(merged: Merged, weights_K: Tensor) -> Tensor:
    """rewards_BG in fp64, NaN where no part could be told (and everywhere without parts)."""
    parts_BGK = merged["parts_BGK"]
    if not parts_BGK.shape[-1]:
        return torch.full(parts_BGK.shape[:2], torch.nan, dtype=torch.float64)
    return combined_rewards(parts_BGK, weights_K, merged["passed_BG"])


def advantages_of(merged: Merged, rewards_BG: Tensor, weights_K: Tensor, chosen: Advantages) -> Tensor:
    """advantages_BG in fp32, computed in fp64 over all prompts of the step."""
    if not len(weights_K):
        return torch.zeros(rewards_BG.shape)
    if chosen.combine == "decoupled":
        found_BG = decoupled_advantages(
            merged["parts_BGK"],
            weights_K,
            merged["passed_BG"],
            epsilon=chosen.epsilon,
            tolerance=chosen.tolerance,
        )
    else:
        found_BG = group_advantages(
            rewards_BG,
            scale=chosen.scale,
            baseline=chosen.baseline,
            epsilon=chosen.epsilon,
            tolerance=chosen.tolerance,
        )
    return found_BG.float()


def figures_of(
    merged: Merged, rewards_BG: Tensor, lengths_BG: Tensor, names: Sequence[str], tolerance: float
) -> dict[str, float]:
    """Figures for the log. Rewards are from 0 to 1, means over the samples that have one; `length` is in tokens.

    `flat` is the share of prompts whose samples all have the same reward, `rewards.unscored` of samples without any,
    `gates.passed` of samples that passed every gate.
    """
    found = {
        "length": float(lengths_BG.double().mean()),
        "ended": float(merged["ended_BG"].double().mean()),
    }
    if not names:
        return found
    parts = {f"reward.{name}": mean(merged["parts_BGK"][..., place]) for place, name in enumerate(names)}
    return {
        "reward": mean(rewards_BG),
        "reward_deviation": float(deviation(rewards_BG)),
        **found,
        "flat": float(flat_groups(rewards_BG, tolerance).double().mean()),
        "gates.passed": float(merged["passed_BG"].double().mean()),
        "rewards.unscored": float(rewards_BG.isnan().double().mean()),
        **parts,
    }


def guarded(merged: Merged, figures: Mapping[str, float], lengths_BG: Tensor) -> Figures:
    """What the guards look at: the model that sampled, before it learns of this rollout."""
    tokens = max(float(lengths_BG.sum()), 1.0)
    kl = None
    if "reference_BGT" in merged.tensors:  # 0 beside the samples in both, and so is the estimate
        kl = float(kl_estimate(merged["logp_BGT"].double(), merged["reference_BGT"].double()).sum()) / tokens
    entropy = float(merged["entropy_BGT"].double().sum()) / tokens
    return Figures(figures.get("flat", 0.0), 1.0 - figures["ended"], entropy, kl)


def mean(values: Tensor) -> float:
    """Of those that are known; 0 where none is."""
    known = values[~values.isnan()]
    return float(known.mean()) if len(known) else 0.0


def failed(merged: Merged) -> list[tuple[str, str]]:
    """Of each reward that failed on samples, its name and a sentence."""
    return [
        (
            name,
            f"reward {name} failed on {failure.count:,} samples, which go without it; it said first: {failure.first}",
        )
        for name, failure in merged.failures.items()
    ]


def records(merged: Merged, rewards_BG: Tensor, advantages_BG: Tensor, judge: Judge) -> list[dict[str, Any]]:
    """What completions.jsonl says of each prompt; null where a reward could not be told."""
    asked = judge.ask(merged.rows_B.tolist())
    found = []
    for place, one in enumerate(asked):
        parts = merged["parts_BGK"][place]
        samples = [
            {
                "text": text,
                "reward": known(rewards_BG[place, sample]),
                "parts": {name: known(parts[sample, part]) for part, name in enumerate(judge.parts)},
                "passed": bool(merged["passed_BG"][place, sample]),
                "ended": bool(merged["ended_BG"][place, sample]),
                "advantage": float(advantages_BG[place, sample]),
            }
            for sample, text in enumerate(merged.texts_BG[place])
        ]
        name, value = ("prompt", one.source) if one.page is None else ("page", one.page)
        found.append({name: value, "reference": one.reference, "samples": samples})
    return found


def known(value: Tensor) -> float | None:
    """A number, or None for NaN."""
    return None if value.isnan() else float(value)
