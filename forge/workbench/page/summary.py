"""The head of the page: what may be said, what was looked at, and how good and how alike the models are."""

from __future__ import annotations

import re
from collections.abc import Sequence

from forge.reports.page import folded, heading, paragraph, table, text
from forge.reports.words import MINUS, decimal, probability
from forge.workbench.findings import ClassDisagreement, Compared, Findings, TextDisagreement
from forge.workbench.page.models import both, percent

SAID_FIRST = 2
_PERCENT = {"accuracy", "cer", "wer"}
_NAMES = {"bleu": "BLEU", "chrf": "chrF++", "cer": "CER", "wer": "WER", "ter": "TER", "nid": "NID"}


def head(findings: Findings, first: Sequence[str] = ()) -> list[str]:
    """The verdict, `first` before all else, what it is about, and what has to be known."""
    top, rows = [*first, *headline(findings)][:SAID_FIRST], findings.rows
    rest = [one.sentence for one in findings.verdicts if one.sentence not in top]
    shown = [heading(findings.title, 1), *(paragraph(_typeset(words), "verdict") for words in top)]
    if rest:
        shown.append(f"<ul>{''.join(f'<li>{text(_typeset(words))}</li>' for words in rest)}</ul>")
    share = f"{rows.used:,} of {rows.of:,} examples of {rows.split}"
    about = f"On {share}. {rows.overlap_told} Intervals, also those in brackets, are 95 %."
    if findings.quick:
        about += " A quick look: fewer splits, no control labels"
        about += ", no training dynamics." if rows.task == "classification" else "."
        about += " Figures for others take the whole run."
    return [*shown, paragraph(about, "note"), *(paragraph(note.text, "note") for note in findings.notes)]


def headline(findings: Findings) -> list[str]:
    """The first sentence on each question, so that two sentences answer two."""
    found: dict[str, str] = {}
    for one in findings.verdicts:
        found.setdefault(one.about, one.sentence)
    return list(found.values())


def _typeset(words: str) -> str:
    return re.sub(r"(?<=[ (])-(?=\d)", MINUS, words)


def quality(findings: Findings) -> list[str]:
    """The table of all models, and the comparison with who did not learn from the teacher."""
    shown = [heading("How good, and how alike in what they say", 2)]
    names = {one.key: one.name for one in findings.subjects}
    if findings.disagreement.classes:
        shown += [_classes(findings), paragraph(_CLASSES, "note")]
    elif findings.disagreement.texts:
        shown += [_texts(findings), paragraph(_TEXTS, "note")]
    else:
        shown.append(_alone(findings))
    if findings.disagreement.compared:
        shown += [heading("Closer to it than who did not learn from it?", 3), _compared(findings, names)]
    return [*shown, folded("The models", _models(findings))]


_CLASSES = (
    "Agreement is how often a model answers as the reference does. Two classifiers this accurate whose errors are "
    "independent agree as often as the column after it says, and κ is what is left beyond the frequencies of their "
    "answers. p: McNemar's exact test of the two accuracies."
)
_TEXTS = (
    "Same tokens: how often both hold the same token to be the likeliest next one, given the data's text up to "
    "there, or the reference's own. \"Against it\": a model's texts measured as if the reference's were the truth; "
    "length in words."
)


def _classes(findings: Findings) -> str:
    parts = {one.other: one for one in findings.disagreement.classes}
    first = findings.disagreement.classes[0]
    header = ["model", "accuracy, %", "against reference, points", "p", "agreement, %", "by chance", "κ",
              "Jensen-Shannon, bits"]  # fmt: skip
    rows: list[list[str]] = []
    for one in findings.subjects:
        if one.key == first.reference:
            rows.append([f"{one.name} (reference)", both(first.reference_accuracy), *["–"] * 6])
        elif one.key in parts:
            rows.append([one.name, *_class_row(parts[one.key])])
        else:
            rows.append([one.name, percent(one.figures.get("accuracy")), *["–"] * 6])
    return table(header, rows)


def _class_row(one: ClassDisagreement) -> list[str]:
    return [
        both(one.other_accuracy),
        both(one.accuracy_difference, True),
        probability(one.mcnemar_p),
        both(one.agreement),
        percent(one.expected_agreement),
        decimal(one.kappa),
        decimal(one.js_mean, 3),
    ]


def _texts(findings: Findings) -> str:
    parts = {one.other: one for one in findings.disagreement.texts}
    first = findings.disagreement.texts[0]
    own = list(dict.fromkeys(name for one in findings.subjects for name in one.figures))
    against = list(first.figures)
    header = ["model", *map(figure_name, own), "same tokens, %", "on reference's text, %", "same texts, %"]
    header += [*(f"{figure_name(name)} against it" for name in against), "length against it", "repetition, %"]
    rows: list[list[str]] = []
    for one in findings.subjects:
        figures = [figure(name, one.figures.get(name)) for name in own]
        if one.key == first.reference:
            nothing = ["–"] * (4 + len(against))
            rows.append([f"{one.name} (reference)", *figures, *nothing, percent(first.reference_repetition)])
        elif one.key in parts:
            rows.append([one.name, *figures, *_text_row(parts[one.key], against)])
        else:
            rows.append([one.name, *figures, *["–"] * (5 + len(against))])
    return table(header, rows)


def _text_row(one: TextDisagreement, against: list[str]) -> list[str]:
    return [
        both(one.on_gold),
        both(one.on_reference),
        percent(one.exact),
        *(figure(name, one.figures.get(name)) for name in against),
        decimal(one.length_ratio),
        percent(one.repetition),
    ]


def _alone(findings: Findings) -> str:
    names = list(dict.fromkeys(name for one in findings.subjects for name in one.figures))
    rows = [[one.name, *(figure(name, one.figures.get(name)) for name in names)] for one in findings.subjects]
    return table(["model", *map(figure_name, names)], rows)


def _compared(findings: Findings, names: dict[str, str]) -> str:
    rows = [row for one in findings.disagreement.compared for row in _compared_rows(one, names)]
    header = ["", "who", "%", "than", "%", "difference, points", "p"]
    return table(header, rows)


def _compared_rows(one: Compared, names: dict[str, str]) -> list[list[str]]:
    shares = (
        (f"answers as {names[one.reference]}", one.agreement),
        (f"repeats its mistakes ({one.copied_errors.rows if one.copied_errors else 0:,})", one.copied_errors),
    )
    return [
        [what, names[one.model], percent(told.model), names[one.than], percent(told.than), both(told.difference, True),
         probability(told.p)]
        for what, told in shares if told
    ]  # fmt: skip


def _models(findings: Findings) -> str:
    rows = []
    for one in findings.subjects:
        stacks = ", ".join(f"{name} {count}" for name, count in one.stacks.items())
        rows.append(
            [
                one.name,
                one.role.replace("_", " "),
                f"{one.parameters:,}",
                stacks,
                one.architecture,
                f"{one.path} {one.checkpoint}",
            ]
        )
    return table(["model", "role", "parameters", "layers with embeddings", "architecture", "where"], rows, word=True)


def figure_name(name: str) -> str:
    """A figure as people write it."""
    unit = ", %" if name in _PERCENT else ", nats" if name == "loss" else ""
    return _NAMES.get(name, name.replace("_", " ")) + unit


def figure(name: str, value: float | None) -> str:
    """Its value."""
    if name in _PERCENT:
        return percent(value)
    return decimal(value, 3 if name == "loss" else 1 if name in _NAMES else 3)


def methods(findings: Findings) -> list[str]:
    """How the figures come about, in short; the documentation has sources."""
    rows, told = findings.rows, []
    told.append(
        f"Rows: {rows.used:,} of {rows.of:,} of {rows.split}, {rows.left_out:,} left out because the training data "
        "has them too, whatever the case and width of letters and the spaces between words; fingerprint "
        f"{rows.fingerprint}. Seed {findings.seed}, forge {findings.forge}."
    )
    if findings.alignment:
        told.append(
            "CKA is debiased (HSIC of Song et al. 2012) and linear, on one row an example, padding left out; its "
            "intervals come from half-subsamples, what chance gives from permuted rows."
        )
    if findings.probing:
        told.append(
            "Probes are multinomial logistic regressions on standardised features, their penalty chosen on rows of "
            "their own, rows of one document kept together; intervals over splits allow for the rows that splits "
            "share (Nadeau and Bengio 2003). Selectivity is accuracy less that on labels that hang on one word; "
            "compression is that of the online code (Voita and Titov 2020)."
        )
    if findings.disagreement.classes:
        told.append(
            "Intervals of shares are Wilson's, of differences from a paired bootstrap; kinds of examples are tested "
            "by Fisher's exact test. Jensen-Shannon is the divergence in bits; the calibration error has bins of "
            "equally many rows."
        )
    if findings.disagreement.dynamics:
        told.append(
            "Training dynamics follow Swayamdipta et al. 2020 (arXiv 2009.10795), who watch the rows of the training "
            "set after each epoch; here they are rows that were not trained on, at the checkpoints that a run kept."
        )
    if findings.disagreement.texts:
        told.append(
            "Intervals of token agreement resample whole texts; kinds of examples are tested by Mann and Whitney's "
            "test."
        )
    return told
