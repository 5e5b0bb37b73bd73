"""A page as a small grey image with a box for each character: what a model is trained to read."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from forge.tasks.embedded.page_fonts import PHASES
from forge.tasks.embedded.page_layout import Layout
from forge.tasks.embedded.page_tree import Preset, Tree, tree
from forge.tasks.embedded.page_words import Chance

_WEIGHTS = (0.6, 1.5)  # powers of the ink in training: the edges of strokes are grey, so they move
_OF_EMPHASIS = (0.8, 1.25)  # where fat strokes mean something

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Picture:
    """A drawn page.

    `boxes_N4` are left, top, right, bottom in pixels of the N characters that have ink, in the order of the Markdown;
    `positions_N` is where in `markdown` each of them stands. A box is tight around its ink; on a page that lies askew
    it is the upright box around the turned one. The mark of a bullet stands at its `-`.
    """

    pixels_HW: U8
    markdown: str
    boxes_N4: F32
    positions_N: npt.NDArray[np.int32]
    degrees: float  # counter-clockwise, 0.0 for an upright page
    noise: float  # standard deviation in grey levels, 0.0 for a clean page

    @property
    def characters(self) -> str:
        """The characters of the boxes."""
        return "".join(self.markdown[position] for position in self.positions_N)


def picture(preset: str, split: str, index: int, seed: int = 0) -> Picture:
    """Page `index` of a split, drawn; the same for the same arguments, whatever was drawn before."""
    drawn = tree(preset, split, index, seed)
    if drawn.preset.paper:
        raise ValueError(f"{preset!r} is paper: forge.tasks.embedded.page_pdf makes it")
    draw = Chance(f"look/{preset}/{split}/{seed}/{index}")
    weights = _WEIGHTS if drawn.preset.lines[1] else _OF_EMPHASIS
    return photograph(drawn, draw, weights if split == "train" else (1.0, 1.0))


def photograph(page: Tree, draw: Chance, weights: tuple[float, float] = (1.0, 1.0)) -> Picture:
    """Ink on paper, perhaps askew, perhaps weak and noisy; `weights` below 1 make strokes fatter, above 1 thinner."""
    preset = page.preset
    ink_HW, boxes_N4, positions_N = ink(page.layout, preset.height, preset.width)
    degrees, noise, paper, contrast = _look(preset, draw)
    if weights != (1.0, 1.0):
        grey_levels = 255 * (np.arange(256) / 255) ** draw.between(*weights)
        ink_HW = np.rint(grey_levels).astype(np.uint8)[ink_HW]
    if degrees:
        turned = Image.fromarray(ink_HW).rotate(degrees, Image.Resampling.BICUBIC)
        ink_HW, boxes_N4 = np.asarray(turned), _turned(boxes_N4, degrees, preset)
    grey_HW = paper - ink_HW * np.float32(contrast * paper / 255)
    if noise:
        # One seed for each page: numpy's own, because drawing so many numbers one by one would take longest of all.
        chance = np.random.Generator(np.random.PCG64(int(draw.random() * 2**53)))
        grey_HW += np.float32(noise) * chance.standard_normal(grey_HW.shape, np.float32)
    pixels_HW = np.clip(np.rint(grey_HW), 0, 255).astype(np.uint8)
    return Picture(pixels_HW, page.markdown, boxes_N4, positions_N, degrees, noise)


def ink(layout: Layout, height: int, width: int) -> tuple[U8, F32, npt.NDArray[np.int32]]:
    """What is printed (0 to 255), upright and clean: ink_HW, boxes_N4, positions_N."""
    ink_HW = np.zeros((height, width), np.uint8)
    boxes, positions = [], []
    for one in layout.characters:
        quarters = round(one.x * PHASES)
        glyph = one.face.glyph(one.character, one.size, quarters % PHASES)
        rows, columns = glyph.ink_HW.shape
        left, top = quarters // PHASES + glyph.left, round(one.y) + glyph.top
        place_HW = ink_HW[top : top + rows, left : left + columns]
        np.maximum(place_HW, glyph.ink_HW, out=place_HW)
        boxes.append((left, top, left + columns, top + rows))
        positions.append(one.start)
    for rule in layout.rules:
        x0, y0, x1, y1 = (int(value) for value in (rule.x0, rule.y0, rule.x1, rule.y1))
        ink_HW[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)] = 255
    return ink_HW, np.array(boxes, np.float32).reshape(-1, 4), np.array(positions, np.int32)


def _look(preset: Preset, draw: Chance) -> tuple[float, float, float, float]:
    """Degrees, noise, how light the paper is and how dark the ink (1 is black)."""
    degrees = draw.between(-preset.degrees, preset.degrees) if draw.random() < preset.turned else 0.0
    if draw.random() >= preset.noisy:
        return degrees, 0.0, 255.0, 1.0
    paper = draw.between(200, 255)
    return degrees, draw.between(*preset.noise), paper, draw.between(*preset.contrast)


def _turned(boxes_N4: F32, degrees: float, preset: Preset) -> F32:
    """The upright boxes around the boxes after a turn about the page's middle, cut where the page ends."""
    middle = np.array([preset.width / 2, preset.height / 2], np.float32)
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn_22 = np.array([[cosine, sine], [-sine, cosine]], np.float32)  # y grows downwards
    corners_N42 = boxes_N4[:, [[0, 1], [2, 1], [2, 3], [0, 3]]] - middle
    turned_N42 = corners_N42 @ turn_22.T + middle
    boxes = np.concatenate([turned_N42.min(axis=1), turned_N42.max(axis=1)], axis=1)
    far = np.array([preset.width, preset.height, preset.width, preset.height], np.float32)
    return np.asarray(np.clip(boxes, 0, far), np.float32)
