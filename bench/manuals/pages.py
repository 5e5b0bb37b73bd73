"""Whole pages at 300 pixels an inch: what Tesseract does where it is at home."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.manuals.crops import LEADERS, U8
from bench.manuals.figures import percent, rate
from bench.manuals.lines import lines_of
from bench.manuals.readers import measure, plain, tesseract
from bench.manuals.sample import drawn_pages, grey, read_pages
from forge.tasks.metrics.ocr.text import char_edits, word_edits

DPI = 300
_AUTOMATIC = 3  # Tesseract's own default: it finds columns, lines and tables itself
_LEAST = 300  # characters; emptier pages are title pages and the like


def whole_pages(files: Sequence[Path], count: int, seed: int = 0) -> str:
    """A sentence: error rates against the text layer in the file's order, over pages spread over the documents."""
    images, truths = list[U8](), list[str]()
    for index, path in enumerate(files):
        share = (count * (index + 1)) // len(files) - (count * index) // len(files)
        kept = 0
        for page in read_pages(path, drawn_pages(path, f"pages/{seed}")[: 2 * share], DPI):
            text = "\n".join(line.text for line in lines_of(page.glyphs)) if page.glyphs else ""
            if kept < share and len(text) >= _LEAST and not LEADERS.search(text):
                images.append(grey(page))
                truths.append(plain(text))
                kept += 1
    found = measure(tesseract(psm=_AUTOMATIC, dpi=DPI), images)
    pairs = [(plain(text), truth) for text, truth in zip(found.texts, truths, strict=True)]
    characters, words = rate([char_edits(*pair) for pair in pairs]), rate([word_edits(*pair) for pair in pairs])
    return (
        f"{len(pairs)} whole pages at {DPI} pixels an inch, {sum(map(len, truths)):,} characters with all of the file's "
        f"own, headings, tables and listings included, but no tables of contents: Tesseract (psm {_AUTOMATIC}) has a CER of {percent(characters)} % "
        f"and a WER of {percent(words)} % against the order of the text layer, {len(pairs) / found.cpu:.2f} pages a CPU "
        "second."
    )
