"""What every loss of samples must obey, over one table of all of them."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from rl_golden import LOGP, MASK, OLD
from torch import Tensor

from forge.objectives.rl.kl import Estimator, kl_estimate
from forge.objectives.rl.losses import (
    Normaliser,
    Policy,
    clipped_loss,
    count_tokens,
    is_clipped,
    log_ratios,
    policy_loss,
    sequence_log_ratios,
    spread,
    token_loss,
    token_weights,
    without_truncated,
)

POLICIES = {
    "grpo": Policy(),
    "grpo without bounds": Policy(low=None, high=1e9),
    "grpo dual": Policy(dual=3.0),
    "gspo": Policy("gspo", 3e-4, 4e-4),
    "gspo wide": Policy("gspo", 0.2, 0.2, dual=2.0),
    "cispo": Policy("cispo", None, 4.0),
    "cispo both": Policy("cispo", 0.5, 1.0),
}
LONGEST = 7
every = pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
normalised = pytest.mark.parametrize("normaliser", get_args(Normaliser))
estimated = pytest.mark.parametrize("estimator", get_args(Estimator))


def draw(seed: int = 0, apart: float = 0.4) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    old = -torch.rand(6, LONGEST, generator=generator, dtype=torch.float64) * 3
    logp = old + apart * torch.randn(6, LONGEST, generator=generator, dtype=torch.float64)
    mask = torch.arange(LONGEST) < torch.tensor([7, 1, 3, 0, 5, 2])[:, None]
    return logp, old, torch.randn(6, generator=generator, dtype=torch.float64), mask


def total(
    policy: Policy, normaliser: Normaliser, logp: Tensor, old: Tensor, advantages: Tensor, mask: Tensor
) -> Tensor:
    weights = token_weights(mask, normaliser, count_tokens(mask), LONGEST, torch.float64)
    return (weights * policy_loss(logp, old, advantages, mask, policy)).sum()


@every
@normalised
def test_shares_of_any_split_add_up_to_the_whole(policy: Policy, normaliser: Normaliser) -> None:
    if normaliser == "bnpo":
        pytest.skip("the mean of the micro-batches' means: it depends on the cut by definition")
    logp, old, advantages, mask = draw()
    whole = total(policy, normaliser, logp, old, advantages, mask)
    for cut in ([1] * 6, [2, 4], [3, 1, 2], [5, 1]):
        parts = [x.split(cut) for x in (logp, old, advantages, mask)]
        counts = [count_tokens(part) for part in parts[3]]
        totals = {name: sum(count[name] for count in counts) for name in counts[0]}
        shares = [
            (token_weights(m, normaliser, totals, LONGEST, torch.float64) * policy_loss(p, o, a, m, policy)).sum()
            for p, o, a, m in zip(*parts, strict=True)
        ]
        assert torch.stack(shares).sum().item() == pytest.approx(whole.item(), rel=1e-12)


def test_bnpo_is_the_mean_of_the_means_of_the_micro_batches() -> None:
    logp, old, advantages, mask = draw()
    found = []
    for part in (slice(0, 2), slice(2, 6)):
        weights = token_weights(mask[part], "bnpo", {"micro_batches": 2.0}, LONGEST, torch.float64)
        assert weights.sum().item() == pytest.approx(0.5)
        found.append((weights * policy_loss(logp[part], old[part], advantages[part], mask[part], Policy())).sum())
    assert sum(found).item() != pytest.approx(total(Policy(), "bnpo", logp, old, advantages, mask).item(), rel=1e-3)


@every
@normalised
def test_gradients(policy: Policy, normaliser: Normaliser) -> None:
    _, old, advantages, mask = draw()
    logp = (old + 0.05).requires_grad_()  # away from the bounds, where there is no derivative
    if policy.kind == "cispo":  # its ratio is a constant, which finite differences do not know
        (found,) = torch.autograd.grad(total(policy, normaliser, logp, old, advantages, mask), logp)
        weights = token_weights(mask, normaliser, count_tokens(mask), LONGEST, torch.float64)
        torch.testing.assert_close(found, -weights * advantages[:, None] * torch.tensor(0.05).double().exp())
        return
    assert torch.autograd.gradcheck(lambda x: total(policy, normaliser, x, old, advantages, mask), logp)


@every
@normalised
def test_padding_may_hold_anything(policy: Policy, normaliser: Normaliser) -> None:
    logp, old, advantages, mask = draw()
    clean = logp.clone().requires_grad_()
    expected = total(policy, normaliser, clean, old, advantages, mask)
    (gradient,) = torch.autograd.grad(expected, clean)
    assert (gradient[~mask] == 0).all()
    for rubbish in (1e30, -1e30, torch.inf, -torch.inf, torch.nan):
        dirty = torch.where(mask, logp, rubbish).requires_grad_()
        found = total(policy, normaliser, dirty, torch.where(mask, old, -rubbish), advantages, mask)
        assert torch.equal(found, expected)
        assert torch.equal(torch.autograd.grad(found, dirty)[0], gradient)


@every
@pytest.mark.parametrize("apart", [0.0, 1.0, 30.0, 1e4])
def test_no_ratio_however_large_makes_a_gradient_that_is_not_finite(policy: Policy, apart: float) -> None:
    for sign in (1.0, -1.0):
        logp, old, advantages, mask = (x.float() if x.is_floating_point() else x for x in draw())
        logp = (old + sign * apart).requires_grad_()
        loss = total(policy, "dapo", logp, old, advantages, mask)
        assert loss.isfinite()
        assert torch.autograd.grad(loss, logp)[0].isfinite().all()


@every
@normalised
def test_the_first_update_is_the_policy_gradient(policy: Policy, normaliser: Normaliser) -> None:
    """The ratio is 1, so the gradient is −w · A: with every loss the same."""
    logp, _, advantages, mask = draw()
    logp.requires_grad_()
    (found,) = torch.autograd.grad(total(policy, normaliser, logp, logp.detach(), advantages, mask), logp)
    expected = -token_weights(mask, normaliser, count_tokens(mask), LONGEST, torch.float64) * advantages[:, None]
    torch.testing.assert_close(found, expected)


@every
def test_nothing_that_counts_gives_0(policy: Policy) -> None:
    logp, old, advantages, mask = draw()
    for normaliser in get_args(Normaliser):
        leaf = logp.clone().requires_grad_()
        loss = total(policy, normaliser, leaf, old, advantages, torch.zeros_like(mask))
        assert loss.item() == 0
        assert not torch.autograd.grad(loss, leaf)[0].any()


@every
def test_an_advantage_of_0_gives_no_gradient(policy: Policy) -> None:
    logp, old, advantages, mask = draw()
    leaf = logp.requires_grad_()
    loss = total(policy, "dapo", leaf, old, torch.zeros_like(advantages), mask)
    assert not torch.autograd.grad(loss, leaf)[0].any()


def test_weights_of_each_normaliser() -> None:
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]]).bool()
    totals = {"samples": 4.0, "tokens": 10.0, "micro_batches": 2.0}
    rows = {name: token_weights(mask, name, totals, 5) for name in get_args(Normaliser)}
    assert rows["grpo"][:, 0].tolist() == pytest.approx([1 / 12, 1 / 4])
    assert rows["dapo"][:, 0].tolist() == pytest.approx([1 / 10, 1 / 10])
    assert rows["dr_grpo"][:, 0].tolist() == pytest.approx([1 / 20, 1 / 20])
    assert rows["bnpo"][:, 0].tolist() == pytest.approx([1 / 8, 1 / 8])
    assert all((row[~mask] == 0).all() for row in rows.values())


def test_length_bias_of_the_mean_of_each_sample() -> None:
    """With grpo's normaliser a token of a long bad sample is punished less than one of a short bad sample."""
    mask = torch.arange(8) < torch.tensor([8, 2])[:, None]
    weights = {name: token_weights(mask, name, count_tokens(mask), 8) for name in ("grpo", "dapo", "dr_grpo")}
    assert weights["grpo"][0, 0] < weights["grpo"][1, 0]
    assert weights["dapo"][0, 0] == weights["dapo"][1, 0]
    assert weights["dr_grpo"][0, 0] == weights["dr_grpo"][1, 0]


def test_truncated_samples_leave_the_loss_and_the_tokens() -> None:
    ended = torch.tensor([True, False, True, True])
    kept = without_truncated(MASK, ended)
    assert kept[1].sum() == 0
    assert count_tokens(kept) == {"samples": 4.0, "tokens": 10.0, "micro_batches": 1.0}
    advantages = torch.ones(4).double()
    logp = LOGP.clone().requires_grad_()
    (found,) = torch.autograd.grad(total(Policy(), "dapo", logp, OLD, advantages, kept), logp)
    assert (found[1] == 0).all()


def test_the_dual_clip_bounds_what_one_bad_token_costs() -> None:
    ratio = torch.tensor(8.0).log()
    bad = torch.tensor(-1.0)
    assert clipped_loss(ratio, bad).item() == pytest.approx(8.0)
    assert clipped_loss(ratio, bad, dual=3.0).item() == pytest.approx(3.0)
    assert clipped_loss(ratio, -bad, dual=3.0).item() == pytest.approx(-1.28)
    assert clipped_loss(torch.tensor(2.0).log(), bad, dual=3.0).item() == pytest.approx(2.0)


def test_the_upper_bound_alone_may_be_higher() -> None:
    ratio, good, bad = torch.tensor(1.25).log(), torch.tensor(1.0), torch.tensor(-1.0)
    assert is_clipped(ratio, good, low=0.2, high=0.2)
    assert not is_clipped(ratio, good, low=0.2, high=0.28)
    assert not is_clipped(ratio, bad, low=0.2, high=0.2)
    assert is_clipped(-2 * ratio, bad, low=0.2, high=0.2)
    assert not is_clipped(-2 * ratio, bad, low=None, high=0.2)


@pytest.mark.parametrize("normaliser", ["grpo", "dapo"])
def test_gspo_token_by_token_has_the_gradient_of_gspo(normaliser: Normaliser) -> None:
    logp, old, advantages, mask = draw(apart=0.1)
    policy = Policy("gspo", 0.03, 0.04, dual=1.5)
    weights = token_weights(mask, normaliser, count_tokens(mask), LONGEST, torch.float64)
    whole, apart = (logp.clone().requires_grad_() for _ in range(2))
    (expected,) = torch.autograd.grad((weights * policy_loss(whole, old, advantages, mask, policy)).sum(), whole)
    ratios = spread(sequence_log_ratios(apart, old, mask), apart)
    loss = (weights * token_loss(ratios, apart, advantages[:, None], policy)).sum()
    torch.testing.assert_close(torch.autograd.grad(loss, apart)[0], expected)


def test_a_ratio_of_a_sample_does_not_grow_with_its_length() -> None:
    logp, old = torch.full((2, 50), -1.0), torch.full((2, 50), -1.1)
    mask = torch.arange(50) < torch.tensor([50, 2])[:, None]
    assert sequence_log_ratios(logp, old, mask).flatten().tolist() == pytest.approx([0.1, 0.1])
    assert log_ratios(logp, old, mask)[1, 2:].eq(0).all()


# Estimates of the divergence


PI = torch.tensor([0.1, 0.2, 0.3, 0.4]).double()
REF = torch.tensor([0.4, 0.1, 0.2, 0.3]).double()


def mean_of_gradients(estimator: Any) -> Tensor:
    """E over tokens that the model samples of the estimate's own gradient, exactly, by its logits."""
    logits = PI.log().requires_grad_()
    log_probs = logits.log_softmax(-1)
    estimates = kl_estimate(log_probs, REF.log(), estimator)
    return torch.autograd.grad((PI * estimates).sum(), logits)[0]


def gradient_of(divergence: Any) -> Tensor:
    logits = PI.log().requires_grad_()
    return torch.autograd.grad(divergence(logits.log_softmax(-1)), logits)[0]


def test_k1_and_k3_are_right_on_average_and_k2_is_not() -> None:
    exact = (PI * (PI / REF).log()).sum().item()
    mean = {name: (PI * kl_estimate(PI.log(), REF.log(), name)).sum().item() for name in get_args(Estimator)}
    assert mean["k1"] == pytest.approx(exact)
    assert mean["k3"] == pytest.approx(exact)
    assert mean["k3+"] == pytest.approx(exact)
    assert mean["k2"] != pytest.approx(exact, rel=0.01)


def test_only_the_gradient_of_k2_is_that_of_the_divergence() -> None:
    forward = gradient_of(lambda log_p: (log_p.exp() * (log_p - REF.log())).sum())
    reverse = gradient_of(lambda log_p: -(REF * log_p).sum())
    torch.testing.assert_close(mean_of_gradients("k2"), forward)
    torch.testing.assert_close(mean_of_gradients("k3+"), forward)
    torch.testing.assert_close(mean_of_gradients("k3"), reverse)
    torch.testing.assert_close(mean_of_gradients("k1"), torch.zeros(4).double(), atol=1e-12, rtol=0)


@estimated
def test_an_estimate_is_0_at_identity_and_never_below_it_but_for_k1(estimator: Any) -> None:
    logp, reference, _, _ = draw(apart=3.0)
    assert not kl_estimate(logp, logp, estimator).any()
    if estimator != "k1":
        assert (kl_estimate(logp, reference, estimator) >= 0).all()


@estimated
@pytest.mark.parametrize("apart", [100.0, 1e5, -1e5])
def test_an_estimate_of_models_far_apart_is_finite(estimator: Any, apart: float) -> None:
    logp = torch.full((3,), -2.0).requires_grad_()
    value = kl_estimate(logp, logp.detach() + apart, estimator)
    assert value.isfinite().all()
    assert torch.autograd.grad(value.sum(), logp)[0].isfinite().all()


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_gradients_of_estimates(estimator: Any) -> None:
    logp, reference, _, _ = draw()
    assert torch.autograd.gradcheck(lambda x: kl_estimate(x, reference, estimator), logp.requires_grad_())


def test_a_tiny_difference_is_not_lost_in_rounding() -> None:
    """eᵈ − d − 1 in fp32 is 0 or below for d = 1e-4; by expm1 it is near d² / 2."""
    logp = torch.tensor([-1.0, -5.0])
    assert (kl_estimate(logp, logp + 1e-3, "k3") > 0).all()
