"""How well a page was read.

What pleases them: edit similarity gives partial credit to a wrong order and to a page half read; TEDS and well-formed
Markdown are 1 where neither side has a table, and for text without any mark; unit tests pass for a page that holds
whatever they ask for and much else. Together they leave little room; `no_loop` and `ended` close the rest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from forge.tasks.metrics.ocr.checks.run import share_passed
from forge.tasks.metrics.ocr.loops import TAIL, looping
from forge.tasks.metrics.ocr.teds import teds
from forge.tasks.metrics.ocr.text import edit_similarity
from forge.tasks.rewards.base import Need, PerSample, Sample

REFERENCE: frozenset[Need] = frozenset({"reference"})


@dataclass(frozen=True)
class EditSimilarity(PerSample):
    """1 − Levenshtein distance / length of the longer text."""

    needs = REFERENCE

    def one(self, sample: Sample) -> float | None:
        """0 to 1."""
        return None if sample.reference is None else edit_similarity(sample.output, sample.reference)


@dataclass(frozen=True)
class UnitTests(PerSample):
    """The share of the page's checks that pass (olmOCR 2, arXiv 2510.19817). None of a page without checks.

    Checks of formulas do not count, since nothing renders them here.
    """

    needs = frozenset({"checks"})
    tasks = ("ocr",)

    def one(self, sample: Sample) -> float | None:
        """0 to 1."""
        return share_passed(sample.checks, sample.output) if sample.checks else None


@dataclass(frozen=True)
class Teds(PerSample):
    """TEDS of all tables of a page. 1 where there are none on either side, so that inventing one costs."""

    needs = REFERENCE
    tasks = ("ocr",)

    def one(self, sample: Sample) -> float | None:
        """0 to 1."""
        return None if sample.reference is None else teds(sample.output, sample.reference)


@dataclass(frozen=True)
class NoLoop(PerSample):
    """1, or of a text that ends in a loop the share of it that comes before; 1 where the reference ends in one too."""

    def one(self, sample: Sample) -> float | None:
        """0 to 1. Only the last 6,000 characters are looked at."""
        found = looping(sample.output)
        if not found or (sample.reference and looping(sample.reference)):
            return 1.0
        length = min(len(re.sub(r"\s+", " ", sample.output)), TAIL)
        return max(0.0, 1.0 - len(found.unit) * found.repeats / length)
