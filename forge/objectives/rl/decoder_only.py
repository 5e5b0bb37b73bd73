"""Sampling from a decoder alone, with images or without, and the pass that teaches it what it sampled.

A prompt is read once for all its samples, in both passes; images are seen then. In the pass that learns, the samples go
on from keys and values that gradients flow through, so there are states of sampled tokens alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from forge.models.head import Head
from forge.models.prompt_once import PromptedRows, read_once
from forge.objectives.rl.drawing import Written, drawn
from forge.objectives.rl.rules import Rules
from forge.objectives.rl.sampler import log_probs_of
from forge.objectives.rl.samples import sampled_mask
from forge.objectives.rows import WholeRows, whole_rows
from forge.tasks.base import Batch, forward


@dataclass(frozen=True)
class DecoderOnly:
    """How texts are sampled from Llama, GPT-2, Qwen-VL, SmolVLM and their kin.

    A batch holds prompts padded on the left, or prompts with answers behind them and `prompt_tokens`, padded on the
    right; beside them whatever the model takes of images.
    """

    rules: Rules
    ends: frozenset[int]
    padding: int
    samples: int  # of each prompt
    longest: int  # tokens of a sample

    @torch.no_grad()
    def sample(self, model: Any, batch: Batch, uniform_NT: Tensor) -> Written:
        """As `Sampler.sample`."""
        rows = PromptedRows(model, batch, self.samples, self.longest)
        uniform_NT = uniform_NT.to(batch["input_ids"].device)
        return drawn(rows, uniform_NT, self.rules, self.ends, self.padding)

    def mask(self, tokens_NT: Tensor) -> tuple[Tensor, Tensor]:
        """As `Sampler.mask`."""
        return sampled_mask(tokens_NT, self.ends)

    def rows(self, model: nn.Module, head: Head | None, batch: Batch, tokens_NT: Tensor) -> WholeRows:
        """As `Sampler.rows`. The first token's row comes from its prompt, the others' from the token before."""
        before = max(tokens_NT.shape[1] - 1, 1)  # one token is read even where nothing follows it
        inputs = {"input_ids": tokens_NT[:, :before]}
        with read_once(model, batch, self.samples) as read:
            if head is None:
                rest_NtX = forward(model, inputs).logits
                first_B1X = read[0].logits_B1V
            else:
                with head.held_back() as seen:
                    forward(model, inputs)
                first_B1X, rest_NtX = seen[0][:, -1:], seen[1]
        first_N1X = first_B1X.repeat_interleave(self.samples, 0)
        return whole_rows(torch.cat((first_N1X, rest_NtX[:, : tokens_NT.shape[1] - 1]), 1), head)

    @torch.no_grad()
    def log_probs(self, model: nn.Module, head: Head | None, batch: Batch, tokens_NT: Tensor) -> Tensor:
        """As `Sampler.log_probs`."""
        return log_probs_of(self.rows(model, head, batch, tokens_NT), tokens_NT, self.mask(tokens_NT)[0], self.rules)
