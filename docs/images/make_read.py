"""Draw docs/images/pages_read.png: pages that no reader was trained on, and the Markdown that one wrote.

python docs/images/make_read.py runs/ocr/embedded_pages/tiny_reader/01_markdown/latest

What is not as it should be is red, and a red ▴ stands where something is missing.
"""

from __future__ import annotations

import sys
from difflib import SequenceMatcher
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from forge.inference.ocr import load_reader, read_images
from forge.runs.run_dir import open_existing
from forge.tasks.embedded.page_fonts import TRAINED, face_file
from forge.tasks.embedded.page_image import picture

OUT = Path(__file__).parent / "pages_read.png"
SHOWN = (("test", range(3)), ("test_fonts", range(2)))  # held-out words, and held-out fonts too
WIDTH, GAP, SIZE, STEP, MISSING = 900, 12, 13, 17, "▴"
INK, WRONG, GROUND = "#1b1b1b", "#c5221f", "#e4e4e4"


def marked(written: str, truth: str) -> list[tuple[str, bool]]:
    """The characters that were written, each with whether it is right."""
    found: list[tuple[str, bool]] = []
    for kind, _, _, start, end in SequenceMatcher(None, truth, written, autojunk=False).get_opcodes():
        found += [(MISSING, False)] if kind == "delete" else [(one, kind == "equal") for one in written[start:end]]
    return found


def wrapped(characters: list[tuple[str, bool]], most: int) -> list[tuple[str, bool]]:
    """Lines of at most so many characters, broken at blanks; what goes on is set in."""
    found: list[tuple[str, bool]] = []
    blank = column = 0  # the last blank that was passed, and how far the line has come
    for one in characters:
        found.append(one)
        column = 0 if one[0] == "\n" else column + 1
        if one[0] == " ":
            blank = len(found)
        if column > most and blank > len(found) - column:
            found[blank - 1 : blank] = [("\n", True), *[(" ", True)] * 4]
            column = len(found) - blank
    return found


def strip(page: Image.Image, characters: list[tuple[str, bool]]) -> Image.Image:
    """The page on the left, its text on the right."""
    font = ImageFont.truetype(str(face_file(TRAINED[1], False, False)), SIZE)
    cell = round(font.getlength("0"))
    characters = wrapped(characters, (WIDTH - page.width - 5 * GAP) // cell)
    rows = sum(character == "\n" for character, _ in characters) + 1
    out = Image.new("RGB", (WIDTH - 2 * GAP, max(page.height, rows * STEP + 8)), "white")
    out.paste(page, (0, 0))
    draw, left = ImageDraw.Draw(out), page.width + 2 * GAP
    draw.line((page.width + GAP, 0, page.width + GAP, out.height), fill=GROUND, width=2)
    x, y = left, 4
    for character, right in characters:
        if character == "\n":
            x, y = left, y + STEP
            continue
        draw.text((x, y), character, fill=INK if right else WRONG, font=font)
        x += cell
    return out


def main() -> None:
    """Read the pages with the run that is named, and draw."""
    loaded = load_reader(open_existing(sys.argv[1]))
    pages = [picture("markdown", split, index) for split, indices in SHOWN for index in indices]
    texts = read_images(loaded, [page.pixels_HW for page in pages])
    strips = [
        strip(Image.fromarray(page.pixels_HW), marked(text, page.markdown))
        for page, text in zip(pages, texts, strict=True)
    ]
    out = Image.new("RGB", (WIDTH, sum(one.height + GAP for one in strips) + GAP), GROUND)
    y = GAP
    for one in strips:
        out.paste(one, (GAP, y))
        y += one.height + GAP
    out.quantize(64, Image.Quantize.MAXCOVERAGE).save(OUT, optimize=True)


if __name__ == "__main__":
    main()
