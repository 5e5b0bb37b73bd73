"""Models that write text: the likeliest token at each place of given texts, and the texts that they write."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from datasets import Dataset

from forge.core.hashing import digest
from forge.tasks.base import IGNORED_LABEL, forward
from forge.tasks.encoding import tokenizer_mark
from forge.tasks.written import WritingTask, Written
from forge.train.evaluate import infer
from forge.workbench.findings import Disagreement
from forge.workbench.parted_texts import Writing, texts_compared, texts_part
from forge.workbench.probe_inputs import words_of
from forge.workbench.probed import Labelled
from forge.workbench.sequences import token_agreement
from forge.workbench.slices import Axis, quantile_axis
from forge.workbench.stacks import Missed
from forge.workbench.views.base import (
    AT_ONCE,
    Loaded,
    Made,
    Shown,
    TokenRows,
    Watched,
    observe,
    parameters_of,
    special_tokens,
)

TOKENS = 12  # that a probe tells apart: the most frequent ones
TOKEN_TEXTS = 300  # whose tokens are probed
TOKEN_ROWS = 4_000


@dataclass(frozen=True)
class Look:
    """A model about to be shown encoded rows."""

    loaded: Loaded
    shown: Shown
    data: Dataset
    folder: Path
    quick: bool


@dataclass(frozen=True)
class WritingView(ABC):
    """What translation and OCR have in common."""

    kind: Literal["translation", "ocr"]

    @abstractmethod
    def encode(self, loaded: Loaded, shown: Shown) -> Dataset:
        """The rows as the model takes them."""

    def watch(self, loaded: Loaded, shown: Shown, folder: Path, reference: Made | None, quick: bool) -> Watched:
        """Hidden states, texts and likeliest tokens; of random weights hidden states alone: their texts have no end."""
        look = Look(loaded, shown, self.encode(loaded, shown), folder, quick)
        tokens = digest(tokenizer_mark(loaded.tokenizer))
        made, figures = None, {}
        missed = Missed()
        if loaded.source.init != "random":
            assert reference is None or isinstance(reference, Writing)
            made = self._write(look, tokens, reference)
            figures = dict(made.figures)
        return Watched(
            loaded.source.key,
            type(loaded.model).__name__,
            parameters_of(loaded.model),
            observe(loaded, look.data, shown.ids, look.folder, missed=missed),
            made,
            figures,
            tokens,
            self.token_rows(look),
            missed,
        )

    def token_rows(self, look: Look) -> Mapping[str, TokenRows]:  # noqa: ARG002
        """Of some texts, where what a token is means the same for all models."""
        return {}

    def _write(self, look: Look, tokens: str, reference: Writing | None) -> Writing:
        loaded, task, data = look.loaded, look.loaded.task, look.data
        assert isinstance(task, WritingTask)
        chosen = task if look.quick else task.thorough()
        outputs: list[Written] = infer(loaded.accelerator, chosen, loaded.model, data, AT_ONCE)
        texts = task.texts([one.ids for one in outputs])
        spoken = texts if reference is None else reference.texts if reference.tokens == tokens else None
        on_reference = None
        if spoken is not None and any(spoken):
            on_reference = likeliest(loaded, task.with_targets(data, spoken))
        ended = special_tokens(loaded.tokenizer)
        ids = [[token for token in one.ids if token not in ended] for one in outputs]
        figures = dict(chosen.score(outputs, data).figures)
        return Writing(texts, ids, tokens, likeliest(loaded, data), on_reference, figures)

    def axes(self, shown: Shown, reference: Made | None) -> list[Axis]:  # noqa: ARG002
        """How long the data's text is."""
        return [quantile_axis("words", np.array([len(words_of(text)) for text in shown.gold], np.float64))]

    def parts(
        self,
        shown: Shown,
        watched: Mapping[str, Watched],
        reference: str | None,
        pairs: Sequence[tuple[str, str]],
        axes: Sequence[Axis],
        seed: int,
    ) -> Disagreement:
        """Of all models with the reference."""
        made = {key: one.made for key, one in watched.items() if isinstance(one.made, Writing)}
        if reference is None or reference not in made:
            return Disagreement()
        compared = (texts_compared(reference, pair, made, seed) for pair in pairs if set(pair) <= set(made))
        return Disagreement(
            texts=tuple(
                texts_part((reference, key), (made[reference], one), self.kind, self.language(shown), axes, seed)
                for key, one in made.items()
                if key != reference
            ),
            compared=tuple(one for one in compared if one),
        )

    def language(self, shown: Shown) -> str | None:  # noqa: ARG002
        """Of the texts, where that matters to how they are measured."""
        return None

    def said(self, made: Made, shown: Shown) -> tuple[list[str], list[float]]:  # noqa: ARG002
        """Texts."""
        assert isinstance(made, Writing)
        return made.texts, []

    def apart(self, reference: Made, other: Made) -> list[float | None]:
        """1 less the share of the data's tokens for which both hold the same next one to be the likeliest."""
        assert isinstance(reference, Writing)
        assert isinstance(other, Writing)
        if reference.tokens != other.tokens:
            return [None] * len(reference.texts)
        shares = token_agreement(reference.on_gold, other.on_gold).per_text
        return [None if np.isnan(share) else 1.0 - share for share in shares]


@torch.inference_mode()
def likeliest(loaded: Loaded, data: Dataset) -> list[list[int]]:
    """The token that the model holds to be the likeliest at each place of the labels, given all before it."""
    order = np.argsort(np.asarray(data["length"][:]), kind="stable")[::-1].tolist()
    found: dict[int, list[int]] = {}
    for rows in _batches(order):
        batch = loaded.task.collate(data.__getitems__(rows))
        on_device = {name: tensor.to(loaded.accelerator.device) for name, tensor in batch.items()}
        with loaded.accelerator.autocast():
            choices_BT = forward(loaded.model, on_device).logits.argmax(-1)
        kept_BT = on_device["labels"] != IGNORED_LABEL
        for row, choices_T, kept_T in zip(rows, choices_BT, kept_BT, strict=True):
            found[row] = choices_T[kept_T].tolist()
    return [found[row] for row in range(len(data))]


def token_labels(stack: str, rows: TokenRows) -> Labelled | None:
    """Which of the most frequent tokens a row is; None where there are no two of them."""
    frequent = [token for token, _ in Counter(rows.tokens).most_common(TOKENS)]
    if len(frequent) < 2:
        return None
    number = {token: place for place, token in enumerate(frequent)}
    labels_N = np.array([number.get(token, -1) for token in rows.tokens], np.int64)
    labels_N[np.flatnonzero(labels_N >= 0)[TOKEN_ROWS:]] = -1
    about = f"Which of the {len(frequent)} most frequent tokens the {stack} was given here: not what the task asks for."
    return Labelled("token", about, False, tuple(frequent), labels_N, [one["id"] for one in rows.seen.records])


def _batches(order: Sequence[int]) -> Iterator[list[int]]:
    return (list(order[start : start + AT_ONCE]) for start in range(0, len(order), AT_ONCE))
