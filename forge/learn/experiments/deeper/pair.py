"""The teacher and the students of phase 6: one teacher, trained once, and sentence pairs to compare them on."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from transformers import PreTrainedModel

from forge.config.schema import Model
from forge.core.assets import Asset
from forge.inference.classification import LoadedRun, load_run
from forge.learn.experiments.base import Live
from forge.learn.experiments.training import Shown, Trained, run_training
from forge.models.load import load_classifier
from forge.runs.run_dir import RunDirectory
from forge.tasks.base import Batch
from forge.tasks.embedded.nli import generate
from forge.tasks.labels import LabelPlan

TEACHER = "configs/classification/embedded_nli/tiny_bert/00_teacher.yaml"
STUDENTS = "configs/classification/embedded_nli/tiny_distilbert/"
ALONE = "labels alone"  # a student without a teacher
FILES: Mapping[str, str] = MappingProxyType(
    {
        ALONE: "00_sft.yaml",
        "forward_kl": "10_forward_kl.yaml",
        "jsd": "11_jsd.yaml",
        "dkd": "12_dkd.yaml",
        "hidden_mse": "20_hidden_mse.yaml",
        "cosine": "21_cosine.yaml",
        "linear_cka": "22_linear_cka.yaml",
        "score_mse": "30_score_mse.yaml",
        "attention_kl": "31_attention_kl.yaml",
        "self_relation": "32_self_relation.yaml",
    }
)
STEPS = 200
_EASY: Mapping[str, Any] = MappingProxyType(
    {
        "data.embedded.difficulty": 0.0,
        "data.embedded.train_size": 2_000,
        "evaluate.max_examples": 300,
    }
)
_TEACHER_STEPS = 600


def teacher(live: Live, end: float) -> Trained:
    """The tiny BERT; trained when it is first asked for, found done afterwards."""
    settings = dict(_EASY) | {
        "train.max_steps": _TEACHER_STEPS,
        "train.learning_rate": 2e-3,
        "evaluate.every": _TEACHER_STEPS,
        "log.every": 20,
    }
    shown = Shown(series="teacher", end=end, note="training the teacher, this once")
    return run_training(TEACHER, settings, live, shown)


def student(loss: str, alpha: float, taught_by: Trained, live: Live, begin: float, end: float) -> Trained:
    """The tiny DistilBERT after 200 steps on one loss of a teacher, or on labels alone."""
    settings = dict(_EASY) | {
        "train.max_steps": STEPS,
        "train.learning_rate": 5e-3,
        "evaluate.every": STEPS,
        "log.every": 10,
    }
    if loss != ALONE:
        settings |= {"alpha": alpha, "teacher.name": str(taught_by.path)}
    shown = Shown(series=loss, begin=begin, end=end, note=f"training the student on {loss}")
    return run_training(STUDENTS + FILES[loss], settings, live, shown)


def loaded(trained: Trained) -> LoadedRun:
    """The model of a run, frozen, in evaluation mode."""
    found = load_run(RunDirectory(trained.path))
    found.model.eval().requires_grad_(False)
    return found


def untrained(like: LoadedRun) -> PreTrainedModel:
    """A student as it is before its first step: random weights."""
    name = "embedded/tiny-distilbert"
    plan = LabelPlan(like.task.labels, keep_head=False)
    model = load_classifier(Asset(name, "embedded", name), Model(name=name), plan, like.task.tokenizer, seed=1)
    return model.eval().requires_grad_(False)


def pairs(count: int) -> list[dict[str, str]]:
    """Sentence pairs that no model of the lesson was trained on."""
    return generate("validation", count, difficulty=0.0)


def as_batch(found: LoadedRun, rows: list[dict[str, str]]) -> Batch:
    """Sentence pairs as the models read them, with their labels."""
    encoded = found.task.encode_free([row["premise"] for row in rows], [row["hypothesis"] for row in rows])
    batch = found.task.collate([dict(row) for row in encoded])
    batch["labels"] = torch.tensor([found.task.labels.index(row["label"]) for row in rows])
    return batch
