"""Kinds of rows by how a run came to know them: the probability of the true class at the checkpoints that it kept.

Swayamdipta et al. 2020 (arXiv 2009.10795) watch the training set after each epoch. Here the rows are those of the
look, on which nothing was trained, and the moments are those that lie on disk: the kinds say how hard a row is for
who learned from others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from forge.core.manifest import verify
from forge.train.checkpoint import CheckpointStore
from forge.workbench.features import FloatArray
from forge.workbench.findings import Dynamics
from forge.workbench.looking import Look
from forge.workbench.parted import Choices
from forge.workbench.slices import Axis, dynamics_axis
from forge.workbench.views.base import Source
from forge.workbench.views.classification import ClassificationView

MOST = 6  # each is one more model to load and to run
LEAST = 3  # the spread of two is one difference, most often of neighbours late in training: no course to sort rows by


def by_dynamics(found: Look) -> tuple[Axis, Dynamics] | None:
    """The kinds, and whose course made them; None, with a note, where no run kept enough checkpoints.

    The baseline's course is preferred: how hard rows are for who learned from the labels alone, and the student's own
    answers, whose agreement is then asked for, had no part in it.
    """
    view, short = found.view, []
    if not isinstance(view, ClassificationView):
        return None
    for source in _candidates(found.opened.sources):
        kept, damaged = whole(source.folder.parent, MOST, source.folder.name)
        for told in damaged:
            found.note("disagreement", f"training dynamics: {told}.")
        if len(kept) < LEAST:
            short.append(f"{source.name} kept {len(kept)}")
            continue
        axis = dynamics_axis(_gold_probability(found, view, source, kept))
        steps = tuple(int(folder.name.rpartition("-")[2]) for folder in kept)
        return replace(axis, made_by=source.key), Dynamics(source.key, steps)
    found.note(
        "disagreement",
        f"Kinds by training dynamics are left out: they take {LEAST} checkpoints of one run, and {', '.join(short)}. "
        f"Train with checkpoint.keep={MOST} to keep more.",
    )
    return None


def whole(run: Path, most: int, best: str = "") -> tuple[list[Path], list[str]]:
    """Checkpoints that verify, in order of steps, at most so many and evenly spread; and what is wrong with others.

    The `best` one is among them. Only those that would be taken are verified. An average of checkpoints is no moment of
    training and is not among them.
    """
    damage: Callable[[str], str] = cache(lambda name: verify(run / name))
    names = CheckpointStore(run, keep=most).names()
    damaged: list[str] = []
    while True:
        chosen = spread(names, most, best)
        bad = [name for name in chosen if damage(name)]
        if not bad:
            return [run / name for name in chosen], damaged
        damaged += [f"{name} is damaged and was passed over: {damage(name)}" for name in bad]
        names = [name for name in names if name not in bad]


def spread(names: Sequence[str], most: int, best: str = "") -> list[str]:
    """At most so many (3 or more), evenly over all, with the first and the last; `best` in its neighbour's place."""
    if len(names) <= most:
        return list(names)
    places = np.linspace(0, len(names) - 1, most).round().astype(int)
    if best in names:
        wanted = names.index(best)
        if wanted not in places:
            places[1 + int(np.abs(places[1:-1] - wanted).argmin())] = wanted
    return [names[place] for place in places]


def _candidates(sources: Sequence[Source]) -> list[Source]:
    baseline = [source for source in sources if source.role == "baseline"]
    return [*baseline, *[source for source in sources if source.role == "student"][:1]]


def _gold_probability(found: Look, view: ClassificationView, source: Source, kept: Sequence[Path]) -> FloatArray:
    """gold_probability_EN: of N rows at E checkpoints."""
    gold_N = found.shown.gold_N
    assert gold_N is not None
    course = []
    for folder in kept:
        made = found.watched[source.key].made if folder == source.folder else None
        if made is None:
            loaded = view.load(replace(source, folder=folder), found.shown)
            made = view.choices(loaded, view.encode(loaded, found.shown))
        assert isinstance(made, Choices)
        course.append(made.probabilities_NC[np.arange(len(gold_N)), gold_N])
    return np.stack(course)
