"""Features of layers as they come in: checked, centred, and of one scale.

Shape letters of this package: N rows (examples, or tokens), D and E widths, T and S layers of teacher and student,
C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forge.core.errors import UserError

Features = NDArray[Any]
FloatArray = NDArray[np.floating[Any]]
Layers = Mapping[str, Features]
"""features_ND by the name of a layer; layers may differ in width, not in rows."""
ROWS_AT_ONCE = 1024
_ROUNDINGS = 8.0  # of the largest value: what varies less is what storing the numbers did


@dataclass(frozen=True)
class Centred:
    """Rows of one layer less their mean, over `size`, the rms of their norms; all 0 where nothing varies."""

    x_ND: FloatArray
    size: float


def check_layers(layers: Layers, whose: str, rows: int | None = None) -> int:
    """How many rows all of them have. Raises UserError for another number of rows or of dimensions."""
    if not layers:
        raise UserError(f"{whose}: there are no layers")
    for name, features in layers.items():
        if features.ndim != 2 or not features.shape[1]:
            raise UserError(
                f"{whose}, {name}: features are rows by widths, these are {tuple(features.shape)}; pool tokens first"
            )
        rows = len(features) if rows is None else rows
        if len(features) != rows:
            raise UserError(
                f"{whose}, {name}: there are {len(features):,} rows, elsewhere {rows:,}; each row is one example"
            )
    assert rows is not None
    return rows


def require_rows(rows: int, least: int, what: str) -> None:
    """Raises UserError for fewer rows than an estimator can do with."""
    if rows < least:
        raise UserError(f"{what} needs at least {least:,} rows, there are {rows:,}; take more examples")


def require_finite(features: Features, where: str) -> None:
    """Raises UserError for NaN and infinities."""
    if not np.isfinite(features).all():
        raise UserError(f"{where}: there are values that are not finite; did the model diverge?")


def precision(features: Features) -> type[np.floating[Any]]:
    """fp32 for half and single precision, fp64 for everything else."""
    return np.float32 if features.dtype in (np.float16, np.float32) else np.float64


def rounding(dtype: type[np.floating[Any]], largest: Any) -> Any:
    """The standard deviation up to which rounding explains why a feature varies; `largest` is its size."""
    return _ROUNDINGS * float(np.finfo(dtype).eps) * largest


def mean_of(features: Features) -> FloatArray:
    """mean_D in fp64; exact for a feature that is always the same."""
    first_D = features[0].astype(np.float64)
    return np.asarray(first_D + (features - first_D).mean(0))


def centred(features: Features, where: str, standardise: bool = False) -> Centred:
    """Centred in fp64 and kept in `precision`, so that no offset costs digits.

    `standardise` first gives each feature variance 1, and 0 to those that do not vary. Raises UserError for values that
    are not finite.
    """
    dtype = precision(features)
    mean_D, square_D, largest = _moments(features, where)
    noise = rounding(dtype, largest)
    if standardise:
        scale_D = np.where(square_D > len(features) * noise**2, np.sqrt(square_D / len(features)), np.inf)
        size = float(np.count_nonzero(np.isfinite(scale_D))) ** 0.5
    else:
        size = float(np.sqrt(square_D.sum() / len(features)))
        scale_D = np.ones_like(mean_D)
        size = size if size > noise * len(mean_D) ** 0.5 else 0.0
    x_ND = np.zeros(features.shape, dtype)
    if size > 0:
        for start in range(0, len(features), ROWS_AT_ONCE):
            block = slice(start, start + ROWS_AT_ONCE)
            x_ND[block] = (features[block].astype(np.float64) - mean_D) / (scale_D * size)
    return Centred(x_ND, size)


def _moments(features: Features, where: str) -> tuple[FloatArray, FloatArray, float]:
    """Mean and sum of squared deviations of each feature, and the largest size of a value, in two passes of fp64.

    Sums are of differences from the first row, so that a feature that is always the same has exactly that mean.
    """
    first_D = features[0].astype(np.float64)
    total_D = np.zeros(features.shape[1])
    largest = 0.0
    for block in _blocks(features):
        require_finite(block, where)
        total_D += (block - first_D).sum(0)
        largest = max(largest, float(np.abs(block).max()))
    mean_D = first_D + total_D / len(features)
    square_D = np.zeros_like(mean_D)
    for block in _blocks(features):
        square_D += np.square(block - mean_D).sum(0)
    return mean_D, square_D, largest


def _blocks(features: Features) -> Any:
    return (
        features[start : start + ROWS_AT_ONCE].astype(np.float64) for start in range(0, len(features), ROWS_AT_ONCE)
    )
