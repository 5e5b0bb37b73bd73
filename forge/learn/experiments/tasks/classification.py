"""Ask a classifier about a pair of sentences, both ways round, and count its answers on pairs it has never seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from forge.inference.classification import LoadedRun, load_run, predict
from forge.learn.experiments.base import Live, word
from forge.learn.experiments.language_models.taught import EASY, taught
from forge.learn.questions import Value
from forge.learn.results import Heat, Result, Table, shares
from forge.runs.run_dir import RunDirectory
from forge.tasks.embedded.nli import generate

PAIRS = 300


def run(controls: Mapping[str, Value], live: Live) -> Result:
    """The probabilities of the three labels for `premise` and `hypothesis`, and what 300 other pairs are answered."""
    premise, hypothesis = word(controls, "premise"), word(controls, "hypothesis")
    trained = taught(live)
    loaded = load_run(RunDirectory(trained.path))
    live.progress(0.85, f"answering {PAIRS} pairs")
    asked = [(premise, hypothesis), (hypothesis, premise)]
    given, swapped = predict(loaded, [{"text": first, "text_pair": second} for first, second in asked])
    labels = loaded.task.labels
    counts = _answers(loaded, labels)
    truths = {truth: sum(counts[truth, answer] for answer in labels) for truth in labels}
    right = sum(counts[label, label] for label in labels)
    baseline = max(truths.values())
    return Result(
        said=f"The network says {given['label']} for your pair, and {swapped['label']} when the two are swapped. "
        f"Of {PAIRS} other pairs it labels {right} right.",
        numbers={
            **{name: round(value, 4) for name, value in given["probabilities"].items()},
            "right": right,
            "baseline": baseline,
            "gain": right - baseline,
        },
        texts={"label": given["label"], "swapped": swapped["label"]},
        pictures=[
            shares(labels, list(given["probabilities"].values()), f"“{premise}.” So: “{hypothesis}.”"),
            shares(labels, list(swapped["probabilities"].values()), f"Swapped: “{hypothesis}.” So: “{premise}.”"),
            Table(
                title=f"{PAIRS} pairs that it has never seen",
                header=["true label", "pairs", "answered right"],
                rows=[[label, str(truths[label]), str(counts[label, label])] for label in labels],
            ),
            Heat(
                title="What was answered (column) where the true label is (row)",
                rows=labels,
                columns=labels,
                values=[[counts[truth, answer] for answer in labels] for truth in labels],
                note="From corner to corner lies what is right. Everything beside it is a mistake.",
                show_values=True,
            ),
        ],
        run=str(trained.path),
        command=trained.command,
    )


def _answers(loaded: LoadedRun, labels: Sequence[str]) -> Counter[tuple[str, str]]:
    """How often a true label got an answer; of pairs whose labels are not equally frequent."""
    rows = _uneven(labels)
    answers = predict(loaded, [{"text": row["premise"], "text_pair": row["hypothesis"]} for row in rows])
    return Counter((row["label"], answer["label"]) for row, answer in zip(rows, answers, strict=True))


def _uneven(labels: Sequence[str]) -> list[dict[str, str]]:
    """Half of them neutral, as texts of the world are: then always saying the same is right half of the time."""
    difficulty = float(EASY["data.embedded.difficulty"])
    rows = generate("test", 3 * PAIRS, difficulty=difficulty)
    wanted = {label: PAIRS // 2 if label == "neutral" else PAIRS // 4 for label in labels}
    return [row for label in labels for row in [r for r in rows if r["label"] == label][: wanted[label]]]
