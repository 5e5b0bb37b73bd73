"""Linear probes: how much of a label a linear classifier reads from each layer, with error bars that hold.

The protocol is that of SentEval (Conneau and Kiela 2018, arXiv 1803.05449) with what reviews of probing ask for: rows
of one document never on both sides of a split, features standardised on the training part, the L2 penalty chosen on the
validation part, the test part looked at once, several splits. A probe shows what *can be read*, not what the model
uses; what baselines and a control task (`probe_inputs`) reach is what it has to be compared with.

Further letters: J splits, G groups.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forge.core.errors import UserError
from forge.core.hashing import derive_seed
from forge.workbench.features import (
    Features,
    FloatArray,
    Layers,
    check_layers,
    mean_of,
    precision,
    require_finite,
    rounding,
)
from forge.workbench.plain import Plain

Labels = NDArray[np.int64]
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""C of scikit-learn, the inverse of the L2 penalty: weak to strong fit."""


@dataclass(frozen=True)
class ProbeSettings:
    """Shares of the rows, and how the probe is fitted. With 5 splits of 3,000 rows a layer of 768 takes 2 CPU-s."""

    splits: int = 5
    train: float = 0.5
    validation: float = 1 / 6
    strengths: Sequence[float] = STRENGTHS
    most_iterations: int = 500
    tolerance: float = 1e-4
    seed: int = 0


@dataclass(frozen=True)
class Split:
    """Row numbers of the three parts."""

    train: NDArray[np.intp]
    validation: NDArray[np.intp]
    test: NDArray[np.intp]


@dataclass(frozen=True)
class LayerProbe(Plain):
    """Test accuracy of the probes of one layer, 0 to 1."""

    layer: str
    accuracy: float  # mean over splits
    interval: tuple[float, float]  # 95 %, see `interval_of`
    per_split: tuple[float, ...]
    train_accuracy: float  # mean; 1 beside a low accuracy is memory
    strengths: tuple[float, ...]  # C chosen in each split
    converged: bool


@dataclass(frozen=True)
class Probes(Plain):
    """The probes of all layers on the same splits."""

    layers: tuple[LayerProbe, ...]
    majority: float  # test accuracy of always answering the most frequent training label, mean over splits
    classes: int
    rows: int
    parts: tuple[int, int, int]  # rows of the first split's parts
    widening: float = field(repr=False, default=1.0)  # of intervals, because splits share rows

    def layer(self, name: str) -> LayerProbe:
        """One layer's probe."""
        return next(probe for probe in self.layers if probe.layer == name)


def make_splits(groups_N: Sequence[Any] | NDArray[Any], settings: ProbeSettings) -> list[Split]:
    """Several splits of the rows such that rows with equal `groups_N` (a document, a premise) stay together.

    Each takes whole groups in a drawn order until a part has its share. Raises UserError where groups are too few.
    """
    codes_N = np.unique(np.asarray(groups_N), return_inverse=True)[1].reshape(-1)
    sizes_G = np.bincount(codes_N)
    if len(sizes_G) < 3:
        raise UserError(f"probes need at least 3 documents or groups to split, there are {len(sizes_G)}")
    found = []
    for number in range(settings.splits):
        order_G = np.random.default_rng(derive_seed(settings.seed, "probe", "split", number)).permutation(len(sizes_G))
        filled_G = (np.cumsum(sizes_G[order_G]) - sizes_G[order_G] / 2) / len(codes_N)
        part_of = np.empty(len(sizes_G), dtype=np.int64)
        part_of[order_G] = np.searchsorted([settings.train, settings.train + settings.validation], filled_G, "right")
        parts = [np.flatnonzero(part_of[codes_N] == part) for part in range(3)]
        if not all(map(len, parts)):
            raise UserError(
                f"{len(sizes_G)} documents or groups of {len(codes_N):,} rows do not fill three parts; take more"
            )
        found.append(Split(*parts))
    return found


def probe_layers(
    layers: Layers, labels_N: Labels, splits: Sequence[Split], settings: ProbeSettings | None = None
) -> Probes:
    """Multinomial logistic regression on every layer, on each of the splits.

    Minimises C · Σ cross-entropy + ½‖w‖² (scikit-learn's LogisticRegression, L-BFGS, in fp32), from weak to strong fit,
    each fit starting where the last one ended; the C of the best validation accuracy is taken, and of equal ones that
    of the stronger penalty. Raises UserError.
    """
    settings = settings or ProbeSettings()
    rows = check_layers(layers, "probes")
    for name, x_ND in layers.items():
        require_finite(x_ND, f"probes, {name}")
    labels_N = _checked(labels_N, rows, splits)
    fitted = {name: [_probe(x_ND, labels_N, split, settings) for split in splits] for name, x_ND in layers.items()}
    widening = _widening(splits)
    first = splits[0]
    return Probes(
        tuple(_summary(name, found, widening) for name, found in fitted.items()),
        float(np.mean([_majority(labels_N, split) for split in splits])),
        len(np.unique(labels_N)),
        rows,
        (len(first.train), len(first.validation), len(first.test)),
        widening,
    )


@dataclass(frozen=True)
class Difference(Plain):
    """A mean difference of test accuracy over splits, and the interval that holds 95 %."""

    mean: float
    interval: tuple[float, float]


def paired_difference(ours: LayerProbe, theirs: LayerProbe, widening: float) -> Difference:
    """One probe less another on the same splits: two layers, two models, or a task and its control (selectivity).

    `widening` is that of the `Probes` that either is from.
    """
    differences_J = np.subtract(ours.per_split, theirs.per_split)
    return Difference(float(differences_J.mean()), interval_of(differences_J, widening))


def interval_of(values_J: FloatArray, widening: float) -> tuple[float, float]:
    """95 % of the mean of J splits by Student's t, with the variance s²(1/J + test/train) that shared rows ask for.

    Nadeau and Bengio 2003 (Machine Learning 52:239): the usual s²/J takes splits of one data set for independent, and
    holds the truth too rarely (docs/decisions/027). NaN for a single split.
    """
    from scipy.stats import t

    if len(values_J) < 2:
        return float("nan"), float("nan")
    spread = float(t.ppf(0.975, len(values_J) - 1)) * float(np.std(values_J, ddof=1)) * widening
    mean = float(np.mean(values_J))
    return mean - spread, mean + spread


@dataclass(frozen=True)
class _Fitted:
    accuracy: float
    train_accuracy: float
    strength: float
    converged: bool


def standardised(x_ND: Features, train_n: NDArray[np.intp]) -> FloatArray:
    """Every feature less its mean over its standard deviation on the training rows, in fp32; 0 where it is constant."""
    known_nD = x_ND[train_n].astype(np.float64)
    mean_D = mean_of(known_nD)
    scale_D = np.sqrt(np.square(known_nD - mean_D).mean(0))
    varies_D = scale_D > rounding(precision(x_ND), np.abs(known_nD).max(0))
    inverse_D = np.where(varies_D, 1.0 / np.where(varies_D, scale_D, 1.0), 0.0)
    scaled_ND: FloatArray = ((x_ND - mean_D) * inverse_D).astype(np.float32)
    return scaled_ND


def fits(x_nD: FloatArray, labels_n: Labels, settings: ProbeSettings) -> Iterator[Any]:
    """A scikit-learn classifier for each strength, weak to strong fit, each begun where the last one ended."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(warm_start=True, tol=settings.tolerance, max_iter=settings.most_iterations)
    for strength in sorted(settings.strengths):
        model.C = strength
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the result says whether it converged
            yield copy(model.fit(x_nD, labels_n))  # fitting again replaces its arrays, and leaves those of the copy


def _probe(x_ND: Features, labels_N: Labels, split: Split, settings: ProbeSettings) -> _Fitted:
    scaled_ND = standardised(x_ND, split.train)

    def accuracy(model: Any, rows_n: NDArray[np.intp]) -> float:
        return float((model.predict(scaled_ND[rows_n]) == labels_N[rows_n]).mean())

    best, chosen = -1.0, None
    for model in fits(scaled_ND[split.train], labels_N[split.train], settings):
        reached = accuracy(model, split.validation)
        if reached > best:
            best, chosen = reached, model
    assert chosen is not None
    converged = int(chosen.n_iter_.max()) < settings.most_iterations
    return _Fitted(accuracy(chosen, split.test), accuracy(chosen, split.train), float(chosen.C), converged)


def _summary(layer: str, found: Sequence[_Fitted], widening: float) -> LayerProbe:
    per_split = tuple(one.accuracy for one in found)
    return LayerProbe(
        layer,
        float(np.mean(per_split)),
        interval_of(np.array(per_split), widening),
        per_split,
        float(np.mean([one.train_accuracy for one in found])),
        tuple(one.strength for one in found),
        all(one.converged for one in found),
    )


def _widening(splits: Sequence[Split]) -> float:
    over = float(np.mean([len(split.test) / len(split.train) for split in splits]))
    return math.sqrt(1.0 / len(splits) + over)


def _majority(labels_N: Labels, split: Split) -> float:
    return float((labels_N[split.test] == np.bincount(labels_N[split.train]).argmax()).mean())


def _checked(labels_N: Labels, rows: int, splits: Sequence[Split]) -> Labels:
    labels_N = np.asarray(labels_N, dtype=np.int64)
    if labels_N.shape != (rows,):
        raise UserError(f"probes: there are {rows:,} rows and labels of shape {labels_N.shape}; each row has one label")
    if rows and labels_N.min() < 0:
        raise UserError("probes: a label is negative; leave out rows without a label")
    for split in splits:
        if len(np.unique(labels_N[split.train])) < 2:
            raise UserError("probes: the training part has a single label; take more examples or a label that varies")
    return labels_N
