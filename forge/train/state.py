"""Where training stands: everything besides tensors that a checkpoint must remember."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError

from forge.core.errors import CheckpointError
from forge.tasks.base import HIGHER_IS_BETTER
from forge.train.stream import Cursor

REASON_LENGTH = 200


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
    start: float | None = None  # the deciding metric before the first step, where it was measured

    def without_gain(self, metric: str, averaged: float | None = None) -> str:
        """What to say where neither an evaluation nor the average came out better than the start; else nothing."""
        if self.start is None or self.best is None:
            return ""
        sign = 1.0 if HIGHER_IS_BETTER[metric] else -1.0
        if any(sign * value > sign * self.start for value in (self.best.value, averaged) if value is not None):
            return ""
        return f"no evaluation is better than the start ({metric} {self.start:.4f}): nothing was gained"

    def as_json(self) -> dict[str, Any]:
        """Plain values; floats survive JSON bit by bit."""
        return asdict(self)

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> TrainingState:
        """The inverse of `as_json`. Raises ValueError for a record this version cannot read."""
        # As JSON, where pydantic takes a list or a text for nothing else; the values stay those of the record.
        TypeAdapter(cls).validate_json(json.dumps(saved), strict=True)
        values = dict(saved)
        values["cursor"] = Cursor(**values["cursor"])
        values["best"] = Best(**values["best"]) if values["best"] else None
        return cls(**values)


@contextmanager
def restoring(path: Path) -> Iterator[None]:
    """Turn what a file of another shape raises into one CheckpointError that names it.

    A manifest vouches for the bytes that were written, not for who wrote them.
    """
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        raise _unfit(path, f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        raise _unfit(path, " ".join(str(error).split()) or type(error).__name__) from error


def _unfit(path: Path, reason: str) -> CheckpointError:
    cut = reason if len(reason) <= REASON_LENGTH else reason[: REASON_LENGTH - 1] + "…"
    remedy = f"delete {path.parent.name} to go on from the checkpoint before it"
    return CheckpointError(f"{path}  does not fit this run, or is of another version of Forge: {cut}; {remedy}")
