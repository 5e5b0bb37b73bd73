"""Headings and the order of blocks."""

from __future__ import annotations

import time
from itertools import permutations

import pytest
from hypothesis import given
from ocr_texts import ANY, FEW, PAGE, long_page, misread
from rapidfuzz.distance import Levenshtein

from forge.tasks.metrics.ocr.headings import Heading, heading, headings, mhs
from forge.tasks.metrics.ocr.order import blocks, order_edit, paired_blocks


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("# One", Heading(1, "One")),
        ("###### Six  words ", Heading(6, "Six words")),
        ("   ## Indented ##", Heading(2, "Indented")),
        ("# C#", Heading(1, "C#")),
        ("#\tTab", Heading(1, "Tab")),
        ("    # code", None),
        ("####### seven", None),
        ("#tag", None),
        ("#", None),
        ("# ", None),
        ("## ##", Heading(2, "##")),
        ("text # not", None),
        ("", None),
    ],
)
def test_what_a_heading_is(line, expected):
    assert heading(line) == expected


def test_headings_of_a_page():
    assert [(one.level, one.text) for one in headings(PAGE)] == [
        (1, "Annual report"),
        (2, "Yields"),
        (2, "Outlook"),
    ]


def value(hypothesis, reference, **options):
    found = mhs(hypothesis, reference, **options)
    return found and (found.value, mhs(hypothesis, reference, with_text=False).value)


def test_cases_by_hand():
    two = "# Intro\nWelcome\n# Details\nDeep dive"  # five nodes
    assert value(two, two) == (1.0, 1.0)
    assert value("# Intro\nWelcome", two) == pytest.approx((1 - 2 / 5, 1 - 2 / 5))
    assert value("# Intro\nWelcome\n### Details\nDeep dive", two) == (1.0, 1.0)  # levels are not compared
    assert value("# Intro\nWelcome\n# Details\nDeep dove", two) == pytest.approx((1 - 1 / 9 / 5, 1.0))
    assert value("Intro\nWelcome", two) == (0.0, 0.0)
    assert value("Before\n" + two, two) == pytest.approx((1 - 1 / 6, 1 - 1 / 6))
    assert mhs(two, "no heading") is None
    assert mhs("", "") is None


@FEW
@given(ANY, ANY)
def test_any_outline_is_between_0_and_1(a, b):
    a, b = "# t\n" + a, "# t\n" + b
    for with_text in (True, False):
        found = mhs(a, b, with_text)
        assert 0.0 <= found.value <= 1.0
        assert found.value == pytest.approx(mhs(b, a, with_text).value)
        assert mhs(a, a, with_text).value == 1.0


def test_large_outlines_are_quick():
    for page in ("# a\n" * 50_000, "# a\n" + "b" * 200_000, long_page(200_000)):
        start = time.process_time()
        found = mhs(misread(page, 0.1), page)
        assert time.process_time() - start < 8.0
        assert 0.0 < found.value < 1.0
        assert not found.exact or page == long_page(200_000)


PARTS = ["The first part of it.", "Another one follows here.", "| a | b |\n|---|---|", "# Fourth, a heading"]


def test_blocks_are_what_empty_lines_part():
    assert blocks("\n\n a  b\nc\n \n\t\nd\n") == ["a b c", "d"]
    assert blocks("") == blocks(" \n\n") == []


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_order_is_the_edit_distance_of_places(order):
    reference = "\n\n".join(PARTS)
    page = "\n\n".join(PARTS[at] for at in order)
    places = [order.index(at) for at in range(4)]
    assert paired_blocks(page, reference) == places
    assert order_edit(page, reference) == Levenshtein.distance(places, [0, 1, 2, 3]) / 4


def test_what_is_missing_or_new_is_not_out_of_order():
    reference = "\n\n".join(PARTS)
    assert order_edit("\n\n".join([PARTS[0], "Invented, quite.", PARTS[3]]), reference) == 0.0
    assert order_edit(PARTS[1], reference) is None
    assert order_edit("", reference) is None
    assert order_edit(reference, "") is None


def test_equal_blocks_keep_their_places():
    page = "\n\n".join(["same words", PARTS[0], "same words", PARTS[1], "same words"])
    assert order_edit(page, page) == 0.0


@FEW
@given(ANY, ANY)
def test_any_order_is_between_0_and_1(a, b):
    found = order_edit(a, b)
    assert found is None or 0.0 <= found <= 1.0
    assert order_edit(a, a) in (None, 0.0)


def test_order_is_quick():
    start = time.process_time()
    order_edit("word one\n\n" * 20_000, "word two\n\n" * 20_000)
    page = long_page(200_000)
    assert order_edit(misread(page, 0.1), page) == 0.0
    assert time.process_time() - start < 12.0
