"""The process that runs experiments: killed in the middle, dying twice, refusing, running for real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from support import ROOT

from forge.core.errors import UserError
from forge.learn.course import Course
from forge.learn.lessons import load_lessons
from forge.learn.state import Store
from forge.learn.worker import Worker

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    made = Worker(tmp_path_factory.mktemp("learn"))
    yield made
    made.close()


@pytest.fixture
def course(worker: Worker) -> Course:
    return Course(load_lessons(), Store(worker.folder), worker)


def kill(worker: Worker) -> None:
    pid = worker.pid
    assert pid
    os.kill(pid, signal.SIGKILL)


def test_killed_in_the_middle_it_starts_again_and_progress_stays(worker: Worker, course: Course) -> None:
    course.predict("what-is-ai", 1)
    killed: list[int] = []

    def kill_once(event: Mapping[str, Any]) -> None:
        if event["event"] == "point" and not killed:
            killed.append(worker.pid or 0)
            kill(worker)

    notes: list[str] = []

    def tell(event: Mapping[str, Any]) -> None:
        notes.append(str(event.get("note", "")))
        kill_once(event)

    record = course.experiment("what-is-ai", {"rounds": 60}, tell)
    assert killed
    assert worker.pid not in (None, killed[0])
    assert any("died" in note for note in notes)
    assert record.result.numbers["rounds"] == 60
    assert record.result.run
    assert (Path(record.result.run) / "training_state.json").is_file()
    assert course.store.read().lesson("what-is-ai").prediction == 1


def test_killed_while_it_rests_it_starts_again(worker: Worker, course: Course) -> None:
    course.predict("what-is-ai", 1)
    worker.start()
    kill(worker)
    record = course.experiment("what-is-ai", {"rounds": 60}, lambda event: None)
    assert record.result.numbers["rounds"] == 60


def test_dying_each_time_it_says_so_and_progress_stays(worker: Worker, course: Course) -> None:
    course.predict("what-is-ai", 1)

    def kill_always(event: Mapping[str, Any]) -> None:
        if event["event"] == "progress" and not event["note"].startswith(("warming", "the experiment's process")):
            kill(worker)

    with pytest.raises(UserError, match="died twice; your progress is safe"):
        course.experiment("what-is-ai", {"rounds": 70}, kill_always)
    assert course.store.read().lesson("what-is-ai").prediction == 1
    assert course.experiment("what-is-ai", {"rounds": 60}, lambda event: None).result.numbers["rounds"] == 60


def test_one_experiment_at_a_time(worker: Worker) -> None:
    begun, go_on, done = threading.Event(), threading.Event(), []

    def hold(event: Mapping[str, Any]) -> None:
        begun.set()
        go_on.wait(60)

    def first() -> None:
        done.append(worker.run("what-is-ai", start(rounds=60), worker.folder, 10, hold))

    thread = threading.Thread(target=first)
    thread.start()
    assert begun.wait(300)
    with pytest.raises(UserError, match="another experiment is running"):
        worker.run("what-is-ai", start(rounds=60), worker.folder, 10, lambda event: None)
    go_on.set()
    thread.join(300)
    assert len(done) == 1


def test_over_its_budget_training_is_saved_and_goes_on(worker: Worker) -> None:
    controls = start(rounds=390)
    seen: list[float] = []

    def tell(event: Mapping[str, Any]) -> None:
        if event["event"] == "point":
            seen.append(event["x"])

    with pytest.raises(UserError, match="goes on where it stopped"):
        worker.run("what-is-ai", controls, worker.folder, 0.7, tell)
    reached = max(seen)
    seen.clear()
    result, *_ = worker.run("what-is-ai", controls, worker.folder, 10, tell)
    assert result.numbers["rounds"] == 390
    assert reached >= 1
    assert min(seen) > reached - 10, "it went on from the checkpoint"


def test_what_the_learner_gets_wrong_is_one_line(worker: Worker) -> None:
    words = load_lessons()["neural-networks"].file.start() | {"changed": "Every old zebra ran"}
    with pytest.raises(UserError, match="has not met 'every', 'zebra'"):
        worker.run("neural-networks", words, worker.folder, 10, lambda event: None)


def test_the_process_ends_with_the_face_that_started_it(tmp_path: Path) -> None:
    lone = Worker(tmp_path)
    lone.start()
    pid = lone.pid
    lone.close()
    assert pid
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


def test_it_also_ends_with_a_face_that_was_killed(tmp_path: Path) -> None:
    code = (
        f"import sys, time; sys.path.insert(0, {str(ROOT)!r})\n"
        "from pathlib import Path\nfrom forge.learn.worker import Worker\n"
        f"worker = Worker(Path({str(tmp_path)!r})); worker.start(); print(worker.pid, flush=True); time.sleep(600)"
    )
    face = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert face.stdout
    pid = int(face.stdout.readline())
    face.kill()
    face.wait()
    deadline = time.monotonic() + 120
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


def start(**change: Any) -> dict[str, Any]:
    return load_lessons()["what-is-ai"].file.start() | change
