"""A run that does not fit into one job: real processes, sent a real signal, and the weights that come out."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forge.assemble import train
from forge.config import resolve
from forge.core.errors import ForgeError, UserError
from forge.core.events import Event, StepLogged
from forge.inference.classification import load_run
from forge.learn.experiments.base import Live, whole, word
from forge.learn.experiments.training import Shown, run_training
from forge.learn.lessons import ROOT
from forge.learn.questions import Value
from forge.learn.results import Block, Lines, Mark, Result, Series, Table
from forge.preflight import preflight
from forge.runs.run_dir import METRICS, RunDirectory
from forge.runs.sinks import read_metrics
from forge.train.signals import die_with_parent, listening

CONFIG = "configs/classification/embedded_nli/tiny_distilbert/00_sft.yaml"
SCRIPT = ROOT / "run_training.sh"
STEPS = 120
JOBS = "jobs"  # beside the runs that nobody disturbs
WARNED, KILLED = signal.SIGUSR1, signal.SIGKILL


@dataclass(frozen=True)
class Job:
    """One process's life."""

    began: int  # step of the checkpoint that it continued from
    ended: int  # last step that it computed
    saved: int  # step of the newest checkpoint when it was gone
    code: int  # as a shell shows it

    @property
    def lost(self) -> int:
        """Steps that the next one has to compute again."""
        return self.ended - self.saved


def run(controls: Mapping[str, Value], live: Live) -> Result:
    """120 steps in jobs of `job_steps`, each warned or killed at its end, with a checkpoint `every` so many steps."""
    steps, every = whole(controls, "job_steps"), int(word(controls, "every"))
    send = WARNED if word(controls, "notice") == "warned" else KILLED
    live.chart("Steps of the run", "steps computed", "step of the run")
    settings = {
        "data.embedded.difficulty": 0.0,
        "data.embedded.train_size": 1_000,
        "train.learning_rate": 5e-3,
        "train.max_steps": STEPS,
        "evaluate.max_examples": 100,
        "evaluate.every": STEPS,
        "checkpoint.every": every,
        "log.every": 1,
    }
    whole_run = run_training(CONFIG, settings, live, Shown(figure="", end=0.3, note="the run that nobody disturbs"))
    folder = live.folder / JOBS
    words = [*(f"{key}={value}" for key, value in settings.items()), f"run.dir={folder}", "train.threads=1"]
    directory = preflight(resolve(ROOT / CONFIG, words)).run.path
    shutil.rmtree(directory, ignore_errors=True)
    jobs = _jobs(words, directory, steps, send, live)
    finished = jobs[-1].code == 0
    same = finished and fingerprint(directory) == fingerprint(whole_run.path)
    again = sum(job.lost for job in jobs)
    end = f"The run was done after {len(jobs)} job{'s' if len(jobs) > 1 else ''}"
    if not finished:
        end = f"After {len(jobs)} jobs without a new checkpoint the script gives up, as it would on a cluster"
    weights = f" Its weights are {'the same as' if same else 'others than'} those of a run that nobody disturbed."
    return Result(
        said=f"{end}. {again} steps were computed for nothing.{weights if finished else ''}",
        numbers={
            "jobs": len(jobs),
            "again": again,
            "finished": int(finished),
            "same_weights": int(same),
            "computed": sum(job.ended - job.began for job in jobs),
        },
        pictures=[
            _sawtooth(jobs),
            _table(jobs),
            Table(
                title="A fingerprint of the finished weights",
                header=["run", "fingerprint"],
                rows=[
                    ["never disturbed", fingerprint(whole_run.path)],
                    [f"in {len(jobs)} jobs", fingerprint(directory) if finished else "not finished"],
                ],
            ),
            Block(title="What run_training.sh asks Slurm for, if you say nothing else", text=_asked()),
        ],
        command=f"sbatch run_training.sh {CONFIG} {' '.join(words[:-2])}",
    )


def _jobs(words: Sequence[str], directory: Path, steps: int, send: signal.Signals, live: Live) -> list[Job]:
    """Job after job until the run is done, or until as many brought no checkpoint as run_training.sh puts up with."""
    jobs: list[Job] = []
    patience, computed = _patience(), 0
    while True:
        began = jobs[-1].saved if jobs else 0
        live.progress(0.3 + 0.65 * began / STEPS, f"job {len(jobs) + 1} begins after step {began}")
        code = _in_a_process(words, steps, send)
        job = Job(began, _last_step(directory), _newest(directory), code)
        jobs.append(job)
        for step in range(job.began + 1, job.ended + 1):
            computed += 1
            live.point("the run", computed, step)
        idle = [job for job in jobs[-patience:] if job.saved == job.began]
        if code == 0 or len(idle) == patience:
            return jobs
        if code not in {75, 128 + send}:
            raise UserError(f"job {len(jobs)} ended with exit code {code}; see output.log in {directory}")


def _in_a_process(words: Sequence[str], steps: int, send: signal.Signals) -> int:
    """Train in a process of its own, which gets the signal after so many steps of its life; its exit code."""
    if not hasattr(os, "fork"):
        raise UserError("this experiment starts processes as Linux and macOS do; on Windows, run it under WSL")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            die_with_parent()
            code = _life(words, steps, send)
        except BaseException:
            traceback.print_exc()  # into the worker's log
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status if status >= 0 else 128 - status


def _life(words: Sequence[str], steps: int, send: signal.Signals) -> int:
    """What `forge.py --config …` does: the signal is real, and so is what answers it."""
    with listening() as stop:
        try:
            train(preflight(resolve(ROOT / CONFIG, words)), ["forge", "learn"], stop, [_Limit(steps, send)], False)
        except ForgeError as error:
            return error.exit_code
    return 0


class _Limit:
    """A sink in the place of Slurm's clock: when so many steps are done, time is up."""

    def __init__(self, steps: int, send: signal.Signals) -> None:
        self._left, self._send = steps, send

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepLogged):
            self._left -= 1
            if self._left == 0 and event.step < STEPS:
                os.kill(os.getpid(), self._send)


def fingerprint(run: Path) -> str:
    """The first digits of a hash over the weights that a run ended with."""
    found = load_run(RunDirectory(run), "last")
    seen = hashlib.sha256()
    for parameter in found.model.parameters():
        seen.update(parameter.detach().numpy().tobytes())
    return seen.hexdigest()[:8]


def _last_step(directory: Path) -> int:
    records: list[dict[str, Any]] = read_metrics((directory / METRICS).read_text(encoding="utf-8"))
    return max((int(record["step"]) for record in records if record["kind"] == "step"), default=0)


def _newest(directory: Path) -> int:
    return max((int(path.name.rpartition("-")[2]) for path in directory.glob("checkpoint-[0-9]*")), default=0)


def _patience() -> int:
    found = re.search(r"IDLE_LIVES=(\d+)", SCRIPT.read_text(encoding="utf-8"))
    assert found, "run_training.sh says after how many jobs without a checkpoint it gives up"
    return int(found[1])


def _asked() -> str:
    return "\n".join(line for line in SCRIPT.read_text(encoding="utf-8").splitlines() if line.startswith("#SBATCH"))


def _sawtooth(jobs: Sequence[Job]) -> Lines:
    points: list[tuple[float | int, float | int]] = []
    marks, computed = [], 0
    for number, job in enumerate(jobs, 1):
        points += [(computed + done, job.began + done) for done in range(job.ended - job.began + 1)]
        computed += job.ended - job.began
        if job is not jobs[-1]:
            marks.append(Mark(x=computed, label=f"end of job {number}"))
    return Lines(
        title="How far the run was, after all steps that were computed",
        x="steps computed",
        y="step of the run",
        series=[Series(name="the run", points=points)],
        marks=marks,
        low=0,
        high=STEPS,
    )


def _table(jobs: Sequence[Job]) -> Table:
    return Table(
        title="Job after job",
        header=["job", "began after step", "came to step", "newest checkpoint", "steps lost", "exit code"],
        rows=[
            [str(number), str(job.began), str(job.ended), str(job.saved), str(job.lost), _shown(job.code)]
            for number, job in enumerate(jobs, 1)
        ],
    )


def _shown(code: int) -> str:
    meanings = {0: "done", 75: "saved, run me again", 128 + KILLED: "killed"}
    return f"{code}: {meanings.get(code, 'see output.log')}"
