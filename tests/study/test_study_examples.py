"""What is kept of each test example makes the figure again, for every task."""

from __future__ import annotations

import numpy as np
import pytest

from forge.study.collect import BLEU_ORDER
from forge.study.plan import COMBINE
from forge.study.statistics.combine import combine
from forge.tasks.base import Scores
from forge.tasks.metrics.classification import score_classification
from forge.tasks.metrics.ocr.score import score_pages
from forge.tasks.metrics.translation import score_translations

LINES = [
    ("the cat sat on the mat today", "the cat sat on the mat"),
    ("a b c d e f", "a b c x e f g"),
    ("", "nothing was said here"),
    ("words of another kind", "quite other words"),
]


def scores() -> list[Scores]:
    made, true = [list(texts) for texts in zip(*LINES, strict=True)]
    logits_NC = np.random.default_rng(0).normal(size=(50, 3))
    labels_N = np.random.default_rng(1).integers(0, 3, 50)
    return [
        score_classification(logits_NC, labels_N, ["a", "b", "c"]),
        score_translations(made, true, "fr"),
        score_pages(made, true),
    ]


@pytest.mark.parametrize("figure", COMBINE)
def test_sums_of_examples_make_the_figure_again(figure: str) -> None:
    of = next(found for found in scores() if figure in found.figures and figure in found.rows)
    rows_NK = of.rows[figure]()
    ordered_NK = rows_NK[:, BLEU_ORDER] if COMBINE[figure] == "bleu" else rows_NK
    assert float(combine(ordered_NK.sum(0), COMBINE[figure], len(rows_NK))) == pytest.approx(
        of.figures[figure], rel=1e-12
    )


def test_nothing_is_made_unless_asked_for() -> None:
    assert all(callable(make) for of in scores() for make in of.rows.values())
