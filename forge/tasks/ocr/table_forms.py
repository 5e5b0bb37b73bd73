"""Tables of a page as HTML or with pipes, where the other form says the same.

A table of HTML becomes one of Markdown where each cell covers one place, the first row and nothing else is the heading,
all rows are as long, and there is nothing in it but text. Everything else stays as it was written: spans, further
headings, emphasis and lists inside cells, captions. The other way all that is asked is that no cell has marks of
Markdown, which HTML would show as they stand, and no column an alignment.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from html import escape
from typing import Literal

from forge.tasks.metrics.ocr.grid import Table
from forge.tasks.metrics.ocr.html_tables import ANY_TAG, TAG, html_tables, plain
from forge.tasks.metrics.ocr.tables import find_tables

TableForm = Literal["html", "markdown"]
MARKS = re.compile(r"[*`$~\\]|\]\(|(?<!\w)_|_(?!\w)")
ALIGNED = re.compile(r"^[|\s:-]*:[|\s:-]*$", re.MULTILINE)
FENCE = re.compile(r"^ {0,3}(```|~~~)", re.MULTILINE)


def with_tables(text: str, form: TableForm) -> str:
    """The text with every table in that form that can be in it."""
    if FENCE.search(text):  # what stands in a block of code is shown as it is
        return text
    return _replaced(text, _pipes if form == "markdown" else _tags)


def _replaced(text: str, rewrite: Callable[[Table, str], str | None]) -> str:
    """The text with tables written anew, an empty line on either side."""
    parts: list[str] = []
    at, lines = 0, 2  # where we are, and line feeds that stand before it since the last word
    for table in find_tables(text):
        start, end = table.span
        found = rewrite(table, text[start:end]) if start >= at and not table.cut else None
        if found is None:
            continue
        before, after = text[at:start], text[end:]
        bare = before.rstrip("\n")
        lines = len(before) - len(bare) + (0 if bare else lines)
        parts += [before, "\n" * max(0, 2 - lines), found]
        at, lines = end, 0
        if after.strip():
            lines = max(0, 2 - (len(after) - len(after.lstrip("\n"))))
            parts.append("\n" * lines)
    return "".join([*parts, text[at:]])


def _pipes(table: Table, source: str) -> str | None:
    if not table.html or not _simple(table) or table.head != 1 or not _text_alone(table, source):
        return None
    if any(cell.heading for row in table.rows[1:] for cell in row):
        return None
    head, *body = [[_in_pipes(cell.text) for cell in row] for row in table.rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *body])


def _tags(table: Table, source: str) -> str | None:
    if table.html or not _simple(table) or ALIGNED.search(source) or "-" not in source:
        return None
    if any(MARKS.search(cell.text) for cell in table.cells):
        return None
    lines = ["<table>"]
    for number, row in enumerate(table.rows):
        tag = "th" if number < table.head else "td"
        lines.append("<tr>" + "".join(f"<{tag}>{cell.text}</{tag}>" for cell in row) + "</tr>")
    return "\n".join([*lines, "</table>"])


def _simple(table: Table) -> bool:
    widths = {len(row) for row in table.rows}
    return len(widths) == 1 and all(cell.columns == cell.rows == 1 for cell in table.cells)


def _text_alone(table: Table, source: str) -> bool:
    """Whether a table of HTML holds the text of its cells, once, and no other tag."""
    if len(html_tables(source)) != 1 or ANY_TAG.search(TAG.sub(" ", source)):
        return False
    cells: Sequence[str] = [cell.text for cell in table.cells]
    return plain(TAG.sub(" ", source)) == " ".join(" ".join(cells).split())


def _in_pipes(text: str) -> str:
    return escape(text, quote=False).replace("|", "\\|")
