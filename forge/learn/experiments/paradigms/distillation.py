"""A student that listens to labels, to a teacher, or to both; and what the teacher says of one pair."""

from __future__ import annotations

import random
from collections.abc import Mapping

import torch

from forge.core.hashing import derive_seed
from forge.inference.classification import load_run
from forge.learn.experiments.base import Live, number, word
from forge.learn.experiments.paradigms.pairs import SETTINGS, write_rows
from forge.learn.experiments.training import Shown, Trained, run_training
from forge.learn.questions import Value
from forge.learn.results import Bar, Bars, Lines, Result, shares
from forge.runs.run_dir import RunDirectory
from forge.tasks.embedded.nli import generate
from forge.tasks.splits import EMBEDDED_LABELS

TEACHER = "configs/classification/embedded_nli/tiny_bert/00_teacher.yaml"
STUDENT = "configs/classification/embedded_nli/tiny_distilbert/10_forward_kl.yaml"
TEACHER_STEPS, STEPS = 500, 400
PAIRS = 2_000
WRONG = {"none is wrong": 0.0, "two in five are wrong": 0.4, "all are wrong": 1.0}
MEASURED = 600


def run(controls: Mapping[str, Value], live: Live) -> Result:
    """Train the student with `alpha` on labels of which some are `wrong`; show the teacher's odds for `pair`."""
    alpha, wrong, temperature = number(controls, "alpha"), word(controls, "wrong"), number(controls, "temperature")
    teacher = _teacher(live)
    live.chart("The student's right answers on new pairs", "step", "share right", STEPS)
    shown = Shown("", splits={"matched": f"alpha {alpha:g}"}, begin=0.6, end=0.95, note="training the student")
    student = run_training(STUDENT, _settings(live, teacher, alpha, temperature, WRONG[wrong]), live, shown)
    right, best = student.last("accuracy", "matched"), teacher.last("accuracy", "matched")
    pair = word(controls, "pair")
    plain, soft = (_odds(teacher, pair, t) for t in (1.0, temperature))
    return Result(
        said=f"With alpha {alpha:g}, and of the labels {wrong}, the student is right on {right:.1%} of {MEASURED} new "
        f"pairs. Guessing gives 33.3%, and its teacher is right on {best:.1%}.",
        numbers={
            "right": right,
            "teacher": best,
            "second": round(100 * sorted(soft)[-2], 1),
            "least": round(100 * min(soft), 1),
        },
        pictures=[
            Bars(
                title="Right answers on new pairs",
                bars=[
                    Bar(label="guessing", value=0.333),
                    Bar(label="the student", value=round(right, 3), strong=True),
                    Bar(label="its teacher", value=round(best, 3)),
                ],
            ),
            Lines(
                title="The student while it learns",
                x="step",
                y="share right",
                series=[student.curve("accuracy", "matched", f"alpha {alpha:g}")],
                low=0,
                high=1,
            ),
            shares(EMBEDDED_LABELS, plain, f"The teacher's odds for “{pair}”", "At temperature 1, as they are."),
            shares(EMBEDDED_LABELS, soft, f"The same at temperature {temperature:g}", "The soft labels."),
        ],
        run=str(student.path),
        command=student.command,
    )


def _teacher(live: Live) -> Trained:
    """A tiny BERT, trained once: later experiments find it done."""
    live.chart("The teacher learns first, once", "step", "loss", TEACHER_STEPS)
    settings = dict(SETTINGS) | {
        "data.embedded.train_size": PAIRS,
        "train.max_steps": TEACHER_STEPS,
        "train.learning_rate": 2e-3,
        "evaluate.every": TEACHER_STEPS,
        "log.every": 10,
    }
    return run_training(TEACHER, settings, live, Shown(series="teacher", end=0.6, note="training the teacher, once"))


def _settings(live: Live, teacher: Trained, alpha: float, temperature: float, wrong: float) -> dict[str, object]:
    rows = generate("train", PAIRS, difficulty=0.0)
    draw = random.Random(derive_seed(0, "wrong labels"))
    for row in rows:
        if draw.random() < wrong:
            row["label"] = draw.choice([label for label in EMBEDDED_LABELS if label != row["label"]])
    name = f"labels_{round(100 * wrong)}_percent_wrong.jsonl"
    new = write_rows(live, "new_pairs.jsonl", generate("validation", MEASURED, difficulty=0.0))
    return {
        "alpha": alpha,
        "teacher.name": teacher.path,
        "distill.forward_kl.temperature": temperature,
        "distill.balance": "none",
        "data.name": None,
        "data.train": write_rows(live, name, rows),
        "data.validation": f"!replace {{matched: {new}}}",
        "data.test": None,
        "data.columns.text": "premise",
        "data.columns.text_pair": "hypothesis",
        "data.labels": EMBEDDED_LABELS,
        "train.max_steps": STEPS,
        "train.learning_rate": 5e-3,
        "evaluate.every": 100,
    }


def _odds(teacher: Trained, pair: str, temperature: float) -> list[float]:
    """The teacher's probabilities of the three labels, softmax(logits / temperature)."""
    loaded = load_run(RunDirectory(teacher.path))
    premise, hypothesis = (part.strip() for part in pair.split("/"))
    inputs = loaded.task.tokenizer(premise, hypothesis, return_tensors="pt")
    with torch.no_grad():
        logits_C = loaded.model.eval()(**inputs).logits[0]
    return [float(p) for p in (logits_C / temperature).softmax(-1)]
