"""The contract between a task and the rest: data in, tensors between, figures out.

Shape letters of this package: N examples of a split, B examples of a batch, L tokens, C labels.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, Protocol

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray

Batch = dict[str, torch.Tensor]
Side = Literal["input", "target"]
"""Whose tokens: those that a model reads, or those that it is to write."""
IGNORED_LABEL = -100
Rows = Mapping[str, Callable[[], NDArray[np.float64]]]
"""Figure → what makes (N, K) sums of each example, of which the figure can be made again; made only when asked for."""
PROMPT_TOKENS = "prompt_tokens"
"""Of a batch for a model that goes on from a prompt: how many tokens of each row it is given; it writes the rest."""


@dataclass(frozen=True)
class Scores:
    """What one split was measured to be: figures by name, and tables that explain them."""

    figures: Mapping[str, float]
    detail: Mapping[str, Any] = field(default_factory=dict)
    rows: Rows = field(default_factory=dict)


@dataclass(frozen=True)
class TaskData:
    """Encoded splits, ready to collate. Each data set has a column `length` (tokens)."""

    train: Dataset | None
    validation: Mapping[str, Dataset]
    test: Mapping[str, Dataset]
    fingerprints: Mapping[str, str]  # split → what its content is, to refuse a silent change
    notices: tuple[str, ...] = ()


class Task(Protocol):
    """One problem. `train` and `objectives` see a task only through this."""

    name: str

    def collate(self, rows: Sequence[Mapping[str, Any]]) -> Batch:
        """Pad rows of an encoded data set into one batch of tensors."""
        ...

    def lengths(self, data: Dataset) -> dict[Side, NDArray[np.int64]]:
        """Tokens of each of the N examples that a model reads, and where it writes text, those that it is to write."""
        ...

    def infer(self, model: torch.nn.Module, batch: Batch) -> list[Any]:
        """One output for each example of the batch, on the CPU, in order."""
        ...

    def score(self, outputs: Iterable[Any], data: Dataset) -> Scores:
        """Compare the outputs of all N examples, in order, with the data."""
        ...

    def thorough(self) -> Task:
        """The task as the result of a run is measured, where that may take longer than measuring on the way."""
        ...


HIGHER_IS_BETTER = (
    {"accuracy": True, "macro_f1": True, "loss": False, "ece": False}
    | {"bleu": True, "chrf": True, "ter": False}
    | {"cer": False, "wer": False, "edit_similarity": True, "nid": True, "nid_s": True, "order_edit": False}
    | {"teds": True, "teds_s": True, "mhs": True, "mhs_s": True, "pass_rate": True}
)
"""Which way each figure improves; `evaluate.metric` takes one of these."""


@lru_cache(maxsize=32)
def _accepted(model_class: Any) -> frozenset[str]:
    return frozenset(inspect.signature(model_class.forward).parameters)


def forward(model: torch.nn.Module, batch: Batch) -> Any:
    """Call the model with those inputs of the batch that it knows (DistilBERT, for one, has no token types)."""
    bare: Any = model
    while isinstance(getattr(bare, "module", None), torch.nn.Module):
        bare = bare.module  # DDP and its like wrap the model and hide its signature
    accepted = _accepted(bare.__class__)
    return model(**{name: tensor for name, tensor in batch.items() if name in accepted and name != "labels"})
