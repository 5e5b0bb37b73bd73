"""What the losses share: precision, log-probabilities and a Kullback-Leibler divergence without NaN."""

from __future__ import annotations

import torch

FLOOR = -1e30
"""Stands for −∞: its exponential is 0, and the difference of two of them is finite, where ∞ − ∞ is NaN."""


def fp32(tensor: torch.Tensor) -> torch.Tensor:
    """Half precision becomes fp32; fp32 and fp64 stay as they are."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def full_precision(tensor: torch.Tensor) -> torch.autocast:
    """Autocast off, on the device of `tensor`: it would run a matrix product in half precision."""
    return torch.autocast(tensor.device.type, enabled=False)


def require_same_shape(student: torch.Tensor, teacher: torch.Tensor) -> None:
    """Refuse what would broadcast in silence."""
    if student.shape != teacher.shape:
        raise ValueError(f"student is {tuple(student.shape)} and teacher is {tuple(teacher.shape)}: shapes must agree")


def scaled(logits_NC: torch.Tensor, temperature: float) -> torch.Tensor:
    """Logits over T, in fp32."""
    logits_NC = fp32(logits_NC)
    return logits_NC if temperature == 1.0 else logits_NC / temperature


def log_probs(logits_NC: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """Log-softmax of logits / T over the last dimension."""
    return torch.log_softmax(scaled(logits_NC, temperature), -1)


def teacher_log_probs(logits_NC: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """The same, with FLOOR for −∞: a class that the teacher excludes has 0 · log 0 := 0."""
    return log_probs(logits_NC, temperature).clamp(min=FLOOR)


def kl(log_p_NC: torch.Tensor, log_q_NC: torch.Tensor) -> torch.Tensor:
    """KL(p ‖ q) = Σ_c p(c) · (log p(c) − log q(c)), in nats, one value per row."""
    # The sign is turned on the sums: turned inside, it costs a pass over the whole gradient.
    return -(log_p_NC.exp() * (log_q_NC - log_p_NC)).sum(-1)
