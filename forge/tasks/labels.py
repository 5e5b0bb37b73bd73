"""Whose label order wins. A silent mismatch turns 83 % accuracy into 10 %, so names decide, never positions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from forge.core.errors import UserError

NAMELESS = re.compile(r"label_?\d+", re.IGNORECASE)


@dataclass(frozen=True)
class LabelPlan:
    """Label names in the order that model and data will share, and whether the model's trained head stays."""

    names: list[str]
    keep_head: bool
    notice: str = ""


def plan_labels(data_names: Sequence[str], model_names: Sequence[str], has_head: bool, head: str) -> LabelPlan:
    """Match the data's label names with those of a model that may have a trained head.

    The same names in another order: the model's order is taken for both. Other names: the head belongs to another
    task and is drawn anew. A trained head with nameless labels could mean anything: it is refused until `head` says.
    """
    names = list(data_names)
    if head == "new" or not has_head:
        return LabelPlan(names, keep_head=False)
    if order := _same_names(data_names, model_names):
        moved = f"label order follows the model: {', '.join(order)}" if order != names else ""
        return LabelPlan(order, keep_head=True, notice=moved)
    if head == "keep":
        if len(model_names) != len(names):
            raise UserError(f"model.head: keep, but the model has {len(model_names)} labels and the data {len(names)}")
        return LabelPlan(names, keep_head=True, notice="the trained head is kept in the data's label order, as told")
    if len(model_names) == len(names) and all(NAMELESS.fullmatch(name) for name in model_names):
        raise UserError(
            f"model.name: its trained head does not say what its {len(names)} labels mean, so their order may differ "
            f"from the data's ({', '.join(names)}); set model.labels to its order, or model.head: new"
        )
    return LabelPlan(
        names, keep_head=False, notice=f"the model's head was trained for {', '.join(model_names)}: a new one is drawn"
    )


def plan_teacher_labels(
    data_names: Sequence[str], teacher_names: Sequence[str], has_head: bool, teacher: str, told: bool = False
) -> list[str]:
    """The data's label names in the order of a teacher's outputs; `told`: the configuration says what those are.

    Raises UserError where they cannot be matched.
    """
    if not has_head:
        raise UserError(f"teacher.name: {teacher} has no trained classification head; fine-tune it first (alpha: 0.0)")
    if order := _same_names(data_names, teacher_names):
        return order
    shown = ", ".join(data_names)
    if told:
        raise UserError(
            f"teacher.labels: {', '.join(teacher_names)} are not the data's labels; name {shown}, each once, "
            "in the order of the teacher's outputs"
        )
    if len(teacher_names) == len(data_names) and all(NAMELESS.fullmatch(name) for name in teacher_names):
        raise UserError(
            f"teacher.name: {teacher} does not say what its {len(data_names)} outputs mean, so their order may differ "
            f"from the data's ({shown}); set teacher.labels to its order"
        )
    raise UserError(
        f"teacher.name: {teacher} was trained for {', '.join(teacher_names)}, the data's labels are {shown}; "
        "take a teacher of the same labels, or set teacher.labels if only their names differ"
    )


def order_in(data_names: Sequence[str], teacher_names: Sequence[str]) -> list[int] | None:
    """For each of the data's labels, which output of the teacher it is; None where the orders agree."""
    order = [list(teacher_names).index(name) for name in data_names]
    return None if order == list(range(len(order))) else order


def _same_names(data_names: Sequence[str], model_names: Sequence[str]) -> list[str] | None:
    by_plain = {_plain(name): name for name in data_names}
    order = [by_plain.get(_plain(name)) for name in model_names]
    # One to one: a name twice, on either side, matches nothing.
    if len(by_plain) != len(data_names) or len(order) != len(data_names) or {*order} != {*data_names}:
        return None
    return [name for name in order if name is not None]


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.lower())
