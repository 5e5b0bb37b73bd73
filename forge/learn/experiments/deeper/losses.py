"""Nine losses in three families: train a student on one, and see in which way it came nearer to its teacher."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from forge.config.schema import Distill
from forge.learn.experiments.base import Live, word
from forge.learn.experiments.deeper.pair import (
    ALONE,
    STEPS,
    as_batch,
    loaded,
    pairs,
    student,
    teacher,
    untrained,
)
from forge.learn.questions import Value
from forge.learn.results import Bar, Bars, Heat, Result
from forge.models.capture import layout
from forge.objectives.kd.masks import count
from forge.objectives.kd.objective import KD, read_sites
from forge.objectives.kd.table import Pairing, make_terms
from forge.objectives.kd.teacher import OnlineTeacher
from forge.objectives.sft import SFT
from forge.tasks.base import Batch

ASKED = 300
GROUP = 30  # sentence pairs that `linear_cka` compares at a time
MEASURES = {
    "forward_kl": "its answers (response)",
    "linear_cka": "its inner numbers (feature)",
    "attention_kl": "where it looks (attention)",
}


def run(controls: Mapping[str, Value], live: Live) -> Result:
    """Train on `loss` with `alpha`; measure answers and the three distances before and after, beside labels alone."""
    loss, alpha = word(controls, "loss"), float(word(controls, "alpha"))
    live.chart("Training loss", "step", "loss")
    taught = teacher(live, end=0.5)
    alone = student(ALONE, 0.0, taught, live, 0.5, 0.7)
    trained = student(loss, alpha, taught, live, 0.7, 0.9) if loss != ALONE else alone
    live.progress(0.92, "measuring how far it is from the teacher")
    model, other, its = loaded(trained), loaded(alone), loaded(taught)
    batch = as_batch(its, pairs(ASKED))
    before, by_labels, after = (
        distances(one, its.model, batch)
        for one in (untrained(its), other.model, model.model)
    )  # fmt: skip
    left = {name: after[name] / before[name] for name in MEASURES}
    runs = {"teacher": taught, "alone": alone, "own": trained}
    right = {name: one.last("accuracy", "matched") for name, one in runs.items()}
    told = ALONE if loss == ALONE else f"{loss}, alpha {alpha:g}"
    bars = [Bar(label="guessing", value=0.333), Bar(label=f"student, {ALONE}", value=round(right["alone"], 3))]
    columns = {"untrained": before, ALONE: by_labels}
    if loss != ALONE:
        bars.append(Bar(label=f"student, {told}", value=round(right["own"], 3), strong=True))
        columns["this student"] = after
    return Result(
        said=f"A student that learned from {told} for {STEPS} steps is right on {right['own']:.0%}. Of its distance to "
        f"the teacher are left: answers {left['forward_kl']:.0%}, inner numbers {left['linear_cka']:.0%}, "
        f"where it looks {left['attention_kl']:.0%}.",
        numbers={
            "percent": round(100 * right["own"]),
            "percent_alone": round(100 * right["alone"]),
            **{f"left_{name}": round(100 * value, 1) for name, value in left.items()},
        },
        pictures=[
            Bars(
                title=f"Right answers on {ASKED} pairs that no model has seen",
                bars=[*bars, Bar(label="teacher", value=round(right["teacher"], 3))],
            ),
            Heat(
                title="Percent of the distance to the teacher that is left",
                rows=list(MEASURES.values()),
                columns=list(columns),
                values=[
                    [round(100 * found[name] / before[name], 1) for found in columns.values()] for name in MEASURES
                ],
                note="Measured by forward_kl, linear_cka and attention_kl. 0 would be a perfect copy.",
                show_values=True,
            ),
        ],
        run=str(trained.path),
        command=trained.command,
    )


def distances(model: torch.nn.Module, its: torch.nn.Module, batch: Batch) -> dict[str, float]:
    """Three of Forge's losses, one a family, between a student and the teacher on a batch, without any training."""
    wanted = Distill.model_validate(
        {
            "forward_kl": {"weight": 1.0, "temperature": 2.0},
            "linear_cka": {"weight": 1.0, "group": GROUP},
            "attention_kl": {"weight": 1.0, "layers": "uniform"},
        }
    )
    mine, theirs = layout(model), layout(its)
    terms = make_terms(wanted.losses(), Pairing(mine, theirs, wanted.layers, seed=0))
    objective = KD(SFT(), 1.0, terms, model, mine)
    objective.learn_from(OnlineTeacher(its, read_sites(terms, "teacher")))
    with torch.no_grad():
        found = objective.unweighted(model, batch, objective.counts(batch) | count(batch, mine))
    return {name: float(found[name]) for name in MEASURES}
