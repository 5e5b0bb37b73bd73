"""A page reader through the command line: it learns, resumes, and loads as any transformers model does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support import Lives, fingerprint, forge, metrics, only_run, write_config
from toy_pages import reader
from toy_translation import finished_after_kills


def test_a_reader_learns_letters_then_text(tmp_path: Path) -> None:
    change = reader(
        glyphs={"alone_steps": 60},
        train={"max_steps": 90, "batch_size": 8, "warmup_steps": 20},
        evaluate={"every": 90},
        data={"embedded": {"train_size": 5000}},
    )
    assert forge("--config", write_config(tmp_path, change)) == 0
    run = only_run(tmp_path)
    steps = {record["step"]: record for record in metrics(run) if record["kind"] == "step"}
    assert steps[60]["cells"] < 0.6 * steps[1]["cells"]
    assert "task" not in steps[60]
    assert steps[90]["task"] < 0.9 * steps[61]["task"]
    assert steps[90]["attention"] < steps[61]["attention"]
    state = json.loads((run / "training_state.json").read_text())
    assert state["best"]["metric"] == "cer"
    assert set(state["test"]) == {"words", "fonts"}
    assert {"cer", "wer", "nid", "edit_similarity", "loss"} <= set(state["test"]["fonts"])
    log = (run / "output.log").read_text()
    assert "pages: 32 × 224 pixels, 128 characters" in log
    metadata = json.loads((run / "run_metadata.json").read_text())
    assert metadata["sheet"] == [32, 224]


def test_a_checkpoint_loads_as_any_model(tmp_path: Path) -> None:
    from transformers import AutoModelForImageTextToText, AutoTokenizer

    from forge.tasks.ocr.pictures import pictured

    assert forge("--config", write_config(tmp_path, reader(train={"max_steps": 6}))) == 0
    checkpoint = next(only_run(tmp_path).glob("checkpoint-6"))
    model = AutoModelForImageTextToText.from_pretrained(checkpoint)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    page = pictured({"page": "embedded/line/test/0/0"})
    pixels = torch.from_numpy(page.pixels)[None, None].float() / 255
    written = model.generate(pixel_values=pixels, max_new_tokens=8, do_sample=False)
    assert isinstance(tokenizer.decode(written[0], skip_special_tokens=True), str)
    assert model.config.encoder.image_size == [32, 224]
    assert not any("cells" in name for name, _ in model.named_parameters())


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_at_random_moments_it_ends_bit_equal(tmp_path: Path, lives: Lives, workers: int) -> None:
    change = reader(train={"num_workers": workers, "micro_batch_size": 2})
    assert lives.run(["--config", str(write_config(tmp_path / "calm", change))]) == 0
    expected = fingerprint(only_run(tmp_path / "calm"))
    for run in finished_after_kills(lives, tmp_path / "stormy", change, longest=4.0):
        assert fingerprint(run) == expected


def test_workers_change_nothing(tmp_path: Path) -> None:
    records = []
    for workers in (0, 2):
        change = reader(train={"num_workers": workers, "max_steps": 8}, run={"dir": str(tmp_path / str(workers))})
        assert forge("--config", write_config(tmp_path / f"of{workers}", change)) == 0
        found = [path.parent for path in (tmp_path / str(workers)).rglob("metrics.jsonl")]
        records.append(metrics(next(path for path in found if not path.is_symlink())))
    assert records[0] == records[1]


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path, lives: Lives) -> None:
    change = reader(train={"micro_batch_size": 2, "batch_size": 6})
    assert forge("--config", write_config(tmp_path / "one", change)) == 0
    lives.run_pair(write_config(tmp_path / "two", change))
    pairs = list(zip(*(metrics(only_run(tmp_path / name)) for name in ("one", "two")), strict=True))
    assert len(pairs) > 12
    for one, two in pairs:
        for name, value in one.items():
            if isinstance(value, float):
                assert two[name] == pytest.approx(value, abs=2e-5, rel=2e-4), (one["step"], name)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data": {"labels": ["a", "b"]}}, "data.labels is set, but only task: classification reads it"),
        ({"data": {"languages": {"source": "en"}}}, "data.languages is set, but only task: translation reads it"),
        ({"evaluate": {"metric": "bleu"}}, "evaluate.metric: bleu is no figure of ocr"),
        ({"model": {"name": "embedded/tiny-marian"}}, "there is no embedded/tiny-marian; embedded are"),
        ({"data": {"name": "embedded/nli"}}, "there is no embedded/nli for ocr; it has embedded/pages"),
        ({"data": {"pages": {"canvas": [100, 256]}}}, "are not whole cells of 16 × 8"),
        ({"glyphs": {"cells": 0.0}}, "glyphs.alone_steps is set, but glyphs.cells"),
    ],
)
def test_one_line_for_what_does_not_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], said: str
) -> None:
    assert forge("--config", write_config(tmp_path, reader(**change))) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") <= 2


def test_glyphs_are_for_pages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert forge("--config", write_config(tmp_path, {"glyphs": {"cells": 1.0}})) == 2
    assert "glyphs is set, but task: classification has no pages" in capsys.readouterr().err
