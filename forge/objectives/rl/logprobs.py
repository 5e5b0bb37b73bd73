"""Log-probabilities and entropy of sampled tokens, a few rows of logits at a time.

Neither the logits of all tokens nor their gradient ever exist: the backward pass makes a chunk's logits once more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from forge.objectives.rl.rules import Rules
from forge.objectives.rows import WholeRows, _product_dtype, rows_at_once, sum_over_rows


@dataclass(frozen=True)
class Tokens:
    """Sampled tokens: which one a row of the model predicts, and its place in the sample, counted from 0."""

    tokens_M: Tensor
    steps_M: Tensor

    def at(self, rows_n: Tensor) -> Tokens:
        """Those of some rows."""
        return Tokens(self.tokens_M[rows_n], self.steps_M[rows_n])


def tokens_of(tokens_NT: Tensor) -> Tokens:
    """All tokens of N samples, row by row as an encoder-decoder predicts them."""
    steps_NT = torch.arange(tokens_NT.shape[1], device=tokens_NT.device).expand_as(tokens_NT)
    return Tokens(tokens_NT.flatten(), steps_NT.flatten())


def token_log_probs(logits_nV: Tensor, tokens: Tokens, rules: Rules) -> Tensor:
    """logp_n = z[token] − logsumexp(z) of z = the logits under the rules, in nats, at most 0; 0 of a forced token."""
    logits_nV = rules.logits(logits_nV)
    logp_n = logits_nV.gather(-1, tokens.tokens_M[:, None]).squeeze(-1) - logits_nV.logsumexp(-1)
    return torch.where(rules.free(tokens.steps_M), logp_n, 0.0)


def token_entropy(logits_nV: Tensor, tokens: Tokens, rules: Rules) -> Tensor:
    """entropy_n = −Σ_v p(v) · log p(v) under the rules, in nats, from 0 to log V; 0 of a forced token."""
    log_probs_nV = rules.logits(logits_nV).log_softmax(-1)
    entropy_n = -(log_probs_nV.exp() * log_probs_nV).sum(-1)
    return torch.where(rules.free(tokens.steps_M), entropy_n, 0.0)


def sampled_log_probs(
    rows: WholeRows, positions_P: Tensor, tokens: Tokens, rules: Rules, entropy: bool = True
) -> tuple[Tensor, Tensor]:
    """(logp_P, entropy_P) of the sampled tokens of some rows, in fp32, differentiable in the states and the head.

    `positions_P` are rows of the flattened states, each once; `tokens` are of all M rows. Without `entropy` it is 0.
    Under `no_grad` this is the pass of the old policy or the reference.
    """
    weight, bias = (rows.head.weight, rows.head.bias) if rows.head else (None, None)
    states_MX = rows.states_BTX.flatten(0, 1)
    found: tuple[Tensor, Tensor] = _LogProbs.apply(states_MX, weight, bias, positions_P, tokens, rules, entropy)  # type: ignore[no-untyped-call]
    return found


def to_samples(values_P: Tensor, positions_P: Tensor, shape: tuple[int, int]) -> Tensor:
    """values_NT with 0 at positions that are not there."""
    flat_M = values_P.new_zeros(shape[0] * shape[1])
    return flat_M.index_copy(0, positions_P, values_P).view(shape)


@dataclass(frozen=True)
class _Layer:
    weight: Tensor
    bias: Tensor | None


class _LogProbs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states_MX: Tensor,
        weight_VD: Tensor | None,
        bias_V: Tensor | None,
        positions_P: Tensor,
        tokens: Tokens,
        rules: Rules,
        entropy: bool,
    ) -> tuple[Tensor, Tensor]:
        layer = None if weight_VD is None else _Layer(weight_VD, bias_V)
        vocabulary = states_MX.shape[-1] if weight_VD is None else len(weight_VD)
        rows = WholeRows(states_MX[None], layer)
        found = [(states_MX.new_zeros(0, dtype=torch.float32),) * 2]
        for positions_n in torch.split(positions_P, rows_at_once(vocabulary, states_MX.device)):
            logits_nV, sampled = rows.at(positions_n), tokens.at(positions_n)
            logp_n = token_log_probs(logits_nV, sampled, rules)
            found.append((logp_n, token_entropy(logits_nV, sampled, rules) if entropy else torch.zeros_like(logp_n)))
        ctx.save_for_backward(states_MX, weight_VD, bias_V, positions_P)
        ctx.tokens, ctx.rules, ctx.entropy = tokens, rules, entropy
        ctx.half = _product_dtype(states_MX) == torch.bfloat16 and states_MX.dtype != torch.bfloat16
        logp_P, entropy_P = (torch.cat(parts) for parts in zip(*found, strict=True))
        return logp_P, entropy_P

    @staticmethod
    def backward(ctx: Any, *d: Tensor) -> tuple[Tensor | None, ...]:
        states_MX, weight_VD, bias_V, positions_P = ctx.saved_tensors
        tokens, rules, places_M = ctx.tokens, ctx.rules, torch.zeros_like(ctx.tokens.tokens_M)
        places_M[positions_P] = torch.arange(len(positions_P), device=positions_P.device)
        wants = ctx.needs_input_grad[:3]
        leaves = [
            None if tensor is None else tensor.detach().requires_grad_(wanted)
            for tensor, wanted in zip((states_MX, weight_VD, bias_V), wants, strict=True)
        ]

        def pulled(logits_nV: Tensor, positions_n: Tensor) -> Tensor:
            at_n, sampled = places_M[positions_n], tokens.at(positions_n)
            total = (token_log_probs(logits_nV, sampled, rules) * d[0][at_n]).sum()
            if ctx.entropy:
                total = total + (token_entropy(logits_nV, sampled, rules) * d[1][at_n]).sum()
            return total[None]

        head = None if leaves[1] is None else _Layer(leaves[1], leaves[2])
        with torch.enable_grad(), torch.autocast(states_MX.device.type, torch.bfloat16, enabled=ctx.half):
            assert leaves[0] is not None
            loss, _ = sum_over_rows(leaves[0], head, positions_P, pulled, [1.0])
        asked = [leaf for leaf in leaves if leaf is not None and leaf.requires_grad]
        found = iter(torch.autograd.grad(loss, asked))
        return *(next(found) if leaf is not None and leaf.requires_grad else None for leaf in leaves), *(None,) * 4
