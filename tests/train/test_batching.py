"""The batch plan: every example once, the same for every number of processes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge.train.batching import BatchPlan, deal


def plan(lengths: list[int], **change: object) -> BatchPlan:
    given_ = {
        "seed": 1,
        "batch_size": 8,
        "batch_tokens": None,
        "micro_batch_size": 4,
        "group_by_length": False,
        "processes": 1,
    } | change
    return BatchPlan(np.asarray(lengths, dtype=np.int64), **given_)  # type: ignore[arg-type]


@settings(max_examples=150, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=120),
    seed=st.integers(0, 5),
    epoch=st.integers(0, 3),
    group=st.booleans(),
    tokens=st.one_of(st.none(), st.integers(60, 400)),
    micro=st.one_of(st.none(), st.integers(1, 9)),
    processes=st.integers(1, 4),
)
def test_every_example_exactly_once(
    lengths: list[int], seed: int, epoch: int, group: bool, tokens: int | None, micro: int | None, processes: int
) -> None:
    made = plan(
        lengths, seed=seed, group_by_length=group, batch_tokens=tokens, micro_batch_size=micro, processes=processes
    )
    steps = made.epoch(epoch)
    seen = sorted(int(i) for step in steps for part in step for i in part)
    assert seen == list(range(len(lengths)))
    for step in steps:
        assert all(len(part) for part in step)
        if micro:
            assert all(len(part) <= micro for part in step)
        if tokens:
            rows = np.concatenate(step)
            assert max(lengths[i] for i in rows) * len(rows) <= tokens
        dealt = [deal(step, process, processes) for process in range(processes)]
        assert len({len(mine) for mine in dealt}) == 1, "all processes take equally many turns"
        numbers = sorted(n for mine in dealt for n, rows in mine if len(rows))
        assert numbers == list(range(len(step)))


def test_order_depends_on_seed_and_epoch_alone() -> None:
    lengths = list(range(1, 101))

    def flat(seed: int, epoch: int) -> list[int]:
        return [int(i) for step in plan(lengths, seed=seed).epoch(epoch) for part in step for i in part]

    assert flat(1, 0) == flat(1, 0)
    assert len({tuple(flat(s, e)) for s, e in itertools.product((1, 2), (0, 1))}) == 4


def test_with_a_micro_batch_size_the_number_of_processes_changes_nothing() -> None:
    lengths = list(range(1, 101))
    one, two = plan(lengths, processes=1).epoch(0), plan(lengths, processes=2).epoch(0)
    assert [[part.tolist() for part in step] for step in one] == [[part.tolist() for part in step] for step in two]


def test_grouping_by_length_saves_padding() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 100, size=2_000).tolist()

    def padding(group: bool) -> int:
        total = 0
        for step in plan(lengths, group_by_length=group, batch_size=32, micro_batch_size=32).epoch(0):
            for part in step:
                total += max(lengths[i] for i in part) * len(part) - sum(lengths[i] for i in part)
        return total

    assert padding(True) < 0.1 * padding(False)


@pytest.mark.parametrize("group", [False, True])
def test_steps_per_epoch_is_what_an_epoch_has(group: bool) -> None:
    made = plan(list(range(1, 102)), group_by_length=group)
    assert made.steps_per_epoch() == len(made.epoch(0)) == 13
