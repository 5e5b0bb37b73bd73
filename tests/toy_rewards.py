"""A toy translator after a few steps of fine-tuning, and a configuration that goes on from it with rewards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support import forge, merged, only_run, write_config
from toy_translation import settings


def train_start(folder: Path) -> Path:
    """The run to begin with: it writes sentences that end, and half of their words are right."""
    change = settings(folder / "data", max_steps=60, learning_rate=0.01, label_smoothing=0.0, warmup_steps=20)
    change = merged(change, {"model": {"dropout": 0.0}, "evaluate": {"every": 60}, "log": {"every": 60}})
    assert forge("--config", write_config(folder, change)) == 0
    return only_run(folder)


def rl_settings(start: Path, rl: dict[str, Any] | None = None, **train: Any) -> dict[str, Any]:
    """A run from `start` with dropout, of 12 steps of 8 prompts with 4 samples each unless told otherwise."""
    asked = {"batch_size": 8, "micro_batch_size": 4, "learning_rate": 2e-3, "schedule": "constant", "warmup_steps": 0}
    change = settings(start.parents[2] / "data", **(asked | {"weight_decay": 0.0, "label_smoothing": 0.0} | train))
    change["model"] = {"name": str(start), "dropout": 0.1}
    return merged(change, {"rl": {"samples": 4, "max_length": 20, "rewards": {"chrf": {}}} | (rl or {})})
