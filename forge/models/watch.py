"""What is known of texts while they are written: how likely each token was, and whether a text runs in a loop.

A `Watch` takes part in a greedy search of `generate` at two places: it sees the scores of what comes next, and it ends
a text whose loop is certain. With a temperature it draws tokens, each text from a generator of its own, so that what is
drawn for a text depends neither on its place in a batch nor on its neighbours.

Shape letters: B texts, N of them that are still being written, T tokens so far, V tokens of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, StoppingCriteria

from forge.tasks.metrics.ocr.loops import looping

LOOKED_EVERY = 64  # tokens
CERTAIN_REPEATS, CERTAIN_TOKENS = 8, 400
"""A loop is certain from so many repeats and tokens on: rules, dot leaders and empty rows of tables come to less."""
_PLANE = 0x10000  # characters from here on are no white space, whatever token they stand for


@dataclass(frozen=True)
class Watched:
    """A text that was written, its end included if it has one."""

    ids: list[int]
    log_prob: float  # of all its tokens, in nats, before any temperature
    loop: tuple[int, int] | None = None  # tokens of what repeats, and how often, where that ended it


class Watch:
    """Of B texts that end in one of `ends`; `seeds` are one for each text where there is a temperature."""

    def __init__(
        self, texts: int, ends: Collection[int], temperature: float = 0.0, seeds: Sequence[int] | None = None
    ) -> None:
        assert not temperature or (seeds is not None and len(seeds) == texts)
        self.scoring, self.ending = Scoring(self), Ending(self)
        self._texts, self._ends, self._temperature, self._seeds = texts, sorted(ends), temperature, seeds or ()
        self._start: int | None = None  # tokens before the first that is written
        self._places: Tensor  # of the N rows among the B texts
        self._done_B: Tensor
        self._draws: list[torch.Generator]

    def watched(self, ids_BT: Tensor) -> list[Watched]:
        """What was written, from what `generate` gives."""
        start = self._start or 0
        numbers = zip(self._tokens_B.tolist(), self._log_prob_B.tolist(), strict=True)
        return [
            Watched(row[start : start + tokens], log_prob, self._loops.get(text))
            for text, (row, (tokens, log_prob)) in enumerate(zip(ids_BT.tolist(), numbers, strict=True))
        ]

    def score(self, ids_NT: Tensor, scores_NV: Tensor) -> Tensor:
        """Scores whose largest is the token to take: as they are, or with noise that makes of it a draw."""
        if self._start is None or ids_NT.shape[1] <= self._start:  # a search may be given up and begun by another
            self._begin(ids_NT)
        self._log_probs_NV = scores_NV.float().log_softmax(-1)
        if not self._temperature:
            return scores_NV
        noise_NV = torch.zeros(self._log_probs_NV.shape)
        for row, text in enumerate(self._places.tolist()):
            if not self._done_B[text]:
                noise_NV[row] = -torch.rand(noise_NV.shape[1], generator=self._draws[text]).log().neg().log()
        return self._log_probs_NV / self._temperature + noise_NV.to(scores_NV.device)  # Gumbel's way to sample

    def end(self, ids_NT: Tensor) -> Tensor:
        """done_N after one more token."""
        new_N, places = ids_NT[:, -1], self._places
        going_N = ~self._done_B[places]
        chosen_N = self._log_probs_NV.gather(1, new_N[:, None])[:, 0].double()
        self._log_prob_B[places] += torch.where(going_N, chosen_N, 0.0)
        self._tokens_B[places] += going_N
        self._done_B[places] |= torch.isin(new_N, torch.tensor(self._ends, device=new_N.device))
        self._steps += 1
        if self._steps % LOOKED_EVERY == 0:
            self._look_for_loops(ids_NT)
        return self._done_B[places]

    def keep(self, rows_n: Tensor) -> None:
        """Only these rows are still being written."""
        self._places = self._places[rows_n]

    def _begin(self, ids_BT: Tensor) -> None:
        self._start, self._steps = ids_BT.shape[1], 0
        device, count = ids_BT.device, self._texts
        self._places = torch.arange(count, device=device)
        self._log_prob_B = torch.zeros(count, dtype=torch.float64, device=device)
        self._tokens_B = torch.zeros(count, dtype=torch.long, device=device)
        self._done_B = torch.zeros(count, dtype=torch.bool, device=device)
        self._loops: dict[int, tuple[int, int]] = {}
        self._draws = [torch.Generator().manual_seed(seed) for seed in self._seeds]

    def _look_for_loops(self, ids_NT: Tensor) -> None:
        for text, ids in zip(self._places.tolist(), ids_NT[:, self._start :].tolist(), strict=True):
            if not self._done_B[text] and (found := certain_loop(ids)):
                self._done_B[text], self._loops[text] = True, found


class Scoring(LogitsProcessor):  # type: ignore[misc]
    """A watch where scores are made."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """As `Watch.score`."""
        return self.watch.score(input_ids, scores)


class Ending(StoppingCriteria):  # type: ignore[misc]
    """A watch where texts end."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:  # noqa: ARG002
        """As `Watch.end`."""
        return self.watch.end(input_ids)


def certain_loop(ids: Sequence[int]) -> tuple[int, int] | None:
    """The loop that tokens end in, of so many and so often, if nothing on a page looks like it."""
    if len(ids) < CERTAIN_TOKENS:
        return None
    found = looping("".join(chr(_PLANE + token) for token in ids))
    if found and found.repeats >= CERTAIN_REPEATS and found.repeats * len(found.unit) >= CERTAIN_TOKENS:
        return len(found.unit), found.repeats
    return None
