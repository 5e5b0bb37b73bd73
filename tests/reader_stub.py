"""Page readers for tests: one trained for seconds through the command line, and ones whose head is set by hand."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from support import forge, only_run, write_config

from forge.building.ocr import Reading, decoding, sheet_task
from forge.config.schema import Settings
from forge.inference.ocr import Reader
from forge.models.image_text import characters_of
from forge.models.reader import build_reader
from forge.tasks.ocr.characters import character_tokenizer
from forge.tasks.ocr.pictures import Pictured
from forge.tasks.pages.sizes import Scale

SHEET = (32, 64)
READER = {
    "task": "ocr",
    "data": {
        "name": "embedded/pages",
        "train": "train",
        "validation": "validation",
        "test": {"words": "test", "fonts": "test_fonts"},
        "embedded": {"preset": "line", "train_size": 400},
        "max_target_length": 48,
    },
    "model": {"name": "embedded/tiny-reader", "dropout": None},
    "glyphs": {"cells": 1.0, "alone_steps": 8},
    "generate": {"beams": 1},
    "train": {"batch_size": 16, "micro_batch_size": None, "learning_rate": 3e-3, "threads": 1},
    "evaluate": {"every": 100, "max_examples": 12, "batch_size": 8},
}


def train_reader(folder: Path, steps: int = 24, **change: Any) -> Path:
    """A run of the command line."""
    torch.set_num_threads(1)
    settings = READER | {"train": READER["train"] | {"max_steps": steps}} | change  # type: ignore[operator]
    assert forge("--config", write_config(folder, settings)) == 0
    return only_run(folder)


class Head(torch.nn.Module):
    """Logits from a bias that is set by hand, and from states by weights that are drawn."""

    def __init__(self, bias: torch.Tensor, width: int, spread: float) -> None:
        super().__init__()
        drawn = torch.randn(len(bias), width, generator=torch.Generator().manual_seed(3))
        self.weight, self.bias = spread * drawn, bias

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return states @ self.weight.T + self.bias


def stub_reader(likes: dict[str, float], most: int = 512, is_varied: bool = False) -> Reader:
    """A reader whose next character follows from a bias alone, or with `is_varied` also from the page and its text.

    `likes` are the logits of characters, "" being the end of the page; all others have -20, or 0 if it is varied.
    """
    tokenizer = character_tokenizer([], most)
    settings = Settings.model_validate(
        {"task": "ocr", "model": {"name": "embedded/tiny-reader"}}
        | {"data": {"name": "embedded/pages", "train": "train", "max_target_length": most}}
        | {"generate": {"beams": 1}}
    )
    model: Any = build_reader("embedded/tiny-reader", characters_of(tokenizer), 0, most, SHEET)
    bias = torch.full((len(tokenizer),), 0.0 if is_varied else -20.0)
    for character, logit in likes.items():
        bias[tokenizer.convert_tokens_to_ids(character) if character else tokenizer.eos_token_id] = logit
    for weight in model.decoder.parameters():
        if weight.ndim > 1:
            weight.data *= 0.02 / model.config.decoder.init_std  # so small that what is set by hand decides
    for layer in model.decoder.model.decoder.layers:
        layer.encoder_attn.out_proj.weight.data *= 20  # of an untrained model the page hardly matters
    model.decoder.output_projection = Head(bias, model.config.decoder.d_model, 0.15 * is_varied)
    task = sheet_task(settings, model.eval(), tokenizer, SHEET)
    reading = Reading(model, task, decoding(settings, most), SHEET)
    return Reader(reading, Accelerator(), Scale(), 8, 0, "stub")


def noise(count: int, size: tuple[int, int] = SHEET) -> list[np.ndarray]:
    """Different images."""
    return [np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8) for seed in range(count)]


def pictured(images: list[np.ndarray]) -> list[Pictured]:
    return list(map(partial(Pictured, markdown=""), images))
