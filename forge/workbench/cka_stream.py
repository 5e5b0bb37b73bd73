"""Debiased CKA of any number of rows in the memory of one batch: exact sums of HSIC₁ in fp64.

With K1 = X(Σx) etc., all that HSIC₁ asks of N rows are sums over rows, where a_i = ‖x_i‖² and b_i = ‖y_i‖²:

    C = ΣxᵀY,  s = Σx,  t = Σy,  A = Σa,  B = Σb,  m = Σab,  p = Σxb,  q = Σya
    tr(K̃L̃) = ‖C‖²_F − m      1ᵀK̃1 = ‖s‖² − A      1ᵀL̃1 = ‖t‖² − B      1ᵀK̃L̃1 = sᵀCt − s·p − t·q + m

HSIC₁ does not change when all rows move together, but its digits do: every layer is moved by the mean of its first
batch. Memory is 8 · D · E bytes for each pair of layers, whatever the number of rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from forge.core.errors import UserError
from forge.workbench.cka import LEAST_ROWS, Heatmap
from forge.workbench.features import (
    FloatArray,
    Layers,
    check_layers,
    mean_of,
    precision,
    require_finite,
    require_rows,
    rounding,
)


@dataclass
class _Layer:
    """Sums of one layer, and its part of the batch at hand."""

    shift_D: FloatArray
    sum_D: FloatArray
    norms: float = 0.0
    largest: float = 0.0
    rounding: float = 0.0
    x_ND: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))
    a_N: FloatArray = field(default_factory=lambda: np.zeros(0))

    def take(self, features: FloatArray) -> None:
        self.largest = max(self.largest, float(np.abs(features).max()))
        self.rounding = rounding(precision(features), self.largest)
        self.x_ND = features.astype(np.float64) - self.shift_D
        self.a_N = np.einsum("nd,nd->n", self.x_ND, self.x_ND)
        self.sum_D += self.x_ND.sum(0)
        self.norms += float(self.a_N.sum())

    def varies(self, rows: int) -> bool:
        return self.norms - float(self.sum_D @ self.sum_D) / rows > rows * len(self.sum_D) * self.rounding**2


@dataclass
class _Pair:
    """Sums of two layers."""

    cross_DE: FloatArray
    first_D: FloatArray  # Σxb
    second_E: FloatArray  # Σya
    norms: float = 0.0  # Σab

    @classmethod
    def of(cls, x: _Layer, y: _Layer) -> _Pair:
        return cls(np.zeros((len(x.sum_D), len(y.sum_D))), np.zeros_like(x.sum_D), np.zeros_like(y.sum_D))

    def take(self, x: _Layer, y: _Layer) -> None:
        self.cross_DE += x.x_ND.T @ y.x_ND
        self.first_D += y.a_N @ x.x_ND
        self.second_E += x.a_N @ y.x_ND
        self.norms += float(x.a_N @ y.a_N)

    def hsic(self, x: _Layer, y: _Layer, rows: int) -> float:
        trace = float(np.square(self.cross_DE).sum()) - self.norms
        k, other = float(x.sum_D @ x.sum_D) - x.norms, float(y.sum_D @ y.sum_D) - y.norms
        both = float(x.sum_D @ self.cross_DE @ y.sum_D - x.sum_D @ self.first_D - y.sum_D @ self.second_E) + self.norms
        return (trace + k * other / ((rows - 1) * (rows - 2)) - 2.0 / (rows - 2) * both) / (rows * (rows - 3))


class StreamingCka:
    """Every layer of a teacher with every layer of a student; `add` batches of any size, then ask for the `heatmap`.

    For rows that do not fit the memory, or are many against the widths: `cka_heatmap` takes N²·D products a layer, this
    N·D·E a pair.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._sides: tuple[dict[str, _Layer], dict[str, _Layer]] = ({}, {})
        self._own: tuple[dict[str, _Pair], dict[str, _Pair]] = ({}, {})
        self._cross: dict[tuple[str, str], _Pair] = {}

    def add(self, teacher: Layers, student: Layers) -> None:
        """Take the next rows of both. Raises UserError for layers or widths that were others before."""
        rows = check_layers(student, "student", check_layers(teacher, "teacher"))
        if not rows:
            return
        if not self.rows:
            self._begin(teacher, student)
        sides = list(zip(("teacher", "student"), (teacher, student), self._sides, strict=True))
        for whose, given, known in sides:
            _check_same(whose, given, known)
        for _, given, known in sides:
            for name, features in given.items():
                known[name].take(features)
        for side, own in zip(self._sides, self._own, strict=True):
            for name, pair in own.items():
                pair.take(side[name], side[name])
        for (one, other), pair in self._cross.items():
            pair.take(self._sides[0][one], self._sides[1][other])
        self.rows += rows

    def heatmap(self) -> Heatmap:
        """What all rows so far give; more may follow. Raises UserError for fewer than 4 rows."""
        require_rows(self.rows, LEAST_ROWS, "debiased CKA")
        own_T, own_S = (
            np.array(
                [
                    max(pair.hsic(side[name], side[name], self.rows), 0.0) if side[name].varies(self.rows) else 0.0
                    for name, pair in own.items()
                ]
            )
            for side, own in zip(self._sides, self._own, strict=True)
        )
        cross = [
            pair.hsic(self._sides[0][one], self._sides[1][other], self.rows)
            for (one, other), pair in self._cross.items()
        ]
        scale_TS = np.sqrt(np.outer(own_T, own_S))
        values_TS = np.where(
            scale_TS > 0, np.reshape(cross, scale_TS.shape) / np.where(scale_TS > 0, scale_TS, 1), np.nan
        )
        return Heatmap(tuple(self._sides[0]), tuple(self._sides[1]), self.rows, False, values_TS)

    def _begin(self, teacher: Layers, student: Layers) -> None:
        for side, given in zip(self._sides, (teacher, student), strict=True):
            for name, features in given.items():
                shift_D = mean_of(features)
                side[name] = _Layer(shift_D, np.zeros_like(shift_D))
        for side, own in zip(self._sides, self._own, strict=True):
            own.update({name: _Pair.of(layer, layer) for name, layer in side.items()})
        first, second = self._sides
        self._cross = {(one, other): _Pair.of(first[one], second[other]) for one in first for other in second}


def _check_same(whose: str, given: Layers, known: Mapping[str, _Layer]) -> None:
    if list(given) != list(known):
        raise UserError(
            f"{whose}: the layers of this batch are {', '.join(given)}; before they were {', '.join(known)}"
        )
    for name, features in given.items():
        if features.shape[1] != len(known[name].shift_D):
            raise UserError(f"{whose}, {name}: is {features.shape[1]} wide, before it was {len(known[name].shift_D)}")
        require_finite(features, f"{whose}, {name}")
