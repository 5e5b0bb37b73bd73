"""Figures and lists as a person writes them."""

from __future__ import annotations

from collections.abc import Sequence

MINUS = "\N{MINUS SIGN}"


def probability(p: float | None) -> str:
    """Two significant digits, never 0."""
    if p is None:
        return "–"
    return "<0.0001" if p < 0.0001 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


def listed(names: Sequence[str]) -> str:
    """Names with an `and` before the last."""
    if len(names) == 1:
        return names[0]
    comma = "," if any(" " in name for name in names) else ""
    return f"{', '.join(names[:-1])}{comma} and {names[-1]}"
