"""Checks of running text: present, absent, in order."""

from __future__ import annotations

from dataclasses import dataclass

from forge.tasks.metrics.ocr.checks.base import (
    PASSED,
    Check,
    Outcome,
    Page,
    Row,
    best_part,
    failed,
    quoted,
    threshold,
)
from forge.tasks.metrics.ocr.near import places


@dataclass(frozen=True, kw_only=True)
class Presence(Check):
    """The text is somewhere on the page, or for `absent` nowhere.

    present: partial_ratio ≥ 1 − max_diffs / |text|; absent: below that. The ratio is rapidfuzz's, over the best stretch
    of the page, or of its first `first_n` and last `last_n` characters.
    """

    types = ("present", "absent")

    text: str
    case_sensitive: bool = True
    first_n: int = 0
    last_n: int = 0

    @classmethod
    def read(cls, row: Row) -> Presence:
        """From a line of a file."""
        return cls(
            **cls.common(row),
            text=row.wanted("text", required=True),
            case_sensitive=row.flag("case_sensitive", True),
            first_n=row.number("first_n", 0) or 0,
            last_n=row.number("last_n", 0) or 0,
        )

    def run(self, page: Page) -> Outcome:
        """Whether it holds on that page."""
        wanted = self.text if self.case_sensitive else self.text.lower()
        text = page.normalised if self.case_sensitive else page.lowered
        if self.first_n or self.last_n:
            text = text[: self.first_n] + (text[-self.last_n :] if self.last_n else "")
        least = threshold(wanted, self.max_diffs)
        enough = len(text) >= len(wanted) - self.max_diffs
        found = enough and best_part(wanted, text, least) >= least
        if found is (self.type == "present"):
            return PASSED
        return failed(f"{quoted(self.text)} is {'there' if found else 'not there'} with {self.max_diffs} differences")


@dataclass(frozen=True, kw_only=True)
class Order(Check):
    """Both texts are on the page, and some place of `before` starts earlier than some place of `after`.

    A place differs from its text in at most `max_diffs` edits, which are at most half its length.
    """

    types = ("order",)

    before: str
    after: str

    @classmethod
    def read(cls, row: Row) -> Order:
        """From a line of a file."""
        check = cls(**cls.common(row), before=row.wanted("before", True), after=row.wanted("after", True))
        if check.max_diffs > min(len(check.before), len(check.after)) // 2:
            raise ValueError("`max_diffs` is more than half of `before` or `after`")
        return check

    def run(self, page: Page) -> Outcome:
        """Whether it holds on that page."""
        starts = []
        for name, wanted in (("before", self.before), ("after", self.after)):
            found = [place.start for place in places(wanted, page.normalised, self.max_diffs)]
            if not found:
                return failed(f"`{name}` {quoted(wanted)} is not there with {self.max_diffs} differences")
            starts.append(found)
        if min(starts[0]) < max(starts[1]):
            return PASSED
        return failed(f"{quoted(self.before)} never stands before {quoted(self.after)}")
