"""All that is said of how alike two models are inside, from the features of both on the same rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forge.workbench.cka import HALVES, Heatmap, cka_heatmap
from forge.workbench.cka_null import Null, permutation_null
from forge.workbench.features import Layers
from forge.workbench.plain import Plain
from forge.workbench.procrustes import Procrustes, procrustes_heatmap

_WIDE = 400
"""Above it Procrustes is computed for the best teacher layer of each student layer alone: 0.2 CPU-s a pair at 768."""


@dataclass(frozen=True)
class Similarity(Plain):
    """CKA with its interval, the same of standardised features, what it is by chance, and a second measure."""

    cka: Heatmap
    standardised: Heatmap
    null: Null
    procrustes: Procrustes


def similarity(teacher: Layers, student: Layers, *, halves: int = HALVES, seed: int = 0) -> Similarity:
    """Raises UserError for fewer than 8 rows, other numbers of rows, and values that are not finite."""
    cka = cka_heatmap(teacher, student, halves=halves, seed=seed)
    widest = max(features.shape[1] for layers in (teacher, student) for features in layers.values())
    best = None if widest <= _WIDE else [(_best(cka, at), at) for at in range(len(student))]
    return Similarity(
        cka,
        cka_heatmap(teacher, student, standardise=True),
        permutation_null(teacher, student, seed=seed),
        procrustes_heatmap(teacher, student, best, seed),
    )


def _best(cka: Heatmap, student: int) -> int:
    return int(np.argmax(np.nan_to_num(cka.values_TS[:, student], nan=-np.inf)))
