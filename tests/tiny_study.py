"""A study of seconds: two factors on embedded sentence pairs, eight steps a cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

BASE: dict[str, Any] = {
    "task": "classification",
    "data": {
        "name": "embedded/nli",
        "train": "train",
        "validation": "validation",
        "test": "test",
        "embedded": {"train_size": 200},
    },
    "model": {"name": "embedded/tiny-distilbert"},
    "train": {"max_steps": 8, "batch_size": 16, "learning_rate": 1e-3, "threads": 1},
    "evaluate": {"max_examples": 64, "every": None},
}


def tiny_study() -> dict[str, Any]:
    """Settings of the study."""
    return {
        "base": "tiny_base.yaml",
        "teacher": {"config": "tiny_teacher.yaml"},
        "factors": {
            "attention": {
                "off": {},
                "attention_kl": {"distill": {"attention_kl": {"weight": 1.0, "layers": "uniform"}}},
            },
            "response": {"off": {}, "forward_kl": {"distill": {"forward_kl": {"weight": 1.0, "temperature": 2.0}}}},
        },
        "always": {"distill": {"cache": {"mode": "on"}}},
        "match_gradients": True,
        "match_steps": 4,
        "seeds": [1, 2, 3],
        "outcome": {"figure": "accuracy"},
        "smallest_effect": 1.0,
        "controls": {"random_teacher": {"attention": "attention_kl"}, "shuffled_logits": {"response": "forward_kl"}},
    }


def write_study(folder: Path, study: dict[str, Any], name: str = "tiny") -> Path:
    """The study's file with those that it names; runs go to `folder/runs`."""
    folder.mkdir(parents=True, exist_ok=True)
    base = BASE | {"run": {"dir": str(folder / "runs")}}
    files = {
        "tiny_base": base,
        "tiny_teacher": {"extends": "tiny_base.yaml", "model": {"name": "embedded/tiny-bert"}},
        name: study,
    }
    for stem, settings in files.items():
        (folder / f"{stem}.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return folder / f"{name}.yaml"
