"""A teacher that writes text: a row of logits for each token of it, and texts of its own that can become targets."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from forge.config.schema import Teacher
from forge.core.errors import UserError
from forge.models.generate import Decoding
from forge.models.head import Head, find_head
from forge.tasks.base import Side
from forge.tasks.written import WritingTask, end_tokens
from forge.teaching.found import FoundTeacher
from forge.train.evaluate import infer
from forge.train.shards import is_sharding

AT_ONCE = 64  # examples


@dataclass
class TextTeacher(FoundTeacher):
    """A teacher with a row of logits for each token that it writes, a column a token of the vocabulary."""

    task: WritingTask
    side: Side | None = "target"
    decoding: Decoding = field(kw_only=True)  # how it is made to write when its texts become targets

    made: ClassVar[str]  # what its texts are
    did: ClassVar[str]  # what it has done, with places for how many of how many

    def head(self) -> Head | None:
        """Its head, so that its logits are made a few tokens at a time."""
        return None if is_sharding(self.accelerator) else find_head(self.load())

    def at_once(self) -> int:
        """Examples that it writes about at once; part of its texts' identity, because it changes the last bits."""
        return AT_ONCE

    def ends(self) -> set[int]:
        """Tokens that end its texts."""
        return end_tokens(self.load())

    def measure(self) -> dict[str, Any]:
        """Its figures, texts searched for as while training."""
        size = self.settings.evaluate.batch_size
        outputs = infer(self.accelerator, self.task, self.load(), self.validation, size)
        scores = self.task.score(outputs, self.validation)
        return {"figures": dict(scores.figures), "examples": len(outputs), "best": {}}

    def judge(self, measured: Mapping[str, Any]) -> None:
        """Any may teach: what is a good figure depends on the data."""

    @abstractmethod
    def inputs(self, ids: Sequence[int]) -> list[dict[str, Any]]:
        """Rows of what it reads of these training examples, to be collated."""

    @abstractmethod
    def inputs_mark(self) -> str:
        """A digest of what it reads of all training examples."""


def refuse_labels(chosen: Teacher, kind: str) -> None:
    """Refuse settings that only classifiers have."""
    if chosen.labels or chosen.min_accuracy is not None:
        key = "labels" if chosen.labels else "min_accuracy"
        raise UserError(f"teacher.{key}: {kind} has none; leave it out")
