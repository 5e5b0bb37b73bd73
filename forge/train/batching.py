"""Which examples meet in which step: a pure function of (seed, epoch), so a run can start again anywhere at once.

A *step* is a list of micro-batches. With a micro-batch size it is the same list for any number of processes; without
one a step is cut evenly over them. Micro-batches are dealt out in turn; a process that has one fewer gets an empty one,
which counts for nothing but keeps all processes in step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forge.core.hashing import derive_seed

Indices = NDArray[np.int64]
Step = list[Indices]

GROUPING_POOL = 50  # batches whose examples are sorted together by length


@dataclass(frozen=True)
class BatchPlan:
    """How one epoch is cut into steps."""

    lengths_N: Indices
    seed: int
    batch_size: int
    batch_tokens: int | None
    micro_batch_size: int | None
    group_by_length: bool
    processes: int = 1
    repeats: int = 1  # steps that follow each other on the same examples

    def epoch(self, epoch: int) -> list[Step]:
        """All steps of an epoch in order, before they are repeated; every example occurs exactly once."""
        generator = np.random.Generator(np.random.PCG64(derive_seed(self.seed, "order", epoch)))
        order_N = generator.permutation(len(self.lengths_N))
        if self.group_by_length:
            order_N = self._group(order_N)
        batches = self._by_tokens(order_N) if self.batch_tokens else self._by_count(order_N)
        if self.group_by_length:
            batches = [batches[i] for i in generator.permutation(len(batches))]
        return [self._cut(batch) for batch in batches]

    def steps_per_epoch(self) -> int:
        """Steps of an epoch, repeated ones among them.

        With a token budget epochs differ a little, and this is the first one's.
        """
        if self.batch_tokens:
            return self.repeats * len(self.epoch(0))
        return self.repeats * -(-len(self.lengths_N) // self.batch_size)

    def _group(self, order_N: Indices) -> Indices:
        typical = max(1, int(self.lengths_N.mean()))
        pool = GROUPING_POOL * (self.batch_tokens // typical if self.batch_tokens else self.batch_size)
        pools = [order_N[start : start + pool] for start in range(0, len(order_N), max(pool, 1))]
        return np.concatenate([chunk[np.argsort(-self.lengths_N[chunk], kind="stable")] for chunk in pools])

    def _by_count(self, order_N: Indices) -> list[Indices]:
        return [order_N[start : start + self.batch_size] for start in range(0, len(order_N), self.batch_size)]

    def _by_tokens(self, order_N: Indices) -> list[Indices]:
        assert self.batch_tokens is not None
        batches: list[Indices] = []
        start = longest = 0
        for position, length in enumerate(self.lengths_N[order_N]):
            longest = max(longest, int(length))
            if position > start and longest * (position - start + 1) > self.batch_tokens:
                batches.append(order_N[start:position])
                start, longest = position, int(length)
        return [*batches, order_N[start:]]

    def _cut(self, batch: Indices) -> Step:
        size = self.micro_batch_size or -(-len(batch) // self.processes)
        return [batch[start : start + size] for start in range(0, len(batch), size)]


def deal(step: Step, process: int, processes: int) -> list[tuple[int, Indices]]:
    """The micro-batches of one process, each with its number in the step; equally many for every process."""
    rounds = -(-len(step) // processes)
    empty = np.empty(0, dtype=np.int64)
    numbers = [turn * processes + process for turn in range(rounds)]
    return [(number, step[number] if number < len(step) else empty) for number in numbers]
