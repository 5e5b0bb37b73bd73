"""HTML tables in the text of a page, read as a browser would: what is not closed ends where it must.

`html.parser` takes time that grows with the square of the text on some of what a model may write (0.6 s on 10,000
characters of `<b x="`), so tables are read by one regular expression that passes over the text once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import unescape

from forge.tasks.metrics.ocr.grid import MOST_SLOTS, Table, Written

TAG = re.compile(r"<(/?)(table|thead|tbody|tfoot|tr|td|th)\b([^<>]{0,1000})>", re.IGNORECASE)
SPAN = re.compile(r"\b(col|row)span\s{0,9}=\s{0,9}[\"']?\s{0,9}(\d{1,9})", re.IGNORECASE)
BREAK = re.compile(r"<br\s{0,9}/?>", re.IGNORECASE)
ANY_TAG = re.compile(r"</?[A-Za-z][^<>]{0,1000}>")
MOST_COLUMNS = 1_000
MOST_DEPTH = 4


@dataclass
class _Open:
    """A table that is being read."""

    start: int
    rows: list[list[Written]] = field(default_factory=list)
    heads: list[bool] = field(default_factory=list)
    in_head: bool = False
    row: list[Written] | None = None
    cell: tuple[str, str] | None = None  # the tag and its attributes
    content: list[str] = field(default_factory=list)
    cut: bool = False


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.open: list[_Open] = []
        self.ignored = 0  # tables opened below the deepest that are read
        self.found: list[Table] = []
        self.slots = MOST_SLOTS

    def read(self) -> list[Table]:
        at = 0
        for tag in TAG.finditer(self.text):
            self._text(self.text[at : tag.start()])
            at = tag.end()
            closing, name, attributes = bool(tag[1]), tag[2].lower(), tag[3]
            if name == "table":
                self._table(closing, tag)
            elif self.open and not self.ignored:
                self._inside(closing, name, attributes)
        self._text(self.text[at:])
        while self.open:
            self._close(len(self.text))
        return sorted(self.found, key=lambda table: table.span)

    def _text(self, text: str) -> None:
        if self.open and self.open[-1].cell:
            self.open[-1].content.append(text)

    def _table(self, closing: bool, tag: re.Match[str]) -> None:
        if not closing and len(self.open) < MOST_DEPTH and not self.ignored:
            self.open.append(_Open(tag.start()))
        elif not closing:
            self.ignored += 1
        elif self.ignored:
            self.ignored -= 1
        elif self.open:
            self._close(tag.end())

    def _inside(self, closing: bool, name: str, attributes: str) -> None:
        table = self.open[-1]
        if name in ("td", "th"):
            self._end_cell()
            if not closing:
                table.row = [] if table.row is None else table.row
                table.cell, table.content = (name, attributes), []
            return
        self._end_row()
        if name == "tr":
            table.row = None if closing else []
        else:
            table.in_head = name == "thead" and not closing

    def _end_cell(self) -> None:
        table = self.open[-1]
        if not table.cell or table.row is None:
            return
        name, attributes = table.cell
        spans = {which.lower(): int(value) for which, value in SPAN.findall(attributes)}
        columns, rows = (min(spans.get(which, 1), MOST_COLUMNS) for which in ("col", "row"))
        columns, table.cell = columns or 1, None
        rows = rows or -1  # 0 reaches to the end of the table
        self.slots -= columns * max(rows, 1)
        if self.slots < 0:
            table.cut = True
            return
        text = plain("".join(table.content))
        table.row.append(Written(text, columns, rows, name == "th" or table.in_head))

    def _end_row(self) -> None:
        self._end_cell()
        table = self.open[-1]
        if table.row:
            table.heads.append(table.in_head or all(cell.heading for cell in table.row))
            table.rows.append(table.row)
        table.row = None

    def _close(self, end: int) -> None:
        self._end_row()
        table = self.open.pop()
        rows = tuple(
            tuple(cell if cell.rows > 0 else _to_the_end(cell, len(table.rows) - at) for cell in row)
            for at, row in enumerate(table.rows)
        )
        if rows:
            head = next((at for at, is_head in enumerate(table.heads) if not is_head), len(rows))
            self.found.append(Table(rows, head, (table.start, end), html=True, cut=table.cut))
            self._text(" ".join(cell.text for row in rows for cell in row))  # it is text of the cell around it


def _to_the_end(cell: Written, rows: int) -> Written:
    return Written(cell.text, cell.columns, rows, cell.heading)


def html_tables(text: str) -> list[Table]:
    """All HTML tables of a text in order of their start, also those inside a cell of another.

    The heading is what stands in `thead`, and rows of `th` alone at the top. Text outside cells is left out.
    """
    return _Reader(text).read() if "<" in text else []


def plain(content: str) -> str:
    """The text of a cell: tags gone, a line break tag a space, entities resolved, white space collapsed."""
    return " ".join(unescape(ANY_TAG.sub("", BREAK.sub(" ", content))).split())
