"""COMET-Kiwi: a learned judge of translations that needs no reference.

What pleases it: texts in another language that mean the same, and fluent text that adds or leaves out; a language gate
and a length band belong beside it (arXiv 2401.12873, 2603.13045).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from forge.tasks.metrics.comet import KIWI, TIMEOUT_S, score_comet
from forge.tasks.rewards.base import Named, Sample, Values


@dataclass(frozen=True)
class CometKiwi(Named):
    """Its score, cut to 0 … 1; None of samples without a source. Each call is one process, which loads the model."""

    model: str = KIWI
    gpus: int = 0
    timeout_s: float = TIMEOUT_S
    needs = frozenset({"source"})
    tasks = ("translation",)

    def __call__(self, samples: Sequence[Sample]) -> Values:
        """Raises UserError where COMET is not there or fails: without it there is nothing to learn from."""
        told = [at for at, sample in enumerate(samples) if sample.source and sample.source.strip()]
        found: Values = [None] * len(samples)
        if not told:
            return found
        sources, outputs = [samples[at].source or "" for at in told], [samples[at].output for at in told]
        scores = score_comet(sources, outputs, None, self.model, self.gpus, self.timeout_s)
        for at, score in zip(told, scores.lines, strict=True):
            found[at] = min(1.0, max(0.0, score))
        return found
