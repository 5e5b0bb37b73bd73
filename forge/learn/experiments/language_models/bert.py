"""Two networks of one shape learn a new question: one from random weights, one that has been to school before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from forge.learn.experiments.base import Live, whole
from forge.learn.experiments.language_models.taught import EASY, taught
from forge.learn.experiments.training import Shown, Trained, run_training
from forge.learn.questions import Value
from forge.learn.results import Bar, Bars, Lines, Picture, Result, Table
from forge.tasks.embedded.nli import generate

CONFIG = "configs/classification/_base.yaml"
ASKED = 300
MOST = 512  # examples
FRESH, SCHOOLED = "random weights", "pretrained"


def run(controls: Mapping[str, Value], live: Live) -> Result:
    """Fine-tune both for `steps`: one on `fresh` examples, the pretrained one on `schooled`."""
    counts = {FRESH: whole(controls, "fresh"), SCHOOLED: whole(controls, "schooled")}
    steps = whole(controls, "steps")
    before = taught(live, end=0.5)
    files = _questions(live.folder / "questions")
    live.chart("Right answers to the new question", "step", "share right", steps)
    starts = {FRESH: ("embedded/tiny-bert", 2e-3), SCHOOLED: (str(before.path.resolve()), 5e-4)}
    runs = dict[str, Trained]()
    for place, (name, (model, rate)) in enumerate(starts.items()):
        settings = {
            "model.name": model,
            "data.train": files["train"],
            "data.validation": files["validation"],
            "data.columns.text_pair": "text_pair",
            "data.max_train_examples": counts[name],
            "train.max_steps": steps,
            "train.batch_size": 16,
            "train.learning_rate": rate,
            "train.warmup_ratio": 0.1,
            "evaluate.every": 10,
            "log.every": 10,
        }
        shown = Shown(
            *("", name, {"validation": name}),
            begin=0.5 + 0.25 * place,
            end=0.75 + 0.25 * place,
            note=f"fine-tuning, {name}",
        )
        runs[name] = run_training(CONFIG, settings, live, shown)
    right = {name: trained.last("accuracy", "validation") for name, trained in runs.items()}
    always_no = _share_of_no(files["validation"])
    return Result(
        said=f"From {FRESH}, with {counts[FRESH]} examples: {right[FRESH]:.0%} right. {SCHOOLED.capitalize()}, with "
        f"{counts[SCHOOLED]} examples: {right[SCHOOLED]:.0%}. Always saying “no” gives {always_no:.0%}.",
        numbers={
            "fresh": right[FRESH],
            "schooled": right[SCHOOLED],
            "ahead": round(100 * right[SCHOOLED]) - round(100 * right[FRESH]),
        },
        pictures=_pictures(runs, counts, steps, always_no),
        run=str(runs[SCHOOLED].path),
        command=runs[SCHOOLED].command,
    )


def _pictures(runs: Mapping[str, Trained], counts: Mapping[str, int], steps: int, always_no: float) -> list[Picture]:
    right = {name: trained.last("accuracy", "validation") for name, trained in runs.items()}
    return [
        Lines(
            title=f"Right answers on {ASKED} new pairs: does the second sentence contradict the first?",
            x="step",
            y="share right",
            series=[trained.curve("accuracy", "validation", name) for name, trained in runs.items()],
            low=0.5,
            high=1,
        ),
        Bars(
            title="At the end",
            bars=[
                Bar(label="always “no”", value=always_no),
                *(Bar(label=name, value=round(right[name], 3), strong=name == SCHOOLED) for name in runs),
            ],
        ),
        Table(
            title="What each was given",
            header=["network", "pairs seen before", "examples of the new question", "steps"],
            rows=[
                [FRESH, "0", str(counts[FRESH]), str(steps)],
                [SCHOOLED, "4000", str(counts[SCHOOLED]), str(steps)],
            ],
        ),
    ]


def _questions(folder: Path) -> dict[str, str]:
    """Files of pairs with another question than the one of school: is it a contradiction, yes or no?"""
    folder.mkdir(parents=True, exist_ok=True)
    difficulty = float(EASY["data.embedded.difficulty"])
    files = {}
    for split, size in {"train": MOST, "validation": ASKED}.items():
        rows = [
            {
                "text": row["premise"],
                "text_pair": row["hypothesis"],
                "label": "yes" if row["label"] == "contradiction" else "no",
            }
            for row in generate(split, size, seed=1, difficulty=difficulty)
        ]
        path = folder / f"{split}.jsonl"
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
        files[split] = str(path.resolve())
    return files


def _share_of_no(file: str) -> float:
    answers = [json.loads(line)["label"] for line in Path(file).read_text(encoding="utf-8").splitlines()]
    return answers.count("no") / len(answers)
