"""Distillation of page readers: every family, cached and online, readings as targets, killed, in parallel, refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import Lives, fingerprint, forge, merged, metrics, only_run, write_config
from toy_distillation import distill, losses
from toy_pages import reader
from toy_translation import finished_after_kills

from forge.config.schema import LOSS_NAMES

SMALL = {"data": {"embedded": {"train_size": 40}}}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run, wider and deeper than the students."""
    folder = tmp_path_factory.mktemp("teacher")
    change = reader(glyphs={"alone_steps": 20}, train={"max_steps": 40, "batch_size": 8}, evaluate={"every": 40})
    assert forge("--config", write_config(folder, change)) == 0
    return only_run(folder)


def student(teacher: Path, *changes: dict[str, Any]) -> dict[str, Any]:
    """A smaller reader of the same pages, its glyph losses on from the start."""
    change = reader(
        alpha=0.5,
        model={"name": "embedded/mini-reader"},
        teacher={"name": str(teacher)},
        glyphs={"alone_steps": 0},
        train={"max_steps": 6},
        evaluate={"every": 3},
    )
    for more in changes:
        change = merged(change, more)
    return change


@pytest.mark.slow
def test_every_loss_takes_part_and_the_cache_changes_nothing(teacher: Path, tmp_path: Path) -> None:
    found = {}
    for mode in ("off", "on"):
        change = student(teacher, SMALL, distill(*LOSS_NAMES, cache={"mode": mode, "dtype": "fp32"}))
        change = merged(change, {"train": {"batch_size": 8, "micro_batch_size": 4}})
        assert forge("--config", write_config(tmp_path / mode, change)) == 0
        found[mode] = losses(only_run(tmp_path / mode))
    assert len(found["on"]) == 6
    for online, cached in zip(found["off"], found["on"], strict=True):
        assert {*LOSS_NAMES, "cells", "attention"} <= set(online)
        for name in (*LOSS_NAMES, "cells", "attention", "task", "loss", "grad_norm"):
            assert cached[name] == pytest.approx(online[name], rel=2e-3, abs=2e-5), (online["step"], name)
    log = (only_run(tmp_path / "on") / "output.log").read_text()
    assert "no teacher runs in training" in log
    assert "cer" in log.split("on validation:")[1].splitlines()[0]
    fields = {path.name for path in (tmp_path / "on").rglob("teacher_cache/*/*") if path.is_dir()}
    assert {"logits", "encoder.hidden.3", "decoder.hidden.2", "decoder.cross.2.k"} <= fields
    assert not any(name.startswith("encoder.self") for name in fields)  # the encoder does not attend


@pytest.mark.slow
@pytest.mark.parametrize("name", ["forward_kl", "jsd", "dkd", "hidden_mse", "cosine", "linear_cka"])
def test_a_loss_lowers_itself(teacher: Path, tmp_path: Path, name: str) -> None:
    _falls(teacher, tmp_path, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["score_mse", "attention_kl", "self_relation", "topk_kl", "logit_mse"])
def test_a_loss_on_attention_or_beyond_the_nine_lowers_itself(teacher: Path, tmp_path: Path, name: str) -> None:
    _falls(teacher, tmp_path, name)


def _falls(teacher: Path, tmp_path: Path, name: str) -> None:
    """Alone, on few pages."""
    few = {"data": {"embedded": {"train_size": 8}}, "train": {"max_steps": 25, "batch_size": 8}, "alpha": 1.0}
    change = student(teacher, few, distill(name, cache={"mode": "off"}), {"evaluate": {"every": 25}})
    assert forge("--config", write_config(tmp_path, change)) == 0
    steps = losses(only_run(tmp_path))
    assert steps[-1][name] < 0.8 * steps[0][name]


def scale(run: Path, name: str) -> float:
    """What the log says that a loss was scaled by, once, before it took part."""
    (line,) = [line for line in (run / "output.log").read_text().splitlines() if "balance: " in line]
    return float(line.split(f"{name} × ")[1].split(",")[0])


@pytest.mark.slow
def test_letters_come_first_and_then_the_teacher(teacher: Path, tmp_path: Path) -> None:
    two = distill("forward_kl", "hidden_mse", balance="gradient_norm")
    change = student(teacher, {"glyphs": {"alone_steps": 3}}, two)
    assert forge("--config", write_config(tmp_path, change)) == 0
    for step in losses(only_run(tmp_path)):
        later = step["step"] > 3
        assert "cells" in step
        assert all((name in step) == later for name in ("task", "attention", "forward_kl", "hidden_mse"))
        if later:
            ratio = step["weighted.forward_kl"] / (0.5 * step["forward_kl"])
            assert ratio == pytest.approx(scale(only_run(tmp_path), "forward_kl"), rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("targets", ["teacher", "closest", "both"])
def test_the_teachers_readings_become_targets(
    teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], targets: str
) -> None:
    sequence = {"distill": {"sequence": {"targets": targets, "beams": 2}}}
    change = student(teacher, SMALL, sequence)
    assert forge("--config", write_config(tmp_path, change)) == 0
    run = only_run(tmp_path)
    log = (run / "output.log").read_text()
    assert f"targets: the teacher's readings ({targets}, 2 beams)" in log
    assert f"train {80 if targets == 'both' else 40}, " in log
    assert "the teacher has read 40 of 40 pages" in capsys.readouterr().err
    (folder,) = tmp_path.rglob("texts-*")
    lines = (folder / "00000.jsonl").read_text().split("\n")[1:-1]
    assert len(lines) == 40
    assert {len(json.loads(line)) for line in lines} == {2 if targets == "closest" else 1}
    assert {"cells", "task"} <= set(losses(run)[0])
    other = merged(change, {"seed": 2})
    assert forge("--config", write_config(tmp_path, other, "other")) == 0
    assert "the teacher has read" not in capsys.readouterr().err


def test_the_cache_is_not_filled_for_pages_that_are_never_seen_twice(teacher: Path, tmp_path: Path) -> None:
    for name, size in (("often", 8), ("once", 64)):
        change = student(teacher, {"data": {"embedded": {"train_size": size}}}, distill("topk_kl"))
        assert forge("--config", write_config(tmp_path / name, change)) == 0
        log = (only_run(tmp_path / name) / "output.log").read_text()
        assert ("runs in every step" in log) == (name == "once")
        assert ("no teacher runs in training" in log) == (name == "often")


def test_what_was_measured_and_cached_is_found_again_by_another_process(
    teacher: Path, tmp_path: Path, lives: Lives
) -> None:
    """Rows of pages are texts, and a digest of them must not depend on where in memory they lie."""
    shared = {"distill": {"cache": {"dir": str(tmp_path / "cache"), "mode": "on"}}}
    for seed in (1, 2):
        change = student(teacher, SMALL, distill("topk_kl"), shared, {"seed": seed})
        assert lives.run(["--config", str(write_config(tmp_path / str(seed), change))]) == 0
    assert len(list((tmp_path / "cache").glob("*/identity.json"))) == 1
    assert len(list((tmp_path / "cache").glob("*/measured-*.json"))) == 1
    other = student(teacher, SMALL, distill("topk_kl"), shared, {"data": {"embedded": {"seed": 5}}})
    assert lives.run(["--config", str(write_config(tmp_path / "other", other))]) == 0
    assert len(list((tmp_path / "cache").glob("*/identity.json"))) == 2


@pytest.mark.slow
def test_killed_at_random_moments_a_student_ends_bit_equal(teacher: Path, tmp_path: Path, lives: Lives) -> None:
    names = ("topk_kl", "hidden_mse", "attention_kl")
    sequence = {"targets": "closest", "beams": 2}
    change = student(
        teacher,
        SMALL,
        distill(*names, sequence=sequence, cache={"mode": "on"}),
        {"train": {"micro_batch_size": 2, "max_steps": 9}, "glyphs": {"alone_steps": 3}},
    )
    assert lives.run(["--config", str(write_config(tmp_path / "calm", change))]) == 0
    expected = fingerprint(only_run(tmp_path / "calm"))
    for run in finished_after_kills(lives, tmp_path / "stormy", change, longest=4.0):
        assert fingerprint(run) == expected


@pytest.mark.slow
def test_two_processes_equal_one(teacher: Path, tmp_path: Path, lives: Lives) -> None:
    change = student(
        teacher,
        SMALL,
        distill("topk_kl", "cosine", "score_mse", sequence={"targets": "teacher", "beams": 1}, cache={"mode": "on"}),
        {"train": {"micro_batch_size": 4, "batch_size": 8}, "glyphs": {"alone_steps": 2}},
    )
    assert forge("--config", write_config(tmp_path / "one", change)) == 0
    lives.run_pair(write_config(tmp_path / "two", change))
    pairs = list(zip(*(metrics(only_run(tmp_path / name)) for name in ("one", "two")), strict=True))
    assert len(pairs) > 6
    for one, two in pairs:
        assert set(one) == set(two)
        for name, value in one.items():
            if isinstance(value, float):
                assert two[name] == pytest.approx(value, abs=5e-5), (one["step"], name)


@pytest.mark.slow
def test_a_teacher_with_another_sheet_may_teach_by_its_readings(teacher: Path, tmp_path: Path) -> None:
    sequence = {"distill": {"sequence": {"targets": "teacher", "beams": 1}}, "data": {"pages": {"canvas": [48, 240]}}}
    assert forge("--config", write_config(tmp_path, student(teacher, SMALL, sequence))) == 0
    assert "pages: 48 × 240 pixels" in (only_run(tmp_path) / "output.log").read_text()


KL = {"distill": {"forward_kl": {"weight": 1.0}}}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (KL | {"model": {"tokenizer": "OTHER"}}, "has another tokenizer than the student ("),
        (KL | {"model": {"tokenizer": "OTHER"}}, "or let it teach by its Markdown alone: distill.sequence.targets"),
        (KL | {"data": {"pages": {"canvas": [48, 240]}}}, "on a sheet of 48 × 240 pixels, the teacher ("),
        (KL | {"data": {"pages": {"canvas": [48, 240]}}}, "set data.pages.canvas: [32, 224], or let it teach"),
        (KL | {"data": {"max_target_length": 64}}, "at most 48; lower it"),
        (KL | {"teacher": {"min_accuracy": 0.5}}, "teacher.min_accuracy: a page reader has none"),
        (KL | {"teacher": {"labels": ["a", "b"]}}, "teacher.labels: a page reader has none"),
        (
            KL | {"teacher": {"name": "embedded/tiny-bert"}},
            "there is no embedded/tiny-bert; embedded are",
        ),
        (KL | {"teacher": {"name": "BERT"}}, "writes no text about an image (bert)"),
        ({"distill": {"sequence": {"targets": "reference"}}}, "no loss of distill has a weight"),
        (
            {"distill": {"attention_kl": {"weight": 1.0, "layers": [[3, 2]]}}},
            "names layer 3 of the student's decoder, but its attention is in layers 1 to 2",
        ),
        (
            {"distill": {"hidden_mse": {"weight": 1.0, "layers": [[3, 3]]}}},
            "names layer 3 of the student's decoder, but it has 0 (the embeddings) to 2",
        ),
        ({"distill": {"linear_cka": {"weight": 1.0, "group": 8}}, "train": {"micro_batch_size": 2}}, "groups of 8"),
    ],
)
def test_one_line_for_a_teacher_that_does_not_fit(
    teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], said: str
) -> None:
    if "OTHER" in str(change):
        from forge.tasks.ocr.characters import character_tokenizer

        character_tokenizer(["ßłđ"], 48).save_pretrained(tmp_path / "other")
        change = merged(change, {"model": {"tokenizer": str(tmp_path / "other")}})
    if "BERT" in str(change):
        change = merged(change, {"teacher": {"name": str(_bert(tmp_path / "bert", teacher))}})
    assert forge("--config", write_config(tmp_path, student(teacher, SMALL, change))) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") <= 2


def _bert(folder: Path, teacher: Path) -> Path:
    """A model that reads no pages, with the reader's tokenizer."""
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    checkpoint = next(teacher.glob("checkpoint-*"))
    AutoTokenizer.from_pretrained(checkpoint).save_pretrained(folder)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertForSequenceClassification(BertConfig(vocab_size=200, **shape)).save_pretrained(folder)
    return folder
