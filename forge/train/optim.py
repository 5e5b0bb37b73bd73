"""AdamW with the usual parameter groups, and the learning rate as a pure function of the step."""

from __future__ import annotations

import math
from typing import Any

import torch

from forge.config.schema import Train

NO_DECAY_DIMENSIONS = 1  # biases and normalisation weights are vectors


def build_optimizer(
    model: torch.nn.Module,
    settings: Train,
    extra: torch.nn.Module | None = None,
    extra_learning_rate: float | None = None,
) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101); vectors are not decayed.

    Each group's `lr_factor` is what the scheduled learning rate is multiplied by; 1 but for `extra`.
    """
    factor = extra_learning_rate / settings.learning_rate if extra_learning_rate else 1.0
    groups = _groups(model, settings, 1.0) + (_groups(extra, settings, factor) if extra else [])
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=settings.learning_rate,
        betas=settings.adam_betas,
        eps=settings.adam_epsilon,
        fused=True,  # one kernel for all parameters, on the CPU too
    )


def _groups(module: torch.nn.Module, settings: Train, lr_factor: float) -> list[dict[str, Any]]:
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in trained if parameter.ndim > NO_DECAY_DIMENSIONS]
    vectors = [parameter for parameter in trained if parameter.ndim <= NO_DECAY_DIMENSIONS]
    return [
        {"params": decayed, "weight_decay": settings.weight_decay, "lr_factor": lr_factor},
        {"params": vectors, "weight_decay": 0.0, "lr_factor": lr_factor},
    ]


def warmup_steps(settings: Train, total_steps: int) -> int:
    """Steps of linear warm-up, from `warmup_steps` or else `warmup_ratio`."""
    if settings.warmup_steps is not None:
        return settings.warmup_steps
    return math.ceil(settings.warmup_ratio * total_steps)


def learning_rate(settings: Train, step: int, total_steps: int, restarts_at: int = 0) -> float:
    """Learning rate of update number `step`, counted from 0.

    Warm-up rises linearly from 1/(w+1) of the peak; then `linear` falls to 0, `cosine` falls to 0 along half a wave,
    `constant` stays, `inverse_sqrt` falls with the square root of the step (Vaswani et al. 2017, §5.3).
    What begins to learn at a later step needs a warm-up of its own: the schedule then ends before `restarts_at` and
    begins anew there.
    """
    if 0 < restarts_at < total_steps:
        step, total_steps = (
            (step, restarts_at) if step < restarts_at else (step - restarts_at, total_steps - restarts_at)
        )
    warmup = warmup_steps(settings, total_steps)
    if step < warmup:
        return settings.learning_rate * (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1, total_steps - warmup)
    shapes = {
        "linear": 1.0 - done,
        "cosine": 0.5 * (1.0 + math.cos(math.pi * min(1.0, done))),
        "constant": 1.0,
        "inverse_sqrt": math.sqrt(max(1, warmup) / max(1, step + 1)) if warmup else 1.0 / math.sqrt(step + 1),
    }
    return settings.learning_rate * max(0.0, shapes[settings.schedule])
