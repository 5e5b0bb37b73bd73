"""What may be said of the figures: a sentence for each question, and the figure whose interval carries it.

A model is nearer, or better read, only where the whole interval is on that side of 0. All else is said to be unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from forge.workbench.aligned import excludes_zero
from forge.workbench.findings import Answer, Compared, CurveDifference, Figure, Nearer, Probing, Verdict, stack_name

_ANSWERS: Mapping[int, Answer] = {1: "yes", 0: "no", -1: "opposite"}
LEAST_SPLITS = 3  # two say next to nothing of how far splits lie apart
Names = Mapping[str, str]
"""What each model is called in a sentence, by key."""


def of_nearer(told: Nearer, names: Names) -> Verdict:
    """Whether a model is more alike the reference inside than another."""
    answer = _ANSWERS[excludes_zero(told.mean)] if told.mean.value is not None else "unknown"
    who, than, reference = names[told.model], names[told.than], names[told.reference]
    stack = stack_name(told.stack)
    found = {
        "yes": f"In the {stack}, {who} is nearer to {reference} than {than}: its layers of like depth are",
        "no": f"In the {stack}, {who} is not shown to be nearer to {reference} than {than}: CKA differs by",
        "opposite": f"In the {stack}, {who} is further from {reference} than {than}: CKA differs by",
        "unknown": f"In the {stack}, it cannot be told whether {who} is nearer to {reference} than {than}",
    }[answer]
    ends = {"yes": f" {_signed(told.mean)} more alike (CKA).", "unknown": "."}
    sentence = found + ends.get(answer, f" {_signed(told.mean)}.")
    question = f"Is {who} nearer to {reference} than {than}, inside ({stack})?"
    return Verdict("alignment", question, answer, sentence, told.mean, told.stack, told.model, told.than)


def of_compared(told: Compared, names: Names) -> list[Verdict]:
    """Whether a model answers as the reference more often, and whether it repeats its mistakes more often."""
    who, than, reference = names[told.model], names[told.than], names[told.reference]
    found = []
    sentences: Mapping[Answer, str]
    if told.agreement:
        figure = told.agreement.difference
        how = f"{_share(told.agreement.model)} and {_share(told.agreement.than)}, a difference of {_points(figure)}"
        sentences = {
            "yes": f"{who} agrees with {reference} more often than {than}: {how}.",
            "no": f"{who} is not shown to agree with {reference} more often than {than}: {how}.",
            "opposite": f"{who} agrees with {reference} less often than {than}: {how}.",
        }
        question = f"Does {who} answer as {reference} more often than {than}?"
        found.append(_compared("agreement", question, sentences, figure, told))
    if told.copied_errors:
        figure = told.copied_errors.difference
        rows = f"{told.copied_errors.rows:,} mistakes of {reference}"
        how = f"{_share(told.copied_errors.model)} and {_share(told.copied_errors.than)} of {rows}, {_points(figure)}"
        sentences = {
            "yes": f"{who} repeats mistakes of {reference} more often than {than}: {how}.",
            "no": f"{who} is not shown to repeat mistakes of {reference} more often than {than}: {how}.",
            "opposite": f"{who} repeats mistakes of {reference} less often than {than}: {how}.",
        }
        question = f"Did {who} learn the mistakes of {reference}?"
        found.append(_compared("copied_errors", question, sentences, figure, told))
    return found


def _compared(
    about: Literal["agreement", "copied_errors"],
    question: str,
    sentences: Mapping[Answer, str],
    figure: Figure,
    told: Compared,
) -> Verdict:
    answer = _ANSWERS[excludes_zero(figure)]
    return Verdict(about, question, answer, _capital(sentences[answer]), figure, model=told.model, than=told.than)


def of_probing(told: Probing, difference: CurveDifference, names: Names) -> Verdict | None:
    """Whether the last layer of a model says more of a label than that of another; None where splits are too few."""
    figure = difference.layers[-1]
    if told.splits < LEAST_SPLITS or figure.value is None or not figure.interval or figure.interval[0] is None:
        return None
    who, than = names[difference.model], names[difference.than]
    answer = _ANSWERS[excludes_zero(figure)]
    last, label = f"the last layer of the {stack_name(told.stack)}", told.label
    sentence = {
        "yes": f"from {last} of {who}, {label} is read better than from that of {than}",
        "no": f"{label} is not shown to be read better from {last} of {who} than of {than}",
        "opposite": f"from {last} of {who}, {label} is read worse than from that of {than}",
    }[answer]
    question = f"Can {told.label} be read better from {who} than from {than} ({stack_name(told.stack)})?"
    sentence = _capital(f"{sentence}: {_points(figure)}.")
    return Verdict("probing", question, answer, sentence, figure, told.stack, difference.model, difference.than)


def without_baseline(names: Sequence[str], reference: str) -> Verdict:
    """What is said where nobody trained without the reference was given."""
    who = names[0]
    return Verdict(
        "alignment",
        f"Did {who} become like {reference} by learning from it?",
        "unknown",
        f"Whether {who} is like {reference} because it learned from it cannot be told without a baseline: give the run "
        "of the same student trained on the data alone with --baseline.",
        None,
    )


def _signed(told: Figure) -> str:
    return f"{told.value or 0.0:+.3f}{_interval(told, 1, 3)}"


def _points(told: Figure) -> str:
    return f"{100 * (told.value or 0.0):+.1f} points{_interval(told, 100, 1)}"


def _interval(told: Figure, scale: float, digits: int) -> str:
    low, high = told.interval or (None, None)
    if low is None or high is None:
        return ""
    return f" (95 %: {scale * low:+.{digits}f} to {scale * high:+.{digits}f})"


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
