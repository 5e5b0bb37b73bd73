"""The contract of an objective.

A step's loss is a mean over everything valid in the *global* batch: over all micro-batches and all processes. So the
loop first adds up `counts` everywhere, then hands the totals to `compute`, whose loss is this micro-batch's share of
that mean. Shares add up to the same number however the batch was cut.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from forge.core.events import Event
from forge.tasks.base import Batch

MicroBatches = list[tuple[int, Batch]]
"""What one process works on in one step, each with its number in the step."""

Enrich = Callable[[Batch, np.ndarray], None]
"""Adds to a batch, on the CPU and perhaps in a worker process, what is known of the examples with these row numbers."""


@dataclass(frozen=True)
class LossReport:
    """What one micro-batch adds to the step."""

    loss: torch.Tensor  # differentiable
    parts: Mapping[str, torch.Tensor] = field(default_factory=dict)  # detached shares of named figures, for the log


@dataclass(frozen=True)
class Remarks:
    """What an objective has to say of a step that was just taken, the same on every process."""

    figures: Mapping[str, float] = field(default_factory=dict)  # for the log, beside the parts of the loss
    events: Sequence[Event] = ()
    stop: str = ""  # why training should end here; empty: it goes on


class Objective(ABC):
    """SFT, distillation, RL: the loop calls these and has no modes."""

    name: str
    extra: torch.nn.Module | None = None  # trained along with the model, saved beside it, left out of exports
    extra_learning_rate: float | None = None  # None: that of the model
    enrich: Enrich | None = None
    norms_every: int | None = None  # steps between two measurements of each term's gradient norm
    restarts_at = 0  # the step at which something begins to learn, and the learning rate's schedule begins anew
    wants_baseline = False  # whether the model is to be measured before its first step
    wants_balance = False  # whether `balance` is to be called, before the first step after `restarts_at`

    def begin(self, step: int) -> None:  # noqa: B027  most are the same at every step
        """Update number `step`, counted from 0, comes next: called before its `counts`.

        What an objective does may depend on the step, but on nothing that came before: a run may begin at any step.
        """

    def gather(self, model: torch.nn.Module, micro_batches: MicroBatches, step: int) -> MicroBatches:  # noqa: ARG002
        """The micro-batches to learn from in update number `step`, called before its `counts`.

        An objective whose data the model itself makes puts it in place of what was collated. `model` is bare, without
        what wraps it for several processes; all of them call it together, with as many micro-batches each, which are
        still on the CPU.
        """
        return micro_batches

    def remarks(self) -> Remarks:
        """What is to be said of the step just taken; called once after each."""
        return Remarks()

    def measured(self, name: str, value: float) -> Remarks:  # noqa: ARG002
        """The deciding figure of the first validation split was measured; what is to be said of it."""
        return Remarks()

    @abstractmethod
    def counts(self, batch: Batch) -> dict[str, float]:
        """Normalisers that this micro-batch adds, for example ``{"labels": 8}``."""

    @abstractmethod
    def compute(self, model: torch.nn.Module, batch: Batch, totals: Mapping[str, float]) -> LossReport:
        """One micro-batch's share of the loss, given the normalisers of the whole global batch."""

    def unweighted(self, model: torch.nn.Module, batch: Batch, totals: Mapping[str, float]) -> dict[str, torch.Tensor]:
        """Each term's share before its weight, differentiable: to measure the terms' gradients one by one."""
        raise NotImplementedError

    def balance(self, norms: Mapping[str, float]) -> str:
        """Fix the weights of the terms by the gradient norms of their unweighted losses; what was done, for the log."""
        raise NotImplementedError

    def weights(self) -> Mapping[str, float]:
        """The factor of each term in the loss."""
        return {}

    def state(self) -> dict[str, Any]:
        """What a checkpoint must remember besides `extra`; plain JSON values."""
        return {}

    def tensors(self) -> dict[str, torch.Tensor]:
        """The same of tensors, whole and alike on every process."""
        return {}

    def load_state(self, saved: Mapping[str, Any]) -> None:  # noqa: B027  most have no state
        """The inverse of `state`."""

    def load_tensors(self, saved: Mapping[str, torch.Tensor]) -> None:  # noqa: B027
        """The inverse of `tensors`, called after `load_state`."""
