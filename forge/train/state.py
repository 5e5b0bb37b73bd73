"""Where training stands: everything besides tensors that a checkpoint must remember."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from forge.core.errors import CheckpointError
from forge.train.stream import Cursor


@dataclass
class Best:
    """The best evaluation so far."""

    value: float
    step: int
    validation: dict[str, dict[str, float]] = field(default_factory=dict)  # split → figures


@dataclass
class TrainingState:
    """Progress of a run. Counters are global, over all processes."""

    step: int = 0
    cursor: Cursor = field(default_factory=Cursor)
    epoch: float = 0.0
    samples_seen: int = 0
    tokens_seen: int = 0
    best: Best | None = None
    stale_evaluations: int = 0  # since the best
    checkpoint: str | None = None  # newest good one
    window: dict[str, float] = field(default_factory=dict)  # sums since the last logged step
    last: dict[str, float] = field(default_factory=dict)  # figures of the last logged step
    validation: dict[str, dict[str, float]] = field(default_factory=dict)  # of the last evaluation, split → figures
    stopped: str = ""  # why training ended before its last step
    evaluated: int = 0  # step of the last evaluation: a run that is asked to stop leaves the next one for later
    skipped_in_row: int = 0  # steps left out one after another because their gradient was not finite

    def as_json(self) -> dict[str, Any]:
        """Plain values; floats survive JSON bit by bit."""
        return asdict(self)

    @classmethod
    def from_json(cls, saved: Mapping[str, Any], where: str) -> TrainingState:
        """The inverse of `as_json`. Raises CheckpointError for a record this version cannot read."""
        try:
            values = dict(saved)
            values["cursor"] = Cursor(**values["cursor"])
            values["best"] = Best(**values["best"]) if values["best"] else None
            return cls(**values)
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"{where}  was written by another version of Forge: {error}") from error
