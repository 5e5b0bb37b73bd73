"""What a run is made of, once everything is read and loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from accelerate import Accelerator
from transformers import PreTrainedModel

from forge.config.schema import Settings
from forge.objectives.base import Objective
from forge.tasks.base import Task, TaskData
from forge.train.batching import BatchPlan
from forge.train.checkpoint import CheckpointStore


@dataclass(frozen=True)
class Parts:
    """What `assemble` puts together and the trainer drives."""

    settings: Settings
    task: Task
    data: TaskData
    model: PreTrainedModel
    tokenizer_files: Mapping[str, bytes]  # copied into each checkpoint, the same bytes in every life
    objective: Objective
    plan: BatchPlan
    accelerator: Accelerator
    store: CheckpointStore
    about: Mapping[str, Any]  # goes into each checkpoint's manifest


def total_steps(settings: Settings, plan: BatchPlan) -> int:
    """Optimizer steps of the whole run."""
    return settings.train.max_steps or max(1, math.ceil(settings.train.epochs * plan.steps_per_epoch()))
