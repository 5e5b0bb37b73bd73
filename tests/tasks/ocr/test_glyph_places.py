"""Boxes of glyphs become sub-cells and cells, on straight, tilted and noisy pages, by an independent reckoning."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from forge.tasks.ocr.glyphs import NOWHERE, Grid, cell_labels, glyph_places, label_cells, pad_places

GRID = Grid((64, 80))  # 4 rows of 10 cells, 20 sub-cells a row
INK = {".": (8, 10), ",": (8, 12), "'": (0, 3), "g": (4, 12), "h": (0, 10), "-": (5, 6)}  # top and bottom


def line(text: str, x: float, y: float, width: float = 6.0) -> list[tuple[float, float, float, float]]:
    """Boxes of ink of a line of letters whose tops are at y; a space has none."""
    boxes = []
    for i, character in enumerate(text):
        top, bottom = INK.get(character, (3, 10))
        left = x + i * width
        empty = character == " "
        boxes.append((left, y + top, left + (0 if empty else width - 1), y + (top if empty else bottom)))
    return boxes


def read(labels_LS: np.ndarray, grid: Grid) -> list[str]:
    """What a perfect reader of sub-cells reads in each row of cells."""
    rows = labels_LS.reshape(grid.rows, -1)
    return ["".join(chr(label) for label in row if label) for row in rows]


def labels_of(text: str, boxes: list[tuple[float, float, float, float]], grid: Grid) -> np.ndarray:
    return cell_labels([ord(character) for character in text], glyph_places(boxes, grid), grid, blank=0)


def test_each_glyph_is_in_the_sub_cell_of_its_middle() -> None:
    boxes = [(8, 18, 13, 28), (21, 17, 24, 27), (39, 50, 41, 60)]
    assert glyph_places(boxes, GRID).tolist() == [20 + 2, 20 + 5, 60 + 10]
    labels = cell_labels([7, 8, 9], glyph_places(boxes, GRID), GRID, blank=3)
    assert labels.shape == (40, 2)
    assert labels[10 + 1].tolist() == [7, 3]
    assert labels[10 + 2].tolist() == [3, 8]
    assert labels[30 + 5].tolist() == [9, 3]
    assert (labels == 3).sum() == 80 - 3


@pytest.mark.parametrize("y", np.arange(0.0, 40.0, 0.5))
def test_a_line_is_read_in_one_row_whatever_its_letters_reach_to(y: float) -> None:
    text = "h,a.'-ah.,"
    rows = read(labels_of(text, line(text, 2, y), GRID), GRID)
    if 0.5 < (y + 5.5) % 16 < 15.5:  # letters have their middles at y + 5 and y + 6.5
        assert sorted(rows) == ["", "", "", text]
    else:
        assert sorted("".join(rows)) == sorted(text)


def test_lines_keep_their_own_rows() -> None:
    first, second = "ab,c", "de.f"
    rows = read(labels_of(first + second, line(first, 2, 2) + line(second, 2, 20), GRID), GRID)
    assert rows == [first, second, "", ""]
    columns = line("ab", 2, 2) + line("cd", 2, 20) + line("ef", 44, 2)  # the second column begins at the top
    assert read(labels_of("abcdef", columns, GRID), GRID) == ["abef", "cd", "", ""]


def test_a_tilted_line_is_where_it_is() -> None:
    grid, text = Grid((96, 320)), "the,quick.brown'fox-jumps,over.the-lazy"
    angle = math.radians(3.0)
    boxes = [(x0, y0 + x0 * math.sin(angle), x1, y1 + x0 * math.sin(angle)) for x0, y0, x1, y1 in line(text, 4, 30, 8)]
    places = glyph_places(boxes, grid)
    assert len(set(places.tolist())) == len(text)
    for box, place in zip(boxes, places.tolist(), strict=True):
        row, column = divmod(place, 80)
        assert column == int((box[0] + box[2]) / 2 // 4)
        runs = 30 + 6.5 + box[0] * math.sin(angle)  # middle of a small letter there
        assert row * 16 - 4 < runs < row * 16 + 20
    assert {place // 80 for place in places.tolist()} == {2, 3}


def test_narrow_glyphs_move_to_the_right_or_go() -> None:
    boxes = [(0.2 + i, 0, 0.9 + i, 10) for i in range(4)]  # four letters of one pixel
    assert glyph_places(boxes, GRID).tolist() == [0, 1, NOWHERE, NOWHERE]
    thin = [(1.9 * i, 0, 1.9 * i + 1, 10) for i in range(6)]
    places = [place for place in glyph_places(thin, GRID).tolist() if place != NOWHERE]
    assert places == sorted(set(places))
    at_the_edge = [(78, 0, 79, 10), (78.5, 0, 79.5, 10)]
    assert glyph_places(at_the_edge, GRID).tolist() == [19, NOWHERE]


def test_what_cannot_be_seen_has_no_place() -> None:
    boxes = [(5, 5, 5, 15), (5, 5, 9, 5), (-9, 5, -3, 15), (5, 70, 9, 80), (90, 5, 95, 15), (5, 5, 9, 15)]
    assert glyph_places(boxes, GRID).tolist() == [NOWHERE] * 5 + [1]
    assert glyph_places(np.empty((0, 4)), GRID).tolist() == []
    assert (cell_labels([], glyph_places([], GRID), GRID, blank=0) == 0).all()


def test_marks_of_markdown_are_nowhere() -> None:
    text, drawn = "# Ti\n\n- **a** b\n", "Ti•a b"
    boxes = [*line("Ti", 0, 0, 8), *line("•a b", 0, 16, 8)]
    cells = label_cells(text, drawn, glyph_places(boxes, GRID), GRID)
    where = dict(zip(text, cells.tolist(), strict=True))
    assert [where[c] for c in "Tiab"] == [0, 1, 11, 13]
    assert {where[c] for c in "#\n-* "} == {NOWHERE}


def test_a_mark_like_its_text_shifts_no_other_character() -> None:
    text, drawn = "- -5 and -6", "-5 and -6"
    cells = label_cells(text, drawn, glyph_places(line(drawn, 0, 0, 8), GRID), GRID)
    assert cells[3:].tolist() == [1, NOWHERE, 3, 4, 5, NOWHERE, 7, 8]
    assert sorted(cells[:3].tolist()) == [NOWHERE, NOWHERE, 0]


def test_every_drawn_character_finds_its_own_glyph() -> None:
    """A random text with marks put in: where both agree, cells are those of the drawn order."""
    rng = random.Random(0)
    grid = Grid((32, 800))
    for _ in range(20):
        drawn = "".join(rng.choice("abcdefghij") for _ in range(90))
        places = glyph_places(line(drawn, 1, 4, 8), grid)
        text, own = "", []
        for i, character in enumerate(drawn):
            if rng.random() < 0.1:
                text, own = text + "**", [*own, NOWHERE, NOWHERE]
            text, own = text + character, [*own, places[i] // 2]
        assert label_cells(text, drawn, places, grid).tolist() == own


def test_places_are_filled_up_to_the_labels() -> None:
    assert pad_places([[3, NOWHERE], [], [1, 2, 3]], 3).tolist() == [[3, -1, -1], [-1, -1, -1], [1, 2, 3]]
