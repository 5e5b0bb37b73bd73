"""Tiny decoders alone, with and without images, and batches of prompts of different lengths for them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from toy_vision_models import DECODERS
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, MistralConfig

from forge.objectives.rl.decoder_only import DecoderOnly
from forge.objectives.rl.rules import rules_of
from forge.tasks.base import IGNORED_LABEL
from forge.tasks.ocr.chat import chat_of
from forge.tasks.ocr.pictures import Pictured
from forge.tasks.ocr.prompted import Prompted, image_tokens
from forge.tasks.written import end_tokens

V, END, PAD, SAMPLES, LONGEST = 24, 1, 0, 3, 8
SMALL = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
SMALL |= {"num_key_value_heads": 2, "initializer_range": 0.5, "vocab_size": V, "attention_dropout": 0.3}
TOKENS = {"pad_token_id": PAD, "eos_token_id": END, "bos_token_id": 2}
TEXT = {
    "llama": lambda: LlamaConfig(**SMALL, **TOKENS),
    "mistral": lambda: MistralConfig(**SMALL, **TOKENS, sliding_window=4),
    "gpt2": lambda: GPT2Config(
        vocab_size=V, n_embd=16, n_layer=2, n_head=2, n_positions=64, initializer_range=0.5, **TOKENS
    ),
}
SEEING = ["idefics3", "smolvlm", "qwen2_vl", "qwen2_5_vl", "lighton_ocr"]
KINDS = [*TEXT, *SEEING]
LENGTHS = (6, 3, 5, 2)  # of text prompts
SIZES = ((24, 40), (16, 64), (48, 32), (40, 40))  # of images


@dataclass(frozen=True)
class Toy:
    """A model in evaluation mode, and how its batches are made."""

    model: Any
    processor: Any = None

    def sampler(self, samples: int = SAMPLES, longest: int = LONGEST, **rules: Any) -> DecoderOnly:
        """Several tokens end a text, else a model that has learnt nothing comes to no end."""
        more = {*range(7, 11)} if self.processor is None else {*range(20, 50)}
        forbidden = {PAD} if self.processor is None else {PAD, *image_tokens(self.processor)}
        rules = {"forbidden": forbidden} | rules
        return DecoderOnly(
            rules_of(self.model, **rules), frozenset(end_tokens(self.model) | more), PAD, samples, longest
        )

    def batch(self, rows: Sequence[int], answers: Sequence[Sequence[int]] | None = None) -> dict[str, Tensor]:
        """Prompts of these rows; of text padded on the left, of pages as their form makes them, with answers."""
        if self.processor is None:
            return text_batch(rows)
        labels = [[60, 61] * (row % 3 + 1) for row in rows] if answers is None else answers
        return self.form().collate([page(row) for row in rows], labels)

    def form(self) -> Prompted:
        ends = end_tokens(self.model)
        chat = chat_of(self.processor, "Read", False, ends, min(ends))
        accepted = frozenset(inspect.signature(type(self.model).forward).parameters)
        return Prompted(self.processor, chat, 64, frozenset(ends), accepted)

    def whole(self, row: int, tokens: list[int]) -> tuple[Tensor, int]:
        """(logits_TV of a plain pass over one prompt and these tokens, unpadded; where the first token is told)."""
        if self.processor is None:
            ids = torch.tensor([[*prompt(row), *tokens]])
            return self.model(input_ids=ids, use_cache=False).logits[0], LENGTHS[row] - 1
        batch = self.batch([row], [tokens])
        length = int(batch.pop("prompt_tokens"))
        labels = batch.pop("labels")
        assert labels[0, length - 1 :].tolist() == tokens
        return self.model(**batch, use_cache=False).logits[0], length - 1


def make(kind: str) -> Toy:
    torch.manual_seed(3)
    if kind in TEXT:
        return Toy(AutoModelForCausalLM.from_config(TEXT[kind]()).eval())
    model, processor = DECODERS[kind]()
    for parameter in model.parameters():  # logits of a new model are nearly equal; here words should differ
        if parameter.ndim > 1:
            parameter.data.mul_(3.0)
    return Toy(model.eval(), processor)


def prompt(row: int) -> list[int]:
    generator = torch.Generator().manual_seed(row)
    return torch.randint(3, V, (LENGTHS[row],), generator=generator).tolist()


def page(row: int) -> Pictured:
    return Pictured(np.random.default_rng(row).integers(0, 255, SIZES[row], dtype=np.uint8), "")


def text_batch(rows: Sequence[int], extra: int = 0) -> dict[str, Tensor]:
    longest = max(LENGTHS[row] for row in rows) + extra
    ids = torch.tensor([[PAD] * (longest - LENGTHS[row]) + prompt(row) for row in rows])
    mask = torch.arange(longest) >= longest - torch.tensor([LENGTHS[row] for row in rows])[:, None]
    labels = torch.full_like(ids, IGNORED_LABEL)
    labels[:, 0] = 5  # a batch without any label stands for nothing
    return {"input_ids": ids, "attention_mask": mask.long(), "labels": labels}
