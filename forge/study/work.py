"""What a worker does with a task, in its own process: the one place from which the pool reaches torch."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from forge.core.errors import ForgeError, StoppedError, UserError
from forge.runs.lock import is_held
from forge.runs.run_dir import LOCK
from forge.study.plan import Job, Plan, Weights, load_plan, run_of
from forge.study.pool import BUSY, Task
from forge.study.store import Store
from forge.train.signals import StopRequest, listening


def work(task: Task) -> None:
    """Do it. A failure is written down with its traceback, and raised."""
    with listening() as stop:
        plan = load_plan(task.config, task.overrides)
        with _failures(plan, task):
            do(plan, task, stop)


def do(plan: Plan, task: Task, stop: StopRequest) -> None:
    """Do what a task says."""
    from forge.study import job

    match task.kind:
        case "cell":
            found, weights = _cell(plan, task), known_weights(plan)
            if plan.identity(found, weights) != task.identity:
                raise UserError(f"{task.config}  was changed while the study ran; start it again")
            job.run_cell(plan, found, weights, stop)
        case "matching":
            job.run_matching(plan, stop)
        case "teacher_cache":
            job.run_cache(plan)
        case which:
            job.run_first(plan, which, stop)


def known_weights(plan: Plan) -> Weights | None:
    """The weights that were measured; None where none are asked for. Raises UserError where they are missing."""
    if not (plan.study.match_gradients and plan.losses()):
        return None
    weights = Store(plan.folder).weights(plan.matching().digest())
    if weights is None:
        raise UserError(f"{plan.folder}  has no weights yet; prepare the study with `study run --prepare`")
    return weights


def _in_other_hands(plan: Plan, task: Task) -> bool:
    """Whether another process has the run that a task trains."""
    try:
        match task.kind:
            case "cell":
                resolved = plan.resolved(_cell(plan, task), known_weights(plan))
            case "teacher_cache":
                return False
            case "matching":
                resolved = plan.matching()
            case which:
                resolved = plan.first(which)
        return is_held(run_of(resolved) / LOCK)
    except ForgeError:
        return False


def _cell(plan: Plan, task: Task) -> Job:
    cell = next(cell for cell in plan.cells if cell.name == task.cell)
    return Job(cell, task.seed)


@contextmanager
def _failures(plan: Plan, task: Task) -> Iterator[None]:
    """Write down what goes wrong inside the block, unless it is that the work is in other hands, or was stopped."""
    try:
        yield
    except StoppedError:
        raise
    except Exception as error:
        if isinstance(error, UserError) and _in_other_hands(plan, task):
            sys.exit(BUSY)
        known = isinstance(error, ForgeError)
        why = str(error).splitlines()[0] if known else f"{type(error).__name__}: {error}"
        code = error.exit_code if isinstance(error, ForgeError) else 1
        Store(plan.folder).keep_failure(task.name, task.identity, code, why, traceback.format_exc())
        raise
