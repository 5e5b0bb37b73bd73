"""Figures and lists as a person writes them."""

from __future__ import annotations

from collections.abc import Sequence

MINUS = "\N{MINUS SIGN}"


def probability(p: float | None) -> str:
    """Two significant digits, never 0."""
    if p is None:
        return "–"
    return "<0.0001" if p < 0.0001 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


def decimal(value: float | None, digits: int = 2, signed: bool = False) -> str:
    """A figure to so many decimals, with a real minus; – where there is none."""
    if value is None:
        return "–"
    told = f"{abs(value):,.{digits}f}"
    if not float(told.replace(",", "")):
        return told
    return (MINUS if value < 0 else "+" if signed else "") + told


def ends(interval: Sequence[float | None] | None, digits: int = 2, signed: bool = False) -> str:
    """Both ends of an interval; – where one is not known."""
    if interval is None or None in interval:
        return "–"
    return " to ".join(decimal(end, digits, signed) for end in interval)


def listed(names: Sequence[str]) -> str:
    """Names with an `and` before the last."""
    if len(names) == 1:
        return names[0]
    comma = "," if any(" " in name for name in names) else ""
    return f"{', '.join(names[:-1])}{comma} and {names[-1]}"
