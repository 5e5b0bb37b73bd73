"""A look at models that read a page into a prompt: their text and vision stacks, and the likeliest tokens of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import trained
from toy_vision_models import make

from forge.config.schema import Settings
from forge.core.assets import Asset
from forge.models.image_text import peek_reader
from forge.runs.run_dir import open_existing
from forge.tasks.base import forward
from forge.tasks.ocr.pictures import pictured
from forge.workbench import sight
from forge.workbench.asked import Asked
from forge.workbench.course import look
from forge.workbench.findings import Findings, Overlap, read_findings
from forge.workbench.report import render, write_report
from forge.workbench.row_files import Representations

pytestmark = pytest.mark.usefixtures("no_reports", "one_thread")

KINDS = ("idefics3", "qwen2_vl", "lighton_ocr")
ROWS = 30


def settings(model: Path) -> dict[str, Any]:
    return {
        "task": "ocr",
        "data": {
            "name": "embedded/pages", "train": "train", "validation": "validation", "test": "test",
            "embedded": {"preset": "line", "train_size": 16}, "max_target_length": 12,
        },
        "model": {"name": str(model), "dropout": None},
        "generate": {"beams": 1},
        "train": {"max_steps": 2, "batch_size": 4, "micro_batch_size": 2},
        "evaluate": {"every": 2, "max_examples": 2, "metric": "loss", "batch_size": 2},
    }  # fmt: skip


@pytest.fixture(scope="module", params=KINDS)
def looked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Findings]:
    """A run, another model of its kind as its teacher, and what a look at both found."""
    folder = tmp_path_factory.mktemp(request.param)
    model, teacher = make(request.param, folder / "model"), make(request.param, folder / "teacher", seed=1)
    run = trained(folder, settings(model))
    found, _ = look(Asked([str(run)], teacher=str(teacher), rows=ROWS, quick=True), lambda _: None)
    return run, teacher, found


def likeliest(folder: Path, run: Path, pages: list[str]) -> list[list[int]]:
    """The likeliest token at each place of each page's Markdown, a page at a time."""
    from forge.building.page_model import load_page_model, page_task

    chosen = Settings.model_validate(open_existing(run).metadata()["config"])
    wanted = chosen.model.model_copy(update={"name": str(folder)})
    asset = Asset(str(folder), "path", str(folder))
    config = peek_reader(asset, wanted)
    assert config is not None
    model, processor = load_page_model(asset, wanted, config, 0)
    model.eval()
    form = page_task(chosen, model, processor).form
    found = []
    for name in pages:
        page = pictured({"page": name})
        batch = form.collate([page], form.encode([page.markdown]))
        with torch.no_grad():
            said = forward(model, batch).logits.argmax(-1)
        found.append(said[batch["labels"] != -100].tolist())
    return found


def test_text_and_vision_stacks_of_every_model(looked: tuple[Path, Path, Findings], tmp_path: Path) -> None:
    run, _, found = looked
    assert [one.stacks for one in found.subjects] == [{"decoder": 3, "vision": 3}] * 3
    assert {(one.stack, one.other) for one in found.alignment} == {
        (stack, other) for stack in ("decoder", "vision") for other in ("student", "random_init")
    }
    assert {one.stack for one in found.probing} == {"decoder", "vision"}
    for stack in ("decoder", "vision"):
        seen = Representations.open(run / "workbench" / "representations" / "student", stack)
        assert [record["id"] for record in seen.records] == sorted(
            (one.id for one in found.examples), key=lambda name: int(name.rpartition("/")[2])
        )
        for features_ND in seen.all_features().values():
            assert np.isfinite(features_ND).all()
            assert features_ND.std(0).max() > 0  # pages are told apart
    assert not [note for note in found.notes if "could not be looked into" in note.text]
    assert read_findings(run / "workbench" / "findings.json") == found
    write_report(found, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "Vision tower" in page
    assert "embedded pages are drawn by preset, split and seed" in page
    assert found.rows.overlap_with_training.rows is None
    assert isinstance(found.rows.overlap_with_training, Overlap)


def test_agreement_on_the_datas_text_is_that_of_pages_read_alone(looked: tuple[Path, Path, Findings]) -> None:
    run, teacher, found = looked
    (told,) = found.disagreement.texts
    assert told.on_gold
    shown = found.examples[:6]
    pages = [one.id for one in shown]
    both = [likeliest(folder, run, pages) for folder in (teacher, open_existing(run).checkpoint("best"))]
    for one, first, second in zip(shown, *both, strict=True):
        assert one.apart == pytest.approx(1 - np.mean(np.equal(first, second)))
    apart = [one.apart for one in found.examples]
    assert 0 < max(apart) <= 1  # type: ignore[type-var, operator]
    assert told.tokens_on_gold
    assert told.tokens_on_gold >= ROWS


def test_a_stack_that_cannot_be_read_is_named_with_the_reason(
    looked: tuple[Path, Path, Findings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a model of a kind whose tower is not known: the rest goes on."""
    run, _, before = looked
    kind = open_existing(run).metadata()["config"]["model"]["name"].split("/")[-2].rstrip("0123456789")
    kind = next(name for name in KINDS if name.startswith(kind))
    monkeypatch.delitem(sight.TOWERS, kind)  # type: ignore[arg-type]
    asked = Asked([str(run)], rows=ROWS, quick=True, out=str(tmp_path))
    found, folder = look(asked, lambda _: None)
    assert [one.stacks for one in found.subjects] == [{"decoder": 3}] * 2
    notes = [note.text for note in found.notes if note.about == "models"]
    assert notes[0].startswith(
        f"The vision tower of the student could not be looked into: where {kind} has its blocks is not known; it is of "
    )
    assert len(notes) == 2
    assert notes[0] in render(found)
    assert not list((folder / "representations").rglob("vision*"))
    assert before.subject("student").figures == found.subject("student").figures
