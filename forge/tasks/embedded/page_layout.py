"""From rows of text to characters at places: the same for small images, in pixels, and for A4 paper, in points."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from forge.tasks.embedded.page_blocks import Block, Heading, Items, Lines, Row, Run, Table
from forge.tasks.embedded.page_fonts import BULLET, Face, Family, face

LEADING = 1.25  # from base line to base line, in sizes
_ASCENT = 1.0  # from a line's top to its base line
_GAP = 0.8  # between blocks, beyond the line's own: it must not be taken for the end of a line
_HEADINGS = {1: 1.5, 2: 1.25, 3: 1.0}
_CELL = 0.45  # left and right of a cell's text


@dataclass(frozen=True)
class Set:
    """A character at its place: `x` and `y` are where it begins on its base line, `start` its index in the Markdown."""

    character: str
    start: int
    face: Face
    size: int
    x: float
    y: float


@dataclass(frozen=True)
class Rule:
    """A straight line, across or down."""

    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True)
class Word:
    """Characters between two spaces, each with its face, and their width."""

    characters: tuple[tuple[str, int, Face], ...]
    size: int

    @property
    def width(self) -> float:
        """In pixels or points."""
        return sum(face.widths[character] for character, _, face in self.characters) * self.size


@dataclass
class Layout:
    """A page that is filled from above; whether everything is on it, `fits` tells."""

    family: Family
    size: int  # of the body's text
    left: float
    right: float
    top: float
    bottom: float
    leading: float = LEADING
    characters: list[Set] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    wide: bool = False  # something is wider than the page

    def __post_init__(self) -> None:
        self.y = self.top

    @property
    def line_height(self) -> float:
        """From one line of the body's text to the next."""
        return self.leading * self.size

    @property
    def fits(self) -> bool:
        """Whether everything so far is on the page."""
        return self.y <= self.bottom and not self.wide

    def mark(self) -> tuple[int, int, float, bool]:
        """A state to return to."""
        return len(self.characters), len(self.rules), self.y, self.wide

    def back(self, mark: tuple[int, int, float, bool]) -> None:
        """Take everything back that came after `mark`."""
        characters, rules, self.y, self.wide = mark
        del self.characters[characters:], self.rules[rules:]

    def add(self, block: Block, rows: tuple[Row, ...]) -> None:
        """Set a block below the others."""
        if self.y > self.top:
            self.y += _GAP * self.size
        match block:
            case Heading(level):
                self._heading(level, rows[0])
            case Table():
                self._table(rows)
            case Items(numbered=numbered):
                indent = (1.9 if numbered else 1.1) * self.size
                for row in rows:
                    self._mark(row.mark, numbered)
                    self._text(row.cells[0], self.left + indent, self.size)
            case Lines(offsets=offsets):
                for row, (right, down) in zip(rows, offsets or ((0.0, 0.0),) * len(rows), strict=True):
                    self.y += down * self.size
                    self._text(row.cells[0], self.left + right * self.size, self.size, wrap=False)
            case _:
                self._text(rows[0].cells[0], self.left, self.size)

    def _heading(self, level: int, row: Row) -> None:
        size = round(self.size * _HEADINGS[level])
        runs = tuple(Run(run.text, run.start, True, level == 3) for run in row.cells[0])
        self._text(runs, self.left, size)
        if level == 1:  # the largest of a page with no other text is known by its line
            self.rules.append(Rule(self.left, self.y, self.right, self.y))
            self.y += 2

    def _mark(self, mark: Run | None, numbered: bool) -> None:
        assert mark is not None
        text = mark.text if numbered else BULLET
        regular = face(self.family)
        word = Word(tuple((character, mark.start + i, regular) for i, character in enumerate(text)), self.size)
        self._place(word, self.left + 0.2 * self.size, self.y + _ASCENT * self.size)

    def _text(self, runs: tuple[Run, ...], left: float, size: int, wrap: bool = True) -> None:
        x, space = left, face(self.family).widths[" "] * size
        for index, word in enumerate(_words(runs, self.family, size)):
            width = word.width
            if index and x + space + width > self.right and wrap:
                x, self.y = left, self.y + self.leading * size
            elif index:
                x += space
            self._place(word, x, self.y + _ASCENT * size)
            x += width
            self.wide |= x > self.right
        self.y += self.leading * size

    def _table(self, rows: tuple[Row, ...]) -> None:
        padding = _CELL * self.size
        lines = [[list(_words(cell, self.family, self.size)) for cell in row.cells] for row in rows]
        space = face(self.family).widths[" "] * self.size
        widths = [
            max(sum(word.width for word in cell) + space * (len(cell) - 1) for cell in column) + 2 * padding
            for column in zip(*lines, strict=True)
        ]
        edges = [self.left + sum(widths[:column]) for column in range(len(widths) + 1)]
        self.wide |= edges[-1] > self.right
        first, height = self.y, self.leading * self.size + 3
        for row in lines:
            for cell, edge in zip(row, edges[:-1], strict=True):
                x = edge + padding
                for word in cell:
                    self._place(word, x, self.y + 1.5 + _ASCENT * self.size)
                    x += word.width + space
            self.y += height
        self.rules += [Rule(edges[0], first + height * i, edges[-1], first + height * i) for i in range(len(rows) + 1)]
        self.rules += [Rule(edge, first, edge, self.y) for edge in edges]
        self.y += 1

    def _place(self, word: Word, x: float, y: float) -> None:
        for character, start, its_face in word.characters:
            self.characters.append(Set(character, start, its_face, word.size, x, y))
            x += its_face.widths[character] * word.size


def _words(runs: tuple[Run, ...], family: Family, size: int) -> Iterator[Word]:
    word: list[tuple[str, int, Face]] = []
    for run in runs:
        its_face = face(family, run.bold, run.italic)
        for index, character in enumerate(run.text):
            if character == " ":
                yield Word(tuple(word), size)
                word = []
            else:
                word.append((character, run.start + index, its_face))
    yield Word(tuple(word), size)
