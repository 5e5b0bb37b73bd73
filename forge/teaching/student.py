"""The student, as far as its teacher has to know it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from forge.models.head import Head
from forge.tasks.base import Task, TaskData
from forge.train.batching import BatchPlan


@dataclass(frozen=True)
class Student:
    """What of a run is there before its objective."""

    model: PreTrainedModel
    task: Task
    data: TaskData
    plan: BatchPlan
    steps: int
    encode: Callable[[Any], TaskData]  # the same splits with another tokenizer
    run_root: Path
    head: Head | None = None
    source_language: str | None = None  # of a translation
