"""How many bits the labels cost when a probe says them one block after the other: online code length.

    L = n₁ · log₂ K + Σ_i −log₂ p(labels of block i | probe of all blocks before),    compression = n · log₂ K / L

Voita and Titov 2020 (arXiv 2003.12298). Above 1 the features help; the more, the sooner they do. It moves
less with the size of the training set than accuracy, and punishes a probe that needs all of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from forge.core.errors import UserError
from forge.core.hashing import derive_seed
from forge.workbench.features import Features, FloatArray
from forge.workbench.plain import Plain
from forge.workbench.probing import Labels, ProbeSettings, Split, fits, standardised

FRACTIONS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.0625, 0.125, 0.25, 0.5, 1.0)


@dataclass(frozen=True)
class CodeLength(Plain):
    """Bits for the labels of the training part of one split."""

    bits: float
    uniform_bits: float  # of a code without a probe: n · log₂ K
    compression: float
    ends: tuple[int, ...]  # rows up to the end of each block
    block_bits: tuple[float, ...]


def code_length(
    x_ND: Features,
    labels_N: Labels,
    split: Split,
    settings: ProbeSettings | None = None,
    fractions: Sequence[float] = FRACTIONS,
) -> CodeLength:
    """Code the training rows in a drawn order; the penalty of each block's probe is chosen on the validation part.

    Blocks that a fraction leaves empty are merged into the next. A probability is (n p + 1/K)/(n + 1) after n rows, so
    that a label which has not been seen yet costs bits and not infinity. Raises UserError for a single label.
    """
    settings = settings or ProbeSettings()
    classes = int(labels_N.max()) + 1
    if len(np.unique(labels_N[split.train])) < 2:
        raise UserError("code length: the training part has a single label")
    order_n = np.random.default_rng(derive_seed(settings.seed, "mdl")).permutation(split.train)
    ends = sorted({min(max(math.ceil(part * len(order_n)), 1), len(order_n)) for part in fractions} | {len(order_n)})
    scaled_ND = standardised(x_ND, split.train)
    bits = [ends[0] * math.log2(classes)]
    for start, stop in pairwise(ends):
        known, coded = order_n[:start], order_n[start:stop]
        model = _best(scaled_ND, labels_N, known, split, settings)
        bits.append(-float(np.log2(_probabilities(model, scaled_ND[coded], labels_N[coded], start, classes)).sum()))
    uniform = len(order_n) * math.log2(classes)
    return CodeLength(sum(bits), uniform, uniform / sum(bits), tuple(ends), tuple(bits))


def _best(scaled_ND: FloatArray, labels_N: Labels, known: Any, split: Split, settings: ProbeSettings) -> Any:
    """The probe of the rows known so far; their only label where they have one."""
    seen = np.unique(labels_N[known])
    if len(seen) == 1:
        return int(seen[0])
    held_x, held_y = scaled_ND[split.validation], labels_N[split.validation]
    models = fits(scaled_ND[known], labels_N[known], settings)
    return max(models, key=lambda model: float((model.predict(held_x) == held_y).mean()))


def _probabilities(model: Any, x_nD: FloatArray, labels_n: Labels, known: int, classes: int) -> FloatArray:
    """Of the true labels."""
    table_nC = np.zeros((len(labels_n), classes))
    if isinstance(model, int):
        table_nC[:, model] = 1.0
    else:
        table_nC[:, model.classes_] = model.predict_proba(x_nD)
    true_n = table_nC[np.arange(len(labels_n)), labels_n]
    return (known * true_n + 1.0 / classes) / (known + 1.0)
