"""Pages of a few symbols in a row, as files, for a reader that is trained for seconds and goes on with rewards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from support import forge, merged, only_run, write_config
from toy_reader import BITMAPS, SYMBOLS

SHEET = (16, 64)


def draw(number: int) -> tuple[np.ndarray, str]:
    """Page `number` in grey levels, and its text: three to six symbols, each in a cell of its own."""
    rng = np.random.default_rng(number)
    text = "".join(rng.choice(list(SYMBOLS), size=int(rng.integers(3, 7))))
    page = np.full(SHEET, 255, dtype=np.uint8)
    for place, symbol in enumerate(text):
        page[3:12, 8 * place + 1 : 8 * place + 7][BITMAPS[symbol]] = 0
    return page, text


def write_pages(folder: Path, first: int, count: int) -> Path:
    """Pages `first` and following as PNG, listed with their texts in a file."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(first, first + count):
        pixels, text = draw(number)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        rows.append({"page": f"{folder.name}/{number}.png", "markdown": text, "tests": own_tests(number, text)})
    path = folder.with_suffix(".jsonl")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def own_tests(number: int, text: str) -> list[dict[str, str]]:
    """Those of every second page; the others bring none."""
    return [{"type": "present", "text": text[:2]}, {"type": "absent", "text": "hhh"}] if number % 2 else []


def settings(data: Path, **train: Any) -> dict[str, Any]:
    """A run on such pages, which lie in `data` afterwards."""
    if not (data / "train.jsonl").is_file():
        write_pages(data / "train", 0, 160)
        write_pages(data / "validation", 1_000, 24)
    asked = {"batch_size": 16, "micro_batch_size": 16, "learning_rate": 3e-3, "schedule": "constant"}
    return {
        "task": "ocr",
        "data": {
            "name": None, "train": str(data / "train.jsonl"), "validation": str(data / "validation.jsonl"),
            "test": None, "embedded": {"train_size": 20_000},
            "pages": {"canvas": list(SHEET)}, "max_target_length": 12,
        },
        "model": {"name": "embedded/mini-reader", "dropout": None},
        "generate": {"beams": 1},
        "train": asked | {"warmup_steps": 10, "weight_decay": 0.0, "num_workers": 0} | train,
        "evaluate": {"every": 1_000, "max_examples": 24, "batch_size": 24, "metric": "cer"},
        "checkpoint": {"keep": 3},
    }  # fmt: skip


def train_reading_start(folder: Path, steps: int = 40) -> Path:
    """The run to begin with: it writes symbols, and knows that texts end."""
    change = merged(settings(folder / "data", max_steps=steps), {"log": {"every": steps}})
    assert forge("--config", write_config(folder, change)) == 0
    return only_run(folder)


def reading_rl(start: Path, rl: dict[str, Any] | None = None, **train: Any) -> dict[str, Any]:
    """A run with rewards from `start`: 8 pages with 4 samples each in a step, unless told otherwise."""
    asked = {"batch_size": 8, "micro_batch_size": 4, "learning_rate": 1e-3, "warmup_steps": 0}
    change = merged(settings(start.parents[2] / "data", **(asked | train)), {"model": {"name": str(start)}})
    return merged(change, {"rl": {"samples": 4, "rewards": {"edit_similarity": {}}} | (rl or {})})
