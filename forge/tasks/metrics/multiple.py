"""Several tests at once: the more are looked at, the likelier one is small by luck."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def holm(p_E: ArrayLike) -> NDArray[np.float64]:
    """Adjusted p-values along the last axis: at level α reject what is ≤ α, and the chance of any false one is ≤ α.

    Holm 1979 (Scandinavian Journal of Statistics 6:65): the j-th smallest of m is multiplied by m − j + 1, is never
    less than the ones before it, and is at most 1. It holds whatever the dependence between the tests.
    """
    known_E: NDArray[Any] = np.asarray(p_E, dtype=np.float64)
    order = np.argsort(known_E, axis=-1, kind="stable")
    left = np.arange(known_E.shape[-1], 0, -1)
    stepped = np.maximum.accumulate(np.take_along_axis(known_E, order, -1) * left, axis=-1)
    adjusted = np.empty_like(stepped)
    np.put_along_axis(adjusted, order, np.minimum(stepped, 1.0), -1)
    return adjusted
