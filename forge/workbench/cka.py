"""Linear centred kernel alignment of layers, debiased: 1 for features that differ by a rotation, 0 for unrelated ones.

With K = XXᵀ and L = YYᵀ of N rows each, K̃ and L̃ the same with a zero diagonal, and k = K̃1, l = L̃1:

    HSIC₁(K, L) = [tr(K̃L̃) + Σk · Σl / ((N−1)(N−2)) − 2/(N−2) · k·l] / (N(N−3))      Song et al. 2012, JMLR 13:1393
    debiased CKA = HSIC₁(K, L) / √(HSIC₁(K, K) · HSIC₁(L, L))                     Nguyen et al. 2021, arXiv 2010.15327
    biased CKA = ‖YᵀX‖²_F / (‖XᵀX‖_F · ‖YᵀY‖_F), X and Y centred              Kornblith et al. 2019, arXiv 1905.00414

The biased form is near 1 for anything where rows are few against widths; nothing here but `biased_cka` computes it. The
debiased one may be a little below 0 and is never clipped: a mean of clipped values would be biased again.

Further letters: H half-subsamples, R rows of a tile, W sets of rows (all of them, or half-subsamples).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from forge.core.hashing import derive_seed
from forge.workbench.features import Centred, Features, FloatArray, Layers, centred, check_layers, require_rows
from forge.workbench.plain import Plain

LEAST_ROWS = 4  # HSIC₁ divides by N less 3
HALVES = 50
Z95 = 1.959963984540054
_TILE_BYTES = 48_000_000  # of the tiles of all layers together


@dataclass(frozen=True)
class Heatmap(Plain):
    """Debiased CKA of every layer of a teacher with every layer of a student, on the same rows.

    NaN where a layer does not vary. `low` and `high` bound 95 % by half-subsamples, where any were drawn: how much the
    value hangs on the choice of rows, and not on the seeds of the models.
    """

    teacher: tuple[str, ...]
    student: tuple[str, ...]
    rows: int
    standardised: bool
    values_TS: FloatArray
    low_TS: FloatArray | None = None
    high_TS: FloatArray | None = None
    halves: int = 0
    seed: int | None = None
    draws_HTS: FloatArray | None = field(default=None, repr=False)


def hsic(x_ND: Features, y_NE: Features) -> float:
    """HSIC₁ of linear kernels, an unbiased estimate whose expectation is 0 for independent rows. Raises UserError."""
    require_rows(check_layers({"x": x_ND, "y": y_NE}, "features"), LEAST_ROWS, "HSIC")
    x, y = centred(x_ND, "x"), centred(y_NE, "y")
    return float(_hsic_of_all([x, y])[0, 1]) * (x.size * y.size) ** 2


def debiased_cka(x_ND: Features, y_NE: Features) -> float:
    """Debiased linear CKA of two layers; NaN where one does not vary. Raises UserError for fewer than 4 rows."""
    return float(cka_heatmap({"x": x_ND}, {"y": y_NE}).values_TS[0, 0])


def biased_cka(x_ND: Features, y_NE: Features) -> float:
    """The biased form, 0 to 1, to show beside published figures of that kind. Raises UserError."""
    require_rows(check_layers({"x": x_ND, "y": y_NE}, "features"), 2, "CKA")
    x, y = (centred(side, "features").x_ND for side in (x_ND, y_NE))
    scale = float(np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    return float(np.square(np.linalg.norm(x.T @ y)) / scale) if scale else float("nan")


def cka_heatmap(
    teacher: Layers, student: Layers, *, standardise: bool = False, halves: int = 0, seed: int = 0
) -> Heatmap:
    """Debiased CKA of all pairs of layers, each layer centred once and its Gram matrix made once, a tile at a time.

    Half precision and fp32 features are multiplied in fp32 and summed in fp64. `standardise` gives every feature
    variance 1 first, which shows whether a few outlying dimensions make the similarity. `halves` half-subsamples, drawn
    without replacement, give intervals: a half's deviation from the whole has the variance of the whole (the delete-d
    jackknife with d = N/2; Shao and Wu 1989), while rows drawn twice, as a bootstrap draws them, make layers alike that
    are not. Raises UserError for too few rows, other numbers of rows, and values that are not finite.
    """
    rows = check_layers(student, "student", check_layers(teacher, "teacher"))
    require_rows(rows, LEAST_ROWS, "debiased CKA")
    if halves:
        require_rows(rows, 2 * LEAST_ROWS, "an interval by half-subsamples")
    layers = _prepare(teacher, "teacher", standardise) + _prepare(student, "student", standardise)
    values_TS = _cosines(_hsic_of_all(layers), len(teacher))
    names = tuple(teacher), tuple(student)
    if not halves:
        return Heatmap(*names, rows, standardise, values_TS)
    draws_HTS = np.stack([_cosines(one, len(teacher)) for one in _hsic_of_sets(layers, half_sets(rows, halves, seed))])
    spread_TS = Z95 * np.sqrt(np.square(draws_HTS - values_TS).mean(0))
    low_TS, high_TS = values_TS - spread_TS, values_TS + spread_TS
    return Heatmap(*names, rows, standardise, values_TS, low_TS, high_TS, halves, seed, draws_HTS)


@dataclass(frozen=True)
class Nearer(Plain):
    """How much more alike a student is to the teacher than another is, layer by layer of both (NaN where undefined)."""

    difference_TS: FloatArray
    low_TS: FloatArray
    high_TS: FloatArray
    mean: float  # over the pairs that were asked for
    interval: tuple[float, float]  # 95 % of that mean


def nearer(student: Heatmap, baseline: Heatmap, pairs: Sequence[tuple[int, int]] | None = None) -> Nearer:
    """CKA of a student with the teacher less that of a baseline, on the same half-subsamples of the same rows.

    `pairs` (teacher layer, student layer) enter the mean, by default all. Raises ValueError for heatmaps that were not
    made alike, since only then does what rows have in common cancel.
    """
    if student.draws_HTS is None or baseline.draws_HTS is None:
        raise ValueError("a difference needs heatmaps with half-subsamples")
    alike = ("teacher", "rows", "halves", "seed", "standardised")
    if any(getattr(student, name) != getattr(baseline, name) for name in alike) or len(student.student) != len(
        baseline.student
    ):
        raise ValueError("the two heatmaps are of other layers, rows or half-subsamples")
    difference_TS = student.values_TS - baseline.values_TS
    deviations_HTS = student.draws_HTS - baseline.draws_HTS - difference_TS
    spread_TS = Z95 * np.sqrt(np.square(deviations_HTS).mean(0))
    chosen = tuple(np.array(pairs or list(np.ndindex(difference_TS.shape))).T)
    mean = float(difference_TS[chosen].mean())
    spread = Z95 * float(np.sqrt(np.square(deviations_HTS[(slice(None), *chosen)].mean(-1)).mean()))
    return Nearer(
        difference_TS, difference_TS - spread_TS, difference_TS + spread_TS, mean, (mean - spread, mean + spread)
    )


def half_sets(rows: int, halves: int, seed: int) -> NDArray[np.bool_]:
    """sets_WN: each of half of the rows, drawn without replacement."""
    sets_WN = np.zeros((halves, rows), dtype=bool)
    for number in range(halves):
        rng = np.random.default_rng(derive_seed(seed, "cka", "half", number))
        sets_WN[number, rng.permutation(rows)[: rows // 2]] = True
    return sets_WN


def _prepare(layers: Layers, whose: str, standardise: bool) -> list[Centred]:
    return [centred(features, f"{whose}, {name}", standardise) for name, features in layers.items()]


def _cosines(hsic_LL: FloatArray, teachers: int) -> FloatArray:
    own_L = np.diagonal(hsic_LL)
    scale_TS = np.sqrt(np.outer(own_L[:teachers], own_L[teachers:]))
    cross_TS = hsic_LL[:teachers, teachers:]
    return np.where(scale_TS > 0, cross_TS / np.where(scale_TS > 0, scale_TS, 1.0), np.nan)


def _hsic_of_all(layers: Sequence[Centred]) -> FloatArray:
    """hsic_LL of all rows: the products of U-centred Gram matrices of all layers, over N(N−3).

    Of centred rows K1 = 0, so K̃1 = −a with a_i = ‖x_i‖², and a Gram entry off the diagonal, U-centred (Székely and
    Rizzo 2014, arXiv 1310.2926), is K_ij + (a_i + a_j)/(N−2) − Σa/((N−1)(N−2)), which needs no matrix of N by N.
    """
    rows = len(layers[0].x_ND)
    norms_LN = [np.einsum("nd,nd->n", layer.x_ND, layer.x_ND, dtype=np.float64) for layer in layers]
    total_LL = np.zeros((len(layers), len(layers)))
    for start, tiles_LRN in _tiles(layers):
        height = tiles_LRN.shape[1]
        for number, norms_N in enumerate(norms_LN):
            offset_N = norms_N[start:] / (rows - 2)
            middle = norms_N.sum() / ((rows - 1) * (rows - 2))
            tiles_LRN[number] += (offset_N[:height] - middle).astype(tiles_LRN.dtype)[:, None]
            tiles_LRN[number] += offset_N.astype(tiles_LRN.dtype)
            _clear_lower(tiles_LRN[number])
        for row in range(height):
            line_LN = tiles_LRN[:, row].astype(np.float64)
            total_LL += line_LN @ line_LN.T
    return 2.0 * total_LL / (rows * (rows - 3))


def _hsic_of_sets(layers: Sequence[Centred], sets_WN: NDArray[np.bool_]) -> FloatArray:
    """hsic_WLL of each set of rows, from one pass over the tiles of all rows."""
    count_W = sets_WN.sum(1).astype(np.float64)
    pairs = list(combinations_with_replacement(range(len(layers)), 2))
    trace_PW = np.zeros((len(pairs), len(sets_WN)))
    weights_NW = sets_WN.T.astype(layers[0].x_ND.dtype)
    for start, tiles_LRN in _tiles(layers):
        height = tiles_LRN.shape[1]
        for tile_RN in tiles_LRN:
            _clear_lower(tile_RN)
        for number, (one, other) in enumerate(pairs):
            weighed_RW = (tiles_LRN[one] * tiles_LRN[other]) @ weights_NW[start:]
            trace_PW[number] += 2.0 * np.einsum(
                "rw,rw->w", weighed_RW, weights_NW[start : start + height], dtype=np.float64
            )
    sums_LWN = [_row_sums(layer.x_ND, sets_WN) for layer in layers]
    hsic_WLL = np.zeros((len(sets_WN), len(layers), len(layers)))
    for number, (one, other) in enumerate(pairs):
        k_WN, l_WN = sums_LWN[one], sums_LWN[other]
        corrected_W = k_WN.sum(1) * l_WN.sum(1) / ((count_W - 1) * (count_W - 2)) - 2.0 / (count_W - 2) * np.einsum(
            "wn,wn->w", k_WN, l_WN
        )
        value_W = (trace_PW[number] + corrected_W) / (count_W * (count_W - 3))
        hsic_WLL[:, one, other] = hsic_WLL[:, other, one] = value_W
    return hsic_WLL


def _row_sums(x_ND: FloatArray, sets_WN: NDArray[np.bool_]) -> FloatArray:
    """sums_WN of a zero-diagonal Gram's row n over the columns of each set; 0 for rows out of the set."""
    x64_ND = x_ND.astype(np.float64)
    sums_WN = (sets_WN @ x64_ND) @ x64_ND.T - np.einsum("nd,nd->n", x64_ND, x64_ND)
    return np.where(sets_WN, sums_WN, 0.0)


def _tiles(layers: Sequence[Centred]) -> Iterator[tuple[int, FloatArray]]:
    """(first row, tiles_LRN) of the Gram matrices from that row's own column on: what lies left of it is the mirror."""
    rows, dtype = len(layers[0].x_ND), np.result_type(*(layer.x_ND for layer in layers))
    height = max(1, min(rows, _TILE_BYTES // (len(layers) * rows * dtype.itemsize)))
    for start in range(0, rows, height):
        stop = min(start + height, rows)
        tiles_LRN = np.empty((len(layers), stop - start, rows - start), dtype)
        for tile_RN, layer in zip(tiles_LRN, layers, strict=True):
            np.matmul(layer.x_ND[start:stop], layer.x_ND[start:].T, out=tile_RN)
        yield start, tiles_LRN


def _clear_lower(tile_RN: FloatArray) -> None:
    """Zero the diagonal and what is left of it: each pair of rows is counted once."""
    square_RR = tile_RN[:, : len(tile_RN)]
    square_RR[:] = np.triu(square_RR, 1)
