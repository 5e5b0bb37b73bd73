"""A toy translator after a few steps, a run that goes on from it with rewards, and what such runs leave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import AskAt, forge, merged, metrics, only_run, trained, write_config
from toy_translation import settings


def train_start(folder: Path) -> Path:
    """The run to begin with: it writes sentences that end, and half of their words are right."""
    change = settings(folder / "data", max_steps=60, learning_rate=0.01, label_smoothing=0.0, warmup_steps=20)
    change = merged(change, {"model": {"dropout": 0.0}, "evaluate": {"every": 60}, "log": {"every": 60}})
    return trained(folder, change)


def rl_settings(start: Path, rl: dict[str, Any] | None = None, **train: Any) -> dict[str, Any]:
    """A run from `start` with dropout, of 12 steps of 8 prompts with 4 samples each unless told otherwise."""
    asked = {"batch_size": 8, "micro_batch_size": 4, "learning_rate": 2e-3, "schedule": "constant", "warmup_steps": 0}
    change = settings(start.parents[2] / "data", **(asked | {"weight_decay": 0.0, "label_smoothing": 0.0} | train))
    change["model"] = {"name": str(start), "dropout": 0.1}
    return merged(change, {"rl": {"samples": 4, "max_length": 20, "rewards": {"chrf": {}}} | (rl or {})})


def steps(run: Path) -> list[dict[str, Any]]:
    """The records of its steps."""
    return [record for record in metrics(run) if record["kind"] == "step"]


def completions(run: Path) -> list[dict[str, Any]]:
    """What was sampled, a prompt each."""
    return [json.loads(line) for line in (run / "completions.jsonl").read_text(encoding="utf-8").splitlines()]


def stopped_and_gone_on(folder: Path, change: dict[str, Any], after: int) -> Path:
    """Asked to stop after so many steps, within a rollout, and started again."""
    from forge.assemble import train
    from forge.config import resolve
    from forge.core.errors import StoppedError
    from forge.preflight import preflight

    config = write_config(folder, change)
    with pytest.raises(StoppedError):
        train(preflight(resolve(config)), [], AskAt(after + 2))  # two at what is measured before the first step
    assert f"saving after step {after}" in (only_run(folder) / "output.log").read_text()
    assert forge("--config", config) == 0
    return only_run(folder)
