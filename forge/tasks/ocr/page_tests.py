"""Checks that a page brings with it: in the row that names it, or in a file beside it. Kept as text, read when needed.

They are those of `metrics.ocr.checks`, without `pdf` and `id`, which are known here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from forge.core.errors import UserError
from forge.core.io import from_json
from forge.tasks.metrics.ocr.checks.base import Check
from forge.tasks.metrics.ocr.checks.read import read_check
from forge.tasks.ocr.listing import MOST_MARKDOWN
from forge.tasks.sources import not_utf8

TESTS_SUFFIX = ".tests.jsonl"
KNOWN = {"pdf": "page", "id": "check"}  # what need not be said


def tests_in(value: Any, where: str) -> str:
    """The checks of a row, as text; empty of none. `value` is a list of objects, or JSON of one. Raises UserError."""
    given = _parsed(value, where) if isinstance(value, str) else value
    if given is None or given == "":
        return ""
    if not isinstance(given, list):
        raise UserError(f"{where}  'tests' must be a list of checks, not {value!r:.40}")
    for number, one in enumerate(given, start=1):
        _check(one, f"{where}  check {number} of 'tests': ")
    return json.dumps(given, ensure_ascii=False) if given else ""


def tests_beside(path: Path) -> dict[int, str]:
    """The checks of a file, as text, by the page that each names (1 unless it does). Raises UserError by its line."""
    try:
        if path.stat().st_size > MOST_MARKDOWN:
            raise UserError(f"{path}  has more than {MOST_MARKDOWN:,} bytes, too many for the checks of one file")
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(not_utf8(path)) from error
    except OSError as error:
        raise UserError(f"{path}  cannot be read: {error.strerror}") from error
    found: dict[int, list[Any]] = {}
    for number, line in enumerate(lines, start=1):
        if line.strip():
            where = f"{path}:{number}"
            values = _parsed(line, where)
            check = _check(values, f"{where}  ")
            found.setdefault(check.page, []).append(values)
    return {page: json.dumps(checks, ensure_ascii=False) for page, checks in found.items()}


@lru_cache(maxsize=1_024)
def checks_in(text: str) -> tuple[Check, ...]:
    """The inverse of both."""
    return tuple(read_check(KNOWN | values) for values in json.loads(text)) if text else ()


def _check(values: Any, where: str) -> Check:
    try:
        return read_check(KNOWN | dict(values) if isinstance(values, Mapping) else values)
    except ValueError as error:
        raise UserError(f"{where}{' '.join(str(error).split())}") from error


def _parsed(text: str, where: str) -> Any:
    try:
        return from_json(text) if text.strip() else None
    except ValueError as error:
        raise UserError(f"{where}  its checks are not JSON: {' '.join(str(error).split())}") from error
