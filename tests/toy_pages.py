"""A page reader that trains in seconds, and goes through both of its stages."""

from __future__ import annotations

from typing import Any

from support import merged

READER: dict[str, Any] = {
    "task": "ocr",
    "model": {"name": "embedded/tiny-reader", "dropout": None},
    "data": {
        "name": "embedded/pages",
        "test": {"words": "test", "fonts": "test_fonts"},
        "embedded": {"preset": "line", "train_size": 300},
        "max_target_length": 48,
    },
    "glyphs": {"cells": 1.0, "attention": 0.3, "alone_steps": 5},
    "generate": {"beams": 1},
    "train": {"max_steps": 12, "batch_size": 4, "micro_batch_size": None, "learning_rate": 3e-3, "warmup_steps": 2},
    "evaluate": {"every": 4, "max_examples": 6, "batch_size": 4},
}


def reader(**change: Any) -> dict[str, Any]:
    """Its settings, with a change laid over them."""
    return merged(READER, change)
