"""Golden values of the losses and advantages, and TRL's own functions where it is installed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rl_golden import LENGTHS, LOGP, LONGEST, MASK, OLD, REFERENCE, REWARDS
from torch import Tensor

from forge.objectives.rl.advantages import group_advantages
from forge.objectives.rl.kl import kl_estimate
from forge.objectives.rl.losses import (
    Normaliser,
    Policy,
    count_tokens,
    is_clipped,
    log_ratios,
    policy_loss,
    sequence_log_ratios,
    token_weights,
)

ADVANTAGES = group_advantages(REWARDS).flatten()
CLIP = Policy(high=0.2)
GSPO = Policy("gspo", low=3e-4, high=4e-4)
CISPO = Policy("cispo", None, 4.0)


def whole(policy: Policy, normaliser: Normaliser, logp: Tensor, beta: float = 0.0, mask: Tensor = MASK) -> Tensor:
    losses = policy_loss(logp, OLD, ADVANTAGES, mask, policy)
    if beta:
        losses = losses + beta * torch.where(mask, kl_estimate(logp, REFERENCE), 0.0)
    return (token_weights(mask, normaliser, count_tokens(mask), LONGEST, torch.float64) * losses).sum()


@pytest.mark.parametrize(
    ("policy", "normaliser", "beta", "value", "gradient", "one"),
    [
        (CLIP, "grpo", 0.0, 0.0364821, 0.586662, 0.131829),
        (CLIP, "bnpo", 0.0, 0.0258639, 0.564275, 0.087886),
        (CLIP, "dapo", 0.0, 0.0258639, 0.564275, 0.087886),
        (CLIP, "dr_grpo", 0.0, 0.0096990, 0.211603, 0.032957),
        (CLIP, "grpo", 0.04, 0.0368885, 0.590365, 0.132305),
        (CLIP, "dapo", 0.04, 0.0263081, 0.568024, 0.088203),
        (Policy(high=0.28), "dapo", 0.0, 0.0198901, 0.636230, 0.087886),
        (GSPO, "grpo", 0.0, 0.0394635, 0.381275, 0.105267),
        (Policy("gspo", 0.2, 0.2), "grpo", 0.0, 0.0066117, 0.751977, 0.105267),
        (CISPO, "dapo", 0.0, 0.0464242, 0.759806, 0.087886),
    ],
)
def test_golden_losses_and_gradients(
    policy: Policy, normaliser: Normaliser, beta: float, value: float, gradient: float, one: float
) -> None:
    logp = LOGP.clone().requires_grad_()
    loss = whole(policy, normaliser, logp, beta)
    (found,) = torch.autograd.grad(loss, logp)
    assert loss.item() == pytest.approx(value, abs=1e-6)
    assert found.abs().sum().item() == pytest.approx(gradient, abs=1e-6)
    assert found[1, 1].item() == pytest.approx(one, abs=1e-6)


@pytest.mark.parametrize(
    ("policy", "share"), [(CLIP, 0.25), (Policy(high=0.28), 0.1667), (GSPO, 0.5), (Policy("gspo", 0.2, 0.2), 0.0)]
)
def test_golden_clip_shares(policy: Policy, share: float) -> None:
    if policy.kind == "gspo":
        clipped = is_clipped(
            sequence_log_ratios(LOGP, OLD, MASK), ADVANTAGES[:, None], low=policy.low, high=policy.high
        )
        assert clipped.double().mean().item() == pytest.approx(share, abs=1e-4)
        return
    clipped = is_clipped(log_ratios(LOGP, OLD, MASK), ADVANTAGES[:, None], low=policy.low, high=policy.high)
    assert (clipped & MASK).sum().item() / MASK.sum().item() == pytest.approx(share, abs=1e-4)


@pytest.mark.parametrize(
    ("scale", "golden"),
    [
        ("group", [0.706940, -0.706940, -0.706108, 0.706108]),
        ("none", [0.3, -0.3, -0.05, 0.05]),
        ("batch", [1.199520, -1.199520, -0.199920, 0.199920]),
    ],
)
def test_golden_advantages(scale: Any, golden: list[float]) -> None:
    assert group_advantages(REWARDS, scale=scale).flatten().tolist() == pytest.approx(golden, abs=1e-6)


def test_golden_kl() -> None:
    assert (kl_estimate(LOGP, REFERENCE) * MASK).sum().item() / 12 == pytest.approx(0.011105, abs=1e-6)


# TRL itself


class Accelerator:
    num_processes = 1
    sync_gradients = True

    def gather(self, x: Tensor) -> Tensor:
        return x

    def reduce(self, x: Tensor, reduction: str) -> Tensor:
        return x


def trl_loss(logp: Tensor, loss_type: str, mask: Tensor = MASK, advantages: Tensor = ADVANTAGES, **more: Any) -> Tensor:
    trainers = pytest.importorskip("trl.trainer.grpo_trainer", reason="TRL is a test extra: pip install trl==1.16.0")
    from collections import defaultdict

    settings = {
        "beta": 0.0,
        "level": "token",
        "low": 0.2,
        "high": 0.2,
        "delta": None,
        "windows": 1,
    } | more
    trainer = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *_, **__: (logp, torch.zeros_like(logp), None),
        aux_loss_enabled=False,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        importance_sampling_level=settings["level"],
        beta=settings["beta"],
        loss_type=loss_type,
        epsilon_low=settings["low"],
        epsilon_high=settings["high"],
        args=SimpleNamespace(
            delta=settings["delta"], use_bias_correction_kl=False, steps_per_generation=settings["windows"]
        ),
        use_vllm=False,
        vllm_importance_sampling_correction=False,
        model=SimpleNamespace(training=True),
        current_gradient_accumulation_steps=settings["windows"],
        max_completion_length=LONGEST,
        accelerator=Accelerator(),
        _entropy_bonus_enabled=False,
        _metrics={"train": defaultdict(list)},
    )
    ids = torch.zeros_like(mask, dtype=torch.long)
    inputs = {
        "prompt_ids": ids[:, :1],
        "prompt_mask": torch.ones_like(ids[:, :1]),
        "completion_ids": ids,
        "completion_mask": mask.long(),
        "advantages": advantages,
        "old_per_token_logps": settings.get("old", OLD),
        "ref_per_token_logps": settings.get("reference", REFERENCE),
        "num_items_in_batch": torch.tensor(settings.get("tokens", int(mask.sum()))),
    }
    return trainers.GRPOTrainer._compute_loss(trainer, None, inputs)


CUT = MASK & torch.tensor([True, False, True, True])[:, None]


@pytest.mark.parametrize("mask", [MASK, CUT], ids=["whole", "one sample masked as truncated"])
@pytest.mark.parametrize(
    ("policy", "normaliser", "beta", "loss_type", "options"),
    [
        (CLIP, "grpo", 0.0, "grpo", {}),
        (CLIP, "grpo", 0.3, "grpo", {}),
        (CLIP, "bnpo", 0.3, "bnpo", {}),
        (CLIP, "dapo", 0.3, "dapo", {}),
        (CLIP, "dr_grpo", 0.3, "dr_grpo", {}),
        (Policy(high=0.28), "dapo", 0.0, "dapo", {"high": 0.28}),
        (Policy(high=0.2, dual=1.3), "grpo", 0.0, "grpo", {"delta": 1.3}),
        (GSPO, "grpo", 0.0, "grpo", {"level": "sequence", "low": 3e-4, "high": 4e-4}),
        (CISPO, "dapo", 0.0, "cispo", {"high": 5.0}),
    ],
)
def test_equal_to_trl(
    policy: Policy, normaliser: Normaliser, beta: float, loss_type: str, options: dict[str, Any], mask: Tensor
) -> None:
    mine, its = (LOGP.clone().requires_grad_() for _ in range(2))
    ours, theirs = whole(policy, normaliser, mine, beta, mask), trl_loss(its, loss_type, mask, beta=beta, **options)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-12)
    torch.testing.assert_close(torch.autograd.grad(ours, mine), torch.autograd.grad(theirs, its))


@pytest.mark.parametrize("normaliser", ["grpo", "bnpo", "dapo", "dr_grpo"])
def test_equal_to_trl_in_two_micro_batches(normaliser: Normaliser) -> None:
    """TRL's share of a micro-batch is ours: bnpo's too, which no other cut would give."""
    totals = {"samples": 4.0, "tokens": 12.0, "micro_batches": 2.0}
    for part in (slice(0, 2), slice(2, 4)):
        losses = policy_loss(LOGP[part], OLD[part], ADVANTAGES[part], MASK[part], CLIP)
        ours = (token_weights(MASK[part], normaliser, totals, LONGEST, torch.float64) * losses).sum()
        theirs = trl_loss(
            LOGP[part], normaliser, MASK[part], ADVANTAGES[part], windows=2, tokens=12, old=OLD[part],
            reference=REFERENCE[part],
        )  # fmt: skip
        assert ours.item() == pytest.approx(theirs.item(), abs=1e-12)


def test_lengths_are_those_of_the_mask() -> None:
    assert MASK.sum(-1).tolist() == LENGTHS.tolist()
