"""Tables change their form only where nothing is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.tasks.metrics.ocr.tables import find_tables
from forge.tasks.ocr.table_forms import with_tables

PIPES = "| a | b |\n| --- | --- |\n| 1 | 2 |"
HTML = "<table>\n<tr><th>a</th><th>b</th></tr>\n<tr><td>1</td><td>2</td></tr>\n</table>"


def test_one_form_becomes_the_other_and_back():
    assert with_tables(PIPES, "html") == HTML
    assert with_tables(HTML, "markdown") == PIPES
    assert with_tables(HTML, "html") == HTML
    assert with_tables(PIPES, "markdown") == PIPES


def test_what_is_around_stays_and_is_parted_by_an_empty_line():
    assert with_tables(f"# T\n{HTML}\nText.", "markdown") == f"# T\n\n{PIPES}\n\nText."
    assert with_tables(f"# T\n\n{PIPES}\n\nText.", "html") == f"# T\n\n{HTML}\n\nText."
    assert with_tables(f"so {HTML} on", "markdown") == f"so \n\n{PIPES}\n\n on"
    assert with_tables(f"{HTML}\n{HTML}\n", "markdown") == f"{PIPES}\n\n{PIPES}\n"


@pytest.mark.parametrize(
    "row",
    [
        "<tr><td colspan=2>1</td></tr>",
        "<tr><td rowspan='2'>1</td><td>2</td></tr><tr><td>3</td></tr>",
        "<tr><td>1</td></tr>",
        "<tr><th>1</th><td>2</td></tr>",
        "<tr><td>1<br>2</td><td>3</td></tr>",
        "<tr><td><b>1</b></td><td>2</td></tr>",
        "<tr><td><table><tr><td>1</td></tr></table></td><td>2</td></tr>",
        "<tr><td>1</td><td>2</td></tr>stray",
        "<caption>c</caption><tr><td>1</td><td>2</td></tr>",
    ],
)
def test_html_that_says_more_stays(row):
    text = f"<table><tr><th>a</th><th>b</th></tr>{row}</table>"
    assert with_tables(text, "markdown") == text


def test_a_table_without_a_heading_stays():
    text = "<table><tr><td>1</td><td>2</td></tr><tr><td>3</td><td>4</td></tr></table>"
    assert with_tables(text, "markdown") == text


@pytest.mark.parametrize("cell", ["**1**", "`1`", "$x$", "[a](b)", "_1_", "~~1~~"])
def test_pipes_with_marks_of_markdown_stay(cell):
    text = f"| a | b |\n| --- | --- |\n| {cell} | 2 |"
    assert with_tables(text, "html") == text


def test_pipes_that_say_more_or_are_none_stay():
    for text in (
        "| a | b |\n| :-: | --: |\n| 1 | 2 |",
        "| a | b |\n| --- | --- |\n| 1 |",
        "| a | b |\n| 1 | 2 |",
        f"```\n{PIPES}\n```",
        f"~~~html\n{HTML}\n~~~",
        "",
        "a | b",
    ):
        assert with_tables(text, "html") == text
        assert with_tables(text, "markdown") == text


def test_signs_that_mean_something_there_are_written_so_that_they_do_not():
    html = "<table><tr><th>a|b</th><th>&lt;i&gt;</th></tr><tr><td>x &amp; y</td><td>snake_case</td></tr></table>"
    assert with_tables(html, "markdown") == "| a\\|b | &lt;i&gt; |\n| --- | --- |\n| x &amp; y | snake_case |"


CELLS = st.text("ab |<&_-:", min_size=0, max_size=6)


@given(st.integers(1, 3).flatmap(lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n), min_size=1, max_size=4)))
def test_no_cell_is_lost(rows):
    from html import escape

    tags = ["th"] + ["td"] * (len(rows) - 1)
    lines = [
        "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row) + "</tr>"
        for tag, row in zip(tags, rows, strict=True)
    ]
    text = f"<table>{''.join(lines)}</table>"
    found = with_tables(text, "markdown")
    if found == text:
        return
    from html import unescape

    [table] = find_tables(found)
    shown = [[unescape(cell.text) for cell in row] for row in table.rows]
    assert shown == [[" ".join(cell.split()) for cell in row] for row in rows]
