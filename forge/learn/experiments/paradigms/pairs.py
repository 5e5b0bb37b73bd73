"""What lessons of phase 4 share: a small model with easy pairs of sentences, and data as a file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from forge.core.io import storage_errors, write_atomic
from forge.learn.experiments.base import Live

CONFIG = "configs/classification/embedded_nli/tiny_distilbert/00_sft.yaml"
ASKED = 300
SETTINGS: Mapping[str, Any] = MappingProxyType(
    {
        "data.embedded.difficulty": 0.0,
        "data.validation": "!replace {matched: validation}",
        "data.test": None,
        "train.learning_rate": 5e-3,
        "evaluate.max_examples": ASKED,
    }
)


def asked(rows: Iterable[Mapping[str, str]]) -> Iterable[dict[str, str]]:
    """Pairs as questions to a run, each with its `truth`."""
    return ({"text": row["premise"], "text_pair": row["hypothesis"], "truth": row["label"]} for row in rows)


def write_rows(live: Live, name: str, rows: Sequence[Mapping[str, str]]) -> Path:
    """A file of JSON lines beside the runs, for data that an experiment has changed."""
    path = live.folder / "data" / name
    with storage_errors(f"writing {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path
