"""Advantages: their equations, and the traps that other trainers fell into."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from forge.objectives.rl.advantages import (
    combined_rewards,
    decoupled_advantages,
    flat_groups,
    group_advantages,
)

NAN = float("nan")
SCALES = ["group", "batch", "none"]
BASELINES = ["mean", "leave_one_out"]


def rewards(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_leave_one_out_is_the_difference_to_the_others() -> None:
    r = rewards([0.9, 0.3, 0.2], [0.5, 0.6, 0.1])
    found = group_advantages(r, scale="none", baseline="leave_one_out")
    for b in range(2):
        for i in range(3):
            others = [r[b, j].item() for j in range(3) if j != i]
            assert found[b, i].item() == pytest.approx(r[b, i].item() - sum(others) / 2)


def test_leave_one_out_of_nearly_equal_others_does_not_spike() -> None:
    """The deviation of the others alone is near 0 for the first sample, and would make an advantage of hundreds."""
    found = group_advantages(rewards([0.9, 0.5, 0.5001, 0.5]), baseline="leave_one_out")
    assert found.abs().max() < 3


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("baseline", BASELINES)
def test_a_reward_that_is_none_is_left_out_and_is_not_0(scale: Any, baseline: Any) -> None:
    with_it = rewards([0.9, NAN, 0.3, 0.6], [0.2, 0.4, NAN, NAN])
    found = group_advantages(with_it, scale=scale, baseline=baseline)
    assert found[0, 1] == 0
    assert (found[1, 2:] == 0).all()
    alone = [group_advantages(row[~row.isnan()][None], scale="none", baseline=baseline) for row in with_it]
    assert torch.equal(found[0][[0, 2, 3]].sign(), alone[0][0].sign())
    if scale == "none":
        torch.testing.assert_close(found[0][[0, 2, 3]], alone[0][0])
        torch.testing.assert_close(found[1][:2], alone[1][0])


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("baseline", BASELINES)
def test_a_group_without_variance_teaches_nothing_whatever_rounding_left(scale: Any, baseline: Any) -> None:
    third = torch.tensor([[1 / 3] * 7, [0.1 + 0.2, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3]], dtype=torch.float32)
    mixed = torch.cat((third, torch.linspace(0, 1, 7)[None]))
    found = group_advantages(mixed, scale=scale, baseline=baseline, epsilon=1e-9)
    assert (found[:2] == 0).all()
    assert (found[2] != 0).any()


def test_flat_groups_are_told_by_their_range_and_not_by_their_mean() -> None:
    """A filter by the mean, for all 0 or all 1, misses equal rewards in between."""
    r = rewards([0.5, 0.5, 0.5], [0.0, 0.0, 0.0], [0.2, 0.5, 0.8], [NAN, 0.4, NAN], [NAN, 0.4, 0.5], [NAN, NAN, NAN])
    assert flat_groups(r).tolist() == [True, True, False, True, False, True]


def test_one_scored_sample_or_none_gives_0_and_never_nan() -> None:
    for scale in SCALES:
        assert (group_advantages(rewards([NAN, 0.4, NAN], [NAN] * 3), scale=scale) == 0).all()  # type: ignore[arg-type]


@given(
    st.lists(st.lists(st.one_of(st.none(), st.floats(0, 1, width=32)), min_size=4, max_size=4), min_size=1, max_size=5),
    st.sampled_from(SCALES),
    st.sampled_from(BASELINES),
)
@settings(max_examples=60, deadline=None)
def test_advantages_add_up_to_0_and_do_not_depend_on_order(rows: Any, scale: Any, baseline: Any) -> None:
    r = rewards(*[[NAN if x is None else x for x in row] for row in rows])
    found = group_advantages(r, scale=scale, baseline=baseline)
    assert found.isfinite().all()
    torch.testing.assert_close(found.sum(-1), torch.zeros(len(r)).double(), atol=1e-8, rtol=0)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(group_advantages(r[:, order], scale=scale, baseline=baseline), found[:, order])


def test_the_scale_of_a_reward_does_not_matter_with_std_and_does_without() -> None:
    r = rewards([0.9, 0.3, 0.2])
    assert torch.allclose(group_advantages(r * 100, epsilon=0.0), group_advantages(r, epsilon=0.0))
    assert torch.allclose(group_advantages(r * 100, scale="none"), 100 * group_advantages(r, scale="none"))


# Several parts


WEIGHTS = torch.tensor([2.0, 1.0, 0.0]).double()


def parts(*samples: list[float]) -> Tensor:
    return torch.tensor([samples], dtype=torch.float64)


def test_parts_are_weighed_and_stay_between_0_and_1() -> None:
    found = combined_rewards(parts([0.9, 0.3, 0.7], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]), WEIGHTS)
    assert found[0].tolist() == pytest.approx([0.7, 1.0, 0.0])


def test_a_part_that_failed_counts_as_its_mean_and_breaking_it_gains_nothing() -> None:
    found = combined_rewards(parts([0.9, 0.9, 0], [0.9, NAN, 0], [0.9, 0.1, 0]), WEIGHTS)[0]
    assert found.tolist() == pytest.approx([0.9, (1.8 + 0.5) / 3, (1.8 + 0.1) / 3])
    assert found[1] < found[0]


def test_a_part_that_no_sample_of_the_prompt_has_is_not_there() -> None:
    found = combined_rewards(parts([0.9, NAN, 0], [0.3, NAN, 0]), WEIGHTS)
    assert found[0].tolist() == pytest.approx([0.9, 0.3])


def test_a_sample_without_any_part_has_no_reward_and_a_stopped_one_has_0() -> None:
    given_parts = parts([NAN, NAN, 1.0], [0.3, 0.2, 1.0], [0.9, 0.9, 1.0], [NAN, NAN, 1.0])
    found = combined_rewards(given_parts, WEIGHTS, torch.tensor([[True, True, False, False]]))[0]
    assert found[0].isnan()  # the part of weight 0 tells nothing
    assert found[2] == found[3] == 0
    assert group_advantages(found[None])[0, 2] < 0


def test_decoupled_parts_pull_alike_whatever_their_range() -> None:
    """Added first, a part of range 0.01 drowns beside one of range 1."""
    both = parts([0.0, 0.51], [1.0, 0.50], [0.0, 0.50], [1.0, 0.51])
    weights = torch.ones(2).double()
    added = group_advantages(combined_rewards(both, weights))[0]
    assert added[1] == pytest.approx(added[3].item(), abs=0.03)
    decoupled = decoupled_advantages(both, weights)[0]
    assert decoupled[3] > decoupled[1] + 1
    assert decoupled[0] == pytest.approx(decoupled[1].item(), abs=0.03)


def test_decoupled_equals_its_equation() -> None:
    generator = torch.Generator().manual_seed(0)
    r = torch.rand(5, 4, 3, generator=generator, dtype=torch.float64)
    weights = torch.tensor([1.0, 0.5, 2.0]).double()
    each = (r - r.mean(1, keepdim=True)) / (r.std(1, keepdim=True) + 1e-4)
    total = (each * weights).sum(-1)
    torch.testing.assert_close(decoupled_advantages(r, weights), (total - total.mean()) / (total.std() + 1e-4))


def test_decoupled_leaves_out_what_is_none_and_what_is_flat() -> None:
    r = torch.rand(3, 4, 2, dtype=torch.float64)
    r[1] = 0.5
    r[2, 0] = NAN
    found = decoupled_advantages(r, torch.ones(2).double())
    assert (found[1] == 0).all()
    assert found[2, 0] == 0
    assert found.isfinite().all()
    assert (decoupled_advantages(torch.full((2, 3, 2), NAN), torch.ones(2)) == 0).all()
    stopped = decoupled_advantages(r, torch.ones(2).double(), torch.arange(12).view(3, 4) != 1)
    assert stopped[0, 1] < 0
