"""All figures of pages that were read, beside what they should be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import mean
from typing import Any

import numpy as np

from forge.core.errors import UserError
from forge.tasks.base import Scores
from forge.tasks.metrics.ocr.headings import mhs
from forge.tasks.metrics.ocr.likeness import Likeness
from forge.tasks.metrics.ocr.loops import looping
from forge.tasks.metrics.ocr.order import order_edit
from forge.tasks.metrics.ocr.teds import Teds, page_teds
from forge.tasks.metrics.ocr.text import (
    Edits,
    char_edits,
    corpus_rate,
    edit_similarity,
    nid,
    without_tables,
    word_edits,
)

WORST = 20


@dataclass(frozen=True)
class PageScores:
    """The figures of one page; each is None where the page has nothing that it could measure."""

    name: str
    hypothesis: str
    reference: str

    @cached_property
    def figures(self) -> dict[str, float | None]:
        """By name, all from 0 to 1."""
        ours, theirs = self.hypothesis, self.reference
        plain = without_tables(ours), without_tables(theirs)
        whole = nid(ours, theirs)
        unchanged = plain == (ours, theirs)
        tables = self.tables if self.tables and self.tables.expected else None
        outline, bare = self.outlines
        return {
            "edit_similarity": edit_similarity(ours, theirs),
            "nid": whole,
            "nid_s": whole if unchanged else nid(*plain) if plain[1].strip() or not theirs.strip() else None,
            "teds": tables.teds if tables else None,
            "teds_s": tables.teds_s if tables else None,
            "mhs": outline.value if outline else None,
            "mhs_s": bare.value if bare else None,
            "order_edit": order_edit(ours, theirs),
        }

    @cached_property
    def outlines(self) -> tuple[Likeness | None, Likeness | None]:
        """Of the headings, with texts and without."""
        ours, theirs = self.hypothesis, self.reference
        return mhs(ours, theirs), mhs(ours, theirs, with_text=False)

    @cached_property
    def tables(self) -> Teds | None:
        """Of the tables."""
        return page_teds(self.hypothesis, self.reference)

    @cached_property
    def characters(self) -> Edits:
        """That mend the page."""
        return char_edits(self.hypothesis, self.reference)

    @cached_property
    def words(self) -> Edits:
        """That mend the page."""
        return word_edits(self.hypothesis, self.reference)


def score_pages(
    hypotheses: Sequence[str], references: Sequence[str], names: Sequence[str] | None = None, worst: int = WORST
) -> Scores:
    """Figures of N pages against one reference each, in order; `names` are for the detail, else the page's number.

    Over the whole corpus: `cer`, `wer` (0 upwards, less is better). Means over the pages that have what is measured,
    0 to 1: `edit_similarity`, `nid`; `nid_s` where there is text beside tables; `teds`, `teds_s` where the reference
    has a table; `mhs`, `mhs_s` where it has a heading; `order_edit` (less is better) where two blocks can be paired. A
    figure that no page has is absent. The detail says over how many pages each mean goes, which pages are worst, which
    blank pages got text, which got nothing, which end in a loop, where tables were invented, and what is not exact.
    """
    _check(hypotheses, references, names)
    named = names or [str(number) for number in range(1, len(references) + 1)]
    pages = [PageScores(*three) for three in zip(named, hypotheses, references, strict=True)]
    figures = {
        "cer": corpus_rate(page.characters for page in pages),
        "wer": corpus_rate(page.words for page in pages),
    }
    counts = {}
    for figure in pages[0].figures:
        values = [value for page in pages if (value := page.figures[figure]) is not None]
        if values:
            figures[figure], counts[figure] = mean(values), len(values)
    ranked = sorted(pages, key=lambda page: (page.figures["edit_similarity"], -page.characters.edits))
    detail = {
        "pages": len(pages),
        "measured": counts,
        "characters": sum(page.characters.reference for page in pages),
        "worst": [_shown(page) for page in ranked[:worst] if page.characters.edits],
        "blank_with_text": _names(page for page in pages if page.hypothesis.strip() and not page.reference.strip()),
        "nothing_read": _names(page for page in pages if page.reference.strip() and not page.hypothesis.strip()),
        "loops": [found for page in pages if (found := _loop(page))],
        "invented_tables": _names(page for page in pages if page.tables and page.tables.tables > page.tables.expected),
        "not_exact": _names(page for page in pages if not _exact(page)),
    }
    rows = {
        "cer": lambda: np.array([(page.characters.edits, page.characters.reference) for page in pages], np.float64),
        "wer": lambda: np.array([(page.words.edits, page.words.reference) for page in pages], np.float64),
        "edit_similarity": lambda: np.array([[page.figures["edit_similarity"]] for page in pages], np.float64),
        "nid": lambda: np.array([[page.figures["nid"]] for page in pages], np.float64),
    }
    return Scores(figures, detail, rows)


def _shown(page: PageScores) -> dict[str, Any]:
    found = {name: value for name, value in page.figures.items() if value is not None}
    return {"page": page.name, "cer": page.characters.rate, "edits": page.characters.edits} | found


def _loop(page: PageScores) -> dict[str, Any] | None:
    found = looping(page.hypothesis)
    if not found or looping(page.reference):
        return None
    return {"page": page.name, "unit": found.unit, "repeats": found.repeats}


def _exact(page: PageScores) -> bool:
    parts = (page.characters, page.words, page.tables, *page.outlines)
    return all(part is None or part.exact for part in parts)


def _names(pages: Any) -> list[str]:
    return [page.name for page in pages]


def _check(hypotheses: Sequence[str], references: Sequence[str], names: Sequence[str] | None) -> None:
    if len(hypotheses) != len(references) or (names is not None and len(names) != len(references)):
        raise UserError(f"there are {len(hypotheses):,} hypotheses and {len(references):,} references; each needs one")
    if not references:
        raise UserError("there are no pages to score")
