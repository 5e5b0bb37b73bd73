"""The four kinds of question a lesson asks: a run to produce, a number, a choice, a text. Strict, from lesson.yaml."""

from __future__ import annotations

import random
import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from forge.config.schema._base import Section
from forge.core.hashing import derive_seed

Text = Annotated[str, Field(min_length=1, max_length=1_000)]
Value = bool | int | float | str


class Choice(Section):
    """One answer to choose, and what is said to who chooses it."""

    text: Text
    why: Text
    right: bool = False


class Near(Section):
    """A wrong number that people give, and what is said to them."""

    value: float | int
    why: Text


class NearText(Section):
    """A wrong text that people write (a regular expression over the whole answer), and what is said to them."""

    pattern: Text
    why: Text

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        return _regex(pattern)


class Need(Section):
    """One thing that a run must show, and what is said where it does not."""

    read: Annotated[str, Field(pattern=r"^(numbers|controls|metrics|settings|state)\.[\w.-]+$")]
    """`numbers.x` and `controls.x` of the experiment, `settings.train.batch_size`, `state.step`, or
    `metrics.<split or step>.<figure>` of the run's directory, the last record of its kind."""
    equal: Value | None = None
    at_least: float | int | None = None
    at_most: float | int | None = None
    otherwise: Text

    @model_validator(mode="after")
    def _asks_something(self) -> Need:
        if self.equal is None and self.at_least is None and self.at_most is None:
            raise ValueError("a need says equal, at_least or at_most")
        return self


class _Question(Section):
    """What all kinds have."""

    ask: Text


class EvidenceQuestion(_Question):
    """Answered by an experiment of the learner's own, judged from what it left behind."""

    kind: Literal["evidence"]
    needs: Annotated[list[Need], Field(min_length=1)]
    right: Text
    """What is said once it is shown."""
    reference: Annotated[dict[str, Value], Field(min_length=1)]
    """Controls of a run that shows it; the others stay at their start."""


class NumberQuestion(_Question):
    """Answered by a typed number."""

    kind: Literal["number"]
    answer: float | int | None = None
    answer_from: Annotated[str, Field(pattern=r"^numbers\.\w+$")] | None = None
    """Taken from the learner's newest experiment in place of `answer`."""
    tolerance: Annotated[float | int, Field(ge=0)] = 0
    near: list[Near] = Field(default=[])
    right: Text
    otherwise: Text

    @model_validator(mode="after")
    def _has_one_answer(self) -> NumberQuestion:
        if (self.answer is None) == (self.answer_from is None):
            raise ValueError("set answer or answer_from, one of them")
        if self.answer is not None and any(abs(n.value - self.answer) <= self.tolerance for n in self.near):
            raise ValueError("a near value lies within the tolerance of the answer")
        return self


class ChoiceQuestion(_Question):
    """Answered by one of several; each is explained."""

    kind: Literal["choice"]
    choices: Annotated[list[Choice], Field(min_length=2, max_length=6)]
    """In an order of their own, the same every time: authors write the right one first."""

    @field_validator("choices")
    @classmethod
    def _shuffle(cls, choices: list[Choice]) -> list[Choice]:
        texts = [choice.text for choice in choices]
        return random.Random(derive_seed(0, "choices", *texts)).sample(choices, len(choices))

    @model_validator(mode="after")
    def _has_one_right(self) -> ChoiceQuestion:
        if sum(choice.right for choice in self.choices) != 1:
            raise ValueError("exactly one choice is right")
        if len({choice.text for choice in self.choices}) != len(self.choices):
            raise ValueError("two choices say the same")
        return self


class TextQuestion(_Question):
    """Answered by a typed word or two: regular expressions over the whole answer, blind to case and outer space."""

    kind: Literal["text"]
    accept: Annotated[list[Text], Field(min_length=1)]
    reference: Text
    near: list[NearText] = Field(default=[])
    right: Text
    otherwise: Text

    @field_validator("accept")
    @classmethod
    def _compile(cls, patterns: list[str]) -> list[str]:
        return [_regex(pattern) for pattern in patterns]

    @model_validator(mode="after")
    def _accepts_its_reference(self) -> TextQuestion:
        if not matches(self.accept, self.reference):
            raise ValueError(f"accept does not match the reference {self.reference!r}")
        return self


Typed = Annotated[NumberQuestion | ChoiceQuestion | TextQuestion, Field(discriminator="kind")]
Question = Annotated[EvidenceQuestion | NumberQuestion | ChoiceQuestion | TextQuestion, Field(discriminator="kind")]


def matches(patterns: list[str], answer: str) -> bool:
    """Whether a typed text is one of these; runs of blanks count as one."""
    text = " ".join(answer.split())
    return any(re.fullmatch(pattern, text, re.IGNORECASE) for pattern in patterns)


def _regex(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
    return pattern
