"""What each reward gives to good outputs, and to those that a model finds when it learns to please it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from forge.core.errors import UserError
from forge.tasks.metrics.ocr.checks.read import read_check
from forge.tasks.rewards.base import Sample
from forge.tasks.rewards.form import (
    Constant,
    Ended,
    Language,
    Length,
    NotCopied,
    NotEmpty,
    Random,
    Repetition,
    distinct_share,
)
from forge.tasks.rewards.markdown import Markdown, kinds
from forge.tasks.rewards.pages import EditSimilarity, NoLoop, Teds, UnitTests
from forge.tasks.rewards.reference import ChrF, SentenceBLEU

SOURCE = "The president of the committee opened the session and thanked all of the members for their work."
RIGHT = "Le président de la commission a ouvert la séance et a remercié tous les membres pour leur travail."
CLOSE = "Le président du comité a ouvert la séance et remercié les membres pour leur travail."
OTHER = "Les enfants jouent dans le jardin pendant que leurs parents préparent le repas de ce soir avec joie."
GOOD = Sample(RIGHT, SOURCE, RIGHT)


def of(reward: Any, output: str, **more: Any) -> float | None:
    (found,) = reward([Sample(output, more.pop("source", SOURCE), more.pop("reference", RIGHT), **more)])
    return found


# Beside a reference


@pytest.mark.parametrize("reward", [SentenceBLEU(), ChrF(), ChrF(word_order=0)])
def test_likeness_to_the_reference_ranks_translations(reward: Any) -> None:
    values = [of(reward, text) for text in (RIGHT, CLOSE, OTHER, SOURCE, "")]
    assert values[0] == pytest.approx(1.0)
    assert values[0] > values[1] > max(values[2:])  # type: ignore[operator, type-var]
    assert values[4] == 0
    assert of(reward, RIGHT, reference=None) is None
    assert of(reward, RIGHT, reference="  ") is None


@pytest.mark.parametrize("reward", [SentenceBLEU(), ChrF()])
def test_a_right_translation_of_two_words_is_right(reward: Any) -> None:
    """Corpus BLEU of one sentence gives it 0: it has no 4-gram."""
    assert of(reward, "Merci beaucoup", reference="Merci beaucoup") == pytest.approx(1.0)


def test_hacks_of_likeness_to_a_reference() -> None:
    bleu, chrf = SentenceBLEU(), ChrF()
    assert of(bleu, "Le") < 0.05  # type: ignore[operator]  # precision alone would be 1
    assert of(bleu, f"{RIGHT} {RIGHT} {RIGHT}") < 0.5  # type: ignore[operator]
    assert of(chrf, f"{RIGHT} {OTHER}") > 0.7  # type: ignore[operator]  # recall is most of it: a length band must help
    assert of(Length(most=1.6), f"{RIGHT} {OTHER}") < 0.9  # type: ignore[operator]


# Length


def test_length_band() -> None:
    band = Length(least=0.8, most=1.25)
    source = "a" * 100
    for length, value in ((100, 1.0), (80, 1.0), (125, 1.0), (40, 0.5), (250, 0.5), (0, 0.0), (500, 0.25)):
        assert of(band, "b" * length, source=source) == pytest.approx(value)


def test_hacks_of_the_length() -> None:
    band = Length()
    assert of(band, " \n" * 90) == 0  # white space has no length
    assert of(band, "x y" * 33) == 1.0  # any text of that length: alone it says nothing
    assert of(band, RIGHT, source="") is None
    assert of(Length(against="reference"), RIGHT, source=None) == 1.0


@pytest.mark.parametrize("options", [{"least": 0.0}, {"least": 2.0, "most": 1.0}])
def test_a_length_band_that_is_none(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        Length(**options)


# Language


def test_hacks_of_the_language() -> None:
    gate = Language("fr")
    assert of(gate, RIGHT) == 1.0
    assert of(gate, SOURCE) == 0.0
    mixed = of(gate, f"{RIGHT} {SOURCE} {SOURCE} {SOURCE}")  # the beginning alone looks right
    assert mixed is not None
    assert mixed < 0.5
    assert of(gate, "") is None
    assert of(gate, "12 345 678") in (None, 1.0)
    assert of(gate, OTHER) == 1.0  # the right language is not the right text
    assert of(gate, RIGHT * 50) == 1.0


def test_a_language_that_nobody_can_recognise() -> None:
    with pytest.raises(UserError, match="reward language: cannot recognise 'tlh'"):
        Language("tlh")


# Repetition, copies, endings


def test_repetition() -> None:
    reward = Repetition(n=2)
    assert of(reward, RIGHT) == pytest.approx(1.0)
    assert of(reward, "la la la la la la") == pytest.approx(1 / 5)
    assert of(Repetition(), "un deux") == 1.0
    assert of(Repetition(), "a" * 300) == 0.0  # one word, which has no n-gram to repeat
    assert of(Repetition(), "jamais plus jamais ça " * 40) == 0.0
    with pytest.raises(ValueError, match="n must be at least 1"):
        Repetition(0)


def test_repetition_is_one_less_trls_penalty() -> None:
    rewards = pytest.importorskip("trl.rewards.other_rewards", reason="TRL is a test extra: pip install trl==1.16.0")
    for n in (1, 2, 3):
        theirs = rewards.get_repetition_penalty_reward(n, -1.0)
        for units in ("a b c d a b c", "x x x x", "a", "a b", "a b a b a b a"):
            (penalty,) = theirs([units.split()])
            assert distinct_share(units.split(), n) == pytest.approx(1.0 + penalty)


def test_hacks_of_the_copy() -> None:
    reward = NotCopied()
    assert of(reward, RIGHT) == 1.0
    assert of(reward, SOURCE) == 0.0
    assert of(reward, SOURCE.upper().replace(" ", "  ").replace(".", " !")) == 0.0
    assert of(reward, f"Voici : {SOURCE} {OTHER} {OTHER}") == 0.0  # with something around it
    half = of(reward, SOURCE[: int(len(SOURCE) * 0.8)] + OTHER)
    assert half is not None
    assert 0 < half < 1
    assert of(reward, "Angela Merkel (CDU)", source="Angela Merkel (CDU)", reference="Angela Merkel (CDU)") is None
    assert of(reward, "...", source="...") is None
    assert of(reward, "", source=SOURCE) == 1.0  # nothing is no copy: `not_empty` says so
    with pytest.raises(ValueError, match="allowed must be"):
        NotCopied(1.0)


def test_endings_and_emptiness() -> None:
    assert of(Ended(), RIGHT) == 1.0
    assert of(Ended(), RIGHT, ended=False) == 0.0
    assert of(Ended(), "") == 1.0  # why it is never alone
    assert [of(NotEmpty(), text) for text in ("", " \n", "...", "a", "7", "é")] == [0, 0, 0, 1, 1, 1]


def test_controls_know_nothing_of_the_text() -> None:
    assert of(Constant(0.3), RIGHT) == of(Constant(0.3), "") == 0.3
    drawn = [of(Random(seed=s), text) for s in (0, 1) for text in (RIGHT, OTHER, "")]
    assert len(set(drawn)) == 6
    assert all(0 <= value < 1 for value in drawn)  # type: ignore[operator]
    assert of(Random(), RIGHT) == of(Random(), RIGHT)


# Pages


TABLE = "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |"
HTML = "<table><tr><td>a</td><td>b</td></tr><tr><td>1</td><td>2</td></tr></table>"
PAGE = f"# Report\n\nThe first line of the report.\n\n{TABLE}\n\nThe last line of the report."


def page(reward: Any, output: str, reference: str | None = PAGE, **more: Any) -> float | None:
    return of(reward, output, source=None, reference=reference, **more)


def test_edit_similarity() -> None:
    assert page(EditSimilarity(), PAGE) == 1.0
    assert page(EditSimilarity(), "") == 0.0
    assert page(EditSimilarity(), PAGE, reference=None) is None
    assert page(EditSimilarity(), PAGE + "0" * 10_000) < 0.05  # type: ignore[operator]


def test_unit_tests_pass_or_not() -> None:
    asked = [
        {"type": "present", "text": "first line"},
        {"type": "absent", "text": "Page 7 of 9"},
        {"type": "order", "before": "first line", "after": "last line"},
        {"type": "table", "cell": "4", "up": "2"},
    ]
    checks = tuple(read_check(row | {"pdf": "a.pdf", "page": 1, "id": str(at)}) for at, row in enumerate(asked))
    assert page(UnitTests(), PAGE, checks=checks) == 1.0
    assert page(UnitTests(), "", checks=checks) == 0.25  # nothing is there, so neither is what should be absent
    assert page(UnitTests(), PAGE.replace("| 3 | 4 |", "| 4 | 3 |"), checks=checks) == 0.75
    assert page(UnitTests(), PAGE) is None
    everything = PAGE + "\n\n" + " ".join(json.dumps(row) for row in asked[:1]) + OTHER * 20
    assert page(UnitTests(), everything, checks=checks) == 1.0  # much else may stand there: `edit_similarity` minds


def test_hacks_of_the_tables() -> None:
    assert page(Teds(), PAGE) == pytest.approx(1.0)
    assert page(Teds(), "no table") == 0.0
    assert page(Teds(), PAGE + "\n\n" + TABLE) == pytest.approx(0.5)  # one that is invented
    assert page(Teds(), "text", reference="text") == 1.0
    assert page(Teds(), TABLE, reference="text") == 0.0
    assert page(Teds(), TABLE, reference=None) is None


def test_hacks_of_the_loop() -> None:
    assert page(NoLoop(), PAGE) == 1.0
    line = "The same line is written once more. "
    looped = page(NoLoop(), PAGE + line * 20)
    assert looped is not None
    assert 0 < looped < 0.3
    assert page(NoLoop(), line * 300) < 0.02  # type: ignore[operator]
    assert page(NoLoop(), line * 20, reference=line * 20) == 1.0
    assert page(NoLoop(), "") == 1.0


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (PAGE, 1.0),
        ("", 0.0),
        ("plain text alone", 1.0),
        ("#Heading without its space\n\ntext", 0.0),
        ("####### seven\n\ntext", 0.0),
        ("```\nnever closed", 0.0),
        ("```\n#!/bin/sh\n$$ \\(\n```", 1.0),
        (r"\(a + b\) and \[c\]", 1.0),
        (r"\(a + b and \[c\]", 0.0),
        ("$$a$$ and $$b", 0.0),
        (HTML, 1.0),
        (HTML.removesuffix("</table>"), 0.0),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>1</td></tr></table>", 0.0),
        ("| a | b |\n|---|---|\n| 1 | 2 | 3 |", 0.0),
        ("# Good\n\n| a | b |\n|---|---|\n| 1 |", 0.5),
        ("it costs $5 and $7, a #hashtag in a line", 1.0),
    ],
)
def test_markdown(text: str, value: float) -> None:
    assert page(Markdown(), text) == pytest.approx(value), kinds(text)


def test_no_text_makes_a_reward_of_a_page_slow_or_raise() -> None:
    for text in (
        "`" * 30_000,
        "|" * 30_000,
        "|-" * 15_000,
        "<table" * 5_000,
        "#" * 30_000,
        "$$\\(" * 7_000,
        "| \n" * 9_000,
    ):
        for reward in (Markdown(), NoLoop(), Teds(), EditSimilarity(), NotEmpty(), Repetition()):
            value = page(reward, text)
            assert value is not None
            assert 0 <= value <= 1
