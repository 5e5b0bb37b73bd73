"""All figures of a set of pages together."""

from __future__ import annotations

import json
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocr_texts import ANY, FEW, PAGE, long_page, misread

from forge.core.errors import UserError
from forge.tasks.base import HIGHER_IS_BETTER
from forge.tasks.metrics.ocr.score import score_pages

SHARES = ("edit_similarity", "nid", "nid_s", "teds", "teds_s", "mhs", "mhs_s", "order_edit")


def test_a_perfect_page():
    scores = score_pages([PAGE], [PAGE])
    better = {name: 1.0 if HIGHER_IS_BETTER[name] else 0.0 for name in ("cer", "wer", *SHARES)}
    assert scores.figures == better
    assert scores.detail["worst"] == scores.detail["loops"] == scores.detail["not_exact"] == []


def test_figures_are_there_only_where_something_is_measured():
    assert set(score_pages(["a"], ["b"]).figures) == {"cer", "wer", "edit_similarity", "nid", "nid_s"}
    table = "| a |\n|---|\n| b |"
    assert set(score_pages(["x"], [table]).figures) == {"cer", "wer", "edit_similarity", "nid", "teds", "teds_s"}
    mixed = score_pages(["x", table, PAGE], ["x", table, PAGE])
    assert mixed.detail["measured"] == {
        "edit_similarity": 3, "nid": 3, "nid_s": 2, "teds": 2, "teds_s": 2, "mhs": 1, "mhs_s": 1, "order_edit": 1
    }  # fmt: skip


def test_what_the_detail_says():
    hypotheses = ["Invented text", "", PAGE + "and so on " * 30, "a\n\n| x |\n|---|", misread(PAGE, 0.3)]
    references = ["", "Some text", PAGE, "a", PAGE]
    scores = score_pages(hypotheses, references, ["blank", "gone", "loop", "table", "misread"])
    detail = scores.detail
    assert detail["blank_with_text"] == ["blank"]
    assert detail["nothing_read"] == ["gone"]
    assert [one["page"] for one in detail["loops"]] == ["loop"]
    assert sorted(detail["loops"][0]["unit"]) == sorted("and so on ")
    assert detail["invented_tables"] == ["table"]
    assert [one["page"] for one in detail["worst"]][:2] == ["blank", "gone"]
    assert len(detail["worst"]) == 5
    assert detail["pages"] == 5
    assert score_pages(hypotheses, references, worst=2).detail["worst"][1]["page"] == "2"
    json.dumps(detail)


def test_a_loop_that_is_on_the_page_is_none():
    page = "Sign here: " + "_ " * 60
    assert score_pages([page], [page]).detail["loops"] == []


def test_cer_is_over_the_corpus_and_the_rest_over_pages():
    scores = score_pages(["abcdefghij" * 9, "xxxxxxxxxx"], ["abcdefghij" * 9, "abcdefghij"])
    assert scores.figures["cer"] == pytest.approx(0.1)
    assert scores.figures["edit_similarity"] == pytest.approx(0.5)


@pytest.mark.parametrize(("hypotheses", "references", "names"), [(["a"], [], None), ([], [], None), (["a"], ["b"], [])])
def test_what_cannot_be_scored_is_refused(hypotheses, references, names):
    with pytest.raises(UserError):
        score_pages(hypotheses, references, names)


@FEW
@given(st.lists(st.tuples(ANY, ANY), min_size=1, max_size=3))
def test_any_text_gives_finite_figures_within_bounds(pairs):
    hypotheses, references = (list(side) for side in zip(*pairs, strict=True))
    scores = score_pages(hypotheses, references)
    for name, value in scores.figures.items():
        assert math.isfinite(value)
        assert value >= 0.0
        assert value <= 1.0 or name not in SHARES
        assert name in HIGHER_IS_BETTER
    same = score_pages(references, references).figures
    assert same == {name: 1.0 if HIGHER_IS_BETTER[name] else 0.0 for name in same}
    json.dumps(scores.detail, allow_nan=False)


@pytest.mark.parametrize("characters", [3_000, 200_000])
def test_long_pages_are_quick(characters):
    reference = long_page(characters)
    start = time.process_time()
    scores = score_pages([misread(reference, 0.1)], [reference])
    assert time.process_time() - start < 8.0
    assert scores.detail["not_exact"] == ([] if characters == 3_000 else ["1"])
    assert 0.8 < scores.figures["edit_similarity"] < 1.0


def test_a_runaway_page_is_quick():
    start = time.process_time()
    scores = score_pages(["The same words again. " * 9_000], [long_page(3_000)])
    assert time.process_time() - start < 8.0
    assert scores.figures["cer"] > 50
    assert scores.detail["loops"][0]["repeats"] > 100
