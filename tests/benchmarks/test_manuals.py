"""Crops of PDF files: nothing is cut through, and what they should read as is what was written."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("reportlab", reason="reportlab is not installed: pip install 'forge-distill[pdf]'")

from bench.manuals import __main__ as command
from bench.manuals import readers
from bench.manuals.crops import KINDS, U8, Crop, UnfitError, check_ink
from bench.manuals.figures import WORST, difference, rate, row, worst
from bench.manuals.lines import lines_of
from bench.manuals.readers import Reading, measure, plain, unmarked
from bench.manuals.sample import grey, read_pages, sample
from forge.tasks.embedded.page_tree import PRESETS
from forge.tasks.metrics.ocr.text import Edits

TEXT = (
    "The office asks for a flat refund of 120 pages, which jumps over lazy dogs",
    "and quickly goes on: every package, (good or bad) has its own maintainer",
    "whose name is Zoe Fjord; she types 45% of it by hand in May of 1998. Why",
    "would anybody give up that habit? Nobody knows, but it happened already.",
)
COUNT = 12


def make_pdf(path: Path, pages: int = 6, strange: str = "", square: bool = False) -> Path:
    """Pages of paragraphs of the lines of TEXT; `strange` begins each line, a square stands after its first word."""
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(path), pagesize=(612, 792))
    for _ in range(pages):
        canvas.setFont("Times-Roman", 10)
        for line in range(40):
            y = 740 - 12 * line - 6 * (line // 4)
            first, rest = (strange + TEXT[line % 4]).split(" ", 1)
            canvas.drawString(72, y, first if square else f"{first} {rest}")
            if square:
                x = 72 + canvas.stringWidth(first)
                canvas.rect(x + 4, y, 4, 4, fill=1)
                canvas.drawString(x + 12, y, rest)
        canvas.showPage()
    canvas.save()
    return path


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pdf(tmp_path_factory.mktemp("manuals") / "paper.pdf")


@pytest.fixture(scope="module")
def crops(document: Path) -> dict[str, list[Crop]]:
    return {kind: sample([document], kind, COUNT).crops for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_truth_is_what_was_written(crops: dict[str, list[Crop]], kind: str) -> None:
    for crop in crops[kind]:
        rest = " ".join(crop.truth.split())
        parts = crop.truth.split("\n") if kind == "lines" else [rest]
        if kind == "lines":
            assert all(any(f" {part} " in f" {line} " for line in TEXT) for part in parts)
        start = next(i for i, line in enumerate(TEXT) if f" {' '.join(rest.split()[:2])} " in f" {line} ")
        for line in (TEXT[(start + i) % 4] for i in range(9)):  # each line gives whole words from its beginning
            words = line.split()
            first = words.index(rest.split()[0])
            taken = next(
                n
                for n in range(len(words) - first, 0, -1)
                if f"{rest} ".startswith(" ".join(words[first : first + n]) + " ")
            )
            rest = rest.removeprefix(" ".join(words[first : first + taken])).strip()
            if not rest:
                break
        assert not rest


@pytest.mark.parametrize("kind", KINDS)
def test_no_character_is_cut_through(document: Path, crops: dict[str, list[Crop]], kind: str) -> None:
    """Around each crop's characters the page is as the crop shows it, and every other character is wholly outside."""
    dpi = sample([document], kind, 1).dpi["paper"]
    pages = {page.number: page for page in read_pages(document, range(1, 7), dpi)}
    for crop in crops[kind]:
        page = pages[int(crop.place.split()[1].rstrip(","))]
        assert page.glyphs is not None
        height, width = PRESETS[kind].height, PRESETS[kind].width
        assert crop.pixels_HW.shape == (height, width)
        drawn_HW, expected_HW = grey(page), np.full((height, width), 255, np.uint8)
        shifted_N4 = np.concatenate([word.boxes_N4 for line in lines_of(page.glyphs) for word in line.words])
        shifted_N4 = shifted_N4 - np.array(crop.origin * 2, np.float32)
        mine = {tuple(box) for box in crop.boxes_N4.round(2)}
        assert mine <= {tuple(box) for box in shifted_N4.round(2)}
        x, y = crop.origin
        for left, top, right, bottom in crop.boxes_N4:
            rows, columns = slice(int(top) - 1, int(bottom) + 2), slice(int(left) - 1, int(right) + 2)
            assert min(rows.start, columns.start) >= 0
            assert rows.stop <= height
            assert columns.stop <= width
            expected_HW[rows, columns] = drawn_HW[rows.start + y : rows.stop + y, columns.start + x : columns.stop + x]
        # All of its own ink, whole, and no ink of anybody else.
        assert np.abs(crop.pixels_HW.astype(int) - expected_HW).max() < 16
        check_ink(crop.pixels_HW, crop.boxes_N4)


def test_the_same_seed_draws_the_same_crops(document: Path, crops: dict[str, list[Crop]]) -> None:
    again, other = sample([document], "lines", COUNT), sample([document], "lines", COUNT, seed=1)
    assert [crop.name for crop in again.crops] == [crop.name for crop in crops["lines"]]
    assert all(np.array_equal(a.pixels_HW, b.pixels_HW) for a, b in zip(again.crops, crops["lines"], strict=True))
    assert [crop.name for crop in other.crops] != [crop.name for crop in again.crops]
    assert len({crop.place.split(",")[0] for crop in again.crops}) == 6  # every page


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"strange": "§ "}, "a character that the reader's alphabet lacks"),
        ({"square": True}, "ink that is not of its characters"),
    ],
)
def test_what_cannot_be_scored_is_refused_and_counted(tmp_path: Path, change: dict[str, object], why: str) -> None:
    from forge.core.errors import UserError

    path = make_pdf(tmp_path / "other.pdf", 1, **change)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="only 0 of 3"):
        sample([path], "markdown", 3)
    with pytest.raises(UserError, match=why):
        sample([path], "markdown", 3)


def test_a_character_without_ink_is_refused() -> None:
    with pytest.raises(UnfitError, match="without ink"):
        check_ink(np.full((20, 20), 255, np.uint8), np.array([[4, 4, 8, 8]], np.float32))


def test_figures_of_readings(crops: dict[str, list[Crop]]) -> None:
    some = crops["lines"]
    perfect = Reading([crop.truth for crop in some], 2.0)
    assert row("all", some, perfect).startswith("| all | 0.00 (0.00 – 0.00) | 0.0 | 100.0 | 6.0 |")
    broken = Reading([some[0].truth[1:], *perfect.texts[1:]], 1.0)
    lines = worst(some, {"broken": broken, "all": perfect})
    assert len(lines) == 3
    assert some[0].name in lines[2]
    assert len(worst(some, {"nothing": Reading([""] * COUNT, 1.0)})) == 2 + WORST


def test_rates_are_over_the_corpus() -> None:
    ours, theirs = [Edits(1, 10), Edits(0, 90)], [Edits(2, 10), Edits(1, 90)]
    assert rate(ours).value == pytest.approx(0.01)
    assert rate(ours).low == 0.0
    assert rate(ours).high == pytest.approx(0.1)
    assert difference(ours, theirs).value == pytest.approx(-0.02)
    assert difference(ours, ours).low == difference(ours, ours).high == 0.0


def test_what_is_compared_is_plain() -> None:
    assert plain("“quoted”  – dash\n# 1\f") == '"quoted" - dash # 1'
    assert unmarked("## A **bold** *word*\n# 1\n#2") == "A bold word\n1\n#2"


def test_a_reader_that_takes_images(crops: dict[str, list[Crop]]) -> None:
    def read(images: list[U8]) -> list[str]:
        return [str(image.shape) for image in images]

    found = measure(read, [crop.pixels_HW for crop in crops["lines"]])
    assert found.texts == ["(80, 256)"] * COUNT


@pytest.mark.skipif(shutil.which("tesseract") is None, reason="tesseract is not installed")
@pytest.mark.parametrize("at_once", [True, False])
def test_tesseract_reads_in_order(crops: dict[str, list[Crop]], at_once: bool) -> None:
    some = crops["markdown"][:2]
    texts = readers.tesseract(readers.ENLARGED, at_once)([crop.pixels_HW for crop in some])
    assert [plain(text)[:12] for text in texts] == [plain(crop.truth)[:12] for crop in some]


def test_the_command_writes_a_table_and_a_picture(
    document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def echo(runs: object, kind: str, checkpoint: str) -> dict[str, readers.Read]:
        def read(images: list[U8]) -> list[str]:
            return [f"{kind} {checkpoint}"] * len(images)

        return {command.FORGE: read, command.BEST: read}

    written: list[Sequence[str]] = []
    monkeypatch.setattr(command, "sides", echo)
    monkeypatch.setattr(command, "version", lambda: "tesseract 5")
    monkeypatch.setattr(command, "write_table", lambda *texts: written.append(texts))
    command.main(
        ["--pdfs", str(document.parent), "--crops", "3", "--picture", str(tmp_path / "picture.png"), "--run", "runs/x"]
    )
    (texts,) = written
    assert "## lines: 3 crops of 80 × 256 pixels" in texts[2]
    assert "points of CER, by a paired bootstrap" in texts[2]
    assert (tmp_path / "picture.png").is_file()
