"""Single pages of many files, in one process that may die."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import children
from tasks.pages.hostile import document, encrypted, image, tiff

from forge.tasks.pages import readers
from forge.tasks.pages.many import open_places
from forge.tasks.pages.sizes import Limits, Scale
from forge.tasks.pages.stream import Page, Refusal, open_pages

SLOW = Limits(seconds=60)  # these tests share their machine


def told(answers):
    return [answer if isinstance(answer, Page) else str(answer) for answer in answers]


def test_each_place_has_its_answer(tmp_path):
    names = {"a.pdf": document(pages=3), "b.png": image("PNG"), "c.tiff": tiff(2), "d.pdf": encrypted(), "e": b"?"}
    for name, content in names.items():
        (tmp_path / name).write_bytes(content)
    files = [tmp_path / name for name in names] + [tmp_path / "gone", document(), image("JPEG"), b"", tmp_path]
    places = [(0, 3), (0, 1), (0, 4), (0, None), (1, None), (1, 1), (2, 2), (2, None), (3, None), (3, 2), (4, 1)]
    places += [(5, 1), (6, None), (7, 1), (8, None), (9, 7)]
    answers = list(open_places(files, places, scale=Scale(dpi=72), limits=SLOW, text=True))
    assert [answer.number if isinstance(answer, Page) else str(answer) for answer in answers] == [
        3,
        1,
        "page 4 is not there: the file has 3 pages",
        "has 3 pages, and no number says which",
        1,
        1,
        2,
        "has 2 pages, and no number says which",
        "is locked: give its password",
        "page 2 is locked: give its password",
        "page 1 is neither a PDF nor an image (PNG, JPEG, TIFF, WebP)",
        "page 1 does not exist",
        1,
        1,
        "is empty",
        "page 7 is a directory",
    ]
    [alone] = open_pages(tmp_path / "a.pdf", "3", scale=Scale(dpi=72), text=True, trusted=True)
    assert (answers[0].pixels == alone.pixels).all()
    assert answers[0].glyphs.characters == "Hello, page"
    assert (answers[0].glyphs.boxes_N4 == alone.glyphs.boxes_N4).all()
    here = list(open_places(files, places, scale=Scale(dpi=72), text=True, trusted=True))
    for child, own in zip(answers, here, strict=True):
        assert type(child) is type(own)
        if isinstance(own, Refusal):
            assert child == own
        else:
            assert np.array_equal(child.pixels, own.pixels)


def test_nothing_to_open(tmp_path):
    assert list(open_places([], [])) == []
    assert told(open_places([tmp_path / "gone"], [(0, None)])) == ["does not exist"]


@pytest.fixture
def _mortal(monkeypatch, tmp_path):
    """A child that dies of pages 13 points high at once, and of those 17 high unless it is new."""
    script = tmp_path / "mortal.py"
    script.write_text(
        "import os, sys\n"
        "from forge.tasks.pages import child, pdf\n"
        "drawn, number = pdf._drawn, [0]\n"
        "def mortal(page, *rest):\n"
        "    number[0] += 1\n"
        "    height = page.get_size()[1]\n"
        "    if height == 13 or height == 17 and number[0] > 1:\n"
        "        os._exit(3)\n"
        "    return drawn(page, *rest)\n"
        "pdf._drawn = mortal\n"
        "child.main([int(word) for word in sys.argv[1:]], sys.stdin.buffer, sys.stdout.buffer)\n"
    )
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nshift 2\nexec "{readers.sys.executable}" "{script}" "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr("forge.tasks.pages.readers.sys.executable", str(python))


@pytest.mark.usefixtures("_mortal")
def test_a_file_that_kills_its_reader_costs_no_other_a_page():
    fine, bad, weak = (document(pages=4, box=b"0 0 50 %d" % height) for height in (20, 13, 17))
    files = [fine, bad, weak, fine]
    places = [(0, 1), (1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (3, 4)]
    answers = told(open_places(files, places, limits=SLOW))
    died = "ended its reader (exit code 3): it is damaged, or needs more than 1,024 MiB"
    assert [answer if isinstance(answer, str) else answer.number for answer in answers] == [
        1,
        f"page 1 {died}",
        f"page 2 {died}",
        "page 3 is not tried: pages before it ended their readers",
        1,
        2,
        4,
    ]


def test_everything_is_closed(tmp_path):
    before, living = len(list(Path("/proc/self/fd").iterdir())), children()
    answers = open_places([document(pages=2), image("PNG")], [(0, 1), (0, 2), (1, 1)], limits=SLOW)
    assert isinstance(next(answers), Page)
    answers.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert children() == living
