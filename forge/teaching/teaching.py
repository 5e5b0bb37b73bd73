"""A distillation objective with its teacher: measured, then its cache filled or the model itself loaded."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from forge.core.errors import StoppedError
from forge.core.events import Notice, Sink
from forge.objectives.kd.cache import TeacherCache
from forge.objectives.kd.objective import KD
from forge.objectives.kd.shard import Field
from forge.objectives.kd.teacher import CachedTeacher, OnlineTeacher, Wanted, split
from forge.objectives.rl.objective import GRPO
from forge.objectives.sft import SFT
from forge.teaching.found import FoundTeacher
from forge.teaching.measure import judge, remember, remembered
from forge.teaching.sequence import Rewritten
from forge.train.signals import StopRequest

REPORT_SECONDS = 10.0


@dataclass
class Teaching:
    """A distillation objective and the teacher that it will learn from."""

    objective: KD | SFT | GRPO
    header: str
    found: FoundTeacher
    cache: TeacherCache | None
    fields: list[Field]
    wanted: Wanted
    rewritten: Rewritten | None = None
    measured: dict[str, Any] = field(default_factory=dict)  # by `check`

    def check(self) -> str:
        """Measure the teacher, or remember what was measured, and refuse a bad one; the line for the log.

        Nothing is written yet, so a refused teacher leaves no run behind.
        """
        known = remembered(self._memory(), self.found)
        self.measured = known or self.found.measure()
        return judge(self.measured, self.found)

    def begin(self, emit: Sink, stop: StopRequest | None = None) -> None:
        """Fill the cache or load the teacher, and hand it to the objective. Before the first step.

        Raises StoppedError when `stop` is asked for while the cache is filled: shards that are whole stay.
        """
        found, cache, objective = self.found, self.cache, self.objective
        if self.rewritten:
            emit(Notice(self.rewritten.notice))
        if self.rewritten and found.accelerator.is_local_main_process:
            remember(self.rewritten.folder, found, self.measured)
        if isinstance(objective, SFT):
            found.forget()
            return
        if isinstance(objective, GRPO):
            objective.learn_from(found.load(), found.head())
            return
        if cache is None:
            objective.learn_from(self._online())
            return
        with found.accelerator.main_process_first():
            if found.accelerator.is_local_main_process:
                self._fill(cache, emit, stop or StopRequest())
                remember(cache.folder, found, self.measured)
        found.forget()
        emit(
            Notice(f"teacher cache: full, {cache.size() / 1e6:,.1f} MB in {cache.folder}; no teacher runs in training")
        )
        objective.learn_from(CachedTeacher(cache.open(self.fields), self.wanted, found.stacks))

    def _online(self) -> OnlineTeacher:
        found = self.found
        return OnlineTeacher(found.load(), self.wanted, found.order, found.head())

    def fingerprints(self) -> dict[str, str]:
        """What the teacher is, to refuse a run that continues with another."""
        texts = {"teacher.texts": self.rewritten.mark} if self.rewritten else {}
        return {"teacher": self.found.weights_mark} | texts

    def _memory(self) -> Path | None:
        """Where it is remembered how good the teacher is."""
        if self.cache:
            return self.cache.folder
        return self.rewritten.folder if self.rewritten else None

    def _fill(self, cache: TeacherCache, emit: Sink, stop: StopRequest) -> None:
        found, wanted, report, lengths = self.found, self.wanted, _reporter(emit), cache.lengths
        source: OnlineTeacher | None = None

        def compute(ids: np.ndarray, asked: Sequence[Field]) -> dict[str, list[torch.Tensor]]:
            nonlocal source
            source = source or self._online()
            batch = found.task.collate(found.train.__getitems__(ids.tolist()))
            on_device = {name: tensor.to(found.accelerator.device) for name, tensor in batch.items()}
            with found.accelerator.autocast():
                outputs = source.outputs(on_device)
            return split(outputs, {side: lengths_N[ids].tolist() for side, lengths_N in lengths.items()}, asked, wanted)

        def progress(done: int, total: int) -> None:
            report(done, total)
            if stop.why and done < total:
                raise StoppedError(
                    f"stopped at {done:,} of {total:,} examples of the teacher cache ({stop.why}); whole shards are "
                    "saved, and the same command continues"
                )

        for damage in cache.fill(self.fields, compute, progress, emit):
            emit(Notice(f"teacher cache: {damage}; it was made again", "warning"))


def _reporter(emit: Sink) -> Callable[[int, int], None]:
    started = last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= REPORT_SECONDS or done == total:
            last = now
            left = (now - started) * (total - done) / max(done, 1)
            emit(Notice(f"teacher cache: {done:,} of {total:,} examples, {left:.0f} s left"))

    return report
