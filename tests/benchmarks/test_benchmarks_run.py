"""Benchmarks replace parts of the trainer, so a change of the trainer can break them: each side is run once, tiny."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support import forge, only_run, write_config
from toy_translation import settings

from bench import grpo_memory, grpo_shared, kd_cache, kd_memory, kd_step, step, translate_predict, translate_train
from bench.kd_case import Shape, save_models, training_texts
from forge.inference.translation import load_translator
from forge.runs.run_dir import open_existing

STEPS = 3


@pytest.mark.slow
def test_each_side_runs(tmp_path: Path) -> None:
    save_models(tmp_path, Shape(width=48), training_texts(200))
    rows = [
        kd_step.measure(tmp_path, "hidden_mse", STEPS, 1),
        kd_cache.measure(tmp_path, "forward_kl", ["forward_kl"], STEPS, 1),
    ]
    assert [row.split(" | ")[:2] for row in rows] == [["| feature", "hidden_mse"], ["| response", "forward_kl"]]
    parts = step.parts_for("embedded/tiny-distilbert", 8, STEPS, str(tmp_path / "runs"))
    for side in (step.forge_side, step.bare_side):
        cpu, wall = side(parts, STEPS)
        assert cpu > 0
        assert wall > 0


@pytest.mark.slow
def test_sides_of_training_a_translator_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORGE_DATA", raising=False)
    parts = translate_train.prepare(tmp_path, 2, size=300)
    rows = translate_train.measure(parts, 2, 1, 2)
    assert [row.split(" | ")[0] for row in rows] == [f"| {name}" for name in translate_train.SIDES]


def test_sides_of_translating_run_and_agree(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    assert forge("--config", write_config(tmp_path, settings(tmp_path / "data", max_steps=12))) == 0
    loaded = load_translator(open_existing(only_run(tmp_path)), beams=2)
    rows = translate_predict.measure(loaded, ["The old dog sees the cat.", "The small bird calls the boy today."], 1)
    assert [row.split(" | ")[-1] for row in rows] == ["0 |"] * len(translate_predict.SIDES)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from Linux")
def test_both_sides_of_the_memory_benchmark_have_the_same_loss() -> None:
    found = {name: kd_memory.side(name, 400, 1) for name in kd_memory.SIDES}
    assert found["Forge"]["loss"] == pytest.approx(found["plain"]["loss"], rel=1e-4)
    assert kd_memory.one("Forge", 400, 1)["peak"] > 0


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from Linux")
def test_sides_that_learn_from_rewards_have_the_same_loss() -> None:
    losses = [grpo_memory.side(name, 400, 3)["loss"] for name in grpo_memory.SIDES]
    assert losses == pytest.approx([losses[0]] * 3, abs=1e-6)
    assert abs(losses[0]) > 1e-3
    found = grpo_shared.times(grpo_shared.QUICK, 1)  # asserts itself that both sides agree
    assert all(seconds > 0 for part in found.values() for its in part.values() for seconds in its)


@pytest.mark.slow
def test_each_side_translates(tmp_path: Path) -> None:
    pytest.importorskip("ctranslate2", reason="CTranslate2 is not installed: pip install 'forge-distill[ctranslate2]'")
    from bench import ctranslate2
    from forge.runs.run_dir import RunDirectory

    data = {"name": "embedded/en_fr", "embedded": {"train_size": 200}, "max_length": 64}
    change = {"task": "translation", "data": data, "model": {"name": "embedded/tiny-marian", "dropout": None}}
    change["evaluate"] = {"metric": "loss"}
    assert forge("--config", write_config(tmp_path, change)) == 0
    rows = ctranslate2.measure(RunDirectory(only_run(tmp_path)), tmp_path, beams=2, sentences=8, times=1)
    assert [row.split(" | ")[1] for row in rows] == ["Forge", "CTranslate2, float32", "CTranslate2, int8"]
    assert "8 of 8" in rows[1]
