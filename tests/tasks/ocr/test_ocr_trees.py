"""Tree edit distance and TEDS against independent references; laws; time."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocr_texts import ANY, FEW, SOME, words
from rapidfuzz.distance import Levenshtein

from forge.tasks.metrics.ocr import likeness as module
from forge.tasks.metrics.ocr.likeness import Likeness, likeness
from forge.tasks.metrics.ocr.tables import find_tables
from forge.tasks.metrics.ocr.teds import page_teds, table_teds, teds
from forge.tasks.metrics.ocr.trees import Node, tree, tree_distance

LABEL = st.sampled_from("ab")
LEAF = st.builds(Node, LABEL, st.sampled_from(["", "x", "xy", "yxz"]))
TREE = st.recursive(LEAF, lambda inner: st.builds(Node, LABEL, st.just(""), st.lists(inner, max_size=4).map(tuple)))


def by_apted(a, b):
    apted = pytest.importorskip("apted", reason="part of the test extra")

    class Costs(apted.Config):
        def rename(self, one, other):
            return 1.0 if one.label != other.label else Levenshtein.normalized_distance(one.text, other.text)

        def children(self, node):
            return node.children

    return apted.APTED(a, b, Costs()).compute_edit_distance()


@SOME
@given(TREE, TREE)
def test_the_distance_is_apteds(a, b):
    found, exact = tree_distance(tree(a), tree(b))
    assert exact
    assert found == pytest.approx(by_apted(a, b))
    assert found == pytest.approx(tree_distance(tree(b), tree(a))[0])
    assert tree_distance(tree(a), tree(a))[0] == 0.0
    assert tree_distance(tree(a), tree(b), with_text=False)[0] <= found + 1e-9


def html(rows, head=1):
    parts = [f"<tr>{''.join(row)}</tr>" for row in rows]
    return f"<table><thead>{''.join(parts[:head])}</thead><tbody>{''.join(parts[head:])}</tbody></table>"


def spanned(text, wide, high):
    return "<td" + f' colspan="{wide}"' * (wide > 1) + f' rowspan="{high}"' * (high > 1) + f">{text}</td>"


SPANNED = st.builds(spanned, st.text("abc1", max_size=5), st.integers(1, 2), st.integers(1, 2))
SMALL = st.lists(st.lists(SPANNED, min_size=1, max_size=3), min_size=3, max_size=4)


@SOME
@given(SMALL, SMALL)
def test_teds_is_that_of_table_recognition_metric(a, b):
    reference = pytest.importorskip("table_recognition_metric", reason="part of the test extra")
    last = "<td>end</td>"  # no span leaves the table: browsers end it there, the reference counts it
    ours, theirs = html([*a, [last]]), html([*b, [last]])
    tables = find_tables(ours)[0], find_tables(theirs)[0]
    wrapped = f"<html><body>{ours}</body></html>", f"<html><body>{theirs}</body></html>"
    for with_text in (True, False):
        expected = reference.TEDS(structure_only=not with_text)(*wrapped)
        assert table_teds(*tables, with_text).value == pytest.approx(expected)


def pipes(rows):
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def plain(rows):
    return html([[f"<td>{cell}</td>" for cell in row] for row in rows])


ROWS = [["year", "rye"], ["1930", "980"], ["1931", "1240"]]


def test_cases_by_hand():
    nodes = 1 + 2 + 3 + 6  # table, thead and tbody, rows, cells
    assert teds(pipes(ROWS), plain(ROWS)) == 1.0
    one_letter = [*ROWS[:2], ["1931", "1249"]]
    assert teds(pipes(one_letter), plain(ROWS)) == pytest.approx(1 - 0.25 / nodes)
    assert page_teds(pipes(one_letter), plain(ROWS)).teds_s == 1.0
    assert teds(pipes(ROWS[:2]), plain(ROWS)) == pytest.approx(1 - 3 / nodes)
    header_in_body = plain(ROWS).replace("<thead>", "").replace("</thead>", "")
    assert teds(header_in_body, plain(ROWS)) == pytest.approx(1 - 3 / nodes)  # tbody goes, thead and tbody come
    heads = header_in_body.replace("<td>year</td><td>rye</td>", "<th>year</th><th>rye</th>")
    assert teds(heads, plain(ROWS)) == 1.0


def test_tables_of_a_page_are_paired_in_order():
    other = [["a", "b"], ["x", "y"]]
    both = f"{pipes(ROWS)}\n\nand\n\n{pipes(other)}"
    assert teds(both, both) == 1.0
    assert teds(pipes(other), both) == teds(both, pipes(other)) == 0.5  # one is missing, one is invented
    assert teds("none", pipes(ROWS)) == teds(pipes(ROWS), "none") == 0.0
    assert teds("none", "none") == 1.0
    assert page_teds("none", "none") is None
    assert (page_teds(both, pipes(ROWS)).tables, page_teds(both, pipes(ROWS)).expected) == (2, 1)


@FEW
@given(ANY, ANY)
def test_any_text_is_between_0_and_1(a, b):
    assert 0.0 <= teds(a, b) <= 1.0
    assert teds(a, a) == 1.0
    assert teds(a, b) == pytest.approx(teds(b, a))


def many(rows, columns, seed):
    rng = random.Random(seed)
    return pipes([[words(rng, 2) for _ in range(columns)] for _ in range(rows)])


@pytest.mark.parametrize("shape", [(60, 20), (1, 1000), (1000, 1), (3000, 3), (200, 30)])
def test_large_tables_are_quick(shape):
    a, b = many(*shape, 0), many(*shape, 1)
    start = time.process_time()
    found = page_teds(a, b)
    assert time.process_time() - start < 8.0
    assert 0.0 <= found.teds < found.teds_s
    assert found.exact == (shape == (60, 20))


def test_many_tables_are_quick():
    a, b = ("\n\n".join(many(30, 8, seed + at) for at in range(20)) for seed in (0, 50))
    start = time.process_time()
    assert page_teds(a, b).teds < 1.0
    assert time.process_time() - start < 16.0


def test_long_cells_are_quick_and_said_to_be_cut():
    a, b = ("| " + " | ".join(str(at) * 40_000 + sign for at in range(4)) + " |\n|---|" for sign in "ab")
    start = time.process_time()
    assert not page_teds(a, b).exact
    assert time.process_time() - start < 8.0


@FEW
@given(st.lists(TREE, max_size=6), st.lists(TREE, max_size=6))
def test_a_likeness_in_pieces_is_no_larger(a, b):
    def build(units):
        return Node("root", children=tuple(units))

    whole = likeness(a, b, build)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PIECE_PAIRS", 10)
        cut = likeness(a, b, build, exact_pairs=9)
        assert cut.value <= whole.value + 1e-9
        assert likeness(a, a, build, exact_pairs=9).value == 1.0
        assert whole.exact
    assert Likeness(1.0).exact
