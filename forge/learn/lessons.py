"""Lessons as files: forge/learn/lessons/<id>/{lesson.md,lesson.yaml}, checked strictly when they are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from forge.config.problems import dotted, where_is
from forge.config.schema._base import Section
from forge.config.strict_yaml import load_file
from forge.config.tree import Node, find, plain
from forge.core.errors import ConfigError, Problem, UserError
from forge.learn.cards import CARDS, Card
from forge.learn.questions import Question, Text, Typed, Value

ROOT = Path(__file__).parents[2]  # a checkout: lessons link into it and run its configurations
LESSONS = Path(__file__).parent / "lessons"
BUDGET_S = 10.0


class Slider(Section):
    """A number that the learner moves."""

    kind: Literal["slider"]
    name: Annotated[str, Field(pattern=r"^[a-z_]+$")]
    label: Text
    min: float | int
    max: float | int
    step: Annotated[float | int, Field(gt=0)] = 1
    start: float | int

    def accepts(self, value: Value) -> bool:
        """Whether the experiment may be run with it."""
        return not isinstance(value, bool | str) and self.min <= value <= self.max


class Pick(Section):
    """One of several that the learner picks."""

    kind: Literal["pick"]
    name: Annotated[str, Field(pattern=r"^[a-z_]+$")]
    label: Text
    options: Annotated[list[Text], Field(min_length=2)]
    start: Text

    def accepts(self, value: Value) -> bool:
        """Whether the experiment may be run with it."""
        return value in self.options


class Words(Section):
    """A text that the learner writes."""

    kind: Literal["words"]
    name: Annotated[str, Field(pattern=r"^[a-z_]+$")]
    label: Text
    start: Text
    max_length: Annotated[int, Field(ge=1, le=4_000)] = 200
    lines: Annotated[int, Field(ge=1, le=30)] = 1

    def accepts(self, value: Value) -> bool:
        """Whether the experiment may be run with it."""
        return isinstance(value, str) and len(value.strip()) > 0 and len(value) <= self.max_length


Control = Annotated[Slider | Pick | Words, Field(discriminator="kind")]


class Prediction(Section):
    """Asked before the first run; no choice is wrong, and `after` says what to look at."""

    ask: Text
    choices: Annotated[list[Text], Field(min_length=2, max_length=5)]
    after: Text


class Part(Section):
    """One part of a check: a question with what helps who fails it."""

    id: Annotated[str, Field(pattern=r"^[a-z-]+$")]
    question: Question
    hints: Annotated[list[Text], Field(min_length=2)]
    worked: Text
    """The answer with the way to it, shown after four failures."""
    varied: Question
    """Asked in the question's place once the worked answer is shown."""


class Links(Section):
    """Where the lesson's subject is in Forge, paths in the repository."""

    code: Text
    config: Text
    why: Text
    read: Text


class LessonFile(Section):
    """lesson.yaml."""

    terms: Annotated[dict[str, Text], Field(max_length=3)]
    """New words with what they mean; the text shows each in bold where it comes first."""
    links: Links
    about: Text
    """What the experiment does, in a sentence or two."""
    budget_s: Annotated[float | int, Field(gt=0, le=30)] = BUDGET_S
    controls: Annotated[list[Control], Field(min_length=1, max_length=4)]
    prediction: Prediction
    check: Annotated[list[Part], Field(min_length=1, max_length=4)]
    gate: Annotated[list[Typed], Field(min_length=2)]
    """Questions for the phase's gate, for later gates and for testing out."""

    @model_validator(mode="after")
    def _fits_together(self) -> LessonFile:
        names = [control.name for control in self.controls]
        parts = [part.id for part in self.check]
        if len(set(names)) != len(names) or len(set(parts)) != len(parts):
            raise ValueError("two controls, or two parts of the check, have the same name")
        for control in self.controls:
            if not control.accepts(control.start):
                raise ValueError(f"control {control.name} does not accept its own start")
        if any(question.kind == "number" and question.answer is None for question in self.gate):
            raise ValueError("a question of the gate has an answer of its own: no experiment goes before it")
        for part in self.check:
            for question in (part.question, part.varied):
                if question.kind == "evidence" and (problem := self.unfit(question.reference)):
                    raise ValueError(f"part {part.id}: {problem}")
        return self

    def unfit(self, values: Mapping[str, Value]) -> str:
        """Why an experiment cannot be run with these values; empty where it can."""
        known = {control.name: control for control in self.controls}
        for name, value in values.items():
            if name not in known:
                return f"there is no control {name}"
            if not known[name].accepts(value):
                return f"{known[name].label}: {str(value)[:40]!r} is not possible"
        return ""

    def start(self) -> dict[str, Value]:
        """Every control as it stands before the learner touches it."""
        return {control.name: control.start for control in self.controls}


@dataclass(frozen=True)
class Lesson:
    """A card with its files."""

    card: Card
    file: LessonFile
    text: str

    @property
    def id(self) -> str:
        """The stable name under which progress is kept."""
        return self.card.id

    @cached_property
    def words(self) -> int:
        """Words of the text."""
        return len(self.text.split())


def load_lesson(card: Card, folder: Path = LESSONS) -> Lesson:
    """One lesson. Raises ConfigError with every problem of its files."""
    path = folder / card.id / "lesson.yaml"
    tree = load_file(path)
    try:
        file = LessonFile.model_validate(plain(tree))
    except ValidationError as error:
        raise ConfigError([_problem(detail["loc"], detail["msg"], tree, path) for detail in error.errors()]) from None
    try:
        text = (path.parent / "lesson.md").read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise UserError(f"{path.parent / 'lesson.md'}  cannot be read: {error}") from None
    return Lesson(card, file, text)


def _problem(loc: tuple[str | int, ...], message: str, tree: Node, path: Path) -> Problem:
    steps: list[str | int] = []
    for step in loc:
        if find(tree, [*steps, step]) is not None or step == loc[-1]:  # else the kind of a question, which is no key
            steps.append(step)
    return Problem(f"{dotted(steps)}: {message.removeprefix('Value error, ')}", where_is(tree, steps, path))


def load_lessons(folder: Path = LESSONS) -> Mapping[str, Lesson]:
    """All lessons that are written, in the order of the path."""
    there = [card for card in CARDS.values() if (folder / card.id / "lesson.yaml").is_file()]
    return MappingProxyType({card.id: load_lesson(card, folder) for card in there})


def glossary(lessons: Mapping[str, Lesson]) -> dict[str, str]:
    """Every term with its meaning, in the order in which they are met."""
    return {term: meaning for lesson in lessons.values() for term, meaning in lesson.file.terms.items()}
