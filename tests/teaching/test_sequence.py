"""Which of a teacher's texts becomes the target."""

from __future__ import annotations

from forge.teaching.sequence import _targets

REFERENCES = ["the cat sleeps on the mat", "a dog", "two birds sing"]
TEXTS = [["a cat rests", "the cat sleeps on a mat", None], [None, None], ["", "two birds sing"]]


def test_the_best_that_came_to_an_end() -> None:
    assert _targets(TEXTS, REFERENCES, closest=False) == (["a cat rests", "a dog", "two birds sing"], 1)


def test_the_closest_to_the_reference() -> None:
    assert _targets(TEXTS, REFERENCES, closest=True) == (["the cat sleeps on a mat", "a dog", "two birds sing"], 1)


def test_no_reference_is_needed_where_all_came_to_an_end() -> None:
    assert _targets([["a"], ["b"]], None, closest=False) == (["a", "b"], 0)
