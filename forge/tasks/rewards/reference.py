"""Likeness to a reference. What pleases them: texts that share words with it whatever they say ("not" may be missing).

Optimised alone, a metric overstates what was gained (arXiv 2411.03524): judge a run by another one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from sacrebleu.metrics.chrf import CHRF

from forge.tasks.metrics.translation import sentence_bleu
from forge.tasks.rewards.base import Need, PerSample, Sample

REFERENCE: frozenset[Need] = frozenset({"reference"})


@dataclass(frozen=True)
class SentenceBLEU(PerSample):
    """BLEU of one sentence over the n-gram orders that it has, / 100 (sacreBLEU's effective order).

    Not corpus BLEU of one sentence, which is 0 for a right translation of two words. Too short is punished by BLEU's
    brevity penalty; texts of one word that the reference has still get far more than nothing.
    """

    needs = REFERENCE
    tasks = ("translation",)

    def one(self, sample: Sample) -> float | None:
        """0 to 1."""
        if sample.reference is None or not sample.reference.strip():
            return None
        return min(sentence_bleu(sample.output, sample.reference) / 100.0, 1.0)


@dataclass(frozen=True)
class ChrF(PerSample):
    """chrF of one sentence, / 100: character n-grams up to 6, with `word_order` 2 also words (chrF++, Popović 2017).

    Weighs recall twice: text that is added costs little, so a length band belongs beside it.
    """

    needs = REFERENCE
    tasks = ("translation",)
    word_order: int = 2

    def one(self, sample: Sample) -> float | None:
        """0 to 1."""
        if sample.reference is None or not sample.reference.strip():
            return None
        return min(float(self._metric.sentence_score(sample.output, [sample.reference]).score) / 100.0, 1.0)

    @cached_property
    def _metric(self) -> CHRF:
        return CHRF(word_order=self.word_order)
