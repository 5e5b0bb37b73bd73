"""The contract of an objective.

A step's loss is a mean over everything valid in the *global* batch: over all micro-batches and all processes. So the
loop first adds up `counts` everywhere, then hands the totals to `compute`, whose loss is this micro-batch's share of
that mean. Shares add up to the same number however the batch was cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch

from forge.tasks.base import Batch


@dataclass(frozen=True)
class LossReport:
    """`loss` is differentiable; `parts` are detached shares of named terms, for the log."""

    loss: torch.Tensor
    parts: Mapping[str, torch.Tensor] = field(default_factory=dict)


class Objective(Protocol):
    """SFT, distillation, RL: the loop calls these two and has no modes."""

    name: str

    def counts(self, batch: Batch) -> dict[str, float]:
        """Normalisers that this micro-batch adds, for example ``{"examples": 8}``."""
        ...

    def compute(self, model: torch.nn.Module, batch: Batch, totals: Mapping[str, float]) -> LossReport:
        """One micro-batch's share of the loss, given the normalisers of the whole global batch."""
        ...
