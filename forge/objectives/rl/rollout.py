"""A rollout: what was sampled for the prompts of a step, over all processes, and what came of it.

Every process holds all of it, in the order of the examples' row numbers: so what is computed from it is the same
however the step was cut, and a checkpoint that holds it can be continued on any number of processes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from forge.core.errors import CheckpointError
from forge.tasks.rewards.score import Failure

PREFIX = "rollout."  # begins the names of a rollout's tensors in a checkpoint


@dataclass(frozen=True)
class Group:
    """One micro-batch of a rollout, on the CPU, on the way to the other processes."""

    rows: list[int]
    texts_BG: list[list[str]]
    tokens_BGT: Tensor
    ended_BG: Tensor
    parts_BGK: Tensor
    passed_BG: Tensor
    logp_BGT: Tensor  # of sampling
    entropy_BGT: Tensor
    old_BGT: Tensor | None = None  # teacher-forced before the first update
    reference_BGT: Tensor | None = None
    failures: Mapping[str, Failure] = field(default_factory=dict)  # of its process, in the first of them


@dataclass(frozen=True)
class Rollout:
    """Of B prompts with G samples each. `figures` are for the log, alike on every process."""

    rows_B: Tensor
    tokens_BGT: Tensor
    ended_BG: Tensor
    parts_BGK: Tensor
    passed_BG: Tensor
    rewards_BG: Tensor
    advantages_BG: Tensor
    old_BGT: Tensor | None = None
    reference_BGT: Tensor | None = None
    figures: Mapping[str, float] = field(default_factory=dict)

    def places(self, rows_b: Tensor) -> Tensor:
        """Where the examples with these row numbers are. Raises CheckpointError where they are not all there."""
        rows_b = rows_b.to(self.rows_B.device)
        places_b = torch.searchsorted(self.rows_B, rows_b).clamp(max=len(self.rows_B) - 1)
        if not torch.equal(self.rows_B[places_b], rows_b):
            raise CheckpointError("the checkpoint's samples are of other prompts than its next step")
        return places_b

    def saved(self) -> dict[str, Tensor]:
        """The tensors, for a checkpoint."""
        named = {one.name: getattr(self, one.name) for one in fields(self)}
        return {f"{PREFIX}{name}": value for name, value in named.items() if isinstance(value, Tensor)}


def restored(saved: Mapping[str, Tensor], figures: Mapping[str, float]) -> Rollout | None:
    """The inverse of `Rollout.saved`; None of a checkpoint without. Raises TypeError for other tensors."""
    named: dict[str, Any] = {
        name.removeprefix(PREFIX): value for name, value in saved.items() if name.startswith(PREFIX)
    }
    return Rollout(**named, figures=dict(figures)) if named else None


@dataclass(frozen=True)
class Merged:
    """All micro-batches of a rollout, by row number."""

    rows_B: Tensor
    texts_BG: list[list[str]]
    tensors: Mapping[str, Tensor]
    failures: Mapping[str, Failure]

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]


def merge(groups: Sequence[Group], padding: int) -> Merged:
    """Put micro-batches together; shorter samples are padded, tokens with `padding`, numbers with 0."""
    rows_B = torch.tensor([row for group in groups for row in group.rows])
    rows_B, order_B = rows_B.sort()
    texts = [texts for group in groups for texts in group.texts_BG]
    longest = max(group.tokens_BGT.shape[-1] for group in groups)
    tensors = {}
    for one in fields(Group):
        found = [getattr(group, one.name) for group in groups]
        if not all(isinstance(value, Tensor) for value in found):
            continue
        if one.name.endswith("T"):
            fill = padding if one.name == "tokens_BGT" else 0
            found = [functional.pad(value, (0, longest - value.shape[-1]), value=fill) for value in found]
        tensors[one.name] = torch.cat(found)[order_B]
    return Merged(rows_B, [texts[place] for place in order_B.tolist()], tensors, _failures(groups))


def _failures(groups: Sequence[Group]) -> dict[str, Failure]:
    found: dict[str, Failure] = {}
    for group in groups:
        for name, failure in group.failures.items():
            before = found.get(name)
            found[name] = Failure(before.count + failure.count, before.first) if before else failure
    return found
