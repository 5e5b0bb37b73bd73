"""Search with differences: against its definition, and against fuzzysearch."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocr_texts import SOME, misread, words
from rapidfuzz.distance import Levenshtein

from forge.tasks.metrics.ocr.near import places


@SOME
@given(st.text("ab", min_size=2, max_size=8), st.text("abc", max_size=25), st.integers(0, 3))
def test_every_place_is_one_and_none_is_missed(pattern, text, most):
    most = min(most, len(pattern) - 1)
    found = places(pattern, text, most)
    for place in found:
        assert Levenshtein.distance(pattern, text[place.start : place.end]) == place.edits <= most
    spans = [(i, j) for i in range(len(text) + 1) for j in range(i, len(text) + 1)]
    best = min((Levenshtein.distance(pattern, text[i:j]) for i, j in spans), default=most + 1)
    assert bool(found) == (best <= most)
    assert not found or min(place.edits for place in found) == best


def test_exact_places_may_overlap():
    assert [place.start for place in places("aa", "aaaba", 0)] == [0, 1]


@pytest.mark.parametrize("most", [-1, 3])
def test_more_differences_than_letters_are_refused(most):
    with pytest.raises(ValueError, match=str(most)):
        places("abc", "abc", most)


@pytest.mark.parametrize("seed", range(40))
def test_the_places_of_fuzzysearch(seed):
    fuzzysearch = pytest.importorskip("fuzzysearch", reason="part of the test extra")
    rng = random.Random(seed)
    text = words(rng, 200)
    at = rng.randrange(len(text) - 60)
    pattern = misread(text[at : at + rng.randrange(15, 60)], 0.05, seed)
    most = rng.randrange(1, 4)
    text += " " + misread(pattern, 0.03, seed + 1)
    theirs = fuzzysearch.find_near_matches(pattern, text, max_l_dist=most)
    ours = places(pattern, text, most)
    assert [(one.start, one.dist) for one in theirs] == [(one.start, one.edits) for one in ours]


def test_hostile_texts_are_quick():
    start = time.process_time()
    places("a" * 50, "ab" * 100_000, 25)
    places("ab" * 100, "ba" * 100_000, 100)
    assert time.process_time() - start < 16.0
