"""Watching a run that learns from rewards: what goes wrong silently is said aloud, and at last ends the run.

Each guard is a small state machine over numbers. It looks at no clock and no model, so that a run that was resumed,
with the guard's state in its checkpoint, warns and stops where the one that ran through would.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Level = Literal["warning", "stop"]


@dataclass(frozen=True)
class Alarm:
    """What a guard has to say. `stop` asks the run to end; what it learned so far is still good to look at."""

    guard: str
    level: Level
    message: str


@dataclass(frozen=True)
class Figures:
    """What is known of one step, over all processes. Shares and rewards from 0 to 1, KL and entropy in nats a token."""

    flat: float  # share of groups whose rewards are all equal
    truncated: float  # share of samples that did not end
    entropy: float
    kl: float | None = None  # to the reference, or to the model that the run began with; None where there is none


@dataclass(frozen=True)
class Patience:
    """How many bad steps in a row a warning, and how many the end, take. None: never."""

    warn: int | None = 1
    stop: int | None = None


@dataclass(frozen=True)
class Limits:
    """When a step is bad, and how many of them are borne."""

    flat: float = 0.9
    flat_patience: Patience = Patience(10, 100)
    truncated: float = 0.95
    truncated_patience: Patience = Patience(1, 20)
    kl: float = 1.0
    kl_patience: Patience = Patience(1, 20)
    entropy: float = 0.1  # of what it was in the first step
    entropy_patience: Patience = Patience(5, 50)
    held_out_margin: float = 0.01  # of the best: falls smaller than this are noise
    held_out_patience: Patience = Patience(2, 4)  # evaluations


@dataclass
class Streak:
    """Bad steps in a row: a warning when they reach one number, the end when they reach another."""

    guard: str
    patience: Patience
    bad: int = 0

    def see(self, is_bad: bool, message: str) -> Alarm | None:
        """One step. Each streak warns once."""
        self.bad = self.bad + 1 if is_bad else 0
        if self.bad == 0:
            return None
        many = f"{message}, {self.bad} times in a row" if self.bad > 1 else message
        if self.patience.stop is not None and self.bad >= self.patience.stop:
            return Alarm(self.guard, "stop", many)
        return Alarm(self.guard, "warning", many) if self.bad == self.patience.warn else None


@dataclass
class StepGuards:
    """What every step is asked: can anything be learned, do samples end, how far and how narrow is the model."""

    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        limits = self.limits
        self._streaks = {
            "flat": Streak("flat", limits.flat_patience),
            "truncated": Streak("truncated", limits.truncated_patience),
            "kl": Streak("kl", limits.kl_patience),
            "entropy": Streak("entropy", limits.entropy_patience),
        }
        self._first_entropy: float | None = None

    def see(self, figures: Figures) -> list[Alarm]:
        """One step's figures; what is not finite ends the run at once."""
        limits, kl = self.limits, figures.kl
        for name, value in (("entropy", figures.entropy), ("kl", kl)):
            if value is not None and not math.isfinite(value):
                return [Alarm(name, "stop", f"{name} is {value}: the model's probabilities are no longer numbers")]
        if self._first_entropy is None:
            self._first_entropy = figures.entropy
        found = [
            self._streaks["flat"].see(
                figures.flat >= limits.flat,
                f"in {figures.flat:.0%} of the groups all samples have the same reward: nothing is learned from them; "
                "sample hotter, take more samples, or rewards that tell samples apart",
            ),
            self._streaks["truncated"].see(
                figures.truncated >= limits.truncated,
                f"{figures.truncated:.0%} of the samples were cut off before they ended: allow longer samples, or "
                "start from a model that ends its texts",
            ),
            self._streaks["kl"].see(
                kl is not None and kl > limits.kl,
                f"the model is {kl or 0.0:.3g} nats a token from its reference, the limit is {limits.kl:g}: lower the "
                "learning rate or raise beta",
            ),
            self._streaks["entropy"].see(
                figures.entropy < limits.entropy * self._first_entropy,
                f"the entropy fell to {figures.entropy:.3g} nats a token from {self._first_entropy:.3g}: samples "
                "hardly differ any more",
            ),
        ]
        return [alarm for alarm in found if alarm]

    def state(self) -> dict[str, Any]:
        """For a checkpoint; plain JSON values."""
        return {"bad": {name: streak.bad for name, streak in self._streaks.items()}, "entropy": self._first_entropy}

    def load_state(self, saved: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        for name, streak in self._streaks.items():
            streak.bad = int(saved["bad"][name])
        self._first_entropy = saved["entropy"]


@dataclass
class HeldOutGuard:
    """Whether the reward rises while a metric that is not in the reward falls: the reward is then being hacked.

    Compared with the evaluation where the metric was best: it is `margin` of itself worse since, and the reward higher.
    """

    higher_is_better: bool = True
    margin: float = 0.01
    patience: Patience = Patience(2, 4)

    def __post_init__(self) -> None:
        self._streak = Streak("held_out", self.patience)
        self._best: tuple[float, float] | None = None  # the metric and the reward of then

    def see(self, reward: float, metric: float, name: str = "the held-out metric") -> Alarm | None:
        """One evaluation: mean reward of the validation's outputs, and their figure."""
        if self._best is None or (metric > self._best[0] if self.higher_is_better else metric < self._best[0]):
            self._best = metric, reward
            return self._streak.see(False, "")
        best, reward_then = self._best
        worse = (best - metric if self.higher_is_better else metric - best) > self.margin * abs(best)
        return self._streak.see(
            worse and reward > reward_then,
            f"the reward rose from {reward_then:.4g} to {reward:.4g} while {name}, which is not in it, went from "
            f"{best:.4g} to {metric:.4g}: the model learns what pleases the reward and not what it stands for",
        )

    def state(self) -> dict[str, Any]:
        """For a checkpoint; plain JSON values."""
        return {"bad": self._streak.bad, "best": list(self._best) if self._best else None}

    def load_state(self, saved: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        self._streak.bad = int(saved["bad"])
        self._best = (saved["best"][0], saved["best"][1]) if saved["best"] else None


def worst(alarms: Sequence[Alarm]) -> Level | None:
    """What the run is to do about them."""
    return "stop" if any(alarm.level == "stop" for alarm in alarms) else "warning" if alarms else None
