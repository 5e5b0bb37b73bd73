"""What debiased CKA is when rows of teacher and student have nothing to do with each other.

The student's rows are put into another order. Over all orders debiased CKA has mean 0 and standard deviation
√(2 / (N(N−3))), whatever the features: the sums of U-centred Gram matrices over rows vanish, and with them all but one
term of Mantel's variance (Mantel 1967, Cancer Research 27:209). Its shape depends on the features, so p comes from
drawn orders. It answers "is there anything in common", which with a common input there nearly always is; how much is
the value itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forge.core.hashing import derive_seed
from forge.workbench.cka import LEAST_ROWS
from forge.workbench.features import Features, FloatArray, Layers, centred, check_layers, require_rows
from forge.workbench.plain import Plain

ROWS = 500
PERMUTATIONS = 200


@dataclass(frozen=True)
class Null(Plain):
    """Debiased CKA under permutation, on `rows` of the rows; `deviation` is for all `rows_of_heatmap` of them."""

    rows: int
    rows_of_heatmap: int
    permutations: int
    seed: int
    deviation: float  # exact standard deviation of the null
    observed_TS: FloatArray  # on the rows that were drawn
    p_TS: FloatArray  # one-sided, in (0, 1]
    upper_TS: FloatArray  # 95 % of the permuted values lie below
    upper_of_all: float  # 95 % of the orders have no pair of layers above it


def null_deviation(rows: int) -> float:
    """Standard deviation of debiased CKA over all orders of the rows."""
    require_rows(rows, LEAST_ROWS, "debiased CKA")
    return float(np.sqrt(2.0 / (rows * (rows - 3))))


def permutation_null(
    teacher: Layers, student: Layers, *, rows: int = ROWS, permutations: int = PERMUTATIONS, seed: int = 0
) -> Null:
    """Permute the student's rows, the same way for all layers, on at most `rows` rows. Raises UserError for below 4.

    A sample of the rows keeps the test valid and quick: it only finds less. Rows of one document are not exchangeable
    with rows of others; give one row a document where that matters.
    """
    found = check_layers(student, "student", check_layers(teacher, "teacher"))
    require_rows(found, LEAST_ROWS, "debiased CKA")
    rng = np.random.default_rng(derive_seed(seed, "cka", "null"))
    chosen_n = np.sort(rng.permutation(found)[:rows])
    taught_Tnn = np.stack([_gram(x_ND[chosen_n], f"teacher, {name}") for name, x_ND in teacher.items()])
    own_nnS = np.stack([_gram(x_ND[chosen_n], f"student, {name}") for name, x_ND in student.items()], axis=-1)
    flat_TP = taught_Tnn.reshape(len(teacher), -1)

    def cka(order_n: np.ndarray[tuple[int], np.dtype[np.intp]]) -> FloatArray:
        permuted = own_nnS[order_n[:, None], order_n[None, :]].reshape(-1, own_nnS.shape[-1])
        return np.asarray(flat_TP @ permuted, np.float64)

    observed_TS = cka(np.arange(len(chosen_n)))
    drawn_PTS = np.stack([cka(rng.permutation(len(chosen_n))) for _ in range(permutations)])
    above_TS = (drawn_PTS >= observed_TS - 1e-9).sum(0)
    undefined_TS = np.isnan(observed_TS)
    return Null(
        rows=len(chosen_n),
        rows_of_heatmap=found,
        permutations=permutations,
        seed=seed,
        deviation=null_deviation(found),
        observed_TS=observed_TS,
        p_TS=np.where(undefined_TS, np.nan, (above_TS + 1) / (permutations + 1)),
        upper_TS=np.where(undefined_TS, np.nan, np.quantile(drawn_PTS, 0.95, axis=0)),
        upper_of_all=float("nan")
        if undefined_TS.all()
        else float(np.quantile(drawn_PTS[:, ~undefined_TS].max(1), 0.95)),
    )


def _gram(features: Features, where: str) -> FloatArray:
    """U-centred Gram matrix of norm 1, so that the product of two is debiased CKA; NaN where nothing varies."""
    x_ND = centred(features, where).x_ND
    rows = len(x_ND)
    gram_NN = x_ND @ x_ND.T
    np.fill_diagonal(gram_NN, 0.0)
    sums_N = gram_NN.sum(0, dtype=np.float64)
    offset_N = (sums_N / (rows - 2)).astype(gram_NN.dtype)
    gram_NN -= offset_N[:, None] + offset_N - gram_NN.dtype.type(sums_N.sum() / ((rows - 1) * (rows - 2)))
    np.fill_diagonal(gram_NN, 0.0)
    size = np.linalg.norm(gram_NN.astype(np.float64))
    return gram_NN / gram_NN.dtype.type(size) if size else np.full_like(gram_NN, np.nan)
