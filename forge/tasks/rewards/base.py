"""What a reward is given and what it gives back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from forge.tasks.metrics.ocr.checks.base import Check

Need = Literal["source", "reference", "checks"]
TaskName = Literal["translation", "ocr"]


@dataclass(frozen=True)
class Sample:
    """One text that the model wrote, and what is known beside it; None or empty where the data has no such thing."""

    output: str
    source: str | None = None  # what was to be translated; a page has no text
    reference: str | None = None
    ended: bool = True  # whether the model ended it, or the limit cut it off
    checks: tuple[Check, ...] = ()  # of the page


Values = list[float | None]
"""A value from 0 to 1 for each sample; None where it cannot be told, which is then left out and never taken for 0."""


class Reward(Protocol):
    """Scores samples, several at a time since some ask a model."""

    def __call__(self, samples: Sequence[Sample]) -> Values:
        """One value for each, in order."""
        ...


class Named(ABC):
    """A reward of the table. Its options are its fields; `needs` is what the data must have for it."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    tasks: ClassVar[tuple[TaskName, ...]] = ("translation", "ocr")

    @abstractmethod
    def __call__(self, samples: Sequence[Sample]) -> Values:
        """One value for each sample, in order."""

    def wants(self) -> frozenset[Need]:
        """What the data must have for it as its options are."""
        return self.needs


class PerSample(Named):
    """A reward that looks at one sample at a time: where it fails on one, the others keep theirs."""

    @abstractmethod
    def one(self, sample: Sample) -> float | None:
        """The value of one sample, 0 to 1, or None."""

    def __call__(self, samples: Sequence[Sample]) -> Values:
        """One value for each sample, in order."""
        return [self.one(sample) for sample in samples]
