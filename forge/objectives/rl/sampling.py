"""Sampling from an encoder-decoder, and the pass that teaches it what it sampled: one distribution for both.

A prompt is read once and its states are repeated for its samples, in both passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, EncoderDecoderCache

from forge.models.encoder_once import encoded_once
from forge.models.head import Head
from forge.models.search import DecoderRows
from forge.objectives.rl.drawing import Written, drawn
from forge.objectives.rl.rules import Rules
from forge.objectives.rl.sampler import log_probs_of
from forge.objectives.rl.samples import decoder_inputs, sampled_mask
from forge.objectives.rows import WholeRows, rows_of
from forge.tasks.base import Batch


@dataclass(frozen=True)
class EncoderDecoder:
    """How texts are sampled from Marian, T5, BART and their kin, and from readers of images with an encoder."""

    rules: Rules
    ends: frozenset[int]
    start: int  # the token that the decoder reads first
    padding: int
    samples: int  # of each prompt
    longest: int  # tokens of a sample

    @torch.no_grad()
    def sample(self, model: Any, batch: Batch, uniform_NT: Tensor) -> Written:
        """As `Sampler.sample`."""
        uniform_NT = uniform_NT.to(batch["attention_mask"].device)
        return drawn(_Decoding(self, model, batch), uniform_NT, self.rules, self.ends, self.padding)

    def mask(self, tokens_NT: Tensor) -> tuple[Tensor, Tensor]:
        """As `Sampler.mask`."""
        return sampled_mask(tokens_NT, self.ends)

    def rows(self, model: nn.Module, head: Head | None, batch: Batch, tokens_NT: Tensor) -> WholeRows:
        """As `Sampler.rows`."""
        inputs = _read(batch)
        if is_text := "input_ids" in inputs:  # whose mask the decoder looks at too, a row for each of its own
            inputs = {name: value.repeat_interleave(self.samples, 0) for name, value in inputs.items()}
        inputs["decoder_input_ids"] = decoder_inputs(tokens_NT, self.start)
        with encoded_once(model, self.samples, repeated=is_text):
            return rows_of(model, inputs, head)

    @torch.no_grad()
    def log_probs(self, model: nn.Module, head: Head | None, batch: Batch, tokens_NT: Tensor) -> Tensor:
        """As `Sampler.log_probs`."""
        return log_probs_of(self.rows(model, head, batch, tokens_NT), tokens_NT, self.mask(tokens_NT)[0], self.rules)


def _read(batch: Batch) -> Batch:
    """What the encoder reads of a batch. The mask beside an image is of its cells, all of which are read."""
    names = ("pixel_values",) if "pixel_values" in batch else ("input_ids", "attention_mask")
    return {name: batch[name] for name in names}


class _Decoding:
    """The decoder in the middle of N texts."""

    def __init__(self, sampler: EncoderDecoder, model: Any, batch: Batch) -> None:
        read = model.get_encoder()(**_read(batch), return_dict=True)
        read.last_hidden_state = read.last_hidden_state.repeat_interleave(sampler.samples, 0)
        mask = batch["attention_mask"].repeat_interleave(sampler.samples, 0)
        memory = EncoderDecoderCache(DynamicCache(), DynamicCache())
        self._start_N1 = torch.full_like(mask[:, :1], sampler.start)
        self._rows = DecoderRows(
            model, [], 1, {"past_key_values": memory, "encoder_outputs": read, "attention_mask": mask}
        )

    def first(self) -> Tensor:
        return self.next(self._start_N1)

    def next(self, new_n1: Tensor) -> Tensor:
        return self._rows.next(new_n1, new_n1)

    def keep(self, rows_n: Tensor) -> None:
        self._rows.keep(rows_n)
