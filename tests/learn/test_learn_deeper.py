"""What the experiments of phase 6 measure: distances that are 0 at home, likeness by chance, steps that are lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from forge.config.schema import Model
from forge.core.assets import Asset
from forge.learn.experiments.base import Live
from forge.learn.experiments.deeper.losses import MEASURES, distances
from forge.learn.experiments.deeper.pair import FILES, STUDENTS
from forge.learn.experiments.deeper.scale import Job, _asked, _patience, run
from forge.learn.experiments.deeper.workbench import compare
from forge.learn.lessons import ROOT, load_lessons
from forge.models.load import load_classifier, load_tokenizer
from forge.objectives.kd.table import LOSSES
from forge.tasks.classification import ClassificationTask
from forge.tasks.embedded.nli import generate
from forge.tasks.labels import LabelPlan

LABELS = ["entailment", "neutral", "contradiction"]


def model(name: str, seed: int) -> tuple[torch.nn.Module, ClassificationTask]:
    rows = generate("train", 200, difficulty=0.0)
    asset = Asset(name, "embedded", name)
    tokenizer = load_tokenizer(asset, Model(name=name), [text for row in rows for text in list(row.values())[:2]])
    made = load_classifier(asset, Model(name=name), LabelPlan(LABELS, keep_head=False), tokenizer, seed)
    return made.eval(), ClassificationTask(LABELS, tokenizer, 64)


def test_a_model_is_at_no_distance_from_itself_and_at_some_from_another() -> None:
    (teacher, task), (student, _) = model("embedded/tiny-bert", 1), model("embedded/tiny-distilbert", 1)
    rows = generate("validation", 60, difficulty=0.0)
    encoded = task.encode_free([row["premise"] for row in rows], [row["hypothesis"] for row in rows])
    batch = task.collate([dict(row) for row in encoded])
    batch["labels"] = torch.tensor([LABELS.index(row["label"]) for row in rows])
    batch.pop("token_type_ids", None)
    home, away = distances(teacher, teacher, batch), distances(student, teacher, batch)
    assert home == pytest.approx(dict.fromkeys(MEASURES, 0.0), abs=1e-4)
    assert all(away[name] > 1e-2 for name in MEASURES)


def test_shuffled_rows_look_alike_to_the_usual_formula_where_they_are_few() -> None:
    draw = np.random.default_rng(0)
    shared = draw.normal(size=(300, 20)).astype(np.float32)
    its = {"layer 0": np.hstack([shared, shared]), "layer 1": draw.normal(size=(300, 40)).astype(np.float32)}
    few, many = (compare(its, {"layer 0": shared}, examples, shuffled=True) for examples in (6, 300))
    assert few.usual > 0.6
    assert abs(few.corrected) < 0.15
    assert many.usual < 0.15
    assert abs(many.corrected) < 0.02
    matched = compare(its, {"layer 0": shared}, 6, shuffled=False)
    assert matched.corrected == pytest.approx(1.0)
    assert abs(matched.values_TS[1, 0]) < 0.5


def test_every_loss_on_offer_is_one_of_the_nine_and_has_its_configuration() -> None:
    control = load_lessons()["losses"].file.controls[0]
    assert control.kind == "pick"
    assert control.options == list(FILES)
    assert list(FILES)[1:] == list(LOSSES)[:9]
    for name, file in FILES.items():
        text = (ROOT / STUDENTS / file).read_text()
        assert name == "labels alone" or f"{name}: {{weight: 1.0" in text


def test_the_script_says_what_the_lesson_shows() -> None:
    assert _patience() == 3
    assert "#SBATCH --signal=B:USR1@120" in _asked()
    assert Job(began=60, ended=95, saved=90, code=137).lost == 5


@pytest.mark.slow
def test_killed_jobs_lose_what_no_checkpoint_has_and_end_at_the_same_weights(tmp_path: Path) -> None:
    live = Live(tmp_path, 1_000.0, lambda event: None)
    found = run({"job_steps": 50, "notice": "killed", "every": "40"}, live)
    assert found.numbers == {"jobs": 3, "again": 20, "finished": 1, "same_weights": 1, "computed": 140}
    again = run({"job_steps": 50, "notice": "killed", "every": "40"}, live)
    assert again.numbers == found.numbers, "what an earlier run left is not continued"
