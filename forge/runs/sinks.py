"""Where events go in the run directory: output.log, metrics.jsonl, training_state.json."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from forge.core.events import CheckpointSaved, Evaluated, Event, Finished, Progressed, Started, StepLogged
from forge.core.io import from_json, storage_errors, write_atomic
from forge.runs.lines import describe
from forge.runs.run_dir import LOG, METRICS, RunDirectory

STATE_INTERVAL_S = 2.0  # progress is rewritten at most so often between checkpoints


class OutputLog:
    """output.log: every line with its time, appended over all lives."""

    def __init__(self, run: RunDirectory) -> None:
        self._path = run.path / LOG
        self._total = 0

    def __call__(self, event: Event) -> None:
        """Append the event's line."""
        if isinstance(event, Started):
            self._total = event.total_steps
        if line := describe(event, self._total):
            self.write(line)

    def write(self, line: str) -> None:
        """Append a line. One that an earlier life could not finish is ended first."""
        text = f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S}  {line}\n"
        with storage_errors(f"writing {LOG}"), self._path.open("ab+") as file:
            if size := file.seek(0, os.SEEK_END):
                file.seek(size - 1)
                text = text if file.read() == b"\n" else f"\n{text}"
            file.write(text.encode())


class MetricsLog:
    """metrics.jsonl: one record a logged step and an evaluation.

    A life that starts again at step N drops the records after N, which are about to come again. Wall times stand
    under `time`; all else is the same in an interrupted run and in an uninterrupted one.
    """

    def __init__(self, run: RunDirectory) -> None:
        self._path = run.path / METRICS

    def __call__(self, event: Event) -> None:
        """Append the event's record."""
        match event:
            case Started(step=step, evaluated=evaluated):
                self._keep_up_to(step, step if evaluated is None else evaluated)
            case StepLogged():
                counts = {"samples_seen": event.samples_seen, "tokens_seen": event.tokens_seen}
                head = {"kind": "step", "step": event.step, "epoch": event.epoch}
                self._append(head | dict(event.figures) | counts | {"time": dict(event.speed)})
            case Evaluated():
                kind = "test" if event.final else "average" if event.of else "evaluation"
                head = {"kind": kind, "step": event.step, "split": event.split}
                head |= {"checkpoint": event.of} if event.of else {}
                self._append(head | dict(event.figures) | dict(event.detail) | {"time": {"seconds": event.seconds}})

    def _append(self, record: Mapping[str, Any]) -> None:
        with storage_errors(f"writing {METRICS}"), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")

    def _keep_up_to(self, step: int, evaluated: int) -> None:
        if not self._path.is_file():
            return
        kept = [
            record
            for record in read_metrics(self._path.read_bytes().decode("utf-8", "replace"))
            if _before(record, step, evaluated)
        ]
        with storage_errors(f"writing {METRICS}"):
            write_atomic(self._path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in kept))


def read_metrics(text: str) -> list[dict[str, Any]]:
    """The records of a metrics.jsonl; a last line that a crash cut short is left out."""
    records: list[dict[str, Any]] = []
    for line in text.split("\n"):  # not splitlines: a label may hold one of the other signs that it splits at
        if not line:
            continue
        try:
            records.append(from_json(line))
        except ValueError:
            break
    return records


def _before(record: Mapping[str, Any], step: int, evaluated: int) -> bool:
    """Whether a record stays: not what comes again, such as an evaluation that no checkpoint remembers."""
    last = {"step": step, "evaluation": evaluated}.get(record["kind"], -1)
    return int(record["step"]) <= last


class StateFile:
    """training_state.json: progress, rewritten now and then and at each checkpoint."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._written = 0.0
        self._durable_next = False
        self.state: dict[str, Any] = {"status": "running"}

    def __call__(self, event: Event) -> None:
        """Remember progress and write it when it is time."""
        match event:
            case Progressed(state=state):
                self.state.update(state)
                if self._durable_next or time.monotonic() - self._written > STATE_INTERVAL_S:
                    self._write(durable=self._durable_next)
                    self._durable_next = False
            case Evaluated(final=True):
                self.state.setdefault("test", {})[event.split] = dict(event.figures)
            case CheckpointSaved():
                self._durable_next = True  # the progress that names it follows
            case Finished(reason=reason):
                self.state["reason"] = reason

    def end(self, status: str, why: str) -> None:
        """Write how the run stands when its process ends."""
        self.state["status"] = status
        if status != "completed":
            self.state["reason"] = why
        self._write(durable=True)

    def _write(self, durable: bool) -> None:
        self._written = time.monotonic()
        self._run.write_state(self.state, durable)
        self._run.heartbeat()
