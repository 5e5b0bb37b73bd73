"""Learning rates against the schedules of transformers, and the optimizer's groups."""

from __future__ import annotations

import pytest
import torch
from transformers import get_scheduler

from forge.config.schema import Train
from forge.train.optim import build_optimizer, learning_rate, warmup_steps

REFERENCES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("warmup", [0, 7])
def test_equals_transformers_after_the_warmup(name: str, warmup: int) -> None:
    total = 40
    train = Train(schedule=name, warmup_steps=warmup, learning_rate=2e-3)  # type: ignore[arg-type]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2e-3)
    scheduler = get_scheduler(REFERENCES[name], optimizer, num_warmup_steps=warmup, num_training_steps=total)
    for step in range(total):
        if step >= warmup:
            assert learning_rate(train, step, total) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-12)
        optimizer.step()
        scheduler.step()


def test_warmup_rises_from_above_zero_to_just_below_the_peak() -> None:
    train = Train(warmup_steps=4, learning_rate=1.0)
    rates = [learning_rate(train, step, 20) for step in range(6)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[5] < 1.0


def test_inverse_sqrt_halves_when_steps_quadruple() -> None:
    train = Train(schedule="inverse_sqrt", warmup_steps=100, learning_rate=1.0)
    assert learning_rate(train, 399, 10_000) == pytest.approx(0.5)
    assert learning_rate(train, 1_599, 10_000) == pytest.approx(0.25)


def test_no_schedule_goes_below_zero_or_above_the_peak() -> None:
    for name in ("linear", "cosine", "constant", "inverse_sqrt"):
        train = Train(schedule=name, warmup_ratio=0.1, learning_rate=3e-4)
        rates = [learning_rate(train, step, 50) for step in range(50)]
        assert all(0 < rate <= 3e-4 for rate in rates), name


def test_ratio_counts_unless_steps_are_given() -> None:
    assert warmup_steps(Train(warmup_ratio=0.06), 50) == 3
    assert warmup_steps(Train(warmup_ratio=0.06, warmup_steps=0), 50) == 0


def test_vectors_are_not_decayed() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))
    groups = build_optimizer(model, Train(weight_decay=0.1)).param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert decay[id(model[0].weight)] == 0.1
    assert [decay[id(p)] for p in (model[0].bias, model[1].weight, model[1].bias)] == [0.0] * 3
    assert len(decay) == 4


def test_what_begins_late_has_a_schedule_of_its_own() -> None:
    train = Train(learning_rate=1.0, schedule="cosine", warmup_steps=3)
    whole = [learning_rate(train, step, 30, 10) for step in range(30)]
    assert whole[:10] == [learning_rate(train, step, 10) for step in range(10)]
    assert whole[10:] == [learning_rate(train, step, 20) for step in range(20)]
    assert [learning_rate(train, step, 8, 10) for step in range(8)] == [
        learning_rate(train, step, 8) for step in range(8)
    ]
