"""Trained linear maps from the student's width to the teacher's: they train along, resume, and are never exported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from forge.core.errors import UserError
from forge.models.capture import HiddenSite
from forge.objectives.kd.terms import projection_key


def make_projections(
    pairs: Sequence[tuple[HiddenSite, HiddenSite]],
    widths: Sequence[tuple[int, int]],
    rule: Literal["auto", "shared", "always", "none"],
    seed: int,
    key: str,
) -> nn.ModuleDict | None:
    """Projections by name for pairs of hidden states of these (student, teacher) widths; None where none is needed.

    Weights are drawn uniform with variance 1 / width of the student, so that a projected state keeps its scale.
    Raises UserError, naming the setting `key`, where widths differ and no projection is wanted.
    """
    differ = [pair for pair in widths if pair[0] != pair[1]]
    if rule == "none" and differ:
        raise UserError(
            f"{key}: none, but the student is {differ[0][0]} wide and the teacher {differ[0][1]}; take auto"
        )
    if rule == "none" or (rule == "auto" and not differ):
        return None
    generator = torch.Generator().manual_seed(seed)
    projections: dict[str, nn.Module] = {}
    for (mine, its), (student_width, teacher_width) in zip(pairs, widths, strict=True):
        name = f"shared-{mine.stack}" if rule == "shared" else projection_key(mine, its)
        if name not in projections:
            projections[name] = _linear(student_width, teacher_width, generator)
    return nn.ModuleDict(projections)


def _linear(student_width: int, teacher_width: int, generator: torch.Generator) -> nn.Linear:
    linear = nn.Linear(student_width, teacher_width)
    bound = (3.0 / student_width) ** 0.5  # a uniform draw's deviation is its bound / √3
    with torch.no_grad():
        linear.weight.uniform_(-bound, bound, generator=generator)
        linear.bias.zero_()
    return linear
