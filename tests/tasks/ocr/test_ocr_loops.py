"""Texts that do not end."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocr_texts import ANY, PAGE, SOME, words

from forge.tasks.metrics.ocr.loops import LEAST_LENGTH, LEAST_REPEATS, Loop, looping, repeats


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [0, 0, 0]),
        ("a", [1, 0, 0]),
        ("abc", [1, 1, 1]),
        ("abab", [1, 2, 1]),
        ("aabaabaa", [2, 1, 2]),
        ("αβγαβγ", [1, 1, 2]),
        ("@@##@@##", [2, 1, 1]),
        ("abc" * 7, [1, 1, 7]),
        ("a" * 100, [100, 50, 33]),
        ("x \n\t  \n", [1, 1, 0]),  # white space is one space
    ],
)
def test_repeats_at_the_end(text, expected):
    assert repeats(text, 3) == expected


def test_the_loop_of_a_line():
    line = "The same sentence comes again. "
    assert looping(PAGE + line * 12) == Loop(looping(PAGE + line * 12).unit, 12)
    assert sorted(looping(PAGE + line * 12).unit) == sorted(line)
    assert looping(PAGE + "0" * 31) == Loop("0", 31)
    assert looping(PAGE + " |" * 31).repeats == 31


@pytest.mark.parametrize("text", ["", PAGE, PAGE + "0" * 20, "ab " * 20, "A line that comes twice.\n" * 2])
def test_no_loop(text):
    assert looping(text) is None


def test_the_limits_of_a_long_unit():
    rng = random.Random(4)
    unit = words(rng, 20)[:59] + "#"
    assert looping(PAGE + unit * LEAST_REPEATS) == Loop(unit, LEAST_REPEATS)
    assert looping(PAGE + unit * (LEAST_REPEATS - 1)) is None
    short = unit[-LEAST_LENGTH // LEAST_REPEATS + 1 :]
    assert looping(PAGE + short * LEAST_REPEATS) is None


def by_definition(text, size):
    return next(n for n in range(len(text) + 1) if not text.endswith(text[-size:] * (n + 1)) or size > len(text))


@SOME
@given(st.text("ab", max_size=30))
def test_repeats_are_those_of_the_definition(text):
    assert repeats(text, 4) == [by_definition(text, size) for size in range(1, 5)]


@SOME
@given(ANY, st.text("abcdefgh", min_size=6, max_size=90), st.integers(5, 40))
def test_a_loop_is_found_behind_any_text(text, unit, count):
    found = looping(text + unit * count)
    if len(unit) * count >= LEAST_LENGTH:
        assert found
        assert found.repeats >= LEAST_REPEATS


def test_it_is_quick():
    start = time.process_time()
    looping("a" * 200_000)
    looping("ab" * 99_000 + "c")
    assert time.process_time() - start < 4.0
