"""The records of the workbench: to JSON and back, what is refused, and the sentences that figures carry."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import run
from typing import Any

import numpy as np
import pytest

from forge.core.errors import UserError
from forge.workbench.aligned import Alignments, excludes_zero, like_depth
from forge.workbench.findings import (
    Compared,
    CurveDifference,
    Figure,
    Findings,
    Nearer,
    PairedShare,
    read_findings,
    write_findings,
)
from forge.workbench.parted import Choices, classes_compared, classes_part, ordered, tags_of
from forge.workbench.parted_texts import Writing, text_slices, texts_compared, texts_part
from forge.workbench.plain import FormError, Plain, typed
from forge.workbench.probed import Effort, Labelled, probed
from forge.workbench.probing import ProbeSettings
from forge.workbench.slices import named_axis
from forge.workbench.verdicts import of_compared, of_nearer, of_probing

SAMPLES = Path(__file__).parent / "samples"
NAMES = {"teacher": "the teacher", "student": "the student", "baseline": "the baseline"}


@pytest.mark.parametrize("task", ["classification", "translation", "ocr"])
def test_written_and_read_again(task: str, tmp_path: Path) -> None:
    found = read_findings(SAMPLES / f"{task}.json")
    write_findings(found, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (SAMPLES / f"{task}.json").read_bytes()
    assert read_findings(tmp_path / "again.json") == found
    assert found.rows.task == task
    assert found.subject("teacher").role == "teacher"
    assert found.reference == "teacher"


def change_of(value: Any, *path: str | int) -> Any:
    """A copy of JSON with the last of a path replaced by what stands after it."""
    copy = json.loads(json.dumps(value))
    place = copy
    for step in path[:-2]:
        place = place[step]
    place[path[-2]] = path[-1]
    return copy


@pytest.mark.parametrize(
    ("path", "says"),
    [
        (("schema", "forge.workbench/0"), "this is forge.workbench/0"),
        (("seed", "1"), "findings.seed"),
        (("quick", 1), "findings.quick"),
        (("subjects", 0, "role", "king"), r"findings.subjects\[0\].role"),
        (("alignment", 0, "cka_TS", 0, 1, "x"), r"findings.alignment\[0\].cka_TS\[0\]\[1\]"),
        (("probing", 0, "parts", [1, 2]), r"findings.probing\[0\].parts"),
        (("rows", "more", 1), "findings.rows.more"),
    ],
)
def test_another_form_is_refused_and_says_where(path: tuple[Any, ...], says: str) -> None:
    value = json.loads((SAMPLES / "classification.json").read_text())
    with pytest.raises(UserError, match=says):
        Findings.from_json(change_of(value, *path))


def test_no_findings_at_all(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_findings(tmp_path / "none.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(UserError, match="this is list"):
        read_findings(tmp_path / "list.json")


def test_they_are_read_without_torch() -> None:
    code = "import sys; import forge.workbench.findings, forge.workbench.asked; print(*sorted(sys.modules))"
    modules = run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "transformers", "datasets", "sklearn", "scipy"} & set(modules)


@dataclass(frozen=True)
class _Record(Plain):
    number: float | None
    pair: tuple[int, str]
    many: tuple[float, ...]


def test_plain_values_and_back() -> None:
    record = _Record(float("nan"), (1, "a"), (1.0, 2.0))
    assert record.as_json() == {"number": None, "pair": [1, "a"], "many": [1.0, 2.0]}
    assert typed(_Record, record.as_json()) == replace(record, number=None)
    assert typed(_Record, {"number": 1, "pair": [1, "a"], "many": []}) == _Record(1.0, (1, "a"), ())
    for wrong in ({"number": True}, {"pair": [1, 2]}, {"pair": [True, "a"]}, {"many": 3}, {"many": [None]}):
        with pytest.raises(FormError):
            typed(_Record, record.as_json() | wrong)


# What is said


def nearer(low: float, value: float, high: float) -> Nearer:
    return Nearer("encoder", "teacher", "student", "baseline", (), (), (), Figure(value, (low, high)))


@pytest.mark.parametrize(
    ("figure", "answer", "words"),
    [
        ((0.01, 0.1, 0.2), "yes", "is nearer to the teacher than the baseline"),
        ((-0.01, 0.1, 0.2), "no", "is not shown to be nearer"),
        ((0.0, 0.1, 0.2), "no", "is not shown to be nearer"),
        ((-0.2, -0.1, -0.01), "opposite", "is further from the teacher than the baseline"),
    ],
)
def test_nearer_only_where_the_interval_excludes_zero(
    figure: tuple[float, float, float], answer: str, words: str
) -> None:
    told = of_nearer(nearer(*figure), NAMES)
    assert told.answer == answer
    assert words in told.sentence
    assert f"{figure[1]:+.3f}" in told.sentence
    assert told.figure == Figure(figure[1], (figure[0], figure[2]))


def test_a_difference_that_is_not_defined_is_unknown() -> None:
    told = of_nearer(replace(nearer(0, 0, 0), mean=Figure(None, (None, None))), NAMES)
    assert told.answer == "unknown"
    assert "cannot be told" in told.sentence


@pytest.mark.parametrize(("low", "high", "answer"), [(0.01, 0.1, "yes"), (-0.1, 0.1, "no"), (-0.1, -0.01, "opposite")])
def test_answers_and_mistakes(low: float, high: float, answer: str) -> None:
    share = PairedShare(200, 0.8, 0.75, Figure((low + high) / 2, (low, high)), 0.01)
    agree, copied = of_compared(Compared("teacher", "student", "baseline", share, share), NAMES)
    assert [agree.answer, copied.answer] == [answer, answer]
    assert "80.0 % and 75.0 %" in agree.sentence
    assert "200 mistakes" in copied.sentence
    assert of_compared(Compared("teacher", "student", "baseline", None, None), NAMES) == []


def test_the_last_layer_is_what_a_probe_speaks_of() -> None:
    told = read_findings(SAMPLES / "classification.json").probing[0]
    first, last = Figure(0.5, (0.4, 0.6)), Figure(-0.1, (-0.2, -0.05))
    verdict = of_probing(told, CurveDifference("student", "baseline", (first, last)), NAMES)
    assert verdict is not None
    assert (verdict.answer, verdict.figure) == ("opposite", last)
    without = CurveDifference("student", "baseline", (first, Figure(0.1, (None, None))))
    assert of_probing(told, without, NAMES) is None
    assert of_probing(replace(told, splits=2), CurveDifference("student", "baseline", (first, last)), NAMES) is None


# What figures are made of


def test_layers_of_like_depth() -> None:
    assert like_depth(13, 7) == ((2, 1), (4, 2), (6, 3), (8, 4), (10, 5), (12, 6))
    assert like_depth(3, 3) == ((1, 1), (2, 2))
    assert like_depth(3, 7)[-1] == (2, 6)
    assert like_depth(1, 4) == ((0, 3),)


def test_a_student_that_is_the_teacher_turned_is_nearer_than_one_of_its_own() -> None:
    rng = np.random.default_rng(0)
    taught = {f"layer.{n}": rng.standard_normal((120, 6)) for n in range(3)}
    turn = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    group = Alignments("encoder", "teacher", taught)
    same = group.add("student", {name: 3 * x @ turn + 1 for name, x in taught.items()})
    group.add("baseline", {name: rng.standard_normal((120, 6)) for name in taught})
    assert same.matched_mean == pytest.approx(1.0)
    told = group.nearer("student", "baseline")
    assert told is not None
    assert excludes_zero(told.mean) == 1
    assert told.mean.value == pytest.approx(1.0, abs=0.1)
    group.add("deep", {f"layer.{n}": rng.standard_normal((120, 6)) for n in range(5)})
    assert group.nearer("student", "deep") is None


def test_disagreement_of_twenty_rows() -> None:
    """Golden values: the case of `tests/workbench/test_workbench_disagreement.py`, as it lies on disk."""
    gold = np.arange(20) % 3
    teacher, student = gold.copy(), gold.copy()
    teacher[[14, 16, 18]] = [1, 2, 1]
    student[[14, 16, 18]] = [1, 2, 1]
    student[[8, 10, 12, 17, 18]] = [1, 2, 1, 0, 0]
    both = (Choices(np.eye(3)[teacher]), Choices(np.eye(3)[student]))
    told = classes_part("teacher", "student", gold, both, [named_axis("class", "abc", gold)])
    assert (told.reference_accuracy.value, told.other_accuracy.value, told.agreement.value) == (0.85, 0.7, 0.75)
    assert told.kappa == pytest.approx(0.6212121)
    assert (told.reference_only_right, told.other_only_right) == (4, 1)
    assert told.mcnemar_p == pytest.approx(0.375)
    assert told.js_mean == pytest.approx(0.25)
    assert [one.rows for one in told.slices] == [7, 7, 6]
    assert all(one.p is None for one in told.slices)
    none_wrong = {"teacher": Choices(np.eye(3)[gold]), "student": both[1], "baseline": both[0]}
    compared = classes_compared("teacher", ("student", "baseline"), gold, none_wrong)
    assert compared.copied_errors is None
    assert compared.agreement
    assert compared.agreement.difference.value == pytest.approx(0.7 - 0.85)


def writing(texts: list[str], on_gold: list[list[int]], tokens: str = "t") -> Writing:
    ids = [[ord(letter) for letter in text] for text in texts]
    return Writing(texts, ids, tokens, on_gold, on_gold, {})


def test_texts_that_part() -> None:
    first = writing(["abcd efgh", "same"], [[1, 2, 3, 4], [5, 6]])
    second = writing(["abcd efxx", "same"], [[1, 2, 3, 9], [5, 6]])
    told = texts_part(("teacher", "student"), (first, second), "ocr", None, [], 0)
    assert told.on_gold
    assert told.on_gold.value == pytest.approx(5 / 6)
    assert (told.tokens_on_gold, told.exact) == (6, 0.5)
    assert told.median_divergence == pytest.approx((7 / 9 + 1) / 2)
    assert told.figures["cer"] == pytest.approx(2 / 13)
    other = replace(second, tokens="u")
    apart = texts_part(("teacher", "student"), (first, other), "ocr", None, [], 0)
    assert apart.on_gold is apart.on_reference is None
    assert apart.median_divergence == pytest.approx((1 / 2 + 1) / 2)  # of words
    assert (
        texts_compared("teacher", ("student", "other"), {"teacher": first, "student": second, "other": other}, 0)
        is None
    )


def test_tokens_of_a_text_are_drawn_together() -> None:
    """40 texts in which all tokens agree or none: as wide as an interval of 40 draws, not of 400."""
    taught = writing(["a"] * 40, [[1] * 10] * 40)
    own = writing(["a"] * 40, [[1] * 10] * 20 + [[2] * 10] * 20)
    none = writing(["a"] * 40, [[2] * 10] * 40)
    told = texts_compared("teacher", ("student", "baseline"), {"teacher": taught, "student": own, "baseline": none}, 0)
    assert told is not None
    assert told.agreement
    share = told.agreement
    assert (share.rows, share.model, share.than, share.difference.value) == (400, 0.5, 0.0, 0.5)
    low, high = share.difference.interval or (None, None)
    assert low is not None
    assert high is not None
    assert high - low == pytest.approx(2 * 1.96 * (0.25 / 40) ** 0.5, rel=0.25)


def test_slices_of_texts() -> None:
    kinds = np.arange(100) % 2
    shares = np.where(kinds == 0, 0.9, 0.5) + np.linspace(-0.05, 0.05, 100)
    shares[0] = np.nan
    told = text_slices(
        [named_axis("kind", ("x", "y"), kinds), named_axis("few", ("z",), np.where(kinds < 0, 0, -1))], shares, 0
    )
    assert [one.rows for one in told] == [49, 50, 0]
    assert told[0].agreement.value == pytest.approx(0.9, abs=0.01)
    assert told[0].elsewhere == pytest.approx(0.5, abs=0.01)
    assert told[0].p_holm is not None
    assert told[0].p is not None
    assert told[0].p < told[0].p_holm < 1e-6
    assert (told[2].p, told[2].agreement.value) == (None, None)


def test_a_label_that_only_one_model_holds() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 240)
    labels[:10] = -1
    knows = {"layer.0": rng.standard_normal((240, 4)), "layer.1": rng.standard_normal((240, 4)) + 4 * labels[:, None]}
    knows_not = {name: rng.standard_normal((240, 4)) for name in knows}
    told = Labelled(
        "class", "", True, ("a", "b"), labels, [str(n) for n in range(240)], [f"w{n % 30}" for n in range(240)]
    )
    effort = Effort(ProbeSettings(splits=3), controls=True, code_lengths=True)
    found = probed("encoder", told, {"student": knows, "baseline": knows_not}, [("student", "baseline")], effort)
    assert (found.rows, found.splits) == (230, 3)
    (difference,) = found.differences
    assert excludes_zero(difference.layers[1]) == 1
    assert excludes_zero(difference.layers[0]) == 0
    last = found.curves[0].layers[1]
    assert last.accuracy.value == pytest.approx(1.0, abs=0.02)
    assert last.selectivity
    assert last.selectivity.value
    assert last.selectivity.value > 0.3
    assert last.compression
    nothing = found.curves[1].layers[1].compression
    assert nothing
    assert last.compression > 1.5
    assert nothing < 1.1
    assert found.control_repeated == 1.0
    quick = probed("encoder", told, {"student": knows}, [], Effort.of(True, 0))
    assert (quick.splits, quick.curves[0].layers[1].selectivity, quick.curves[0].layers[1].compression) == (
        2,
        None,
        None,
    )


def test_order_and_tags_of_examples() -> None:
    assert ordered([0.1, None, 0.5, 0.1]) == [2, 0, 3, 1]
    assert tags_of([named_axis("class", ("a", "b"), np.array([0, 1, -1]))], 3) == [("class: a",), ("class: b",), ()]
