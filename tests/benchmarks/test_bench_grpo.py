"""The benchmark of GRPO steps, tiny: both trainers run, sample what they may, and learn."""

from __future__ import annotations

import pytest

from bench import grpo_step


@pytest.mark.slow
@pytest.mark.parametrize("ending", [0, 3])
def test_each_side_samples_and_learns(ending: int) -> None:
    pytest.importorskip("trl", reason="TRL is a test extra: pip install trl==1.16.0")
    case = grpo_step.Case("tiny", ending, width=48, layers=1, vocabulary=64, prompts=2, samples=4, longest=6)
    model = case.model()
    for name, side in grpo_step.SIDES.items():
        found = side(case, model, 2)
        assert 0 < found.sampling < found.seconds, name
        assert found.tokens <= 6
        assert (found.tokens < 5) == bool(ending), name
