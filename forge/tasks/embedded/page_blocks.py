"""A page as a tree of blocks, and its one exact Markdown."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """Text of one style, without any of Markdown's own signs."""

    text: str
    bold: bool = False
    italic: bool = False


Spans = tuple[Span, ...]


@dataclass(frozen=True)
class Heading:
    """`level` is 1 to 3."""

    level: int
    spans: Spans


@dataclass(frozen=True)
class Paragraph:
    """Where its lines end on the page is the page's matter: in Markdown it is one line."""

    spans: Spans


@dataclass(frozen=True)
class Lines:
    """Plain lines that end where they end on the page. `offsets`: how far each is set in, and below the one before.

    Offsets are right and down, beyond what the page gives every line, in sizes of the text; () for none.
    """

    lines: tuple[str, ...]
    offsets: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Items:
    """A list: bullets, or numbers from 1."""

    items: tuple[Spans, ...]
    numbered: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of plain cells; the first row is the head."""

    rows: tuple[tuple[str, ...], ...]


Block = Heading | Paragraph | Lines | Items | Table


@dataclass(frozen=True)
class Run:
    """Visible text of one style, and where in the page's Markdown it stands."""

    text: str
    start: int  # the index of its first character
    bold: bool = False
    italic: bool = False


@dataclass(frozen=True)
class Row:
    """What belongs on one line if the page is wide enough: cells, most often one; a list item has its mark before."""

    cells: tuple[tuple[Run, ...], ...]
    mark: Run | None = None


class Markdown:
    """The text of a page as it grows, a block at a time: `text`, and the rows of each block in `blocks`."""

    def __init__(self) -> None:
        self.text = ""
        self.blocks: list[tuple[Block, tuple[Row, ...]]] = []

    def add(self, block: Block) -> tuple[Row, ...]:
        """Write another block; returns its rows."""
        self._write("\n\n" if self.text else "")
        rows = tuple(self._rows(block))
        self.blocks.append((block, rows))
        return rows

    def drop(self) -> None:
        """Take the last block back."""
        kept = [block for block, _ in self.blocks[:-1]]
        self.text, self.blocks = "", []
        for block in kept:
            self.add(block)

    def _rows(self, block: Block) -> list[Row]:
        match block:
            case Heading(level, spans):
                self._write("#" * level + " ")
                return [Row((self._spans(spans),))]
            case Paragraph(spans):
                return [Row((self._spans(spans),))]
            case Lines(lines):
                return [Row(((self._run(line, "\n" if index else ""),),)) for index, line in enumerate(lines)]
            case Items(items, numbered):
                return [self._item(spans, index, numbered) for index, spans in enumerate(items)]
            case Table(rows):
                return [self._cells(cells, index) for index, cells in enumerate(rows)]

    def _item(self, spans: Spans, index: int, numbered: bool) -> Row:
        mark = self._run(f"{index + 1}." if numbered else "-", "\n" if index else "")
        self._write(" ")
        return Row((self._spans(spans),), mark)

    def _cells(self, cells: tuple[str, ...], index: int) -> Row:
        self._write("\n" if index else "")
        if index == 1:
            self._write("|" + " --- |" * len(cells) + "\n")
        runs = tuple(
            (self._run(cell, " | " if column else "| ", bold=index == 0),) for column, cell in enumerate(cells)
        )
        self._write(" |")
        return Row(runs)

    def _spans(self, spans: Spans) -> tuple[Run, ...]:
        runs = []
        for span in spans:
            sign = "**" if span.bold else "*" if span.italic else ""
            runs.append(self._run(span.text, sign, span.bold, span.italic))
            self._write(sign)
        return tuple(runs)

    def _run(self, text: str, before: str = "", bold: bool = False, italic: bool = False) -> Run:
        self._write(before)
        run = Run(text, len(self.text), bold, italic)
        self._write(text)
        return run

    def _write(self, text: str) -> None:
        self.text += text


def markdown_of(blocks: tuple[Block, ...]) -> str:
    """The Markdown of a tree; a blank page has none."""
    page = Markdown()
    for block in blocks:
        page.add(block)
    return page.text
