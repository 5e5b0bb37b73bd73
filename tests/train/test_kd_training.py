"""Distillation through the command line: what is trained along, what the cache saves, what the log says."""

from __future__ import annotations

import ast
import json
import random
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support import ROOT, fingerprint, forge, merged, metrics, only_run, write_config
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from forge.config.schema.distill import Distill
from forge.models.capture import Stack
from forge.objectives.kd.masks import count
from forge.objectives.kd.objective import KD
from forge.objectives.kd.table import LOSSES
from forge.train.loop import Trainer

WORDS = ["red", "blue", "green", "warm", "cold", "old", "new", "big", "dim", "odd"]
DISTILLED: dict[str, Any] = {
    "alpha": 0.4,
    "teacher": {"name": "embedded/tiny-bert"},
    "distill": {
        "balance": "gradient_norm",
        "gradient_norm_every": 3,
        "projection_learning_rate": 1e-2,
        "forward_kl": {"weight": 1.0},
        "hidden_mse": {"weight": 0.5},
        "attention_kl": {"weight": 2.0},
        "cache": {"mode": "on"},
    },
    "evaluate": {"max_examples": 32},
    "checkpoint": {"every": 2},
}
BRIEF: dict[str, Any] = {
    "train": {"max_steps": 1, "warmup_steps": 0, "weight_decay": 0.0},
    "distill": {"balance": "none", "gradient_norm_every": None, "cache": {"mode": "off"}},
    "evaluate": {"max_examples": 8},
}
GROUPED = [name for name in LOSSES if "group" in type(getattr(Distill(), name)).model_fields]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Files that all runs share, because their names are part of what a cache is for."""
    folder, rng = tmp_path_factory.mktemp("data"), random.Random(1)
    for name, size in (("train", 100), ("dev", 40)):
        rows = [" ".join(rng.choices(WORDS, k=rng.randint(2, 14))) for _ in range(size)]
        lines = [json.dumps({"text": row, "label": "early" if row < "f" else "late"}) for row in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    files = {"train": str(folder / "train.jsonl"), "validation": str(folder / "dev.jsonl")}
    return {"data": {"name": None, "test": None} | files}


@pytest.fixture(scope="module")
def calm(data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("calm")
    assert forge("--config", config_of(folder, data)) == 0
    return folder


def run_of(folder: Path, data: Mapping[str, Any], *changes: Mapping[str, Any]) -> Path:
    """Distil in `folder` and return the run's directory. No report: its charts take as long as these runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("forge.assemble.write_report", lambda *_: None)
        assert forge("--config", config_of(folder, data, *changes)) == 0
    return only_run(folder)


def config_of(folder: Path, data: Mapping[str, Any], *changes: Mapping[str, Any]) -> Path:
    settings = merged(DISTILLED, dict(data))
    for change in changes:
        settings = merged(settings, dict(change))
    return write_config(folder, settings)


def steps_of(run: Path) -> list[dict[str, Any]]:
    return [record for record in metrics(run) if record["kind"] == "step"]


def cached(folder: Path) -> dict[str, bytes]:
    root = folder / "runs" / "teacher_cache"
    files = [path for path in root.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def log_of(run: Path) -> str:
    return (run / "output.log").read_text(encoding="utf-8")


# Going on


class CutError(Exception):
    """The power fails."""


def test_a_run_that_was_cut_ends_bit_equal(
    data: dict[str, Any], calm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, save = config_of(tmp_path, data), Trainer._save
    for step in (2, 4):

        def cut(trainer: Trainer, best: bool, step: int = step) -> None:
            save(trainer, best)
            if trainer.state.step == step:
                raise CutError

        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "_save", cut)
            assert forge("--config", config) == 1
    assert forge("--config", config) == 0
    mine, its = only_run(calm), only_run(tmp_path)
    assert log_of(its).count("training continues after step") == 2
    assert log_of(its).count("balance: ") == 1
    assert fingerprint(its) == fingerprint(mine)
    for name in ("model.safetensors", "extra.safetensors", "optimizer.safetensors"):
        assert (its / "checkpoint-6" / name).read_bytes() == (mine / "checkpoint-6" / name).read_bytes()


def test_workers_change_nothing(data: dict[str, Any], calm: Path, tmp_path: Path) -> None:
    run = run_of(tmp_path, data, {"train": {"num_workers": 2}})
    assert run.name == only_run(calm).name
    assert fingerprint(run) == fingerprint(only_run(calm))
    assert cached(tmp_path) == cached(calm)


# Projections


def test_projections_learn(calm: Path) -> None:
    run = only_run(calm)
    optimizer = load_file(run / "checkpoint-6" / "optimizer.safetensors")
    early, late = (load_file(run / name / "extra.safetensors") for name in ("checkpoint-4", "checkpoint-6"))
    assert set(late) == {f"hidden_mse.encoder-{m}-to-{m}.{part}" for m in (1, 2) for part in ("weight", "bias")}
    for name, weight in late.items():
        assert weight.shape[0] == 96
        assert (weight - early[name]).abs().mean() > 1e-4
        assert {f"{slot}:extra.{name}" for slot in ("exp_avg", "exp_avg_sq", "step")} <= set(optimizer)


def test_projections_are_clipped_and_have_a_learning_rate_of_their_own(data: dict[str, Any], tmp_path: Path) -> None:
    """Adam's first step moves every weight by the learning rate, unless gradients are below its epsilon of 1e-8."""
    changes = {
        "start": {"train": {"max_grad_norm": 1e-14}},
        "slow": {"distill": {"projection_learning_rate": None}},
        "fast": {"distill": {"projection_learning_rate": 0.1}},
    }
    found = {}
    for name, change in changes.items():
        checkpoint = run_of(tmp_path / name, data, BRIEF, change) / "checkpoint-1"
        found[name] = load_file(checkpoint / "extra.safetensors")
        found[f"{name} model"] = load_file(checkpoint / "model.safetensors")
    start, slow, fast = (torch.cat([t.flatten() for t in found[name].values()]) for name in changes)
    biases = torch.cat([tensor for name, tensor in found["start"].items() if name.endswith("bias")])
    assert 0 < biases.abs().max() < 1e-6  # they start at 0: a clipped gradient does not move them
    assert (slow - start).abs().median().item() == pytest.approx(1e-3, rel=0.01)
    assert (fast - start).abs().median().item() == pytest.approx(0.1, rel=0.01)
    for name, weight in found["slow model"].items():
        assert torch.equal(weight, found["fast model"][name])
        assert not torch.equal(weight, found["start model"][name])
        assert (weight - found["start model"][name]).abs().max() < 1.1e-3


def test_an_export_is_the_student_alone(data: dict[str, Any], calm: Path, tmp_path: Path) -> None:
    run, out = only_run(calm), tmp_path / "exported"
    assert (run / "checkpoint-6" / "extra.safetensors").is_file()
    assert forge("export", "--run", run, "--out", out) == 0
    names = {path.name for path in out.iterdir()}
    assert not names & {"extra.safetensors", "optimizer.safetensors", "trainer_state.json", "manifest.json"}
    best = json.loads((run / "training_state.json").read_text())["best"]
    rows = [json.loads(line) for line in Path(data["data"]["validation"]).read_text().splitlines()][:32]
    logits = [answers(folder, rows) for folder in (out, run / f"checkpoint-{best['step']}")]
    assert torch.equal(*logits)
    model = AutoModelForSequenceClassification.from_pretrained(out)
    said = [model.config.id2label[int(label)] for label in logits[0].argmax(-1)]
    right = sum(answer == row["label"] for answer, row in zip(said, rows, strict=True))
    assert right / len(rows) == pytest.approx(best["value"])


def answers(folder: Path, rows: list[dict[str, str]]) -> torch.Tensor:
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    encoded = AutoTokenizer.from_pretrained(folder)([row["text"] for row in rows], padding=True, return_tensors="pt")
    with torch.no_grad():
        return model(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"]).logits


# The cache


@pytest.mark.parametrize(("dtype", "tolerance"), [("fp32", 1e-5), ("fp16", 2e-3), ("bf16", 2e-2)])
def test_a_cache_changes_no_more_than_its_dtype(
    data: dict[str, Any], without_cache: list[dict[str, Any]], tmp_path: Path, dtype: str, tolerance: float
) -> None:
    run = run_of(tmp_path, data, {"distill": {"cache": {"dtype": dtype}}})
    assert "no teacher runs in training" in log_of(run)
    for mine, its in zip(steps_of(run), without_cache, strict=True):
        assert set(mine) == set(its)
        for name in ("loss", "task", "forward_kl", "hidden_mse", "attention_kl"):
            assert mine[name] == pytest.approx(its[name], rel=tolerance, abs=1e-6), (mine["step"], name)


@pytest.fixture(scope="module")
def without_cache(data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("without")
    run = run_of(folder, data, {"distill": {"cache": {"mode": "off"}}})
    assert not (folder / "runs" / "teacher_cache").exists()
    assert "runs in every step" in log_of(run)
    return steps_of(run)


def test_with_a_full_cache_no_teacher_is_loaded(
    data: dict[str, Any], calm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise AssertionError("a teacher was loaded")

    monkeypatch.setattr("forge.teaching.classifier.load_classifier", refuse)
    before = cached(calm)
    root = {"distill": {"cache": {"dir": str(calm / "runs" / "teacher_cache")}}}
    run = run_of(tmp_path, data, root, {"train": {"learning_rate": 2e-3}})
    assert cached(calm) == before
    (told,) = [line for line in log_of(run).splitlines() if "on validation:" in line]
    assert told[20:] in log_of(only_run(calm))
    assert "accuracy 0." in told
    assert forge("--config", config_of(tmp_path / "cold", data, {"train": {"learning_rate": 2e-3}})) == 1


def test_the_run_says_where_its_shards_are(calm: Path) -> None:
    """run_training.sh counts them in this way."""
    folder = json.loads((only_run(calm) / "run_metadata.json").read_text())["teacher_cache"]
    shards = [str(path) for path in Path(folder).glob("*/[0-9]*.safetensors")]
    assert sorted(shards) == sorted(
        str(calm / "runs" / "teacher_cache" / name) for name in cached(calm) if name.endswith(".safetensors")
    )
    assert shards


def test_a_damaged_shard_is_told_and_made_again(data: dict[str, Any], calm: Path, tmp_path: Path) -> None:
    shutil.copytree(calm / "runs" / "teacher_cache", tmp_path / "runs" / "teacher_cache")
    before = cached(calm)
    name = next(name for name in before if "encoder.hidden.1/" in name)
    content = bytearray(before[name])
    content[len(content) // 2] ^= 1
    (tmp_path / "runs" / "teacher_cache" / name).write_bytes(content)
    run = run_of(tmp_path, data)
    (told,) = [line for line in log_of(run).splitlines() if "it was made again" in line]
    assert name in told
    assert "warning" in told
    assert "sha256" in told
    assert cached(tmp_path) == before
    assert fingerprint(run) == fingerprint(only_run(calm))


# What a step adds up to


def test_the_log_holds_every_part_and_they_agree(calm: Path) -> None:
    run = only_run(calm)
    saved = json.loads((run / "checkpoint-6" / "trainer_state.json").read_text())["objective"]["scales"]
    weights = {"forward_kl": 1.0, "hidden_mse": 0.5, "attention_kl": 2.0}
    factors = {name: 0.4 * weight * saved[name] for name, weight in weights.items()} | {"task": 0.6}
    assert [record["step"] for record in steps_of(run)] == [1, 2, 3, 4, 5, 6]
    for record in steps_of(run):
        for name, factor in factors.items():
            assert record[f"weighted.{name}"] == pytest.approx(factor * record[name], rel=1e-6)
        assert record["loss"] == pytest.approx(sum(record[f"weighted.{name}"] for name in factors), rel=1e-6)
        measured = {name.removeprefix("grad_norm.") for name in record if name.startswith("grad_norm.")}
        assert measured == (set(factors) if record["step"] in {1, 3, 6} else set())
    first = steps_of(run)[0]
    for name, weight in weights.items():
        expected = 0.4 * weight / 0.6 * first["grad_norm.task"]
        assert first[f"grad_norm.{name}"] == pytest.approx(expected, rel=1e-5)
    assert "(weighted gradients: task " in log_of(run)


def test_measuring_gradient_norms_changes_nothing(data: dict[str, Any], tmp_path: Path) -> None:
    found = []
    for every in (1, None):
        change = {"train": {"max_steps": 3}, "distill": {"gradient_norm_every": every, "balance": "none"}}
        run = run_of(tmp_path / str(every), data, BRIEF, change)
        records = [{k: v for k, v in record.items() if not k.startswith("grad_norm.")} for record in steps_of(run)]
        found.append((records, (run / "checkpoint-3" / "model.safetensors").read_bytes()))
        assert sum("grad_norm.task" in record for record in steps_of(run)) == (3 if every else 0)
    assert found[0] == found[1]


def test_micro_batches_change_nothing_but_rounding(data: dict[str, Any], tmp_path: Path) -> None:
    every = {name: {"weight": 0.1} | ({"group": 4} if name in GROUPED else {}) for name in LOSSES}
    still = {"model": {"dropout": 0.0}, "distill": every}
    whole, cut = (
        steps_of(run_of(tmp_path / str(size), data, still, {"train": {"micro_batch_size": size, "max_steps": 3}}))
        for size in (None, 4)
    )
    for one, other in zip(whole, cut, strict=True):
        for name in {*LOSSES, "loss", "task"}:
            assert one[name] == pytest.approx(other[name], rel=2e-5), (one["step"], name)


@pytest.mark.parametrize("change", [{"group_by_length": True}, {"group_by_length": True, "batch_tokens": 150}])
def test_any_way_to_make_batches_works(data: dict[str, Any], tmp_path: Path, change: dict[str, Any]) -> None:
    run = run_of(tmp_path, data, {"train": change})
    losses = [record["loss"] for record in steps_of(run)]
    assert len(losses) == 6
    assert all(0 < loss < 100 for loss in losses)


@pytest.mark.parametrize("name", GROUPED)
def test_groups_of_examples_need_batches_of_examples(
    data: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    grouped = {"distill": {name: {"weight": 1.0, "group": 4}}}
    assert forge("--config", config_of(tmp_path, data, grouped, {"train": {"batch_tokens": 150}})) == 2
    assert f"distill.{name}.group: batches of so many tokens cut groups anywhere" in capsys.readouterr().err
    assert forge("--config", config_of(tmp_path, data, grouped, {"train": {"micro_batch_size": 6}})) == 2
    assert f"distill.{name}.group: groups of 4 examples do not fit into micro-batches of 6" in capsys.readouterr().err
    assert not list((tmp_path / "runs").glob("*/*"))


# Nothing waits for the device


ON_CPU = re.compile(r"^[\w.]+\.device\.type == 'cpu'$")


class WaitedError(Exception):
    """The library asked a tensor for its value."""


def asked_by_forge() -> bool:
    """Whether the innermost code outside of torch and this file is the library's own, and not transformers'."""
    torch_folder = str(Path(torch.__file__).parent)
    frame = sys._getframe(1)
    while frame.f_back and frame.f_code.co_filename.startswith((torch_folder, __file__)):
        frame = frame.f_back
    file = frame.f_code.co_filename
    return file.startswith(str(ROOT / "forge")) and frame.f_lineno not in lines_for_the_cpu(file)


@lru_cache
def lines_for_the_cpu(file: str) -> frozenset[int]:
    """Lines of a file that run only where nothing has to be waited for."""
    tree = ast.walk(ast.parse(Path(file).read_text(encoding="utf-8")))
    branches = [node for node in tree if isinstance(node, ast.If) and ON_CPU.search(ast.unparse(node.test))]
    bodies = [statement for branch in branches for statement in branch.body]
    return frozenset(line for body in bodies for line in range(body.lineno, (body.end_lineno or body.lineno) + 1))


class Unanswering(TorchDispatchMode):
    """Raises where the library uses the value of a tensor, or a shape that depends on values."""

    ASKING = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal", "aten::unique_dim")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        by_mask = name == "aten::index" and any(i is not None and i.dtype == torch.bool for i in args[1])
        if (name in self.ASKING or by_mask) and asked_by_forge():
            raise WaitedError(name)
        return func(*args, **(kwargs or {}))


@contextmanager
def nothing_is_asked(patch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse(*arguments: Any) -> None:
        raise WaitedError

    with patch.context() as guard, Unanswering():
        for method in ("tolist", "numpy", "__array__"):
            guard.setattr(torch.Tensor, method, refuse)
        yield


@pytest.mark.parametrize("mode", ["on", "off"])
def test_a_step_asks_no_tensor_for_its_value(
    data: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    compute, steps = KD.compute, []

    def guarded(objective: KD, *arguments: Any) -> Any:
        with nothing_is_asked(monkeypatch):
            report = compute(objective, *arguments)
        steps.append(set(report.parts))
        return report

    monkeypatch.setattr(KD, "compute", guarded)
    every = {name: {"weight": 1.0} | ({"group": 8} if name in GROUPED else {}) for name in LOSSES}
    options = {"attention_kl": {"value_relation": True}, "score_mse": {"center": True}}
    run_of(tmp_path, data, BRIEF, {"distill": every}, {"distill": options | {"cache": {"mode": mode}}})
    assert [{name for name in step if "." not in name} for step in steps] == [{*LOSSES, "task"}] * 2


def test_the_guard_sees_what_it_looks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = {"labels": torch.tensor([0, 1]), "attention_mask": torch.ones(2, 3)}
    stacks = {"encoder": Stack(1, 4, 1, 1, 4, False, ("self",))}
    with nothing_is_asked(monkeypatch), pytest.raises(WaitedError):
        count(batch, stacks)
    assert count(batch, stacks)["labels"] == 2.0
