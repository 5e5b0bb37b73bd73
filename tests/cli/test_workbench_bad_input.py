"""Everything a user can get wrong with the workbench: one line, exit code 2, and no file left behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy_translation
from support import forge, merged, trained

from forge.core.version import VERSION

pytestmark = pytest.mark.usefixtures("no_reports")

Refused = Callable[..., str]


def write_rows(path: Path, seed: int, count: int, labels: tuple[str, str] = ("yes", "no")) -> None:
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice([f"w{n}" for n in range(30)], 5)) for _ in range(count)]
    rows = [{"text": text, "label": labels[text < "w2"]} for text in texts]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def on_files(folder: Path, test: int, labels: tuple[str, str] = ("yes", "no")) -> dict[str, Any]:
    folder.mkdir(parents=True)
    for seed, (name, count) in enumerate({"train": 80, "validation": 16, "test": test}.items()):
        write_rows(folder / f"{name}.jsonl", seed, count, labels)
    data = {name: str(folder / f"{name}.jsonl") for name in ("train", "validation", "test")}
    return {"data": {"name": None, "embedded": {}, **data}, "train": {"max_steps": 2}}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("world")
    short = {"train": {"max_steps": 2}}
    found = {
        "pairs": trained(folder / "pairs", short),
        "others": trained(folder / "others", on_files(folder / "d1", 60)),
        "few": trained(folder / "few", on_files(folder / "d2", 20)),
        "emotions": trained(folder / "emotions", on_files(folder / "d3", 60, ("glad", "sad"))),
    }
    translation = toy_translation.settings(folder / "d4", max_steps=2)
    return found | {"translator": trained(folder / "translator", translation)}


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """refused(…) → the one line of an error that ends with exit code 2."""

    def _refused(*words: str | Path) -> str:
        capsys.readouterr()
        code = forge("workbench", *words)
        captured = capsys.readouterr()
        assert (code, captured.out) == (2, "")
        lines = captured.err.splitlines()
        assert len(lines) == 1, captured.err
        return lines[0].removeprefix("forge: ")

    return _refused


def without(run: Path, folder: Path, *patterns: str) -> Path:
    copy = folder / "copy"
    shutil.copytree(run, copy)
    for pattern in patterns:
        for path in copy.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return copy


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "workbench needs --run R"),
        (("pairs",), "write workbench --run"),
        (("compare",), "needs two runs or more"),
        (("compare", "pairs"), "needs two runs or more"),
        (("compare", "pairs", "others", "--baseline", "few"), "takes no --baseline"),
        (("compare", "pairs", "others", "--run", "few"), "without --run"),
        (("--run", "pairs", "--rows", "0"), "must be a whole number from 1"),
        (("--run", "pairs", "--rows", "many"), "must be a whole number from 1"),
        (("--run", "pairs", "--layers", "3"), "unknown argument --layers"),
        (("--run", "pairs", "--split", "dev"), "has no split 'dev'; there are: validation, test"),
        (("--run", "translator", "--split", "train"), "has no split 'train'; there are: validation, test"),
        (("--run", "others", "--split", "validation"), "gives 16 rows, and its figures need at least 30"),
        (("compare", "pairs", "others", "--split", "dev"), "has no split 'dev'; there are: validation, test"),
        (("--run", "nowhere"), "is not a run directory"),
        (("--run", "pairs", "--baseline", "nowhere"), "is not a run directory"),
        (("--run", "pairs", "--teacher", "./nowhere"), "--teacher: no directory"),
        (("--run", "pairs", "--teacher", "embedded/tiny-bert"), "has random weights"),
        (("--run", "pairs", "--teacher", "translator"), "is a run of translation"),
        (("--run", "translator", "--teacher", "pairs"), "is a run of classification"),
        (("--run", "pairs", "--teacher", "others"), "tells no, yes apart"),
        (("--run", "pairs", "--baseline", "translator"), "compared on the same rows"),
        (("--run", "pairs", "--baseline", "others"), "holds other rows"),
        (("compare", "pairs", "others"), "holds other rows"),
        (("compare", "pairs", "pairs"), "is named twice"),
        (("--run", "few"), "gives 20 rows, and its figures need at least 30; take another split with --split, or a"),
        (("--run", "pairs", "--rows", "12"), "gives 12 rows, and its figures need at least 30; give --rows more"),
    ],
)
def test_refused(refused: Refused, world: dict[str, Path], words: tuple[str, ...], says: str) -> None:
    assert says in refused(*(world.get(word, word) for word in words))
    assert not any((run / "workbench").exists() for run in world.values())


def test_a_run_without_a_model(refused: Refused, world: dict[str, Path], tmp_path: Path) -> None:
    assert "has no checkpoint 'best'" in refused("--run", without(world["pairs"], tmp_path, "checkpoint-*"))


def test_a_damaged_model(refused: Refused, world: dict[str, Path], tmp_path: Path) -> None:
    run = without(world["pairs"], tmp_path)
    for path in run.glob("checkpoint-*/model.safetensors"):
        path.write_bytes(path.read_bytes()[:-8] + b"\x01" * 8)
    assert "is damaged" in refused("--run", run)
    assert "is damaged" in refused("--run", world["pairs"], "--teacher", run)


def edited(run: Path, folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A copy of a run whose record another version might have written."""
    copy = shutil.copytree(run, folder)
    record = json.loads((copy / "run_metadata.json").read_text())
    change(record)
    (copy / "run_metadata.json").write_text(json.dumps(record))
    return copy


def test_a_run_whose_settings_are_those_of_another_version(
    refused: Refused, world: dict[str, Path], tmp_path: Path
) -> None:
    def older(record: dict[str, Any]) -> None:
        record["config"]["train"]["warmup_ratio_of_old"] = 0.1
        record["versions"]["forge"] = "0.0.9"

    old = edited(world["pairs"], tmp_path / "old", older)
    says = (
        f"{old}  has settings that forge {VERSION} does not take: train.warmup_ratio_of_old is not a setting; take "
        "forge 0.0.9, which trained it, or train it again"
    )
    good = world["pairs"]
    assert refused("--run", old) == says
    for words in (("--baseline", old), ("--teacher", old), ("--split", "validation", "--baseline", old)):
        assert refused("--run", good, *words) == says
    assert refused("compare", good, old) == says
    assert not any((run / "workbench").exists() for run in (old, good))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda record: record["config"]["train"].update(max_steps="2"), "train.max_steps must be a whole number"),
        (lambda record: record["config"].update(task="summary"), "task must be one of"),
        (lambda record: record["config"].update(data=3, alpha=7.0), "(and 1 more); put run_metadata.json back"),
        (lambda record: record.pop("config"), "holds no settings (config); train the run again"),
    ],
)
def test_a_run_whose_settings_were_edited(
    refused: Refused, world: dict[str, Path], tmp_path: Path, change: Callable[[dict[str, Any]], object], says: str
) -> None:
    assert says in refused("--run", edited(world["pairs"], tmp_path / "copy", change))


def test_data_that_are_gone_or_changed(refused: Refused, tmp_path: Path) -> None:
    run = trained(tmp_path / "run", on_files(tmp_path / "data", 60))
    write_rows(tmp_path / "data" / "test.jsonl", 9, 60)
    assert "has changed since" in refused("--run", run)
    (tmp_path / "data" / "test.jsonl").unlink()
    assert "test.jsonl" in refused("--run", run)
    assert not (run / "workbench").exists()


def test_a_teacher_that_has_moved(refused: Refused, world: dict[str, Path], tmp_path: Path) -> None:
    teacher = shutil.copytree(world["pairs"], tmp_path / "teacher")
    change = {"alpha": 0.5, "teacher": {"name": str(teacher)}, "distill": {"forward_kl": {"weight": 1.0}}}
    run = trained(tmp_path / "run", merged({"train": {"max_steps": 2}}, change))
    shutil.rmtree(teacher)
    assert "name where it is now with --teacher" in refused("--run", run)


def test_a_teacher_that_was_trained_on_these_rows(refused: Refused, world: dict[str, Path], tmp_path: Path) -> None:
    metadata = json.loads((world["others"] / "run_metadata.json").read_text())
    teacher = shutil.copytree(world["others"], tmp_path / "teacher")
    metadata["fingerprints"]["train"] = metadata["fingerprints"]["test"]
    (teacher / "run_metadata.json").write_text(json.dumps(metadata))
    assert "was trained on" in refused("--run", world["others"], "--teacher", teacher)


def test_a_folder_that_cannot_be_written(refused: Refused, world: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert "is a file, not a directory" in refused("--run", world["pairs"], "--out", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_labels_of_another_teacher(refused: Refused, world: dict[str, Path]) -> None:
    assert "tells glad, sad apart, the student no, yes" in refused(
        "--run", world["others"], "--teacher", world["emotions"]
    )


def test_the_verb_says_what_it_found(
    world: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert forge("workbench", "--run", world["pairs"], "--rows", "40", "--quick", "--out", tmp_path / "out") == 0
    told = capsys.readouterr()
    assert "the student: accuracy" in told.out
    assert str(tmp_path / "out" / "report.html") in told.out
    assert "note (alignment): There is no teacher" in told.out
    assert (tmp_path / "out" / "report.html").read_text().startswith("<!doctype html>")
