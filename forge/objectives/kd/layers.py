"""Which layer of the student learns from which layer of the teacher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from forge.core.errors import UserError

Rule = Literal["uniform", "last"] | Sequence[Sequence[int]]


def layer_pairs(
    rule: Rule, student_depth: int, teacher_depth: int, key: str, lowest: int = 0, stack: str = ""
) -> list[tuple[int, int]]:
    """Pairs (student layer, teacher layer), counted from 1; 0 is the embeddings and allowed where `lowest` is 0.

    `uniform` spreads the student over the teacher: m ↔ m·T/S, rounded half up (TinyBERT, arXiv 1909.10351, §4).
    Raises UserError for a layer that a model does not have; `key` is the setting that named it, `stack` which of
    several stacks the layers are of.
    """
    if rule == "last":
        return [(student_depth, teacher_depth)]
    if rule == "uniform":
        half_up = [(2 * m * teacher_depth + student_depth) // (2 * student_depth) for m in range(1, student_depth + 1)]
        return [(m, max(1, layer)) for m, layer in enumerate(half_up, start=1)]
    pairs, part = [(pair[0], pair[1]) for pair in rule], f"'s {stack}" if stack else ""
    for student, teacher in pairs:
        for whose, layer, depth in (("student", student, student_depth), ("teacher", teacher, teacher_depth)):
            if not lowest <= layer <= depth:
                has = f"its attention is in layers 1 to {depth}" if lowest else f"it has 0 (the embeddings) to {depth}"
                raise UserError(f"{key}: [{student}, {teacher}] names layer {layer} of the {whose}{part}, but {has}")
    return pairs
