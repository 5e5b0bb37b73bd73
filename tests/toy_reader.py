"""A reader in training without configuration files: bitmaps in a row, read from left to right.

As a program, `toy_reader.py FOLDER`, it trains in FOLDER on as many processes as it was started with.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import AutoModelForImageTextToText

from forge.config.schema import Settings
from forge.core.errors import StoppedError
from forge.models.capture import AttentionSite, HiddenSite
from forge.models.generate import Decoding, write
from forge.models.head import find_head
from forge.models.reader import Characters, build_reader
from forge.objectives.auxiliary import Auxiliary
from forge.objectives.glyphs import CellCharacters, GuidedAttention, make_cell_head
from forge.objectives.sft import SFT
from forge.tasks.base import IGNORED_LABEL, Batch, Scores, TaskData, forward
from forge.tasks.ocr.glyphs import Grid, cell_labels, glyph_places, label_cells, pad_places
from forge.train.batching import BatchPlan
from forge.train.checkpoint import CheckpointStore
from forge.train.device import make_accelerator
from forge.train.loop import Trainer
from forge.train.parts import Parts
from forge.train.shards import is_sharding
from forge.train.signals import StopRequest
from forge.train.zero import zero_stage

SYMBOLS = "abcdefgh"
CHARACTERS = Characters(3 + len(SYMBOLS))
GRID = Grid((32, 64))
BITMAPS = {s: np.random.default_rng(i).random((9, 6)) < 0.5 for i, s in enumerate(SYMBOLS)}
SIZES = {"train": 48, "dev": 8}


def draw(number: int) -> tuple[np.ndarray, str, list[tuple[float, float, float, float]]]:
    """Page `number`: grey levels, the text, and the box of each of its symbols."""
    rng = np.random.default_rng(number)
    text = "".join(rng.choice(list(SYMBOLS), size=int(rng.integers(3, 7))))
    page, boxes, x = np.full(GRID.size, 255, dtype=np.uint8), [], int(rng.integers(1, 6))
    y = int(rng.integers(2, 20))
    for symbol in text:
        page[y : y + 9, x : x + 6][BITMAPS[symbol]] = 0
        boxes.append((float(x), float(y), x + 6.0, y + 9.0))
        x += int(rng.integers(7, 9))
    return page, text, boxes


class Reading:
    """The task, as the trainer sees it."""

    name = "toy"

    def collate(self, rows: Sequence[Mapping[str, Any]]) -> Batch:
        found = [draw(row["number"]) for row in rows]
        ids = [[3 + SYMBOLS.index(symbol) for symbol in text] for _, text, _ in found]
        length = max(map(len, ids)) + 1
        labels = torch.full((len(rows), length), IGNORED_LABEL)
        first = torch.full((len(rows), length), CHARACTERS.padding)
        for row, one in enumerate(ids):
            labels[row, : len(one) + 1] = torch.tensor([*one, CHARACTERS.end])
            first[row, : len(one) + 1] = torch.tensor([CHARACTERS.start, *one])
        places = [glyph_places(boxes, GRID) for _, _, boxes in found]
        cells = [cell_labels(one, at, GRID, CHARACTERS.padding) for one, at in zip(ids, places, strict=True)]
        where = [label_cells(text, text, at, GRID) for (_, text, _), at in zip(found, places, strict=True)]
        return {
            "pixel_values": torch.from_numpy(np.stack([page for page, _, _ in found]))[:, None].float() / 255,
            "attention_mask": torch.ones(len(rows), GRID.rows * GRID.columns, dtype=torch.long),
            "labels": labels,
            "decoder_input_ids": first,
            "cell_labels": torch.from_numpy(np.stack(cells)),
            "label_cells": torch.from_numpy(pad_places(where, length)),
        }

    def lengths(self, data: Dataset) -> dict[Any, Any]:
        return {"input": np.full(len(data), GRID.rows * GRID.columns), "target": np.asarray(data["length"])}

    def infer(self, model: torch.nn.Module, batch: Batch) -> list[Any]:
        logits_BTV = forward(model, batch).logits
        loss_BT = torch.nn.functional.cross_entropy(logits_BTV.mT, batch["labels"], reduction="none")
        texts = write(model, batch, Decoding(beams=1, max_length=8))
        return list(zip(loss_BT.sum(1).tolist(), texts, strict=True))

    def score(self, outputs: Iterable[Any], data: Dataset) -> Scores:
        made = list(outputs)
        return Scores({"loss": sum(loss for loss, _ in made) / len(made)}, {"texts": [text for _, text in made]})

    def thorough(self) -> Reading:
        return self


def settings(steps: int, micro: int | None) -> Settings:
    train = {"max_steps": steps, "batch_size": 8, "micro_batch_size": micro, "learning_rate": 3e-3, "warmup_steps": 2}
    return Settings.model_validate(
        {
            "task": "classification",
            "model": {"name": "embedded/tiny-reader"},
            "data": {"name": "embedded/nli"},  # not looked at
            "train": train | {"precision": "fp32"},
            "evaluate": {"metric": "loss", "every": 4},
            "log": {"every": 1},
            "checkpoint": {"keep": 3},
        }
    )


def train(
    folder: Path, steps: int = 8, alone: int = 3, micro: int | None = None, stop: StopRequest | None = None
) -> tuple[list[Any], Path]:
    """Train, or go on training, in a folder: what was logged here, and the newest checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    asked = settings(steps, micro)
    accelerator = make_accelerator(asked)
    store = CheckpointStore(folder, 3)
    resume = store.newest_good().path
    model = (
        AutoModelForImageTextToText.from_pretrained(resume)
        if resume
        else build_reader("embedded/tiny-reader", CHARACTERS, 0, 16)
    )
    head = make_cell_head(128, GRID.sub_cells, CHARACTERS.count, seed=0)
    cells = CellCharacters("cells", 1.0, HiddenSite("encoder", 3), head, CHARACTERS.padding)
    guided = GuidedAttention("guided", 0.3, AttentionSite("decoder", "cross", 2), GRID.cell[1])
    cut_up = is_sharding(accelerator) or zero_stage(accelerator)
    objective = SFT(0.0, None if cut_up else find_head(model), Auxiliary([cells, guided], model, alone))
    first = {"train": 0, "dev": 10_000}
    data = {
        name: Dataset.from_dict({"number": [first[name] + i for i in range(size)], "length": [8] * size})
        for name, size in SIZES.items()
    }
    plan = BatchPlan(np.full(SIZES["train"], 8), 0, 8, None, micro, False, accelerator.num_processes)
    parts = Parts(
        asked, Reading(), TaskData(data["train"], {"dev": data["dev"]}, {}, {}), model.train(), {}, objective, plan,
        accelerator, store, {},
    )  # fmt: skip
    events: list[Any] = []
    trainer = Trainer(parts, events.append, resume, stop)
    try:
        trainer.run()
    except StoppedError:
        assert stop is not None
    return events, folder / store.names()[-1]


if __name__ == "__main__":
    train(Path(sys.argv[1]), micro=4)
