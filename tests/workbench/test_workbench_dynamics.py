"""Kinds of rows by training dynamics, from the checkpoints that real small runs kept."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support import merged, trained

from forge.core.manifest import verify
from forge.workbench.asked import Asked
from forge.workbench.course import look
from forge.workbench.dynamics import LEAST, MOST, spread, whole
from forge.workbench.findings import Findings, SliceRow
from forge.workbench.report import render, render_comparison
from forge.workbench.slices import REGIONS

pytestmark = pytest.mark.usefixtures("no_reports", "one_thread")

KL = {"alpha": 0.5, "distill": {"forward_kl": {"weight": 1.0}}}
KEPT = {"train": {"max_steps": 32}, "evaluate": {"every": 4}, "checkpoint": {"keep": 20}}
AXIS = "training dynamics"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A teacher that kept two checkpoints; a student of it and a baseline that kept eight."""
    folder = tmp_path_factory.mktemp("dynamics")
    teacher = trained(folder / "teacher", {"model": {"name": "embedded/tiny-bert"}, "train": {"max_steps": 40}})
    taught = merged(KEPT, merged(KL, {"teacher": {"name": str(teacher)}}))
    return {
        "teacher": teacher,
        "student": trained(folder / "student", taught),
        "baseline": trained(folder / "baseline", KEPT),
    }


@pytest.fixture(scope="module")
def alone(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Findings:
    asked = Asked([str(runs["student"])], rows=120, out=str(tmp_path_factory.mktemp("alone")))
    return look(asked, lambda _: None)[0]


@pytest.fixture(scope="module")
def beside(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Findings:
    out = str(tmp_path_factory.mktemp("beside"))
    asked = Asked([str(runs["student"])], baseline=str(runs["baseline"]), rows=120, out=out)
    return look(asked, lambda _: None)[0]


def kinds(found: Findings, other: str) -> list[SliceRow]:
    (part,) = (one for one in found.disagreement.classes if one.other == other)
    return [row for row in part.slices if row.axis == AXIS]


def test_the_kinds_are_those_of_the_checkpoints_probabilities(alone: Findings, runs: dict[str, Path]) -> None:
    """Checked with models loaded by transformers alone, and the regions worked out row by row."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    (told,) = alone.disagreement.dynamics
    best = int(best_of(runs["student"]).rpartition("-")[2])
    assert told.model == "student"
    assert len(told.steps) == MOST
    assert best in told.steps
    assert {4, 32} <= set(told.steps)
    assert len(set(told.steps) - {4, 8, 16, 20, 28, 32}) <= 1  # evenly over 4, 8, …, 32, but for the best one
    course = []
    for step in told.steps:
        folder = runs["student"] / f"checkpoint-{step}"
        model, tokenizer = (
            kind.from_pretrained(folder) for kind in (AutoModelForSequenceClassification, AutoTokenizer)
        )
        model.eval()
        gold = []
        for one in alone.examples:
            batch = tokenizer(one.inputs["text"], one.inputs["text_pair"], return_tensors="pt")
            batch.pop("token_type_ids", None)
            with torch.no_grad():
                gold.append(float(model(**batch).logits.softmax(-1)[0, model.config.label2id[one.gold]]))
        course.append(gold)
    mean, spread_N = np.mean(course, 0), np.std(course, 0)
    widest = set(np.argsort(-spread_N)[:40].tolist())
    middle = np.median([mean[row] for row in range(120) if row not in widest])
    for row, one in enumerate(alone.examples):
        kind = "ambiguous" if row in widest else "easy to learn" if mean[row] >= middle else "hard to learn"
        assert f"{AXIS}: {kind}" in one.tags
    assert {row.kind: row.rows for row in kinds(alone, "student")} == dict(zip(REGIONS, (40, 40, 40), strict=True))


def test_of_the_model_whose_answers_made_them_there_is_no_p(alone: Findings, beside: Findings) -> None:
    assert [row.p for row in kinds(alone, "student")] == [None] * 3
    assert all(row.p is not None for row in kinds(alone, "random_init"))
    # With a baseline the kinds are the baseline's, and the student can be tested on them.
    assert [one.model for one in beside.disagreement.dynamics] == ["baseline"]
    assert [row.p for row in kinds(beside, "baseline")] == [None] * 3
    assert all(row.p is not None for row in kinds(beside, "student"))
    assert alone.notes == beside.notes == ()


def test_the_page_says_whose_course_it_was(alone: Findings, beside: Findings) -> None:
    page = render(alone)
    assert "Training dynamics are those of the student" in page
    steps = alone.disagreement.dynamics[0].steps
    assert f"after {', '.join(map(str, steps[:-1]))} and 32 steps" in page
    assert "training dynamics: ambiguous" in page
    both = render_comparison([alone, replace(beside, title="another look")])
    assert "Training dynamics are those of the baseline" in both


def test_a_quick_look_and_a_run_with_few_checkpoints_go_without(
    runs: dict[str, Path], beside: Findings, tmp_path: Path
) -> None:
    asked = Asked([str(runs["student"])], rows=60, quick=True, out=str(tmp_path / "quick"))
    quick, _ = look(asked, lambda _: None)
    assert quick.disagreement.dynamics == ()
    assert not [note for note in quick.notes if "dynamics" in note.text]
    assert "no training dynamics" in render(quick)
    assert "no training dynamics" not in render(beside)
    few = shutil.copytree(runs["student"], tmp_path / "few")
    for path in few.glob("checkpoint-*"):
        if path.name not in {"checkpoint-4", "checkpoint-32", best_of(few)}:
            shutil.rmtree(path)
    baseline = shutil.copytree(few, tmp_path / "baseline")
    shutil.rmtree(baseline / "checkpoint-4", ignore_errors=True)
    asked = Asked([str(few)], baseline=str(baseline), rows=60, out=str(tmp_path / "out"))
    found, _ = look(asked, lambda _: None)
    counts = {name: len(list(run.glob("checkpoint-*"))) for name, run in (("student", few), ("baseline", baseline))}
    assert max(counts.values()) < LEAST
    (note,) = (note.text for note in found.notes if "dynamics" in note.text)
    assert f"the baseline kept {counts['baseline']}, the student kept {counts['student']}" in note
    assert f"checkpoint.keep={MOST}" in note
    assert found.disagreement.dynamics == ()
    assert found.disagreement.classes[0].slices


def best_of(run: Path) -> str:
    return f"checkpoint-{json.loads((run / 'training_state.json').read_text())['best']['step']}"


def test_damaged_checkpoints_are_passed_over_and_others_stand_in(runs: dict[str, Path], tmp_path: Path) -> None:
    run = shutil.copytree(runs["student"], tmp_path / "run")
    assert [path.name for path in whole(run, 20)[0]] == [f"checkpoint-{step}" for step in range(4, 33, 4)]
    assert [path.name for path in whole(run, 3)[0]] == ["checkpoint-4", "checkpoint-20", "checkpoint-32"]
    weights = run / "checkpoint-20" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\x01\x01\x01\x01")
    kept, damaged = whole(run, 3)
    assert [path.name for path in kept] == ["checkpoint-4", "checkpoint-16", "checkpoint-32"]
    assert not any(map(verify, kept))
    assert len(damaged) == 1
    assert damaged[0].startswith("checkpoint-20 is damaged and was passed over: model.safetensors has changed")
    (run / "checkpoint-average").mkdir()
    assert whole(run, 3)[0] == kept


@pytest.mark.parametrize("count", range(14))
def test_spread_is_even_and_has_both_ends(count: int) -> None:
    names = [str(number) for number in range(count)]
    found = spread(names, MOST)
    assert len(found) == len(set(found)) == min(count, MOST)
    for best in names:
        told = spread(names, MOST, best)
        assert best in told
        assert told == sorted(set(told), key=int)
        assert (len(told), told[0], told[-1]) == (len(found), found[0], found[-1])
        assert len(set(told) - set(found)) <= 1
    assert spread(names, MOST, "checkpoint-average") == found
    if count:
        assert (found[0], found[-1]) == (names[0], names[-1])
        gaps = np.diff([int(name) for name in found])
        assert not len(gaps) or gaps.max() - gaps.min() <= 1
