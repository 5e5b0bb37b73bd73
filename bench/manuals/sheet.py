"""A picture of a few crops, each with its truth and what the readers made of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from bench.manuals.crops import Crop
from bench.manuals.readers import Reading, plain
from forge.tasks.embedded.page_fonts import TRAINED, face_file

_SHOWN = 5  # of each kind: of five documents one each
_WIDTH, _LEFT, _GAP, _SIZE = 900, 276, 12, 12
_RIGHT_INK, _WRONG_INK, _PALE = "#1b1b1b", "#b3261e", "#6b6b6b"


def sheet(kinds: Sequence[tuple[Sequence[Crop], dict[str, Reading]]], path: Path) -> None:
    """Evenly chosen crops from the first to the last; a reading that is not the truth is red."""
    font = ImageFont.truetype(str(face_file(TRAINED[0], False, False)), _SIZE)
    strips = [
        _strip(crops[index], {name: reading.texts[index] for name, reading in readings.items()}, font)
        for crops, readings in kinds
        for index in range(0, len(crops), max(len(crops) // _SHOWN, 1))[:_SHOWN]
    ]
    out = Image.new("RGB", (_WIDTH, sum(strip.height + _GAP for strip in strips) + _GAP), "#e4e4e4")
    y = _GAP
    for strip in strips:
        out.paste(strip, (_GAP, y))
        y += strip.height + _GAP
    out.quantize(64).save(path, optimize=True)


def _strip(crop: Crop, readings: dict[str, str], font: ImageFont.FreeTypeFont) -> Image.Image:
    truth = plain(crop.truth)
    rows = [(crop.name, _PALE), *_wrapped("truth: " + truth, _RIGHT_INK, font)]
    for name, text in readings.items():
        rows += _wrapped(f"{name}: {plain(text)}", _RIGHT_INK if plain(text) == truth else _WRONG_INK, font)
    step = _SIZE + 5
    out = Image.new("RGB", (_WIDTH - 2 * _GAP, max(crop.pixels_HW.shape[0], step * len(rows) + 8)), "white")
    out.paste(Image.fromarray(crop.pixels_HW), (0, 0))
    draw = ImageDraw.Draw(out)
    draw.line((_LEFT - 12, 0, _LEFT - 12, out.height), fill="#e4e4e4", width=2)
    for index, (text, ink) in enumerate(rows):
        draw.text((_LEFT, 4 + step * index), text, fill=ink, font=font)
    return out


def _wrapped(text: str, ink: str, font: ImageFont.FreeTypeFont) -> list[tuple[str, str]]:
    rows = [""]
    for word in text.split(" "):
        longer = f"{rows[-1]} {word}".strip()
        if rows[-1] and font.getlength(longer) > _WIDTH - 2 * _GAP - _LEFT - 8:
            rows.append(f"  {word}")
        else:
            rows[-1] = longer if len(rows) == 1 else f"  {longer}"
    return [(row, ink) for row in rows]
