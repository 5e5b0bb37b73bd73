"""Steps as tensors: the batch plan, read from a cursor on, collated in line or by worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch.utils.data import DataLoader

from forge.objectives.base import Enrich
from forge.tasks.base import IGNORED_LABEL, Batch
from forge.train.batching import BatchPlan, Indices, deal
from forge.train.signals import die_with_parent, held_back

Collate = Callable[[Sequence[Mapping[str, Any]]], Batch]


@dataclass(frozen=True)
class Cursor:
    """Where in the data the next step begins."""

    epoch: int = 0
    position: int = 0
    turn: int = 0  # how often the step at `position` was taken already


@dataclass(frozen=True)
class StepBatches:
    """What one process works on in one step, and where the cursor stands after it."""

    after: Cursor
    epoch_done: float  # epochs finished after this step, with fraction
    examples: int  # of the whole step, over all processes
    micro_batches: list[tuple[int, Batch]]  # with their number in the step


@dataclass(frozen=True)
class _Key:
    after: Cursor
    epoch_done: float
    examples: int
    filler: int
    mine: list[tuple[int, Indices]]


class _Collated(torch.utils.data.Dataset[StepBatches]):
    def __init__(self, rows: Dataset, collate: Collate, enrich: Enrich | None) -> None:
        self.rows, self.collate, self.enrich = rows, collate, enrich

    def __getitem__(self, key: _Key) -> StepBatches:
        batches = [(number, self._batch(indices, key.filler)) for number, indices in key.mine]
        return StepBatches(key.after, key.epoch_done, key.examples, batches)

    def _batch(self, indices: Indices, filler: int) -> Batch:
        chosen = indices if len(indices) else np.asarray([filler])
        batch = self.collate(self.rows.__getitems__(chosen.tolist()))
        if not len(indices):
            batch["labels"].fill_(IGNORED_LABEL)
        if self.enrich:
            self.enrich(batch, chosen)
        return batch


class _Keys(torch.utils.data.Sampler[_Key]):
    def __init__(self, plan: BatchPlan, start: Cursor, process: int) -> None:
        self.plan, self.start, self.process = plan, start, process

    def __iter__(self) -> Iterator[_Key]:
        epoch, position, turn = self.start.epoch, self.start.position, self.start.turn
        repeats = self.plan.repeats
        while True:
            steps = self.plan.epoch(epoch)
            for taken in range(position * repeats + turn, len(steps) * repeats):
                step = steps[taken // repeats]
                last = taken + 1 == len(steps) * repeats
                after = Cursor(epoch + 1) if last else Cursor(epoch, *divmod(taken + 1, repeats))
                done = epoch + (taken + 1) / (len(steps) * repeats)
                mine = deal(step, self.process, self.plan.processes)
                yield _Key(after, done, sum(map(len, step)), int(step[0][0]), mine)
            epoch, position, turn = epoch + 1, 0, 0


@contextmanager
def stream(
    rows: Dataset,
    collate: Collate,
    plan: BatchPlan,
    start: Cursor,
    process: int,
    num_workers: int,
    enrich: Enrich | None = None,
) -> Iterator[Iterator[StepBatches]]:
    """Endless steps from `start` on. Workers only collate ahead: order and content do not depend on their number.

    They never see the signals that ask the run to stop, which a cluster sends to every process, and end with the block
    or with this process, however it ends.
    """
    loader = DataLoader(
        _Collated(rows, collate, enrich),
        batch_size=None,
        sampler=_Keys(plan, start, process),
        num_workers=num_workers,
        collate_fn=_as_is,
        worker_init_fn=_begin_worker,
    )
    with held_back():
        steps = iter(loader)
    try:
        yield steps
    finally:
        _end_workers(steps)


def _begin_worker(_: int) -> None:
    die_with_parent()


def _end_workers(steps: Any) -> None:
    """Tell the workers to end, and end those that do not: one that waits would keep the program from ending."""
    workers = getattr(steps, "_workers", [])
    if workers:
        steps._shutdown_workers()
    for worker in workers:
        if worker.is_alive():
            worker.kill()


def _as_is(step: Any) -> Any:
    return step
