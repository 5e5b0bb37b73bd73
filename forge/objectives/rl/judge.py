"""What samples are worth: their tokens become texts, every part of the reward and every gate looks at them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from forge.tasks.metrics.ocr.checks.base import Check
from forge.tasks.rewards.base import Reward, Sample
from forge.tasks.rewards.score import Failure, Gate, score


@dataclass(frozen=True)
class Asked:
    """What an example asks for: the prompt's text or the page's name, and what the data holds for right, if it does."""

    source: str | None
    reference: str | None
    page: str | None = None
    checks: tuple[Check, ...] = ()  # of the page


@dataclass(frozen=True)
class Judged:
    """Of B prompts with G samples each and K parts of the reward; NaN where a part cannot be told."""

    texts_BG: list[list[str]]
    parts_BGK: Tensor  # fp64
    passed_BG: Tensor  # all gates
    failures: Mapping[str, Failure] = field(default_factory=dict)


@dataclass(frozen=True)
class Judge:
    """The rewards of a run. `texts` makes text of token ids, `ask` says what an example asks for, by its row number."""

    parts: Mapping[str, Reward]
    weights: Mapping[str, float]
    gates: Mapping[str, Gate]
    texts: Callable[[Sequence[Sequence[int]]], list[str]]
    ask: Callable[[Sequence[int]], list[Asked]]

    def weights_K(self) -> Tensor:  # noqa: N802
        """Of the parts, in their order; fp64."""
        return torch.tensor([self.weights[name] for name in self.parts], dtype=torch.float64)

    def judge(self, rows: Sequence[int], ids: Sequence[Sequence[int]], ended: Sequence[bool], samples: int) -> Judged:
        """Score the samples of some examples, `samples` of each beside each other. Raises UserError of one line."""
        asked = [one for one in self.ask(rows) for _ in range(samples)]
        texts = self.texts(ids)
        told = score(
            [
                Sample(text, one.source, one.reference, end, one.checks)
                for text, one, end in zip(texts, asked, ended, strict=True)
            ],
            self.parts,
            self.gates,
        )
        shape = (len(rows), samples)
        return Judged(
            [texts[first : first + samples] for first in range(0, len(texts), samples)],
            torch.from_numpy(told.array()).view(*shape, len(self.parts)),
            torch.tensor(told.passed, dtype=torch.bool).view(shape),
            told.failures,
        )
