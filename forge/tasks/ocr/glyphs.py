"""Where on a page each character is: targets for what reads it, from the boxes that its glyphs were drawn in.

A page is cut into cells, rows of `cell` pixels (height, width), numbered row by row; each cell into sub-cells side by
side, narrow enough to hold one glyph's middle at most. All positions are in pixels of the final image, whatever was
done to it: rotated and noisy pages need nothing of their own.

Shape letters: G glyphs in reading order, T characters of the text, L cells, S sub-cells of a cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rapidfuzz.distance import Levenshtein

Numbers = NDArray[np.int64]
Floats = NDArray[np.float64]
NOWHERE = -1  # instead of a cell, of a character that the page does not show
_NEIGHBOURS = 8  # glyphs on either side that say where a line of text runs


@dataclass(frozen=True)
class Grid:
    """A page's cells. `size` and `cell` are (height, width) in pixels; a page is made of whole cells.

    Where pages are padded, this is the padded page: what reads it sees padding as margin.
    """

    size: tuple[int, int]
    cell: tuple[int, int] = (16, 8)
    sub_cells: int = 2

    @property
    def rows(self) -> int:
        """Rows of cells."""
        return self.size[0] // self.cell[0]

    @property
    def columns(self) -> int:
        """Cells of a row."""
        return self.size[1] // self.cell[1]


def glyph_places(boxes_G4: ArrayLike, grid: Grid) -> Numbers:
    """sub_cells_G: number of the sub-cell (row by row) of each glyph's middle, NOWHERE of one that cannot be seen.

    A box is x0, y0, x1, y1. Which row a glyph is in is decided by the line that it is part of, so that a comma stays
    with its word. A glyph whose sub-cell is taken moves to the next one on the right, and is NOWHERE if that is taken
    too: the order of a line's glyphs is always that of their sub-cells.
    """
    boxes = np.asarray(boxes_G4, dtype=np.float64).reshape(-1, 4)
    across, down = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    seen = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    seen &= (across >= 0) & (across < grid.size[1]) & (down >= 0) & (down < grid.size[0])
    places_G = np.full(len(boxes), NOWHERE, dtype=np.int64)
    visible = seen.nonzero()[0]
    rows = (_line_middles(boxes[visible]) // grid.cell[0]).clip(0, grid.rows - 1)
    width = grid.columns * grid.sub_cells
    columns = across[visible] * grid.sub_cells // grid.cell[1]
    taken: set[int] = set()
    for glyph, row, column in zip(visible.tolist(), rows.tolist(), columns.tolist(), strict=True):
        for place in (int(column), int(column) + 1):
            number = int(row) * width + place
            if place < width and number not in taken:
                taken.add(number)
                places_G[glyph] = number
                break
    return places_G


def cell_labels(ids_G: Sequence[int], places_G: Numbers, grid: Grid, blank: int) -> Numbers:
    """labels_LS: the character in each sub-cell, or `blank`."""
    labels = np.full(grid.rows * grid.columns * grid.sub_cells, blank, dtype=np.int64)
    visible = places_G != NOWHERE
    labels[places_G[visible]] = np.asarray(ids_G, dtype=np.int64)[visible]
    return labels.reshape(-1, grid.sub_cells)


def label_cells(text: str, drawn: str, places_G: Numbers, grid: Grid) -> Numbers:
    """cells_T: the cell of each character of `text`, NOWHERE of one that is not drawn, as marks of Markdown.

    `drawn` holds the glyphs' characters in the order of `places_G`. The two are aligned: what both have in order is
    the same, the rest is a mark on the one side, or a bullet drawn for it on the other.
    """
    assert len(drawn) == len(places_G)
    cells_T = np.full(len(text), NOWHERE, dtype=np.int64)
    for block in SequenceMatcher(None, text, drawn, autojunk=False).get_matching_blocks():
        places = places_G[block.b : block.b + block.size]
        cells_T[block.a : block.a + block.size] = np.where(places == NOWHERE, NOWHERE, places // grid.sub_cells)
    return cells_T


def moved_cells(ids_T: Sequence[int], own_U: Sequence[int], cells_U: Numbers) -> Numbers:
    """cells_T: places of the labels of another text of the page, from those of its own text.

    The two are aligned with as few edits as possible, and what is the same in both is in the same place. A text that
    agrees with less than half of the page has no places at all: letters would meet by chance.
    """
    cells_T = np.full(len(ids_T), NOWHERE, dtype=np.int64)
    if len(cells_U) == 0:
        return cells_T
    placed_U = np.concatenate([cells_U, np.full(max(0, len(own_U) - len(cells_U)), NOWHERE, dtype=np.int64)])
    same = 0
    for block in Levenshtein.opcodes(list(own_U), list(ids_T)):
        if block.tag == "equal":
            cells_T[block.dest_start : block.dest_end] = placed_U[block.src_start : block.src_end]
            same += block.src_end - block.src_start
    return cells_T if 2 * same >= max(len(ids_T), len(own_U)) else np.full_like(cells_T, NOWHERE)


def pad_places(cells: Sequence[Sequence[int]], length: int) -> Numbers:
    """cells_BT of several texts, filled up to `length` labels (an end token has no place either)."""
    padded = np.full((len(cells), length), NOWHERE, dtype=np.int64)
    for row, one in enumerate(cells):
        padded[row, : len(one)] = one[:length]
    return padded


def _line_middles(boxes_G4: Floats) -> Floats:
    """middles_G: the height at which the line of each glyph runs, there: the mean of its neighbours, tall ones first.

    Weighted by the square of their own heights, commas and quotation marks hardly count beside letters.
    """
    middles = np.empty(len(boxes_G4))
    for first, last in _lines(boxes_G4):
        tops, bottoms = boxes_G4[first:last, 1], boxes_G4[first:last, 3]
        down, weights = (tops + bottoms) / 2, (bottoms - tops) ** 2
        for glyph in range(last - first):
            near = slice(max(0, glyph - _NEIGHBOURS), glyph + _NEIGHBOURS + 1)
            middles[first + glyph] = np.average(down[near], weights=weights[near])
    return middles


def _lines(boxes_G4: Floats) -> list[tuple[int, int]]:
    """First glyph of each line and the one after its last. A line ends where the next glyph is left of it or far."""
    if not len(boxes_G4):
        return []
    across, down = (boxes_G4[:, 0] + boxes_G4[:, 2]) / 2, (boxes_G4[:, 1] + boxes_G4[:, 3]) / 2
    heights = boxes_G4[:, 3] - boxes_G4[:, 1]
    tall = np.maximum(heights[1:], heights[:-1])
    far = np.abs(np.diff(down)) > np.maximum(tall, np.median(heights))
    starts = [0, *((np.diff(across) <= 0) | far).nonzero()[0] + 1, len(boxes_G4)]
    return [(int(a), int(b)) for a, b in pairwise(starts)]
