"""Figures of readings: corpus rates with an interval over crops, as rows of tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.manuals.crops import Crop
from bench.manuals.readers import Reading, plain
from forge.tasks.metrics.ocr.text import Edits, char_edits, word_edits
from forge.tasks.metrics.significance import RESAMPLES, SEED

HEAD = "| reader | CER, % (95 % interval) | WER, % | exact crops, % | crops a CPU second |\n|---|---|---|---|---|"
WORST = 10


@dataclass(frozen=True)
class Rate:
    """A corpus rate, and the middle 95 % of a bootstrap over its N texts."""

    value: float
    low: float
    high: float


def rate(edits: Sequence[Edits]) -> Rate:
    """Σ edits / Σ length."""
    made, of = _sums(edits)
    return _rate(made / np.maximum(of, 1))


def difference(ours: Sequence[Edits], theirs: Sequence[Edits]) -> Rate:
    """Of two corpus rates on the same texts, by a paired bootstrap."""
    (made, of), (made_too, of_too) = _sums(ours), _sums(theirs)
    return _rate(made / np.maximum(of, 1) - made_too / np.maximum(of_too, 1))


def row(name: str, crops: Sequence[Crop], reading: Reading) -> str:
    """A reader's line of the table."""
    pairs = [(plain(text), plain(crop.truth)) for text, crop in zip(reading.texts, crops, strict=True)]
    characters = rate([char_edits(*pair) for pair in pairs])
    words = rate([word_edits(*pair) for pair in pairs])
    exact = sum(a == b for a, b in pairs) / len(pairs)
    return (
        f"| {name} | {percent(characters)} | {100 * words.value:.1f} | {100 * exact:.1f} "
        f"| {len(crops) / max(reading.cpu, 1e-9):.1f} |"
    )


def compared(crops: Sequence[Crop], ours: Reading, theirs: Reading) -> str:
    """The difference of two readers' CER, as a sentence."""
    truths = [plain(crop.truth) for crop in crops]
    sides = [
        [char_edits(plain(text), truth) for text, truth in zip(side.texts, truths, strict=True)]
        for side in (ours, theirs)
    ]
    return f"{percent(difference(sides[0], sides[1]))} points of CER, by a paired bootstrap over the crops"


def worst(crops: Sequence[Crop], readings: dict[str, Reading]) -> list[str]:
    """A table of the crops that the first reader reads worst, with what every reader made of them."""
    first = next(iter(readings.values()))
    edits = [char_edits(plain(text), plain(crop.truth)) for text, crop in zip(first.texts, crops, strict=True)]
    order = sorted(range(len(crops)), key=lambda i: (-edits[i].rate, i))
    lines = [f"| crop | truth | {' | '.join(readings)} |", "|---" * (2 + len(readings)) + "|"]
    for index in [i for i in order if edits[i].edits][:WORST]:
        cells = [crops[index].truth, *(reading.texts[index] for reading in readings.values())]
        lines.append(f"| {crops[index].name} | " + " | ".join(_cell(cell) for cell in cells) + " |")
    return lines


def by_document(crops: Sequence[Crop], readings: dict[str, Reading]) -> list[str]:
    """A table of each document's CER, because each has typefaces of its own."""
    documents = list(dict.fromkeys(crop.document for crop in crops))
    lines = [f"| document | crops | {' | '.join(f'{name}: CER, %' for name in readings)} |"]
    lines.append("|---" * (2 + len(readings)) + "|")
    for document in documents:
        chosen = [i for i, crop in enumerate(crops) if crop.document == document]
        cells = [
            percent(rate([char_edits(plain(reading.texts[i]), plain(crops[i].truth)) for i in chosen]))
            for reading in readings.values()
        ]
        lines.append(f"| {document} | {len(chosen)} | {' | '.join(cells)} |")
    return lines


def _sums(edits: Sequence[Edits]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Edits and lengths: of all N texts, then of each resample."""
    made, of = (np.array([getattr(one, name) for one in edits], np.float64) for name in ("edits", "reference"))
    chosen = np.random.default_rng(SEED).integers(len(edits), size=(RESAMPLES, len(edits)))
    return tuple(np.append(values.sum(), values[chosen].sum(axis=1)) for values in (made, of))  # type: ignore[return-value]


def _rate(values: npt.NDArray[np.float64]) -> Rate:
    low, high = np.percentile(values[1:], (2.5, 97.5))
    return Rate(float(values[0]), float(low), float(high))


def percent(found: Rate) -> str:
    """In per cent, with its interval."""
    return f"{100 * found.value:.2f} ({100 * found.low:.2f} – {100 * found.high:.2f})"


def _cell(text: str) -> str:
    shown = " ⏎ ".join(line.strip() for line in text.strip().splitlines() if line.strip())
    return "`" + shown.replace("|", "\\|").replace("`", "'") + "`" if shown else "nothing"
