"""Pages named in rows: JSONL, CSV, Parquet, hub format."""

from __future__ import annotations

import io
import json

import pytest
from datasets import Dataset, Features, Image, Value
from PIL import Image as Pillow
from tasks.pages.hostile import document, encrypted, image

from forge.tasks.ocr.files import PageColumns

pytestmark = pytest.mark.usefixtures("_quick")


def test_jsonl(put, put_rows, read):
    put("d/scans/a.pdf", 3)
    put("d/b.png")
    put("d/b.md", "\ufeffin a file\r\n")
    rows = [
        {"page": "scans/a.pdf", "number": 3, "markdown": "three\r\n"},
        {"page": "b.png", "markdown_file": "b.md"},
        {"page": "scans/a.pdf", "number": 1, "markdown": ""},
    ]
    put_rows("d/pages.jsonl", *rows)
    found = read("d/pages.jsonl")
    assert found.notices == ()
    assert found.table.rows["page"][:] == ["scans/a.pdf#3", "b.png", "scans/a.pdf#1"]
    assert found.table.rows["document"][:] == ["scans/a.pdf", "b.png", "scans/a.pdf"]
    assert found.table.rows["markdown"][:] == ["three", "in a file", ""]
    assert [found.table.where(row) for row in range(3)] == [f"d/pages.jsonl:{line}" for line in (1, 2, 3)]


def test_paths_may_lead_anywhere_from_a_file_of_ones_own(put, put_rows, read, work):
    path = put("a.png")
    put_rows("d/pages.jsonl", {"page": "../a.png", "markdown": "x"}, {"page": str(path), "markdown": "x"})
    found = read("d/pages.jsonl")
    assert found.table.rows["page"][:] == ["../a.png"]
    assert found.notices == (f"d/pages.jsonl:2  {path} is named a second time",)


def test_columns_by_other_names(put, put_rows, read):
    put("a.pdf", 2)
    put_rows(
        "p.jsonl",
        {"img": "a.pdf", "n": "2", "text": "two", "book": 7},
        {"img": "a.pdf", "n": 1.0, "text": "one", "book": None},
    )
    found = read("p.jsonl", PageColumns("img", "text", "book", "n"))
    assert found.table.rows["page"][:] == ["a.pdf#2", "a.pdf#1"]
    assert found.table.rows["document"][:] == ["7", "a.pdf"]


GOOD = {"page": "a.png", "markdown": "x"}
MALFORMED = {
    "not JSON": ("{page: ", "p.jsonl:2:2  not JSON; each line must be one JSON object"),
    "a list": ("[1]", "p.jsonl:2  each line must be one JSON object, this is a list"),
    "no page": ('{"markdown": ""}', "p.jsonl:2  no column 'page'; the columns are: markdown"),
    "no text": ('{"page": "a.png"}', "p.jsonl:2  no column 'markdown' or 'markdown_file'; the columns are: page"),
    "both": (
        '{"page": "a.png", "markdown": "x", "markdown_file": "b.md"}',
        "p.jsonl:2  has both 'markdown' and 'markdown_file'; keep one",
    ),
    "a number as page": (
        '{"page": 3, "markdown": ""}',
        "p.jsonl:2  'page' must be a path, or an image's bytes, this row has a number",
    ),
    "a list as text": (
        '{"page": "a.png", "markdown": []}',
        "p.jsonl:2  'markdown' must be a text, this row has a list",
    ),
    "half a character": (
        '{"page": "a.png", "markdown": "\\ud800"}',
        "p.jsonl:2  'markdown' holds half of a surrogate pair, which is no character",
    ),
    **{
        f"number {value}": (
            json.dumps({"page": "a.png", "markdown": "", "number": value}),
            f"p.jsonl:2  'number' must be a page's number, counted from 1, not {value!r}",
        )
        for value in (0, -1, 1.5, "x", "²", True)
    },
}


@pytest.mark.parametrize("fault", MALFORMED)
def test_malformed_rows_are_named(put, refused, fault):
    line, message = MALFORMED[fault]
    put("a.png")
    put("p.jsonl", json.dumps(GOOD) + "\n" + line + "\n")
    assert refused("p.jsonl") == message


def test_pages_that_cannot_be_had(put, put_rows, read, work):
    put("a.png")
    put("three.pdf", 3)
    put("locked.pdf", encrypted())
    (work / "folder.png").mkdir()
    rows = [
        GOOD,
        {"page": "gone.png", "markdown": ""},
        {"page": "three.pdf", "markdown": ""},
        {"page": "three.pdf", "number": 4, "markdown": ""},
        {"page": "locked.pdf", "number": 1, "markdown": ""},
        {"page": "folder.png", "markdown": ""},
    ]
    put_rows("p.jsonl", *rows)
    found = read("p.jsonl")
    assert found.table.rows["page"][:] == ["a.png"]
    assert found.notices == (
        "p.jsonl:2  gone.png does not exist",
        "p.jsonl:3  three.pdf has 3 pages, and no number says which; give the page's `number`",
        "p.jsonl:4  three.pdf#4 is not there: the file has 3 pages",
        "p.jsonl:5  locked.pdf#1 is locked: give its password",
        "p.jsonl:6  folder.png is a directory",
    )
    put_rows(
        "q.jsonl",
        GOOD,
        {"page": "a.png", "number": 1, "markdown": None},
        {"page": "a.png", "number": 1, "markdown_file": "b.md"},
        {"page": None, "markdown": ""},
    )
    assert read("q.jsonl").notices == (
        "q.jsonl:2  a.png has no Markdown; that of a blank page is an empty text",
        "q.jsonl:3  a.png#1 its text b.md does not exist",
        "q.jsonl:4  names no page",
    )


def test_references(put, refused, work):
    assert refused("p.jsonl") == f"p.jsonl  no such file or directory (looked at {work / 'p.jsonl'})"
    put("p.jsonl", "\n")
    assert refused("p.jsonl") == "p.jsonl  has no rows"
    put("p.jsonl", b"caf\xe9\n")
    assert refused("p.jsonl").startswith("p.jsonl:1  is not UTF-8 text")
    put("a.pdf")
    assert refused("a.pdf").startswith("a.pdf  is no source of pages: give a directory")
    put("p.jsonl", '{"page": "a.pdf", "markdown": "", "other": 1}\n')
    assert (
        refused("p.jsonl", PageColumns(document="book"))
        == "p.jsonl:1  no column 'book'; the columns are: page, markdown, other"
    )


def test_csv(put, read):
    put("a.pdf", 2)
    put("b.png")
    put("b.md", "from a file")
    put("p.csv", 'page,number,markdown,markdown_file\na.pdf,2,"two\nlines",\nb.png,,,b.md\na.pdf,1,,\n')
    found = read("p.csv")
    assert found.table.rows["markdown"][:] == ["two\nlines", "from a file", ""]
    assert found.table.rows["page"][:] == ["a.pdf#2", "b.png", "a.pdf#1"]
    assert [found.table.where(row) for row in range(3)] == ["p.csv:2", "p.csv:4", "p.csv:5"]


@pytest.fixture
def _no_decoding(monkeypatch):
    """A data set's images are not opened as such in this process."""

    def refuse(*arguments, **options):
        raise AssertionError("decoded")

    monkeypatch.setattr(Image, "decode_example", refuse)


def hub(folder, rows, features):
    (folder / "data").mkdir(parents=True)
    Dataset.from_list(rows, features=Features(features)).to_parquet(folder / "data/train-00000.parquet")
    return str(folder)


@pytest.mark.usefixtures("_no_decoding")
def test_hub_format_with_images(read, work):
    rows = [
        {"image": {"bytes": image("PNG"), "path": "x/1.png"}, "text": "one\r\n", "id": "book"},
        {"image": {"bytes": image("JPEG"), "path": None}, "text": "two", "id": "book"},
        {"image": {"bytes": b"no image", "path": "3.png"}, "text": "three", "id": None},
        {"image": {"bytes": image("JPEG", (30, 20)), "path": "4.jpg"}, "text": "", "id": None},
        {"image": None, "text": "", "id": None},
    ]
    folder = hub(work / "set", rows, {"image": Image(), "text": Value("string"), "id": Value("string")})
    found = read("train", PageColumns("image", "text", "id"), asset_folder=folder)
    assert found.table.rows["page"][:] == ["1.png", "row 2", "4.jpg"]
    assert found.table.rows["document"][:] == ["book", "book", "4.jpg"]
    assert found.table.rows["markdown"][:] == ["one", "two", ""]
    assert Pillow.open(io.BytesIO(found.table.rows["image"][2])).size == (30, 20)
    assert found.table.where(2) == f"{folder}:train, row 4"
    assert found.notices == (
        f"{folder}:train, row 3  3.png is neither a PDF nor an image (PNG, JPEG, TIFF, WebP)",
        f"{folder}:train, row 5  names no page",
    )


def test_hub_format_with_bytes_of_pdf_files(read, work):
    rows = [{"page": document(pages=2), "number": 2, "markdown": "two"}]
    features = {"page": Value("binary"), "number": Value("int64"), "markdown": Value("string")}
    found = read("train", asset_folder=hub(work / "set", rows, features))
    assert found.table.rows[0]["page"] == "row 1#2"
    assert found.table.rows[0]["characters"] == "Hello, page"


def test_hub_format_with_paths_stays_in_its_directory(put, read, refused, work):
    put("outside.png")
    put("set/inside.png")
    rows = [{"page": "inside.png", "markdown": "x"}]
    features = {"page": Value("string"), "markdown": Value("string")}
    assert read("train", asset_folder=hub(work / "set", rows, features)).table.rows["page"][:] == ["inside.png"]
    for number, path in enumerate(["../outside.png", str(work / "outside.png"), "/etc/passwd", "~/x.png"]):
        put(f"set{number}/inside.png")
        folder = hub(work / f"set{number}", [*rows, {"page": path, "markdown": ""}], features)
        message = refused("train", asset_folder=folder)
        assert message == f"{folder}:train, row 2  '{path}' lies outside of the data set's own directory"


@pytest.mark.usefixtures("_no_decoding")
def test_folder_of_images_with_metadata(put, put_rows, read, work):
    put("set/train/1.png")
    put("set/train/2.png")
    put_rows("set/train/metadata.jsonl", {"file_name": "1.png", "text": "one"}, {"file_name": "2.png", "text": "two"})
    found = read("train", PageColumns("image", "text"), asset_folder=str(work / "set"))
    assert found.table.rows["page"][:] == ["train/1.png", "train/2.png"]
    before = found.table.fingerprint
    put("set/train/2.png", image("PNG", (31, 17)))
    after = read("train", PageColumns("image", "text"), asset_folder=str(work / "set")).table
    assert after.fingerprint != before
    assert Pillow.open(io.BytesIO(after.rows["image"][1])).size == (31, 17)


def test_a_split_without_the_column(put, refused, work):
    folder = hub(
        work / "set", [{"img": "a.png", "markdown": ""}], {"img": Value("string"), "markdown": Value("string")}
    )
    assert refused("train", asset_folder=folder) == (
        f"{folder}:train, row 1  no column 'page'; the columns are: img, markdown; a directory of pairs such as "
        "a.png and a.md is a split itself, without data.name"
    )


def test_parquet_of_ones_own(put, read):
    put("a.png")
    table = Dataset.from_list([{"page": "a.png", "markdown": "x", "number": float("nan")}])
    table.to_parquet("p.parquet")
    found = read("p.parquet")
    assert found.table.rows["page"][:] == ["a.png"]
    assert found.table.where(0) == "p.parquet, row 1"
