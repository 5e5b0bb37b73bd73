"""Pages are what the file says: upright, of the right size, in order, with every character in its box."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tasks.pages.hostile import document, image, tiff

from forge.core.errors import UserError
from forge.tasks.pages import wire
from forge.tasks.pages.ranges import parse_pages, within
from forge.tasks.pages.raw import MAX_GLYPHS
from forge.tasks.pages.sizes import MAX_EDGE, Limits, Scale
from forge.tasks.pages.stream import Page, Refusal, open_pages, text_layer

CORNER = b"0 0 0 rg 5 85 20 10 re f"  # a black block in the upper left of 200 by 100 points


@pytest.fixture
def put(tmp_path):
    def _put(data, name="a.pdf"):
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return _put


def only(path, **options):
    [page] = open_pages(path, **options)
    assert isinstance(page, Page), page
    return page


def ink(page):
    """Where the page is dark: left, top, right, bottom as shares of its size."""
    rows, columns = np.nonzero(page.pixels.min(axis=2) < 128)
    height, width = page.pixels.shape[:2]
    return [round(float(v), 2) for v in (columns.min() / width, rows.min() / height, columns.max() / width)]


@pytest.mark.parametrize("trusted", [True, False])
def test_both_ways_give_the_same(put, trusted):
    page = only(put(document()), trusted=trusted, text=True)
    assert (page.number, page.pixels.shape, page.size_pt, page.rotation) == (1, (139, 278, 3), (200, 100), 0)
    other = only(put(document()), text=True)
    assert (page.pixels == other.pixels).all()
    assert page.glyphs.characters == other.glyphs.characters == "Hello, page"
    assert (page.glyphs.boxes_N4 == other.glyphs.boxes_N4).all()
    assert page.image().size == (278, 139)


@pytest.mark.parametrize(
    ("turn", "left_top", "shape"),
    [
        (0, [0.02, 0.05], (100, 200)),
        (90, [0.85, 0.02], (200, 100)),
        (180, [0.87, 0.85], (100, 200)),
        (270, [0.05, 0.87], (200, 100)),
        (-90, [0.05, 0.87], (200, 100)),
        (450, [0.85, 0.02], (200, 100)),
    ],
)
def test_rotation_is_applied_to_pixels_and_boxes(put, turn, left_top, shape):
    path = put(document(content=CORNER, page=b"/Rotate %d" % turn))
    page = only(path, scale=Scale(dpi=72))
    assert page.rotation == turn % 360
    assert page.pixels.shape[:2] == shape
    assert page.size_pt == shape[::-1]
    assert ink(page)[:2] == pytest.approx(left_top, abs=0.015)
    page = only(put(document(page=b"/Rotate %d" % turn)), scale=Scale(dpi=144), text=True)
    assert_boxes_hold_the_ink(page)


def assert_boxes_hold_the_ink(page):
    dark = page.pixels.min(axis=2) < 160
    outside = dark.copy()
    for character, box in zip(page.glyphs.characters, page.glyphs.boxes_N4, strict=True):
        left, top, right, bottom = np.rint(box).astype(int)
        if not character.isspace():
            assert dark[top:bottom, left:right].any(), character
        outside[max(top - 1, 0) : bottom + 1, max(left - 1, 0) : right + 1] = False
    assert not outside.any()


def test_boxes_of_a_cropped_and_shifted_page(put):
    page = only(put(document(box=b"-30 -20 270 180", page=b"/CropBox [10 20 190 90]")), text=True)
    assert page.size_pt == (180, 70)
    assert_boxes_hold_the_ink(page)


def test_text_layer(put):
    glyphs, size = text_layer(put(document(pages=2)), 2)
    assert glyphs.characters == "Hello, page"
    assert size == (200, 100)
    left, top, right, bottom = glyphs.boxes_N4[0]  # an H of Helvetica, 24 points, its foot 40 points up
    assert (left, bottom) == pytest.approx((21.9, 60), abs=0.6)
    assert (right - left, bottom - top) == pytest.approx((13.5, 17.2), abs=0.6)
    with pytest.raises(UserError, match=r"a\.pdf  has 2 pages, but pages 3 were asked for"):
        text_layer(put(document(pages=2)), 3)
    with pytest.raises(UserError, match="is a directory"):
        text_layer(put(b"").parent)


def test_sizes(put):
    path = put(document())
    assert only(path, scale=Scale(longest_edge=1288)).pixels.shape == (644, 1288, 3)
    assert only(path, scale=Scale(dpi=36)).pixels.shape == (50, 100, 3)
    assert only(path, scale=Scale(dpi=1)).pixels.shape == (2, 3, 3)
    for wrong in ({"dpi": 0}, {"dpi": float("nan")}, {"longest_edge": 0}, {"max_pixels": 0}):
        with pytest.raises(UserError):
            Scale(**wrong)
    for wrong in ({"memory_mib": 9}, {"seconds": 0}, {"seconds": float("inf")}):
        with pytest.raises(UserError):
            Limits(**wrong)


@pytest.mark.parametrize(
    ("pages", "numbers", "words"),
    [
        (None, [1, 2, 3, 4, 5], ""),
        ("2", [2], ""),
        ("4,1-2", [1, 2, 4], ""),
        ("1-3,2-4", [1, 2, 3, 4], ""),
        ("4-", [4, 5], ""),
        ("-2", [1, 2], ""),
        (" 1 - 2 , 5", [1, 2, 5], ""),
        ("5-7", [5], "has 5 pages, but pages 6-7 were asked for"),
        ("9,11-", [], "has 5 pages, but pages 9, 11- were asked for"),
        ("1-999999999", [1, 2, 3, 4, 5], "has 5 pages, but pages 6-999999999 were asked for"),
    ],
)
def test_ranges(put, pages, numbers, words):
    found = list(open_pages(put(document(pages=5)), pages))
    assert [page.number for page in found if isinstance(page, Page)] == numbers
    assert [str(item) for item in found if isinstance(item, Refusal)] == ([words] if words else [])


@pytest.mark.parametrize("pages", ["", ",", "-", "1,", "a", "0", "3-1", "1-2-3", "1.5", "٣", "1" * 50, "0-0"])
def test_bad_ranges_are_errors_at_once(pages):
    with pytest.raises(UserError, match="pages '"):
        open_pages("missing.pdf", pages)


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 30)), min_size=1, max_size=6), st.integers(1, 70))
def test_ranges_are_sets(spans, count):
    text = ",".join(f"{first}-{first + more}" for first, more in spans)
    wanted = {number for first, more in spans for number in range(first, first + more + 1)}
    there, missing = within(parse_pages(text), count)
    assert list(there) == sorted(number for number in wanted if number <= count)
    assert bool(missing) == any(number > count for number in wanted)


def test_images_are_flattened_and_upright(put):
    assert (only(put(image("PNG", mode="RGBA"))).pixels == 255).all()
    assert only(put(image("PNG", mode="1"))).pixels.shape == (40, 60, 3)
    assert only(put(image("JPEG", mode="CMYK"))).pixels.shape == (40, 60, 3)
    deep = Image.fromarray(np.full((4, 4), 40_000, np.uint16))
    out = io.BytesIO()
    deep.save(out, "PNG")
    assert only(put(out.getvalue())).pixels.max() == pytest.approx(40_000 / 257, abs=1)
    picture = Image.new("RGB", (200, 100), "white")
    picture.paste("black", (0, 0, 20, 10))
    exif = Image.Exif()
    exif[0x0112] = 6
    out = io.BytesIO()
    picture.save(out, "JPEG", exif=exif, dpi=(144, 144), quality=95)
    page = only(put(out.getvalue()))
    assert (page.pixels.shape, page.rotation, page.size_pt) == ((200, 100, 3), 90, (50, 100))
    assert ink(page)[0] == 0.9
    page = only(put(out.getvalue()), scale=Scale(longest_edge=50))
    assert page.pixels.shape == (50, 25, 3)
    assert page.pixels[1, 23].max() < 60


def test_images_of_a_tiff_are_pages(put):
    found = list(open_pages(put(tiff(7)), "2,5-6"))
    assert [page.number for page in found] == [2, 5, 6]
    assert [int(page.pixels[0, 0, 0]) for page in found] == [10, 40, 50]


def header(*values):
    return wire.HEADER.pack(*values)


@given(
    st.tuples(
        st.sampled_from([wire.MAGIC, b"PAGE"]),
        st.integers(0, 255) | st.sampled_from([0, 1, 2]),
        st.integers(0, 2**32 - 1) | st.just(7),
        st.integers(0, 2**32 - 1) | st.integers(1, 99),
        st.integers(0, 2**32 - 1) | st.integers(1, 99),
        st.integers(0, 2**16 - 1) | st.just(90),
        st.floats() | st.just(9.0),
        st.floats() | st.just(9.0),
        st.integers(0, 2**32 - 1) | st.just(0),
        st.integers(0, 2**16 - 1) | st.just(0),
    )
)
def test_no_header_asks_for_more_than_the_caps(values):
    try:
        found = wire.check(header(*values), 7, 10_000)
    except ValueError:
        return
    assert found.number == 7
    assert found.width * found.height <= 10_000
    assert max(found.width, found.height) <= MAX_EDGE
    assert found.glyphs <= MAX_GLYPHS
    assert found.message <= wire.MAX_MESSAGE
    assert found.kind == wire.REFUSED or (0 < found.width_pt <= 1e7 and 0 < found.height_pt <= 1e7)


@given(st.binary(min_size=wire.HEADER.size, max_size=wire.HEADER.size))
def test_noise_is_no_header(data):
    with pytest.raises(ValueError, match="not an answer"):
        wire.check(data, 0, 10**9)


def test_a_header_is_as_long_as_it_says():
    assert wire.HEADER.size == struct.calcsize("<4sBIIIHddIH") == len(wire.opened(3))
    assert wire.check(wire.opened(3), 0, 1).number == 3
