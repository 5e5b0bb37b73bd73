"""What an experiment is handed: where its runs go, when to stop, and how to show what happens meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from forge.core.errors import UserError
from forge.learn.course import Tell
from forge.learn.questions import Value
from forge.learn.results import Result
from forge.train.signals import StopRequest

OVER_BUDGET = "the experiment used up its time; run it again, training goes on where it stopped"


class Live:
    """The way from an experiment to the learner's eyes while it goes."""

    def __init__(self, folder: Path, seconds: float, send: Tell) -> None:
        self.folder = folder
        self.stop = _Within(seconds)
        self._send = send

    def progress(self, done: float, note: str = "") -> None:
        """How far it is, from 0 to 1, and what it does. Raises UserError when its time is over."""
        self._send({"event": "progress", "done": round(min(max(done, 0.0), 1.0), 4), "note": note})
        if self.stop.why:
            raise UserError(OVER_BUDGET)

    def chart(self, title: str, x: str, y: str, longest: float | None = None) -> None:
        """Begin the one chart that is drawn while the experiment goes; `longest` is the greatest x to come."""
        self._send({"event": "chart", "title": title, "x": x, "y": y, "longest": longest})

    def point(self, series: str, x: float, y: float) -> None:
        """Add a point to a line of that chart."""
        self._send({"event": "point", "series": series, "x": x, "y": round(y, 6)})


class _Within(StopRequest):
    """Asks to stop after so many seconds of this process's own computing: a busy machine is not the lesson's fault."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._end = time.process_time() + seconds

    @property
    def why(self) -> str:
        """The reason to stop; empty while there is none."""
        if time.process_time() > self._end:
            self.ask("the experiment's budget is used up")
        return super().why


Experiment = Callable[[Mapping[str, Value], Live], Result]


def number(controls: Mapping[str, Value], name: str) -> float:
    """A slider's value."""
    value = controls[name]
    assert isinstance(value, int | float)
    return value


def whole(controls: Mapping[str, Value], name: str) -> int:
    """A slider's value where it counts something."""
    return round(number(controls, name))


def word(controls: Mapping[str, Value], name: str) -> str:
    """A pick's or a text's value, without blanks around it."""
    return str(controls[name]).strip()
