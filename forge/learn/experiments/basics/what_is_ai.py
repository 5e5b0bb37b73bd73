"""Train a model for as long as the learner says; see it get better, and ask it one question."""

from __future__ import annotations

from collections.abc import Mapping

from forge.inference.classification import load_run, predict
from forge.learn.experiments.base import Live, whole, word
from forge.learn.experiments.basics.small_model import ANSWERS, CONFIG, EASY
from forge.learn.experiments.training import Shown, run_training
from forge.learn.questions import Value
from forge.learn.results import Lines, Result, shares
from forge.runs.run_dir import RunDirectory

EXAMPLES = 2_000


def run(controls: Mapping[str, Value], live: Live) -> Result:
    """`rounds` of training, then the probabilities of the three answers for `pair`, two sentences with a bar."""
    rounds = whole(controls, "rounds")
    premise, hypothesis = (part.strip() for part in word(controls, "pair").split("/"))
    live.chart("How wrong the model is (loss)", "rounds", "loss", rounds)
    settings = dict(EASY) | {
        "train.max_steps": rounds,
        "data.embedded.train_size": EXAMPLES,
        "evaluate.every": max(5, rounds // 5),
        "log.every": max(1, rounds // 40),
    }
    trained = run_training(CONFIG, settings, live, Shown(end=0.9))
    live.progress(0.95, "asking the model")
    asked = next(predict(load_run(RunDirectory(trained.path)), [{"text": premise, "text_pair": hypothesis}]))
    chances = {ANSWERS[label]: value for label, value in asked["probabilities"].items()}
    right = trained.last("accuracy", "matched")
    return Result(
        said=f"After {rounds} rounds the model is right on {right:.0%} of 300 pairs it has never seen. "
        f"Guessing gives 33%.",
        numbers={"right": right, "loss": trained.last("loss", "matched"), "rounds": rounds},
        pictures=[
            Lines(
                title="How wrong the model is (loss)",
                x="rounds",
                y="loss",
                series=[trained.curve()],
            ),
            Lines(
                title="Right answers on pairs it has never seen",
                x="rounds",
                y="share right",
                series=[trained.curve("accuracy", "matched", "right answers")],
                low=0,
                high=1,
            ),
            shares(list(chances), list(chances.values()), f"“{premise}.” So: “{hypothesis}.”", "The model's own odds."),
        ],
        run=str(trained.path),
        command=trained.command,
    )
