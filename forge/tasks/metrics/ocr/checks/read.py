"""Reading files of checks: strict about what is wrong, with the line; lenient about what is more."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from forge.core.errors import UserError
from forge.core.io import from_json
from forge.tasks.metrics.ocr.checks.base import Check, Row
from forge.tasks.metrics.ocr.checks.baseline import Baseline
from forge.tasks.metrics.ocr.checks.form import Footnote, Format, Math
from forge.tasks.metrics.ocr.checks.table import Cell
from forge.tasks.metrics.ocr.checks.text import Order, Presence
from forge.tasks.sources import not_utf8

KINDS: dict[str, type[Check]] = {
    name: kind for kind in (Presence, Order, Cell, Math, Baseline, Format, Footnote) for name in kind.types
}
BASELINES = "baseline"


@dataclass(frozen=True)
class CheckFile:
    """The checks of one file; their share that passes is one part of a score."""

    name: str
    checks: tuple[Check, ...]


def read_check(values: object) -> Check:
    """One check from the object of a line. Raises ValueError that says what is wrong with it."""
    if not isinstance(values, dict):
        raise ValueError("it is not an object")
    row = Row(values)
    if (kind := row.text("type", required=True)) not in KINDS:
        raise ValueError(f"`type` '{kind}' is unknown; there are {', '.join(KINDS)}")
    return KINDS[kind].read(row)


def read_checks(name: str | Path) -> CheckFile:
    """All checks of a JSONL file; empty lines are passed over. Raises UserError `file:line  what is wrong`."""
    path = Path(name).expanduser()
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(not_utf8(path)) from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {os.strerror(error.errno or 0)}") from error
    checks: list[Check] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            check = read_check(from_json(line))
            if check.id in seen:
                raise ValueError(f"`id` '{check.id}' stands in line {seen[check.id]} too")
        except ValueError as error:
            raise UserError(f"{path}:{number}  {' '.join(str(error).split())}") from error
        seen[check.id] = number
        checks.append(check)
    if not checks:
        raise UserError(f"{path}:1  has no checks")
    return CheckFile(path.stem, tuple(checks))


def with_baselines(files: Sequence[CheckFile]) -> list[CheckFile]:
    """The files, and one more with a baseline check of page 1 for each PDF that has none, as olmOCR-bench adds it."""
    checks = [check for file in files for check in file.checks]
    have = {check.pdf for check in checks if check.type == BASELINES}
    missing = [pdf for pdf in dict.fromkeys(check.pdf for check in checks) if pdf not in have]
    added = tuple(Baseline(pdf=pdf, page=1, id=f"{pdf}_baseline", type=BASELINES) for pdf in missing)
    return [*files, CheckFile(BASELINES, added)] if added else list(files)
