"""How far the model has moved from its reference: estimates of a divergence from the sampled tokens alone."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Estimator = Literal["k1", "k2", "k3", "k3+"]

LIMIT = 20.0
"""Log-ratios are cut to ±20: e²⁰ is 5·10⁸, and in fp32 e⁸⁹ is ∞, whose gradient is NaN."""


def kl_estimate(logp: Tensor, reference: Tensor, estimator: Estimator = "k3", limit: float = LIMIT) -> Tensor:
    """Estimates of KL(model ‖ reference), one a token, in nats; any one shape. `logp` are those of sampled tokens.

    With d = log reference − log model, cut to ±limit (Schulman 2020, joschu.net/blog/kl-approx.html):

        k1 = −d              unbiased, of either sign; its gradient is 0 on average, so it cannot be a penalty
        k2 = d² / 2          ≥ 0, biased; its gradient is on average that of KL(model ‖ reference)
        k3 = eᵈ − d − 1      ≥ 0, unbiased; its gradient is on average that of KL(reference ‖ model)
        k3+                  the value of k3 with the gradient of k2

    "On average" is over tokens that the model itself sampled. Where a log-ratio was cut the gradient is 0.
    """
    d = (reference - logp).clamp(-limit, limit)
    if estimator == "k1":
        return -d
    if estimator == "k2":
        return d.square() / 2
    value = torch.expm1(d) - d
    if estimator == "k3":
        return value
    half = d.square() / 2
    return value.detach() + half - half.detach()
