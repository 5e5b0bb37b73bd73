"""Which of a teacher's texts becomes the target."""

from __future__ import annotations

from forge.tasks.metrics.ocr.text import edit_similarity
from forge.tasks.metrics.translation import sentence_bleu
from forge.teaching.sequence import _targets

REFERENCES = {0: "the cat sleeps on the mat", 1: "a dog", 2: "two birds sing"}
TEXTS = [["a cat rests", "the cat sleeps on a mat", None], [None, None], ["", "two birds sing"]]


def test_the_best_that_came_to_an_end() -> None:
    assert _targets(TEXTS, REFERENCES, None) == ["a cat rests", "a dog", "two birds sing"]


def test_the_closest_to_the_reference() -> None:
    for likeness in (sentence_bleu, edit_similarity):
        assert _targets(TEXTS, REFERENCES, likeness) == ["the cat sleeps on a mat", "a dog", "two birds sing"]


def test_references_are_needed_only_where_there_is_no_text() -> None:
    assert _targets([["a"], ["b"]], {}, None) == ["a", "b"]
