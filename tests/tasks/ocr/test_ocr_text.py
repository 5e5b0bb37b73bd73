"""CER, WER, edit similarity and NID against jiwer, rapidfuzz and cases that were worked out by hand."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocr_texts import ANY, SOME, long_page, misread
from rapidfuzz.distance import Indel, Levenshtein

from forge.tasks.metrics.ocr import text as module
from forge.tasks.metrics.ocr.text import cer, char_edits, corpus_rate, edit_similarity, nid, nid_s, wer, word_edits

LINE = st.text("ab cé", max_size=25)
CORPUS = st.lists(st.tuples(LINE, LINE), min_size=1, max_size=5)


@SOME
@given(CORPUS)
def test_the_rates_of_a_corpus_are_jiwers(pairs):
    jiwer = pytest.importorskip("jiwer", reason="part of the test extra")
    hypotheses, references = (list(side) for side in zip(*pairs, strict=True))
    ours = corpus_rate(char_edits(a, b) for a, b in pairs), corpus_rate(word_edits(a, b) for a, b in pairs)
    assert ours == pytest.approx((jiwer.cer(references, hypotheses), jiwer.wer(references, hypotheses)))


@pytest.mark.parametrize(
    ("hypothesis", "reference", "expected"),
    [
        ("kitten", "sitting", (3 / 7, 1.0, 4 / 7)),
        ("the cat", "the cat sat", (4 / 11, 1 / 3, 7 / 11)),
        ("", "abc", (1.0, 1.0, 0.0)),
        ("abc", "", (3.0, 1.0, 0.0)),  # three edits, of a page that has nothing
        ("", "", (0.0, 0.0, 1.0)),
        ("  abc \n", "abc", (0.0, 0.0, 1.0)),
        ("abcabc", "abc", (1.0, 1.0, 0.5)),
    ],
)
def test_figures_of_one_page(hypothesis, reference, expected):
    found = cer(hypothesis, reference), wer(hypothesis, reference), edit_similarity(hypothesis, reference)
    assert found == pytest.approx(expected)


def test_text_on_a_blank_page_counts_in_the_corpus():
    assert corpus_rate([char_edits("abcd", ""), char_edits("xy", "xy")]) == 2.0


@SOME
@given(ANY, ANY)
def test_laws(a, b):
    assert edit_similarity(a, a) == nid(a, a) == 1.0
    assert cer(a, a) == wer(a, a) == 0.0
    assert edit_similarity(a, b) == pytest.approx(edit_similarity(b, a))
    assert nid(a, b) == pytest.approx(nid(b, a))
    for value in (edit_similarity(a, b), nid(a, b), nid_s(a, b)):
        assert 0.0 <= value <= 1.0
    assert nid(a, b) == pytest.approx(Indel.normalized_similarity(" ".join(a.split()), " ".join(b.split())))


def test_nid_s_leaves_tables_out():
    page = "Before.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n<table><tr><td>x</td></tr></table>\n\nAfter."
    other = "Before.\n\n<table><tr><td>9</td><td>8</td></tr></table>\n\nAfter."
    assert nid_s(page, other) == 1.0 > nid(page, other)


@SOME
@given(st.text("abc", min_size=20, max_size=60), st.text("abc", min_size=20, max_size=60))
def test_a_distance_in_pieces_is_no_smaller(a, b):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "EXACT_PAIRS", 0)
        patch.setattr(module, "PIECE_PAIRS", 100)
        found = char_edits(a, b)
        assert not found.exact
        assert Levenshtein.distance(a, b) <= found.edits <= max(len(a), len(b))
        assert char_edits(a, a).edits == 0


def test_a_very_long_page_is_quick_and_nearly_right():
    reference = long_page(200_000)
    hypothesis = misread(reference, 0.05)
    start = time.process_time()
    found = char_edits(hypothesis, reference)
    assert time.process_time() - start < 8.0
    assert not found.exact
    other = long_page(200_000, 9)
    assert char_edits(other, reference).edits < 1.05 * Levenshtein.distance(other, reference)
    short = hypothesis[:90_000] + hypothesis[100_000:]
    assert char_edits(short, reference).edits < 1.01 * Levenshtein.distance(short, reference)
    lacking = " ".join(short.split()[1_000:])
    assert word_edits(lacking, reference).edits < 1.01 * Levenshtein.distance(lacking.split(), reference.split())
    wrong = sum(a != b for a, b in zip(hypothesis, reference, strict=True))
    assert 0.95 * wrong < found.edits <= wrong
