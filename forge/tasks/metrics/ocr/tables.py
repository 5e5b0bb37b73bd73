"""All tables of a page, whether they are written in HTML or with pipes."""

from __future__ import annotations

from collections.abc import Sequence

from forge.tasks.metrics.ocr.grid import Table
from forge.tasks.metrics.ocr.html_tables import html_tables
from forge.tasks.metrics.ocr.pipes import pipe_tables


def find_tables(text: str, loose: bool = False) -> list[Table]:
    """All tables of a page, in order. Pipe tables need their line of dashes, unless `loose`."""
    html = html_tables(text)
    covered, end = [], 0
    for table in html:
        if table.span[0] >= end:  # not one in a cell of another
            covered.append(table.span)
            end = table.span[1]
    pipes = pipe_tables(without(text, covered, keep_length=True), loose)
    return sorted([*html, *pipes], key=lambda table: table.span)


def without(text: str, spans: Sequence[tuple[int, int]], keep_length: bool = False) -> str:
    """The text with a line break for each span, or with `keep_length` with as many as it has characters."""
    parts, at = [], 0
    for start, end in spans:
        if end <= at:
            continue
        parts += [text[at:start], "\n" * (end - max(start, at) if keep_length else 1)]
        at = end
    return "".join([*parts, text[at:]])


def rectangularity(text: str) -> float:
    """The share of a page's HTML tables that are rectangular, 0 to 1; 1 where there is none. For a reward."""
    html = [table for table in find_tables(text) if table.html]
    return sum(table.rectangular for table in html) / len(html) if html else 1.0
