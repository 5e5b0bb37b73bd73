"""A run that is stopped on its way and goes on: what its log and its state say, and what it comes to."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from forge.assemble import train
from forge.config import resolve
from forge.core.errors import StoppedError, UserError
from forge.core.events import Event, StepLogged
from forge.learn.experiments.base import Live, whole, word
from forge.learn.experiments.deeper.scale import fingerprint
from forge.learn.experiments.training import Shown, Trained, run_training
from forge.learn.lessons import ROOT
from forge.learn.questions import Value
from forge.learn.results import Block, Lines, Mark, Result, Table
from forge.preflight import preflight
from forge.runs.run_dir import LOG, STATE, RunDirectory
from forge.train.signals import StopRequest

CONFIG = "configs/classification/embedded_nli/tiny_distilbert/00_sft.yaml"
STOPPED = "stopped"  # beside the runs that nobody stops
STEPS = 240
LOGGED_EVERY = 20  # steps; a stop comes with a line
STATE_LINES = ("status", "step", "total_steps", "samples_seen", "checkpoint", "best", "reason")
SETTINGS: Mapping[str, Any] = MappingProxyType(
    {
        "seed": 3,
        "data.embedded.difficulty": 0.0,
        "data.embedded.train_size": 2_000,
        "data.validation": "!replace {matched: validation}",
        "train.max_steps": STEPS,
        "train.schedule": "constant",
        "evaluate.max_examples": 300,
        "evaluate.every": 40,
        "log.every": LOGGED_EVERY,
    }
)


@dataclass(frozen=True)
class Stopped:
    """A run in two lives."""

    path: Path
    then: Mapping[str, Any]  # training_state.json when it was stopped


def run(controls: Mapping[str, Value], live: Live) -> Result:
    """240 steps at a learning `rate`, never stopped; then the same, stopped after step `stop_at` and resumed."""
    stop_at = whole(controls, "stop_at")
    settings = dict(SETTINGS) | {"train.learning_rate": word(controls, "rate")}
    live.chart("Training loss", "step", "loss", STEPS)
    undisturbed = run_training(CONFIG, settings, live, Shown(series="never stopped", end=0.5))
    stopped = _in_two_lives(settings, stop_at, live) if stop_at < STEPS else None
    path = stopped.path if stopped else undisturbed.path
    state = RunDirectory(path).state()
    best = int(state["best"]["step"])
    same = fingerprint(path) == fingerprint(undisturbed.path)
    kept = undisturbed.curve("accuracy", "matched", "accuracy on new pairs")
    way = f"Stopped after step {stop_at} and resumed" if stopped else "Never stopped"
    return Result(
        said=f"{way}, the run has taken its {STEPS} steps. Its last model is right on {kept.points[-1][1]:.0%} of new "
        f"pairs; guessing gives 33%.",
        numbers={
            "left": STEPS - stop_at,
            "lives": len(RunDirectory(path).metadata()["lives"]),
            "best_step": best,
            "best_is_last": int(best == STEPS),
            "samples": int((stopped.then if stopped else state)["samples_seen"]),
            "same_weights": int(same),
        },
        pictures=[
            Block(title=LOG, text=_news((path / LOG).read_text(encoding="utf-8"))),
            Lines(
                title="Accuracy on new pairs, as measured before each checkpoint",
                x="step",
                y="accuracy",
                series=[kept],
                marks=[Mark(x=stop_at, label="stopped")] if stopped else [],
            ),
            _states(stopped.then if stopped else None, state),
            *([_compared(undisturbed, stopped)] if stopped else []),
        ],
        run=str(path),
        command=undisturbed.command,
    )


def _in_two_lives(settings: Mapping[str, Any], stop_at: int, live: Live) -> Stopped:
    """The run once more in a place of its own: stopped as Ctrl-C stops it, then started again by the same command."""
    words = [*(f"{key}={value}" for key, value in settings.items()), f"run.dir={live.folder / STOPPED}"]
    resolved = resolve(ROOT / CONFIG, [*words, "train.threads=1"])
    directory = preflight(resolved).run
    shutil.rmtree(directory.path, ignore_errors=True)
    stop = StopRequest()
    with suppress(StoppedError):
        train(preflight(resolved), ["forge", "learn"], stop, [_Half(live, stop, stop_at)], console=False)
    then = directory.state()
    live.progress(0.5 + 0.45 * stop_at / STEPS, "second life")
    train(preflight(resolved), ["forge", "learn"], None, [_Half(live)], console=False)
    return Stopped(directory.path, then)


class _Half:
    """A sink that shows one life, and asks it to stop where its time has come."""

    def __init__(self, live: Live, stop: StopRequest | None = None, stop_at: int = STEPS) -> None:
        self._live, self._stop, self._stop_at = live, stop, stop_at

    def __call__(self, event: Event) -> None:
        if not isinstance(event, StepLogged):
            return
        note = f"{'first' if self._stop else 'second'} life: step {event.step} of {STEPS}"
        with suppress(UserError):  # the end of its time is told between the lives, not in the middle of one
            self._live.progress(0.5 + 0.45 * event.step / STEPS, note)
        self._live.point("stopped and resumed", event.step, event.figures["loss"])
        if self._stop and event.step == self._stop_at:
            self._stop.ask("Ctrl-C")


def _news(log: str) -> str:
    """A log from the plan on, without dates: what stands before it was in the lesson of the first run."""
    lines = [line.partition(" ")[2] for line in log.splitlines()]
    first = next(place for place, line in enumerate(lines) if "plan: " in line)
    return "\n".join(lines[first:])


def _states(then: Mapping[str, Any] | None, end: Mapping[str, Any]) -> Table:
    columns = [("at the end", end)] if then is None else [("when it was stopped", then), ("at the end", end)]
    return Table(
        title=f"{STATE}, some of its lines",
        header=["line", *(name for name, _ in columns)],
        rows=[[key, *(_shown(state, key) for _, state in columns)] for key in STATE_LINES],
    )


def _shown(state: Mapping[str, Any], key: str) -> str:
    found = state.get(key)
    if key == "best" and isinstance(found, Mapping):
        return f"{found['metric']} {found['value']:.4f}, step {found['step']}"
    return "" if found is None else str(found)


def _compared(undisturbed: Trained, stopped: Stopped) -> Table:
    rows = []
    for name, path in (("never stopped", undisturbed.path), ("stopped and resumed", stopped.path)):
        state = RunDirectory(path).state()
        accuracy = f"{state['validation']['matched']['accuracy']:.4f}"
        rows.append([name, f"{state['last']['loss']:.10f}", accuracy, fingerprint(path)])
    return Table(
        title="The same run, never stopped and resumed",
        header=["run", "last loss", "last accuracy", "fingerprint of its last weights"],
        rows=rows,
    )
