"""The model of phase 1: a tiny DistilBERT that learns whether one sentence follows from another."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

CONFIG = "configs/classification/embedded_nli/tiny_distilbert/00_sft.yaml"
EASY: Mapping[str, Any] = MappingProxyType(
    {
        "data.embedded.difficulty": 0.0,
        "train.learning_rate": 5e-3,
        "evaluate.max_examples": 300,
    }
)
ANSWERS = {"entailment": "follows", "neutral": "may be", "contradiction": "cannot be"}  # for who has not met the terms
