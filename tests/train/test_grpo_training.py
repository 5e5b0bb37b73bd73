"""Learning from rewards, from files to a trained translator: it learns, stops, is killed, resumes, tells.

FORGE_FULL=1 kills 100 times in place of 8.
"""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support import Lives, fingerprint, forge, merged, metrics, only_run, write_config
from toy_rewards import completions, rl_settings, steps, stopped_and_gone_on, train_start, trained
from toy_translation import finished_after_kills

from forge.tasks.rewards.base import Sample
from forge.tasks.rewards.form import Length
from forge.tasks.rewards.reference import ChrF

KILLS = 50 if os.environ.get("FORGE_FULL") else 4  # of each number of updates


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_start(tmp_path_factory.mktemp("start"))


@pytest.fixture(scope="module")
def better(start: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, trained for longer: a teacher."""
    folder = tmp_path_factory.mktemp("better")
    change = rl_settings(start, max_steps=80, batch_size=16, micro_batch_size=16, learning_rate=0.005)
    assert change.pop("rl")
    return trained(folder, merged(change, {"evaluate": {"every": 80}, "model": {"dropout": 0.0}}))


def weights(run: Path) -> dict[str, torch.Tensor]:
    state = json.loads((run / "training_state.json").read_text())
    return load_file(run / state["checkpoint"] / "model.safetensors")


def test_the_reward_rises_and_so_does_a_metric_that_is_none(start: Path, tmp_path: Path) -> None:
    change = rl_settings(start, {"samples": 6}, max_steps=30, batch_size=16, micro_batch_size=8)
    run = trained(tmp_path, merged(change, {"evaluate": {"every": 10}}))
    rewards = [record["reward"] for record in steps(run)]
    assert mean(rewards[-5:]) > mean(rewards[:5]) + 0.05
    bleu = [record["bleu"] for record in metrics(run) if record["kind"] == "evaluation"]
    assert bleu[-1] > bleu[0]
    log = (run / "output.log").read_text()
    assert "better than the start" not in log
    assert "mode: rl, because rl is set (" in log
    assert "rollout: 16 prompts × 6 samples of at most 20 tokens" in log
    report = (run / "report.html").read_text()
    assert "<h2>Rewards</h2>" in report
    assert "<h2>Samples before step 30</h2>" in report
    assert "<th>worst sample</th>" in report
    said = {"reward", "reward.chrf", "reward_deviation", "entropy", "clipped", "ratio", "length", "ended", "flat"}
    assert said <= set(steps(run)[0])


def test_the_ratio_is_1_at_the_first_update_of_each_rollout(start: Path, tmp_path: Path) -> None:
    """Dropout is configured, and would show here."""
    run = trained(tmp_path, rl_settings(start, {"updates": 3, "kl": {"beta": 0.1}}))
    ratios = [record["ratio"] for record in steps(run)]
    assert ratios[::3] == pytest.approx([1.0] * 4, abs=1e-6)
    assert all(abs(ratio - 1.0) > 1e-5 for place, ratio in enumerate(ratios) if place % 3)
    assert steps(run)[0]["kl"] == pytest.approx(0.0, abs=1e-6)
    assert steps(run)[-1]["kl"] > 1e-3
    assert {record["step"] for record in completions(run)} == {1, 4, 7, 10}
    assert [record["reward"] for record in steps(run)[:3]] == [steps(run)[0]["reward"]] * 3


def test_a_constant_reward_teaches_nothing(start: Path, tmp_path: Path) -> None:
    run = trained(tmp_path, rl_settings(start, {"rewards": {"constant": {}}}))
    before = weights(start)
    assert all(torch.equal(value, before[name]) for name, value in weights(run).items())
    assert {record["flat"] for record in steps(run)} == {1.0}
    log = (run / "output.log").read_text()
    assert "warning: in 100% of the groups all samples have the same reward" in log
    assert re.search(r"warning: no evaluation is better than the start \(\w+ [\d.]+\): nothing was gained", log)
    assert "Mind: no evaluation is better than the start" in (run / "report.html").read_text()


@pytest.mark.parametrize("loss", ["gspo", "cispo"])
@pytest.mark.parametrize("normaliser", ["grpo", "dr_grpo"])
def test_the_other_losses_learn_too(start: Path, tmp_path: Path, loss: str, normaliser: str) -> None:
    run = trained(tmp_path, rl_settings(start, {"loss": loss, "normaliser": normaliser, "updates": 2}, max_steps=4))
    before = weights(start)
    assert any(not torch.equal(value, before[name]) for name, value in weights(run).items())


def test_completions_say_what_each_sample_was_worth(start: Path, tmp_path: Path) -> None:
    rewards = {"chrf": {"weight": 3.0}, "length": {"weight": 1.0, "options": {"least": 0.8, "most": 1.2}}}
    gates = {"length": {"least": 0.9, "options": {"least": 0.8, "most": 1.2}}}
    run = trained(tmp_path, rl_settings(start, {"rewards": rewards, "gates": gates}, max_steps=3))
    found, chrf, length = completions(run), ChrF(), Length(0.8, 1.2)
    assert [record["step"] for record in found] == [1] * 8 + [2] * 8 + [3] * 8
    pairs = {name: (start.parents[2] / "data" / f"train.{name}").read_text().splitlines() for name in ("en", "fr")}
    known = set(zip(pairs["en"], pairs["fr"], strict=True))
    stopped = 0
    for record in found:
        assert (record["prompt"], record["reference"]) in known
        assert len(record["samples"]) == 4
        for one in record["samples"]:
            sample = Sample(one["text"], record["prompt"], record["reference"])
            parts = {"chrf": chrf.one(sample), "length": length.one(sample)}
            assert one["parts"] == pytest.approx(parts)
            assert one["passed"] == (parts["length"] >= 0.9)
            whole = 0.75 * parts["chrf"] + 0.25 * parts["length"]
            assert one["reward"] == pytest.approx(whole if one["passed"] else 0.0)
            stopped += not one["passed"]
        total = sum(one["advantage"] for one in record["samples"])
        assert total == pytest.approx(0.0, abs=1e-4)
        order = sorted(record["samples"], key=lambda one: one["reward"])
        assert order[-1]["advantage"] >= order[0]["advantage"]
    assert 0 < stopped < 4 * len(found)
    first = [one["reward"] for record in found[:8] for one in record["samples"]]
    assert steps(run)[0]["reward"] == pytest.approx(mean(first))


@pytest.mark.parametrize("updates", [2, 3])
@pytest.mark.parametrize("looks", [3, 4, 5])
def test_asked_to_stop_anywhere_it_goes_on_bit_equal(start: Path, tmp_path: Path, updates: int, looks: int) -> None:
    change = rl_settings(start, {"updates": updates, "kl": {"beta": 0.05}}, max_steps=7)
    change = merged(change, {"evaluate": {"every": None}})
    calm = trained(tmp_path / "calm", change)
    run = stopped_and_gone_on(tmp_path / "stopped", change, looks)
    assert completions(run) == completions(calm)
    assert steps(run) == steps(calm)
    assert fingerprint(run)["files"] == fingerprint(calm)["files"]


@pytest.mark.slow
@pytest.mark.parametrize("updates", [1, 3])
def test_killed_at_random_moments_it_ends_bit_equal(start: Path, tmp_path: Path, lives: Lives, updates: int) -> None:
    """Every step is saved, so with three updates two of three saves hold a rollout that is still learned from."""
    change = rl_settings(start, {"updates": updates, "kl": {"beta": 0.05}}, num_workers=2)
    change = merged(change, {"evaluate": {"every": 6}, "checkpoint": {"every": 1}})
    began = time.monotonic()
    assert lives.run(["--config", str(write_config(tmp_path / "calm", change))]) == 0
    took = time.monotonic() - began  # kills are spread over a life, however quick the machine is at the time
    calm = only_run(tmp_path / "calm")
    for run in finished_after_kills(lives, tmp_path / "stormy", change, longest=0.75 * took, kills=KILLS):
        assert fingerprint(run) == fingerprint(calm)
        assert (run / "completions.jsonl").read_bytes() == (calm / "completions.jsonl").read_bytes()


@pytest.mark.slow
def test_two_processes_equal_one(start: Path, tmp_path: Path, lives: Lives) -> None:
    rl = {"updates": 2, "kl": {"beta": 0.05}, "advantages": {"scale": "batch"}}
    change = rl_settings(start, rl, batch_size=10, micro_batch_size=4, max_steps=8)
    one = trained(tmp_path / "one", change)
    lives.run_pair(write_config(tmp_path / "two", change))
    two = only_run(tmp_path / "two")
    assert [record["samples"][0]["text"] for record in completions(one)] == [
        record["samples"][0]["text"] for record in completions(two)
    ]
    pairs = list(zip(metrics(one), metrics(two), strict=True))
    assert len(pairs) > 8
    for mine, its in pairs:
        assert set(mine) == set(its)
        for name, value in mine.items():
            if isinstance(value, float):
                assert its[name] == pytest.approx(value, abs=1e-5), (mine["step"], name)


def test_any_cut_of_a_step_is_the_same_step(start: Path, tmp_path: Path) -> None:
    whole, cut = (
        trained(tmp_path / str(size), rl_settings(start, {"updates": 2}, max_steps=4, micro_batch_size=size))
        for size in (8, 3)
    )
    assert completions(whole) == completions(cut)
    for mine, its in zip(steps(whole), steps(cut), strict=True):
        assert its == pytest.approx(mine, abs=1e-5)


def test_rewards_may_be_compared_each_by_itself(start: Path, tmp_path: Path) -> None:
    """A narrow part pulls as much as a wide one: what pleases `length` alone is worth more than among sums."""
    rewards = {"chrf": {}, "length": {"options": {"least": 0.99, "most": 1.01}}}
    for combine in ("sum", "decoupled"):
        rl = {"rewards": rewards, "advantages": {"combine": combine}}
        trained(tmp_path / combine, rl_settings(start, rl, max_steps=1))
    added, apart = (completions(only_run(tmp_path / combine)) for combine in ("sum", "decoupled"))
    texts = [[one["text"] for record in run for one in record["samples"]] for run in (added, apart)]
    assert texts[0] == texts[1]
    worth = [[one["advantage"] for record in run for one in record["samples"]] for run in (added, apart)]
    assert worth[0] != pytest.approx(worth[1], abs=1e-3)
    assert mean(worth[1]) == pytest.approx(0.0, abs=1e-5)


def test_a_compiled_model_is_refused_in_one_line(
    start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert forge("--config", write_config(tmp_path, rl_settings(start, compile=True))) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_guard_ends_the_run_with_its_reason_and_a_checkpoint(start: Path, tmp_path: Path) -> None:
    guards = {"flat": {"warn": 1, "stop": 3}}
    run = trained(tmp_path, rl_settings(start, {"rewards": {"constant": {}}, "guards": guards}, max_steps=20))
    state = json.loads((run / "training_state.json").read_text())
    assert (state["status"], state["step"], state["checkpoint"]) == ("completed", 3, "checkpoint-3")
    assert state["reason"].startswith("guard flat: in 100% of the groups")
    assert "Ended early: guard flat: in 100% of the groups" in (run / "report.html").read_text()
    assert [record["step"] for record in metrics(run) if record["kind"] == "evaluation"] == [0, 3]


def test_a_reward_of_ones_own_is_run_and_shown(start: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "mine.py").write_text(
        "def chats(samples):\n"
        "    return [None if 'chien' in one.output else float('chat' in one.output) for one in samples]\n"
    )
    rewards = {"chats": {"plugin": "mine.py:chats"}}
    run = trained(folder, rl_settings(start, {"rewards": rewards}, max_steps=2))
    assert "this run executes code of yours: " in (run / "output.log").read_text()
    values = {one["parts"]["chats"] for record in completions(run) for one in record["samples"]}
    assert values == {None, 0.0, 1.0}
    assert all(
        one["advantage"] == 0.0 for record in completions(run) for one in record["samples"] if one["reward"] is None
    )
    (folder / "mine.py").write_text("def chats(samples):\n    return [1.0 for _ in samples]\n")
    (run / "training_state.json").write_text(
        (run / "training_state.json").read_text().replace('"completed"', '"interrupted"')
    )
    assert forge("--config", folder / "tiny.yaml") == 3


def test_adapters_are_pulled_to_the_model_without_them(start: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    change = rl_settings(start, {"updates": 2, "kl": {"beta": 0.1}}, learning_rate=0.02, max_steps=4)
    run = trained(tmp_path, merged(change, {"model": {"lora": {"r": 2, "targets": ["q_proj", "v_proj"]}}}))
    found = [record["kl"] for record in steps(run)]
    assert found[0] == pytest.approx(0.0, abs=1e-6)
    assert found[-1] > 1e-4


def test_a_teacher_alone_draws_the_model_to_it(start: Path, better: Path, tmp_path: Path) -> None:
    """On-policy distillation: no rewards, and BLEU rises all the same."""
    change = rl_settings(start, {"rewards": {}}, max_steps=24, batch_size=16, micro_batch_size=8)
    change = merged(change, {"alpha": 1.0, "teacher": {"name": str(better)}, "evaluate": {"every": 8}})
    run = trained(tmp_path, change)
    assert "with a teacher because alpha = 1.0" in (run / "output.log").read_text()
    gkd = [record["gkd"] for record in steps(run)]
    assert mean(gkd[-4:]) < 0.7 * mean(gkd[:4])
    assert "reward" not in steps(run)[0]
    bleu = [record["bleu"] for record in metrics(run) if record["kind"] == "evaluation"]
    assert bleu[-1] > bleu[0]


def test_a_teacher_beside_rewards_weighs_alpha(start: Path, better: Path, tmp_path: Path) -> None:
    change = merged(rl_settings(start, max_steps=2), {"alpha": 0.25, "teacher": {"name": str(better)}})
    for record in steps(trained(tmp_path, change)):
        assert record["loss"] == pytest.approx(0.75 * record["policy"] + 0.25 * record["gkd"], abs=1e-6)
        assert record["gkd"] > 0


@pytest.mark.parametrize(
    ("rl", "said"),
    [
        (
            {"rewards": {"unit_tests": {}}},
            "rl.rewards: unit_tests is not for task: translation; take one of",
        ),
        ({"gates": {"teds": {"least": 0.5}}}, "rl.gates: teds is not for task: translation; take one of sentence_bleu"),
        (
            {"rewards": {"length": {"options": {"leest": 1.0}}}},
            "rl.rewards.length: there is no option leest; did you mean least?",
        ),
        ({"rewards": {"mine": {"plugin": "none.py:f"}}}, "plugin: there is no file"),
        ({"max_length": 900}, "rl.max_length: 900, but the model writes at most 63 tokens; take 63"),
        ({"rewards": {"chfr": {}}}, "there is no reward chfr; did you mean chrf?"),
    ],
)
def test_one_line_for_what_does_not_fit(
    start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], rl: dict[str, Any], said: str
) -> None:
    assert forge("--config", write_config(tmp_path, rl_settings(start, rl))) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not list((tmp_path / "runs").rglob("metrics.jsonl")) if (tmp_path / "runs").exists() else True
