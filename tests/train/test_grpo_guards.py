"""Guards in runs that go wrong in earnest: each warns, then ends the run with its reason and a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import forge, merged, metrics, only_run, write_config
from toy_rewards import rl_settings, train_start

pytestmark = pytest.mark.usefixtures("no_reports")

QUICK = {"warn": 1, "stop": 2}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_start(tmp_path_factory.mktemp("start"))


def ended(folder: Path, change: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The state and the log of a run that a guard ended, which is no failure: it has a result."""
    assert forge("--config", write_config(folder, change)) == 0
    run = only_run(folder)
    state = json.loads((run / "training_state.json").read_text())
    assert state["status"] == "completed"
    assert (run / state["checkpoint"]).is_dir()
    assert state["step"] < state["total_steps"]
    log = (run / "output.log").read_text()
    assert f"training ends: {state['reason']}, " in log
    return state, log


def test_rewards_that_tell_nothing_apart(start: Path, tmp_path: Path) -> None:
    """Every sample is as long as it may be, however right."""
    rewards = {"length": {"options": {"least": 0.01, "most": 90.0}}}
    state, log = ended(tmp_path, rl_settings(start, {"rewards": rewards, "guards": {"flat": QUICK}}, max_steps=20))
    said = "in 100% of the groups all samples have the same reward: nothing is learned from them; sample hotter, take "
    assert f"warning: {said}" in log
    assert state["reason"].startswith(f"guard flat: {said}")
    assert state["reason"].endswith(", 2 times in a row")
    assert state["step"] == 2


def test_samples_that_the_limit_cuts_off(start: Path, tmp_path: Path) -> None:
    state, log = ended(tmp_path, rl_settings(start, {"max_length": 2, "guards": {"truncated": QUICK}}, max_steps=20))
    said = "100% of the samples were cut off before they ended: allow longer samples, or start from a model that ends "
    assert f"warning: {said}" in log
    assert state["reason"].startswith(f"guard truncated: {said}")
    assert state["step"] == 2


def test_a_model_that_no_longer_hesitates(start: Path, tmp_path: Path) -> None:
    """It is paid for one word, and comes to write hardly another."""
    share = "text.count('chat') / max(len(text), 1)"
    (tmp_path / "mine.py").write_text(
        f"def cats(samples):\n    return [{share} for text in (s.output.split() for s in samples)]\n"
    )
    never = {"warn": None, "stop": None}
    guards = {"entropy": QUICK | {"share": 0.5}, "flat": never, "truncated": never}
    rl = {"rewards": {"cats": {"plugin": "mine.py:cats"}}, "guards": guards, "mask_truncated": False}
    change = rl_settings(start, rl, max_steps=60, learning_rate=5e-3)
    state, log = ended(tmp_path, merged(change, {"evaluate": {"every": None}}))
    assert "warning: the entropy fell to " in log
    assert state["reason"].startswith("guard entropy: the entropy fell to ")
    assert "samples hardly differ any more, 2 times in a row" in state["reason"]


def test_a_model_far_from_its_start(start: Path, tmp_path: Path) -> None:
    guards = {"kl": QUICK | {"nats": 0.05}}
    change = rl_settings(start, {"kl": {"beta": 1e-6}, "guards": guards}, max_steps=80, learning_rate=0.02)
    state, log = ended(tmp_path, merged(change, {"evaluate": {"every": None}}))
    assert "nats a token from its reference, the limit is 0.05: lower the learning rate or raise beta" in log
    assert state["reason"].startswith("guard kl: the model is ")


def test_a_reward_that_is_hacked(start: Path, tmp_path: Path) -> None:
    """Twice as long as the source pleases the reward and no reader."""
    rewards = {"length": {"options": {"least": 2.0, "most": 4.0}}}
    change = rl_settings(start, {"rewards": rewards, "guards": {"held_out": QUICK}}, max_steps=60, learning_rate=5e-3)
    state, log = ended(tmp_path, merged(change, {"evaluate": {"every": 4}}))
    assert "warning: the reward rose from " in log
    assert state["reason"].startswith("guard held_out: the reward rose from ")
    assert "while bleu, which is not in it, went from " in state["reason"]
    assert "the model learns what pleases the reward and not what it stands for, 2 times in a row" in state["reason"]
    bleu = [record["bleu"] for record in metrics(only_run(tmp_path)) if record["kind"] == "evaluation"]
    assert bleu[-1] < bleu[0]
