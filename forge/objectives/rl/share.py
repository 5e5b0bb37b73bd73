"""One micro-batch's share of the loss of a step, taken a few rows of logits at a time.

    loss = Σ_t w_t · [policy_t + β · kl_t − η · entropy_t] · (1 − α)  +  α · Σ_t w_t · gkd_t

w_t are `token_weights`. Everything that a row needs of others (advantages, a sample's ratio) is known before the pass,
so gradients are found chunk by chunk in one pass over the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from forge.objectives.rl.gkd import gkd_loss
from forge.objectives.rl.kl import Estimator, kl_estimate
from forge.objectives.rl.logprobs import Tokens, token_entropy, token_log_probs
from forge.objectives.rl.losses import LIMIT, Policy, is_clipped, spread, token_loss
from forge.objectives.rl.rules import Rules
from forge.objectives.rows import Rows, WholeRows, sum_over_rows, valid_positions

PARTS = ("policy", "kl", "entropy", "gkd")
FIGURES = ("clipped", "ratio")


@dataclass(frozen=True)
class Mixture:
    """What is added up. `alpha` is the share of the teacher: 1 without rewards is on-policy distillation alone."""

    policy: Policy = field(default_factory=Policy)
    beta: float = 0.0
    estimator: Estimator = "k3"
    entropy: float = 0.0
    alpha: float = 0.0
    gkd_beta: float = 0.5
    gkd_temperature: float = 1.0

    def factors(self) -> list[float]:
        """Of PARTS, in the loss."""
        told = 1.0 - self.alpha
        return [told, told * self.beta, -told * self.entropy, self.alpha]


@dataclass(frozen=True)
class Drawn:
    """What is known of each row before the pass, all of shape (M,). Where the weight is 0 the rest may be anything.

    `old_M` is None on the first update after sampling: the ratio is then 1. `sequence_M` is the sample's log-ratio for
    gspo. `reference_M` is None without a reference.
    """

    tokens: Tokens
    weights_M: Tensor
    advantages_M: Tensor
    old_M: Tensor | None = None
    sequence_M: Tensor | None = None
    reference_M: Tensor | None = None


def share_of(
    rows: WholeRows, drawn: Drawn, mixture: Mixture, rules: Rules, teacher: Rows | None = None
) -> tuple[Tensor, Mapping[str, Tensor]]:
    """(loss, shares): differentiable in the states and the head, and for the log each part before its factor.

    Beside PARTS the shares are of two figures, weighted like the loss: `clipped`, of tokens without a gradient, and
    `ratio`, the mean of ρ (1 on the first update).
    """

    def losses(logits_nV: Tensor, positions_n: Tensor) -> Tensor:
        weights_n, sampled = drawn.weights_M[positions_n], drawn.tokens.at(positions_n)
        counts_n = weights_n > 0
        logp_n = torch.where(counts_n, token_log_probs(logits_nV, sampled, rules), 0.0)
        ratio_n, advantages_n = _log_ratio(logp_n, counts_n, drawn, positions_n), drawn.advantages_M[positions_n]
        policy = mixture.policy
        advantages_n = torch.where(counts_n, advantages_n, 0.0)
        nothing_n = torch.zeros_like(logp_n)
        kl_n = entropy_n = gkd_n = nothing_n
        if drawn.reference_M is not None:
            reference_n = torch.where(counts_n, drawn.reference_M[positions_n], 0.0)
            kl_n = kl_estimate(logp_n, reference_n, mixture.estimator)
        if mixture.entropy:
            entropy_n = token_entropy(logits_nV, sampled, rules)
        else:
            with torch.no_grad():  # for the log alone
                entropy_n = token_entropy(logits_nV, sampled, rules)
        if mixture.alpha and teacher is not None:
            gkd_n = gkd_loss(
                logits_nV, teacher.at(positions_n), beta=mixture.gkd_beta, temperature=mixture.gkd_temperature
            )
        found = [
            token_loss(ratio_n, logp_n, advantages_n, policy),
            kl_n,
            entropy_n,
            gkd_n,
            is_clipped(ratio_n, advantages_n, low=policy.low, high=policy.high).to(logp_n.dtype),
            ratio_n.detach().exp(),
        ]
        return torch.stack([(weights_n * torch.where(counts_n, one_n, 0.0)).sum() for one_n in found])

    factors = [*mixture.factors(), 0.0, 0.0]
    places_P = valid_positions(drawn.weights_M > 0)
    loss, sums_K = sum_over_rows(rows.states_BTX.flatten(0, 1), rows.head, places_P, losses, factors)
    return loss, dict(zip((*PARTS, *FIGURES), sums_K, strict=True))


def _log_ratio(logp_n: Tensor, counts_n: Tensor, drawn: Drawn, positions_n: Tensor) -> Tensor:
    if drawn.sequence_M is not None:
        return spread(torch.where(counts_n, drawn.sequence_M[positions_n], 0.0), logp_n)
    if drawn.old_M is None:
        return logp_n - logp_n.detach()
    return (logp_n - torch.where(counts_n, drawn.old_M[positions_n], 0.0)).clamp(-LIMIT, LIMIT)
