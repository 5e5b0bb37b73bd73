"""Answers: untouched, wrong, right; numbers as people type them; evidence from a run directory; help one at a time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from forge.core.errors import UserError
from forge.learn.checks import MOST_TYPED, help_for, judge, read_evidence, read_number
from forge.learn.lessons import load_lessons
from forge.learn.questions import Question
from forge.learn.results import Record, Result

ASKED: TypeAdapter[Question] = TypeAdapter(Question)


def question(**fields: object) -> Question:
    return ASKED.validate_python({"ask": "What?", **fields})


NUMBER = question(
    kind="number", answer=60, tolerance=0.5, right="Yes.", otherwise="No.", near=[{"value": 20, "why": "One epoch."}]
)
TEXT = question(
    kind="text",
    accept=["(the )?weights?"],
    reference="weights",
    right="Yes.",
    otherwise="No.",
    near=[{"pattern": "layers?", "why": "The plan."}],
)
CHOICE = question(
    kind="choice",
    choices=[
        {"text": "a", "why": "Yes.", "right": True},
        {"text": "b", "why": "B is not."},
        {"text": "c", "why": "C."},
    ],
)


@pytest.mark.parametrize(
    ("typed", "value"),
    [("60", 60), (" 0,5 ", 0.5), ("1,024", 1024), ("1,234,567.5", 1234567.5), ("50 %", 50), ("−3", -3), ("1e-5", 1e-5),
     (".5", 0.5), (7, 7), ("", None), ("sixty", None), ("1e9999", None), ("nan", None), ("inf", None), ("0x10", None)],
)  # fmt: skip
def test_numbers_as_people_type_them(typed: str | int, value: float | None) -> None:
    assert read_number(typed) == value


@pytest.mark.parametrize(
    ("asked", "answer", "state", "text"),
    [
        (NUMBER, "60", "right", "Yes."),
        (NUMBER, 60.4, "right", "Yes."),
        (NUMBER, "20", "wrong", "One epoch."),
        (NUMBER, "61", "wrong", "No."),
        (NUMBER, "many", "untouched", "'many' is not a number; type one such as 12 or 0.5."),
        (NUMBER, "", "untouched", "There is no answer yet."),
        (TEXT, "  The   WEIGHTS ", "right", "Yes."),
        (TEXT, "layer", "wrong", "The plan."),
        (TEXT, "weights and more", "wrong", "No."),
        (TEXT, None, "untouched", "There is no answer yet."),
        (CHOICE, None, "untouched", "There is no answer yet."),
    ],
)
def test_typed_answers(asked: Question, answer: str | float | None, state: str, text: str) -> None:
    assert vars(judge(asked, answer, None)) == {"state": state, "text": text}


def test_every_choice_is_explained_in_its_own_words() -> None:
    assert CHOICE.kind == "choice"
    assert {judge(CHOICE, place, None).text for place in range(3)} == {"Yes.", "B is not.", "C."}
    right = [place for place in range(3) if judge(CHOICE, place, None).state == "right"]
    assert [CHOICE.choices[place].text for place in right] == ["a"]


@pytest.mark.parametrize("answer", [-1, 3, True, "0", 1.0])
def test_a_choice_that_is_not_there_is_refused(answer: object) -> None:
    with pytest.raises(UserError, match="choose one of the 3"):
        judge(CHOICE, answer, None)  # type: ignore[arg-type]


def test_a_very_long_answer_is_refused() -> None:
    with pytest.raises(UserError, match="at most"):
        judge(TEXT, "a" * (MOST_TYPED + 1), None)


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """A run directory as training leaves it, as far as checks read it, and the record that points to it."""
    records = [
        {"kind": "step", "step": 10, "epoch": 1.0, "loss": 1.1},
        {"kind": "evaluation", "step": 10, "split": "matched", "accuracy": 0.4},
        {"kind": "step", "step": 20, "epoch": 2.0, "loss": 0.9},
        {"kind": "evaluation", "step": 20, "split": "matched", "accuracy": 0.6},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    (tmp_path / "training_state.json").write_text(json.dumps({"status": "completed", "step": 20}))
    (tmp_path / "run_metadata.json").write_text(json.dumps({"config": {"train": {"batch_size": 32}}}))
    result = Result(said="", numbers={"words": 7}, run=str(tmp_path))
    return Record(lesson="x", controls={"epochs": 2}, result=result, seconds=1, computed=1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("metrics.matched.accuracy", 0.6),
        ("metrics.step.loss", 0.9),
        ("metrics.step.epoch", 2.0),
        ("metrics.test.accuracy", None),
        ("metrics.matched.bleu", None),
        ("settings.train.batch_size", 32),
        ("settings.train.nothing.there", None),
        ("settings.train", None),
        ("state.step", 20),
        ("numbers.words", 7),
        ("numbers.nothing", None),
        ("controls.epochs", 2),
    ],
)
def test_evidence_is_read_from_what_the_run_left(record: Record, name: str, value: object) -> None:
    assert read_evidence(record, name) == value


def evidence(**need: object) -> Question:
    needs = [{"read": "metrics.matched.accuracy", "otherwise": "It is {found}.", **need}]
    return question(kind="evidence", needs=needs, right="Yes.", reference={"epochs": 2})


def test_evidence_is_judged(record: Record) -> None:
    assert judge(evidence(at_least=0.55), None, record).state == "right"
    assert vars(judge(evidence(at_least=0.65), None, record)) == {"state": "wrong", "text": "It is 0.6."}
    assert judge(evidence(at_most=0.5), None, record).state == "wrong"
    assert judge(evidence(equal=0.6), None, record).state == "right"
    assert judge(evidence(at_least=0.55), None, None).state == "untouched"
    assert judge(evidence(at_least=0.55), True, None).state == "untouched", "a button answers nothing"


@pytest.mark.parametrize("harm", ["delete", "damage", "unfinished"])
def test_a_run_that_is_gone_damaged_or_unfinished_is_no_evidence(record: Record, harm: str) -> None:
    state = Path(str(record.result.run)) / "training_state.json"
    if harm == "delete":
        state.unlink()
    else:
        state.write_text("{" if harm == "damage" else json.dumps({"status": "running", "step": 20}))
    assert judge(evidence(at_least=0.1), None, record).state == "untouched"


def test_help_comes_one_at_a_time() -> None:
    part = load_lessons()["vocabulary"].file.check[1]
    shown = [(len(help_for(part, n).hints), bool(help_for(part, n).worked), help_for(part, n).varied) for n in range(6)]
    assert shown == [(0, False, False), (0, False, False), (1, False, False), (2, False, False)] + [(2, True, True)] * 2
