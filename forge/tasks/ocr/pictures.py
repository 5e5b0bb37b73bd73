"""A row of page data as a picture: pixels, the Markdown, and where its characters are, if that is known.

Shape letters: H and W height and width in pixels, N characters that are drawn.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from forge.tasks.embedded.page_image import picture
from forge.tasks.embedded.page_tree import PRESETS, tree

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]
EMBEDDED = "embedded"
_NO_BOXES: F32 = np.zeros((0, 4), np.float32)


@dataclass(frozen=True, eq=False)
class Pictured:
    """A page to learn from. `boxes_N4` are left, top, right, bottom in pixels of the N `characters` that are drawn.

    `positions_N` is where in the Markdown each of those stands, or None where the two must be aligned. A page of which
    nobody knows where its characters are has None for both.
    """

    pixels: U8  # (H, W) of grey levels or (H, W, 3) of RGB
    markdown: str
    characters: str = ""
    boxes_N4: F32 | None = None
    positions_N: I32 | None = None

    def grey(self) -> U8:
        """grey_HW, one level a pixel."""
        if self.pixels.ndim == 2:
            return self.pixels
        return np.asarray(Image.fromarray(self.pixels).convert("L"))

    def image(self) -> Image.Image:
        """As image processors take it: RGB."""
        return Image.fromarray(self.pixels).convert("RGB")


def pictured(row: Mapping[str, Any]) -> Pictured:
    """The page that a row holds (`image`, the bytes of a PNG of our own) or names (`page`, an embedded one)."""
    if row.get("image") is None:
        return _drawn(str(row["page"]))
    pixels = np.asarray(Image.open(io.BytesIO(row["image"])))
    boxes = np.asarray(row["boxes"], np.float32).reshape(-1, 4)
    known = boxes if row["characters"] or not row["markdown"] else None
    return Pictured(pixels, row["markdown"], row["characters"], known)


def markdown_of(row: Mapping[str, Any]) -> str:
    """The Markdown of a row's page, without drawing it."""
    if row.get("markdown") is not None:
        return str(row["markdown"])
    _, preset, split, seed, index = str(row["page"]).split("/")
    return tree(preset, split, int(index), int(seed)).markdown


def shrunk(image: Image.Image, longest_edge: int | None) -> Image.Image:
    """The image with its longer side at most so many pixels."""
    if longest_edge is None or max(image.size) <= longest_edge:
        return image
    scale = longest_edge / max(image.size)
    width, height = (max(1, round(edge * scale)) for edge in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def embedded_name(preset: str, split: str, seed: int, index: int) -> str:
    """What names an embedded page in a row."""
    return f"{EMBEDDED}/{preset}/{split}/{seed}/{index}"


def _drawn(name: str) -> Pictured:
    _, preset, split, seed, index = name.split("/")
    if PRESETS[preset].paper:
        from forge.tasks.embedded.page_pdf import paper

        found = paper(split, int(index), int(seed))
    else:
        found = picture(preset, split, int(index), int(seed))
    return Pictured(found.pixels_HW, found.markdown, found.characters, found.boxes_N4, found.positions_N)
