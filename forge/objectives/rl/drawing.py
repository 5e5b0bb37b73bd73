"""Drawing the tokens of texts that are written side by side, whatever model writes them.

What is drawn for a sample depends on its own numbers alone, neither on its place in a batch nor on how many processes
there are.

Shape letters: N samples, n of them that are still being written, T tokens, V tokens of the vocabulary in G blocks of b.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from forge.core.hashing import derive_seed
from forge.models.search import LEAVING
from forge.objectives.rl.rules import Rules
from forge.objectives.rl.samples import sampled_mask

BLOCK = 256  # tokens whose probability is added up first


@dataclass(frozen=True)
class Written:
    """N samples, after their end padding. The numbers are of sampled tokens, in nats, and 0 elsewhere."""

    tokens_NT: Tensor
    logp_NT: Tensor
    entropy_NT: Tensor


class Writing(Protocol):
    """A model in the middle of N texts, of which n are still being written."""

    def first(self) -> Tensor:
        """logits_NV of the first token."""
        ...

    def next(self, new_n1: Tensor) -> Tensor:
        """logits_nV of the token after these."""
        ...

    def keep(self, rows_n: Tensor) -> None:
        """Only these rows remain."""
        ...


def drawn(rows: Writing, uniform_NT: Tensor, rules: Rules, ends: Collection[int], padding: int) -> Written:
    """A text in each row, of at most T tokens; rows leave when they end. The numbers are on the model's device."""
    (count, longest), device = uniform_NT.shape, uniform_NT.device
    tokens_NT = torch.full((count, longest), padding, device=device)
    logp_NT = torch.zeros(tokens_NT.shape, device=device)
    entropy_NT = torch.zeros_like(logp_NT)
    last = torch.tensor(sorted(ends), device=device)
    places_n, done_n = torch.arange(count, device=device), torch.zeros(count, dtype=torch.bool, device=device)
    logits_nV = rows.first()
    for step in range(longest):
        forced = rules.forced.get(step)
        if forced is None:
            log_probs_nV = rules.logits(logits_nV).log_softmax(-1)
            probs_nV = log_probs_nV.exp()
            token_n = draw(probs_nV, uniform_NT[places_n, step])
            logp_NT[places_n, step] = log_probs_nV.gather(-1, token_n[:, None])[:, 0]
            entropy_NT[places_n, step] = -(probs_nV * log_probs_nV).sum(-1)
        else:
            token_n = torch.full_like(places_n, forced)
        tokens_NT[places_n, step] = token_n
        done_n = done_n | torch.isin(token_n, last)
        leaving = int(done_n.sum())
        if leaving == len(done_n) or step == longest - 1:
            break
        if leaving * LEAVING >= len(done_n):
            stay_n = (~done_n).nonzero().flatten()
            rows.keep(stay_n)
            places_n, token_n, done_n = places_n[stay_n], token_n[stay_n], done_n[stay_n]
        logits_nV = rows.next(token_n[:, None])
    return _trimmed(tokens_NT, logp_NT, entropy_NT, ends, padding)


def _trimmed(tokens_NT: Tensor, logp_NT: Tensor, entropy_NT: Tensor, ends: Collection[int], padding: int) -> Written:
    """Rows that ended went on for a while; what they wrote then is none of theirs."""
    mask_NT, _ = sampled_mask(tokens_NT, ends)
    longest = int(mask_NT.sum(-1).max())
    parts = ((tokens_NT, padding), (logp_NT, 0), (entropy_NT, 0))
    return Written(*(torch.where(mask_NT, values, fill)[:, :longest] for values, fill in parts))


def draw(probs_NV: Tensor, uniform_N: Tensor) -> Tensor:
    """token_N: the first whose cumulative probability is above the number. Never one of probability 0.

    One number a token is enough, where noise for each token of the vocabulary (as `Watch` takes it) would cost more
    than the model. Sums over blocks, and within the block that the number lies in, are in fp64: in fp32 they would
    leave out the tail of a large vocabulary, and over all of it in fp64 they would cost more than the logits.
    """
    missing = -probs_NV.shape[-1] % BLOCK
    padded_NV = functional.pad(probs_NV, (0, missing)) if missing else probs_NV
    blocks_NGb = padded_NV.reshape(len(probs_NV), -1, BLOCK)
    sums_NG = blocks_NGb.sum(-1).double().cumsum(-1)
    wanted_N1 = _below(uniform_N[:, None] * sums_NG[:, -1:], sums_NG[:, -1:])
    block_N1 = torch.searchsorted(sums_NG, wanted_N1, right=True).clamp(max=sums_NG.shape[-1] - 1)
    before_N1 = torch.where(block_N1 > 0, sums_NG.gather(1, (block_N1 - 1).clamp(min=0)), 0.0)
    inside_Nb = blocks_NGb.gather(1, block_N1[..., None].expand(-1, -1, BLOCK))[:, 0].double().cumsum(-1)
    place_N1 = torch.searchsorted(inside_Nb, _below(wanted_N1 - before_N1, inside_Nb[:, -1:]), right=True)
    return (block_N1 * BLOCK + place_N1)[:, 0].clamp(max=probs_NV.shape[-1] - 1)


def _below(wanted: Tensor, total: Tensor) -> Tensor:
    return torch.minimum(wanted, torch.nextafter(total, torch.zeros_like(total)))


def uniforms(seed: int, rollout: int, rows: Sequence[int], samples: int, longest: int) -> Tensor:
    """uniform_NT of some examples' samples in one rollout: what a row draws is the same in any batch and process."""
    found = [
        torch.rand(
            (samples, longest),
            generator=torch.Generator().manual_seed(derive_seed(seed, "rollout", rollout, row)),
            dtype=torch.float64,
        )
        for row in rows
    ]
    return torch.cat(found)
