"""What an experiment comes to: numbers, texts, and pictures of a closed set of kinds that both faces can draw."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from forge.config.schema._base import Section
from forge.learn.questions import Value

Number = float | int


class Series(Section):
    """One line of a chart."""

    name: str
    points: list[tuple[Number, Number]]


class Mark(Section):
    """A vertical line through a chart, with what it means."""

    x: Number
    label: str


class Lines(Section):
    """A line chart."""

    kind: Literal["lines"] = "lines"
    title: str
    x: str
    y: str
    series: list[Series]
    marks: list[Mark] = Field(default=[])
    low: Number | None = None
    """Where the y-axis begins; null fits the points."""
    high: Number | None = None


class Heat(Section):
    """A grid of numbers shown as shades, such as attention from rows to columns."""

    kind: Literal["heat"] = "heat"
    title: str
    rows: list[str]
    columns: list[str]
    values: list[list[Number]]
    note: str = ""
    show_values: bool = False
    """Write each number into its cell; for small grids."""


class Bar(Section):
    """One bar, with its name."""

    label: str
    value: Number
    strong: bool = False
    """To be looked at first."""


class Bars(Section):
    """Bars from 0 to `most`, such as probabilities."""

    kind: Literal["bars"] = "bars"
    title: str
    bars: list[Bar]
    most: Annotated[Number, Field(gt=0)] = 1.0
    note: str = ""


class Table(Section):
    """A small table."""

    kind: Literal["table"] = "table"
    title: str
    header: list[str]
    rows: list[list[str]]


class Diff(Section):
    """Two texts, with what is only in the first and only in the second."""

    kind: Literal["diff"] = "diff"
    title: str
    pieces: list[tuple[Literal["same", "gone", "new"], str]]


class Block(Section):
    """Text as it stands in a terminal or a file."""

    kind: Literal["text"] = "text"
    title: str
    text: str


Picture = Annotated[Lines | Heat | Bars | Table | Diff | Block, Field(discriminator="kind")]


class Result(Section):
    """What an experiment says at its end."""

    said: str
    """What came out, in a sentence."""
    numbers: dict[str, Number] = Field(default={})
    """What checks read and what the learner is asked for."""
    texts: dict[str, str] = Field(default={})
    pictures: list[Picture] = Field(default=[])
    run: str | None = None
    """The run directory that training left."""
    command: str | None = None
    """The command line that does the same without the lesson."""


class Record(Section):
    """A result as it is kept: the evidence of one experiment."""

    lesson: str
    controls: dict[str, Value]
    result: Result
    seconds: Number
    """By the clock."""
    computed: Number
    """Seconds of computing: what the budget is about, on a busy machine too."""


def word_diff(title: str, before: str, after: str) -> Diff:
    """What became of a text, word by word."""
    old, new = before.split(), after.split()
    pieces: list[tuple[Literal["same", "gone", "new"], str]] = []
    for tag, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            pieces.append(("same", " ".join(old[a:b])))
            continue
        if a < b:
            pieces.append(("gone", " ".join(old[a:b])))
        if c < d:
            pieces.append(("new", " ".join(new[c:d])))
    return Diff(title=title, pieces=pieces)


def shares(labels: Sequence[str], values: Sequence[float], title: str, note: str = "") -> Bars:
    """Probabilities as bars, the largest one strong."""
    top = max(range(len(values)), key=values.__getitem__)
    bars = [
        Bar(label=label, value=round(float(value), 4), strong=i == top)
        for i, (label, value) in enumerate(zip(labels, values, strict=True))
    ]
    return Bars(title=title, bars=bars, note=note)
