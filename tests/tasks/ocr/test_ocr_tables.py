"""Reading tables in HTML and pipes; what stands beside and above a cell; hostile text."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from ocr_texts import ANY, PAGE, SOME

from forge.tasks.metrics.ocr.grid import MOST_SLOTS, Table, Written
from forge.tasks.metrics.ocr.tables import find_tables, rectangularity, without


def only(text, **options) -> Table:
    (table,) = find_tables(text, **options)
    return table


def texts(table):
    return [[cell.text for cell in row] for row in table.rows]


PIPES = "| a | b |\n|---|:-:|\n| 1 | 2 |\n| 3 | |"
HTML = "<table><thead><tr><th>a</th><th>b</th></tr></thead><tr><td>1<td>2</tr><tr><td>3</td><td></td></table>"
SPANS = """<table>
<tr><th rowspan=2></th><th colspan="2">Spring</th><th colspan='2'>Autumn</th></tr>
<tr><th>March</th><th>April</th><th>May</th><th>June</th></tr>
<tr><th rowspan="2">North</th><td>1</td><td>2</td><td>3</td><td>4</td></tr>
<tr><td colspan="3">all</td><td>5</td></tr>
</table>"""


@pytest.mark.parametrize("text", [PIPES, HTML, f"Text.\n\n{PIPES}\n\nMore.", f"x {HTML} y", HTML.upper().lower()])
def test_both_ways_to_write_it_are_one_table(text):
    table = only(text)
    assert texts(table) == [["a", "b"], ["1", "2"], ["3", ""]]
    assert table.head == 1
    assert [cell.heading for cell in table.cells] == [True, True, False, False, False, False]
    assert table.rectangular


def test_a_page_gives_its_tables_in_order_with_their_places():
    first, second = find_tables(PAGE)
    assert PAGE[slice(*first.span)].startswith("| Year")
    assert PAGE[slice(*second.span)].endswith("</table>")
    assert "Prices fell" in without(PAGE, [first.span, second.span])
    assert "|" not in without(PAGE, [first.span, second.span])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a | b\nc | d", []),  # no line of dashes
        ("just | one line", []),
        ("|---|---|", []),
        ("|\n|---|", []),
        ("a | b\n--|--\n1 | 2", [["a", "b"], ["1", "2"]]),
        ("| a \\| b | c |\n|---|---|\n", [["a | b", "c"]]),
        ("| a |\n|---|\n| ---- |\n", [["a"], ["----"]]),
        ("caption | of it\n| a | b |\n|---|---|\n| 1 | 2 |", [["a", "b"], ["1", "2"]]),
    ],
)
def test_pipes(text, expected):
    assert [row for table in find_tables(text) for row in texts(table)] == expected


def test_loose_pipes_are_what_olmocr_bench_takes_for_a_table():
    table = only("a | b\nc | d", loose=True)
    assert texts(table) == [["a", "b"], ["c", "d"]]
    assert [cell.heading for cell in table.cells] == [True, True, True, False]
    assert find_tables("a | b", loose=True) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<table><tr><td>a<br>b &amp; <b>c</b></td></tr></table>", [["a b & c"]]),
        ("<table><td>a</td><tr><td>b", [["a"], ["b"]]),  # what is not closed
        ("<table></table>", []),
        ("<table><tr></tr></table>", []),
        ("<table><tr><td>1 < 2</td></tr></table>", [["1 < 2"]]),
        ("</table></td><tr>", []),
        ("<tablet><tr><td>a</td></tr>", []),
    ],
)
def test_html(text, expected):
    assert [row for table in find_tables(text) for row in texts(table)] == expected


def test_a_table_in_a_cell_is_a_table_and_text_of_the_cell():
    outer, inner = find_tables("<table><tr><td>x<table><tr><td>y</td></tr></table>z</td></tr></table>")
    assert texts(inner) == [["y"]]
    assert texts(outer) == [["xyz"]]


def test_tables_in_cells_are_read_four_deep():
    deep = "<table><tr><td>a" * 6 + "b" + "</table>" * 6 + "<table><tr><td>c</td></tr></table>"
    found = find_tables(deep)
    assert len(found) == 5
    assert texts(found[3]) == [["aaab"]]
    assert texts(found[4]) == [["c"]]
    first, second = found[0].span, found[1].span
    assert without("xy" + deep, [first, second]) == "\n" + ("xy" + deep)[first[1] :]


def test_spans_say_what_stands_beside_and_above():
    table = only(SPANS)
    assert table.rectangular
    assert table.head == 2
    index = {cell.text: at for at, cell in enumerate(table.cells)}
    beside = {
        side: {table.cells[at].text: found for at, found in enumerate(table.beside[side])} for side in table.beside
    }

    def names(found):
        return {table.cells[at].text for at in found}

    def bits(mask):
        return {cell.text for at, cell in enumerate(table.cells) if mask >> at & 1}

    assert names(beside["up"]["March"]) == {"Spring"}
    assert names(beside["up"]["all"]) == {"1", "2", "3"}
    assert names(beside["left"]["5"]) == {"all"}
    assert names(beside["right"]["North"]) == {"1", "all"}
    assert names(beside["down"]["Spring"]) == {"March", "April"}
    assert beside["up"]["Spring"] == set()
    assert bits(table.headings["up"][index["4"]]) == {"June", "Autumn"}
    assert bits(table.headings["up"][index["all"]]) == {"March", "April", "May", "Spring", "Autumn"}
    assert bits(table.headings["left"][index["5"]]) == {"North"}
    assert bits(table.headings["left"][index["North"]]) == set()


def test_without_headings_the_cells_at_the_edge_take_their_place():
    table = only("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td><td>d</td></tr></table>")
    assert table.headings["up"] == [0, 0, 1, 2]
    assert table.headings["left"] == [0, 1, 0, 4]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("<tr><td>a</td><td>b</td></tr><tr><td colspan=2>c</td></tr>", True),
        ("<tr><td>a</td><td>b</td></tr><tr><td>c</td></tr>", False),  # too short
        ("<tr><td rowspan=3>a</td><td>b</td></tr><tr><td>c</td></tr>", False),  # leaves the table
        ("<tr><td>a</td><td rowspan=2>b</td></tr><tr><td colspan=2>c</td></tr>", False),  # covers another
        ("<tr><td rowspan=0>a</td><td>b</td></tr><tr><td>c</td></tr>", True),  # 0: to the end
        ("<tr><td colspan=0>a</td></tr>", True),
    ],
)
def test_rectangular(rows, expected):
    assert only(f"<table>{rows}</table>").rectangular is expected
    assert rectangularity(f"<table>{rows}</table>") == float(expected)


def test_rectangularity_is_a_share_of_html_tables():
    crooked = "<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>"
    assert rectangularity(HTML + crooked) == 0.5
    assert rectangularity("no table") == rectangularity(PIPES) == 1.0


@SOME
@given(ANY)
def test_any_text_gives_tables_that_hold_together(text):
    for loose in (False, True):
        for table in find_tables(text, loose):
            start, end = table.span
            assert 0 <= start < end <= len(text)
            assert table.rows
            assert all(table.rows)
            assert set(table.slots.values()) <= set(range(len(table.cells)))
            for side, other in (("up", "down"), ("left", "right")):
                for cell, found in enumerate(table.beside[side]):
                    assert all(cell in table.beside[other][neighbour] for neighbour in found)
            assert len(table.headings["up"]) == len(table.cells)
            assert isinstance(table.rectangular, bool)


HOSTILE = ["<table", "<table>", "<td ", "<table><tr><td>", "<td colspan=99>", "<td rowspan=999999999>", "<!--",
           "<b x=\"", "|", "|-", "| a |\n", "a|b\n-|-\n", "<table><td>x</table>", "<br", "&", "<"]  # fmt: skip


@pytest.mark.parametrize("unit", HOSTILE)
def test_hostile_text_is_quick(unit):
    text = "<table><tr><td>" + unit * (200_000 // len(unit))
    start = time.process_time()
    for table in find_tables(text, loose=True):
        assert table.headings["up"] is not None
        assert table.rectangular is not None
        assert len(table.cells) <= MOST_SLOTS
    assert time.process_time() - start < 12.0


def test_what_is_left_out_is_said():
    many = "<table>" + "<tr><td colspan=900>a</td></tr>" * 12 + "</table>"
    assert only(many).cut
    assert only("| a |\n|---|\n" + "| b | c |\n" * MOST_SLOTS).cut
    assert not only(HTML).cut
    assert Written("a") == only("<table><td>a").cells[0]
