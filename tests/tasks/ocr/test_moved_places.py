"""Where characters are, of a text that is not quite the page's: a teacher's reading of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from forge.tasks.ocr.characters import character_tokenizer
from forge.tasks.ocr.embedded import embedded_canvas
from forge.tasks.ocr.glyphs import NOWHERE, Grid, moved_cells
from forge.tasks.ocr.pictures import Pictured, embedded_name, pictured
from forge.tasks.ocr.sheet import Sheet

CELLS = np.arange(10, 21)  # of "hello world"
TEXT = "hello world"


def moved(text: str) -> list[int]:
    return moved_cells([ord(c) for c in text], [ord(c) for c in TEXT], CELLS).tolist()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TEXT, list(range(10, 21))),
        ("hallo world", [10, -1, 12, 13, 14, 15, 16, 17, 18, 19, 20]),
        ("hell world", [10, 11, 12, 13, 15, 16, 17, 18, 19, 20]),
        ("hello, world", [10, 11, 12, 13, 14, -1, 15, 16, 17, 18, 19, 20]),
        ("oxxxxxxxxxx", [-1] * 11),
        ("hello world and then much more of what is not there", [-1] * 51),
        ("", []),
    ],
)
def test_what_both_texts_have_is_in_the_same_place(text: str, expected: list[int]) -> None:
    assert moved(text) == expected


def test_the_text_itself_is_not_touched_by_alignment() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        ids = rng.integers(0, 4, 30).tolist()
        cells = np.where(rng.random(29) < 0.3, NOWHERE, rng.integers(0, 50, 29))  # the end has no place
        assert moved_cells(ids, ids, cells).tolist() == [*cells, NOWHERE]


@pytest.fixture(scope="module")
def form() -> Sheet:
    return Sheet(character_tokenizer([], 120), Grid(embedded_canvas("line")), 120, 1, places=True)


@pytest.fixture(scope="module")
def page() -> Pictured:
    pages = (pictured({"page": embedded_name("line", "train", 0, number)}) for number in range(50))
    return next(one for one in pages if len(one.markdown) > 12)


def test_cells_are_the_pages_whatever_is_to_be_written(form: Sheet, page: Pictured) -> None:
    own, gone, other = page.markdown, page.markdown[:4] + page.markdown[6:], "?" * len(page.markdown)
    batch = form.collate([page] * 3, form.encode([own, gone, other]))
    assert torch.equal(batch["cell_labels"][1], batch["cell_labels"][0])
    assert torch.equal(batch["cell_labels"][2], batch["cell_labels"][0])
    where, shorter, nowhere = batch["label_cells"]
    assert torch.equal(shorter[:4], where[:4])
    assert torch.equal(shorter[4 : len(gone)], where[6 : len(own)])
    assert (shorter[len(gone) :] == NOWHERE).all()
    assert (nowhere == NOWHERE).all()


def test_each_placed_character_of_a_reading_is_in_its_cell(form: Sheet, page: Pictured) -> None:
    text = page.markdown
    reading = f"{text[2]}{text[:5]}#{text[7:]}"
    batch = form.collate([page], form.encode([reading]))
    labels, cells, where = (batch[name][0] for name in ("labels", "cell_labels", "label_cells"))
    placed = (where >= 0).nonzero().flatten().tolist()
    assert len(placed) > 6
    assert all(int(labels[place]) in cells[where[place]].tolist() for place in placed)


def test_a_text_layer_is_moved_as_well(form: Sheet, page: Pictured) -> None:
    layer = Pictured(page.pixels, page.markdown, page.characters, page.boxes_N4)
    ids = form.encode([page.markdown[:3] + "§" + page.markdown[4:]])
    known, found = form.collate([page], ids), form.collate([layer], ids)
    assert (known["label_cells"] == found["label_cells"]).float().mean() > 0.9
    assert (known["cell_labels"] == found["cell_labels"]).float().mean() > 0.99
