"""Three figures of the workbench, each beside what it is by chance: a probe, CKA, disagreement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray

from forge.core.hashing import derive_seed
from forge.learn.experiments.base import Live, whole, word
from forge.learn.experiments.deeper.pair import ALONE, as_batch, loaded, pairs, student, teacher, untrained
from forge.learn.questions import Value
from forge.learn.results import Bar, Bars, Heat, Result, Table
from forge.tasks.base import Batch, forward
from forge.workbench.cka import biased_cka, cka_heatmap
from forge.workbench.disagreement import Agreement, agreement
from forge.workbench.probe_inputs import bag_of_words
from forge.workbench.probing import Probes, ProbeSettings, make_splits, probe_layers
from forge.workbench.representations import extract

ASKED = 300
SHUFFLES = 20
TAUGHT = "linear_cka"
Layers = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Looked:
    """What a model makes of the sentence pairs."""

    layers: Layers  # a row a pair: the mean over its tokens
    answers_N: NDArray[np.int64]


def run(controls: Mapping[str, Value], live: Live) -> Result:
    """Compare a student with the teacher on `examples` pairs, matched or shuffled; probe it on all 300."""
    examples, shuffled = whole(controls, "examples"), word(controls, "rows") == "shuffled"
    live.chart("Training loss", "step", "loss")
    taught_by = loaded(trained := teacher(live, end=0.5))
    if (which := word(controls, "student")) == "untrained":
        model: torch.nn.Module = untrained(taught_by)
    else:
        loss, alpha = (TAUGHT, 0.5) if which == "taught" else (ALONE, 0.0)
        model = loaded(student(loss, alpha, trained, live, 0.5, 0.8)).model
    live.progress(0.85, "looking into both models")
    rows = pairs(ASKED)
    batch = as_batch(taught_by, rows)
    its, own = look(taught_by.model, batch), look(model, batch)
    gold_N = batch["labels"].numpy()
    likeness = compare(its.layers, own.layers, examples, shuffled)
    parted = agreement(gold_N, its.answers_N, own.answers_N, classes=3)
    live.progress(0.9, "training probes")
    splits = make_splits([row["premise"] for row in rows], ProbeSettings())
    words = bag_of_words([row["premise"] for row in rows], [row["hypothesis"] for row in rows])
    probes = probe_layers(own.layers | {"words alone": words}, gold_N, splits)
    return Result(
        said=f"{examples} pairs, {'shuffled' if shuffled else 'matched'}: the usual formula says "
        f"{likeness.usual:.2f}, corrected for few examples it is {likeness.corrected:.2f}. The two models agree on "
        f"{parted.agreement.value:.0%}; by their accuracy alone it would be {parted.expected_agreement:.0%}.",
        numbers={
            "shuffled": int(shuffled),
            "examples": examples,
            "usual": round(likeness.usual, 3),
            "corrected": round(likeness.corrected, 3),
            "agree": round(100 * parted.agreement.value),
            "expected": round(100 * parted.expected_agreement),
            "teacher_only": parted.teacher_only_right,
            "student_only": parted.student_only_right,
        },
        pictures=[
            _likeness_bars(likeness, shuffled),
            _heat(likeness, examples, shuffled),
            _probe_bars(probes),
            _parted_table(parted),
        ],
    )


def look(model: torch.nn.Module, batch: Batch) -> Looked:
    """Every layer of a model, averaged over the tokens of each pair, and its answers."""
    records = [{"id": str(number)} for number in range(len(batch["labels"]))]
    with TemporaryDirectory() as folder:
        found = extract(model, [(records, batch)], Path(folder), stacks=["encoder"])["encoder"]
        layers = {_named(name): np.array(features, np.float32) for name, features in found.all_features().items()}
    with torch.inference_mode():
        answers_N = forward(model, batch).logits.argmax(-1).numpy()
    return Looked(layers, answers_N)


@dataclass(frozen=True)
class Likeness:
    """CKA of all layers in the corrected form, and of the words as numbers (layer 0) in both."""

    values_TS: NDArray[np.float64]
    teacher: list[str]
    student: list[str]
    usual: float

    @property
    def corrected(self) -> float:
        """Of the words as numbers."""
        return float(self.values_TS[0, 0])


def compare(its: Layers, own: Layers, examples: int, shuffled: bool) -> Likeness:
    """On the first `examples` rows; shuffled, each row of the teacher meets that of another pair (mean of 20 times)."""
    taught = {name: features[:examples] for name, features in its.items()}
    orders = [np.arange(examples)]
    if shuffled:
        orders = [
            np.random.default_rng(derive_seed(0, "learn", "shuffled", number)).permutation(examples)
            for number in range(SHUFFLES)
        ]
    maps, usual = [], []
    for order in orders:
        mine = {name: features[:examples][order] for name, features in own.items()}
        maps.append(cka_heatmap(taught, mine).values_TS)
        usual.append(biased_cka(next(iter(taught.values())), next(iter(mine.values()))))
    return Likeness(np.mean(maps, axis=0), list(its), list(own), float(np.mean(usual)))


def _named(layer: str) -> str:
    number = layer.rpartition(".")[2]
    return "words as numbers" if number == "0" else f"layer {number}"


def _likeness_bars(likeness: Likeness, shuffled: bool) -> Bars:
    return Bars(
        title=f"How alike are their words as numbers?{' Rows shuffled' if shuffled else ''}",
        bars=[
            Bar(label="CKA, usual formula", value=round(max(likeness.usual, 0.0), 3)),
            Bar(label="CKA, corrected", value=round(max(likeness.corrected, 0.0), 3), strong=True),
        ],
        note="Shuffled rows have nothing in common: the truth is 0." if shuffled else "Compare with shuffled rows.",
    )


def _heat(likeness: Likeness, examples: int, shuffled: bool) -> Heat:
    return Heat(
        title=f"Corrected CKA of all layers, {examples} pairs{', shuffled' if shuffled else ''}",
        rows=[f"teacher, {name}" for name in likeness.teacher],
        columns=[f"student, {name}" for name in likeness.student],
        values=[[round(max(float(value), 0.0), 2) for value in line] for line in likeness.values_TS],
        note="1: the same picture of the sentences. 0: nothing in common, and what is below it.",
        show_values=True,
    )


def _probe_bars(probes: Probes) -> Bars:
    bars = [Bar(label="most frequent label", value=round(probes.majority, 3))]
    bars += [
        Bar(label=probe.layer, value=round(probe.accuracy, 3), strong=probe.layer == "words alone")
        for probe in probes.layers
    ]
    return Bars(
        title=f"Probes: how often the label can be read from the student's numbers, {ASKED} pairs",
        bars=bars,
        note="“words alone”: the same probe on counted words, without any model.",
    )


def _parted_table(parted: Agreement) -> Table:
    return Table(
        title=f"Disagreement on {parted.rows} pairs",
        header=["what", "how many"],
        rows=[
            ["both right", str(parted.both_right)],
            ["only the teacher right", str(parted.teacher_only_right)],
            ["only the student right", str(parted.student_only_right)],
            ["both wrong, same answer", str(parted.both_wrong_alike)],
            ["both wrong, different answers", str(parted.both_wrong_apart)],
            ["agree", f"{parted.agreement.value:.0%}"],
            ["would agree by accuracy alone", f"{parted.expected_agreement:.0%}"],
        ],
    )
