"""A study on Slurm: one array, in which every task is a cell with a seed. No torch before a cell runs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from forge.core.errors import EXIT_DONE, UserError
from forge.core.io import read_json, storage_errors, write_json
from forge.study.course import CELL, Course
from forge.study.plan import Job, Plan, run_of
from forge.study.pool import Task
from forge.study.store import Store
from forge.study.work import known_weights, work

FROZEN = "cells.json"
SCRIPT = "run_training.sh"
ASKING_SECONDS = 120.0


def freeze(plan: Plan, seeds: Sequence[int]) -> list[Job]:
    """Index → cell and seed: a list that is written once, and only ever grows at its end.

    Raises UserError where the study has other cells than when it was frozen.
    """
    path, wanted = plan.folder / FROZEN, plan.jobs(seeds)
    known = frozen(plan) if path.is_file() else []
    lost = [job.shown for job in known if job not in wanted]
    if lost:
        raise UserError(f"{path}  has cells that the study no longer has, such as {lost[0]}; delete it to begin anew")
    jobs = known + [job for job in wanted if job not in known]
    if jobs != known:
        rows = [{"cell": job.cell.name, "seed": job.seed} for job in jobs]
        with storage_errors(f"writing {FROZEN}"):
            plan.folder.mkdir(parents=True, exist_ok=True)
            write_json(path, {"study": plan.file.name, "jobs": rows})
    return jobs


def frozen(plan: Plan) -> list[Job]:
    """The list as it was written. Raises UserError where it is not there or cannot be read."""
    path = plan.folder / FROZEN
    try:
        rows: list[dict[str, Any]] = read_json(path)["jobs"]
        cells = {cell.name: cell for cell in plan.cells}
        return [Job(cells[row["cell"]], int(row["seed"])) for row in rows]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path}  cannot be read; `study submit` writes it ({type(error).__name__}: {error})"
        ) from error


def run_index(config: str, plan: Plan, overrides: tuple[str, ...], index: int) -> int:
    """Do one cell of the frozen list in this process; the exit code. Raises ForgeError."""
    job = _job(plan, index)
    identity = plan.identity(job, known_weights(plan))
    if Store(plan.folder).result(job.name, identity):
        print(f"done before: {job.shown}", flush=True)  # noqa: T201
        return EXIT_DONE
    work(Task(config, overrides, CELL, job.name, identity, job.cell.name, job.seed))
    print(f"done: {job.shown}", flush=True)  # noqa: T201
    return EXIT_DONE


def where_is(plan: Plan, index: int) -> Path:
    """The directory of a cell's run."""
    return run_of(plan.resolved(_job(plan, index), known_weights(plan)))


def _job(plan: Plan, index: int) -> Job:
    jobs = frozen(plan)
    if index >= len(jobs):
        raise UserError(f"--index: {index} is none of the {len(jobs)} cells of {plan.folder / FROZEN}, counted from 0")
    return jobs[index]


def submit(config: str, course: Course, at_once: int | None, flags: Sequence[str]) -> list[str]:
    """Hand what is not done to Slurm; what was submitted. An array of cells waits for a job with what comes first."""
    jobs = freeze(course.plan, course.seeds)
    script, words = _script(), [config, *course.overrides]
    said, waits = [], []
    if not course.prepared:
        first = _sbatch([*flags, str(script), "study", *words])
        waits = [f"--dependency=afterok:{first}", "--kill-on-invalid-dep=yes"]
        said.append(f"job {first}: {', '.join(one.task.name for one in course.before.values() if not one.done)}")
    done = {name for name, standing in course.cells.items() if standing.done}
    left = [number for number, job in enumerate(jobs) if job.name not in done]
    if not left:
        return [f"{course.name}: all {len(jobs)} cells are done"]
    array = f"--array={ranges(left)}" + (f"%{at_once}" if at_once else "")
    number = _sbatch([*waits, array, *flags, str(script), "study", *words])
    return [*said, f"job {number}: {len(left)} of {len(jobs)} cells, {array}"]


def ranges(numbers: Sequence[int]) -> str:
    """Rising numbers as Slurm writes them: 0-3,7."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and parts[-1][-1] == number - 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


def _script() -> Path:
    path = Path(os.environ.get("FORGE_ROOT", Path(__file__).parents[2])) / SCRIPT
    if not path.is_file():
        raise UserError(f"{path}  is not there; submit from a checkout, or set FORGE_ROOT to it")
    return path


def _sbatch(words: Sequence[str]) -> int:
    """Submit a job; its number."""
    command = ["sbatch", "--parsable", *words]
    try:
        done = subprocess.run(  # noqa: S603  the user's own flags
            command, capture_output=True, text=True, timeout=ASKING_SECONDS, check=False
        )
    except FileNotFoundError:
        raise UserError("sbatch is not on the PATH: submit where Slurm is, or use `study run` here") from None
    except subprocess.TimeoutExpired:
        raise UserError(
            f"sbatch gave no answer in {ASKING_SECONDS:.0f} s; look with squeue before submitting again"
        ) from None
    number = done.stdout.strip().partition(";")[0]
    if done.returncode or not number.isdigit():
        raise UserError(f"sbatch refused: {' '.join((done.stderr or done.stdout).split())}")
    return int(number)
