"""Reading pages: in order, in batches that change nothing, again where a page does not end, at constant memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from reader_stub import noise, pictured, stub_reader

from forge.building.ocr import _beside
from forge.config.schema.pages import Glyphs
from forge.core.errors import UserError
from forge.inference import tries
from forge.inference.ocr import PageAnswer, Reader, load_reader, read_documents, read_images, read_pages
from forge.inference.tries import Try
from forge.models.watch import Watched
from forge.runs.run_dir import open_existing
from forge.tasks.metrics.ocr.loops import Loop
from forge.tasks.pages.stream import Page, Refusal, open_pages


@pytest.fixture(scope="module")
def reader(reader_run: Path) -> Reader:
    return load_reader(open_existing(reader_run))


def page(number: int, image: np.ndarray) -> Page:
    return Page(number, np.repeat(image[..., None], 3, 2), (100.0, 50.0), 0)


def texts(found: Any) -> list[str]:
    return [one.text for one in found]


# Together and alone


@pytest.mark.parametrize("retries", [0, 5])
def test_a_batch_reads_what_one_page_at_a_time_does(reader: Reader, retries: int) -> None:
    images = noise(11, (40, 200))
    pages = [page(number, image) for number, image in enumerate(images, start=1)]
    together = list(read_pages(reader, pages, retries))
    alone = [next(read_pages(reader, [one], retries)) for one in pages]
    assert texts(together) == texts(alone)
    assert [one.number for one in together] == list(range(1, 12))
    assert [one.tries for one in together] == [one.tries for one in alone]
    assert [one.confidence for one in together] == pytest.approx([one.confidence for one in alone], rel=1e-3)
    assert all(0 < one.confidence < 1 and one.seconds > 0 for one in together)
    assert read_images(reader, images, retries) == texts(together)


def test_the_same_page_gives_the_same_text_wherever_it_stands() -> None:
    drawn = stub_reader({"a": 1.0, "b": 0.9, "c": 0.9, "": -1.5}, most=40)
    one, other = noise(2)
    first = read_images(drawn, [one, other, one])
    assert first[0] == first[2] != first[1]
    assert read_images(drawn, [other] * 9 + [one])[-1] == first[0]


def test_an_evaluation_names_the_pages_whose_text_did_not_end() -> None:
    rows = Dataset.from_dict({"page": ["one", "other"], "markdown": ["abc", "abc"]})
    for ending, length, cut_off in ((-1.0, 4, ["one", "other"]), (1.0, 1, [])):
        loaded = stub_reader({"a": 0.0, "": ending}, most=4)
        task, model = loaded.reading.task, loaded.reading.model
        outputs = task.infer(model, task.form.collate(pictured(noise(2)), None))
        assert [len(one.ids) for one in outputs] == [length, length]
        assert task.score(outputs, rows).detail["cut_off"] == cut_off


def test_refusals_keep_their_place(reader: Reader) -> None:
    images = noise(3, (32, 64))
    stream = [Refusal(None, "has 3 pages"), page(1, images[0]), Refusal(2, "is broken"), page(3, images[1])]
    stream += [Refusal(number, "is broken") for number in range(4, 90)] + [page(90, images[2])]
    found = list(read_pages(reader, stream, retries=0))
    assert [one.number for one in found] == [one.number for one in stream]
    assert [isinstance(one, PageAnswer) for one in found] == [isinstance(one, Page) for one in stream]
    assert list(read_pages(reader, [])) == []


def test_documents_are_read_together_and_told_apart(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    inner = tries._read_once
    monkeypatch.setattr(tries, "_read_once", lambda *a: sizes.append(len(a[2])) or inner(*a))
    stream = [(name, page(1, image)) for name, image in zip("abcdefghijk", noise(11), strict=True)]
    found = list(read_documents(reader, stream, retries=0))
    assert "".join(name for name, _ in found) == "abcdefghijk"
    assert sizes == [8, 3]


def test_documents_on_a_cpu_are_read_by_as_many_pages_as_are_worth_their_memory(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forge.inference.ocr.ON_A_CPU", 3)
    assert reader.for_documents().batch_size == (3 if reader.accelerator.device.type == "cpu" else reader.batch_size)
    assert reader.for_documents(5).batch_size == 5


def test_pages_are_shrunk_before_they_wait(reader: Reader) -> None:
    large = page(1, noise(1, (2000, 1500))[0])
    assert reader.reading.sheet == (32, 224)
    assert reader.shrinks(large) == pytest.approx(62.5)
    assert reader.shrinks(page(1, noise(1, (30, 100))[0])) == 1.0
    assert reader.pictured(large.pixels).pixels.shape == (32, 224)


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros(4, np.uint8), np.zeros((0, 4), np.uint8)]
)
def test_images_of_another_kind_are_refused(reader: Reader, image: Any) -> None:
    with pytest.raises(UserError, match="an image must be uint8"):
        read_images(reader, [image])


# Tries


def test_a_loop_is_tried_again_hotter_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    inner = tries.write_watched
    monkeypatch.setattr(tries, "write_watched", lambda *a: asked.append(a[3]) or inner(*a))
    looping = stub_reader({"a": 2.0, "": 0.5})
    [first] = read_pages(looping, [page(1, noise(1)[0])])
    assert asked[: first.tries] == [0.0, 0.1, 0.2, 0.4, 0.6, 0.8][: first.tries]
    assert first.tries > 1
    assert (first.ended, first.loop) == (True, None)
    assert set(first.text) <= {"a"}
    assert len(first.text) <= 30
    assert [first.text] == read_images(looping, noise(1))


def test_without_retries_the_loop_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    [found] = read_pages(stub_reader({"a": 2.0, "": -9.0}), [page(1, noise(1)[0])], retries=0)
    assert (found.tries, found.ended) == (1, False)
    assert found.loop == Loop("a", 448)
    assert found.confidence == pytest.approx(1.0, abs=1e-4)
    [found] = read_pages(stub_reader({" ": 2.0}), [page(1, noise(1)[0])], retries=0)  # a loop of nothing to see
    assert found.loop == Loop(" ", 448)


def test_a_page_that_ends_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []
    inner = tries._read_once
    monkeypatch.setattr(tries, "_read_once", lambda *a: counted.append(len(a[2])) or inner(*a))
    [found] = read_pages(stub_reader({"": 2.0}), [page(1, noise(1)[0])])
    assert (found.text, found.ended, found.tries, counted) == ("", True, 1, [1])


def test_only_pages_that_need_it_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends follow from the page here, so some pages end at once and some never."""
    counted = []
    inner = tries._read_once
    monkeypatch.setattr(tries, "_read_once", lambda *a: counted.append(len(a[2])) or inner(*a))
    mixed = stub_reader({"": 2.1}, most=40, is_varied=True)
    found = list(read_pages(mixed, [page(n, image) for n, image in enumerate(noise(8))], retries=2))
    once = sum(one.tries == 1 for one in found)
    assert 0 < once < 8
    assert counted[:2] == [8, 8 - once]
    assert all(one.ended and not one.loop for one in found if one.tries == 1)


@pytest.mark.parametrize(
    ("text", "ended", "good"),
    [
        ("Total\n" + 80 * "-", True, True),
        ("Name " + 60 * ".", True, True),
        ("Total\n" + 80 * "-", False, False),
        (300 * "-", True, False),
        (80 * "a", True, False),
    ],
)
def test_a_page_may_end_in_a_rule_where_the_model_ended_it(text: str, ended: bool, good: bool) -> None:
    reading = stub_reader({"": 0.0}).reading
    ids = reading.task.form.encode([text])[0]
    [found] = tries._judged(reading, [Watched(ids if ended else ids[:-1], -1.0)])
    assert (found.text, found.ended, found.good) == (text, ended, good)


def test_the_layer_before_the_last_learns_where_it_stands() -> None:
    reading = stub_reader({"": 0.0}).reading
    terms = _beside(Glyphs(attention=0.3, place=0.2), reading.model, reading.task, 0).terms
    assert [(term.name, term.weight, term.site.layer, term.to_last_written) for term in terms] == [
        ("attention", 0.3, 2, False),
        ("place", 0.2, 1, True),
    ]
    del reading.model.decoder.model.decoder.layers[1]
    with pytest.raises(UserError, match=r"glyphs\.place: the decoder has no layer before its last"):
        _beside(Glyphs(place=0.2), reading.model, reading.task, 0)


def test_the_best_try_is_without_a_loop_then_ended_then_most_confident() -> None:
    loop = Loop("a", 40)
    ranked = [
        Try("ended", 0.1, True, None),
        Try("cut off, sure", 0.9, False, None),
        Try("cut off", 0.8, False, None),
        Try("ends in a loop", 0.9, True, loop),
        Try("loops", 0.99, False, loop),
    ]
    assert sorted(ranked, key=lambda one: one.rank, reverse=True) == ranked
    assert [one.good for one in ranked] == [True, False, False, False, False]


def test_beams_tell_a_confidence_too(reader_run: Path) -> None:
    wide = load_reader(open_existing(reader_run), beams=3)
    assert wide.reading.decoding.beams == 3
    found = list(read_pages(wide, [page(1, image) for image in noise(2)], retries=1))
    assert all(0 < one.confidence <= 1 for one in found)


# Long documents


@pytest.mark.slow
def test_memory_does_not_grow_with_the_document(reader: Reader, tmp_path: Path) -> None:
    from reportlab.pdfgen.canvas import Canvas

    path = tmp_path / "long.pdf"
    canvas = Canvas(str(path))
    for number in range(300):
        canvas.setFont("Helvetica", 40)
        canvas.drawString(72, 400, f"Page {number + 1}")
        canvas.showPage()
    canvas.save()
    seen, at = [], {}
    for answer in read_pages(reader, open_pages(path, scale=reader.scale), retries=0):
        seen.append(answer.number)
        at[answer.number] = resident()
    assert seen == list(range(1, 301))
    assert at[300] - at[50] < 40e6


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# What is exported


def test_an_exported_reader_reads_as_its_card_says(reader_run: Path, reader: Reader, tmp_path: Path) -> None:
    from PIL import Image

    from forge.runs.export import export

    export(open_existing(reader_run), tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "pipeline_tag: image-text-to-text" in card
    assert "import forge.models.page_encoder" in card
    [image] = noise(1, reader.reading.sheet or (0, 0))
    Image.fromarray(image).save(tmp_path / "page.png")
    code = card.split("```python\n")[1].split("```")[0]
    code = code.replace("path/to/this/folder", str(tmp_path / "out")).replace("page.png", str(tmp_path / "page.png"))
    shown: list[str] = []
    exec(code, {"print": shown.append})
    assert shown == read_images(reader, [image], retries=0)
