"""What a person sees while a run goes: one live panel on a terminal, plain lines anywhere else."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from forge.core.events import CheckpointSaved, Evaluated, Event, Finished, Notice, Started, StepLogged
from forge.core.io import storage_errors
from forge.runs.lines import describe, duration

SPARKS = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 48


class PlainConsole:
    """Prints each line as it comes; right for files, pipes and batch jobs."""

    def __init__(self) -> None:
        self._total = 0

    def __enter__(self) -> PlainConsole:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def __call__(self, event: Event) -> None:
        """Print the event's line."""
        if isinstance(event, Started):
            self._total = event.total_steps
        if line := describe(event, self._total):
            with storage_errors("printing"):  # a batch job's output often goes to the disk of its runs
                print(line, flush=True)  # noqa: T201 - this is the program's output


class LiveConsole:
    """Keeps one panel up to date; notices and evaluations scroll above it."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._live = Live(console=self._console, refresh_per_second=4)
        self._losses: list[float] = []
        self._started = Started(0, 0, "")
        self._rows: dict[str, str] = {}
        self._step, self._begun = 0, time.monotonic()

    def __enter__(self) -> LiveConsole:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def __call__(self, event: Event) -> None:
        """Update the panel, and print what should stay."""
        match event:
            case Started():
                self._started, self._step = event, event.step
            case StepLogged():
                self._step = event.step
                self._losses.append(event.figures["loss"])
                left = (self._started.total_steps - event.step) * event.speed["seconds_per_step"]
                self._rows["loss"] = f"{event.figures['loss']:.4f}  {sparkline(self._losses)}"
                self._rows["learning rate"] = f"{event.figures['learning_rate']:.2e}"
                self._rows["speed"] = f"{event.speed['tokens_per_second']:,.0f} tokens/s, {duration(left)} left"
            case Evaluated():
                self._rows[f"{event.split} (average)" if event.of else event.split] = "  ".join(
                    f"{name} {value:.4f}" for name, value in event.figures.items()
                )
            case CheckpointSaved():
                self._rows["saved"] = event.name
        if isinstance(event, Notice | Evaluated | Finished) and (line := describe(event, self._started.total_steps)):
            self._console.print(line, highlight=False, markup=False)
        if self._started.total_steps:
            self._live.update(self._panel())

    def _panel(self) -> Panel:
        total = self._started.total_steps
        table = Table.grid(padding=(0, 2))
        for name, value in self._rows.items():
            table.add_row(Text(name), Text(value))  # a name in brackets is no markup
        bar = Table.grid(expand=True)  # on its own a progress bar ends without a new line and hides the first row
        bar.add_row(ProgressBar(total=total, completed=self._step))
        title = f"step {self._step:,} of {total:,}   {duration(time.monotonic() - self._begun)}"
        return Panel(Group(bar, table), title=title, title_align="left")


def sparkline(values: Sequence[float]) -> str:
    """The last values as a row of bars."""
    shown = [value for value in values[-SPARK_WIDTH:] if math.isfinite(value)]
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    span = (high - low) or 1.0
    return "".join(SPARKS[int((value - low) / span * (len(SPARKS) - 1))] for value in shown)


def make_console() -> PlainConsole | LiveConsole:
    """The panel where standard output is a terminal, else plain lines."""
    return LiveConsole() if sys.stdout.isatty() else PlainConsole()
