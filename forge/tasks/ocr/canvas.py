"""Every page on one sheet: what an embedded reader sees, and where on it the characters are.

Shape letters: H and W of the sheet in pixels, T labels, L cells, S sub-cells of a cell.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from forge.tasks.ocr.glyphs import NOWHERE, Grid, Numbers, cell_labels, glyph_places, label_cells
from forge.tasks.ocr.pictures import F32, U8, Pictured

PAPER = 255


@dataclass(frozen=True, eq=False)
class Laid:
    """A page on the sheet."""

    pixels_HW: U8
    boxes_N4: F32 | None


def lay(page: Pictured, canvas: tuple[int, int]) -> Laid:
    """The page at the upper left, shrunk if it is larger; paper all around. Grey levels, 0 is black."""
    grey_HW = page.grey()
    boxes_N4 = page.boxes_N4
    height, width = grey_HW.shape
    factor = min(1.0, canvas[0] / height, canvas[1] / width)
    if factor < 1.0:
        size = (max(1, int(width * factor)), max(1, int(height * factor)))
        grey_HW = np.asarray(Image.fromarray(grey_HW).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0))
        if boxes_N4 is not None:
            scale = np.array([size[0] / width, size[1] / height] * 2, np.float32)
            boxes_N4 = boxes_N4 * scale
    if grey_HW.shape == canvas:
        return Laid(grey_HW, boxes_N4)
    sheet_HW = np.full(canvas, _paper(grey_HW), np.uint8)
    sheet_HW[: grey_HW.shape[0], : grey_HW.shape[1]] = grey_HW
    return Laid(sheet_HW, boxes_N4)


def _paper(grey_HW: U8) -> int:
    """The level of the page's own paper, so that no edge shows where it ends."""
    return int(np.median(grey_HW)) if grey_HW.size else PAPER


def places_of(page: Pictured, laid: Laid, ids_T: list[int], grid: Grid, blank: int) -> tuple[Numbers, Numbers] | None:
    """(labels_LS, cells_T) of a page whose characters' places are known. `ids_T` are its labels, one a character."""
    if laid.boxes_N4 is None:
        return None
    places_N = glyph_places(laid.boxes_N4, grid)
    if page.positions_N is None:
        cells_T = label_cells(page.markdown, page.characters, places_N, grid)
        id_of = dict(zip(page.markdown, ids_T, strict=False))
        drawn = [id_of.get(character, blank) for character in page.characters]
    else:
        cells_T = np.full(len(page.markdown), NOWHERE, np.int64)
        cells_T[page.positions_N] = np.where(places_N == NOWHERE, NOWHERE, places_N // grid.sub_cells)
        by_position = np.asarray([*ids_T, *[blank] * len(page.markdown)])  # of a text that was cut off
        drawn = by_position[page.positions_N].tolist()
    return cell_labels(drawn, places_N, grid, blank), cells_T
