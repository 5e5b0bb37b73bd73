"""What a configuration chose, as the losses and guards take it."""

from __future__ import annotations

from forge.config.schema import RL
from forge.config.schema.rl import Guard
from forge.objectives.rl.guards import HeldOutGuard, Limits, Patience
from forge.objectives.rl.losses import Policy
from forge.objectives.rl.share import Mixture


def mixture_of(chosen: RL, alpha: float) -> Mixture:
    """What the loss is made of."""
    return Mixture(
        Policy(chosen.loss, chosen.clip.low, chosen.clip.high, chosen.clip.dual),
        chosen.kl.beta,
        chosen.kl.estimator,
        chosen.entropy,
        alpha,
        chosen.distill.beta,
        chosen.distill.temperature,
    )


def limits_of(chosen: RL) -> Limits:
    """When to warn and when to stop."""
    flat, truncated, kl, entropy = chosen.guards.flat, chosen.guards.truncated, chosen.guards.kl, chosen.guards.entropy
    return Limits(
        flat.share,
        patience(flat),
        truncated.share,
        patience(truncated),
        kl.nats,
        patience(kl),
        entropy.share,
        patience(entropy),
    )


def held_out_of(chosen: RL) -> HeldOutGuard:
    """The guard over a metric that is no reward."""
    guard = chosen.guards.held_out
    return HeldOutGuard(margin=guard.margin, patience=patience(guard))


def patience(guard: Guard) -> Patience:
    """How many bad ones in a row."""
    return Patience(guard.warn, guard.stop)
