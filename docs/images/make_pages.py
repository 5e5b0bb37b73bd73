"""Draw docs/images/pages_*.png: the first embedded training pages of each preset, as a model sees them.

python docs/images/make_pages.py
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from forge.tasks.embedded.page_image import picture
from forge.tasks.embedded.page_pdf import paper

OUT = Path(__file__).parent
SHEETS = {"line": (3, 8), "lines": (3, 4), "markdown": (3, 3), "a4": (3, 1)}  # columns and rows
GAP = 4  # pixels between pages


def sheet(preset: str, columns: int, rows: int) -> Image.Image:
    """Pages 0 and up from the left to the right and down."""
    count = range(columns * rows)
    found = [paper("train", i, dpi=50) if preset == "a4" else picture(preset, "train", i) for i in count]
    height, width = found[0].pixels_HW.shape
    out = Image.new("L", (columns * (width + GAP) + GAP, rows * (height + GAP) + GAP), 96)
    for index, page in enumerate(found):
        row, column = divmod(index, columns)
        out.paste(Image.fromarray(page.pixels_HW), (GAP + column * (width + GAP), GAP + row * (height + GAP)))
    return out.quantize(32)


if __name__ == "__main__":
    for name, size in SHEETS.items():
        sheet(name, *size).save(OUT / f"pages_{name}.png", optimize=True)
