"""Whether a run says that it ended no better than it began."""

from __future__ import annotations

import pytest

from forge.train.state import Best, TrainingState


@pytest.mark.parametrize(
    ("metric", "start", "best", "averaged", "gained"),
    [
        ("bleu", 30.0, 30.5, None, True),
        ("bleu", 30.0, 30.0, None, False),
        ("bleu", 30.0, 29.0, 30.5, True),  # no single checkpoint, but their average
        ("bleu", 30.0, 29.0, 29.5, False),
        ("cer", 0.2, 0.1, None, True),
        ("cer", 0.2, 0.3, None, False),
        ("bleu", None, 1.0, None, True),  # not measured before the first step: nothing is said
    ],
)
def test_what_is_said(metric: str, start: float | None, best: float, averaged: float | None, gained: bool) -> None:
    state = TrainingState(step=10, best=Best(best, 10), start=start)
    assert bool(state.without_gain(metric, averaged)) is not gained


def test_before_the_first_evaluation_nothing_is_said() -> None:
    assert TrainingState(start=1.0).without_gain("bleu") == ""
