"""Examples, batch and epochs make the number of steps; inference leaves the weights as they are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch

from forge.inference.classification import load_run, predict
from forge.learn.experiments.base import Live, whole, word
from forge.learn.experiments.basics.small_model import CONFIG, EASY
from forge.learn.experiments.training import Shown, run_training
from forge.learn.questions import Value
from forge.learn.results import Lines, Mark, Result, Table
from forge.runs.run_dir import RunDirectory
from forge.tasks.embedded.nli import generate

ASKED = 300


def run(controls: Mapping[str, Value], live: Live) -> Result:
    """Train on `examples`, `batch` of them a step, for `epochs`; then ask 300 questions and compare the weights."""
    examples, batch, epochs = whole(controls, "examples"), int(word(controls, "batch")), whole(controls, "epochs")
    an_epoch = examples // batch
    live.chart("Loss", "step", "loss", an_epoch * epochs)
    settings = dict(EASY) | {
        "train.max_steps": None,
        "train.epochs": epochs,
        "train.batch_size": batch,
        "data.embedded.train_size": examples,
        "evaluate.every": an_epoch,
        "checkpoint.keep": 6,
        "log.every": 1,
    }
    trained = run_training(CONFIG, settings, live, Shown(end=0.8))
    directory = RunDirectory(trained.path)
    rows = []
    for epoch in range(1, epochs + 1):
        loaded = load_run(directory, str(epoch * an_epoch))
        rows.append([f"after epoch {epoch}, step {epoch * an_epoch}", _mark(loaded.model)])
    live.progress(0.9, f"inference: {ASKED} questions")
    questions = [
        {"text": row["premise"], "text_pair": row["hypothesis"]}
        for row in generate("test", ASKED, difficulty=0.0)
    ]  # fmt: skip
    answered = sum(1 for _ in predict(loaded, questions))
    rows.append([f"after answering {answered} questions", _mark(loaded.model)])
    marks = [Mark(x=epoch * an_epoch, label=f"epoch {epoch}") for epoch in range(1, epochs + 1)]
    steps = trained.steps
    return Result(
        said=f"{examples} examples, {batch} at a step: {an_epoch} steps an epoch, {steps} steps in all. "
        f"Training changed the weights; answering {answered} questions did not.",
        numbers={
            "steps": steps,
            "steps_an_epoch": an_epoch,
            "epochs": epochs,
            "same_weights": int(rows[-1][1] == rows[-2][1]),
        },
        pictures=[
            Lines(title="Loss", x="step", y="loss", series=[trained.curve()], marks=marks),
            Table(title="A fingerprint of all weights", header=["when", "fingerprint"], rows=rows),
        ],
        run=str(trained.path),
        command=trained.command,
    )


def _mark(model: torch.nn.Module) -> str:
    """The first digits of a hash over every weight."""
    seen = hashlib.sha256()
    for parameter in model.parameters():
        seen.update(parameter.detach().numpy().tobytes())
    return seen.hexdigest()[:8]
