"""A toy translation task in two-file text, and a configuration that trains on it in seconds."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from support import Lives, only_run, write_config

NOUNS = {"dog": "chien", "cat": "chat", "man": "homme", "bird": "oiseau", "friend": "ami", "boy": "garçon"}
VERBS = {"sees": "voit", "hears": "entend", "follows": "suit", "calls": "appelle"}
ADJECTIVES = {"small": "petit", "big": "grand", "old": "vieux"}


def write_pairs(folder: Path) -> dict[str, str]:
    """Three small splits of two-file text."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(4)
    for split, size in (("train", 300), ("dev", 24), ("test", 24)):
        lines: dict[str, list[str]] = {"en": [], "fr": []}
        for _ in range(size):
            (a, b), (c, d) = rng.choice(list(ADJECTIVES.items())), rng.choice(list(NOUNS.items()))
            (e, f), (g, h) = rng.choice(list(VERBS.items())), rng.choice(list(NOUNS.items()))
            lines["en"].append(f"The {a} {c} {e} the {g}{rng.choice(' today|').split('|')[0].rstrip()}.")
            lines["fr"].append(f"Le {b} {d} {f} le {h}.")
        for side, texts in lines.items():
            (folder / f"{split}.{side}").write_text("\n".join(texts) + "\n", encoding="utf-8")
    names = {"train": "train", "validation": "dev", "test": "test"}
    return {role: f"{folder}/{name}.{{en,fr}}" for role, name in names.items()}


def settings(folder: Path, **train: Any) -> dict[str, Any]:
    return {
        "task": "translation",
        "data": {"name": None, "embedded": {}, **write_pairs(folder)},
        "model": {
            "name": "built/marian",
            "dropout": 0.1,
            "build": {"layers": 1, "width": 32, "heads": 2, "vocab_size": 400, "max_positions": 64},
        },
        "train": {"max_steps": 12, "schedule": "inverse_sqrt", "warmup_steps": 4, "label_smoothing": 0.1, **train},
        "evaluate": {"every": 4, "max_examples": 16},
        "generate": {"beams": 2, "max_length": 20},
    }


KILLS = 30 if os.environ.get("FORGE_FULL") else 6


def finished_after_kills(
    lives: Lives, folder: Path, change: dict[str, Any], longest: float, kills: int = KILLS
) -> Iterator[Path]:
    """Runs that were killed after up to `longest` seconds of each life and came to their end, until kills are spent."""
    rng, killed = random.Random(7), 0
    for attempt in count():
        config = write_config(folder / str(attempt), change)
        while killed < kills and lives.run(["--config", str(config)], kill_after=rng.uniform(0.1, longest)) == 9:
            killed += 1
        assert lives.run(["--config", str(config)]) == 0
        yield only_run(folder / str(attempt))
        if killed >= kills or attempt == 5 * kills:
            break
    assert killed >= kills
