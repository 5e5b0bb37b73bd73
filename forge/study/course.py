"""How one study stands: what is done, what can be started now, and what failed. No torch here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forge.core.errors import EXIT_SAVED_RUN_ME_AGAIN
from forge.preflight import preflight
from forge.runs.run_dir import RunDirectory, run_path
from forge.study.plan import Job, Plan, Weights
from forge.study.pool import BUSY, Task
from forge.study.store import Store

MATCHING, CACHE, CELL = "matching", "teacher_cache", "cell"
IDLE_LIVES = 3
"""A job whose process was killed so often in a row without a new checkpoint counts as failed."""


@dataclass
class Standing:
    """How one job stands."""

    task: Task
    job: Job | None = None
    run: RunDirectory | None = None
    record: dict[str, Any] | None = None  # of a cell that is done
    failed: str = ""  # why
    done: bool = False
    deaths: int = 0
    mark: float = 0.0  # of the newest checkpoint when it was last looked at


@dataclass
class Course:
    """One study under way. Its `seeds` may grow by whole blocks; which were added is known from then on."""

    plan: Plan
    config: str
    overrides: tuple[str, ...] = ()
    only: Sequence[tuple[str, str]] = ()
    store: Store = field(init=False)
    seeds: list[int] = field(init=False)
    weights: Weights | None = None
    cells: dict[str, Standing] = field(default_factory=dict)
    before: dict[str, Standing] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.store = Store(self.plan.folder)
        declared = self.plan.study.seeds
        self.seeds = [*declared, *self.store.added_seeds(declared)]
        self._look_before()
        self._look_at_cells()

    @property
    def name(self) -> str:
        """What the study is called."""
        return self.plan.file.name

    @property
    def prepared(self) -> bool:
        """Whether everything is done that cells build upon."""
        return all(standing.done for standing in self.before.values())

    @property
    def everything(self) -> list[Standing]:
        """All jobs, those that come first before the others."""
        return [*self.before.values(), *self.cells.values()]

    @property
    def failures(self) -> list[Standing]:
        """Jobs that failed."""
        return [standing for standing in self.everything if standing.failed]

    @property
    def complete(self) -> bool:
        """Whether every cell is done with every seed."""
        return self.prepared and bool(self.cells) and all(standing.done for standing in self.cells.values())

    def ready(self, running: Sequence[Task]) -> Iterator[Standing]:
        """Jobs that could be started now, the first to be started first."""
        busy = {(task.config, task.name) for task in running}
        for standing in self._open():
            if (standing.task.config, standing.task.name) not in busy and not (standing.done or standing.failed):
                yield standing

    def look_again(self, standing: Standing) -> bool:
        """Whether a job turns out to be done, by what is on disk."""
        task = standing.task
        if task.kind == CELL:
            standing.record = self.store.result(task.name, task.identity)
            standing.done = standing.record is not None
        elif task.kind == MATCHING:
            self.weights = self.store.weights(task.identity)
            standing.done = self.weights is not None
        elif task.kind == CACHE:
            standing.done = self.store.is_done(CACHE, task.identity)
        else:
            assert standing.run
            standing.done = standing.run.completed
        if standing.done and self.prepared and not self.cells:
            self._look_at_cells()
        return standing.done

    def ended(self, standing: Standing, code: int) -> str:
        """Take note of how a job's process ended; what to say of it, empty where there is nothing."""
        task = standing.task
        if self.look_again(standing):
            self.store.log(task.name).unlink(missing_ok=True)
            return self._said(standing)
        if code in {EXIT_SAVED_RUN_ME_AGAIN, BUSY}:
            return ""
        if code < 0 or code > 128:  # a signal ended it, and the next life goes on
            return self._died(standing, -code if code < 0 else code - 128)
        failure = self.store.failure(task.name, task.identity)
        standing.failed = failure["why"] if failure else f"exit code {code}, see {self.store.log(task.name)}"
        return f"failed: {self._named(standing)}: {standing.failed}"

    def forgive(self) -> None:
        """Try again what failed."""
        for standing in self.failures:
            self.store.forgive(standing.task.name)
            standing.failed = ""

    def add_seeds(self, seeds: Sequence[int]) -> None:
        """More blocks."""
        self.seeds += seeds
        self.store.keep_added_seeds(self.plan.study.seeds, self.seeds[len(self.plan.study.seeds) :])
        self._look_at_cells()

    def _open(self) -> Iterator[Standing]:
        """Jobs whose turn it is: first runs, then the weights and the cache, then cells."""
        firsts = [self.before[which] for which in self.plan.firsts()]
        if not all(standing.done for standing in firsts):
            yield from firsts
        elif not self.prepared:
            yield from (standing for standing in self.before.values() if standing.task.kind in {MATCHING, CACHE})
        else:
            yield from self.cells.values()

    def _look_before(self) -> None:
        for which in self.plan.firsts():
            resolved = self.plan.first(which)
            task = self._task(which, which, resolved.digest())
            self.before[which] = Standing(task, run=preflight(resolved).run)
        if self.plan.losses():
            identity = self.plan.matching().digest()
            kinds = [MATCHING, CACHE] if self.plan.study.match_gradients else [CACHE]
            for kind in kinds:
                self.before[kind] = Standing(self._task(kind, kind, identity))
        for standing in self.before.values():
            self._recall(standing)

    def _look_at_cells(self) -> None:
        """All cells and seeds; what their configurations are is known once the weights are."""
        if not self.prepared:
            return
        root = self.plan.sample.settings.run.dir
        for job in self.plan.jobs(self.seeds):
            if job.name in self.cells or not self._wanted(job):
                continue
            identity = self.plan.identity(job, self.weights)
            resolved = self.plan.resolved(job, self.weights)
            task = self._task(CELL, job.name, identity, job)
            run = RunDirectory(run_path(root, resolved.name, job.seed, resolved.digest()))
            self.cells[job.name] = Standing(task, job, run)
            self._recall(self.cells[job.name])

    def _wanted(self, job: Job) -> bool:
        return all(job.cell.levels[factor] == level for factor, level in self.only)

    def _recall(self, standing: Standing) -> None:
        if self.look_again(standing):
            return
        failure = self.store.failure(standing.task.name, standing.task.identity)
        standing.failed = failure["why"] if failure else ""

    def _task(self, kind: str, name: str, identity: str, job: Job | None = None) -> Task:
        log = str(self.store.folder / "logs" / f"{name}.log")
        cell, seed = (job.cell.name, job.seed) if job else ("", 0)
        return Task(self.config, self.overrides, kind, name, identity, cell, seed, log)

    def _died(self, standing: Standing, number: int) -> str:
        mark = _newest(standing.run)
        standing.deaths = standing.deaths + 1 if mark <= standing.mark else 1
        standing.mark = mark
        if standing.deaths >= IDLE_LIVES:
            why = f"killed by signal {number}, {standing.deaths} lives in a row without a new checkpoint"
            self.store.keep_failure(standing.task.name, standing.task.identity, 128 + number, why, "")
            standing.failed = why
            return f"failed: {self._named(standing)}: {why}"
        return f"killed by signal {number}: {self._named(standing)}; it starts again"

    def _named(self, standing: Standing) -> str:
        return f"{self.name}: {standing.job.shown if standing.job else standing.task.name}"

    def _said(self, standing: Standing) -> str:
        if standing.record is None:
            return f"done: {self._named(standing)}"
        value, cpu = self.value(standing), standing.record["cpu_seconds"]
        return f"done: {self._named(standing)}  {self.plan.study.outcome.figure} {value:.2f}  ({cpu:.1f} CPU s)"

    def value(self, standing: Standing) -> float:
        """A cell's outcome in points."""
        assert standing.record
        outcome = self.plan.study.outcome
        return self.plan.scale * float(standing.record["test"][outcome.split][outcome.figure])


def _newest(run: RunDirectory | None) -> float:
    """When the newest complete checkpoint was saved; 0 where there is none."""
    paths = run.path.glob("checkpoint-*/manifest.json") if run else Path().glob("-")
    return max((path.stat().st_mtime for path in paths), default=0.0)
