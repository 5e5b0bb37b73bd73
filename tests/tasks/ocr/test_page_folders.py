"""A directory of pairs: what belongs together, in which order, and what is said of the rest."""

from __future__ import annotations

import io
import os

import numpy as np
import pytest
from PIL import Image
from tasks.pages.hostile import chunk, encrypted, image, png, tiff, zeros

from forge.tasks.ocr.folder import natural
from forge.tasks.ocr.store import COLUMNS

pytestmark = pytest.mark.usefixtures("_quick")


def pages(found):
    return found.table.rows["page"][:]


def test_pairs_in_the_order_of_their_names(put, read):
    for name in ("s/10.png", "s/2.jpg", "s/b/1.webp", "s/B.tiff", "s/A.PNG"):
        put(name, image({"jpg": "JPEG", "tiff": "TIFF", "webp": "WEBP"}.get(name.rsplit(".")[-1], "PNG")))
        put(f"{name.rsplit('.', 1)[0]}.md", f"# {name}\n")
    put("s/notes.txt", "not looked at")
    put("s/.hidden.png")
    put("s/.git/x.png")
    found = read("s")
    assert found.notices == ()
    assert pages(found) == ["2.jpg", "10.png", "A.PNG", "b/1.webp", "B.tiff"]
    assert found.table.rows["document"][:] == pages(found)
    assert found.table.rows["markdown"][0] == "# s/2.jpg"
    assert found.table.where(3) == "s/b/1.webp"
    assert found.table.name == "s"
    columns = ["page", "markdown", "document", "image", "characters", "boxes", "tests"]
    assert found.table.rows.column_names == COLUMNS == columns


def test_a_pdf_has_a_text_for_each_page(put, read):
    put("s/a.pdf", 11)
    for number in range(1, 12):
        put(f"s/a.{number}.md", f"page {number}")
    put("s/b.pdf", 1)
    put("s/b.md", "")
    found = read("s")
    assert found.notices == ()
    assert pages(found) == [*(f"a.pdf#{number}" for number in range(1, 12)), "b.pdf"]
    assert found.table.rows["document"][:] == ["a.pdf"] * 11 + ["b.pdf"]
    assert found.table.rows["markdown"][:] == [*(f"page {number}" for number in range(1, 12)), ""]
    row = found.table.rows[1]
    assert row["characters"] == "Hello, page"
    boxes = np.asarray(row["boxes"], np.float32).reshape(-1, 4)
    assert len(boxes) == len(row["characters"])
    assert boxes[0] == pytest.approx([21.9, 43, 35.4, 60], abs=1.2)
    drawn = Image.open(io.BytesIO(row["image"]))
    assert (drawn.format, drawn.mode, drawn.size) == ("PNG", "L", (200, 100))
    assert np.asarray(drawn)[43:60, 22:35].min() < 100 < np.asarray(drawn)[:40].min()


def test_grey_or_colour(put, read):
    colour = io.BytesIO()
    Image.new("RGB", (9, 7), (200, 10, 10)).save(colour, "PNG")
    put("s/a.png", colour.getvalue())
    put("s/b.png", image("PNG", mode="L"))
    for name in "ab":
        put(f"s/{name}.md", "text")
    rows = read("s").table.rows
    assert [Image.open(io.BytesIO(one)).mode for one in rows["image"]] == ["RGB", "L"]
    assert Image.open(io.BytesIO(rows["image"][0])).getpixel((3, 3)) == (200, 10, 10)
    assert rows["characters"][:] == ["", ""]
    assert rows["boxes"][:] == [[], []]


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (b"\xef\xbb\xbf# One\r\n\r\ntwo  \r\nthree \r\n\r\n", "# One\n\ntwo  \nthree"),
        (b"a\rb\n \t\n", "a\nb"),
        (b"", ""),
        (b"\xef\xbb\xbf", ""),
        ("Größe 日本".encode(), "Größe 日本"),
    ],
)
def test_texts_are_normalised(put, read, written, text):
    put("s/a.png")
    put("s/a.md", written)
    assert read("s").table.rows["markdown"][0] == text


def bomb():
    return png(50_000, 50_000, chunk(b"IDAT", zeros(1 << 22)))


FAULTS = {
    "page without text": (
        {"a.png": None},
        "s/a.png  has no Markdown: write a.md beside it, empty if the page is blank",
    ),
    "text without page": ({"a.md": ""}, "s/a.md  has no page file beside it: a.pdf, a.png or the like"),
    "numbered text without page": (
        {"a.3.md": ""},
        "s/a.3.md  has no page file beside it: a.pdf, a.png or the like",
    ),
    "several pages, one text": (
        {"a.pdf": 3, "a.md": "all"},
        "s/a.pdf  has 3 pages, and no number says which; name the texts of its pages by number, as in a.1.md, a.2.md",
    ),
    "two page files, one text": (
        {"a.png": None, "a.jpg": None, "a.md": ""},
        "s/a.jpg  and a.png have one name, so whose text is a.md? Give each a name of its own",
    ),
    "locked": ({"a.pdf": encrypted(), "a.md": ""}, "s/a.pdf  is locked: give its password"),
    "a bomb": (
        {"a.png": bomb(), "a.md": ""},
        "s/a.png  is too large: 50,000 × 50,000 pixels, an edge may have 32,767",
    ),
    "empty": ({"a.png": b"", "a.md": ""}, "s/a.png  is empty"),
    "not an image": ({"a.png": b"hello", "a.md": ""}, "s/a.png  is neither a PDF nor an image (PNG, JPEG, TIFF, WebP)"),
    "other encoding": (
        {"a.png": None, "a.md": b"one\ncaf\xe9"},
        "s/a.png  its text a.md is not UTF-8 text: line 2 has a byte 0xe9",
    ),
    "a book as one text": (
        {"a.png": None, "a.md": "x" * 1_000_001},
        "s/a.png  its text a.md has more than 1,000,000 bytes, too many for one page",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_a_line_and_the_rest_is_read(put, read, fault):
    files, line = FAULTS[fault]
    put("s/good.png")
    put("s/good.md", "good")
    for name, content in files.items():
        put(f"s/{name}", content)
    found = read("s")
    assert found.notices == (line,)
    assert pages(found) == ["good.png"]


def test_faults_of_numbers(put, read):
    put("s/a.pdf", 6)
    put("s/a.md", "all of it")
    for name in ("0", "2", "02", "4", "9"):
        put(f"s/a.{name}.md", name)
    found = read("s")
    assert pages(found) == ["a.pdf#2", "a.pdf#4"]
    assert found.notices == (
        "s/a.0.md  is of page 0; pages are counted from 1",
        "s/a.2.md  is of the same page as a.02.md; keep one of them",
        "s/a.md  is not read, because pages have texts of their own (a.1.md, …)",
        "s/a.pdf  has no Markdown of page 1, 3, 5, 6, 7 and 1 more: write a.N.md, empty if page N is blank",
        "s/a.pdf#9  is not there: the file has 6 pages",
    )


def test_pages_at_the_end_without_text(put, read):
    put("s/a.tiff", tiff(5))
    for number in (1, 2, 3):
        put(f"s/a.{number}.md", "text")
    found = read("s")
    assert len(found.table.rows) == 3
    assert found.notices == ("s/a.tiff  has no Markdown from page 4 on: give a blank page an empty text",)


def test_many_faults_are_summed_up(put, read):
    put("s/good.png")
    put("s/good.md", "good")
    put("s/locked.pdf", encrypted())
    for number in range(1, 31):
        put(f"s/locked.{number}.md", "")
    for number in range(40):
        put(f"s/z{number}.png")
    found = read("s")
    assert len(found.notices) == 6
    assert found.notices[0] == "s/locked.pdf  is locked: give its password (30 pages)"
    assert found.notices[1].startswith("s/z0.png  has no Markdown")
    assert found.notices[-1] == "and 36 more"


def test_a_password_opens(put, read):
    put("s/a.pdf", encrypted("secret"))
    put("s/a.md", "text")
    assert read("s", password="secret").table.rows["characters"][0] == "Hello, page"


def test_links(put, read, work):
    put("elsewhere/b.png")
    put("elsewhere/b.md", "b")
    put("s/a.png")
    put("s/a.md", "a")
    (work / "s/linked").symlink_to(work / "elsewhere")
    (work / "s/loop").symlink_to(work / "s")
    (work / "s/self.png").symlink_to("self.png")
    (work / "s/self.md").symlink_to("gone.md")
    found = read("s")
    assert pages(found) == ["a.png", "linked/b.png"]
    assert found.notices == (
        "s/loop  is a link to a directory that is read already",
        "s/self.png  its text self.md does not exist",
    )
    (work / "s/self.md").unlink()
    put("s/self.md", "")
    assert read("s").notices[1] == "s/self.png  cannot be opened: Too many levels of symbolic links"


def test_odd_things_with_names_of_pages(put, read, work):
    put("s/good.png")
    put("s/good.md", "good")
    os.mkfifo(work / "s/pipe.png")
    put("s/pipe.md", "")
    put("s/text.png")
    os.mkfifo(work / "s/text.md")
    put("s/folder.png/x.txt", "")
    put(os.fsdecode(b"s/caf\xe9\n.png"), image("PNG"))
    put(os.fsdecode(b"s/caf\xe9\n.md"), "odd")
    found = read("s")
    assert pages(found) == ["caf\ufffd .png", "good.png"]
    assert found.notices == (
        "s/pipe.png  is not a file but a pipe, a socket or a device",
        "s/text.png  its text text.md is not a file",
    )


def test_nothing_to_read(put, refused, work):
    (work / "s").mkdir()
    nothing = "s  holds no pages: pairs such as a.png and a.md, or b.pdf and b.1.md, are looked for"
    assert refused("s") == nothing
    put("s/a.md", "text")
    assert refused("s") == nothing
    put("s/a.png", b"")
    assert refused("s") == "s  has no page to read: s/a.png  is empty"
    for number in range(9):
        put(f"s/b{number}.png")
    assert refused("s").endswith("is empty · and 5 more")
    assert refused("t") == "t  is no source of pages: give a directory, or .jsonl, .json, .csv, .tsv, .parquet"


def test_natural_order():
    names = ["a10/1", "a2/1", "a2/10", "a2/9", "A3", "b", "10", "9", "09", "é1", "x.1.md"]
    assert sorted(names, key=natural) == ["09", "9", "10", "a2/1", "a2/9", "a2/10", "A3", "a10/1", "b", "x.1.md", "é1"]
