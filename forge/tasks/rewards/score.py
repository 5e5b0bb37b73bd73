"""Scoring samples by several rewards and gates, whatever some of them do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from numbers import Real

import numpy as np
from numpy.typing import NDArray

from forge.core.errors import UserError
from forge.tasks.rewards.base import Reward, Sample, Values

ROUNDING = 1e-6


@dataclass(frozen=True)
class Gate:
    """A condition: samples whose value is below `least` get the reward 0, whatever else is said of them.

    Where the value cannot be told the sample passes.
    """

    reward: Reward
    least: float


@dataclass(frozen=True)
class Failure:
    """How many samples a reward failed on, and what it said first."""

    count: int
    first: str


@dataclass(frozen=True)
class Scored:
    """What each part and gate says of N samples, whether they passed all gates, and what failed."""

    parts: Mapping[str, Values]
    gates: Mapping[str, Values]
    passed: tuple[bool, ...]
    failures: Mapping[str, Failure] = field(default_factory=dict)

    def array(self) -> NDArray[np.float64]:
        """parts_NK in their order, NaN for None."""
        columns = [np.array(values, dtype=np.float64) for values in self.parts.values()]
        return np.stack(columns, -1) if columns else np.empty((len(self.passed), 0))


def score(samples: Sequence[Sample], parts: Mapping[str, Reward], gates: Mapping[str, Gate]) -> Scored:
    """Ask every reward. Raises UserError for what is no reward: too few values, or one that is not from 0 to 1."""
    failures: dict[str, Failure] = {}
    told = {name: _ask(name, reward, samples, failures) for name, reward in parts.items()}
    gated = {name: _ask(name, gate.reward, samples, failures) for name, gate in gates.items()}
    passed = tuple(
        all(value is None or value >= gates[name].least for name, values in gated.items() for value in [values[at]])
        for at in range(len(samples))
    )
    return Scored(told, gated, passed, failures)


def _ask(name: str, reward: Reward, samples: Sequence[Sample], failures: dict[str, Failure]) -> Values:
    with suppress(_OnASample):  # which sample it was is found by asking one by one
        return _checked(name, _guarded(reward, samples), len(samples))
    found: Values = []
    for sample in samples:
        try:
            found += _checked(name, _guarded(reward, [sample]), 1)
        except _OnASample as error:
            found.append(None)
            before = failures.get(name)
            failures[name] = Failure(before.count + 1, before.first) if before else Failure(1, str(error))
    return found


class _OnASample(Exception):  # noqa: N818
    """A reward raised; the run goes on without this value."""


def _guarded(reward: Reward, samples: Sequence[Sample]) -> object:
    try:
        return reward(samples)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise _OnASample(f"{type(error).__name__}: {' '.join(str(error).split())}") from error


def _checked(name: str, values: object, count: int) -> Values:
    given = values.tolist() if hasattr(values, "tolist") else values
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) != count:
        size = f"{len(given):,} values" if isinstance(given, Sequence) else f"a {type(given).__name__}"
        raise UserError(f"reward {name}: gave {size} for {count:,} samples; it must give one for each")
    return [_value(name, value) for value in given]


def _value(name: str, value: object) -> float | None:
    if value is None:
        return None
    if not isinstance(value, Real):
        raise UserError(f"reward {name}: gave {value!r:.60}; a value is a number from 0 to 1, or None")
    number = float(value)
    if math.isnan(number):
        return None
    if not -ROUNDING <= number <= 1 + ROUNDING:
        raise UserError(f"reward {name}: gave {number:g}; values are from 0 to 1, scale it")
    return min(1.0, max(0.0, number))
