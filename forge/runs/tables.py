"""Scores as text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def scores_table(figures: Mapping[str, float], detail: Mapping[str, Any]) -> str:
    """Figures, the per-class table and the confusion matrix."""
    lines = ["  ".join(f"{name} {value:.4f}" for name, value in figures.items()) + f"  ({detail['examples']} examples)"]
    names: list[str] = detail["labels"]
    width = max(len("true \\ predicted"), *(len(name) for name in names))
    lines += ["", f"{'class':<{width}}  precision  recall      F1  examples"]
    for name in names:
        row = detail["per_class"][name]
        lines.append(
            f"{name:<{width}}  {row['precision']:9.3f}  {row['recall']:6.3f}  {row['f1']:6.3f}  {row['support']:8d}"
        )
    cells = [max(len(name), 6) for name in names]
    head = "  ".join(f"{name:>{cell}}" for name, cell in zip(names, cells, strict=True))
    lines += ["", "true \\ predicted".ljust(width) + "  " + head]
    for name, counts in zip(names, detail["confusion"], strict=True):
        body = "  ".join(f"{count:>{cell}}" for count, cell in zip(counts, cells, strict=True))
        lines.append(f"{name:<{width}}  {body}")
    return "\n".join(lines)
