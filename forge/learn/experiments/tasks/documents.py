"""A reader of small pages that learned from numbers alone: what it makes of your page, and what CER says of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from rapidfuzz.distance import Levenshtein

from forge.core.errors import UserError
from forge.inference.ocr import PageAnswer, Reader, load_reader, read_pages
from forge.learn.experiments.base import Live, whole, word
from forge.learn.experiments.training import Shown, run_training
from forge.learn.questions import Value
from forge.learn.results import Block, Diff, Lines, Mark, Result, Table
from forge.runs.run_dir import RunDirectory
from forge.tasks.embedded.page_blocks import Lines as PlainLines
from forge.tasks.embedded.page_blocks import Markdown
from forge.tasks.embedded.page_fonts import TRAINED
from forge.tasks.embedded.page_image import Picture, photograph
from forge.tasks.embedded.page_layout import Layout
from forge.tasks.embedded.page_tree import PRESETS, Tree, tree
from forge.tasks.embedded.page_words import CHARACTERS, Chance
from forge.tasks.metrics.ocr.text import Edits, char_edits, corpus_rate
from forge.tasks.pages.stream import Page

CONFIG = "configs/ocr/embedded_pages/mini_reader/01_digits.yaml"
STEPS = 350
OTHERS = 40  # pages with numbers that are read beside the learner's own
KIND = PRESETS["digits"]
MARGIN = 6
DARK = 128  # grey levels below it are dots in the drawing
_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])  # of a Braille sign, 4 high and 2 wide


def run(controls: Mapping[str, Value], live: Live) -> Result:
    """Let the reader, as it was after so many `steps`, read a page that says `page`, with so much `noise`."""
    text, noise, steps = word(controls, "page"), whole(controls, "noise"), word(controls, "steps")
    own = drawn(page_of(text), noise)
    live.chart("Errors on pages it has not seen, while it learns", "step", "CER", STEPS)
    shown = Shown("", splits={"validation": "CER"}, split_figure="cer", end=0.85, note="learning to read, once")
    settings = {"data.test": None, "checkpoint.keep": STEPS // 50}
    trained = run_training(CONFIG, settings, live, shown)
    live.progress(0.9, f"reading {OTHERS + 1} pages")
    others = [drawn(tree("digits", "test", index), noise) for index in range(OTHERS)]
    mine, *rest = _read(load_reader(RunDirectory(trained.path), steps), [own, *others])
    edits = char_edits(mine.text, text)
    many = [char_edits(answer.text, page.markdown) for answer, page in zip(rest, others, strict=True)]
    return Result(
        said=f"The page says “{text}”, the reader writes “{mine.text}” and is {mine.confidence:.0%} sure. "
        f"{edits.edits} edit{'s' * (edits.edits != 1)} on {len(text)} characters: a CER of {edits.rate:.0%}.",
        numbers={
            "cer": round(edits.rate, 4),
            "cer_others": round(corpus_rate(many), 4),
            "digits": sum(character in "0123456789" for character in text),
            "others": sum(character not in "0123456789" for character in text),
            "sure": round(mine.confidence, 4),
        },
        texts={"read": mine.text},
        pictures=[
            Block(title="The page", text=dots(own.pixels_HW)),
            _diff(text, mine.text),
            _table(edits, many),
            Lines(
                title="Errors on pages it has not seen, while it learned",
                x="step",
                y="CER",
                series=[trained.curve("cer", "validation", "CER")],
                marks=[Mark(x=int(steps), label="this reader")],
                low=0,
            ),
        ],
        run=str(trained.path),
        command=trained.command,
    )


def page_of(text: str) -> Tree:
    """A page with this one line, set as the reader's own were. Raises UserError where it has no room."""
    if unknown := sorted(set(text) - set(CHARACTERS)):
        raise UserError(f"the page maker has no “{unknown[0]}”: use letters, digits and common signs")
    if not text:
        raise UserError("an empty page: write a word or a number on it")
    family = TRAINED[0]
    layout = Layout(family, KIND.sizes[0], MARGIN, KIND.width - MARGIN, MARGIN, KIND.height - MARGIN)
    page, line = Markdown(), PlainLines((text,))
    layout.add(line, page.add(line))
    if not layout.fits:
        raise UserError(f"“{text}” is too wide for so small a page: take out a letter")
    return Tree(KIND, family, (line,), page, layout)


def drawn(page: Tree, noise: int) -> Picture:
    """The page, black on white, with noise of this standard deviation in grey levels; the same each time."""
    look = replace(KIND, noisy=float(noise > 0), noise=(noise, noise), contrast=(1.0, 1.0))
    return photograph(replace(page, preset=look), Chance(f"lesson/{page.markdown}"))


def dots(pixels_HW: npt.NDArray[np.uint8]) -> str:
    """A page in Braille signs, each of 4 × 2 pixels; the page is made of whole ones."""
    height, width = pixels_HW.shape
    dark_RrCc = (pixels_HW < DARK).reshape(height // 4, 4, width // 2, 2)
    signs_RC = 0x2800 + np.einsum("arbc,rc->ab", dark_RrCc, _DOTS)
    return "\n".join("".join(map(chr, row)) for row in signs_RC.tolist())


def _read(reader: Reader, pages: Iterable[Picture]) -> Sequence[PageAnswer]:
    coloured = [np.repeat(page.pixels_HW[..., None], 3, axis=2) for page in pages]
    asked = [Page(1, pixels, (float(KIND.width), float(KIND.height)), 0) for pixels in coloured]
    answers = list(read_pages(reader, asked, retries=0))
    return [answer for answer in answers if isinstance(answer, PageAnswer)]


def _diff(page: str, read: str) -> Diff:
    """With as many characters in its pieces as there are edits to be made; a replaced one is in both."""
    pieces: list[tuple[Literal["same", "gone", "new"], str]] = []
    for part in Levenshtein.opcodes(page, read):
        before, after = page[part.src_start : part.src_end], read[part.dest_start : part.dest_end]
        if part.tag == "equal":
            pieces.append(("same", before))
            continue
        if before:
            pieces.append(("gone", before))
        if after:
            pieces.append(("new", after))
    return Diff(title="Only on the page, and only in what was read", pieces=pieces)


def _table(own: Edits, others: Sequence[Edits]) -> Table:
    edits, characters = (sum(values) for values in zip(*((one.edits, one.reference) for one in others), strict=True))
    return Table(
        title="Character error rate",
        header=["read", "edits", "characters", "CER"],
        rows=[
            ["your page", str(own.edits), str(own.reference), f"{own.rate:.0%}"],
            [f"{len(others)} numbers, as noisy", str(edits), str(characters), f"{corpus_rate(others):.0%}"],
        ],
    )
