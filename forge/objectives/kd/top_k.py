"""The k likeliest tokens of a language model at each position: what a cache keeps of logits over a whole vocabulary."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from forge.objectives.kd.losses._numeric import FLOOR


@dataclass(frozen=True)
class TopK:
    """Log-probabilities (…, K) of the likeliest of `vocabulary` tokens, and which tokens they are.

    What they leave of 1 is the mass of all others together, the tail.
    """

    logprobs_MK: Tensor
    indices_MK: Tensor
    vocabulary: int

    def at(self, positions_n: Tensor) -> TopK:
        """The same at some positions of the flattened leading dimensions."""
        rows = [x.flatten(0, -2).index_select(0, positions_n) for x in (self.logprobs_MK, self.indices_MK)]
        return TopK(rows[0], rows[1], self.vocabulary)

    def log_tail(self) -> Tensor:
        """log_tail_M1: logarithm of the mass of one of the tokens that were left out, were they all alike."""
        rest = self.vocabulary - self.logprobs_MK.shape[-1]
        if rest == 0:
            return torch.full_like(self.logprobs_MK[..., :1], FLOOR)
        mass_M1 = self.logprobs_MK.logsumexp(-1, keepdim=True)
        tail_M1 = (-torch.expm1(mass_M1)).clamp(min=torch.finfo(mass_M1.dtype).tiny)
        return tail_M1.log() - math.log(rest)

    def logits(self) -> Tensor:
        """Log-probabilities (…, vocabulary) of all tokens: exact for the k, the tail's mass spread over the others."""
        leading = self.logprobs_MK.shape[:-1]
        spread_MV = self.log_tail().expand(*leading, self.vocabulary).clone()
        return spread_MV.scatter(-1, self.indices_MK, self.logprobs_MK)

    def tempered(self, temperature: float) -> Tensor:
        """logprobs_MK at another temperature; exact but for the tail, whose tokens are taken to be alike."""
        if temperature == 1.0:
            return self.logprobs_MK
        scaled_MK, rest = self.logprobs_MK / temperature, self.vocabulary - self.logprobs_MK.shape[-1]
        tail_M1 = self.log_tail() / temperature + math.log(max(rest, 1))
        return scaled_MK - torch.cat((scaled_MK, tail_M1), -1).logsumexp(-1, keepdim=True)
