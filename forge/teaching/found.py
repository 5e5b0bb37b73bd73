"""The teacher as found: its labels, its tokenizer, its weights when they are needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from forge.config.schema import Model, Settings
from forge.core.assets import Asset
from forge.core.errors import UserError
from forge.core.hashing import digest
from forge.models.capture import Stack
from forge.models.embedded import MAX_POSITIONS
from forge.models.identity import weights_sha256
from forge.models.load import load_classifier, load_tokenizer, longest_input, peek, trained_labels
from forge.tasks.base import TaskData
from forge.tasks.classification import ClassificationTask
from forge.tasks.encoding import tokenizer_mark
from forge.tasks.labels import LabelPlan, order_in, plan_teacher_labels
from forge.tasks.metrics.classification import better_order, score_classification
from forge.train.evaluate import infer

TEACHER_SEED = 0  # of weights that are drawn: a stand-in, or the control with a teacher that knows nothing
PROBES = 200  # words that two tokenizers must cut alike


@dataclass
class FoundTeacher:
    """The teacher as found, before and after it is loaded."""

    settings: Settings
    asset: Asset
    model: Model
    labels: list[str]  # in the teacher's own order
    order: list[int] | None  # output of the teacher for each of the data's labels; None where the orders agree
    tokenizer: PreTrainedTokenizerBase
    task: ClassificationTask  # encodes and collates as the teacher reads
    train: Dataset
    validation: Dataset
    accelerator: Accelerator
    stacks: dict[str, Stack]
    _loaded: PreTrainedModel | None = None

    @property
    def name(self) -> str:
        """As the configuration names it."""
        return str(self.settings.teacher.name)

    @property
    def untrained(self) -> bool:
        """Whether its weights are drawn, so that its answers mean nothing."""
        return self.asset.source == "embedded" or self.model.init == "random"

    @cached_property
    def weights_mark(self) -> str:
        """A digest of the weights and of what its outputs mean."""
        drawn = f"{self.asset.location} drawn from seed {TEACHER_SEED}"
        weights = drawn if self.untrained else weights_sha256(Path(self.asset.location))
        return digest([weights, self.labels, self.order])

    def load(self) -> PreTrainedModel:
        """The frozen network on the run's device, loaded once."""
        if self._loaded is None:
            plan = LabelPlan(self.labels, keep_head=True)
            model = load_classifier(self.asset, self.model, plan, self.tokenizer, TEACHER_SEED, "teacher.name")
            self._loaded = model.to(self.accelerator.device).eval().requires_grad_(False)
        return self._loaded

    def forget(self) -> None:
        """Give back the memory of a teacher that will not be asked again."""
        self._loaded = None

    def measure(self) -> dict[str, Any]:
        """Its figures on the first validation split, and what they would be with its outputs in their best order."""
        size = self.settings.evaluate.batch_size
        logits_NC = np.stack(infer(self.accelerator, self.task, self.load(), self.validation, size))
        logits_NC = logits_NC if self.order is None else logits_NC[:, self.order]
        labels_N = np.asarray(self.validation["label"][: len(logits_NC)])
        figures = dict(score_classification(logits_NC, labels_N, self.task.labels).figures)
        accuracy, order = better_order(logits_NC, labels_N)
        return {"figures": figures, "examples": len(labels_N), "best": {"accuracy": accuracy, "order": order}}


def find_teacher(
    settings: Settings,
    asset: Asset,
    task: ClassificationTask,
    data: TaskData,
    encode: Callable[[ClassificationTask], TaskData],
    accelerator: Accelerator,
) -> FoundTeacher:
    """The teacher that the configuration names, if it reads and answers as the student does. Raises UserError.

    `task` and `data` are the student's; `encode` makes the same splits with another tokenizer.
    """
    chosen = settings.teacher
    model = Model(
        name=asset.location,
        revision=chosen.revision,
        init=chosen.init,
        labels=chosen.labels,
        trust_remote_code=chosen.trust_remote_code,
    )
    config = peek(asset, model, "teacher.name")
    longest = longest_input(config) if config else MAX_POSITIONS
    if longest and task.max_length > longest:
        raise UserError(f"data.max_length is {task.max_length}, but the teacher reads at most {longest} tokens")
    names, has_head = trained_labels(config, model, "teacher")
    labels = list(task.labels)
    if asset.source != "embedded" and chosen.init == "pretrained":
        labels = plan_teacher_labels(task.labels, names, has_head, asset.asked, bool(chosen.labels))
    order = order_in(task.labels, labels)
    own = task.tokenizer if asset.source == "embedded" else load_tokenizer(asset, model, [], "teacher.name")
    reads, splits = task, data
    if chosen.tokenizer == "own":
        reads = ClassificationTask(task.labels, own, task.max_length)
        splits = encode(reads)
    else:
        _check_tokenizers(task.tokenizer, own, asset.asked)
    assert splits.train is not None
    validation = next(iter(splits.validation.values()))
    return FoundTeacher(settings, asset, model, labels, order, own, reads, splits.train, validation, accelerator, {})


def _check_tokenizers(student: PreTrainedTokenizerBase, teacher: PreTrainedTokenizerBase, name: str) -> None:
    if tokenizer_mark(student) == tokenizer_mark(teacher):
        return
    mine, its = student.get_vocab(), teacher.get_vocab()
    if mine != its:
        shared = sum(1 for token, number in its.items() if mine.get(token) == number)
        difference = f"{len(mine):,} and {len(its):,} tokens, {shared:,} of them the same"
    else:
        words = [token for token in sorted(mine) if token.isalnum()]
        words = words[:: max(1, len(words) // PROBES)]
        texts = [text for word in words for text in (word, word.title(), f"{word}é")]  # casing and accents too
        differing = [text for text in texts if student(text, text)["input_ids"] != teacher(text, text)["input_ids"]]
        if not differing:
            return
        difference = f"the same tokens, but they cut '{differing[0]}' differently"
    raise UserError(
        f"teacher.name: {name} has another tokenizer than the student ({difference}); take a student with the "
        "teacher's tokenizer (model.tokenizer), or set teacher.tokenizer: own and use response losses only"
    )
