"""The k likeliest tokens in place of a whole vocabulary: what stays exact, and what the tail stands for."""

from __future__ import annotations

import math

import pytest
import torch

from forge.objectives.kd.losses.forward_kl import forward_kl
from forge.objectives.kd.losses.topk_kl import top_k, topk_kl
from forge.objectives.kd.top_k import TopK

VOCABULARY = 12
torch.manual_seed(0)
TEACHER, STUDENT = torch.randn(2, 3, VOCABULARY) * 3, torch.randn(6, VOCABULARY)


def kept(k: int) -> TopK:
    return TopK(*top_k(TEACHER, k), VOCABULARY)


@pytest.mark.parametrize("k", [1, 4, VOCABULARY - 1, VOCABULARY])
def test_probabilities_add_up_and_the_k_are_exact(k: int) -> None:
    made, exact = kept(k).logits(), TEACHER.log_softmax(-1)
    assert made.shape == TEACHER.shape
    torch.testing.assert_close(made.exp().sum(-1), torch.ones(2, 3))
    indices = kept(k).indices_MK
    torch.testing.assert_close(made.gather(-1, indices), exact.gather(-1, indices))
    if k == VOCABULARY:
        torch.testing.assert_close(made, exact)


def test_what_is_left_out_is_spread_evenly() -> None:
    made = kept(4).logits().flatten(0, 1)
    for row, indices in zip(made, kept(4).indices_MK.flatten(0, 1), strict=True):
        others = [i for i in range(VOCABULARY) if i not in indices.tolist()]
        assert len({round(row[i].item(), 5) for i in others}) == 1
        assert row[others].exp().sum().item() == pytest.approx(1 - row[indices].exp().sum().item(), abs=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("k", [3, VOCABULARY])
def test_another_temperature_is_that_of_the_spread_distribution(k: int, temperature: float) -> None:
    found = kept(k).tempered(temperature)
    expected = (kept(k).logits() / temperature).log_softmax(-1).gather(-1, kept(k).indices_MK)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_loss_of_a_cache_is_that_of_the_teacher() -> None:
    rows = torch.tensor([5, 0, 3])
    chunk = kept(4).at(rows)
    assert chunk.logprobs_MK.shape == (3, 4)
    cached = topk_kl(STUDENT[rows], chunk.tempered(1.0), chunk.indices_MK)
    online = topk_kl(STUDENT[rows], *top_k(TEACHER.flatten(0, 1)[rows], 4))
    torch.testing.assert_close(cached, online)
    whole = forward_kl(STUDENT[rows], TEACHER.flatten(0, 1)[rows])
    assert (cached <= whole + 1e-6).all()
    torch.testing.assert_close(forward_kl(STUDENT[rows], kept(VOCABULARY).at(rows).logits()), whole)


def test_a_certain_teacher_leaves_a_tail_of_nothing() -> None:
    certain = torch.full((1, VOCABULARY), -1e4)
    certain[0, 7] = 1e4
    made = TopK(*top_k(certain, 2), VOCABULARY)
    assert math.isfinite(made.log_tail().item())
    assert made.logits()[0, 7].item() == pytest.approx(0.0, abs=1e-6)
    assert torch.isfinite(forward_kl(STUDENT[:1], made.logits())).all()
