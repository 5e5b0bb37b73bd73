"""What the first two lessons of phase 4 share: the model and its easy pairs of sentences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

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
