"""effects.json: every number of a report."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

import numpy as np

from forge.study.analysis import Analysis, Findings
from forge.study.effects import Effect
from forge.study.statistics.bootstrap import REPETITIONS
from forge.study.statistics.power import POWER
from forge.study.statistics.testing import ALPHA


def as_json(findings: Findings) -> dict[str, Any]:
    """Plain values, floats unrounded; None where there is no such number."""
    settings = {"alpha": ALPHA, "power": POWER, "bootstrap_repetitions": REPETITIONS, "tests": findings.tests}
    pooled = [asdict(effect) | {"found": effect.found} for effect in findings.pooled]
    return {"settings": settings, "studies": [_study(study) for study in findings.studies], "pooled": _plain(pooled)}


def _study(study: Analysis) -> dict[str, Any]:
    grid = study.grid
    beside = ("effects", "grid", "cells")
    rest = {field.name: getattr(study, field.name) for field in fields(study) if field.name not in beside}
    told = {
        "declared": asdict(study.declared),
        "full": grid.full,
        "effects": [_effect(effect) for effect in study.effects],
        "cells": [asdict(cell) for cell in study.cells],
        "control_outcomes": dict(grid.controls),
        "control_measures": {name: dict(found) for name, found in grid.control_measures.items()},
    }
    plain = _plain(told | {name: _as_dict(value) for name, value in rest.items()})
    assert isinstance(plain, dict)
    return plain


def _effect(effect: Effect) -> dict[str, Any]:
    values = {field.name: _as_dict(getattr(effect, field.name)) for field in fields(effect) if field.name != "contrast"}
    contrast = effect.contrast
    return {
        "name": effect.name,
        "factors": contrast.factors,
        "level": contrast.level,
        "weights": contrast.weights_C,
    } | values


def _as_dict(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return asdict(value)
    if isinstance(value, dict):
        return {name: _as_dict(one) for name, one in value.items()}
    return [_as_dict(one) for one in value] if isinstance(value, tuple) else value


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
