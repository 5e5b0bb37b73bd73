"""Readers of pages learn from rewards: embedded ones and those of the hub, cut, stopped and gone on with."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support import fingerprint, forge, write_config
from toy_reading import draw, own_tests, reading_rl, train_reading_start
from toy_rewards import completions, steps, stopped_and_gone_on, trained
from toy_vision_models import ALL, make
from transformers import AutoModelForImageTextToText

from forge.tasks.metrics.ocr.checks.derive import derived_checks
from forge.tasks.ocr.page_tests import checks_in
from forge.tasks.rewards.base import Sample
from forge.tasks.rewards.form import Length
from forge.tasks.rewards.pages import EditSimilarity, UnitTests

LENGTH = {"options": {"least": 0.9, "most": 1.1}}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_reading_start(tmp_path_factory.mktemp("start"))


def test_the_reward_rises_and_every_sample_is_written_down(start: Path, tmp_path: Path) -> None:
    rewards = {"length": LENGTH, "edit_similarity": {}, "unit_tests": {"weight": 0.0}}
    change = reading_rl(
        start, {"samples": 6, "mask_truncated": False, "rewards": rewards}, max_steps=48, learning_rate=1e-4
    )
    run = trained(tmp_path, change)
    rewards_seen = [record["reward"] for record in steps(run)]
    assert mean(rewards_seen[-5:]) > mean(rewards_seen[:5]) + 0.015
    assert [record["ratio"] for record in steps(run)] == pytest.approx([1.0] * 48, abs=1e-6)
    length, similarity, tests = Length(0.9, 1.1, "reference"), EditSimilarity(), UnitTests()
    found = completions(run)
    assert len(found) == 48 * 8
    for record in found[:24]:
        number = int(Path(record["page"]).stem)
        assert record["reference"] == draw(number)[1]
        assert "prompt" not in record
        own = own_tests(number, record["reference"])
        for one in record["samples"]:
            checks = checks_in(json.dumps(own)) if own else derived_checks(record["reference"])
            sample = Sample(one["text"], None, record["reference"], checks=checks)
            parts = {"length": length.one(sample), "edit_similarity": similarity.one(sample)}
            assert one["parts"] == pytest.approx(parts | {"unit_tests": tests.one(sample)})
            assert one["reward"] == pytest.approx(mean(parts.values()))
    report = (run / "report.html").read_text()
    assert "<h2>Rewards</h2>" in report
    assert f"<td>{found[0]['page'].split('/')[0]}/" in report
    log = (run / "output.log").read_text()
    assert "mode: rl, because rl is set (" in log
    assert "unit tests: 80 of 160 pages have their own, those of the others are made of their Markdown" in log


def test_a_reference_is_kept_and_a_constant_teaches_nothing(start: Path, tmp_path: Path) -> None:
    rl = {"updates": 2, "kl": {"beta": 0.1}, "rewards": {"constant": {}}}
    run = trained(tmp_path, reading_rl(start, rl, max_steps=2))
    assert [record["kl"] for record in steps(run)] == pytest.approx([0.0, 0.0], abs=1e-6)
    assert {record["flat"] for record in steps(run)} == {1.0}
    before, after = (
        load_file(one) for one in (start / "checkpoint-40/model.safetensors", run / "checkpoint-2/model.safetensors")
    )
    assert all(torch.equal(value, before[name]) for name, value in after.items())


@pytest.mark.parametrize("after", [1, 2])
def test_asked_to_stop_in_a_rollout_it_goes_on_bit_equal(start: Path, tmp_path: Path, after: int) -> None:
    change = reading_rl(start, {"updates": 3, "kl": {"beta": 0.05}}, max_steps=5)
    calm = trained(tmp_path / "calm", change)
    ratios = [record["ratio"] for record in steps(calm)]
    assert ratios[::3] == pytest.approx([1.0, 1.0], abs=1e-6)
    assert all(abs(ratio - 1.0) > 1e-6 for place, ratio in enumerate(ratios) if place % 3)
    run = stopped_and_gone_on(tmp_path / "stopped", change, after)
    assert completions(run) == completions(calm)
    assert steps(run) == steps(calm)
    assert fingerprint(run)["files"] == fingerprint(calm)["files"]


def test_any_cut_of_a_step_is_the_same_step(start: Path, tmp_path: Path) -> None:
    whole, cut = (
        trained(tmp_path / str(size), reading_rl(start, {"updates": 2}, max_steps=4, micro_batch_size=size))
        for size in (8, 3)
    )
    assert completions(whole) == completions(cut)
    for mine, its in zip(steps(whole), steps(cut), strict=True):
        assert its == pytest.approx(mine, abs=1e-5)


@pytest.mark.parametrize("kind", ALL)
def test_a_model_of_the_hub_learns_stops_and_goes_on(tmp_path: Path, kind: str) -> None:
    change = of_the_hub(make(kind, tmp_path / kind))
    calm = trained(tmp_path / "calm", change)
    run = stopped_and_gone_on(tmp_path / "stopped", change, 3)
    assert completions(run) == completions(calm)
    last = sorted(run.glob("checkpoint-*"))[-1]
    assert fingerprint(run)["files"] == fingerprint(calm)["files"]
    assert [record["ratio"] for record in steps(run)][::2] == pytest.approx([1.0, 1.0], abs=1e-6)
    before, after = (AutoModelForImageTextToText.from_pretrained(one).state_dict() for one in (tmp_path / kind, last))
    assert any(not torch.equal(value, after[name]) for name, value in before.items())


def test_adapters_are_pulled_to_the_model_without_them(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    change = of_the_hub(make("smolvlm", tmp_path / "smolvlm"))
    change["model"] |= {"lora": {"r": 4, "targets": ["q_proj", "v_proj"]}, "freeze": ["vision"]}
    change["train"]["learning_rate"] = 0.02
    found = [record["kl"] for record in steps(trained(tmp_path, change))]
    assert found[0] == pytest.approx(0.0, abs=1e-5)
    assert found[-1] > 1e-4


def of_the_hub(model: Path) -> dict[str, Any]:
    rl = {"samples": 3, "updates": 2, "rewards": {"edit_similarity": {}, "repetition": {"weight": 0.5}}}
    return {
        "task": "ocr",
        "data": {
            "name": "embedded/pages", "train": "train", "validation": "validation", "test": "test",
            "embedded": {"preset": "line", "train_size": 32}, "max_target_length": 16,
        },
        "model": {"name": str(model), "dropout": None},
        "generate": {"beams": 1},
        "train": {"max_steps": 4, "batch_size": 4, "micro_batch_size": 2, "learning_rate": 3e-3},
        "evaluate": {"every": 4, "max_examples": 3, "metric": "wer", "batch_size": 3},
        "rl": rl | {"mask_truncated": False, "kl": {"beta": 0.05}},
    }  # fmt: skip


def test_a_teacher_alone_is_heard_along_the_samples(start: Path, tmp_path: Path) -> None:
    change = reading_rl(start, {"rewards": {}}, max_steps=6)
    change |= {
        "alpha": 1.0,
        "teacher": {"name": str(start)},
        "model": {"name": "embedded/mini-reader", "dropout": None},
    }
    found = [record["gkd"] for record in steps(trained(tmp_path, change))]
    assert found[-1] < found[0]


def test_a_teacher_that_reads_otherwise_is_refused_in_one_line(
    start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change = of_the_hub(make("donut", tmp_path / "donut")) | {"alpha": 0.5, "teacher": {"name": str(start)}}
    assert forge("--config", write_config(tmp_path, change)) == 2
    error = capsys.readouterr().err
    assert "the student one is an embedded reader, which sees cells and writes characters" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("rl", "said"),
    [
        ({"max_length": 900}, "rl.max_length: 900, but the model writes at most 12 tokens; take 12"),
        ({"rewards": {"length": {"options": {"against": "source"}}}}, "rl.rewards.length: it needs the source of each"),
        ({"rewards": {"language": {}}}, "rl.rewards.language: which one? set its `language`"),
        (
            {"gates": {"length": {"least": 0.5, "options": {"against": "source"}}}},
            "rl.gates.length: it needs the source of",
        ),
        ({"gates": {"not_copied": {"least": 0.5}}}, "rl.gates: not_copied is not for task: ocr; take one of length"),
    ],
)
def test_one_line_for_what_does_not_fit(
    start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], rl: dict[str, Any], said: str
) -> None:
    assert forge("--config", write_config(tmp_path, reading_rl(start, rl, max_steps=2))) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").rglob("metrics.jsonl"))
