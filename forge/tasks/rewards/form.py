"""What can be told without a reference: length, language, repetition, copies, endings. Cheap to ask.

None of them says that a text is right: an unrelated sentence of the right length and language gets 1 from all. They
keep other rewards honest, with small weights or as gates.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from rapidfuzz.distance import Levenshtein

from forge.core.errors import UserError
from forge.tasks.metrics.ocr.loops import looping
from forge.tasks.parallel.language import Expected
from forge.tasks.rewards.base import Need, PerSample, Sample

WINDOW = 80
LEAST_WINDOW = 20
CHARACTERS = 5


@dataclass(frozen=True)
class Length(PerSample):
    """1 where the output is between `least` and `most` times as long as the source, in characters, without white space.

    Below, and above, the ratio of the lengths: half of `least` gets 0.5, twice `most` too; nothing gets 0. `against`
    may be the reference, and for pages is: 0 of any text on a blank one. He et al. 2024 (arXiv 2401.12873) needed such
    a band to stop a metric from being hacked.
    """

    least: float = 0.5
    most: float = 2.0
    against: Literal["source", "reference"] = "source"

    def __post_init__(self) -> None:
        if not 0 < self.least <= self.most:
            raise ValueError(f"least ({self.least:g}) must be above 0 and at most most ({self.most:g})")
        if self.against not in ("source", "reference"):
            raise ValueError(f"against is source or reference, not {self.against!r:.40}")

    def wants(self) -> frozenset[Need]:
        """What it is compared with."""
        return frozenset({self.against})

    def one(self, sample: Sample) -> float | None:
        """0 to 1."""
        other = sample.source if self.against == "source" else sample.reference
        expected, written = (len("".join(text.split())) for text in (other or "", sample.output))
        if not expected:  # a page may be blank, and then should stay so; of a text without words nothing is known
            return None if other is None or self.against == "source" else float(not written)
        ratio = written / expected
        return min(1.0, ratio / self.least, self.most / ratio) if ratio else 0.0


@dataclass(frozen=True)
class Language(PerSample):
    """The share of a text that is not clearly in another language than `language`, by windows of about 80 characters.

    All of it is looked at: else a model writes the first line in the right language and copies the rest. Short texts
    and texts of names or figures can rarely be told, and pass. An empty text is in no language: None.
    """

    language: str
    tasks = ("translation", "ocr")

    def __post_init__(self) -> None:
        _ = self._expected  # an unknown language is said at once

    def one(self, sample: Sample) -> float | None:
        """0 to 1."""
        windows = _windows(sample.output)
        if not windows:
            return None
        others = self._expected.others(windows)
        wrong = sum(len(window) for window, other in zip(windows, others, strict=True) if other)
        return 1.0 - wrong / sum(len(window) for window in windows)

    @cached_property
    def _expected(self) -> Expected:
        try:
            return Expected(self.language, "language")
        except UserError as error:
            raise UserError(f"reward language: cannot recognise '{self.language}'") from error


def _windows(text: str) -> list[str]:
    """Whole words in stretches of 80 characters or a little more; a short rest joins the last."""
    windows: list[str] = []
    line = ""
    for word in text.split():
        line = f"{line} {word}" if line else word
        if len(line) >= WINDOW:
            windows.append(line[: 2 * WINDOW])
            line = ""
    if line and windows and len(line) < LEAST_WINDOW:
        windows[-1] = f"{windows[-1]} {line}"
    elif line:
        windows.append(line)
    return windows


@dataclass(frozen=True)
class Repetition(PerSample):
    """Distinct n-grams over all n-grams of a text, 0 to 1; 0 of a text that ends in a loop.

    One less it is the repetition penalty of arXiv 2502.03373, appendix C.2. Words are n-grams' units; a text of fewer
    than `n` words has no n-gram, and gets 1 unless it loops within one word.
    """

    n: int = 3

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n must be at least 1, not {self.n}")

    def one(self, sample: Sample) -> float | None:
        """0 to 1."""
        if looping(sample.output):
            return 0.0
        return distinct_share(sample.output.split(), self.n)


def distinct_share(units: list[str], n: int) -> float:
    """Distinct n-grams over all of them, in (0, 1]; 1 of fewer than n units."""
    grams = list(zip(*(units[start:] for start in range(n)), strict=False))
    return len(set(grams)) / len(grams) if grams else 1.0


@dataclass(frozen=True)
class NotCopied(PerSample):
    """1 where the output is no copy of the source, 0 where it is; between, falling from a likeness of `allowed` on.

    The likeness is the larger of the edit similarity and the share of the source's runs of five characters that the
    output has, so that a copy with something around it is still one. Case, punctuation and white space do not count. A
    source whose reference is as much like it (a name, a number) has no right answer here: None.
    """

    allowed: float = 0.6
    needs = frozenset({"source"})
    tasks = ("translation",)

    def __post_init__(self) -> None:
        if not 0 <= self.allowed < 1:
            raise ValueError(f"allowed must be from 0 to below 1, not {self.allowed:g}")

    def one(self, sample: Sample) -> float | None:
        """0 to 1."""
        if not sample.source or not (source := _bare(sample.source)):
            return None
        if sample.reference and likeness(_bare(sample.reference), source) > self.allowed:
            return None
        above = likeness(_bare(sample.output), source) - self.allowed
        return 1.0 - max(0.0, above) / (1.0 - self.allowed)


def likeness(text: str, source: str) -> float:
    """How much of the source a text has, 0 to 1."""
    similarity = float(Levenshtein.normalized_similarity(text, source))
    runs = {source[at : at + CHARACTERS] for at in range(len(source) - CHARACTERS + 1)}
    return max(similarity, sum(run in text for run in runs) / len(runs)) if runs else similarity


def _bare(text: str) -> str:
    return "".join(re.findall(r"\w", text.casefold()))


@dataclass(frozen=True)
class NotEmpty(PerSample):
    """1 where there is a letter or a digit, else 0."""

    def one(self, sample: Sample) -> float | None:
        """0 or 1."""
        return float(any(sign.isalnum() for sign in sample.output))


@dataclass(frozen=True)
class Ended(PerSample):
    """1 where the model ended the text, 0 where the limit cut it off.

    olmOCR 2 (arXiv 2510.19817) has it because loops never end. A model that writes nothing ends too.
    """

    def one(self, sample: Sample) -> float | None:
        """0 or 1."""
        return float(sample.ended)


@dataclass(frozen=True)
class Constant(PerSample):
    """The same for every text, so that nothing can be learned from it: a control beside a recipe."""

    value: float = 0.5

    def one(self, sample: Sample) -> float | None:  # noqa: ARG002
        """Its value."""
        return self.value


@dataclass(frozen=True)
class Random(PerSample):
    """A number drawn from the text itself and `seed`, alike for like texts: the other control.

    Choshen et al. 2020 (arXiv 1907.01752) saw gains of rewards without sense; group advantages of a constant are 0 and
    would not show them.
    """

    seed: int = 0
    salt: str = field(default="random reward", repr=False)

    def one(self, sample: Sample) -> float | None:
        """0 to below 1."""
        from forge.core.hashing import derive_seed

        return derive_seed(self.seed, self.salt, sample.source or "", sample.output) % 2**24 / 2**24
