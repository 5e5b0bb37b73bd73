"""A table as a grid: which cell covers what, what stands beside it, what heads it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

Side = Literal["up", "down", "left", "right"]
Slot = tuple[int, int]  # row, column
MOST_SLOTS = 10_000
"""Slots, spans counted, of all tables of one kind on a page; what comes after them is left out."""


@dataclass(frozen=True)
class Written:
    """A cell as it was written: nothing says yet in which column it stands."""

    text: str
    columns: int = 1
    rows: int = 1
    heading: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of cells. The first `head` rows are the heading; `span` is where in the text the table stands.

    `cut` where a limit of the reader left out rows.
    """

    rows: tuple[tuple[Written, ...], ...]
    head: int
    span: tuple[int, int]
    html: bool
    cut: bool = False

    @cached_property
    def cells(self) -> tuple[Written, ...]:
        """All cells in reading order; an index into this names a cell."""
        return tuple(cell for row in self.rows for cell in row)

    @cached_property
    def _placed(self) -> tuple[dict[Slot, int], bool]:
        """Which cell covers a slot, and whether all spans fit.

        A span that would cover a cell of a row above ends before it, and one that leaves the table ends with it.
        """
        slots: dict[Slot, int] = {}
        index, fits = 0, True
        for row, cells in enumerate(self.rows):
            column = 0
            for cell in cells:
                while (row, column) in slots:
                    column += 1
                width = next((c for c in range(cell.columns) if (row, column + c) in slots), cell.columns)
                height = min(cell.rows, len(self.rows) - row)
                fits = fits and width == cell.columns and height == cell.rows
                slots |= {(row + r, column + c): index for r in range(height) for c in range(width)}
                index, column = index + 1, column + width
        return slots, fits

    @property
    def slots(self) -> Mapping[Slot, int]:
        """Which cell covers a slot; slots of a ragged table that no cell covers are missing."""
        return self._placed[0]

    @cached_property
    def rectangular(self) -> bool:
        """Whether the cells with their spans cover a rectangle, each slot once."""
        slots, fits = self._placed
        width = 1 + max((column for _, column in slots), default=-1)
        return fits and len(slots) == len(self.rows) * width

    @cached_property
    def beside(self) -> Mapping[Side, Sequence[set[int]]]:
        """For each side and cell the cells that touch it there, over gaps too: several where spans meet."""
        found: dict[Side, list[set[int]]] = {side: [set() for _ in self.cells] for side in _SIDES}
        lines: dict[tuple[bool, int], list[tuple[int, int]]] = defaultdict(list)
        for (row, column), cell in self.slots.items():
            lines[True, column].append((row, cell))
            lines[False, row].append((column, cell))
        for (vertical, _), line in lines.items():
            before, after = _PAIRS[vertical]
            line.sort()
            for (_, first), (_, second) in pairwise(line):
                if first != second:
                    found[before][second].add(first)
                    found[after][first].add(second)
        return found

    @cached_property
    def headings(self) -> Mapping[Side, Sequence[int]]:
        """For "up" and "left" and each cell its headings on that side, as bits of cell indices.

        They are the heading cells met on all ways to that edge of the table, or where there is none, the last cells.
        """
        return {side: self._headings(side) for side in ("up", "left")}

    def _headings(self, side: Side) -> list[int]:
        first: dict[int, Slot] = {}
        for slot, cell in sorted(self.slots.items()):
            first.setdefault(cell, slot)
        axis = 0 if side == "up" else 1
        heads = sum(1 << index for index, cell in enumerate(self.cells) if cell.heading)
        ends = sum(1 << index for index in first if not self.beside[side][index])
        passed = [0] * len(self.cells)
        for index in sorted(first, key=lambda cell: first[cell][axis]):
            for other in self.beside[side][index]:
                passed[index] |= passed[other] | 1 << other
        return [met & heads or met & ends for met in passed]


_SIDES: tuple[Side, ...] = ("up", "down", "left", "right")
_PAIRS: dict[bool, tuple[Side, Side]] = {True: ("up", "down"), False: ("left", "right")}
