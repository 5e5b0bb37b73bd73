"""The network that lessons look into: a tiny BERT, trained on sentence pairs once and found done from then on."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from forge.learn.experiments.base import Live
from forge.learn.experiments.training import Shown, Trained, run_training

CONFIG = "configs/classification/embedded_nli/tiny_bert/00_teacher.yaml"
STEPS = 600
EASY: Mapping[str, Any] = MappingProxyType(
    {
        "data.embedded.difficulty": 0.0,
        "train.learning_rate": 2e-3,
        "evaluate.max_examples": 300,
    }
)


def taught(live: Live, end: float = 0.8) -> Trained:
    """The trained network: about 12 s of computing at first, nothing later. `end` is its share of the progress."""
    live.chart("Training the network to look into, once", "step", "loss", STEPS)
    settings = dict(EASY) | {
        "train.max_steps": STEPS,
        "data.embedded.train_size": 4_000,
        "evaluate.every": STEPS,
        "log.every": 20,
    }
    return run_training(CONFIG, settings, live, Shown(end=end, note="training the network to look into, once"))
