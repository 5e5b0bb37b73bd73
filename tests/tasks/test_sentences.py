"""Cutting long texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.tasks.sentences import pieces, sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Mr. Smith met J. Doe. They left.", ["Mr. Smith met J. Doe.", "They left."]),
        ('He said "no." She left.', ['He said "no."', "She left."]),
        ("It grew by 3.5 per cent. In 1999 it fell.", ["It grew by 3.5 per cent.", "In 1999 it fell."]),
        ("Cf. e.g. the text of art. 5.", ["Cf. e.g. the text of art. 5."]),
        ("Élan vital. Œuvre.", ["Élan vital.", "Œuvre."]),
        ("no end", ["no end"]),
        ("", []),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def fits(text: str) -> bool:
    return len(text.split()) <= 5


def test_pieces_are_cut_between_sentences_then_clauses_then_words() -> None:
    assert pieces("A b. C d. E f g h.", fits) == ["A b. C d.", "E f g h."]
    assert pieces("A b c d, e f g h i, j.", fits) == ["A b c d,", "e f g h i,", "j."]
    assert pieces("a b c d e f g", fits) == ["a b c d e", "f g"]
    assert pieces("x", lambda _: False) == ["x"]


@given(st.text(alphabet="ab .!?,;AÉ\"'1", max_size=120))
def test_nothing_is_lost(text: str) -> None:
    made = pieces(text, fits)
    assert "".join("".join(made).split()) == "".join(text.split())
    assert all(fits(piece) for piece in made)
