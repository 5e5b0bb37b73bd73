"""A crop: whole words of lines of a page, at the places that they have there, on paper of an embedded page's size.

Each line is cut out between two words, so no character is cut through, and what stood beside is white. A crop with ink
that no character of its truth accounts for (a rule, a neighbour, a picture), or with a character that has no ink, is
refused: then the text layer is not all that the page shows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor

import numpy as np
import numpy.typing as npt

from bench.manuals.lines import F32, Line, Word
from forge.tasks.embedded.page_tree import PRESETS
from forge.tasks.embedded.page_words import CHARACTERS, Chance

U8 = npt.NDArray[np.uint8]
KINDS = {"lines": (1, 3), "markdown": (2, 8)}  # kind → how many lines
X_HEIGHT = 0.547  # of DejaVu Sans, in sizes: embedded pages are as large as their small letters
LIKE_THE_BODY = (0.85, 1.15)  # a line's small letters, in heights of the body's
LEADERS = re.compile(r"(\. ?){3}|(^| )\.( |$)", re.MULTILINE)
_LEADING = 3.2  # from base line to base line of one paragraph at most, in heights of an x
_MARK = re.compile(r"([0-9]+|[a-z]+)\.( |$)")  # of a list
_EDGE = 2  # pixels around a character's box that may still be its ink
_WHITE = 240


class UnfitError(Exception):
    """A crop that cannot be scored; the message is why, one of few."""


@dataclass(frozen=True, eq=False)
class Crop:
    """An image and what stands on it. `boxes_N4` are left, top, right, bottom of its characters, in its pixels."""

    document: str
    place: str
    pixels_HW: U8
    truth: str
    boxes_N4: F32
    origin: tuple[int, int]  # where its upper left lies on the page: column and row

    @property
    def name(self) -> str:
        """Where it is from."""
        return f"{self.document} {self.place}"


def target(kind: str) -> float:
    """How tall an x is on the embedded pages of a kind, in pixels: the middle of the preset's sizes."""
    return X_HEIGHT * sum(PRESETS[kind].sizes) / 2


def cut(where: tuple[str, str], kind: str, page_HW: U8, lines: Sequence[Line], draw: Chance) -> Crop:
    """A crop of a page that begins with its first line, or somewhere in it if it has one. Raises UnfitError."""
    preset = PRESETS[kind]
    left, right, top = (draw.whole(*preset.margin) for _ in range(3))
    room = preset.width - left - right, preset.height - top - preset.margin[0]
    wanted = draw.whole(*KINDS[kind])
    first = draw.whole(0, max(len(lines[0].words) - 3, 0)) if wanted == 1 else 0
    kept = _kept([Line(lines[0].words[first:]), *lines[1:wanted]], room)
    if len(kept) < min(wanted, KINDS["markdown"][0]):
        raise UnfitError("its lines do not go on below each other")
    truth = _joined(kept, kind)
    if not set(truth) <= set(CHARACTERS):
        raise UnfitError("a character that the reader's alphabet lacks")
    if any(LEADERS.search(line.text) for line in kept):
        raise UnfitError("leaders")
    x0, y0, _, y1 = _box(kept)
    if kind == "lines":  # anywhere between top and bottom, as on the embedded pages
        top += int(draw.random() * (room[1] - (y1 - y0)))
    origin = floor(x0) - left, floor(y0) - top
    pixels_HW = _pasted(page_HW, kept, origin, (preset.height, preset.width))
    boxes_N4 = np.concatenate([word.boxes_N4 for line in kept for word in line.words]) - np.array(
        origin * 2, np.float32
    )
    check_ink(pixels_HW, boxes_N4)
    return Crop(*where, pixels_HW, truth, boxes_N4, origin)


def check_ink(pixels_HW: U8, boxes_N4: F32) -> None:
    """Raises UnfitError unless all ink belongs to a box and each box has ink."""
    covered_HW = np.zeros(pixels_HW.shape, bool)
    for left, top, right, bottom in boxes_N4:
        rows, columns = slice(floor(top), ceil(bottom)), slice(floor(left), ceil(right))
        if pixels_HW[rows, columns].min(initial=255) > _WHITE:
            raise UnfitError("a character without ink")
        covered_HW[
            max(rows.start - _EDGE, 0) : rows.stop + _EDGE, max(columns.start - _EDGE, 0) : columns.stop + _EDGE
        ] = 1
    if pixels_HW[~covered_HW].min(initial=255) < _WHITE:
        raise UnfitError("ink that is not of its characters")


def _kept(lines: Sequence[Line], room: tuple[int, int]) -> list[Line]:
    """As many lines as go on below each other and fit, of each as many words as fit."""
    x0, y0, _, last = lines[0].box
    height, kept = lines[0].x_height, list[Line]()
    for line in lines:
        left, top, _, bottom = line.box
        alike = LIKE_THE_BODY[0] * height < line.x_height < height / LIKE_THE_BODY[0]
        follows = not kept or (0 < top - last < 4 * height and -0.5 * height < left - x0 < 5 * height)
        words = tuple(word for word in line.words if word.box[2] - x0 <= room[0])
        if not alike or not follows or not words or bottom - y0 > room[1]:
            break
        kept.append(Line(_in_order(words)))
        last = kept[-1].box[3]
    return kept


def _in_order(words: tuple[Word, ...]) -> tuple[Word, ...]:
    return tuple(sorted(words, key=lambda word: word.box[0]))


def _joined(lines: Sequence[Line], kind: str) -> str:
    """Line by line; of kind "markdown" the lines of a paragraph as one, and a blank line between two paragraphs."""
    text = lines[0].text
    for before, line in pairwise(lines):
        indented = line.box[0] > before.box[0] + line.x_height and not _MARK.match(before.text)
        begins = indented or line.base - before.base > _LEADING * line.x_height
        text += ("\n" if kind == "lines" else "\n\n" if begins else " ") + line.text
    return text


def _pasted(page_HW: U8, lines: Sequence[Line], origin: tuple[int, int], size: tuple[int, int]) -> U8:
    """Line by line on white, with the pixels around it that may be its ink."""
    out_HW = np.full(size, 255, np.uint8)
    for line in lines:
        left, top, right, bottom = line.box
        y0, y1 = max(floor(top) - _EDGE, 0), min(ceil(bottom) + _EDGE, page_HW.shape[0])
        x0, x1 = max(floor(left) - _EDGE, 0), min(ceil(right) + _EDGE, page_HW.shape[1])
        place_HW = out_HW[y0 - origin[1] : y1 - origin[1], x0 - origin[0] : x1 - origin[0]]
        np.minimum(place_HW, page_HW[y0:y1, x0:x1], out=place_HW)
    return out_HW


def _box(lines: Sequence[Line]) -> tuple[float, float, float, float]:
    boxes = np.array([line.box for line in lines])
    return boxes[:, 0].min(), boxes[:, 1].min(), boxes[:, 2].max(), boxes[:, 3].max()
