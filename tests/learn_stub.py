"""A course over the shipped lessons whose experiments are canned: the engine's tests need no training."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forge.learn.course import Course
from forge.learn.lessons import load_lessons
from forge.learn.questions import Value
from forge.learn.results import Bar, Bars, Block, Heat, Lines, Mark, Picture, Result, Series, Table, word_diff
from forge.learn.state import Store

PICTURES: list[Picture] = [  # one of each kind
    Lines(
        title="Loss",
        x="step",
        y="loss",
        series=[Series(name="training", points=[(1, 1.1), (2, 1.0)]), Series(name="of few", points=[(2, 1.05)])],
        marks=[Mark(x=1, label="epoch 1")],
    ),
    Heat(
        title="Attention",
        rows=["all", "dogs"],
        columns=["all", "dogs"],
        values=[[0.9, -0.1], [0.0, 1.0]],
        show_values=True,
    ),
    Heat(
        title="Many",
        rows=["all", "dogs"],
        columns=[f"number {i}" for i in range(20)],
        values=[[i / 20 for i in range(20)]] * 2,
    ),
    Bars(
        title="Odds",
        bars=[Bar(label="follows", value=0.7, strong=True), Bar(label="cannot be", value=0.3)],
        note="Its own.",
    ),
    Table(title="Words", header=["word", "times"], rows=[["a-very-long-word-that-does-not-fit", "2"], ["dogs", "1"]]),
    word_diff("Changed", "all old dogs ran", "all old owls ran far"),
    Block(title="A file", text="train:\n  learning_rate: 5e-5" + " # far" * 30),
]


class Canned:
    """Answers every experiment with numbers that depend on its controls; `fail` is raised first, once."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Mapping[str, Value]]] = []
        self.fail: Exception | None = None
        self.hold: threading.Event | None = None  # what an experiment waits for

    def run(
        self, lesson: str, controls: Mapping[str, Value], folder: Path, budget_s: float, tell: Any
    ) -> tuple[Result, float, float]:
        self.asked.append((lesson, dict(controls)))
        if self.fail:
            error, self.fail = self.fail, None
            raise error
        tell({"event": "progress", "done": 0.5, "note": "half"})
        if self.hold:
            assert self.hold.wait(60)
        changed = int(controls.get("changed") != controls.get("sentence"))
        numbers = {"exchanged": changed, "rows_first": changed, "rows_last": 7 * changed, "words": 7}
        return (
            Result(said="It ran.", numbers=numbers, pictures=PICTURES, command="python forge.py --config x"),
            0.1,
            0.1,
        )


def course_in(folder: Path) -> Course:
    return Course(load_lessons(), Store(folder), Canned())
