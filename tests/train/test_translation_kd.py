"""Distillation of translators: every family, cached and online, texts as targets, killed, on two processes, refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import Lives, fingerprint, forge, merged, metrics, only_run, write_config
from toy_distillation import distill, losses
from toy_translation import finished_after_kills, settings

from forge.config.schema import LOSS_NAMES

ALIKE = {"weight": 1.0, "temperature": 1.0}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run with one more layer and wider than the students."""
    folder = tmp_path_factory.mktemp("teacher")
    build = {"layers": 2, "width": 48, "heads": 4}
    change = merged(settings(folder / "data", max_steps=20, learning_rate=3e-3), {"model": {"build": build}})
    assert forge("--config", write_config(folder, change)) == 0
    return only_run(folder)


def student(teacher: Path, *changes: dict[str, Any]) -> dict[str, Any]:
    """A smaller model on the teacher's data, which it reads with the teacher's tokenizer."""
    data = json.loads((teacher / "run_metadata.json").read_text())["config"]["data"]
    change = settings(Path(data["train"]).parent)
    for more in ({"alpha": 0.5, "teacher": {"name": str(teacher)}}, *changes):
        change = merged(change, more)
    return change


@pytest.mark.slow
def test_every_loss_takes_part_and_the_cache_changes_nothing(teacher: Path, tmp_path: Path) -> None:
    found = {}
    for mode in ("off", "on"):
        change = student(teacher, distill(*LOSS_NAMES, cache={"mode": mode, "dtype": "fp32"}))
        change = merged(change, {"train": {"batch_size": 16, "micro_batch_size": 8}, "log": {"every": 1}})
        assert forge("--config", write_config(tmp_path / mode, change)) == 0
        found[mode] = losses(only_run(tmp_path / mode))
    assert len(found["on"]) == 12
    for online, cached in zip(found["off"], found["on"], strict=True):
        assert set(LOSS_NAMES) <= set(online)
        for name in (*LOSS_NAMES, "task", "loss", "grad_norm"):
            assert cached[name] == pytest.approx(online[name], rel=2e-3, abs=2e-5), (online["step"], name)
    log = (only_run(tmp_path / "on") / "output.log").read_text()
    assert "no teacher runs in training" in log
    assert "bleu" in log.split("on validation:")[1].splitlines()[0]


@pytest.mark.slow
def test_the_k_likeliest_tokens_do_for_the_whole_vocabulary(teacher: Path, tmp_path: Path) -> None:
    """With k above the vocabulary nothing is lost; with a small k the loss is smaller, as its bins are coarser."""
    found = {}
    for name, cache in {"all": {}, "most": {"top_k": 10_000}, "few": {"top_k": 4}}.items():
        change = student(teacher, distill("forward_kl", "topk_kl", forward_kl=ALIKE, cache={"mode": "on"} | cache))
        assert forge("--config", write_config(tmp_path / name, merged(change, {"log": {"every": 1}}))) == 0
        found[name] = losses(only_run(tmp_path / name))[0]
    for name in ("forward_kl", "topk_kl"):
        assert found["most"][name] == pytest.approx(found["all"][name], rel=1e-5)
    assert 0 < found["few"]["topk_kl"] < found["all"]["forward_kl"]
    assert found["few"]["task"] == pytest.approx(found["all"]["task"], rel=1e-6)
    change = student(teacher, distill("topk_kl", topk_kl={"weight": 1.0, "k": 8}, cache={"mode": "on"}))
    assert forge("--config", write_config(tmp_path / "alone", change)) == 0
    fields = {path.name for path in (tmp_path / "alone").rglob("teacher_cache/*/*") if path.is_dir()}
    assert fields == {"top8.logprobs", "top8.indices"}  # that loss looks at no other


@pytest.mark.slow
@pytest.mark.parametrize("targets", ["teacher", "closest", "both"])
def test_the_teachers_texts_become_targets(teacher: Path, tmp_path: Path, targets: str) -> None:
    change = student(
        teacher, {"distill": {"sequence": {"targets": targets, "beams": 2}}, "data": {"max_train_examples": 90}}
    )
    assert forge("--config", write_config(tmp_path, change)) == 0
    run = only_run(tmp_path)
    log = (run / "output.log").read_text()
    assert f"targets: the teacher's translations ({targets}, 2 beams)" in log
    assert f"train {180 if targets == 'both' else 90}" in log
    (folder,) = tmp_path.rglob("texts-*")
    lines = (folder / "00000.jsonl").read_text().split("\n")[1:-1]
    assert len(lines) == 90
    assert {len(json.loads(line)) for line in lines} == {2 if targets == "closest" else 1}


@pytest.mark.slow
def test_texts_are_made_once_and_made_again_where_damaged(
    teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {"data": {"max_train_examples": 60}, "distill": {"sequence": {"targets": "teacher", "beams": 1}}}
    shared = {"distill": {"cache": {"dir": str(tmp_path / "cache")}}}
    for name, more in (("a", {}), ("b", distill("topk_kl"))):
        change = student(teacher, small, shared, more)
        assert forge("--config", write_config(tmp_path / name, change)) == 0
    said = capsys.readouterr().err
    assert said.count("the teacher has translated 60 of 60 texts") == 1
    (file,) = (tmp_path / "cache").glob("texts-*/*.jsonl")
    whole = file.read_bytes()
    file.write_bytes(whole[:-20] + b"X" + whole[-19:])
    assert forge("--config", write_config(tmp_path / "c", merged(student(teacher, small, shared), {"seed": 2}))) == 0
    assert file.read_bytes() == whole
    assert "the teacher has translated" in capsys.readouterr().err


@pytest.mark.slow
def test_a_teacher_with_other_tokens_may_teach_by_its_texts(teacher: Path, tmp_path: Path) -> None:
    own = {"model": {"tokenizer": None, "build": {"vocab_size": 300}}, "data": {"max_train_examples": 60}}
    change = student(teacher, own, {"distill": {"sequence": {"targets": "teacher", "beams": 1}}})
    tokenizer = tmp_path / "words"
    assert forge("--config", write_config(tmp_path / "other", merged(settings(tmp_path / "data"), own))) == 0
    tokenizer = only_run(tmp_path / "other") / "checkpoint-12"
    change = merged(change, {"model": {"tokenizer": str(tokenizer)}})
    assert forge("--config", write_config(tmp_path / "run", change)) == 0


@pytest.mark.slow
def test_killed_at_random_moments_a_student_ends_bit_equal(teacher: Path, tmp_path: Path, lives: Lives) -> None:
    names = ("topk_kl", "hidden_mse", "attention_kl")
    sequence = {"targets": "closest", "beams": 2}
    change = student(
        teacher, distill(*names, sequence=sequence, cache={"mode": "on"}), {"train": {"micro_batch_size": 8}}
    )
    assert lives.run(["--config", str(write_config(tmp_path / "calm", change))]) == 0
    expected = fingerprint(only_run(tmp_path / "calm"))
    for run in finished_after_kills(lives, tmp_path / "stormy", change, longest=4.0):
        assert fingerprint(run) == expected


@pytest.mark.slow
def test_two_processes_equal_one(teacher: Path, tmp_path: Path, lives: Lives) -> None:
    change = student(
        teacher,
        distill("topk_kl", "cosine", "score_mse", sequence={"targets": "teacher", "beams": 1}, cache={"mode": "on"}),
        {"train": {"micro_batch_size": 8, "batch_size": 16}},
    )
    assert forge("--config", write_config(tmp_path / "one", change)) == 0
    lives.run_pair(write_config(tmp_path / "two", change))
    pairs = list(zip(*(metrics(only_run(tmp_path / name)) for name in ("one", "two")), strict=True))
    assert len(pairs) > 3
    for one, two in pairs:
        assert set(one) == set(two)
        for name, value in one.items():
            if isinstance(value, float):
                assert two[name] == pytest.approx(value, abs=2e-5), (one["step"], name)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"distill": {"forward_kl": {"weight": 1.0}}, "model": {"tokenizer": "OTHER"}},
            "has another tokenizer than the student (",
        ),
        (
            {"distill": {"forward_kl": {"weight": 1.0}}, "model": {"tokenizer": "OTHER"}},
            "or let it teach by its translations alone: distill.sequence.targets: teacher",
        ),
        ({"distill": {"forward_kl": {"weight": 1.0}}, "data": {"max_length": 80}}, "but the teacher"),
        ({"distill": {"sequence": {"beams": 0}}}, "distill.sequence.beams"),
        (
            {"distill": {"sequence": {"targets": "teacher"}}, "teacher": {"min_accuracy": 0.5}},
            "teacher.min_accuracy: a translator has none",
        ),
        ({"distill": {"sequence": {"targets": "reference"}}}, "no loss of distill has a weight"),
    ],
)
def test_one_line_for_a_teacher_that_does_not_fit(
    teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], said: str
) -> None:
    other = tmp_path / "other"
    if "OTHER" in str(change):
        from forge.tasks.embedded.tokenizer import train_joint_bpe

        train_joint_bpe(["other words are here", "and some more of them"], 200).save_pretrained(other)
        change = merged(change, {"model": {"tokenizer": str(other)}})
    if "max_length" in str(change):
        change = merged(change, {"model": {"build": {"max_positions": 128}}})
    assert forge("--config", write_config(tmp_path, student(teacher, change))) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") <= 2


def test_a_classifier_writes_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change = {"alpha": 0.5, "teacher": {"name": "embedded/tiny-bert"}, "distill": {"sequence": {"targets": "teacher"}}}
    assert forge("--config", write_config(tmp_path, change)) == 2
    assert "distill.sequence: a teacher of classification writes no text" in capsys.readouterr().err
