"""One piece of a study's work, done in the process that calls: a run that comes first, the measurement of weights, the
teacher's cache, or a cell. Doing it again does nothing, or only what is missing.
"""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import dataclass
from typing import Any

from forge.assemble import fill_cache, train
from forge.core.errors import CheckpointError, ForgeError
from forge.core.events import Evaluated, Event
from forge.core.manifest import checkpoint_names
from forge.preflight import Preflight, preflight
from forge.runs.run_dir import RunDirectory
from forge.study.asking import teacher_answers
from forge.study.matching import matched_weights
from forge.study.plan import COMBINE, Job, Plan, Weights
from forge.study.store import ANSWERS, EXAMPLES, Examples, Store, read_examples, write_examples
from forge.tasks.metrics import classification
from forge.train.signals import StopRequest

CACHE = "teacher_cache"


@dataclass(frozen=True)
class KeepExamples:
    """A sink: what of each test example decides, and which label it was given, kept in the run's directory before the
    run counts as complete.
    """

    run: RunDirectory
    figure: str
    split: str

    def __call__(self, event: Event) -> None:
        """Keep the sums of the split that decides."""
        if not (isinstance(event, Evaluated) and event.final and event.split == self.split):
            return
        for name, file in ((classification.ANSWERS, ANSWERS), (self.figure, EXAMPLES)):
            if name in event.rows:
                write_examples(self.run.path / file, event.rows[name]())


def run_first(plan: Plan, which: str, stop: StopRequest) -> None:
    """Train the run that teaches, or that cells start from, unless it is complete."""
    _train_once(preflight(plan.first(which)), stop)


def run_matching(plan: Plan, stop: StopRequest) -> None:
    """Measure the weights of losses and write them down."""
    resolved = plan.matching()
    found = preflight(resolved)
    _train_once(found, stop)
    settings = resolved.settings
    losses = {name: loss.weight for name, loss in settings.distill.losses().items()}
    measured = matched_weights(found.run, losses, settings.alpha, settings.glyphs.alone_steps)
    store = Store(plan.folder)
    store.keep_weights({"identity": resolved.digest()} | measured)
    _tidy("none", found.run)


def run_cache(plan: Plan) -> None:
    """Fill the cache that all cells with the teacher read, so that none waits for another that fills it."""
    resolved = plan.matching()
    fill_cache(preflight(resolved), lambda line: print(line, flush=True))  # noqa: T201  its process's log
    Store(plan.folder).mark_done(CACHE, resolved.digest())


def run_cell(plan: Plan, job: Job, weights: Weights | None, stop: StopRequest) -> None:
    """Train a cell, and write down what it came to."""
    began, used = time.monotonic(), time.process_time()
    found, outcome = preflight(plan.resolved(job, weights)), plan.study.outcome
    run = found.run
    # A run that is complete without its examples is opened again: it measures its result, and trains nothing.
    if not run.completed or (outcome.figure in COMBINE and _examples(run) is None):
        if run.completed and not any(run.path.glob("checkpoint-*")):
            raise CheckpointError(
                f"{run.path}  is complete, but its result and checkpoints are gone; delete it to train it anew"
            )
        train(found, sys.argv, stop, [KeepExamples(run, outcome.figure, outcome.split)])
    spent = {"cpu_seconds": time.process_time() - used, "wall_seconds": time.monotonic() - began}
    examples = _examples(run) if outcome.figure in COMBINE else None
    answers = read_examples(run.path / ANSWERS)
    Store(plan.folder).keep_result(job.name, _record(plan, job, weights, run) | spent, examples, answers)
    if answers is not None:
        ask_teacher(plan)
    _tidy(plan.study.keep, run)


def ask_teacher(plan: Plan) -> None:
    """Keep what the teacher answers on the split that decides, unless that is known.

    It describes and decides nothing, so a teacher that cannot be asked here costs no cell its result.
    """
    identity, store = plan.answers_identity, Store(plan.folder)
    if identity is None or store.teacher_answers(identity) is not None:
        return
    try:
        store.keep_teacher_answers(identity, teacher_answers(preflight(plan.teaching()), plan.study.outcome.split))
    except ForgeError as error:
        print(f"the teacher's answers are not known: {error}", flush=True)  # noqa: T201  its process's log


def _train_once(found: Preflight, stop: StopRequest) -> None:
    if not found.run.completed_with(found.resolved.settings.checkpoint.average):
        train(found, sys.argv, stop)


def _examples(run: RunDirectory) -> Examples | None:
    return read_examples(run.path / EXAMPLES)


def _record(plan: Plan, job: Job, weights: Weights | None, run: RunDirectory) -> dict[str, Any]:
    """What a result says beside its examples."""
    state, lives = run.state(), run.metadata()["lives"]
    return {
        "identity": plan.identity(job, weights),
        "cell": dict(job.cell.levels),
        "control": job.cell.control,
        "seed": job.seed,
        "run": str(run.path),
        "lives": len(lives),
        "steps": state["step"],
        "test": state["test"],
        "validation": state["validation"],
    }


def _tidy(keep: str, run: RunDirectory) -> None:
    """Delete the checkpoints that nobody asked to keep: what was to be measured with them is written down."""
    if keep == "all":
        return
    kept = checkpoint_names(run.state())["best"] if keep == "best" else None
    for folder in run.path.glob("checkpoint-*"):
        if folder.is_dir() and folder.name != kept:
            shutil.rmtree(folder, ignore_errors=True)
