"""Every type of check: what passes, what fails, and what is just enough."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocr_texts import ANY, FEW, PAGE
from rapidfuzz import fuzz

from forge.tasks.metrics.ocr.checks.base import Page, best_part
from forge.tasks.metrics.ocr.checks.form import exact_strings_alone, formulas
from forge.tasks.metrics.ocr.checks.read import KINDS, read_check
from forge.tasks.metrics.ocr.normalise import normalise


def check(kind, /, **values):
    return read_check({"pdf": "a.pdf", "page": 1, "id": "one", "type": kind} | values)


def verdict(text, kind, same=None, /, **values):
    return check(kind, **values).run(Page(text, same)).verdict


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a **bold** __word__ and *it* _too_", "a bold word and it too"),
        ("a<br>b<br/>c <b>d</b> <i>e</i>", "a b c d e"),
        ("one\n\n two\t three", "one two three"),
        ("\u2018a\u2019 \u201cb\u201d \u201ac\u201e", "'a' \"b\" 'c\""),
        ("1\u20132\u20143\u20114\u20125\u22126", "1-2-3-4-5-6"),
        ("e\u0301 \u00b5 \uff3f", "\u00e9 \u03bc _"),
        ("2 * 3\n* item\n* item", "2 * 3 * item * item"),  # no pair within a line
    ],
)
def test_one_spelling(text, expected):
    assert normalise(text) == expected


TEXT = "The Quick brown fox jumps over the lazy dog near the river bank."
PRESENCE = [
    ({"text": "brown fox"}, True),
    ({"text": "**brown**  fox"}, True),
    ({"text": "Brown Fox"}, False),
    ({"text": "Brown Fox", "case_sensitive": False}, True),
    ({"text": "quick bruwn"}, False),
    ({"text": "browm foxe jump", "max_diffs": 1}, False),
    ({"text": "jumpz over", "max_diffs": 1}, True),  # ratio 0.9, just the threshold
    ({"text": "jumpz ower", "max_diffs": 1}, False),
    ({"text": "jumpz ower", "max_diffs": 2}, True),
    ({"text": "river bank", "first_n": 30}, False),
    ({"text": "river bank", "last_n": 11}, True),
    ({"text": "river bank", "last_n": 10}, False),  # cut off by one
    ({"text": "The Quick", "first_n": 9}, True),
    ({"text": "The Quick", "first_n": 8}, False),
    ({"text": "The Quick", "first_n": 9, "last_n": 5}, True),
    ({"text": "bank.", "first_n": 9, "last_n": 5}, True),
    ({"text": "brown", "first_n": 9, "last_n": 5}, False),
    ({"text": "brown", "first_n": None, "last_n": 0}, True),
]


@pytest.mark.parametrize(("values", "there"), PRESENCE)
def test_present_and_absent(values, there):
    assert verdict(TEXT, "present", **values) == ("passed" if there else "failed")
    assert verdict(TEXT, "absent", **values) == ("failed" if there else "passed")


@FEW
@given(st.text("ab ", min_size=1, max_size=12), st.text("abc ", min_size=12, max_size=60), st.integers(0, 6))
def test_the_ratio_is_rapidfuzzs(wanted, text, most):
    least = 1.0 - most / len(wanted)
    whole = fuzz.partial_ratio(wanted, text) / 100.0
    assert best_part(wanted, text, least) == (whole if whole >= least else 0.0)


@pytest.mark.parametrize("text", ["", " ", "\n", "a", "Quick"])
def test_a_page_that_is_too_short_has_nothing(text):
    assert verdict(text, "present", text="a long phrase") == "failed"
    assert verdict(text, "absent", text="a long phrase") == "passed"


def test_a_page_short_by_what_is_allowed_is_enough():
    assert verdict("abcdefghi", "present", text="abcdefghij", max_diffs=1) == "passed"
    assert verdict("abcdefgh", "present", text="abcdefghij", max_diffs=1) == "failed"


@pytest.mark.parametrize(
    ("before", "after", "most", "expected"),
    [
        ("brown fox", "lazy dog", 0, "passed"),
        ("lazy dog", "brown fox", 0, "failed"),
        ("brown fax", "lazy dog", 0, "failed"),
        ("brown fax", "lazy dig", 1, "passed"),
        ("brawn fax", "lazy dog", 1, "failed"),
        ("lazy dog", "lazy dog", 0, "failed"),  # not before itself
        ("the", "the", 0, "passed"),  # it is there twice
        ("over the lazy", "the lazy", 0, "passed"),  # starts earlier
    ],
)
def test_order(before, after, most, expected):
    assert verdict(TEXT, "order", before=before, after=after, max_diffs=most) == expected


GRID = """| Year | Rye | Wheat |
|------|-----|-------|
| 1930 | 980 | 2,100 |
| 1931 | 1,240 | 2,480 |"""
CELLS = [
    ({"cell": "980"}, True),
    ({"cell": "981"}, False),
    ({"cell": "9810", "max_diffs": 1}, True),  # ratio 6/7, threshold 3/4
    ({"cell": "2,49O", "max_diffs": 2}, True),  # ratio 0.6, just the threshold
    ({"cell": "2,49O", "max_diffs": 1}, False),
    ({"cell": "xyz80", "max_diffs": 5}, True),  # never below one half: 2·2/8
    ({"cell": "xyzu0", "max_diffs": 5}, False),
    ({"cell": "980", "up": "Rye", "down": "1,240", "left": "1930", "right": "2,100"}, True),
    ({"cell": "980", "up": "Wheat"}, False),
    ({"cell": "980", "right": "1930"}, False),
    ({"cell": "1,240", "top_heading": "Rye", "left_heading": "1931"}, True),
    ({"cell": "1,240", "top_heading": "Wheat"}, False),
    ({"cell": "1,240", "left_heading": "1930"}, False),
    ({"cell": "Year", "up": "Rye"}, False),
    ({"cell": "980", "up": "", "left": None}, True),
    ({"cell": "980", "ignore_markdown_tables": True}, False),
]


@pytest.mark.parametrize(("values", "holds"), CELLS)
def test_table(values, holds):
    assert verdict(f"Text.\n\n{GRID}\n\nMore.", "table", **values) == ("passed" if holds else "failed")


def test_a_table_with_spans_has_several_neighbours_and_headings():
    html = """<table><tr><th></th><th colspan=2>Spring</th></tr><tr><th></th><th>March</th><th>April</th></tr>
    <tr><th>North</th><td>7</td><td>8</td></tr><tr><th>South</th><td colspan=2>none</td></tr></table>"""
    for values in (
        {"cell": "8", "top_heading": "April"},
        {"cell": "8", "top_heading": "Spring"},
        {"cell": "8", "left_heading": "North"},
        {"cell": "none", "up": "7"},
        {"cell": "none", "up": "8"},
        {"cell": "Spring", "down": "April"},
    ):
        assert verdict(html, "table", ignore_markdown_tables=True, **values) == "passed"
    assert verdict(html, "table", cell="7", top_heading="April") == "failed"


def test_one_cell_must_have_all_that_is_stated():
    text = "| a | b |\n|---|---|\n| x | 1 |\n| x | 2 |\n\n| c | b |\n|---|---|\n| y | 3 |"
    assert verdict(text, "table", cell="x", right="2", up="x") == "passed"
    assert verdict(text, "table", cell="x", right="2", up="a") == "failed"  # each is so for one x
    assert verdict(text, "table", cell="b", down="3") == "passed"  # in the second table
    assert "has '2' as `right`" in check("table", cell="x", right="2", up="a").run(Page(text)).reason
    assert "no table" in check("table", cell="x").run(Page("x")).reason


FORMULAS = r"Let $a+b$ be \(x^2\) and $$\frac{1}{2}$$ or \[ y_1 \] but not z."


@pytest.mark.parametrize(
    ("math", "expected"),
    [("a+b", "passed"), ("x^2", "passed"), (r"\frac{1}{2}", "passed"), ("y_1", "passed"), ("z", "left out")],
)
def test_math(math, expected):
    assert verdict(FORMULAS, "math", math=math) == expected


def test_math_with_a_way_to_render():
    def without_spaces(wanted, formula):
        return wanted.replace(" ", "") == formula.replace(" ", "")

    assert verdict(FORMULAS, "math", without_spaces, math="a + b") == "passed"
    assert verdict(FORMULAS, "math", without_spaces, math="a - b") == "failed"
    assert verdict(FORMULAS, "math", exact_strings_alone, math="a + b") == "failed"
    assert verdict("no formula a+b", "math", math="a+b") == "failed"
    assert verdict(FORMULAS, "math", math="a+b", ignore_dollar_delimited=True) == "left out"
    assert verdict(FORMULAS, "math", math="x^2", ignore_dollar_delimited=True) == "passed"


def test_formulas_of_one_kind_of_delimiter_are_gone_for_the_next():
    assert formulas(r"$$a$$ $b$ \(c\) \[d\] $e") == ["c", "d", "a", "b"]
    assert formulas("$$a$$", dollars=False) == []


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("Some text.", {}, "passed"),
        ("", {}, "failed"),
        ("--- * ---", {}, "failed"),
        ("ab" + "c" * 30, {}, "passed"),
        ("ab" + "c" * 31, {}, "failed"),
        ("ab" + "12345" * 30, {}, "passed"),
        ("ab" + "12345" * 31, {}, "failed"),
        ("ab" + "123456" * 31, {}, "passed"),  # longer than what is looked for
        ("ab" + "c" * 31, {"max_repeats": 31}, "passed"),
        ("text \u4e2d", {}, "failed"),
        ("text \u3042", {}, "failed"),
        ("text \U0001f600", {}, "failed"),
        ("text \u4e2d", {"check_disallowed_characters": False}, "passed"),
        ("", {"max_length": 0}, "passed"),
        ("  --- ", {"max_length": 0}, "passed"),
        ("abc", {"max_length": 3}, "passed"),
        ("abcd", {"max_length": 3}, "failed"),
        ("![alt text](a.png)", {"max_length": 3}, "failed"),
        ("![alt text](a.png)", {"max_length": 0, "max_length_skips_image_alt_tags": True}, "passed"),
    ],
)
def test_baseline(text, values, expected):
    assert verdict(text, "baseline", **values) == expected


MARKED = """# A *first* heading
## Second
**bold words** and __more of it__, <strong>strong</strong> <b class="x">b</b>
*slanted* and _so_ <em>on</em> <I>i</I> <h3>third
one</h3> # no heading
2 * 3 * 4"""


@pytest.mark.parametrize(
    ("text", "form", "expected"),
    [
        ("A first heading", "heading", "passed"),
        ("second", "heading", "failed"),
        ("third one", "heading", "passed"),
        ("no heading", "heading", "failed"),
        ("bold words", "bold", "passed"),
        ("bold", "bold", "passed"),
        ("more of it", "bold", "passed"),
        ("strong", "bold", "passed"),
        ("slanted", "bold", "failed"),
        ("slanted", "italic", "passed"),
        ("on", "italic", "passed"),
        ("bold words", "italic", "failed"),
    ],
)
def test_format(text, form, expected):
    assert verdict(MARKED, "format", text=text, format=form) == expected


def test_format_in_any_case_and_with_differences():
    assert verdict(MARKED, "format", text="SECOND", format="heading", case_sensitive=False) == "passed"
    assert verdict(MARKED, "format", text="Secund", format="heading", max_diffs=1) == "passed"
    assert verdict(MARKED, "format", text="Secund", format="heading") == "failed"


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("As was said[^1] before.\n\n[^1]: There.", {}, "passed"),
        ("[^1]: There.", {}, "failed"),  # what it says, not where it is
        ("said<sup>1</sup>", {}, "passed"),
        ('said<SUP class="n">1</SUP>', {}, "passed"),
        ("said¹", {}, "passed"),
        ("said 1", {}, "failed"),
        ("said[^12]", {}, "failed"),
        ("said¹ before", {"appears_before_marker": "said", "appears_after_marker": "Before"}, "passed"),
        ("said¹ before", {"appears_before_marker": "before"}, "failed"),
        ("said¹ before", {"appears_after_marker": "said"}, "failed"),
        ("sald¹ before", {"appears_before_marker": "said", "max_diffs": 1}, "passed"),
        ("a¹ b and c¹ d", {"appears_before_marker": "c", "appears_after_marker": "b"}, "passed"),
        ("said " + "x" * 200 + "¹", {"appears_before_marker": "said"}, "failed"),
    ],
)
def test_footnote(text, values, expected):
    assert verdict(text, "footnote", marker="1", **values) == expected


def test_a_footnote_of_signs():
    assert verdict("said<sup>*</sup>", "footnote", marker="*") == "passed"
    assert verdict("said[^a.b]", "footnote", marker="a.b") == "passed"
    assert verdict("said[^axb]", "footnote", marker="a.b") == "failed"


EVERY = [
    check("present", text="better year"),
    check("absent", text="Page 12 of 40", max_diffs=4),
    check("order", before="Annual", after="Outlook", max_diffs=3),
    check("table", cell="1,240", up="980", top_heading="Rye", max_diffs=1),
    check("table", cell="Plums", right="7", top_heading="Fruit"),
    check("format", text="Outlook", format="heading"),
    check("format", text="Outlook", format="bold"),
    check("format", text="Outlook", format="italic"),
    check("footnote", marker="1", appears_before_marker="word", appears_after_marker="a"),
    check("math", math="x"),
    check("baseline"),
    check("baseline", max_length=10, max_length_skips_image_alt_tags=True),
]


def test_checks_of_every_type_are_there():
    assert {one.type for one in EVERY} == set(KINDS)
    passed = {one.type for one in EVERY if one.run(Page(PAGE)).passed}
    assert passed == {"present", "absent", "order", "table", "format", "baseline"}


@FEW
@given(ANY)
def test_any_text_has_an_outcome(text):
    for one in EVERY:
        found = one.run(Page(text, exact_strings_alone))
        assert found.verdict in ("passed", "failed")
        assert "\n" not in found.reason
        assert bool(found.reason) == (not found.passed)


HOSTILE = ["a", " ", "\n", "*", "**a", "_", "__ ", "$", "\\(", "\\[", "<b>", "<h1>", "<i", "<sup", "[^1]", "¹", "![",
           "#", "# a\n", "#\n", "<table><td>", "|a\n", "be", "<br", "Ann ual", "bet\u0301"]  # fmt: skip


@pytest.mark.parametrize("unit", HOSTILE)
def test_hostile_pages_are_quick(unit):
    text = unit * (200_000 // len(unit))
    start = time.process_time()
    page = Page(text, exact_strings_alone)
    for one in EVERY:
        one.run(page)
    assert time.process_time() - start < 12.0


def test_a_long_search_text_is_quick():
    start = time.process_time()
    verdict("ab" * 100_000, "present", text="a" * 3_000, max_diffs=1_500)
    verdict("ab" * 100_000, "order", before="a" * 300, after="a" * 300, max_diffs=150)
    assert time.process_time() - start < 40.0
