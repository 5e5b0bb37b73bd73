"""Training inside an experiment: a real configuration with a few settings changed, through `forge.assemble`.

The run lies below `.forge/runs`, named by its settings as every run of Forge: the same controls find it done, and a run
that was stopped half way continues.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forge.assemble import train
from forge.config import resolve
from forge.core.errors import StoppedError, UserError
from forge.core.events import Evaluated, Event, Started, StepLogged
from forge.learn.experiments.base import OVER_BUDGET, Live
from forge.learn.lessons import ROOT
from forge.learn.results import Number, Series
from forge.preflight import completed_run, preflight
from forge.runs.run_dir import METRICS, RunDirectory
from forge.runs.sinks import read_metrics

RUNS = "runs"


@dataclass(frozen=True)
class Trained:
    """A run that reached its end, and what it wrote down."""

    path: Path
    command: str
    records: Sequence[Mapping[str, Any]]

    def curve(self, figure: str = "loss", split: str | None = None, name: str | None = None) -> Series:
        """A figure over the steps: as logged in training, or as measured on a split."""
        kind = "evaluation" if split else "step"
        found = [r for r in self.records if r["kind"] == kind and r.get("split") == split and figure in r]
        points: list[tuple[Number, Number]] = [(int(r["step"]), round(float(r[figure]), 4)) for r in found]
        return Series(name=name or split or "training", points=points)

    def last(self, figure: str = "loss", split: str | None = None) -> float:
        """The last value of that curve."""
        return float(self.curve(figure, split).points[-1][1])

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return max(int(record["step"]) for record in self.records if record["kind"] == "step")


@dataclass(frozen=True)
class Shown:
    """What of a run is drawn while it goes."""

    figure: str = "loss"  # of training's log lines; empty for none
    series: str = "training"
    splits: Mapping[str, str] | None = None  # split → name of its line, by `split_figure`
    split_figure: str = "accuracy"
    begin: float = 0.0  # this run's share of the whole experiment's progress
    end: float = 1.0
    note: str = "training"


def run_training(config: str, settings: Mapping[str, Any], live: Live, shown: Shown = Shown()) -> Trained:
    """Train a configuration of this repository to its end, or find it done; raises UserError when time is over."""
    words = [f"{key}={_written(value)}" for key, value in settings.items()]
    resolved = resolve(ROOT / config, [*words, f"run.dir={live.folder / RUNS}", "train.threads=1"])
    command = f"python forge.py --config {config} {shlex.join(words)}"
    done = completed_run(resolved)
    if done is None:
        found = preflight(resolved)
        done = found.run
        if not done.completed:
            live.progress(shown.begin, shown.note)
            try:
                train(found, ["forge", "learn"], live.stop, [_Watch(live, shown)], console=False)
            except StoppedError:
                raise UserError(OVER_BUDGET) from None
    return _trained(done, command, live, shown)


def _trained(run: RunDirectory, command: str, live: Live, shown: Shown) -> Trained:
    records = read_metrics((run.path / METRICS).read_text(encoding="utf-8"))
    live.progress(shown.end, shown.note)
    return Trained(run.path, command, records)


class _Watch:
    """A sink that shows a run's events to the learner."""

    def __init__(self, live: Live, shown: Shown) -> None:
        self._live, self._shown, self._total = live, shown, 1

    def __call__(self, event: Event) -> None:
        shown = self._shown
        match event:
            case Started():
                self._total = event.total_steps
            case StepLogged():
                share = shown.begin + (shown.end - shown.begin) * event.step / self._total
                with suppress(UserError):  # when time is over the loop itself stops, between two steps
                    self._live.progress(share, f"{shown.note}: step {event.step:,} of {self._total:,}")
                if shown.figure and math.isfinite(event.figures.get(shown.figure, math.nan)):
                    self._live.point(shown.series, event.step, event.figures[shown.figure])
            case Evaluated() if shown.splits and event.split in shown.splits and not event.final:
                self._live.point(shown.splits[event.split], event.step, event.figures[shown.split_figure])


def _written(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_written(item) for item in value) + "]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
