"""Checks of a page made of what it should say: for pages whose Markdown is known and that bring none of their own.

olmOCR 2 (arXiv 2510.19817) makes its checks of the HTML of synthetic pages likewise: each asks for a small part, so a
page half read passes about half of them, whatever a character more or less would do to an edit distance.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

from forge.tasks.metrics.ocr.checks.base import Check, Page
from forge.tasks.metrics.ocr.checks.baseline import Baseline, letters
from forge.tasks.metrics.ocr.checks.form import MARKDOWN, Format, marked
from forge.tasks.metrics.ocr.checks.table import Cell
from forge.tasks.metrics.ocr.checks.text import Order, Presence
from forge.tasks.metrics.ocr.headings import heading
from forge.tasks.metrics.ocr.normalise import normalise
from forge.tasks.metrics.ocr.tables import find_tables, without

PIECE = 10
"""Characters of a text to look for, to the end of the word: long enough to be of this page, short enough that a reader
that misreads one character in twenty passes half of them."""
MOST_CHECKS = 150  # of a page; of more every second, third, … is taken
SPARE = 4  # one edit in so many characters is allowed where order alone is asked
MARK = re.compile(r"^\s*(?:[-*+•]|\d{1,9}[.)]|>)\s+")
RULE = re.compile(r"\s*(?:[-*_]\s*){3,}|\s*(?:```|~~~).*")


@lru_cache(maxsize=1_024)
def derived_checks(markdown: str) -> tuple[Check, ...]:
    """`present` for each few words, `order` from line to line, `table` for each cell beside its neighbour and below its
    heading, `format` for what is marked; of a blank page that it is blank. The text itself passes them all.
    """
    if not letters(markdown):
        return (Baseline(pdf="", page=1, id="blank", type="baseline", max_length=0),)
    page = Page(markdown)
    found = [check for check in (*_texts(markdown), *_forms(markdown), *_cells(markdown)) if check.run(page).passed]
    return tuple(found[:: -(-len(found) // MOST_CHECKS)] if found else ())


def _texts(markdown: str) -> Iterator[Check]:
    lines = [_bare(line) for line in without(markdown, _table_spans(markdown)).split("\n") if not RULE.fullmatch(line)]
    pieces = [cut for line in lines if (cut := _pieces(line))]
    for number, text in enumerate(text for some in pieces for text in some):
        yield Presence(pdf="", page=1, id=f"present {number}", type="present", text=text)
    for number, (before, after) in enumerate(pairwise(some[0] for some in pieces)):
        edits = min(len(before), len(after)) // SPARE
        yield Order(pdf="", page=1, id=f"order {number}", type="order", before=before, after=after, max_diffs=edits)


def _forms(markdown: str) -> Iterator[Check]:
    text = without(markdown, _table_spans(markdown))
    for form in MARKDOWN:
        for number, part in enumerate(marked(text, form)):
            if wanted := normalise(part).strip():
                yield Format(
                    pdf="", page=1, id=f"{form} {number}", type="format", text=wanted, format=form, max_diffs=0
                )


def _cells(markdown: str) -> Iterator[Check]:
    for number, table in enumerate(find_tables(markdown)):
        texts = [normalise(cell.text).strip() for cell in table.cells]
        for index, text in enumerate(texts):
            if not text:
                continue
            heads = table.headings["up"][index]
            above = next((other for at, other in enumerate(texts) if heads >> at & 1 and other), "")
            beside = next((texts[at] for at in sorted(table.beside["left"][index]) if texts[at]), "")
            stated = tuple((key, value) for key, value in (("left", beside), ("top_heading", above)) if value)
            yield Cell(pdf="", page=1, id=f"cell {number}.{index}", type="table", cell=text, stated=stated)


def _table_spans(markdown: str) -> list[tuple[int, int]]:
    return [table.span for table in find_tables(markdown)]


def _bare(line: str) -> str:
    """A line without what makes it a heading, an item or a quotation, in the spelling in which checks compare."""
    found = heading(line)
    return normalise(found.text if found else MARK.sub("", line)).strip()


def _pieces(line: str) -> list[str]:
    """Whole words, 10 characters or a little more; a short rest joins the last."""
    pieces: list[str] = []
    words: list[str] = []
    for word in line.split():
        words.append(word)
        if len(text := " ".join(words)) >= PIECE:
            pieces.append(text)
            words = []
    if words and pieces and len(" ".join(words)) < PIECE // 2:
        pieces[-1] = " ".join([pieces[-1], *words])
    elif words:
        pieces.append(" ".join(words))
    return pieces
