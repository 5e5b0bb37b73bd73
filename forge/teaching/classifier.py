"""A teacher that classifies: the order of its labels matters as much as its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from forge.config.schema import Model, Settings
from forge.core.assets import Asset
from forge.core.errors import UserError
from forge.models.embedded import MAX_POSITIONS, build_config
from forge.models.identity import architecture_of
from forge.models.load import load_classifier, load_tokenizer, longest_input, peek, trained_labels
from forge.tasks.classification import ClassificationTask
from forge.tasks.labels import LabelPlan, order_in, plan_teacher_labels
from forge.tasks.metrics.classification import better_order, score_classification
from forge.teaching.found import TEACHER_SEED, FoundTeacher, check_tokenizers
from forge.teaching.student import Student
from forge.train.evaluate import infer


@dataclass
class Classifier(FoundTeacher):
    """A teacher with one row of logits an example, a column a label."""

    labels: tuple[str, ...] = ()  # in the teacher's own order

    def meaning(self) -> list[Any]:
        """Which labels its outputs are, and in which order they are read."""
        return [list(self.labels), self.order]

    def architecture(self) -> torch.nn.Module:
        """The network without memory for its weights."""
        config = peek(self.asset, self.model) or build_config(self.asset.location, len(self.tokenizer), self.labels)
        return architecture_of(AutoModelForSequenceClassification, config, self.model.trust_remote_code)

    def measure(self) -> dict[str, Any]:
        """Its figures, and what they would be with its outputs in their best order."""
        assert isinstance(self.task, ClassificationTask)
        size = self.settings.evaluate.batch_size
        logits_NC = np.stack(infer(self.accelerator, self.task, self.load(), self.validation, size))
        logits_NC = logits_NC if self.order is None else logits_NC[:, self.order]
        labels_N = np.asarray(self.validation["label"][: len(logits_NC)])
        figures = dict(score_classification(logits_NC, labels_N, self.task.labels).figures)
        accuracy, order = better_order(logits_NC, labels_N)
        return {"figures": figures, "examples": len(labels_N), "best": {"accuracy": accuracy, "order": order}}

    def judge(self, measured: Mapping[str, Any]) -> None:
        """Refuse one whose outputs are in another order than its labels say, and one that is too weak."""
        assert isinstance(self.task, ClassificationTask)
        accuracy, best, labels = measured["figures"]["accuracy"], measured["best"], self.task.labels
        # Three standard errors more than a quarter: chance does not do that.
        if best["accuracy"] - accuracy > 0.25 + 1.5 / measured["examples"] ** 0.5:
            names = [labels[place] for place in best["order"]]
            own = names if self.order is None else [names[self.order.index(output)] for output in range(len(names))]
            raise UserError(
                f"teacher.labels: the outputs of {self.name} are not in the order {', '.join(self.labels)}: accuracy "
                f"{accuracy:.3f}, but {best['accuracy']:.3f} as {', '.join(own)}; set teacher.labels: "
                f"[{', '.join(own)}]"
            )
        least = self.settings.teacher.min_accuracy
        if least is not None and accuracy < least:
            raise UserError(
                f"teacher.min_accuracy: {self.name} reaches {accuracy:.4f} on validation, less than {least}"
            )

    def _load(self) -> PreTrainedModel:
        plan = LabelPlan(list(self.labels), keep_head=True)
        return load_classifier(self.asset, self.model, plan, self.tokenizer, TEACHER_SEED, "teacher.name")


def find_classifier(settings: Settings, asset: Asset, student: Student, accelerator: Accelerator) -> Classifier:
    """The teacher that the configuration names, if it reads and answers as the student does. Raises UserError."""
    task, chosen = student.task, settings.teacher
    assert isinstance(task, ClassificationTask)
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
    reads, splits = task, student.data
    if chosen.tokenizer == "own":
        reads = ClassificationTask(task.labels, own, task.max_length)
        splits = student.encode(reads)
    else:
        remedy = "set teacher.tokenizer: own and use response losses only"
        check_tokenizers(task.tokenizer, own, asset.asked, remedy)
    assert splits.train is not None
    validation = next(iter(splits.validation.values()))
    return Classifier(
        settings,
        asset,
        model,
        own,
        reads,
        splits.train,
        validation,
        accelerator,
        classes=len(task.labels),
        order=order,
        labels=tuple(labels),
    )
