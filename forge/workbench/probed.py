"""The section on probes: one label read from all layers of one stack of all models, on the same rows and splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forge.workbench.aligned import figure, number
from forge.workbench.features import FloatArray, Layers
from forge.workbench.findings import Curve, CurveDifference, Figure, LayerPoint, Probing
from forge.workbench.mdl import code_length
from forge.workbench.probe_inputs import Control, control_labels
from forge.workbench.probing import (
    LayerProbe,
    Probes,
    ProbeSettings,
    Split,
    make_splits,
    paired_difference,
    probe_layers,
)


@dataclass(frozen=True)
class Labelled:
    """A label of N rows, and what it has to be compared with."""

    name: str
    about: str
    of_task: bool
    classes: tuple[str, ...]
    labels_N: NDArray[np.int64]  # -1: this row has none
    groups_N: Sequence[Any]  # rows of one document stay on one side
    words_N: Sequence[str] | None = None  # what control labels hang on
    bag_ND: FloatArray | None = None  # words alone


@dataclass(frozen=True)
class Effort:
    """How much is computed."""

    probes: ProbeSettings
    controls: bool
    code_lengths: bool  # of labels that the task defines

    @classmethod
    def of(cls, quick: bool, seed: int) -> Effort:
        """Quick: two splits, without control and code length."""
        return cls(ProbeSettings(splits=2 if quick else 5, seed=seed), not quick, not quick)


def probed(
    stack: str,
    told: Labelled,
    models: Mapping[str, Layers],
    pairs: Sequence[tuple[str, str]],
    effort: Effort,
) -> Probing:
    """Probe all models, whose features are of the same rows; `pairs` of models are subtracted where depths are equal.

    Raises UserError for too few rows, groups or labels.
    """
    kept_n = np.flatnonzero(told.labels_N >= 0).tolist()
    labels_n, groups_n = told.labels_N[kept_n], [told.groups_N[row] for row in kept_n]
    splits = make_splits(groups_n, effort.probes)
    control = None
    if effort.controls and told.words_N is not None:
        control = control_labels([told.words_N[row] for row in kept_n], len(told.classes), effort.probes.seed)
    found: dict[str, Probes] = {}
    curves = []
    for model, layers in models.items():
        mine = {name: features[kept_n] for name, features in layers.items()}
        found[model] = probe_layers(mine, labels_n, splits, effort.probes)
        coded = effort.code_lengths and told.of_task
        curves.append(_curve(model, mine, found[model], labels_n, splits, control, replace(effort, code_lengths=coded)))
    first = next(iter(found.values()))
    return Probing(
        stack=stack,
        label=told.name,
        about=told.about,
        of_task=told.of_task,
        classes=told.classes,
        rows=len(kept_n),
        parts=first.parts,
        splits=len(splits),
        majority=first.majority,
        bag_of_words=None if told.bag_ND is None else _of_words(told.bag_ND[kept_n], labels_n, splits, effort.probes),
        control_repeated=control.repeated if control else None,
        curves=tuple(curves),
        differences=tuple(
            _difference(model, than, found)
            for model, than in pairs
            if model in found and than in found and len(found[model].layers) == len(found[than].layers)
        ),
    )


def _curve(
    model: str,
    layers: Layers,
    probes: Probes,
    labels_n: NDArray[np.int64],
    splits: Sequence[Split],
    control: Control | None,
    effort: Effort,
) -> Curve:
    without_meaning = probe_layers(layers, control.labels_N, splits, effort.probes) if control else None
    points = []
    for probe in probes.layers:
        selectivity = compression = None
        if without_meaning:
            told = paired_difference(probe, without_meaning.layer(probe.layer), probes.widening)
            selectivity = figure(told.mean, told.interval)
        if effort.code_lengths:
            compression = number(code_length(layers[probe.layer], labels_n, splits[0], effort.probes).compression)
        points.append(LayerPoint(probe.layer, _accuracy(probe), number(probe.train_accuracy), selectivity, compression))
    return Curve(model, tuple(points))


def _accuracy(probe: LayerProbe) -> Figure:
    return figure(probe.accuracy, probe.interval)


def _of_words(
    bag_nD: FloatArray, labels_n: NDArray[np.int64], splits: Sequence[Split], settings: ProbeSettings
) -> Figure:
    (probe,) = probe_layers({"words": bag_nD}, labels_n, splits, settings).layers
    return _accuracy(probe)


def _difference(model: str, than: str, found: Mapping[str, Probes]) -> CurveDifference:
    both = zip(found[model].layers, found[than].layers, strict=True)
    told = [paired_difference(ours, theirs, found[model].widening) for ours, theirs in both]
    return CurveDifference(model, than, tuple(figure(one.mean, one.interval) for one in told))
