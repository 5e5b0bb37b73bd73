"""What happens in a run, as frozen records. The trainer emits them; sinks write, draw or forward them.

`train` knows no file of the run directory: it calls the one sink that `assemble` hands it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Figures = Mapping[str, float]


@dataclass(frozen=True)
class Notice:
    """A sentence for the reader of the log."""

    text: str
    level: str = "info"  # info | warning


@dataclass(frozen=True)
class Started:
    """Training starts, or continues when `step` > 0."""

    step: int
    total_steps: int
    run_dir: str
    evaluated: int | None = None  # step of the last evaluation that counts, where it may be before `step`


@dataclass(frozen=True)
class StepLogged:
    """The mean over the optimizer steps since the last such record."""

    step: int
    epoch: float
    figures: Figures  # loss, its parts, learning_rate, grad_norm
    samples_seen: int
    tokens_seen: int
    speed: Figures  # wall-time figures, which no two runs share


@dataclass(frozen=True)
class Evaluated:
    """One split was measured."""

    step: int
    split: str
    figures: Figures
    detail: Mapping[str, object] = field(default_factory=dict)  # per-class table, confusion matrix
    seconds: float = 0.0
    final: bool = False  # measured after training, on the result
    of: str = ""  # the checkpoint that was measured, where it is not the one at `step`
    rows: Mapping[str, Callable[[], Any]] = field(default_factory=dict)  # figure → sums of each example, when asked for


@dataclass(frozen=True)
class Sampled:
    """Texts that the model wrote and what their rewards were, before update number `step` (from 1) learned of them."""

    step: int
    groups: Sequence[Mapping[str, object]]  # one a prompt


@dataclass(frozen=True)
class CheckpointSaved:
    """A checkpoint is durable on disk."""

    step: int
    name: str
    best: bool
    seconds: float


@dataclass(frozen=True)
class Progressed:
    """The state of training after a step, an evaluation or a save; what training_state.json holds."""

    state: Mapping[str, object]


@dataclass(frozen=True)
class Finished:
    """Training ended by itself: `reason` says why."""

    step: int
    reason: str
    seconds: float


Event = Notice | Started | StepLogged | Sampled | Evaluated | CheckpointSaved | Progressed | Finished
Sink = Callable[[Event], None]


def fan_out(*sinks: Sink) -> Sink:
    """One sink that hands each event to all, in order."""

    def send(event: Event) -> None:
        for sink in sinks:
            sink(event)

    return send
