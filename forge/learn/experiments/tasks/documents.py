"""Print a text on a page, spoil the page, and let the seeing half of a page reader say what stands where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from forge.core.errors import UserError
from forge.inference.ocr import Reader, load_reader
from forge.learn.experiments.base import Live, whole, word
from forge.learn.experiments.training import Shown, run_training
from forge.learn.questions import Value
from forge.learn.results import Heat, Result, Table, word_diff
from forge.models.capture import HiddenSite, Recorder
from forge.objectives.auxiliary import Auxiliary
from forge.objectives.glyphs import CellCharacters, make_cell_head
from forge.runs.run_dir import RunDirectory
from forge.tasks.embedded.page_blocks import Lines, Markdown
from forge.tasks.embedded.page_fonts import HELD_OUT, TRAINED
from forge.tasks.embedded.page_image import photograph, picture
from forge.tasks.embedded.page_layout import Layout
from forge.tasks.embedded.page_tree import PRESETS, Tree
from forge.tasks.embedded.page_words import CHARACTERS, Chance
from forge.tasks.metrics.ocr.text import Edits, char_edits, corpus_rate
from forge.tasks.ocr.pictures import U8, Pictured
from forge.tasks.ocr.sheet import Sheet
from forge.train.contents import load_extra

CONFIG = "configs/ocr/embedded_pages/mini_reader/00_sft.yaml"
PRESET = PRESETS["digits"]
STEPS = 300
SIZE, MARGIN = 15, 5  # of the print, in pixels
PAGES = 60  # to measure the reader on
FONTS = {family.name: family for family in (*TRAINED, *HELD_OUT)}


@dataclass(frozen=True)
class Sign:
    """What the reader saw in a strip of 4 pixels: which of all strips, and how many are to its left."""

    strip: int
    place: int
    character: str
    chance: float
    other: str
    other_chance: float


@dataclass(frozen=True)
class Eyes:
    """The encoder with what names the characters in its cells."""

    reader: Reader
    form: Sheet
    cells: CellCharacters


def run(controls: Mapping[str, Value], live: Live) -> Result:
    """Print `text` in `font` with `noise`, read it, and count the characters that are wrong."""
    text, font, noise = word(controls, "text"), word(controls, "font"), whole(controls, "noise")
    page = _print(text, font, noise)
    live.chart("Learning to see digits, once", "step", "loss", STEPS)
    settings = {
        "data.embedded.preset": "digits",
        "data.max_target_length": 16,
        "glyphs.alone_steps": STEPS,
        "train.max_steps": STEPS,
        "train.learning_rate": 5e-3,
        "train.warmup_steps": 30,
        "train.num_workers": 0,
        "evaluate.every": STEPS,
        "evaluate.max_examples": 8,
        "log.every": 10,
    }
    trained = run_training(CONFIG, settings, live, Shown(end=0.9, note="learning to see digits, once"))
    live.progress(0.95, "reading")
    eyes = _eyes(RunDirectory(trained.path))
    signs = _read(eyes, page)
    read = "".join(sign.character for sign in signs)
    edits = char_edits(read, text)
    others = [_edits(eyes, index) for index in range(PAGES)]
    return Result(
        said=f"The page says “{text}”, the reader saw “{read}”: {edits.edits} edits for {len(text)} characters, so a "
        f"character error rate of {edits.rate:.2f}. On {PAGES} other pages of digits it is {corpus_rate(others):.2f}.",
        numbers={
            "cer": round(edits.rate, 4),
            "edits": edits.edits,
            "characters": len(text),
            "letters": sum(character.isalpha() for character in text),
            "digits_read": sum(character.isdigit() for character in read),
            "of_all": round(corpus_rate(others), 4),
        },
        texts={"read": read},
        pictures=[
            _shown(page),
            Table(
                title="What it saw, from left to right",
                header=["at pixel", "character", "chance", "next likeliest", "chance"],
                rows=[
                    [f"{4 * one.place}", one.character, f"{one.chance:.0%}", one.other, f"{one.other_chance:.0%}"]
                    for one in signs
                ],
            ),
            word_diff("From the page to the reading, character by character", " ".join(text), " ".join(read)),
        ],
        run=str(trained.path),
        command=trained.command,
    )


def _print(text: str, font: str, noise: int) -> U8:
    """pixels_HW: the text in black on white, or with noise (a standard deviation in grey levels) on grey."""
    strange = sorted({character for character in text if character not in CHARACTERS or character == " "})
    if strange:
        raise UserError(f"the page cannot be printed with {strange[0]!r}: use digits and plain letters, without blanks")
    family = FONTS[font]
    size = round(SIZE * family.scale)
    layout = Layout(family, size, MARGIN, PRESET.width - MARGIN, MARGIN, PRESET.height)
    block, markdown = Lines((text,)), Markdown()
    layout.add(block, markdown.add(block))
    if not layout.fits:
        raise UserError(f"“{text}” is wider than the page: leave out a character or two")
    look = replace(PRESET, turned=0.0, noisy=float(noise > 0), noise=(noise, noise), contrast=(0.8, 0.8))
    return photograph(Tree(look, family, (block,), markdown, layout), Chance(f"lesson/{text}")).pixels_HW


def _eyes(run: RunDirectory) -> Eyes:
    """The trained encoder, and the head that training put beside it."""
    reader = load_reader(run)
    model, form = reader.reading.model, reader.reading.task.form
    assert isinstance(form, Sheet)
    width, depth = model.config.encoder.hidden_size, model.config.encoder.num_hidden_layers
    head = make_cell_head(width, form.grid.sub_cells, model.config.decoder.vocab_size, seed=0)
    blank = int(form.tokenizer.pad_token_id)
    cells = CellCharacters("cells", 1.0, HiddenSite("encoder", depth), head, blank)
    extra = Auxiliary([cells], model).extra
    assert extra is not None
    load_extra(extra, run.checkpoint("best"))
    return Eyes(reader, form, cells)


@torch.inference_mode()
def _read(eyes: Eyes, pixels_HW: U8) -> list[Sign]:
    """Every place that is not blank, row by row."""
    batch = eyes.form.collate([Pictured(pixels_HW, "")], None)
    model, site = eyes.reader.reading.model, eyes.cells.site
    start = torch.tensor([[eyes.form.start]])
    with Recorder(model, hidden=[site]) as recorder:
        model(pixel_values=batch["pixel_values"], decoder_input_ids=start)
        states_BLD = recorder.take().hidden[site]
    chances_SV = eyes.cells.logits(states_BLD, eyes.form.grid.sub_cells)[0].flatten(0, 1).softmax(-1)
    top = chances_SV.topk(2)
    across = eyes.form.grid.columns * eyes.form.grid.sub_cells
    name = eyes.form.tokenizer.convert_ids_to_tokens
    signs = list[Sign]()
    for place, (ids, chances) in enumerate(zip(top.indices.tolist(), top.values.tolist(), strict=True)):
        if ids[0] == eyes.cells.blank:
            continue
        sign = Sign(place, place % across, name(ids[0]), chances[0], _named(name(ids[1])), chances[1])
        if signs and place - signs[-1].strip == 1:  # no character is so narrow: one of the two is not there
            signs[-1] = max(signs[-1], sign, key=lambda one: one.chance)
        else:
            signs.append(sign)
    return signs


def _named(character: str) -> str:
    return "(nothing)" if character == "<pad>" else character


def _edits(eyes: Eyes, index: int) -> Edits:
    """A page of the test, as hard as those of training."""
    page = picture("digits", "test", index)
    return char_edits("".join(sign.character for sign in _read(eyes, page.pixels_HW)), page.markdown)


def _shown(pixels_HW: U8) -> Heat:
    """The page around its print, dark where it is dark; two rows of pixels are one."""
    dark_HW = 1.0 - pixels_HW.astype(np.float64) / 255
    dark_HW = dark_HW.reshape(-1, 2, dark_HW.shape[1]).mean(1)[:, :72]
    return Heat(
        title="The page, as the reader gets it: numbers from 0 (white) to 1 (black)",
        rows=[""] * dark_HW.shape[0],
        columns=[""] * dark_HW.shape[1],
        values=[[round(float(value), 2) for value in row] for row in dark_HW],
    )
