"""Pages on a sheet, characters as tokens, and where on the sheet each character is."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from forge.tasks.base import IGNORED_LABEL
from forge.tasks.embedded.page_image import picture
from forge.tasks.embedded.page_words import CHARACTERS
from forge.tasks.ocr.canvas import lay
from forge.tasks.ocr.characters import character_tokenizer
from forge.tasks.ocr.glyphs import Grid
from forge.tasks.ocr.pictures import Pictured, embedded_name, pictured
from forge.tasks.ocr.sheet import Sheet

SHEET = (160, 256)


@pytest.fixture(scope="module")
def sheet() -> Sheet:
    return Sheet(character_tokenizer([], 300), Grid(SHEET), 300, 1, places=True)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def page(number: int, preset: str = "markdown") -> Pictured:
    return pictured({"page": embedded_name(preset, "train", 0, number)})


def test_every_character_is_a_token_and_comes_back() -> None:
    tokenizer = character_tokenizer(["ß łódź", "ß"], 400)
    text = CHARACTERS + "ßł  \n\n x\t"[:-1]
    ids = tokenizer(text)["input_ids"]
    assert len(ids) == len(text) + 1
    assert ids[-1] == tokenizer.eos_token_id == 2
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id) == (0, 1)
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert tokenizer("中")["input_ids"][0] == tokenizer.unk_token_id


def test_a_saved_tokenizer_is_the_same(tmp_path: Any) -> None:
    from transformers import AutoTokenizer

    tokenizer = character_tokenizer(["ß"], 400)
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    text = "# Titel ß\n\n- a  b\n| c | d |"
    assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert again.decode(again(text)["input_ids"], skip_special_tokens=True) == text


def test_an_embedded_page_is_the_one_of_its_name() -> None:
    expected, found = picture("lines", "test_fonts", 7, 3), pictured({"page": "embedded/lines/test_fonts/3/7"})
    assert np.array_equal(found.pixels, expected.pixels_HW)
    assert (found.markdown, found.characters) == (expected.markdown, expected.characters)


def test_a_page_of_bytes_is_what_was_stored() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    row = {"image": png(pixels), "markdown": "ab", "characters": "ab", "boxes": [0, 0, 5, 5, 6, 0, 9, 5], "page": "x"}
    found = pictured(row)
    assert np.array_equal(found.pixels, pixels)
    assert found.grey().shape == (20, 30)
    assert found.boxes_N4 is not None
    assert found.boxes_N4.tolist() == [[0, 0, 5, 5], [6, 0, 9, 5]]
    without = pictured(row | {"characters": "", "boxes": []})
    assert without.boxes_N4 is None  # a scan: nobody knows where its characters are
    blank = pictured(row | {"characters": "", "boxes": [], "markdown": ""})
    assert blank.boxes_N4 is not None  # an empty page: it is known that there are none


@pytest.mark.parametrize("size", [(40, 100), (160, 256), (320, 512), (1, 1), (1000, 30), (161, 257)])
def test_a_page_lies_on_the_sheet_whole(size: tuple[int, int]) -> None:
    grey = np.full(size, 230, np.uint8)
    grey[size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = 10
    box = np.array([[size[1] / 4, size[0] / 4, size[1] / 2, size[0] / 2]], np.float32)
    laid = lay(Pictured(grey, "", "x", box), SHEET)
    assert laid.pixels_HW.shape == SHEET
    assert laid.boxes_N4 is not None
    factor = min(1.0, SHEET[0] / size[0], SHEET[1] / size[1])
    assert laid.boxes_N4 == pytest.approx(box * factor, abs=1.5)
    assert laid.pixels_HW[-1, -1] == 230
    if min(size) > 16 and factor * min(size) > 12:
        x0, y0, x1, y1 = laid.boxes_N4[0]
        middle = laid.pixels_HW[int((y0 + y1) / 2), int((x0 + x1) / 2)]
        assert middle < 80


def test_labels_are_the_characters_and_the_decoder_reads_them_one_later(sheet: Sheet) -> None:
    pages = [page(number) for number in range(4)]
    labels = sheet.encode([one.markdown for one in pages])
    batch = sheet.collate(pages, labels)
    assert batch["pixel_values"].shape == (4, 1, *SHEET)
    assert 0.0 <= float(batch["pixel_values"].min()) < float(batch["pixel_values"].max()) <= 1.0
    for row, one in enumerate(pages):
        count = len(one.markdown) + 1
        written = batch["labels"][row][:count].tolist()
        assert sheet.texts([written]) == [one.markdown]
        assert (batch["labels"][row][count:] == IGNORED_LABEL).all()
        assert batch["decoder_input_ids"][row][:count].tolist() == [1, *written[:-1]]


def test_batches_have_few_lengths_and_none_beyond_what_a_model_may_write(sheet: Sheet) -> None:
    one = page(0)
    for count, length in ((1, 16), (16, 16), (17, 32), (297, 300), (300, 300)):
        batch = sheet.collate([one, one], [[5] * count, [5, 2][:count]])
        assert [batch[name].shape for name in ("labels", "decoder_input_ids", "label_cells")] == [(2, length)] * 3
        assert (batch["labels"][0] != IGNORED_LABEL).sum() == count


def test_without_labels_a_batch_holds_what_writing_needs(sheet: Sheet) -> None:
    assert set(sheet.collate([page(0)], None)) == {"pixel_values", "attention_mask"}


def test_a_text_that_is_too_long_loses_its_end_and_says_so() -> None:
    short = Sheet(character_tokenizer([], 10), Grid(SHEET), 10, 1)
    long, fits, exact = short.encode(["abcdefghijkl", "abc", "abcdefghij"])
    assert short.texts([long]) == ["abcdefghij"]
    assert long[-1] != 2
    assert fits[-1] == 2
    assert short.texts([exact]) == ["abcdefghij"]


@pytest.mark.parametrize("preset", ["lines", "markdown"])
def test_each_drawn_character_is_labelled_where_it_is_drawn(preset: str) -> None:
    from forge.tasks.ocr.embedded import embedded_canvas

    grid = Grid(embedded_canvas(preset))
    form = Sheet(character_tokenizer([], 300), grid, 300, 1, places=True)
    placed = drawn = 0
    for number in range(20):
        one = page(number, preset)
        ids = form.encode([one.markdown])
        batch = form.collate([one], ids)
        cells, where, labels = batch["cell_labels"][0], batch["label_cells"][0], batch["labels"][0]
        assert cells.shape == (grid.rows * grid.columns, 2)
        assert one.positions_N is not None
        drawn += len(one.positions_N)
        for position in one.positions_N.tolist():
            cell = int(where[position])
            if cell >= 0:
                placed += int(labels[position] in cells[cell].tolist())
        undrawn = sorted(set(range(len(one.markdown))) - set(one.positions_N.tolist()))
        assert (where[undrawn] == -1).all()  # marks of Markdown, spaces and line ends
        assert where[len(one.markdown)] == -1  # the end
    assert drawn > 300
    assert placed >= 0.98 * drawn


def test_a_scan_is_left_out_of_losses_on_places(sheet: Sheet) -> None:
    scan = Pictured(page(0).pixels, "abc")
    batch = sheet.collate([scan, page(1)], sheet.encode(["abc", page(1).markdown]))
    assert (batch["cell_labels"][0] == IGNORED_LABEL).all()
    assert (batch["label_cells"][0] == -1).all()
    assert (batch["cell_labels"][1] != IGNORED_LABEL).all()


def test_a_text_layer_in_another_order_is_aligned(sheet: Sheet) -> None:
    """Of a PDF only the characters in the file's order are known, without the marks of Markdown."""
    one = page(3)
    assert one.positions_N is not None
    known = sheet.collate([one], sheet.encode([one.markdown]))
    layer = Pictured(one.pixels, one.markdown, one.characters, one.boxes_N4)
    found = sheet.collate([layer], sheet.encode([one.markdown]))
    assert (known["label_cells"] == found["label_cells"]).float().mean() > 0.95
    assert (known["cell_labels"] == found["cell_labels"]).float().mean() > 0.99


def test_of_no_texts_there_is_none(sheet: Sheet) -> None:
    assert sheet.texts([]) == []
    assert sheet.texts([[2]]) == [""]
