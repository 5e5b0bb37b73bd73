"""Writing text, with an encoder-decoder or after a prompt: the texts that transformers' search finds.

Shape letters: B examples, T tokens of the longest row, P tokens of the longest prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from transformers import LogitsProcessorList, StoppingCriteriaList

from forge.models.page_encoder import few_at_a_time
from forge.models.search import UnableError, search
from forge.models.watch import Watch, Watched
from forge.tasks.base import PROMPT_TOKENS, Batch
from forge.tasks.written import end_tokens


@dataclass(frozen=True)
class Decoding:
    """How to search. `first` is a token that every text begins with: the language, in models of many."""

    beams: int
    max_length: int  # tokens, without the one that the decoder starts with
    length_penalty: float = 1.0
    first: int | None = None


def write(model: Any, batch: Batch, decoding: Decoding) -> list[list[int]]:
    """Token ids of one text for each example of a batch: no start token, language or padding, nothing after the end.

    The model's own list of forbidden tokens stays (OPUS-MT forbids its padding), its own number of beams does not.
    """
    return [best for best, *_ in write_several(model, batch, decoding, 1)]


def write_several(model: Any, batch: Batch, decoding: Decoding, kept: int) -> list[list[list[int]]]:
    """The same of the `kept` best that a beam search ends with, best first."""
    read = _read(batch)
    written = _generate(
        model,
        **read,
        max_new_tokens=decoding.max_length,
        max_length=None,
        num_beams=decoding.beams,
        num_return_sequences=kept,
        do_sample=False,
        top_k=None,
        top_p=None,
        temperature=None,
        length_penalty=decoding.length_penalty if decoding.beams > 1 else 1.0,
        early_stopping=decoding.beams > 1,
        forced_bos_token_id=decoding.first,
    )
    # Not every tokenizer knows its language tokens as special, and would write __fr__ into each translation.
    ends, begun = end_tokens(model), 1 if decoding.first is None else 2
    if PROMPT_TOKENS in batch:
        begun = read["input_ids"].shape[1]
    texts = [_until_end(row[begun:], ends) for row in written.tolist()]
    return [texts[first : first + kept] for first in range(0, len(texts), kept)]


def write_watched(
    model: Any, batch: Batch, decoding: Decoding, temperature: float = 0.0, seeds: Sequence[int] | None = None
) -> list[Watched]:
    """One text for each example by greedy search, or drawn at a temperature, a seed a text: with its likelihood.

    A text that runs in a loop is ended.
    """
    # Not every tensor has a row for each example: some models take all images as one list of patches.
    rows = batch["attention_mask"] if "attention_mask" in batch else batch["pixel_values"]
    watch = Watch(len(rows), end_tokens(model), temperature, seeds)
    written = _generate(
        model,
        **_read(batch),
        max_new_tokens=decoding.max_length,
        max_length=None,
        num_beams=1,
        do_sample=False,
        top_k=None,
        top_p=None,
        temperature=None,
        forced_bos_token_id=decoding.first,
        logits_processor=LogitsProcessorList([watch.scoring]),
        stopping_criteria=StoppingCriteriaList([watch.ending]),
    )
    return watch.watched(written)


def _generate(model: Any, **asked: Any) -> Tensor:
    """Token ids as `generate` gives them. Processes that share a model must all go on for as long as one does."""
    shared = any(isinstance(part, FSDPModule) for part in model.modules())
    if not shared and model.config.is_encoder_decoder:
        with suppress(UnableError), few_at_a_time(model.get_encoder()):
            return model.generate(**asked, custom_generate=search)  # type: ignore[no-any-return]
    return model.generate(**asked, synced_gpus=shared)  # type: ignore[no-any-return]


def _read(batch: Batch) -> Batch:
    """What the model is given of a batch. The mask beside an image is of its cells, all of which are read."""
    if PROMPT_TOKENS in batch:
        return prompts_of(batch)
    names = ("pixel_values",) if "pixel_values" in batch else ("input_ids", "attention_mask")
    return {name: batch[name] for name in names}


def prompts_of(batch: Batch) -> Batch:
    """What is read alone: prompts padded on the left, so that all end where writing begins; images as they are."""
    answers = {"labels", "decoder_input_ids", PROMPT_TOKENS}
    if PROMPT_TOKENS not in batch:
        return {name: value for name, value in batch.items() if name not in answers}
    whole_BT, tokens_B = batch["input_ids"], batch[PROMPT_TOKENS]
    longest = int(tokens_B.max())
    places_BP = torch.arange(longest, device=whole_BT.device) - (longest - tokens_B)[:, None]

    def prompt_of(whole: Tensor) -> Tensor:
        """What pads is attended by nothing."""
        return whole.gather(1, places_BP.clamp(min=0)).masked_fill(places_BP < 0, 0)

    return {
        name: prompt_of(value) if value.shape == whole_BT.shape else value  # of each token, or of images
        for name, value in batch.items()
        if name not in answers
    }


def _until_end(ids: list[int], ends: set[int]) -> list[int]:
    for place, token in enumerate(ids):
        if token in ends:
            return ids[: place + 1]
    return ids
