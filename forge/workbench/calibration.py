"""Whether a model that says 80 % is right in 80 % of the cases, beside what a perfectly calibrated model would show.

Expected calibration error is a mean of absolute gaps, so chance alone makes it positive: the fewer the rows, the more.
The floor is what it is on average for a model with these very confidences that is right exactly as often as it says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from forge.core.errors import UserError
from forge.core.hashing import derive_seed
from forge.workbench.features import FloatArray
from forge.workbench.plain import Plain

BINS = 15
DRAWS = 1_000
Kind = Literal["mass", "width"]
_NUMBERS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Bin(Plain):
    """Rows of like confidence."""

    rows: int
    confidence: float  # mean
    accuracy: float


@dataclass(frozen=True)
class Calibration(Plain):
    """ECE, 0 to 1, with its floor; `excess` is what is not explained by chance, and may be below 0."""

    rows: int
    ece: float
    interval: tuple[float, float]  # 95 %, basic bootstrap over rows
    floor: float  # mean of a perfectly calibrated model
    floor_upper: float  # 95 % of such models lie below
    p: float  # share of such models that show at least this much, in (0, 1]
    excess: float  # ece less floor
    confidence: float
    accuracy: float
    bins: tuple[Bin, ...]


def expected_calibration_error(
    confidence_N: FloatArray, correct_N: NDArray[np.bool_], bins: int = BINS, kind: Kind = "mass"
) -> float:
    """Σ_b share_b · |mean confidence_b − accuracy_b|, 0 to 1.

    Guo et al. 2017 (arXiv 1706.04599), equation 3, with bins of equally many rows (`mass`; Nguyen and O'Connor 2015,
    arXiv 1508.05154), or of equal width and closed on the right (`width`).
    """
    confidence_N, right_N = _checked(confidence_N, correct_N)
    order_N, starts_B = _bins(confidence_N, bins, kind)
    gaps_N = (confidence_N - right_N)[order_N]
    return float(np.abs(np.add.reduceat(gaps_N, starts_B)).sum() / len(gaps_N))


def calibration(
    confidence_N: FloatArray, correct_N: NDArray[np.bool_], bins: int = BINS, draws: int = DRAWS, seed: int = 0
) -> Calibration:
    """ECE of bins of equally many rows with interval, floor and the bins themselves. Raises UserError."""
    confidence_N, right_N = _checked(confidence_N, correct_N)
    order_N, starts_B = _bins(confidence_N, bins, "mass")
    sorted_N, right_N = confidence_N[order_N], right_N[order_N]
    found = expected_calibration_error(confidence_N, correct_N, bins)
    rng = np.random.default_rng(derive_seed(seed, "calibration"))
    perfect, resampled = [], []
    at_once = max(1, _NUMBERS_AT_ONCE // len(sorted_N))
    for start in range(0, draws, at_once):
        size = min(at_once, draws - start), len(sorted_N)
        gaps = sorted_N - (rng.random(size) < sorted_N)
        perfect.append(np.abs(np.add.reduceat(gaps, starts_B, axis=1)).sum(1) / len(sorted_N))
        chosen = np.sort(rng.integers(len(sorted_N), size=size), axis=1)  # sorted by row is sorted by confidence
        gaps = (sorted_N - right_N)[chosen]
        resampled.append(np.abs(np.add.reduceat(gaps, starts_B, axis=1)).sum(1) / len(sorted_N))
    floors, others = np.concatenate(perfect), np.concatenate(resampled)
    low, high = (2 * found - float(np.quantile(others, q)) for q in (0.975, 0.025))
    return Calibration(
        rows=len(sorted_N),
        ece=found,
        interval=(max(low, 0.0), max(high, 0.0)),
        floor=float(floors.mean()),
        floor_upper=float(np.quantile(floors, 0.95)),
        p=float(((floors >= found - 1e-12).sum() + 1) / (draws + 1)),
        excess=found - float(floors.mean()),
        confidence=float(confidence_N.mean()),
        accuracy=float(right_N.mean()),
        bins=tuple(
            Bin(len(part), float(part.mean()), float(right.mean()))
            for part, right in zip(np.split(sorted_N, starts_B[1:]), np.split(right_N, starts_B[1:]), strict=True)
        ),
    )


def _bins(confidence_N: FloatArray, bins: int, kind: Kind) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows in order of confidence, and where each bin that has any begins."""
    order_N = np.argsort(confidence_N, kind="stable")
    rows = len(order_N)
    if kind == "mass":
        starts = [rows * number // bins for number in range(bins)]
    else:
        number_N = np.clip(np.ceil(confidence_N[order_N] * bins).astype(int) - 1, 0, bins - 1)
        starts = np.searchsorted(number_N, np.arange(bins)).tolist()
    return order_N, np.array(sorted({start for start in starts if start < rows}), dtype=np.intp)


def _checked(confidence_N: FloatArray, correct_N: NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
    confidence_N, right_N = np.asarray(confidence_N, np.float64), np.asarray(correct_N, np.float64)
    if confidence_N.shape != right_N.shape or confidence_N.ndim != 1 or not len(confidence_N):
        raise UserError(f"calibration: {confidence_N.shape} confidences and {right_N.shape} answers; each row has both")
    if not ((confidence_N >= 0) & (confidence_N <= 1)).all():
        raise UserError("calibration: a confidence is not between 0 and 1")
    return confidence_N, right_N
