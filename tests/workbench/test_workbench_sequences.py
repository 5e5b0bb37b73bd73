"""Texts of two models: tokens, first differences, one against the other, repetition."""

from __future__ import annotations

import json

import numpy as np
import pytest

from forge.core.errors import UserError
from forge.workbench.sequences import (
    against_each_other,
    divergence,
    first_difference,
    repetition_share,
    token_agreement,
)


def test_agreement_of_tokens_weighs_each_token_the_same() -> None:
    found = token_agreement([[1, 2, 3, 4], [5], []], [[1, 2, 0, 0], [5], []])
    assert (found.texts, found.tokens) == (3, 5)
    assert found.agreement == pytest.approx(3 / 5)
    assert found.per_text[:2] == (0.5, 1.0)
    assert found.as_json()["per_text"] == [0.5, 1.0, None]
    assert found.interval[0] <= found.agreement <= found.interval[1]


def test_its_interval_is_that_of_texts_and_not_of_tokens() -> None:
    rng = np.random.default_rng(0)
    teacher = [[0] * 50] * 60
    whole = [[0] * 50 if rng.random() < 0.5 else [1] * 50 for _ in range(60)]  # a text is right or wrong as one
    mixed = rng.integers(0, 2, (60, 50)).tolist()
    wide, narrow = (np.diff(token_agreement(teacher, side).interval)[0] for side in (whole, mixed))
    assert wide > 4 * narrow
    assert wide == pytest.approx(2 * 1.96 * np.sqrt(0.25 / 60), rel=0.2)


def test_tokens_of_other_texts_are_refused() -> None:
    with pytest.raises(UserError, match="text 1 has 2 and 3 tokens"):
        token_agreement([[1], [1, 2]], [[1], [1, 2, 3]])
    with pytest.raises(UserError, match="2 and 1 texts"):
        token_agreement([[1], [2]], [[1]])
    with pytest.raises(UserError, match="no tokens"):
        token_agreement([[]], [[]])


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [([1, 2], [1, 2], None), ([1, 2], [1, 3], 1), ([1, 2], [1, 2, 3], 2), ([1], [], 0), ([], [], None)],
)
def test_first_difference(one: list[int], other: list[int], expected: int | None) -> None:
    assert first_difference(one, other) == first_difference(other, one) == expected


def test_divergence_and_its_survival() -> None:
    teacher = [[1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4], [1, 2]]
    student = [[1, 2, 3, 4], [0, 2, 3, 4], [1, 2, 0, 4], [1, 2, 3, 4]]
    found = divergence(teacher, student)
    assert found.exact == 0.25
    assert found.positions == (None, 0, 2, 2)
    assert found.shares == (None, 0.0, 0.5, 0.5)
    assert found.median_share == 0.5
    curve = dict(found.survival)
    assert (curve[0.0], curve[0.05], curve[0.5], curve[0.55], curve[1.0]) == (1.0, 0.75, 0.75, 0.25, 0.25)
    values = [value for _, value in found.survival]
    assert values == sorted(values, reverse=True)
    assert json.loads(json.dumps(found.as_json(), allow_nan=False))["positions"] == [None, 0, 2, 2]
    assert divergence([[]], [[]]).exact == 1.0


def test_repetition() -> None:
    assert repetition_share([list("abcdefgh")]) == 0.0
    assert repetition_share([list("aaaaaaaa")]) == pytest.approx(4 / 5)  # five runs, one of them distinct
    assert repetition_share([list("abcdabcd"), list("abcd")]) == pytest.approx(1 / 6)  # not across texts
    assert repetition_share([[1, 2, 3]]) == 0.0
    assert repetition_share([[1, 1, 1]], size=2) == 0.5


def test_translations_against_each_other_are_scored_by_sacrebleu() -> None:
    from sacrebleu import corpus_bleu, corpus_chrf

    teacher = ["the cat sat on the mat today", "a dog runs in the park"]
    student = ["the cat sat on a mat today", "a dog runs in the park"]
    found = against_each_other(teacher, student, "translation", "en")
    assert found.figures["bleu"] == pytest.approx(corpus_bleu(student, [teacher]).score)
    assert found.figures["chrf"] == pytest.approx(corpus_chrf(student, [teacher], word_order=2).score)
    assert found.exact == 0.5
    assert found.length_ratio == 1.0
    json.dumps(found.as_json(), allow_nan=False)


def test_pages_against_each_other_are_scored_by_edits() -> None:
    import jiwer

    teacher, student = ["# Title\n\nwords here", "two"], ["# Title\n\nword here and there", "two "]
    found = against_each_other(teacher, student, "ocr")
    stripped = [text.strip() for text in student]
    assert found.figures["cer"] == pytest.approx(jiwer.cer(teacher, stripped))
    assert found.figures["wer"] == pytest.approx(3 / 5)
    assert found.exact == 0.5
    assert found.length_ratio == pytest.approx(7 / 5)
    loop = against_each_other(["a b c d"], ["a b c d " * 5], "ocr")
    assert loop.repetition == pytest.approx(13 / 17)
    assert loop.teacher_repetition == 0.0
    with pytest.raises(UserError, match="1 and 2 texts"):
        against_each_other(["a"], ["a", "b"], "ocr")
