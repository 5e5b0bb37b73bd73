"""One distribution for sampling and for learning: temperature, tokens that are never taken, tokens that are forced.

A model learns from −A · log p(token), and p must be what the token was drawn from. A temperature, a token that sampling
excludes or one that it forces change p, so sampling and log-probabilities both go through the same `Rules`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from forge.core.errors import UserError
from forge.objectives.kd.losses._numeric import FLOOR, fp32


@dataclass(frozen=True)
class Rules:
    """How logits become a distribution over the next token of a sample.

    `forced` gives tokens by their place in the sample, counted from 0: the language that mBART and NLLB begin with, or
    an end that a model writes at the limit. They were not chosen, so they have log-probability 0, entropy 0 and no
    gradient, and `chosen` leaves them out of every mean.
    """

    temperature: float = 1.0
    forbidden: tuple[int, ...] = ()
    forced: Mapping[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"a temperature of {self.temperature} samples nothing; it must be above 0")

    def logits(self, logits_nV: Tensor) -> Tensor:
        """logits_nV / T in fp32, with a probability of exactly 0 for what is forbidden. Leaves forced tokens out."""
        logits_nV = fp32(logits_nV)
        if self.temperature != 1.0:
            logits_nV = logits_nV / self.temperature
        if not self.forbidden:
            return logits_nV
        return logits_nV.index_fill(-1, torch.tensor(self.forbidden, device=logits_nV.device), FLOOR)

    def free(self, steps: Tensor) -> Tensor:
        """Whether the model chose what stands at these places of a sample."""
        if not self.forced:
            return torch.ones_like(steps, dtype=torch.bool)
        return ~torch.isin(steps, torch.tensor(list(self.forced), device=steps.device))

    def chosen(self, mask_NT: Tensor) -> Tensor:
        """The mask without forced tokens."""
        return mask_NT & self.free(torch.arange(mask_NT.shape[1], device=mask_NT.device))


class Processor(LogitsProcessor):  # type: ignore[misc]
    """The rules within `generate`: sampling then draws from the very distribution that is learned."""

    def __init__(self, rules: Rules, begun: int) -> None:
        self.rules, self.begun = rules, begun

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """scores_NV of the next token; `begun` tokens of the decoder came before the first of the sample."""
        scores_NV = self.rules.logits(scores)
        forced = self.rules.forced.get(input_ids.shape[1] - self.begun)
        if forced is None:
            return scores_NV
        return torch.full_like(scores_NV, FLOOR).index_fill(-1, torch.tensor(forced, device=scores_NV.device), 0.0)


def sampling_options(rules: Rules, begun: int) -> dict[str, Any]:
    """Arguments of `generate` that make it draw by the rules and nothing else.

    Checkpoints bring settings of their own, each of which would change the distribution behind the loss's back: OPUS-MT
    four to six beams and bad words, transformers the 50 likeliest tokens, Marian an end that is forced at the limit
    (a sample that was cut off could then not be told from one that ended).
    """
    return {
        "do_sample": True,
        "num_beams": 1,
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 1.0,
        "min_p": None,
        "typical_p": None,
        "epsilon_cutoff": 0.0,
        "eta_cutoff": 0.0,
        "repetition_penalty": 1.0,
        "no_repeat_ngram_size": 0,
        "encoder_no_repeat_ngram_size": 0,
        "min_length": 0,
        "min_new_tokens": None,
        "bad_words_ids": None,
        "suppress_tokens": None,
        "begin_suppress_tokens": None,
        "sequence_bias": None,
        "forced_bos_token_id": None,
        "forced_eos_token_id": None,
        "exponential_decay_length_penalty": None,
        "renormalize_logits": False,
        "logits_processor": LogitsProcessorList([Processor(rules, begun)]),
    }


def rules_of(model: Any, temperature: float = 1.0, forbidden: Iterable[int] = (), first: int | None = None) -> Rules:
    """The rules that a model's own settings ask for, and more tokens that must not be sampled (an image's, say).

    Its padding is forbidden unless it also ends texts: Marian's is a token with a logit like any other, and a sample
    that holds it could not be told from a shorter one. So is what the model lists as bad words of one token or as
    suppressed. `first` is forced as the first token. An end forced at the limit is not taken over.
    """
    settings = model.generation_config
    end = settings.eos_token_id
    ends = set(end if isinstance(end, list) else [end])
    words = settings.bad_words_ids or []
    if several := next((word for word in words if len(word) > 1), None):
        raise UserError(
            f"model.name: its generation settings forbid the sequence {several}, which rl: cannot; remove it from "
            "bad_words_ids in generation_config.json"
        )
    never = {*forbidden, *(settings.suppress_tokens or []), *(token for (token,) in words)}
    if settings.pad_token_id is not None:
        never.add(settings.pad_token_id)
    return Rules(temperature, tuple(sorted(never - ends)), {} if first is None else {0: first})
