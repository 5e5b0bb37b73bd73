"""How good translations are: BLEU, chrF++ and TER of a whole test set, as sacreBLEU computes them.

All text is detokenised, as a reader would see it. Figures are percentages as the field reports them: BLEU and chrF++ go
from 0 to 100, TER from 0 (no edit needed) upwards, past 100 where more is to be mended than the reference has words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

from forge.core.errors import UserError
from forge.tasks.base import Scores

TER_WORD_PAIRS = 10_000_000
"""Σ over lines of (words of the hypothesis · words of the reference) up to which TER is computed.

sacreBLEU searches block shifts in Python; on one core, lines with three words of ten wrong cost 1.5 ms at 14 words,
2.6 ms at 25, 35 ms at 100 and 450 ms at 200. The limit is a hundred times Multi30k's test set and a thousand lines of
100 words, and keeps out pages of text, which would take hours. It counts words, not seconds, so that the same texts
have the same figures on every machine.
"""


def metrics_of(language: str | None = None) -> dict[str, Metric]:
    """The metrics of sacreBLEU under Forge's names, with its defaults but for chrF, which is chrF++ (word order 2).

    `language` is the translations' own ("fr"). sacreBLEU tokenises "zh", "ja" and "ko" in their own ways for BLEU, and
    every other language by 13a.
    """
    try:
        bleu = BLEU(trg_lang=language or "")
    except RuntimeError as error:  # the tokenisers of ja and ko are extras of sacreBLEU
        raise UserError(f"BLEU of language '{language}': {' '.join(str(error).split())}") from error
    return {"bleu": bleu, "chrf": CHRF(word_order=2), "ter": TER()}


def score_translations(
    hypotheses: Sequence[str],
    references: Sequence[str],
    language: str | None = None,
    word_pairs: int | None = TER_WORD_PAIRS,
) -> Scores:
    """Corpus-level figures of N translations against one reference each, in order.

    `bleu` (Papineni et al. 2002), `chrf` (chrF++, Popović 2017), `ter` (Snover et al. 2006), and `length_ratio`, the
    tokens of all hypotheses over those of all references (BLEU's own count; 1 is as long as the references). The detail
    has sacreBLEU's signatures, without which no figure can be compared (Post 2018, arXiv 1804.08771).

    `word_pairs` limits what TER may cost: above it `ter` is absent and detail["left_out"] says why; None has no limit.
    """
    check_pairs(hypotheses, references)
    metrics, left_out = metrics_of(language), {}
    if reason := ter_too_long(hypotheses, references, word_pairs):
        del metrics["ter"]
        left_out["ter"] = reason
    found: dict[str, Any] = {
        name: metric.corpus_score(hypotheses, [list(references)]) for name, metric in metrics.items()
    }
    bleu = found["bleu"]
    figures = {name: float(score.score) for name, score in found.items()}
    detail = {
        "signatures": {name: metric.get_signature().format() for name, metric in metrics.items()},
        "brevity_penalty": float(bleu.bp),
        "precisions": [float(value) for value in bleu.precisions],  # percent, of 1-grams to 4-grams
        "counts": {"matched": [int(n) for n in bleu.counts], "hypothesis": [int(n) for n in bleu.totals]},
        "tokens": {"hypothesis": int(bleu.sys_len), "reference": int(bleu.ref_len)},
        "empty_hypotheses": sum(not text.strip() for text in hypotheses),
        "left_out": left_out,
        "examples": len(hypotheses),
    }
    rows = {"bleu": lambda: _bleu_rows(metrics["bleu"], hypotheses, references)}
    return Scores(figures | {"length_ratio": float(bleu.ratio)}, detail, rows)


def _bleu_rows(metric: Any, hypotheses: Sequence[str], references: Sequence[str]) -> NDArray[np.float64]:
    """The sums of each line as sacreBLEU keeps them: tokens of both, then its right 1-grams to 4-grams, then all."""
    rows: list[list[int]] = metric._extract_corpus_statistics(hypotheses, [list(references)])
    return np.asarray(rows, np.float64)


def sentence_bleu(hypothesis: str, reference: str) -> float:
    """BLEU of one sentence, 0 to 100, over the n-gram orders that it has (sacreBLEU's effective order)."""
    return float(_SENTENCE_BLEU.sentence_score(hypothesis, [reference]).score)


_SENTENCE_BLEU = BLEU(effective_order=True)


def bleu_tokenised_lower(hypotheses: Sequence[str], references: Sequence[str], language: str) -> tuple[float, str]:
    """BLEU as the Multi30k literature reports it (0 to 100), and what was computed, in the form of a signature.

    That literature runs `multi-bleu.perl` on text that went through Moses' lowercase, normalize-punctuation and
    tokenizer, in this order and without its `-a` (multi30k/dataset, scripts/task1-tokenize.sh). sacremoses is a port of
    the three: on the 1,000 French references of test_2016_flickr it gives the Perl scripts' tokens on 999 lines, on the
    29,000 of the training set on 28,981. multi-bleu.perl itself is BLEU without smoothing on tokens as they are.

    No tokeniser of sacreBLEU does instead: at BLEU 51.3 on those lines 13a gives 50.1, since it leaves "l'homme" whole,
    and intl 53.1, since it makes it "l ' homme", three tokens against Moses' two. English differs by 0.1 and 0.2. Use
    it only beside published figures of that kind: it depends on the tokeniser (Post 2018), and sacreBLEU's does not.
    """
    from sacremoses import MosesPunctNormalizer, MosesTokenizer

    check_pairs(hypotheses, references)
    normaliser, tokeniser = MosesPunctNormalizer(language), MosesTokenizer(language)

    def prepared(texts: Sequence[str]) -> list[str]:
        lowered = (text.rstrip().lower() for text in texts)
        return [str(tokeniser.tokenize(normaliser.normalize(text), return_str=True)) for text in lowered]

    metric = BLEU(tokenize="none", smooth_method="none", force=True)
    score = metric.corpus_score(prepared(hypotheses), [prepared(references)])
    return float(score.score), f"{metric.get_signature().format()}|prepared:lc.norm.moses-{language}"


def check_pairs(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    """Refuse what sacreBLEU would cut to the shorter list in silence, or cannot score."""
    if len(hypotheses) != len(references):
        raise UserError(f"there are {len(hypotheses):,} hypotheses and {len(references):,} references; each needs one")
    if not hypotheses:
        raise UserError("there are no translations to score")
    if not any(text.strip() for text in references):
        raise UserError("all references are empty")


def ter_too_long(hypotheses: Sequence[str], references: Sequence[str], word_pairs: int | None) -> str:
    """Why TER is left out, or nothing where it is computed."""
    if word_pairs is None:
        return ""
    work = sum(len(a.split()) * len(b.split()) for a, b in zip(hypotheses, references, strict=True))
    if work <= word_pairs:
        return ""
    return f"the lines are too long for TER: {work:,} pairs of words, the limit is {word_pairs:,}"
