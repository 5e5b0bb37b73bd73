"""The student, as far as its teacher has to know it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel

from forge.models.head import Head
from forge.objectives.auxiliary import Auxiliary
from forge.tasks.base import Task, TaskData


@dataclass(frozen=True)
class Student:
    """What of a run is there before its objective."""

    model: PreTrainedModel
    task: Task
    data: TaskData
    encode: Callable[[Any], TaskData]  # the same splits with another tokenizer
    head: Head | None = None
    source_language: str | None = None  # of a translation
    beside: Auxiliary | None = None  # losses on what the data says beyond labels
