"""The check that any page must pass: there is text, it ends, and its script is one that is expected."""

from __future__ import annotations

import re
from dataclasses import dataclass

from forge.tasks.metrics.ocr.checks.base import PASSED, Check, Outcome, Page, Row, failed
from forge.tasks.metrics.ocr.loops import NGRAM_REPEATS, repeats

IMAGE = re.compile(r"!\[[^\]]{0,1000}\]\([^)]{0,1000}\)")
UNEXPECTED = re.compile(
    "["
    "\u4e00-\u9fff"  # Chinese characters
    "\u3040-\u30ff"  # Hiragana and Katakana
    "\U0001f1e0-\U0001f1ff"  # flags
    "\U0001f300-\U0001f64f"  # pictographs and faces
    "\U0001f680-\U0001f6ff"  # transport
    "]"
)


@dataclass(frozen=True, kw_only=True)
class Baseline(Check):
    """Letters or digits; at most 30 repeats of 1 to 5 characters at the end; no Chinese, Japanese or emoji.

    With `max_length` the page is blank, and all that is asked is at most so many letters and digits.
    """

    types = ("baseline",)

    max_length: int | None = None
    skip_images: bool = False
    max_repeats: int = NGRAM_REPEATS
    expected_script: bool = True

    @classmethod
    def read(cls, row: Row) -> Baseline:
        """From a line of a file."""
        return cls(
            **cls.common(row),
            max_length=row.number("max_length"),
            skip_images=row.flag("max_length_skips_image_alt_tags", False),
            max_repeats=row.number("max_repeats", NGRAM_REPEATS) or 0,
            expected_script=row.flag("check_disallowed_characters", True),
        )

    def run(self, page: Page) -> Outcome:
        """Whether it holds on that page."""
        if self.max_length is not None:
            written = letters(IMAGE.sub("", page.text) if self.skip_images else page.text)
            return PASSED if written <= self.max_length else failed(f"{written} letters and digits on a blank page")
        if not letters(page.text):
            return failed("there is no letter or digit")
        for size, count in enumerate(repeats(page.text), start=1):
            if count > self.max_repeats:
                return failed(f"it ends in {count} repeats of {size} characters")
        if self.expected_script and (found := UNEXPECTED.search(page.text)):
            return failed(f"'{found[0]}' is of a script that is not expected")
        return PASSED


def letters(text: str) -> int:
    """How many letters and digits a text has."""
    return sum(map(str.isalnum, text))
