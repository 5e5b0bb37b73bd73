"""Holm's correction."""

from __future__ import annotations

import numpy as np
import pytest

from forge.tasks.metrics.multiple import holm


def test_by_hand_in_the_order_given() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([0.3]) == pytest.approx([0.3])
    assert holm([]).shape == (0,)
    assert holm([[0.01, 0.04], [0.04, 0.01]]) == pytest.approx(np.array([[0.02, 0.04], [0.04, 0.02]]))


def test_any_false_finding_is_as_rare_as_it_says() -> None:
    p = np.random.default_rng(0).random((2000, 10))
    assert np.mean((holm(p) <= 0.05).any(1)) == pytest.approx(0.05, abs=0.02)
    assert np.mean((p <= 0.05).any(1)) > 0.35
