"""What every check has, what it says, and the page that it is asked about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

from rapidfuzz import fuzz

from forge.tasks.metrics.ocr.grid import Table
from forge.tasks.metrics.ocr.normalise import normalise
from forge.tasks.metrics.ocr.tables import find_tables

Verdict = Literal["passed", "failed", "left out"]
SameFormula = Callable[[str, str], bool]
"""Whether two formulas of LaTeX look the same: given what a check asks for and what the page has."""
SEARCHED_PAIRS = 30_000_000
"""Characters of a search text times those of the page that are searched: 150 · 200,000, at worst 0.3 s."""


@dataclass(frozen=True)
class Outcome:
    """What a check says of a page, and why it does not pass."""

    verdict: Verdict
    reason: str = ""

    @property
    def passed(self) -> bool:
        """Whether it holds; false too where nobody can tell."""
        return self.verdict == "passed"


PASSED = Outcome("passed")


def failed(reason: str) -> Outcome:
    """The outcome of a check that does not hold."""
    return Outcome("failed", reason)


class Page:
    """The text of a page with what several checks need of it, worked out once; `same` renders formulas."""

    def __init__(self, text: str, same: SameFormula | None = None) -> None:
        self.text, self.same = text, same

    @cached_property
    def normalised(self) -> str:
        """In the spelling in which checks compare."""
        return normalise(self.text)

    @cached_property
    def lowered(self) -> str:
        """The same in lower case."""
        return self.normalised.lower()

    @cached_property
    def tables(self) -> list[tuple[Table, list[str]]]:
        """Tables with the texts of their cells in one spelling."""
        return [(table, [normalise(cell.text) for cell in table.cells]) for table in find_tables(self.text, loose=True)]


class Row:
    """One line of a file of checks, read key by key. Raises ValueError that says what is wrong."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values

    def text(self, key: str, required: bool = False) -> str:
        """A text, empty where it may be missing and is."""
        value = self.values.get(key)
        if value is None and not required:
            return ""
        if not isinstance(value, str):
            raise ValueError(f"`{key}` is missing" if value is None else f"`{key}` must be a text, not {value!r:.60}")
        if required and not value.strip():
            raise ValueError(f"`{key}` is empty")
        return value

    def wanted(self, key: str, required: bool = False) -> str:
        """A text in the spelling in which it is compared."""
        found = normalise(self.text(key, required))
        if required and not found.strip():
            raise ValueError(f"`{key}` is empty once marks of emphasis and white space are gone")
        return found

    def number(self, key: str, default: int | None = None, least: int = 0) -> int | None:
        """A whole number."""
        value = self.values.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"`{key}` must be a whole number from {least}, not {value!r:.60}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise ValueError(f"`{key}` must be true or false, not {value!r:.60}")
        return value


@dataclass(frozen=True, kw_only=True)
class Check:
    """What one check asks of one page. `rejected` ones were found wrong by whoever reviewed them, and are not run."""

    types: ClassVar[tuple[str, ...]] = ()

    pdf: str
    page: int
    id: str
    type: str
    max_diffs: int = 0
    rejected: bool = False

    @classmethod
    def common(cls, row: Row) -> dict[str, Any]:
        """The values that every check has."""
        return {
            "pdf": row.text("pdf", required=True),
            "page": row.number("page", 1, least=1),
            "id": row.text("id", required=True),
            "type": row.text("type", required=True),
            "max_diffs": row.number("max_diffs", 0),
            "rejected": row.text("checked") == "rejected",
        }

    @classmethod
    def read(cls, row: Row) -> Check:
        """A check of this kind from a line of a file."""
        raise NotImplementedError

    def run(self, page: Page) -> Outcome:
        """Whether it holds on that page."""
        raise NotImplementedError


def threshold(wanted: str, max_diffs: int) -> float:
    """The share of a text that must be found: 1 − max_diffs / its length."""
    return 1.0 - max_diffs / max(len(wanted), 1)


def best_part(wanted: str, text: str, least: float) -> float:
    """How much the best stretch of a text is like what is wanted, 0 to 1: rapidfuzz's partial ratio; below `least` 0.

    0 too where the text is so short that it cannot have it, for the ratio is symmetric and would look for the text in
    what is wanted. Of very long texts the start is searched, so that the time has a bound.
    """
    text = text[: SEARCHED_PAIRS // max(len(wanted), 1)]
    ratio = fuzz.partial_ratio(wanted, text, score_cutoff=max(0.0, 100.0 * least - 1e-6)) / 100.0
    return ratio if ratio >= least else 0.0


def quoted(text: str) -> str:
    """A text for a message, at most 40 characters of it."""
    return f"'{text[:40]}…'" if len(text) > 40 else f"'{text}'"
