"""Training through the command line: it learns, stops early, keeps the best, goes on, refuses NaN."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
import torch
from support import TINY, fingerprint, forge, metrics, only_run, write_config
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertForSequenceClassification

from forge.core.errors import DivergedError
from forge.objectives.sft import SFT
from forge.train.checkpoint import CheckpointStore
from forge.train.loop import Trainer

WORDS = ["red", "blue", "green", "warm", "cold", "old", "new", "big"]


def easy_rows(count: int) -> list[dict[str, str]]:
    """The label is the first word: anything that trains learns it at once."""
    rows = []
    for i in range(count):
        first = WORDS[i % 2]
        rows.append({"text": f"{first} {WORDS[2 + i % 6]} {WORDS[2 + (i * 5) % 6]}", "label": first})
    return rows


def easy_config(folder: Path, change: dict[str, Any] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in (("train", 64), ("dev", 32)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in easy_rows(count)))
    data = {"name": None, "test": None, "train": str(folder / "train.jsonl"), "validation": str(folder / "dev.jsonl")}
    base = {
        "data": data,
        "model": {"name": "embedded/tiny-bert"},
        "train": {"max_steps": 30, "learning_rate": 3e-3},
        "evaluate": {"every": 10},
    }
    path = write_config(folder, base)
    if change:
        from support import merged

        path = write_config(folder, merged(base, change))
    return path


def state_of(run: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((run / "training_state.json").read_text())
    return state


def test_it_learns_what_can_be_learned(tmp_path: Path) -> None:
    assert forge("--config", easy_config(tmp_path)) == 0
    run = only_run(tmp_path)
    assert state_of(run)["best"]["value"] == 1.0
    assert metrics(run)[-1]["confusion"] == [[16, 0], [0, 16]]


def test_starting_a_finished_run_prints_its_result_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = easy_config(tmp_path)
    assert forge("--config", config) == 0
    run = only_run(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    capsys.readouterr()
    assert forge("--config", config) == 0
    assert "this run is complete: all 30 steps done" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_another_setting_is_another_directory_but_where_it_logs_is_not(tmp_path: Path) -> None:
    config = easy_config(tmp_path)
    for settings in ([], ["train.learning_rate=1e-4"], ["log.every=5"], ["seed=2"]):
        assert forge("--config", config, "max_steps=1", *settings) == 0
    names = sorted(p.name for p in (tmp_path / "runs" / "tiny").iterdir() if not p.is_symlink())
    assert len(names) == 3


def test_early_stopping_and_the_best_checkpoint_stay(tmp_path: Path) -> None:
    change = {"train": {"max_steps": 200, "learning_rate": 3e-3}, "evaluate": {"every": 5, "patience": 3}}
    assert forge("--config", easy_config(tmp_path, change)) == 0
    run = only_run(tmp_path)
    state = state_of(run)
    assert state["step"] < 200
    assert state["reason"] == "no better accuracy in 3 evaluations"
    assert state["step"] == state["best"]["step"] + 15
    assert (run / f"checkpoint-{state['best']['step']}").is_dir()


def test_best_by_a_figure_that_falls(tmp_path: Path) -> None:
    assert forge("--config", easy_config(tmp_path, {"evaluate": {"metric": "loss"}})) == 0
    run = only_run(tmp_path)
    losses = {r["step"]: r["loss"] for r in metrics(run) if r["kind"] == "evaluation"}
    assert state_of(run)["best"]["step"] == min(losses, key=lambda step: losses[step])


def test_checkpoints_are_pruned_to_the_newest_and_the_best(tmp_path: Path) -> None:
    assert forge("--config", easy_config(tmp_path, {"checkpoint": {"every": 2, "keep": 3}})) == 0
    run = only_run(tmp_path)
    best = state_of(run)["best"]["step"]
    steps = {int(path.name.removeprefix("checkpoint-")) for path in run.glob("checkpoint-*")}
    assert steps == {26, 28, 30} | {best}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_precision_keeps_weights_in_fp32(tmp_path: Path, precision: str) -> None:
    assert forge("--config", easy_config(tmp_path, {"train": {"precision": precision}})) == 0
    model = AutoModelForSequenceClassification.from_pretrained(only_run(tmp_path) / "checkpoint-30")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert state_of(only_run(tmp_path))["best"]["value"] == 1.0


@pytest.mark.slow
def test_compiled_it_follows_the_same_path(tmp_path: Path) -> None:
    if shutil.which("c++") is None and shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler on the CPU")
    for name in ("plain", "compiled"):
        change = {"train": {"max_steps": 4, "compile": name == "compiled"}, "model": {"dropout": 0.0}}
        assert forge("--config", easy_config(tmp_path / name, change)) == 0
    plain, compiled = (metrics(only_run(tmp_path / name)) for name in ("plain", "compiled"))
    assert [r["loss"] for r in plain] == pytest.approx([r["loss"] for r in compiled], abs=1e-4)  # CPUs differ


def test_epochs_count_when_no_steps_are_given(tmp_path: Path) -> None:
    change = {"train": {"max_steps": None, "epochs": 1.5, "batch_size": 16}}
    assert forge("--config", easy_config(tmp_path, change)) == 0
    state = state_of(only_run(tmp_path))
    assert (state["step"], state["epoch"], state["samples_seen"]) == (6, 1.5, 96)


def test_a_token_budget_sees_every_example_once_an_epoch(tmp_path: Path) -> None:
    change = {"train": {"max_steps": None, "epochs": 1, "batch_tokens": 60, "group_by_length": True}}
    assert forge("--config", easy_config(tmp_path, change)) == 0
    assert state_of(only_run(tmp_path))["samples_seen"] == 64


class Poisoned(SFT):
    """Turns not finite at one step."""

    calls = 0

    def compute(self, *arguments: Any) -> Any:
        report = super().compute(*arguments)
        Poisoned.calls += 1
        if Poisoned.calls == 8:  # two micro-batches a step: the fourth step
            return type(report)(report.loss * float("nan"), report.parts)
        return report


def test_a_gradient_that_is_not_finite_names_its_step_and_is_never_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Poisoned.calls = 0
    monkeypatch.setattr("forge.assemble.SFT", Poisoned)
    config = easy_config(tmp_path, {"checkpoint": {"every": 1}, "evaluate": {"every": None}})
    assert forge("--config", config) == DivergedError.exit_code
    assert capsys.readouterr().err.startswith("forge: step 4: the gradient is not finite")
    run = only_run(tmp_path)
    assert state_of(run)["status"] == "failed"
    newest = run / "checkpoint-3"
    assert sorted(path.name for path in run.glob("checkpoint-*"))[-1] == newest.name
    model = AutoModelForSequenceClassification.from_pretrained(newest)
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    lives = json.loads((run / "run_metadata.json").read_text())["lives"]
    assert "step 4" in lives[-1]["why"]


class CutError(Exception):
    """The power fails."""


@pytest.mark.parametrize("model", [{"init": "random"}, {"head": "new"}, {}])
def test_going_on_never_draws_new_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: dict[str, str]
) -> None:
    """What makes new weights at the start of a run must not make them again when it continues."""
    source = tmp_path / "source"
    torch.manual_seed(5)
    config = BertConfig(vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
                        id2label={0: "blue", 1: "red"}, label2id={"blue": 0, "red": 1})  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(source)
    from forge.tasks.embedded.tokenizer import build_tokenizer

    build_tokenizer([" ".join(WORDS)], 40).save_pretrained(source)
    change = {"model": {"name": str(source), **model}, "train": {"max_steps": 6}, "checkpoint": {"every": 2}}
    change |= {"evaluate": {"every": None}}
    assert forge("--config", easy_config(tmp_path / "calm", change)) == 0

    stormy = easy_config(tmp_path / "stormy", change)
    save = Trainer._save

    def cut(trainer: Trainer, best: bool) -> None:
        save(trainer, best)
        if trainer.state.step == 4:
            raise CutError

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_save", cut)
        assert forge("--config", stormy) == 1
    shutil.rmtree(source)  # nothing of the start is needed to go on, except to find out what the run is
    shutil.copytree(only_run(tmp_path / "stormy") / "checkpoint-4", source)
    assert forge("--config", stormy) == 0
    calm, storm = only_run(tmp_path / "calm"), only_run(tmp_path / "stormy")
    assert metrics(calm) == metrics(storm)
    assert (calm / "checkpoint-6/model.safetensors").read_bytes() == (
        storm / "checkpoint-6/model.safetensors"
    ).read_bytes()
    assert "training continues after step 4 of 6" in (storm / "output.log").read_text()


def test_changed_data_stops_a_run_that_would_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = easy_config(tmp_path, {"checkpoint": {"every": 2}})
    save = Trainer._save

    def cut(trainer: Trainer, best: bool) -> None:
        save(trainer, best)
        raise CutError

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_save", cut)
        assert forge("--config", config) == 1
    with (tmp_path / "train.jsonl").open("a") as file:
        file.write(json.dumps(easy_rows(1)[0]) + "\n")
    assert forge("--config", config) == 3


def test_a_checkpoint_is_a_hugging_face_model(tmp_path: Path) -> None:
    assert forge("--config", easy_config(tmp_path)) == 0
    folder = only_run(tmp_path) / "checkpoint-30"
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.config.id2label == {0: "blue", 1: "red"}
    with torch.no_grad():
        logits = model(
            **{k: v for k, v in tokenizer("red warm new", return_tensors="pt").items() if k != "token_type_ids"}
        ).logits
    assert model.config.id2label[int(logits.argmax())] == "red"


def test_metadata_says_what_the_run_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_canary_secret")
    assert forge("--config", easy_config(tmp_path, {"train": {"max_steps": 1}}), "seed=3") == 0
    run = only_run(tmp_path)
    text = (run / "run_metadata.json").read_text()
    metadata = json.loads(text)
    assert metadata["config"]["seed"] == 3
    assert metadata["config_sources"]["seed"] == "command line: seed=3"
    assert metadata["config_sources"]["task"].endswith("tiny.yaml:1:7")
    assert metadata["versions"]["torch"] == torch.__version__
    assert [life["why"] for life in metadata["lives"]] == ["completed"]
    for path in run.rglob("*"):
        assert not path.is_file() or b"hf_canary_secret" not in path.read_bytes(), path
    assert TINY["task"] == metadata["config"]["task"]


def test_a_run_cut_off_before_its_last_pruning_prunes_when_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"train": {"max_steps": 6}, "evaluate": {"every": 6}, "checkpoint": {"every": 1}}
    assert forge("--config", write_config(tmp_path / "calm", settings)) == 0
    prune = CheckpointStore.prune

    def cut_off(store: CheckpointStore, step: int, protect: Collection[str]) -> None:
        if step == 6:
            raise KeyboardInterrupt
        prune(store, step, protect)

    config = write_config(tmp_path / "cut", settings)
    with monkeypatch.context() as patch:
        patch.setattr(CheckpointStore, "prune", cut_off)
        assert forge("--config", config) != 0
    assert len(list(only_run(tmp_path / "cut").glob("checkpoint-*"))) == 3
    assert forge("--config", config) == 0
    assert fingerprint(only_run(tmp_path / "cut")) == fingerprint(only_run(tmp_path / "calm"))
