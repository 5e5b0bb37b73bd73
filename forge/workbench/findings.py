"""What the workbench found, as it lies on disk and as a report reads it: `<run>/workbench/findings.json`.

Everything is a plain frozen record: numbers, texts, tuples and maps. `as_json` and `from_json` are each other's
inverse, with NaN and infinities as null. Nothing here imports more than NumPy, so a report is made without torch.

Models go by key: "teacher", "student" (of `compare` also "student_2", …), "baseline", "random_init". A *reference* is
whom others are compared with: the teacher, or without one the first of the runs that are compared.

Shape letters: T layers of the reference, S layers of the other model, C classes. Layer 0 is the embeddings. An
`interval` is 95 %, or null where there is none; a heatmap's cell is null where it is undefined or was not asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from forge.core.errors import UserError
from forge.core.io import read_json, write_json
from forge.workbench.plain import FormError, Plain, typed

SCHEMA = "forge.workbench/2"
FILE = "findings.json"
MOST_EXAMPLES = 2_000


def stack_name(stack: str) -> str:
    """What a stack is called in a sentence."""
    return "vision tower" if stack == "vision" else stack


Role = Literal["teacher", "student", "baseline", "random_init"]
TaskName = Literal["classification", "translation", "ocr"]
Answer = Literal["yes", "no", "opposite", "unknown"]
Interval = tuple[float | None, float | None]
Grid = tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True)
class Figure(Plain):
    """A number and the interval that holds 95 %."""

    value: float | None
    interval: Interval | None = None


@dataclass(frozen=True)
class Subject(Plain):
    """One model that was looked at."""

    key: str
    role: Role
    name: str  # for people: short, and different for every model
    path: str  # of the run or directory; of random_init the student's
    checkpoint: str
    architecture: str
    parameters: int
    stacks: Mapping[str, int]  # layers with the embeddings: {"encoder": 7}
    figures: Mapping[str, float | None]  # on the rows used: accuracy and loss, or bleu, chrf, cer, …


@dataclass(frozen=True)
class Overlap(Plain):
    """Rows of the split that the run's training data has too."""

    rows: int | None  # null: that was not looked at
    about: str  # what of a row was compared ("the text", "both texts", …), or why nothing was
    kept: int = 0  # pages that were shown though a training page has their Markdown, under another picture


@dataclass(frozen=True)
class Rows(Plain):
    """The examples that all models were shown; none of them is in the run's training data as far as `overlap` tells."""

    task: TaskName
    split: str
    used: int
    of: int  # rows of the split
    left_out: int  # of the split's: all in `overlap_with_training`
    fingerprint: str
    labels: tuple[str, ...]  # classes in order; () of models that write text
    overlap_with_training: Overlap

    @property
    def overlap_told(self) -> str:
        """The overlap as a sentence."""
        found = self.overlap_with_training
        if found.rows is None:
            return f"Overlap with training: {found.about}."
        count = f"{found.rows:,} of {self.of:,}" if found.rows else "none"
        left_out = "; left out" if found.rows else ""
        more = f" By the Markdown alone {found.kept:,} more; kept." if found.kept else ""
        return f"Overlap with training: {count}, going by {found.about}{left_out}.{more}"


@dataclass(frozen=True)
class Null(Plain):
    """What debiased CKA is when the rows of one side are put into another order."""

    rows: int
    permutations: int
    deviation: float | None  # exact standard deviation of the null, on all rows
    p_TS: Grid
    upper_TS: Grid  # 95 % of the permuted values lie below
    upper_of_all: float | None  # 95 % of the orders have no pair of layers above it


@dataclass(frozen=True)
class Alignment(Plain):
    """How alike the layers of the reference (rows of a grid) and of another model (columns) are."""

    stack: str
    reference: str  # key
    other: str  # key
    reference_layers: tuple[str, ...]
    other_layers: tuple[str, ...]
    rows: int
    cka_TS: Grid  # debiased, of all rows; a little below 0 is 0
    low_TS: Grid
    high_TS: Grid
    standardised_TS: Grid  # the same with every feature on one scale; far lower: outlying dimensions made it
    procrustes_TS: Grid
    procrustes_floor_TS: Grid
    null: Null
    matched: tuple[
        tuple[int, int], ...
    ]  # (layer of the reference, layer of the other) of like depth, embeddings left out
    matched_mean: float | None  # of CKA over them


@dataclass(frozen=True)
class Nearer(Plain):
    """How much more alike one model is to the reference than another: CKA less CKA, on the same half-subsamples."""

    stack: str
    reference: str
    model: str
    than: str
    difference_TS: Grid
    low_TS: Grid
    high_TS: Grid
    mean: Figure  # over the pairs of like depth


@dataclass(frozen=True)
class LayerPoint(Plain):
    """The probe of one layer."""

    layer: str
    accuracy: Figure
    train_accuracy: float | None
    selectivity: Figure | None  # accuracy less that on labels without meaning
    compression: float | None  # of the online code (MDL); 1 is no help. Of labels of the task alone


@dataclass(frozen=True)
class Curve(Plain):
    """The probes of all layers of one model."""

    model: str
    layers: tuple[LayerPoint, ...]


@dataclass(frozen=True)
class CurveDifference(Plain):
    """Test accuracy of one model's layers less another's, on the same splits."""

    model: str
    than: str
    layers: tuple[Figure, ...]


@dataclass(frozen=True)
class Probing(Plain):
    """How well a linear probe reads one label from each layer of one stack."""

    stack: str
    label: str  # "class", "length of the source", "token", "block type"
    about: str  # a sentence: what the label is and is not
    of_task: bool  # whether the task defines it; otherwise it is not "task information"
    classes: tuple[str, ...]
    rows: int
    parts: tuple[int, int, int]  # training, validation, test rows of a split
    splits: int
    majority: float
    bag_of_words: Figure | None
    control_repeated: float | None  # share of rows whose control label hangs on a word that other rows have
    curves: tuple[Curve, ...]
    differences: tuple[CurveDifference, ...]


@dataclass(frozen=True)
class PairedShare(Plain):
    """A share of a model and of another over the same rows."""

    rows: int
    model: float
    than: float
    difference: Figure
    p: float | None


@dataclass(frozen=True)
class SliceRow(Plain):
    """One kind of example against all others.

    `p` and `p_holm` are null where either side has too few rows, and where answers of one of the two made the kinds.
    """

    axis: str
    kind: str
    rows: int
    agreement: Figure  # of classifiers the share of same answers; of texts the mean token agreement
    reference_quality: Figure | None  # accuracy
    other_quality: Figure | None
    elsewhere: float | None
    p: float | None
    p_holm: float | None


@dataclass(frozen=True)
class ClassDisagreement(Plain):
    """Two classifiers on the same rows. Counts add up to `rows`."""

    reference: str
    other: str
    rows: int
    reference_accuracy: Figure
    other_accuracy: Figure
    agreement: Figure
    expected_agreement: float  # of two classifiers this accurate whose errors are independent: the floor
    kappa: float | None
    both_right: int
    reference_only_right: int
    other_only_right: int
    both_wrong_alike: int
    both_wrong_apart: int
    accuracy_difference: Figure  # other less reference
    mcnemar_p: float | None
    error_overlap: float | None
    answers_CC: tuple[tuple[int, ...], ...]  # row: what the reference said; column: the other
    js_mean: float | None  # bits, 0 to 1
    kl_mean: float | None  # nats, KL(reference ‖ other)
    slices: tuple[SliceRow, ...]


@dataclass(frozen=True)
class CalibrationBin(Plain):
    """Rows of like confidence."""

    rows: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class ModelCalibration(Plain):
    """Whether a classifier that says 80 % is right in 80 % of the cases."""

    model: str
    ece: Figure
    floor: float  # what a perfectly calibrated model shows on as many rows
    floor_upper: float
    p: float
    excess: float
    confidence: float
    accuracy: float
    bins: tuple[CalibrationBin, ...]


@dataclass(frozen=True)
class TextDisagreement(Plain):
    """Two models that write text, on the same inputs."""

    reference: str
    other: str
    texts: int
    on_gold: Figure | None  # share of tokens that both hold the likeliest next, given the data's text up to there
    on_reference: Figure | None  # the same, given the reference model's text
    tokens_on_gold: int | None
    exact: float  # share of texts that are the same
    median_divergence: float | None  # share of the length at which they first differ, median; 1: not before the end
    survival: tuple[tuple[float, float], ...]  # (share of the length, share of texts the same up to there)
    figures: Mapping[str, float | None]  # the other's texts measured with the reference's: bleu, chrf, or cer, wer
    length_ratio: float
    repetition: float
    reference_repetition: float
    slices: tuple[SliceRow, ...]


@dataclass(frozen=True)
class Compared(Plain):
    """Whether a model is closer to the reference in what it says than another."""

    reference: str
    model: str
    than: str
    agreement: PairedShare | None  # of classes, or of likeliest tokens on the data's text
    copied_errors: PairedShare | None  # of classifiers: of the reference's mistakes, the share repeated alike


@dataclass(frozen=True)
class Dynamics(Plain):
    """Whose course of training sorted the rows into kinds: the probability of the true class after these steps."""

    model: str
    steps: tuple[int, ...]


@dataclass(frozen=True)
class Disagreement(Plain):
    """Where answers part. Of `classes` and `texts` one is empty."""

    classes: tuple[ClassDisagreement, ...] = ()
    texts: tuple[TextDisagreement, ...] = ()
    calibration: tuple[ModelCalibration, ...] = ()
    compared: tuple[Compared, ...] = ()
    dynamics: tuple[Dynamics, ...] = ()  # of the kinds "training dynamics"; one a look


@dataclass(frozen=True)
class AttentionMap(Plain):
    """Where one layer looks, mean over heads, 0 to 255 for 0 to 1."""

    model: str
    stack: str
    layer: str
    tokens: tuple[str, ...]  # at most 64
    weights: tuple[tuple[int, ...], ...]  # from row to column


@dataclass(frozen=True)
class Example(Plain):
    """One example, and what was said to it. Sorted: where reference and student are furthest apart first."""

    id: str
    inputs: Mapping[str, str]  # {"text": …, "text_pair": …}, {"source": …} or {"page": …}
    gold: str
    said: Mapping[str, str]  # by key of a model
    confidence: Mapping[str, float]  # of its answer, 0 to 1; {} of models that write text
    apart: float | None  # reference and (first) student: Jensen-Shannon in bits, or 1 less their agreement on tokens
    tags: tuple[str, ...]  # "axis: kind" of the slices it is in
    attention: tuple[AttentionMap, ...] = ()


@dataclass(frozen=True)
class Verdict(Plain):
    """A sentence that a figure carries. "no": the interval holds 0; "opposite": it excludes 0 on the other side."""

    about: Literal["alignment", "agreement", "copied_errors", "probing", "calibration"]
    question: str
    answer: Answer
    sentence: str
    figure: Figure | None
    stack: str | None = None
    model: str | None = None
    than: str | None = None


@dataclass(frozen=True)
class Note(Plain):
    """What could not be computed, or has to be known, and why."""

    about: str  # "alignment", "probing", "disagreement", "rows", "models", "examples"
    text: str


@dataclass(frozen=True)
class Findings(Plain):
    """All of it. `seed`, `quick` and the models' weights decide every number."""

    schema: str
    forge: str
    title: str
    quick: bool
    seed: int
    subjects: tuple[Subject, ...]
    rows: Rows
    verdicts: tuple[Verdict, ...]
    alignment: tuple[Alignment, ...]
    nearer: tuple[Nearer, ...]
    probing: tuple[Probing, ...]
    disagreement: Disagreement
    examples: tuple[Example, ...]  # at most MOST_EXAMPLES; examples.jsonl has all of them
    notes: tuple[Note, ...]

    def subject(self, key: str) -> Subject:
        """The model of that key."""
        return next(one for one in self.subjects if one.key == key)

    @property
    def reference(self) -> str | None:
        """Key of the model that others are compared with; null where there is none."""
        known = [one.reference for one in self.alignment]
        known += [one.reference for one in self.disagreement.classes]
        known += [one.reference for one in self.disagreement.texts]
        return known[0] if known else None

    @classmethod
    def from_json(cls, value: Any) -> Findings:
        """Of what `as_json` gave. Raises UserError for another version or form."""
        if not isinstance(value, dict) or value.get("schema") != SCHEMA:
            said = value.get("schema") if isinstance(value, dict) else type(value).__name__
            raise UserError(f"findings of the workbench: this is {said}, not {SCHEMA}; run the workbench again")
        try:
            found = typed(cls, value, "findings")
        except FormError as error:
            raise UserError(
                f"findings of the workbench: {error} is not of {SCHEMA}; run the workbench again"
            ) from error
        assert isinstance(found, Findings)
        return found


def read_findings(path: Path) -> Findings:
    """Raises UserError where the file cannot be read."""
    try:
        value = read_json(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}  cannot be read: {error}") from error
    return Findings.from_json(value)


def write_findings(findings: Findings, path: Path) -> None:
    """Replace the file at once."""
    write_json(path, findings.as_json())
