"""Losses of language models, a few label positions at a time: memory does not grow with tokens × vocabulary.

The gradient of a chunk's logits is taken while they are at hand, so neither the logits of all tokens nor their
gradient ever exist. Small chunks also stay in the processor's cache.

Shape letters: P positions (labels that count), n positions of a chunk, D width, V tokens of the vocabulary, K losses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from forge.models.head import Head
from forge.tasks.base import IGNORED_LABEL, Batch, forward

CHUNK_BYTES = {"cpu": 4_000_000, "cuda": 256_000_000}  # of one chunk's logits in fp32

RowLosses = Callable[[Tensor, Tensor], Tensor]
"""(logits_nV, positions_n) → sums_K of each loss over these positions, in fp32."""


class Linear(Protocol):
    """What makes logits of hidden states: a model's `Head`, or copies of its weights."""

    @property
    def weight(self) -> Tensor:
        """weight_VD."""
        ...

    @property
    def bias(self) -> Tensor | None:
        """bias_V, or None."""
        ...


def sum_over_rows(
    states_MX: Tensor, head: Linear | None, positions_P: Tensor, losses: RowLosses, weights: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """(Σ_k weight_k · sum_k, sums_K): differentiable in the states and the head, and for the log.

    `states_MX` are hidden states (D) with their head, or logits (V) without; `positions_P` are rows of it, each once.
    """
    weight, bias = (head.weight, head.bias) if head else (None, None)
    apply: Callable[..., tuple[Tensor, Tensor]] = _Rows.apply
    return apply(states_MX, weight, bias, positions_P, losses, weights)


class Rows(Protocol):
    """What a model says at every position of a batch, looked at a few positions at a time."""

    def at(self, positions_n: Tensor) -> Any:
        """Logits (n, V) in fp32, or what stands for them."""
        ...


@dataclass(frozen=True)
class WholeRows:
    """Hidden states with the head that makes logits of them, or the logits themselves; shape (B, T, …)."""

    states_BTX: Tensor
    head: Linear | None

    def at(self, positions_n: Tensor) -> Tensor:
        """logits_nV in fp32."""
        states_nX = self.states_BTX.flatten(0, 1).index_select(0, positions_n)
        if self._layer is None:
            return states_nX.float()
        weight_VD, bias_V = self._layer
        with torch.autocast(states_nX.device.type, enabled=False):
            return functional.linear(states_nX.to(weight_VD.dtype), weight_VD, bias_V).float()

    @cached_property
    def _layer(self) -> tuple[Tensor, Tensor | None] | None:
        if self.head is None:
            return None
        bias_V, dtype = self.head.bias, _product_dtype(self.states_BTX)
        return self.head.weight.to(dtype), None if bias_V is None else bias_V.to(dtype)


def rows_of(model: torch.nn.Module, batch: Batch, head: Head | None) -> WholeRows:
    """A forward pass up to where logits would be made of all tokens."""
    return whole_rows(run_to_rows(model, batch, head), head)


def whole_rows(states_BTX: Tensor, head: Linear | None) -> WholeRows:
    """The rows of these states. Called where the forward pass was, under its autocast."""
    rows = WholeRows(states_BTX, head)
    _ = rows._layer  # under the autocast of now: later, where a chunk is looked at, there is none
    return rows


def labels_of_rows(labels_BT: Tensor, causal: bool) -> Tensor:
    """labels_M of the M = B·T rows. In a decoder alone the row of a token is about the next one."""
    if causal:
        labels_BT = functional.pad(labels_BT[:, 1:], (0, 1), value=IGNORED_LABEL)
    return labels_BT.flatten()


def run_to_rows(model: torch.nn.Module, batch: Batch, head: Head | None) -> Tensor:
    """The hidden states that `head` makes logits of, (B, T, D); without a head the logits themselves, (B, T, V)."""
    if head is None:
        logits_BTV: Tensor = forward(model, batch).logits
        return logits_BTV
    with head.held_back() as seen:
        forward(model, batch)
    return seen[0]


def valid_positions(valid_M: Tensor) -> Tensor:
    """Rows to look at. A GPU would have to wait to learn which ones count, so there it is all of them."""
    if valid_M.device.type == "cpu":
        return valid_M.nonzero().flatten()
    return torch.arange(len(valid_M), device=valid_M.device)


def rows_at_once(vocabulary: int, device: torch.device) -> int:
    """How many rows of logits make a chunk."""
    return max(16, CHUNK_BYTES.get(device.type, CHUNK_BYTES["cuda"]) // (4 * vocabulary))


class _Rows(torch.autograd.Function):
    """Gradients are found in the forward pass; the backward pass only scales them."""

    @staticmethod
    def forward(
        ctx: Any,
        states_MX: Tensor,
        weight_VD: Tensor | None,
        bias_V: Tensor | None,
        positions_P: Tensor,
        losses: RowLosses,
        weights: Sequence[float],
    ) -> tuple[Tensor, Tensor]:
        weights_K = torch.tensor(list(weights), device=states_MX.device)
        sums_K = torch.zeros(len(weights_K), device=states_MX.device)
        wants = ctx.needs_input_grad[:3]
        d_states, d_weight, d_bias = (
            torch.zeros_like(tensor) if wanted and tensor is not None else None
            for tensor, wanted in zip((states_MX, weight_VD, bias_V), wants, strict=True)
        )
        cast = _product_dtype(states_MX)
        with torch.autocast(states_MX.device.type, enabled=False):
            weight_VD = None if weight_VD is None else weight_VD.to(cast)
            vocabulary = states_MX.shape[-1] if weight_VD is None else len(weight_VD)
            for positions_n in torch.split(positions_P, rows_at_once(vocabulary, states_MX.device)):
                if not len(positions_n):
                    continue
                states_nX = states_MX.index_select(0, positions_n)
                if weight_VD is not None:
                    states_nX = states_nX.to(cast)
                    logits_nV = functional.linear(states_nX, weight_VD, None if bias_V is None else bias_V.to(cast))
                else:
                    logits_nV = states_nX
                found_K, d_logits_nV = _with_gradient(logits_nV, positions_n, losses, weights_K, any(wants))
                sums_K += found_K
                if d_logits_nV is None:
                    continue
                d_logits_nV = d_logits_nV.to(cast)
                if d_states is not None:
                    d_chunk = d_logits_nV if weight_VD is None else d_logits_nV @ weight_VD
                    d_states.index_copy_(0, positions_n, d_chunk.to(d_states.dtype))
                if d_weight is not None:
                    if cast == d_weight.dtype:
                        d_weight.addmm_(d_logits_nV.T, states_nX)
                    else:
                        d_weight += d_logits_nV.T @ states_nX
                if d_bias is not None:
                    d_bias += d_logits_nV.sum(0)
        ctx.save_for_backward(d_states, d_weight, d_bias)
        ctx.mark_non_differentiable(sums_K)
        return (weights_K * sums_K).sum(), sums_K

    @staticmethod
    def backward(ctx: Any, d_loss: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        found = [None if saved is None else saved * d_loss.to(saved.dtype) for saved in ctx.saved_tensors]
        return (*found, None, None, None)


def _product_dtype(states_MX: Tensor) -> torch.dtype:
    """bf16 under bf16's autocast; fp16 would lose gradients that are not scaled yet, so there it is fp32."""
    kind = states_MX.device.type
    if torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.bfloat16:
        return torch.bfloat16
    return torch.float32 if states_MX.dtype == torch.float16 else states_MX.dtype


def _with_gradient(
    logits_nV: Tensor, positions_n: Tensor, losses: RowLosses, weights_K: Tensor, wanted: bool
) -> tuple[Tensor, Tensor | None]:
    if not wanted:
        return losses(logits_nV.float(), positions_n), None
    leaf_nV = logits_nV.float().detach().requires_grad_()
    with torch.enable_grad():
        sums_K = losses(leaf_nV, positions_n)
        (gradient_nV,) = torch.autograd.grad((weights_K * sums_K).sum(), leaf_nV)
    return sums_K.detach(), gradient_nV
