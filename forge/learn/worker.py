"""One warm process that runs experiments: started when first needed, asked, watched, and started again when it dies.

What that process does is in `experiments/process.py`. Requests and events are lines of JSON.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from pydantic import ValidationError

from forge.core.errors import UserError
from forge.core.io import storage_errors
from forge.learn.course import Tell
from forge.learn.lessons import ROOT
from forge.learn.questions import Value
from forge.learn.results import Result

LOG = "worker.log"
START_S = 300.0  # importing the libraries on a cold and busy machine
SOFT = 3.0  # times its budget, in computing, until an experiment is asked to stop: a second run continues its training
HARD = 20.0  # times its budget, by the clock, and HARD_S more, until the process is ended: it must be hanging
HARD_S = 60.0
TRIES = 2  # a process that dies gets one successor an experiment
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
}


class DiedError(Exception):
    """The process ended before its answer."""


class Worker:
    """The process, started when first needed and again after it died. Runs one experiment at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[str] | None = None
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._ready = False
        self._busy = threading.Lock()
        self._starting = threading.Lock()

    @property
    def pid(self) -> int | None:
        """The running process; None where there is none."""
        return self._process.pid if self._alive() and self._process else None

    def start(self) -> None:
        """Begin to warm up, without waiting; nothing where it runs."""
        with self._starting:
            if self._alive():
                return
            with storage_errors("starting the experiments"):
                self.folder.mkdir(parents=True, exist_ok=True)
            path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
            self._ready, self._events = False, queue.Queue()
            with storage_errors("starting the experiments"), (self.folder / LOG).open("w") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "forge.learn.experiments.process"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    encoding="utf-8",
                    env=os.environ | ENVIRONMENT | {"PYTHONPATH": path},
                    start_new_session=True,  # a Ctrl-C at the terminal is the face's to answer
                )
            threading.Thread(target=_pump, args=(self._process.stdout, self._events), daemon=True).start()

    def run(
        self, lesson: str, controls: Mapping[str, Value], folder: Path, budget_s: float, tell: Tell
    ) -> tuple[Result, float, float]:
        """Run an experiment; raises UserError where it refuses, runs over its budget, or dies twice."""
        if not self._busy.acquire(blocking=False):
            raise UserError("another experiment is running, perhaps in another window; wait for it to end")
        try:
            for again in range(TRIES):
                try:
                    return self._run(lesson, controls, folder, budget_s, tell)
                except DiedError:
                    if again + 1 < TRIES:
                        tell({"event": "progress", "done": 0.0, "note": "the experiment's process died; starting anew"})
            raise UserError(
                f"the experiment's process died twice; your progress is safe. See {self.folder / LOG}, and run it again"
            )
        finally:
            self._busy.release()

    def close(self) -> None:
        """End the process."""
        if self._process and self._process.stdin:
            with suppress(OSError):
                self._process.stdin.close()
            try:
                self._process.wait(2)
            except subprocess.TimeoutExpired:
                self._kill()

    def _run(
        self, lesson: str, controls: Mapping[str, Value], folder: Path, budget_s: float, tell: Tell
    ) -> tuple[Result, float, float]:
        self._wait_until_ready(tell)
        began = time.monotonic()
        request = {"lesson": lesson, "controls": dict(controls), "folder": str(folder), "seconds": budget_s * SOFT}
        self._send(request)
        deadline = began + budget_s * HARD + HARD_S
        while True:
            event = self._next(deadline - time.monotonic())
            if event is None:
                self._kill()
                raise UserError("the experiment took far longer than its budget and was ended; your progress is safe")
            if event["event"] == "failed":
                raise UserError(str(event["text"]))
            if event["event"] == "result":
                try:
                    result = Result.model_validate_json(json.dumps(event["result"]))
                    return result, time.monotonic() - began, float(event["computed"])
                except ValidationError as error:
                    raise UserError(f"the experiment's result cannot be read: {error.errors()[0]['msg']}") from None
            tell(event)

    def _wait_until_ready(self, tell: Tell) -> None:
        self.start()
        if self._ready:
            return
        tell({"event": "progress", "done": 0.0, "note": "warming up: libraries are loaded once"})
        event = self._next(START_S)
        if event is None:
            self._kill()
            raise UserError(f"the experiment's process did not start within {START_S:.0f} s; see {self.folder / LOG}")
        self._ready = True

    def _next(self, patience_s: float) -> dict[str, Any] | None:
        """The next event; None where none came in time. Raises DiedError at the process's end."""
        try:
            event = self._events.get(timeout=max(0.0, patience_s))
        except queue.Empty:
            return None
        if event is None:
            self._kill()
            raise DiedError
        return event

    def _send(self, request: Mapping[str, Any]) -> None:
        assert self._process
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise DiedError from None

    def _alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()


def _pump(stream: TextIO | None, events: queue.Queue[dict[str, Any] | None]) -> None:
    """Lines of the process → events; None at its end."""
    for line in stream or ():
        with suppress(ValueError):  # a process that was killed while it wrote
            events.put(json.loads(line))
    events.put(None)
