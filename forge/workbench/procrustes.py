"""How well one layer turns into another by the best rotation, beside CKA: no single measure is the right one.

    similarity = ‖XᵀY‖_* / (‖X‖_F · ‖Y‖_F),  X and Y centred, ‖·‖_* the nuclear norm        0 to 1

One less it is half the squared orthogonal Procrustes distance of the two after scaling both to norm 1 (Ding et al.
2021, arXiv 2108.01661). CKA follows the few largest directions, this listens to the small ones too. It is *not*
debiased: unrelated features are far above 0 where rows are not many times the widths, so the floor belongs beside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from forge.core.hashing import derive_seed
from forge.workbench.features import Features, FloatArray, Layers, centred, check_layers, require_rows
from forge.workbench.plain import Plain


@dataclass(frozen=True)
class Procrustes(Plain):
    """Similarity of pairs of layers, and what it is with the student's rows in another order; NaN where not asked."""

    teacher: tuple[str, ...]
    student: tuple[str, ...]
    rows: int
    values_TS: FloatArray
    floor_TS: FloatArray


def procrustes(x_ND: Features, y_NE: Features) -> float:
    """Similarity of two layers, 0 to 1; NaN where one does not vary. Raises UserError."""
    require_rows(check_layers({"x": x_ND, "y": y_NE}, "features"), 2, "Procrustes similarity")
    return _similarity(centred(x_ND, "x").x_ND, centred(y_NE, "y").x_ND)


def procrustes_heatmap(
    teacher: Layers, student: Layers, pairs: Iterable[tuple[int, int]] | None = None, seed: int = 0
) -> Procrustes:
    """Similarity and floor of the pairs (teacher layer, student layer), by default all.

    The floor is of one order of rows, drawn from `seed`: it varies little. Raises UserError.
    """
    rows = check_layers(student, "student", check_layers(teacher, "teacher"))
    require_rows(rows, 2, "Procrustes similarity")
    order_N = np.random.default_rng(derive_seed(seed, "procrustes")).permutation(rows)
    taught = [centred(features, f"teacher, {name}").x_ND for name, features in teacher.items()]
    own = [centred(features, f"student, {name}").x_ND for name, features in student.items()]
    values_TS, floor_TS = (np.full((len(taught), len(own)), np.nan) for _ in range(2))
    for one, other in np.ndindex(values_TS.shape) if pairs is None else pairs:
        values_TS[one, other] = _similarity(taught[one], own[other])
        floor_TS[one, other] = _similarity(taught[one], own[other][order_N])
    return Procrustes(tuple(teacher), tuple(student), rows, values_TS, floor_TS)


def _similarity(x_ND: FloatArray, y_NE: FloatArray) -> float:
    scale = float(np.linalg.norm(x_ND) * np.linalg.norm(y_NE))
    if not scale:
        return float("nan")
    return min(float(np.linalg.svd(x_ND.T @ y_NE, compute_uv=False).sum(dtype=np.float64)) / scale, 1.0)
