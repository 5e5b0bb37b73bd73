"""Runs studies: every job of every study that is not done, on a few workers, until nothing is left. No torch here."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

from forge.core.errors import ForgeError, StoppedError
from forge.runs.lock import is_held
from forge.runs.run_dir import LOCK
from forge.study.board import Board
from forge.study.course import Course, Standing
from forge.study.pool import MODELS, Pool, Task, devices, model_kinds
from forge.study.work import work
from forge.train.signals import StopRequest

LOOK_S = 0.5  # between two looks at what runs
AGAIN_S = 5.0  # before a job that is in other hands is tried again


class FailedCellsError(ForgeError):
    """Some jobs of a study failed; the others are done, or wait for them."""


@dataclass
class Runner:
    """Several studies that share workers."""

    courses: Sequence[Course]
    stop: StopRequest
    board: Board
    workers: int | None = None
    fail_fast: bool = False
    prepare: bool = False

    def run(self) -> None:
        """Until every job is done or has failed. Raises StoppedError, FailedCellsError."""
        os.environ[MODELS] = model_kinds([name for course in self.courses for name in _models(course)])
        pool = Pool(work, devices(self.workers))
        later: dict[tuple[str, str], float] = {}
        with self.board:
            try:
                self._work(pool, later)
            finally:
                pool.ask_to_stop()  # where an error or a second Ctrl-C ends this, what runs saves and leaves too
            self._leave(pool)
        self._tell()

    def _work(self, pool: Pool, later: dict[tuple[str, str], float]) -> None:
        while not self.stop.why:
            self._start(pool, later)
            if not pool.running() and not self._open():
                return
            self._hear(pool, later)
            if self.fail_fast and any(course.failures for course in self.courses):
                return

    def _open(self) -> bool:
        """Whether there is anything left that could be started, now or later."""
        courses = [course for course in self.courses if not (self.prepare and course.prepared)]
        return any(True for course in courses for _ in course.ready([]))

    def _start(self, pool: Pool, later: dict[tuple[str, str], float]) -> None:
        now = time.monotonic()
        for key in [key for key, due in later.items() if due <= now]:
            del later[key]
        for course in self.courses:
            for standing in course.ready(pool.running()):
                slot = pool.free()
                if slot is None:
                    return
                key = (standing.task.config, standing.task.name)
                if key in later or (self.prepare and course.prepared):
                    continue
                if course.look_again(standing):  # another study's process, or a job of Slurm, has done it meanwhile
                    continue
                if standing.run and is_held(standing.run.path / LOCK):
                    later[key] = now + AGAIN_S
                    continue
                course.store.log(standing.task.name)
                pool.start(slot, standing.task)

    def _hear(self, pool: Pool, later: dict[tuple[str, str], float]) -> None:
        for task, code in pool.ended(LOOK_S):
            course, standing = self._of(task)
            said = course.ended(standing, code)
            if said:
                self.board.say(said)
            elif not self.stop.why:
                later[task.config, task.name] = time.monotonic() + AGAIN_S
        self.board.show(pool.running())

    def _leave(self, pool: Pool) -> None:
        """Let what runs save, and wait for it."""
        if pool.running():
            self.board.say("asked to stop: what runs is being saved")
        while pool.running():
            pool.ask_to_stop()
            for task, code in pool.ended(2 * LOOK_S):
                course, standing = self._of(task)
                if said := course.ended(standing, code):
                    self.board.say(said)

    def _tell(self) -> None:
        failures = [(course, standing) for course in self.courses for standing in course.failures]
        if self.stop.why:
            raise StoppedError(f"stopped ({self.stop.why}); the same command continues")
        if failures:
            course, first = failures[0]
            error = FailedCellsError(
                f"{len(failures)} of {sum(len(course.everything) for course in self.courses)} jobs failed, first "
                f"{first.job.shown if first.job else first.task.name}: {first.failed}; tracebacks in "
                f"{course.store.folder / 'failures'}; mend it and add --retry-failed"
            )
            failure = course.store.failure(first.task.name, first.task.identity)
            error.exit_code = int(failure["exit_code"]) if failure else 1
            raise error

    def _of(self, task: Task) -> tuple[Course, Standing]:
        course = next(course for course in self.courses if course.config == task.config)
        return course, course.cells.get(task.name) or course.before[task.name]


def _models(course: Course) -> list[str]:
    settings = course.plan.sample.settings
    names = [settings.model.name, settings.model.stand_in, settings.teacher.name, settings.teacher.stand_in]
    names += [course.plan.first(which).settings.model.name for which in course.plan.firsts()]
    return [name for name in names if name]
