"""The lessons as texts: short, no word before it is explained, every link leads somewhere, every file is strict."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support import ROOT

from forge.core.errors import ConfigError
from forge.learn.cards import CARDS
from forge.learn.experiments.table import EXPERIMENTS
from forge.learn.lessons import LESSONS, Lesson, load_lesson, load_lessons
from forge.learn.questions import Question

MOST_WORDS = 350
ALL = load_lessons()


@pytest.fixture(params=list(ALL))
def lesson(request: pytest.FixtureRequest) -> Lesson:
    return ALL[request.param]


def of_question(question: Question) -> Iterator[str]:
    """Everything that a question says to the learner."""
    yield question.ask
    if question.kind == "choice":
        for choice in question.choices:
            yield from (choice.text, choice.why)
        return
    yield question.right
    if question.kind == "evidence":
        yield from (need.otherwise for need in question.needs)
        return
    yield question.otherwise
    yield from (near.why for near in question.near)


def said(lesson: Lesson) -> Iterator[str]:
    """Everything that a lesson says, its text aside."""
    file = lesson.file
    yield from (file.about, file.prediction.ask, *file.prediction.choices, file.prediction.after)
    yield from (control.label for control in file.controls)
    for part in file.check:
        yield from (*part.hints, part.worked, *of_question(part.question), *of_question(part.varied))
    for question in file.gate:
        yield from of_question(question)


def word(term: str) -> re.Pattern[str]:
    """A term as it is written: in any case, also in the plural."""
    plural = "(?:ies|y)" if term.endswith("y") else "(?:s|es)?"
    return re.compile(
        rf"\b{re.escape(term.removesuffix('y') if term.endswith('y') else term)}{plural}\b", re.IGNORECASE
    )


def first_bold(term: str, text: str) -> bool:
    """Whether a term is in bold where it comes first."""
    found = word(term).search(text)
    return found is not None and text[max(0, found.start() - 2) : found.start()] == "**"


def test_at_most_350_words(lesson: Lesson) -> None:
    assert lesson.words <= MOST_WORDS


def test_at_most_three_new_terms_each_bold_where_it_comes_first(lesson: Lesson) -> None:
    assert 1 <= len(lesson.file.terms) <= 3
    missing = [term for term in lesson.file.terms if not first_bold(term, lesson.text)]
    assert not missing, f"not in bold at first use: {missing}"


def test_no_term_before_the_lesson_that_explains_it() -> None:
    early = []
    met: set[str] = set()
    for name, lesson in ALL.items():
        met |= set(lesson.file.terms)
        later = {term for other in ALL.values() for term in other.file.terms} - met
        for text in (lesson.text, *said(lesson)):
            early += [f"{name}: '{term}' in: {text[:80]}" for term in later if word(term).search(text)]
    assert not early


def test_a_term_is_explained_once() -> None:
    terms = [term for lesson in ALL.values() for term in lesson.file.terms]
    assert len(terms) == len(set(terms))


def test_every_link_leads_to_a_file(lesson: Lesson) -> None:
    links = lesson.file.links
    assert links.code.startswith("forge/")
    assert links.config.startswith("configs/")
    assert links.why.startswith("docs/decisions/")
    assert links.read.startswith("docs/")
    missing = [path for path in links.model_dump().values() if not (ROOT / path).is_file()]
    assert not missing


def test_every_lesson_has_an_experiment_and_every_experiment_a_lesson() -> None:
    assert set(EXPERIMENTS) == set(ALL)


def test_something_must_be_changed_or_read_to_pass(lesson: Lesson) -> None:
    kinds = {part.question.kind for part in lesson.file.check}
    assert kinds & {"evidence", "number", "text"}, "a check of choices alone is passed by trying them all"


def test_texts_are_no_longer_than_a_glance(lesson: Lesson) -> None:
    long = [text for text in said(lesson) if len(text.split()) > 60]
    assert not long


def test_the_line_of_words_is_plain(lesson: Lesson) -> None:
    """No mathematics beyond a weighted average, and nothing that only one of the two faces has."""
    for text in (lesson.text, *said(lesson)):
        assert not re.search(r"\\[a-z]+|∂|∇|∑|∫|\$", text), text[:80]
        assert not re.search(r"\bon the (right|left)\b|\bclick\b", text, re.IGNORECASE), text[:80]


BROKEN = [
    ({"extra": 1}, "extra: Extra inputs"),
    ({"terms": {f"term{i}": "x" for i in range(4)}}, "terms"),
    ({"controls": []}, "controls"),
    ({"gate": []}, "gate"),
    ({"budget_s": 100}, "budget_s"),
]


@pytest.mark.parametrize(("change", "told"), BROKEN, ids=lambda value: str(value)[:20])
def test_a_file_that_is_wrong_says_where(tmp_path: Path, change: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        load_changed(tmp_path, lambda content: content.update(change))
    assert "lesson.yaml" in str(caught.value)


def test_a_choice_without_explanation_or_with_two_right_ones_is_refused(tmp_path: Path) -> None:
    def unexplained(content: dict[str, object]) -> None:
        del content["gate"][1]["choices"][0]["why"]  # type: ignore[index]

    def both_right(content: dict[str, object]) -> None:
        for choice in content["gate"][1]["choices"]:  # type: ignore[index]
            choice["right"] = True

    with pytest.raises(ConfigError, match=r"gate\[1\].*why.*required"):
        load_changed(tmp_path, unexplained)
    with pytest.raises(ConfigError, match="exactly one choice is right"):
        load_changed(tmp_path, both_right)


def test_one_hint_is_too_few_and_a_reference_must_fit_its_controls(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"hints.*at least 2"):
        load_changed(tmp_path, lambda content: content["check"][0]["hints"].pop())
    with pytest.raises(ConfigError, match="not possible"):
        load_changed(tmp_path, lambda content: content["check"][0]["question"]["reference"].update(epochs=9))


def load_changed(folder: Path, change: object) -> Lesson:
    """The vocabulary lesson with its file changed."""
    content = yaml.safe_load((LESSONS / "vocabulary" / "lesson.yaml").read_text())
    change(content)  # type: ignore[operator]
    made = folder / "vocabulary"
    made.mkdir(exist_ok=True)
    (made / "lesson.yaml").write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    (made / "lesson.md").write_text("Text.")
    return load_lesson(CARDS["vocabulary"], folder)
