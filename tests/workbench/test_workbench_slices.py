"""Slices: how rows are sorted, what is tested, and how many tests that is."""

from __future__ import annotations

import json

import numpy as np
import pytest

from forge.core.errors import UserError
from forge.tasks.metrics.multiple import holm
from forge.workbench.slices import (
    Axis,
    dynamics_axis,
    has_negation,
    named_axis,
    negation_axis,
    quantile_axis,
    slices,
)


def test_quintiles_keep_equal_values_together() -> None:
    axis = quantile_axis("length", np.arange(1, 101))
    assert [int((axis.kind_N == kind).sum()) for kind in range(5)] == [20] * 5
    assert axis.kinds[0] == "1 to 20"
    assert axis.kinds[4] == "81 to 100"
    tied = quantile_axis("length", np.array([1] * 90 + [2] * 10))
    assert tied.kinds == ("1", "2")
    assert (tied.kind_N[:90] == 0).all()
    assert (tied.kind_N[90:] == 1).all()
    assert quantile_axis("length", np.ones(9)).kinds == ("1",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A man is not sleeping.", True),
        ("He isn't there", True),
        ("He isn’t there", True),
        ("NOBODY", True),
        ("Il ne dort pas", True),
        ("a knot, nothingness", False),
        ("", False),
    ],
)
def test_negation(text: str, expected: bool) -> None:
    assert has_negation(text) is expected
    assert negation_axis([text]).kind_N.tolist() == [int(expected)]


def test_regions_of_training_dynamics() -> None:
    easy, hard, ambiguous = [0.9, 0.95, 0.97], [0.1, 0.05, 0.08], [0.1, 0.9, 0.2]
    axis = dynamics_axis(np.array([easy, hard, ambiguous] * 4).T)
    assert [axis.kinds[kind] for kind in axis.kind_N[:3]] == ["easy to learn", "hard to learn", "ambiguous"]
    assert np.bincount(axis.kind_N).tolist() == [4, 4, 4]
    with pytest.raises(UserError, match="at least two epochs"):
        dynamics_axis(np.ones((1, 5)))


def test_a_slice_where_they_part_is_found_and_no_other() -> None:
    rng = np.random.default_rng(0)
    rows = 1000
    gold = rng.integers(0, 3, rows)
    teacher = gold.copy()
    where = rng.random(rows) < 0.2
    student = np.where(rng.random(rows) < np.where(where, 0.5, 0.1), (gold + 1) % 3, gold)
    axes = [
        named_axis("part", ["elsewhere", "here"], where),
        quantile_axis("length", rng.random(rows)),
        named_axis("rare", ["rare", "common"], np.array([0] * 20 + [1] * 980)),
    ]
    found = {(one.axis, one.kind): one for one in slices(axes, gold, teacher, student)}
    here = found["part", "here"]
    assert here.rows == where.sum()
    assert here.agreement.value == pytest.approx((teacher == student)[where].mean())
    assert here.elsewhere == pytest.approx((teacher == student)[~where].mean())
    assert here.student_accuracy.value == pytest.approx((student == gold)[where].mean())
    assert here.teacher_accuracy.value == 1.0
    assert here.p_holm is not None
    assert here.p_holm < 1e-10
    lengths = [one for one in found.values() if one.axis == "length"]
    assert len(lengths) == 5
    assert all(one.p_holm is not None and one.p_holm > 0.05 for one in lengths)
    assert found["rare", "rare"].p is None is found["rare", "common"].p_holm
    tested = [one for one in found.values() if one.p is not None]
    assert [one.p_holm for one in tested] == pytest.approx(holm([one.p or 0.0 for one in tested]))
    json.dumps([one.as_json() for one in found.values()], allow_nan=False)


def test_p_is_that_of_fishers_table_and_rows_of_no_kind_are_left_out() -> None:
    from scipy.stats import hypergeom

    teacher = np.zeros(120, int)
    student = np.array([1] * 10 + [0] * 30 + [1] * 20 + [0] * 20 + [1] * 40)
    axis = Axis("one", ("a", "b"), np.array([0] * 40 + [1] * 40 + [-1] * 40))
    a, b = slices([axis], teacher, teacher, student)
    drawn = hypergeom(80, 50, 40).pmf(np.arange(81))
    assert a.p == pytest.approx(drawn[drawn <= drawn[30] * (1 + 1e-9)].sum())
    assert a.p == b.p
    assert a.elsewhere == b.agreement.value == 0.5


def test_kinds_that_a_models_own_answers_made_have_no_p_and_no_part_in_the_correction() -> None:
    rng = np.random.default_rng(1)
    gold, student = rng.integers(0, 2, 400), rng.integers(0, 2, 400)
    own = named_axis("own", ["wrong", "right"], student == gold)
    other = named_axis("other", ["a", "b"], rng.integers(0, 2, 400))
    found = slices([own, other], gold, gold, student, untested={"own"})
    assert [one.p for one in found[:2]] == [one.p_holm for one in found[:2]] == [None, None]
    assert found[1].agreement.value == 1.0
    assert found[2:] == slices([other], gold, gold, student)
    assert slices([own], gold, gold, student)[0].p_holm < 1e-10  # type: ignore[operator]


def test_an_axis_of_other_rows_is_refused() -> None:
    with pytest.raises(UserError, match="slices by length: 9 rows are sorted, there are 8"):
        slices([quantile_axis("length", np.arange(9))], *[np.zeros(8, int)] * 3)
