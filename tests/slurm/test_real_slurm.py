"""Forge under a real Slurm: whatever ends its jobs, the run ends with the weights of one that nobody disturbed.

The scenarios are jobs side by side in one Slurm, for each waits most of its time: limits are whole minutes, which Slurm
looks at every 30 seconds. The one that kills the controller has a Slurm of its own. Waits are long, for machines that
have other work too; what is asserted does not depend on them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from slurm.cluster import REQUEUE_SECONDS, Cluster, missing, wait_for
from support import ROOT, only_run, result, write_config

pytestmark = [pytest.mark.slow, pytest.mark.first, pytest.mark.skipif(bool(missing()), reason=missing())]

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
PATIENCE = 400.0  # seconds; a quiet machine needs a third of it


class Lab:
    """A Slurm, and runs in it."""

    def __init__(self, cluster: Cluster, folder: Path, expected: dict[str, Any], minutes: int) -> None:
        self.cluster, self.folder, self.expected, self.minutes = cluster, folder, expected, minutes
        slowly = f'[ "$1" = -m ] && exec {sys.executable} "$@"\nexec {sys.executable} {ROOT}/tests/slurm/slow.py "$@"'
        self.python = self.program("python", slowly)
        self.stand_in = self.program("stand_in", f'exec {sys.executable} {ROOT}/tests/slurm/stand_in.py "$@"')

    def program(self, name: str, body: str) -> Path:
        path = self.folder / "programs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return path

    def instead_of(self, program: str, body: str) -> str:
        """A PATH on which a program is another one."""
        return f"{self.program(f'{program}.d/{program}', body).parent}:{self.cluster.environment['PATH']}"

    def submit(
        self, name: str, *options: str, pace: str = "1 0", configs: Sequence[Path] = (), **environment: str
    ) -> int:
        """A job that trains the tiny run, in a folder of its name, or several."""
        configs = configs or [write_config(self.folder / name, RUN)]
        given = {"FORGE_PYTHON": str(self.python), "PYTHON_EXEC": str(self.python)}
        given |= {"PACE": pace, "PACE_LIVES": str(self.folder / f"{name}.lives"), "OMP_NUM_THREADS": "1"}
        words = ["-J", name, *SMALL, *options]
        return self.cluster.submit(SCRIPT, *configs, options=words, environment=given | environment)

    def submit_stand_in(self, name: str, life: str, *options: str, **environment: str) -> int:
        run = str(self.folder / name / "r" / "1-a")
        return self.submit(
            name, *options, FORGE_PYTHON=str(self.stand_in), STAND_IN=life, STAND_IN_RUN=run, **environment
        )

    def lives(self, name: str) -> list[dict[str, Any]]:
        found = [path for path in (self.folder / name).rglob("run_metadata.json") if not path.parent.is_symlink()]
        return json.loads(found[0].read_text())["lives"] if found else []

    def completed(self, name: str) -> bool:
        """Whether the run says so; its state is what it writes last."""
        return json.loads((only_run(self.folder / name) / "training_state.json").read_text())["status"] == "completed"

    def wait_trained(self, name: str, seconds: float = PATIENCE) -> None:
        """Until the run has a checkpoint."""
        wait_for(lambda: any((self.folder / name).rglob("checkpoint-*/manifest.json")), seconds, lambda: name)

    def log(self, job: int) -> str:
        path = self.cluster.folder / f"forge-{job}.out"
        return path.read_text() if path.exists() else ""

    def ends(self, job: int, seconds: float = PATIENCE) -> None:
        """The job ends well. A job that is being requeued shows TIMEOUT for a moment, so a bad end must last.

        Slurm looks at limits every 30 seconds; a job that leaves with 0 in between, past its limit, stays a TIMEOUT.
        """
        bad = {"FAILED", "CANCELLED", "TIMEOUT"}
        facts = self.cluster.wait_state(job, {"COMPLETED", *bad}, seconds)
        while facts["JobState"] in bad:
            time.sleep(REQUEUE_SECONDS + 10)
            later = self.cluster.facts(job)
            if (later["JobState"], later["ExitCode"]) == ("TIMEOUT", "0:0"):
                return
            assert later["JobState"] not in bad, f"{later}\n{self.log(job)}"
            facts = self.cluster.wait_state(job, {"COMPLETED", *bad}, seconds)

    def completes(self, job: int, name: str) -> str:
        """The job ends well, and the run as if nothing had happened. Says how many lives that took."""
        self.ends(job)
        same(only_run(self.folder / name), self.expected)
        return f"{len(self.lives(name))} lives"


def same(run: Path, expected: dict[str, Any]) -> None:
    got = result(run)
    for key, value in expected.items():
        assert got[key] == value, key


def undisturbed(folder: Path) -> dict[str, Any]:
    """What a run of one process comes to that nobody disturbs."""
    words = [sys.executable, "forge.py", "--config", str(write_config(folder, RUN))]
    subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return result(only_run(folder))


@pytest.fixture
def labs(tmp_path: Path) -> Iterator[tuple[Lab, Lab]]:
    """One Slurm for all, and one whose controller may be killed."""
    began = time.monotonic()
    expected = undisturbed(tmp_path / "undisturbed")
    minutes = 1 if time.monotonic() - began < 20 else 2  # a life must come to training
    with ExitStack() as stack:
        common = Cluster(tmp_path / "cluster")
        stack.callback(common.stop)
        alone = Cluster(tmp_path / "alone", {"a1": 2}, "PartitionName=main Nodes=a1 Default=YES State=UP")
        stack.callback(alone.stop)
        yield Lab(common, tmp_path, expected, minutes), Lab(alone, tmp_path, expected, minutes)


def early_signal(lab: Lab) -> str:
    """Warned before the limit, requeue, resume, three lives at least; the log keeps every one.

    Slurm sends the signal 5 to 35 seconds before the limit, to the first life; the second gets one sooner. The trainer
    cannot learn when its job ends.
    """
    blind = lab.instead_of("squeue", "exit 1")
    pace = f"{2.2 * lab.minutes} {2.2 * lab.minutes} 0"
    job = lab.submit("early_signal", f"--time={lab.minutes}", "--signal=B:USR1@5", pace=pace, PATH=blind)
    wait_for(lambda: "training continues after step" in lab.log(job), PATIENCE, lambda: lab.log(job))
    with suppress(AssertionError):  # Slurm may have sent its own meanwhile
        lab.cluster.call("scancel", "--batch", "--signal=USR1", str(job))
    said = lab.completes(job, "early_signal")
    lives = lab.lives("early_signal")
    assert len(lives) >= 3, lives
    assert all("SIGUSR1" in life["why"] for life in lives[:-1]), lives
    log = lab.log(job)
    assert log.count("plan: 50 steps") == len(lives), log
    assert log.count("goes back into the queue") == int(lab.cluster.facts(job)["Restarts"]) >= len(lives) - 1, log
    return said


def time_limit(lab: Lab) -> str:
    """No early signal, and a trainer that cannot learn when its job ends: the TERM at the limit is all it gets."""
    blind = lab.instead_of("squeue", "exit 1")
    job = lab.submit("time_limit", "--time=1", "--signal=B:CONT@1", pace="2 0", PATH=blind)
    said = lab.completes(job, "time_limit")
    first = lab.lives("time_limit")[0]["why"]
    assert "SIGTERM" in first, first
    return said


def own_knowledge(lab: Lab) -> str:
    """No signal before the limit, but the trainer knows when its job ends, and leaves in time."""
    job = lab.submit("own_knowledge", "--time=2", "--signal=B:CONT@1", pace="2.5 0")
    said = lab.completes(job, "own_knowledge")
    first = lab.lives("own_knowledge")[0]["why"]
    assert "time limit is near" in first, first
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
    wait_for(lambda: "the job was cancelled: not requeued" in lab.log(job), PATIENCE, lambda: lab.log(job))
    time.sleep(REQUEUE_SECONDS + 8)
    assert lab.cluster.facts(job)["JobState"] == "CANCELLED"
    assert lab.cluster.facts(job)["Restarts"] == "0"
    return lab.completes(lab.submit("cancelled", "--time=30", pace="0"), "cancelled")


def array(lab: Lab) -> str:
    """Each task takes its configuration; one that saves goes back alone while the other is done."""
    long, short = (write_config(lab.folder / name, RUN) for name in ("task_0", "task_1"))
    job = lab.submit("array", "--array=0-1", "--time=30", pace="1.4 0", configs=[long, short])
    for name in ("task_0", "task_1"):
        lab.wait_trained(name)
    lab.cluster.call("scancel", "--batch", "--signal=USR1", f"{job}_0")
    for name in ("task_0", "task_1"):
        wait_for(lambda name=name: lab.completed(name), PATIENCE, lambda: lab.log(job))
        same(only_run(lab.folder / name), lab.expected)
    assert (len(lab.lives("task_0")), len(lab.lives("task_1"))) == (2, 1)
    return "2 lives and 1"


def two_nodes(lab: Lab) -> str:
    """torchrun on two nodes saves when told to. Then one node dies, and Slurm starts the job again when it is back."""
    place = ["--time=30", "--nodes=2"]
    several = {"FORGE_PROCESSES": "1", "FORGE_HEAD": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    job = lab.submit("two_nodes", *place, "--partition=pair", pace="1 1 0", **several)
    lab.wait_trained("two_nodes")
    lab.cluster.call("scancel", "--batch", "--signal=USR1", str(job))
    wait_for(lambda: "training continues after step" in lab.log(job), PATIENCE, lambda: lab.log(job))
    time.sleep(2)
    assert lab.lives("two_nodes")[0]["why"].startswith("stopped after")  # whichever rank heard first
    lab.cluster.kill_node("n4")
    calm = lab.submit("two_calm_nodes", *place, "--partition=calm", pace="0", **several)
    wait_for(lambda: int(lab.cluster.facts(job)["Restarts"]) == 2, PATIENCE, lambda: lab.log(job))
    lab.cluster.start_node("n4")
    lab.ends(job)
    lab.ends(calm)
    lives = len(lab.lives("two_nodes"))
    assert lives >= 3
    assert len(lab.lives("two_calm_nodes")) == 1
    same(only_run(lab.folder / "two_nodes"), result(only_run(lab.folder / "two_calm_nodes")))
    return f"{lives} lives"


def crash_loop(lab: Lab) -> str:
    """Saved, it says, and never gets any further: three lives are enough."""
    job = lab.submit_stand_in("crash_loop", "75", "--time=30")
    wait_for(lambda: "3 lives in a row ended without a new checkpoint" in lab.log(job), PATIENCE)
    time.sleep(REQUEUE_SECONDS + 8)
    facts = lab.cluster.facts(job)
    assert (facts["JobState"], facts["ExitCode"], facts["Restarts"]) == ("FAILED", "75:0", "2")
    return "stopped after 3 lives"


def bad_input(lab: Lab) -> str:
    """A configuration that is wrong stays wrong."""
    config = write_config(lab.folder / "bad_input", {"train": {"max_steps": -1}})
    job = lab.cluster.submit(
        SCRIPT, config, options=["--time=30", *SMALL], environment={"FORGE_PYTHON": sys.executable}
    )
    facts = lab.cluster.wait_state(job, {"FAILED", "COMPLETED"}, PATIENCE)
    time.sleep(REQUEUE_SECONDS + 8)
    assert (facts["ExitCode"], lab.cluster.facts(job)["Restarts"]) == ("2:0", "0")
    return "1 life"


def submitted_again(lab: Lab) -> str:
    """Where a requeue is refused, the new job asks for what the old one had; three idle lives are enough here too."""
    refusing = lab.instead_of("scontrol", f'[ "$1" != requeue ] && exec {shutil.which("scontrol")} "$@"; exit 1')
    options = ["--time=7", "--partition=other", "--constraint=small", "--gres=toy:1", "--output=again-%j.log"]
    first = lab.submit_stand_in("submitted_again", "75", *options, PATH=refusing)
    log = lab.cluster.folder / f"again-{first}.log"
    wait_for(lambda: log.exists() and "3 lives in a row" in log.read_text(), PATIENCE)
    jobs = [first, *(int(job) for job in re.findall(r"; job (\d+) continues the run", log.read_text()))]
    assert len(jobs) == 3, log.read_text()
    shapes = [lab.cluster.facts(job) for job in jobs]
    for name in ("JobName", "Partition", "TimeLimit", "Features", "TresPerNode", "StdOut", *SIZES):
        assert len({shape[name] for shape in shapes}) == 1, (name, shapes)
    return "3 jobs of one shape"


SIZES = ("NumNodes", "NumCPUs", "CPUs/Task", "MinMemoryNode", "TRES")
SCENARIOS: list[Callable[[Lab], str]] = [
    *(early_signal, time_limit, two_nodes, own_knowledge, array, preemption, cancelled),
    *(crash_loop, submitted_again, bad_input),
]


def controller(lab: Lab) -> str:
    """slurmctld dies; the job lives on, or starts again without a word."""
    job = lab.submit("controller", "--time=30", pace="0.5")
    lab.wait_trained("controller")
    lab.cluster.kill_controller()
    time.sleep(2)
    lab.cluster.start_controller()
    return lab.completes(job, "controller")


def judge(scenario: Callable[[Lab], str], lab: Lab, turn: int) -> tuple[bool, str]:
    """Whether it went well, and what to say of it. They start a little apart, for each begins with heavy imports."""
    time.sleep(3 * turn)
    began = time.monotonic()
    try:
        said = scenario(lab)
    except Exception as error:  # every other scenario is still to be heard
        return False, f"{scenario.__name__}: {type(error).__name__}: {error}"
    return True, f"{scenario.__name__}: {said}, {time.monotonic() - began:.0f} s"


def test_a_run_survives_what_slurm_does_to_it(labs: tuple[Lab, Lab]) -> None:
    """One test, so that parallel workers do not start a Slurm each."""
    common, alone = labs
    work = [(scenario, common) for scenario in SCENARIOS] + [(controller, alone)]
    with ThreadPoolExecutor(len(work)) as pool:
        judged = [pool.submit(judge, scenario, lab, turn) for turn, (scenario, lab) in enumerate(work)]
    print("\n".join(done.result()[1] for done in judged))
    assert all(done.result()[0] for done in judged), "\n\n".join(
        said for good, said in (done.result() for done in judged) if not good
    )
    for lab in labs:
        processes = lab.cluster.processes_of_jobs
        wait_for(lambda find=processes: not find(), 15, lambda find=processes: f"left behind: {find()}")
