"""What a task needs to be built, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from accelerate import Accelerator
from transformers import PreTrainedModel

from forge.building.asked import Prompts
from forge.config.schema import Model, Settings
from forge.core.assets import Asset
from forge.models.head import Head, find_head
from forge.objectives.auxiliary import Auxiliary
from forge.preflight import Preflight
from forge.tasks.base import Task, TaskData
from forge.train.shards import is_sharding
from forge.train.zero import zero_stage


@dataclass(frozen=True)
class Site:
    """A run about to be built. `source` and `wanted` name a checkpoint in place of the model when a run continues."""

    found: Preflight
    source: Asset
    wanted: Model
    accelerator: Accelerator

    @property
    def settings(self) -> Settings:
        """The run's configuration."""
        return self.found.resolved.settings


@dataclass(frozen=True)
class Sampling:
    """How texts are sampled from a model, for a run that learns from rewards."""

    start: int | None  # the token that its decoder reads first; None of a decoder that goes on from a prompt
    first: int | None  # the token that every text begins with: the language, in models of many
    longest: int  # tokens of a text, unless the run says
    most: int  # that it can write
    again: Callable[[], PreTrainedModel]  # the model that the run began with, loaded once more
    prompts: Prompts


@dataclass(frozen=True)
class Built:
    """A task, its encoded data, and the model that is to learn it."""

    task: Task
    data: TaskData
    model: PreTrainedModel
    tokenizer_files: Mapping[str, bytes]
    facts: Mapping[str, Any]  # what using the run later needs to know, for run_metadata.json
    again: Callable[[Any], TaskData]  # the same splits, encoded by the same task with another tokenizer
    head: Head | None = None  # of a model that writes text, where its logits can be made a few at a time
    header: Sequence[str] = ()
    notices: Sequence[str] = field(default=())
    beside: Auxiliary | None = None  # losses on what the data says beyond labels
    sampling: Sampling | None = None  # of a model that can be sampled from


def whole_head(site: Site, model: PreTrainedModel) -> Head | None:
    """The model's head, where it stays one layer of one process: neither cut up nor compiled away."""
    cut_up = is_sharding(site.accelerator) or zero_stage(site.accelerator)
    return None if cut_up or site.settings.train.compile else find_head(model)
