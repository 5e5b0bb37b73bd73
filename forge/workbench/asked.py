"""What the command line says; nothing heavy is imported for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Asked:
    """What the command line says."""

    runs: Sequence[str]  # one, or those to compare
    teacher: str | None = None
    baseline: str | None = None
    rows: int | None = None
    quick: bool = False
    out: str | None = None
    split: str | None = None  # rows of this one
