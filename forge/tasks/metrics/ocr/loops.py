"""Texts that end in a loop: what a model writes when it never finds the end of a page."""

from __future__ import annotations

import re
from dataclasses import dataclass

NGRAM_REPEATS = 30
"""Repeats of 1 to 5 characters at the end that olmOCR-bench still accepts."""
TAIL = 6_000
LEAST_REPEATS = 5
LEAST_LENGTH = 200
"""A longer unit is a loop from five repeats and 200 characters on: identical table rows rarely come to that."""
RULES, LONGEST_RULE = frozenset("-_=*~."), 200
"""Characters that lines across pages are made of, and how many of them a page may end in."""


@dataclass(frozen=True)
class Loop:
    """A text ends in `repeats` copies of `unit`. Only its last 6,000 characters are looked at."""

    unit: str
    repeats: int

    @property
    def is_rule(self) -> bool:
        """Whether it may be a line across a page, or the dots of an empty form."""
        return self.unit in RULES and self.repeats <= LONGEST_RULE


def repeats(text: str, largest: int = 5) -> list[int]:
    """How often the last 1, 2, … `largest` characters stand at the end in a row, white space collapsed.

    0 where the text is shorter than that, 1 where nothing repeats. The loop test of olmOCR-bench.
    """
    return _repeats(re.sub(r"\s+", " ", text), largest)


def _repeats(text: str, largest: int) -> list[int]:
    found = []
    for size in range(1, largest + 1):
        unit, at, count = text[-size:], len(text) - size, 0
        while at >= 0 and text.startswith(unit, at):
            count, at = count + 1, at - size
        found.append(count)
    return found


def looping(text: str) -> Loop | None:
    """The loop that a text ends in, if it does: of a few characters or of whole lines."""
    text = re.sub(r"\s+", " ", text)[-TAIL:]
    for size, count in enumerate(_repeats(text, 5), start=1):
        if count > NGRAM_REPEATS:
            return Loop(text[-size:], count)
    tail = text[::-1]
    for period, same in enumerate(_matches(tail)):
        whole = (period + same) // period if period else 0
        if whole >= LEAST_REPEATS and whole * period >= LEAST_LENGTH:
            return Loop(tail[:period][::-1], whole)
    return None


def _matches(text: str) -> list[int]:
    """Z function: for each position, how many characters from there are those that the text begins with."""
    found, left, right = [0] * len(text), 0, 0
    for i in range(1, len(text)):
        count = min(right - i, found[i - left]) if i < right else 0
        while i + count < len(text) and text[count] == text[i + count]:
            count += 1
        found[i] = count
        if i + count > right:
            left, right = i, i + count
    return found
