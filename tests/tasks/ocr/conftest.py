"""Folders of pages, read in this process unless a test asks for the child."""

from __future__ import annotations

import json
from functools import partial

import pytest
from datasets import disable_progress_bars
from tasks.pages.hostile import document, image

from forge.core.errors import UserError
from forge.tasks.ocr import draw
from forge.tasks.ocr.files import PageColumns, read_pages
from forge.tasks.pages.many import open_places
from forge.tasks.pages.sizes import Scale

disable_progress_bars()


@pytest.fixture
def work(tmp_path, monkeypatch):
    """An empty working directory with a cache of its own beside it."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "work"


@pytest.fixture
def _quick(monkeypatch):
    """Without a process for each handful of pages; what that process is for, test_many.py has."""
    monkeypatch.setattr(draw, "open_places", partial(open_places, trusted=True))
    monkeypatch.setattr(draw, "MOST_WORKERS", 1)  # pdfium is not safe in two threads


@pytest.fixture
def put(work):
    """put("a/b.md", text or bytes); put("a.png"), put("a.pdf", pages) make the file."""

    def _put(name, content=None):
        path = work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".pdf") and (content is None or isinstance(content, int)):
            content = document(pages=content or 1)
        elif content is None:
            content = image(name.rsplit(".")[-1].upper().replace("JPG", "JPEG"))
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return _put


@pytest.fixture
def put_rows(put):
    """put_rows("a.jsonl", row, …)."""

    def _put_rows(name, *rows):
        return put(name, "".join(json.dumps(row) + "\n" for row in rows))

    return _put_rows


@pytest.fixture
def read(work):
    """read("scans") → PageFiles."""

    def _read(reference, columns=None, scale=None, **options):
        given = {"asset_folder": None, "subset": None, "revision": "", "password": None} | options
        return read_pages(reference, columns or PageColumns(), scale or Scale(dpi=72), **given)

    return _read


@pytest.fixture
def refused(read):
    """refused("scans") → the one line of the UserError."""

    def _refused(*arguments, **options):
        with pytest.raises(UserError) as caught:
            read(*arguments, **options)
        assert caught.value.exit_code == 2
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return _refused
