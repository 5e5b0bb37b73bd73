"""What a person sees of studies: a live table on a terminal, a line for each job that ended anywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from forge.core.io import storage_errors
from forge.runs.lines import duration
from forge.study.course import Course, Standing
from forge.study.pool import Task

PLAIN_EVERY_S = 60.0
MOST_SEEDS = 12  # columns of a table


class Board:
    """Tells of several studies."""

    def __init__(self, courses: Sequence[Course], console: Console | None = None) -> None:
        self._courses = courses
        self._live = Live(console=console, refresh_per_second=2) if console or sys.stdout.isatty() else None
        self._began = self._told = time.monotonic()

    def __enter__(self) -> Board:
        for course in self._courses:
            self.say(summary(course))
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.update(self._tables([]))
            self._live.stop()

    def say(self, line: str) -> None:
        """A line that stays."""
        if self._live:
            self._live.console.print(Text(line), highlight=False)
            return
        with storage_errors("printing"):
            print(line, flush=True)  # noqa: T201  this is the program's output

    def show(self, running: Sequence[Task]) -> None:
        """How things stand."""
        now = time.monotonic()
        if self._live:
            self._live.update(self._tables(running))
        elif now - self._told >= PLAIN_EVERY_S:
            self._told = now
            self.say(f"after {duration(now - self._began)}: " + "; ".join(summary(course) for course in self._courses))

    def _tables(self, running: Sequence[Task]) -> Group:
        return Group(
            *(table(course, running) for course in self._courses), Text(duration(time.monotonic() - self._began))
        )


def summary(course: Course) -> str:
    """One study in a line."""
    cells = list(course.cells.values())
    before = [standing for standing in course.before.values() if not standing.done]
    if before:
        return f"{course.name}: first {', '.join(standing.task.name for standing in before)}"
    done, failed = sum(standing.done for standing in cells), len(course.failures)
    return f"{course.name}: {done} of {len(cells)} done" + (f", {failed} failed" if failed else "")


def table(course: Course, running: Sequence[Task] = ()) -> Table:
    """A row a cell, a column a seed: the outcome, or how far it is."""
    outcome = course.plan.study.outcome
    made = Table(
        title=f"{summary(course)}   ({outcome.figure} on {outcome.split})", box=box.SIMPLE_HEAD, title_justify="left"
    )
    made.add_column("cell", overflow="fold")
    seeds = course.seeds[:MOST_SEEDS]
    for seed in seeds:
        made.add_column(str(seed), justify="right")
    busy = {task.name for task in running}
    for standing in course.before.values():
        if not standing.done:
            made.add_row(standing.task.name, _state(course, standing, busy))
    for cell in course.plan.cells:
        row = [course.cells.get(f"{cell.name}.{seed}") for seed in seeds]
        if any(row):
            made.add_row(cell.shown, *(_state(course, one, busy) if one else Text("") for one in row))
    return made


def plain(course: Course) -> str:
    """The same as text."""
    console = Console(width=200, no_color=True, highlight=False, file=None)
    with console.capture() as held:
        console.print(table(course))
    return "\n".join(line.rstrip() for line in held.get().splitlines())


def as_json(course: Course) -> dict[str, Any]:
    """For machines."""
    jobs = [
        {
            "job": standing.task.name,
            "kind": standing.task.kind,
            "state": "done" if standing.done else "failed" if standing.failed else "open",
            "outcome": course.value(standing) if standing.record else None,
            "run": str(standing.run.path) if standing.run else None,
            "why": standing.failed,
        }
        for standing in course.everything
    ]
    return {"study": course.name, "folder": str(course.store.folder), "seeds": list(course.seeds), "jobs": jobs}


def _state(course: Course, standing: Standing, busy: set[str]) -> Text:
    if standing.record is not None:
        return Text(f"{course.value(standing):.2f}", style="green")
    if standing.done:
        return Text("done", style="green")
    if standing.failed:
        return Text("failed", style="red")
    if standing.task.name not in busy:
        return Text("·", style="dim")
    state = standing.run.known_state() if standing.run else {}
    step, total = state.get("step"), state.get("total_steps")
    return Text(
        f"{100 * step // total} %" if isinstance(step, int) and isinstance(total, int) and total else "…", style="cyan"
    )
