"""How good a teacher is, remembered beside its cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from forge.core.io import read_json, storage_errors, write_json
from forge.tasks.encoding import encoded_mark
from forge.teaching.found import FoundTeacher


def remembered(folder: Path | None, found: FoundTeacher) -> dict[str, Any] | None:
    """What was measured of the teacher when its cache in `folder` was filled; None where it must be measured."""
    if folder is None:
        return None
    try:
        known: dict[str, Any] = read_json(_record(folder, found))
        return known if {"figures", "examples", "best"} <= set(known) else None
    except (OSError, ValueError, TypeError):
        return None


def remember(folder: Path, found: FoundTeacher, figures: dict[str, Any]) -> None:
    """Keep what was measured of the teacher beside its cache."""
    if figures and remembered(folder, found) is None:
        path = _record(folder, found)
        with storage_errors(f"writing {path.name} of the teacher cache"):
            write_json(path, figures)


def _record(folder: Path, found: FoundTeacher) -> Path:
    return folder / f"measured-{encoded_mark(found.validation)[:12]}.json"


def judge(measured: dict[str, Any], found: FoundTeacher) -> str:
    """Say how good the teacher is; raises UserError for one that should not teach."""
    if not found.untrained:
        found.judge(measured)
    shown = "  ".join(f"{name} {value:.4f}" for name, value in measured["figures"].items())
    return f"teacher: {found.asset.describe()} on validation:  {shown}  ({measured['examples']} examples)"
