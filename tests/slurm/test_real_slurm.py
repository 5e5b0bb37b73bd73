"""Forge under a real Slurm: whatever ends its jobs, the run ends with the weights of one that nobody disturbed.

The scenarios are jobs side by side in one Slurm, for each waits most of its time. The last one kills the controller,
which is everybody's, and so comes alone.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from slurm.cluster import Cluster, missing, wait_for
from support import ROOT, forge, only_run, result, write_config

why_not = missing() or ("" if os.environ.get("FORGE_FULL") else "takes five minutes: make survive, or FORGE_FULL=1")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_not), reason=why_not)]

SCRIPT = ROOT / "run_training.sh"
STEPS = 50
RUN = {
    "assets": "embedded",
    "train": {"max_steps": STEPS, "batch_size": 16, "num_workers": 0},
    "evaluate": {"every": 25, "max_examples": 32},
    "checkpoint": {"every": 10},
    "log": {"every": 5},
}
SMALL = ["--cpus-per-task=1", "--mem=100"]


class Lab:
    """A Slurm, and runs in it."""

    def __init__(self, cluster: Cluster, folder: Path, expected: dict[str, Any]) -> None:
        self.cluster, self.folder, self.expected = cluster, folder, expected
        # torchrun (-m) starts its processes with the real Python, so several processes run at their own speed.
        slowly = f'[ "$1" = -m ] && exec {sys.executable} "$@"\nexec {sys.executable} {ROOT}/tests/slurm/slow.py "$@"'
        self.python = self.program("python", slowly)
        self.stand_in = self.program("stand_in", f'exec {sys.executable} {ROOT}/tests/slurm/stand_in.py "$@"')

    def program(self, name: str, body: str) -> Path:
        path = self.folder / "programs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return path

    def submit(
        self, name: str, *options: str, pace: float = 1.0, settings: Sequence[str] = (), **environment: str
    ) -> int:
        """A job that trains the tiny run, in a folder of its name."""
        config = write_config(self.folder / name, RUN)
        given = {"FORGE_PYTHON": str(self.python), "PACE": str(pace), "OMP_NUM_THREADS": "1"} | environment
        words = ["-J", name, *SMALL, *options]
        return self.cluster.submit(SCRIPT, config, *settings, options=words, environment=given)

    def submit_stand_in(self, name: str, life: str, *options: str) -> int:
        return self.submit(
            name,
            *options,
            FORGE_PYTHON=str(self.stand_in),
            STAND_IN=life,
            STAND_IN_RUN=str(self.folder / name / "r" / "1-a"),
        )

    def lives(self, name: str) -> list[dict[str, Any]]:
        found = [path for path in (self.folder / name).rglob("run_metadata.json") if not path.parent.is_symlink()]
        return json.loads(found[0].read_text())["lives"] if found else []

    def wait_trained(self, name: str, seconds: float = 90) -> None:
        """Until the run has a checkpoint."""
        wait_for(lambda: any((self.folder / name).rglob("checkpoint-*/manifest.json")), seconds, lambda: name)

    def log(self, job: int) -> str:
        path = self.cluster.folder / f"forge-{job}.out"
        return path.read_text() if path.exists() else ""

    def ends(self, job: int, seconds: float = 300) -> None:
        """The job ends well. A job that is being requeued shows TIMEOUT for a moment, so a bad end must last.

        Slurm looks at limits every 30 seconds; a job that leaves with 0 in between, past its limit, stays a TIMEOUT.
        """
        bad = {"FAILED", "CANCELLED", "TIMEOUT"}
        facts = self.cluster.wait_state(job, {"COMPLETED", *bad}, seconds)
        while facts["JobState"] in bad:
            time.sleep(25)
            later = self.cluster.facts(job)
            if (later["JobState"], later["ExitCode"]) == ("TIMEOUT", "0:0"):
                return
            assert later["JobState"] not in bad, f"{later}\n{self.log(job)}"
            facts = self.cluster.wait_state(job, {"COMPLETED", *bad}, seconds)

    def completes(self, job: int, name: str, seconds: float = 300) -> str:
        """The job ends well, and the run as if nothing had happened. Says how many lives that took."""
        self.ends(job, seconds)
        same(only_run(self.folder / name), self.expected)
        return f"{len(self.lives(name))} lives"


def same(run: Path, expected: dict[str, Any]) -> None:
    got = result(run)
    for key, value in expected.items():
        assert got[key] == value, key


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("slurm")
    assert forge("--config", write_config(folder / "calm", RUN)) == 0
    (folder / "cluster").mkdir()
    with (Path(tempfile.gettempdir()) / "forge-test-slurm.lock").open("w") as lock:  # its ports are this machine's
        fcntl.flock(lock, fcntl.LOCK_EX)
        cluster = Cluster(folder / "cluster")
        try:
            yield Lab(cluster, folder, result(only_run(folder / "calm")))
        finally:
            cluster.stop()


def early_signal(lab: Lab) -> str:
    """Warned before the end of a minute, requeue, resume; the log keeps every life.

    Slurm sends the signal 25 to 55 seconds into the minute, for it looks every 30; where it comes late, the trainer
    has left by its own knowledge of the end.
    """
    job = lab.submit("early_signal", "--time=1", "--signal=B:USR1@5", pace=1.6)
    said = lab.completes(job, "early_signal")
    lives = lab.lives("early_signal")
    assert len(lives) >= 3, lives
    log = lab.log(job)
    assert log.count("goes back into the queue") == len(lives) - 1, log
    assert log.count("training continues after step") >= len(lives) - 2, log
    assert int(lab.cluster.facts(job)["Restarts"]) == len(lives) - 1
    return said


def time_limit(lab: Lab) -> str:
    """No early signal, and a trainer that cannot learn when its job ends: the TERM at the limit is all it gets."""
    blind = lab.program("blind/squeue", "exit 1")
    path = f"{blind.parent}:{lab.cluster.environment['PATH']}"
    job = lab.submit("time_limit", "--time=1", "--signal=B:CONT@1", pace=1.8, PATH=path)
    said = lab.completes(job, "time_limit")
    first = lab.lives("time_limit")[0]["why"]
    assert "SIGTERM" in first, first
    return said


def preemption(lab: Lab) -> str:
    """A job of a higher partition takes the node, and gives it back."""
    job = lab.submit("preempted", "--time=30", "--partition=low")
    lab.wait_trained("preempted")
    lab.submit_stand_in("preempting", "0", "--time=1", "--partition=high")
    said = lab.completes(job, "preempted")
    assert len(lab.lives("preempted")) == 2
    return said


def cancelled(lab: Lab) -> str:
    """scancel ends the job for good, with everything saved; the next job ends the run."""
    job = lab.submit("cancelled", "--time=30")
    lab.wait_trained("cancelled")
    lab.cluster.call("scancel", str(job))
    wait_for(lambda: "the job was cancelled: not requeued" in lab.log(job), 30, lambda: lab.log(job))
    time.sleep(20)  # longer than a requeue takes
    assert lab.cluster.facts(job)["JobState"] == "CANCELLED"
    assert lab.cluster.facts(job)["Restarts"] == "0"
    return lab.completes(lab.submit("cancelled", "--time=30", pace=0), "cancelled")


def array(lab: Lab) -> str:
    """Each task takes its configuration; one that saves goes back alone while the other is done."""
    long, short = (write_config(lab.folder / name, RUN) for name in ("task_0", "task_1"))
    environment = {"FORGE_PYTHON": str(lab.python), "PACE": "0.8", "OMP_NUM_THREADS": "1"}
    options = ["--array=0-1", "--time=30", *SMALL]
    job = lab.cluster.submit(SCRIPT, long, short, options=options, environment=environment)
    for name in ("task_0", "task_1"):
        lab.wait_trained(name)
    lab.cluster.call("scancel", "--batch", "--signal=USR1", f"{job}_0")
    for name in ("task_0", "task_1"):
        wait_for(lambda name=name: "completed" in str(lab.lives(name)[-1]["why"]), 200, lambda: lab.log(job))
        same(only_run(lab.folder / name), lab.expected)
    assert (len(lab.lives("task_0")), len(lab.lives("task_1"))) == (2, 1)
    return "2 lives and 1"


def two_nodes(lab: Lab) -> str:
    """torchrun on two nodes saves when told to. Then one node dies, and Slurm starts the job again when it is back."""
    settings = ["train.max_steps=1500", "checkpoint.every=100", "evaluate.every=500", "log.every=50"]
    place = ["--time=30", "--partition=pair", "--nodes=2"]
    job = lab.submit("two_nodes", *place, settings=settings, FORGE_PROCESSES="1", FORGE_HEAD="127.0.0.1")
    lab.wait_trained("two_nodes")
    lab.cluster.call("scancel", "--batch", "--signal=USR1", str(job))
    wait_for(lambda: len(lab.lives("two_nodes")) == 2, 120, lambda: lab.log(job))
    assert lab.lives("two_nodes")[0]["why"].startswith("stopped after")  # whichever rank heard first
    lab.cluster.kill_node("n4")
    wait_for(lambda: int(lab.cluster.facts(job)["Restarts"]) == 2, 90, lambda: lab.log(job))
    lab.cluster.start_node("n4")
    lab.ends(job)
    state = json.loads((only_run(lab.folder / "two_nodes") / "training_state.json").read_text())
    assert (state["status"], state["step"]) == ("completed", 1500)
    return f"{len(lab.lives('two_nodes'))} lives"


def crash_loop(lab: Lab) -> str:
    """Saved, it says, and never gets any further: three lives are enough."""
    job = lab.submit_stand_in("crash_loop", "75", "--time=30")
    wait_for(lambda: "3 lives in a row ended without a new checkpoint" in lab.log(job), 120)
    time.sleep(20)
    facts = lab.cluster.facts(job)
    assert (facts["JobState"], facts["ExitCode"], facts["Restarts"]) == ("FAILED", "75:0", "2")
    return "stopped after 3 lives"


def bad_input(lab: Lab) -> str:
    """A configuration that is wrong stays wrong."""
    config = write_config(lab.folder / "bad_input", {"train": {"max_steps": -1}})
    job = lab.cluster.submit(
        SCRIPT, config, options=["--time=30", *SMALL], environment={"FORGE_PYTHON": sys.executable}
    )
    facts = lab.cluster.wait_state(job, {"FAILED", "COMPLETED"}, 60)
    time.sleep(20)
    assert (facts["ExitCode"], lab.cluster.facts(job)["Restarts"]) == ("2:0", "0")
    return "1 life"


SCENARIOS: list[Callable[[Lab], str]] = [
    early_signal,
    time_limit,
    preemption,
    cancelled,
    array,
    two_nodes,
    crash_loop,
    bad_input,
]


def controller(lab: Lab) -> str:
    """slurmctld dies; the job lives on, or starts again without a word."""
    job = lab.submit("controller", "--time=30", pace=0.3)
    lab.wait_trained("controller")
    lab.cluster.kill_controller()
    time.sleep(2)
    lab.cluster.start_controller()
    return lab.completes(job, "controller")


def test_a_run_survives_what_slurm_does_to_it(lab: Lab) -> None:
    """One test, so that parallel workers do not start a Slurm each."""

    def judge(scenario: Callable[[Lab], str]) -> tuple[bool, str]:
        began = time.monotonic()
        try:
            said = scenario(lab)
        except Exception as error:  # every other scenario is still to be heard
            return False, f"{scenario.__name__}: {type(error).__name__}: {error}"
        return True, f"{scenario.__name__}: {said}, {time.monotonic() - began:.0f} s"

    with ThreadPoolExecutor(len(SCENARIOS)) as pool:
        judged = list(pool.map(judge, SCENARIOS))
    judged.append(judge(controller))
    print("\n".join(line for _, line in judged))
    assert all(good for good, _ in judged), "\n\n".join(line for good, line in judged if not good)
    processes = lab.cluster.processes_of_jobs
    wait_for(lambda: not processes(), 15, lambda: f"left behind: {processes()}")
