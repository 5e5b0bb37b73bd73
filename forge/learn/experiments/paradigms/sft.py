"""Learn from so many labels for so long; compare the pairs that were learned from with pairs that are new."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from forge.inference.classification import load_run, predict
from forge.learn.experiments.base import Live, whole, word
from forge.learn.experiments.paradigms.pairs import ASKED, CONFIG, SETTINGS, asked
from forge.learn.experiments.training import Shown, run_training
from forge.learn.questions import Value
from forge.learn.results import Bar, Bars, Lines, Result, Table
from forge.runs.run_dir import RunDirectory
from forge.tasks.embedded.nli import generate

SHOWN = 5  # pairs in the table
LONGEST = 38  # characters of such a pair, for the terminal


def run(controls: Mapping[str, Value], live: Live) -> Result:
    """Train on `examples` labelled pairs for `steps`, then ask the model about old and new pairs."""
    examples, steps = int(word(controls, "examples")), whole(controls, "steps")
    live.chart("Loss", "step", "loss", steps)
    settings = dict(SETTINGS) | {
        "train.max_steps": steps,
        "data.embedded.train_size": examples,
        "evaluate.every": 50,
        "log.every": 5,
    }
    trained = run_training(CONFIG, settings, live, Shown("loss", "learned from", {"matched": "new"}, "loss", end=0.9))
    live.progress(0.92, "asking about old and new pairs")
    loaded = load_run(RunDirectory(trained.path), str(steps))
    seen, new = ([*predict(loaded, asked(rows))] for rows in _pairs(examples))
    right_seen, right_new = _right(seen), _right(new)
    lost = [_cross_entropy(row) for row in new]
    loss_new = sum(lost) / len(lost)
    return Result(
        said=f"Right on {right_seen:.1%} of the pairs it learned from and on {right_new:.1%} of {ASKED} new ones. "
        f"Its mean cross-entropy on new pairs is {loss_new:.2f}.",
        numbers={
            "seen": right_seen,
            "new": right_new,
            "gap": round(100 * (right_seen - right_new), 1),
            "loss_new": loss_new,
        },
        pictures=[
            Bars(
                title="Right answers",
                bars=[
                    Bar(label="pairs it learned from", value=round(right_seen, 3)),
                    Bar(label="new pairs", value=round(right_new, 3), strong=True),
                ],
            ),
            Lines(
                title="Loss",
                x="step",
                y="loss",
                series=[trained.curve(name="learned from"), trained.curve("loss", "matched", "new")],
            ),
            _table(new),
        ],
        run=str(trained.path),
        command=trained.command,
    )


def _pairs(examples: int) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """At most 300 of the pairs that were learned from, and 300 that were not."""
    return generate("train", examples, difficulty=0.0)[:ASKED], generate("test", ASKED, difficulty=0.0)


def _right(rows: Sequence[Mapping[str, Any]]) -> float:
    return sum(1 for row in rows if row["label"] == row["truth"]) / len(rows)


def _cross_entropy(row: Mapping[str, Any]) -> float:
    """−log of the probability that the model gave to the true label, in nats."""
    odds: float = row["probabilities"][row["truth"]]
    return -math.log(max(odds, 1e-6))


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    short = sorted((row for row in rows if len(_pair(row)) <= LONGEST), key=_cross_entropy)
    spread = [short[round(place * (len(short) - 1) / (SHOWN - 1))] for place in range(SHOWN)]
    return Table(
        title="Some new pairs, from the one that cost least to the one that cost most",
        header=["pair", "label", "its odds", "cross-entropy"],
        rows=[
            [
                _pair(row),
                row["truth"],
                f"{row['probabilities'][row['truth']]:.1%}",
                f"{_cross_entropy(row):.2f}",
            ]
            for row in spread
        ],
    )


def _pair(row: Mapping[str, Any]) -> str:
    return f"{row['text']} / {row['text_pair']}"
