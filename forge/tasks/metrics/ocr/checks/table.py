"""Checks of tables: a cell, what stands beside it and what heads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rapidfuzz import fuzz

from forge.tasks.metrics.ocr.checks.base import (
    PASSED,
    Check,
    Outcome,
    Page,
    Row,
    failed,
    quoted,
    threshold,
)
from forge.tasks.metrics.ocr.grid import Side, Table

BESIDE: dict[str, Side] = {"up": "up", "down": "down", "left": "left", "right": "right"}
HEADING: dict[str, Side] = {"top_heading": "up", "left_heading": "left"}
LEAST = 0.5


@dataclass(frozen=True, kw_only=True)
class Cell(Check):
    """Some table has a cell like `cell`, with cells like those stated on its sides and at its edges.

    Two cells are alike from ratio ≥ max(0.5, 1 − max_diffs / length of what is asked for); rapidfuzz's ratio is the
    normalised indel similarity. Of several neighbours, where spans meet, one must be alike.
    """

    types = ("table",)

    cell: str
    stated: tuple[tuple[str, str], ...]  # which neighbour or heading, and its text
    html_only: bool = False

    @classmethod
    def read(cls, row: Row) -> Cell:
        """From a line of a file."""
        stated = tuple((key, text) for key in (*BESIDE, *HEADING) if (text := row.wanted(key)))
        html_only = row.flag("ignore_markdown_tables", False)
        return cls(**cls.common(row), cell=row.wanted("cell", True), stated=stated, html_only=html_only)

    def run(self, page: Page) -> Outcome:
        """Whether it holds on that page."""
        tables = [(table, texts) for table, texts in page.tables if table.html or not self.html_only]
        if not tables:
            return failed("there is no table")
        reason = f"no cell is like {quoted(self.cell)}"
        for table, texts in tables:
            cells = self._like(self.cell, texts)
            for key, text in self.stated:
                if cells and not (cells := self._next_to(table, cells, key, self._like(text, texts))):
                    reason = f"no cell like {quoted(self.cell)} has {quoted(text)} as `{key}`"
            if cells:
                return PASSED
        return failed(reason)

    def _like(self, wanted: str, texts: Sequence[str]) -> list[int]:
        least = max(LEAST, threshold(wanted, self.max_diffs))
        return [index for index, text in enumerate(texts) if fuzz.ratio(wanted, text) / 100.0 >= least]

    @staticmethod
    def _next_to(table: Table, cells: Sequence[int], key: str, wanted: Sequence[int]) -> list[int]:
        if side := HEADING.get(key):
            mask = sum(1 << index for index in wanted)
            return [cell for cell in cells if table.headings[side][cell] & mask]
        beside, chosen = table.beside[BESIDE[key]], set(wanted)
        return [cell for cell in cells if not chosen.isdisjoint(beside[cell])]
