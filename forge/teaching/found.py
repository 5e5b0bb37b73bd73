"""The teacher as found: its tokenizer, its weights when they are needed, and how good it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from accelerate import Accelerator
from datasets import Dataset
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from forge.config.schema import Model, Settings
from forge.core.assets import Asset
from forge.core.errors import UserError
from forge.core.hashing import digest
from forge.models.capture import Stack
from forge.models.head import Head
from forge.models.identity import weights_sha256
from forge.tasks.base import Side, Task
from forge.tasks.encoding import encoded_mark, tokenizer_mark

TEACHER_SEED = 0  # of weights that are drawn: a stand-in, or the control with a teacher that knows nothing
PROBES = 200  # words that two tokenizers must cut alike


@dataclass
class FoundTeacher(ABC):
    """The teacher as found, before and after it is loaded. A subclass a task."""

    settings: Settings
    asset: Asset
    model: Model
    tokenizer: PreTrainedTokenizerBase
    task: Task  # encodes and collates as the teacher reads
    train: Dataset
    validation: Dataset
    accelerator: Accelerator
    classes: int  # columns of its logits
    side: Side | None = None  # whose tokens have logits; None: an example has one row
    order: list[int] | None = None  # its output for each of the data's labels; None where the orders agree
    stacks: dict[str, Stack] = field(default_factory=dict)
    _loaded: PreTrainedModel | None = None

    uncached: ClassVar[str] = ""  # why its outputs cannot be kept; empty where they can

    @property
    def name(self) -> str:
        """As the configuration names it."""
        return str(self.settings.teacher.name)

    @property
    def untrained(self) -> bool:
        """Whether its weights are drawn, so that its answers mean nothing."""
        return self.asset.source in {"embedded", "built"} or self.model.init == "random"

    @cached_property
    def weights_mark(self) -> str:
        """A digest of the weights and of what its outputs mean."""
        drawn = f"{self.asset.location} drawn from seed {TEACHER_SEED}"
        weights = drawn if self.untrained else weights_sha256(Path(self.asset.location))
        return digest([weights, *self.meaning()])

    def load(self) -> PreTrainedModel:
        """The frozen network on the run's device, loaded once."""
        if self._loaded is None:
            with torch.inference_mode(mode=False):  # whoever asks first: autograd refuses weights that are made in it
                self._loaded = self._load().to(self.accelerator.device).eval().requires_grad_(False)
        return self._loaded

    def forget(self) -> None:
        """Give back the memory of a teacher that will not be asked again."""
        self._loaded = None

    def train_mark(self) -> str:
        """A digest of the training data as it reads them, and of what is to be said about them."""
        return encoded_mark(self.train)

    def lengths(self) -> dict[Side, NDArray[np.int64]]:
        """Tokens of each training example, by side."""
        return self.task.lengths(self.train)

    def head(self) -> Head | None:
        """The head of a teacher that writes text, loaded."""
        return None

    @abstractmethod
    def meaning(self) -> list[Any]:
        """What its outputs mean beyond its weights; part of its mark."""

    @abstractmethod
    def architecture(self) -> torch.nn.Module:
        """The network without memory for its weights, to ask it about its layers."""

    @abstractmethod
    def measure(self) -> dict[str, Any]:
        """Its `figures` on the first validation split, over so many `examples`, and what `judge` wants to know."""

    @abstractmethod
    def judge(self, measured: Mapping[str, Any]) -> None:
        """Raise UserError where a teacher that measured so should not teach."""

    @abstractmethod
    def _load(self) -> PreTrainedModel:
        """The network, on the CPU."""


def check_tokenizers(
    student: PreTrainedTokenizerBase, teacher: PreTrainedTokenizerBase, name: str, remedy: str
) -> None:
    """Refuse a teacher that cuts texts otherwise: position by position, nothing could be compared."""
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
        f"teacher's tokenizer (model.tokenizer), or {remedy}"
    )
