"""Sampling from an encoder-decoder, and the pass that teaches it what it sampled: one distribution for both.

A prompt is read once and its states are repeated for its samples, in both passes. What is drawn for a sample depends on
its own numbers alone, neither on its place in a batch nor on how many processes there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, EncoderDecoderCache

from forge.core.hashing import derive_seed
from forge.models.encoder_once import encoded_once
from forge.models.head import Head
from forge.models.search import LEAVING, DecoderRows
from forge.objectives.rl.logprobs import sampled_log_probs, to_samples, tokens_of
from forge.objectives.rl.rules import Rules
from forge.objectives.rl.samples import decoder_inputs, sampled_mask
from forge.objectives.rows import WholeRows, rows_of, valid_positions
from forge.tasks.base import Batch

TEXTS, IMAGES = ("input_ids", "attention_mask"), ("pixel_values",)  # of a batch, what an encoder reads


@dataclass(frozen=True)
class Written:
    """N samples, after their end padding. The numbers are of sampled tokens, in nats, and 0 elsewhere."""

    tokens_NT: Tensor
    logp_NT: Tensor
    entropy_NT: Tensor


@dataclass(frozen=True)
class EncoderDecoder:
    """How texts are sampled from Marian, T5, BART and their kin, and from vision-encoder-decoders.

    What else samples (a decoder alone after its prompt) needs the same two methods and `mask`.
    """

    rules: Rules
    ends: frozenset[int]
    start: int  # the token that the decoder reads first
    padding: int
    samples: int  # of each prompt
    longest: int  # tokens of a sample
    inputs: tuple[str, ...] = TEXTS  # IMAGES of a vision-encoder-decoder

    @torch.no_grad()
    def sample(self, model: Any, batch: Batch, uniform_NT: Tensor) -> Written:
        """`samples` texts of each prompt, rows of a prompt beside each other. The model is in evaluation mode.

        `uniform_NT` are numbers from 0 to below 1, one for each token that may be drawn.
        """
        rows, count = self._read(model, batch), len(uniform_NT)
        device = batch[self.inputs[0]].device
        uniform_NT = uniform_NT.to(device)
        tokens_NT = torch.full((count, self.longest), self.padding, device=device)
        logp_NT = torch.zeros(tokens_NT.shape, device=device)
        entropy_NT = torch.zeros_like(logp_NT)
        places_n, new_n1 = torch.arange(count, device=device), torch.full((count, 1), self.start, device=device)
        done_n = torch.zeros(count, dtype=torch.bool, device=device)
        for step in range(self.longest):
            log_probs_nV = self.rules.logits(rows.next(new_n1, new_n1)).log_softmax(-1)
            forced = self.rules.forced.get(step)
            if forced is None:
                token_n = draw(log_probs_nV, uniform_NT[places_n, step])
                logp_NT[places_n, step] = log_probs_nV.gather(-1, token_n[:, None])[:, 0]
                entropy_NT[places_n, step] = -(log_probs_nV.exp() * log_probs_nV).sum(-1)
            else:
                token_n = torch.full_like(places_n, forced)
            tokens_NT[places_n, step] = token_n
            done_n = done_n | torch.isin(token_n, torch.tensor(sorted(self.ends), device=device))
            if (leaving := int(done_n.sum())) == len(done_n):
                break
            new_n1 = token_n[:, None]
            if leaving * LEAVING >= len(done_n):
                stay_n = (~done_n).nonzero().flatten()
                rows.keep(stay_n)
                places_n, new_n1, done_n = places_n[stay_n], new_n1[stay_n], done_n[stay_n]
        mask_NT = self.mask(tokens_NT)[0]
        last = int(mask_NT.sum(-1).max())
        found = (
            torch.where(mask_NT, x, fill) for x, fill in ((tokens_NT, self.padding), (logp_NT, 0), (entropy_NT, 0))
        )
        return Written(*(x[:, :last] for x in found))

    def mask(self, tokens_NT: Tensor) -> tuple[Tensor, Tensor]:
        """(mask_NT, ended_N): what was sampled, the end among it, and which samples ended."""
        return sampled_mask(tokens_NT, self.ends)

    def rows(self, model: nn.Module, head: Head | None, batch: Batch, tokens_NT: Tensor) -> WholeRows:
        """What the model says of each token of the samples, given those before it; differentiable."""
        is_text = self.inputs == TEXTS  # whose mask the decoder looks at too, a row for each of its own
        inputs = {name: batch[name] for name in self.inputs}
        if is_text:
            inputs = {name: value.repeat_interleave(self.samples, 0) for name, value in inputs.items()}
        inputs["decoder_input_ids"] = decoder_inputs(tokens_NT, self.start)
        with encoded_once(model, self.samples, repeated=is_text):
            return rows_of(model, inputs, head)

    @torch.no_grad()
    def log_probs(self, model: nn.Module, head: Head | None, batch: Batch, tokens_NT: Tensor) -> Tensor:
        """logp_NT of the samples, 0 where nothing was sampled."""
        return log_probs_of(self.rows(model, head, batch, tokens_NT), tokens_NT, self.mask(tokens_NT)[0], self.rules)

    def _read(self, model: Any, batch: Batch) -> DecoderRows:
        read = model.get_encoder()(**{name: batch[name] for name in self.inputs}, return_dict=True)
        read.last_hidden_state = read.last_hidden_state.repeat_interleave(self.samples, 0)
        memory = EncoderDecoderCache(DynamicCache(), DynamicCache())
        mask = torch.ones(read.last_hidden_state.shape[:2], dtype=torch.long, device=read.last_hidden_state.device)
        if "attention_mask" in self.inputs:
            mask = batch["attention_mask"].repeat_interleave(self.samples, 0)
        return DecoderRows(model, [], 1, {"past_key_values": memory, "encoder_outputs": read, "attention_mask": mask})


def log_probs_of(rows: WholeRows, tokens_NT: Tensor, mask_NT: Tensor, rules: Rules) -> Tensor:
    """logp_NT where the mask is true, else 0; without a gradient."""
    detached = WholeRows(rows.states_BTX.detach(), rows.head)
    with torch.no_grad():
        places_P = valid_positions(mask_NT.flatten())
        logp_P, _ = sampled_log_probs(detached, places_P, tokens_of(tokens_NT), rules, entropy=False)
        return torch.where(mask_NT, to_samples(logp_P, places_P, (len(tokens_NT), tokens_NT.shape[1])), 0.0)


def draw(log_probs_NV: Tensor, uniform_N: Tensor) -> Tensor:
    """token_N: the first whose cumulative probability is above the number. Never one of probability 0.

    One number a token is enough, where noise for each token of the vocabulary (as `Watch` takes it) would cost more
    than the model. Sums are in fp64: in fp32 they would leave out the tail of a large vocabulary.
    """
    sums_NV = log_probs_NV.double().exp().cumsum(-1)
    total_N = sums_NV[:, -1]
    wanted_N = torch.minimum(uniform_N * total_N, torch.nextafter(total_N, torch.zeros_like(total_N)))
    found_N1 = torch.searchsorted(sums_NV, wanted_N[:, None], right=True)
    return found_N1[:, 0].clamp(max=log_probs_NV.shape[-1] - 1)


def uniforms(seed: int, rollout: int, rows: Sequence[int], samples: int, longest: int) -> Tensor:
    """uniform_NT of some examples' samples in one rollout: what a row draws is the same in any batch and process."""
    drawn = [
        torch.rand(
            (samples, longest),
            generator=torch.Generator().manual_seed(derive_seed(seed, "rollout", rollout, row)),
            dtype=torch.float64,
        )
        for row in rows
    ]
    return torch.cat(drawn)
