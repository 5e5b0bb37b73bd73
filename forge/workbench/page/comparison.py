"""Several looks beside each other: the table, the curves laid over each other, and who differs."""

from __future__ import annotations

from collections.abc import Sequence

from forge.workbench.findings import Findings


def title(findings: Sequence[Findings]) -> str:
    """What the page is called."""
    return "x"


def body(findings: Sequence[Findings]) -> list[str]:
    """All of it."""
    return []
