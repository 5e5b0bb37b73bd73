"""Teachers that read pages through a processor: their losses step by step, and their readings as targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import forge, merged, metrics, only_run, write_config
from toy_vision_models import edit_json, make
from train.test_page_models import STEPS, same, settings, train

LOSSES = {name: {"weight": 1.0} for name in ("forward_kl", "hidden_mse", "attention_kl")}


def taught(folder: Path, student: Path, teacher: Path, *changes: dict[str, Any]) -> dict[str, Any]:
    """Every step sees the same eight pages."""
    same = {"data": {"embedded": {"train_size": 8}}, "train": {"batch_size": 8, "micro_batch_size": 4}}
    change = merged(settings(folder, student), {"alpha": 1.0, "teacher": {"name": str(teacher)}} | same)
    for more in changes:
        change = merged(change, more)
    return change


@pytest.mark.parametrize("kind", ["idefics3", "qwen2_vl", "lighton_ocr", "donut", "trocr"])
def test_it_learns_from_logits_states_and_attention_and_goes_on_bit_by_bit(tmp_path: Path, kind: str) -> None:
    student, teacher = make(kind, tmp_path / "student"), make(kind, tmp_path / "teacher", seed=1)
    losses = {"forward_kl": LOSSES["forward_kl"]} if kind in {"qwen2_vl", "donut"} else LOSSES  # layers not covered
    found = {}
    for name, looks in (("calm", None), ("stormy", 3)):
        change = taught(tmp_path / name, student, teacher, {"distill": losses})
        if looks:
            train(tmp_path / name, change, looks)
        found[name] = train(tmp_path / name, change) / f"checkpoint-{STEPS}"
    same(found["calm"], found["stormy"])
    steps = [record for record in metrics(only_run(tmp_path / "calm")) if record["kind"] == "step"]
    assert len(steps) == STEPS
    assert steps[0]["loss"] > steps[1]["loss"] > steps[2]["loss"] > steps[3]["loss"]
    assert all(steps[0][name] > 0 for name in losses)
    assert "runs in every step" in (only_run(tmp_path / "calm") / "output.log").read_text()


@pytest.mark.parametrize("kind", ["idefics3", "trocr"])
def test_a_student_that_is_its_teacher_has_nothing_to_learn(tmp_path: Path, kind: str) -> None:
    model = make(kind, tmp_path / "model")
    still = {"distill": LOSSES, "model": {"dropout": 0.0}, "train": {"max_steps": 1, "learning_rate": 1e-9}}
    train(tmp_path, taught(tmp_path, model, model, still))
    (step,) = (record for record in metrics(only_run(tmp_path)) if record["kind"] == "step")
    for name in ("forward_kl", "attention_kl"):
        assert step[name] == pytest.approx(0.0, abs=1e-5)


SEQUENCE = {"distill": {"sequence": {"targets": "teacher", "beams": 1}}}


def test_its_readings_teach_an_embedded_reader_and_another_family(tmp_path: Path) -> None:
    teacher = make("lighton_ocr", tmp_path / "teacher")
    ends = {"train": {"max_steps": 150, "learning_rate": 1e-2}, "data": {"max_target_length": 48}}  # labels with ends
    run = train(tmp_path / "first", merged(settings(tmp_path / "first", teacher), ends))
    other = make("qwen2_vl", tmp_path / "other")
    embedded = {"model": {"name": "embedded/mini-reader"}, "data": {"max_target_length": 48}}
    for name, change in {"reader": embedded, "model": {}}.items():
        folder = tmp_path / name
        student = taught(folder, other, run, SEQUENCE, change, {"run": {"dir": str(folder / "runs")}})
        train(folder, student)
        log = (only_run(folder) / "output.log").read_text()
        assert "targets: the teacher's readings (teacher, 1 beams), kept in" in log
    kept = [path.read_text() for path in tmp_path.rglob("texts-*/00000.jsonl")]
    assert len(kept) == 2  # each student's longest text is its own
    assert any('["' in text for text in kept)  # it came to an end somewhere, so not all targets are the references


def test_an_embedded_reader_teaches_another_family_by_its_readings(tmp_path: Path) -> None:
    change = settings(tmp_path / "first", Path("embedded/mini-reader"))
    run = train(tmp_path / "first", merged(change, {"data": {"max_target_length": 48}}))
    student = make("qwen2_vl", tmp_path / "student")
    train(tmp_path / "second", taught(tmp_path / "second", student, run, SEQUENCE))
    log = (only_run(tmp_path / "second") / "output.log").read_text()
    assert "targets: the teacher's readings (teacher, 1 beams), kept in" in log


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"distill": LOSSES, "model": {"name": "embedded/mini-reader"}}, "one is an embedded reader, which sees cells"),
        ({"distill": LOSSES, "teacher": {"name": "embedded/tiny-reader"}}, "distill.sequence.targets: teacher"),
        (SEQUENCE | {"teacher": {"name": "embedded/tiny-reader"}}, "has learnt nothing yet"),
        ({"distill": LOSSES | {"cache": {"mode": "on"}}}, "nothing can be kept: how many tokens a page takes"),
        ({"distill": LOSSES, "teacher": {"name": "OTHER"}}, "has another tokenizer than the student"),
        ({"distill": LOSSES, "teacher": {"name": "LARGER"}}, "takes a page otherwise than the student (attention_mask"),
        ({"distill": LOSSES, "teacher": {"min_accuracy": 0.5}}, "teacher.min_accuracy: a page reader has none"),
    ],
)
def test_one_line_for_a_teacher_that_does_not_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], said: str
) -> None:
    student = make("idefics3", tmp_path / "student")
    if "OTHER" in str(change):
        change = merged(change, {"teacher": {"name": str(make("qwen2_vl", tmp_path / "other"))}})
    if "LARGER" in str(change):
        larger = make("idefics3", tmp_path / "larger")
        edit_json(larger / "processor_config.json", image_seq_len=5)
        change = merged(change, {"teacher": {"name": str(larger)}})
    assert forge("--config", write_config(tmp_path, taught(tmp_path, student, student, change))) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") <= 2
