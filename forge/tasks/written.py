"""What a model wrote, and how likely it held the reference to be: for every task whose answers are texts.

Shape letters: B examples, T target tokens, V tokens of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from datasets import Dataset
from torch.nn import functional

from forge.tasks.base import IGNORED_LABEL, Batch, Task, forward

Write = Callable[[Any, Batch], list[list[int]]]
"""Token ids of a text for each example of a batch."""


@runtime_checkable
class WritingTask(Task, Protocol):
    """A task whose answers are texts, so that other texts can take the place of the data's."""

    def texts(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Token ids as text, without special tokens."""
        ...

    def references(self, data: Dataset) -> list[str]:
        """The text that the data has for each of its examples."""
        ...

    def with_targets(self, data: Dataset, targets: Sequence[str]) -> Dataset:
        """The encoded data with other texts in place of its own."""
        ...

    def likeness(self, text: str, reference: str) -> float:
        """How close a text is to the reference: the more the closer."""
        ...


@dataclass(frozen=True)
class Written:
    """What a model made of one example."""

    ids: list[int]
    nll: float  # of the reference, in nats
    tokens: int  # of the reference
    ended: bool  # by the model; else the limit cut it off


def infer_written(model: torch.nn.Module, batch: Batch, write: Write) -> list[Written]:
    """A text for each example, and the likelihood of its reference where the batch has labels."""
    nll_B, tokens_B = [0.0] * len(next(iter(batch.values()))), [0] * len(next(iter(batch.values())))
    if "labels" in batch:
        nll_B = nll(forward(model, batch).logits, batch["labels"]).tolist()
        tokens_B = (batch["labels"] != IGNORED_LABEL).sum(1).tolist()
    texts, ends = write(model, batch), end_tokens(model)
    ended_B = [bool(ids) and ids[-1] in ends for ids in texts]
    return [Written(*one) for one in zip(texts, nll_B, tokens_B, ended_B, strict=True)]


def end_tokens(model: Any) -> set[int]:
    """Tokens that end a text."""
    end = model.generation_config.eos_token_id
    return set(end if isinstance(end, list) else [end])


def decoded(tokenizer: Any, ids: Sequence[Sequence[int]]) -> list[str]:
    """Each text without special tokens; none of none, where transformers would make one."""
    return [str(text) for text in tokenizer.batch_decode(ids, skip_special_tokens=True)] if len(ids) else []


def mean_loss(made: Sequence[Written]) -> float:
    """Mean nats a token of the references."""
    return sum(one.nll for one in made) / max(1, sum(one.tokens for one in made))


def nll(logits_BTV: torch.Tensor, labels_BT: torch.Tensor) -> torch.Tensor:
    """nll_B = −Σ_t log p(label_t), in nats, in fp32, an example at a time: no copy of all logits is made."""
    totals = [
        functional.cross_entropy(logits_TV.float(), labels_T, ignore_index=IGNORED_LABEL, reduction="sum")
        for logits_TV, labels_T in zip(logits_BTV, labels_BT, strict=True)
    ]
    return torch.stack(totals)
