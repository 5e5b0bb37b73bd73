"""Is an answer right? Judged from what a run left on disk, or from what was typed; never from a button.

`untouched` is not `wrong`: who has not tried yet is told what to do, and it does not count.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from forge.core.errors import UserError
from forge.core.io import read_json
from forge.learn.lessons import Part
from forge.learn.questions import (
    ChoiceQuestion,
    EvidenceQuestion,
    NumberQuestion,
    Question,
    TextQuestion,
    Value,
    matches,
)
from forge.learn.results import Record
from forge.runs.run_dir import METADATA, METRICS, STATE
from forge.runs.sinks import read_metrics

MOST_TYPED = 4_000  # characters of an answer
MOST_NUMBER = 1e300
MEASURED = ("evaluation", "test")
HINTS_AFTER = 2  # failures before the first hint
WORKED_AFTER = 4
RUN_FIRST = "Run the experiment first: the answer is read from what it leaves behind."
THOUSANDS = re.compile(r"\d{1,3}(,\d{3})+(\.\d+)?")


@dataclass(frozen=True)
class Verdict:
    """What is said about an answer."""

    state: Literal["untouched", "wrong", "right"]
    text: str


def judge(question: Question, answer: Value | None, record: Record | None) -> Verdict:
    """The verdict on an answer; of an evidence question, which takes none, on the newest experiment."""
    if isinstance(question, EvidenceQuestion):
        return _judge_evidence(question, record)
    if answer is None or (isinstance(answer, str) and not answer.strip()):
        return Verdict("untouched", "There is no answer yet.")
    if isinstance(answer, str) and len(answer) > MOST_TYPED:
        raise UserError(f"an answer has at most {MOST_TYPED:,} characters")
    if isinstance(question, ChoiceQuestion):
        return _judge_choice(question, answer)
    if isinstance(question, NumberQuestion):
        return _judge_number(question, answer, record)
    return _judge_text(question, str(answer))


def _judge_choice(question: ChoiceQuestion, answer: Value) -> Verdict:
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < len(question.choices):
        raise UserError(f"choose one of the {len(question.choices)} answers by its number")
    chosen = question.choices[answer]
    return Verdict("right" if chosen.right else "wrong", chosen.why)


def _judge_number(question: NumberQuestion, answer: Value, record: Record | None) -> Verdict:
    truth = question.answer
    if truth is None:
        found = read_evidence(record, str(question.answer_from)) if record else None
        if not isinstance(found, int | float):
            return Verdict("untouched", RUN_FIRST)
        truth = found
    given = read_number(answer)
    if given is None:
        return Verdict("untouched", f"{str(answer)[:40]!r} is not a number; type one such as 12 or 0.5.")
    if abs(given - truth) <= question.tolerance + 1e-9:
        return Verdict("right", question.right)
    near = next((n.why for n in question.near if abs(given - n.value) <= question.tolerance + 1e-9), None)
    return Verdict("wrong", near or question.otherwise)


def _judge_text(question: TextQuestion, answer: str) -> Verdict:
    if matches(question.accept, answer):
        return Verdict("right", question.right)
    near = next((n.why for n in question.near if matches([n.pattern], answer)), None)
    return Verdict("wrong", near or question.otherwise)


def _judge_evidence(question: EvidenceQuestion, record: Record | None) -> Verdict:
    if record is None:
        return Verdict("untouched", RUN_FIRST)
    for need in question.needs:
        found = read_evidence(record, need.read)
        if found is None:
            return Verdict("untouched", RUN_FIRST)
        low = need.at_least is not None and not (isinstance(found, int | float) and found >= need.at_least)
        high = need.at_most is not None and not (isinstance(found, int | float) and found <= need.at_most)
        if low or high or (need.equal is not None and found != need.equal):
            shown = f"{found:.4g}" if isinstance(found, float) else str(found)[:60]
            return Verdict("wrong", need.otherwise.replace("{found}", shown))
    return Verdict("right", question.right)


def read_number(answer: Value) -> float | None:
    """A number as people type it: 0.5, 0,5, 1,024, 50 %; None where it is none."""
    if isinstance(answer, int | float):
        return float(answer) if abs(answer) < MOST_NUMBER else None
    text = answer.strip().replace("−", "-").replace(" ", "").removesuffix("%")
    text = text.replace(",", "") if THOUSANDS.fullmatch(text) else text.replace(",", ".")
    return float(text) if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d{1,3})?", text, re.IGNORECASE) else None


def read_evidence(record: Record, name: str) -> Value | None:
    """What an experiment left behind under a name such as `metrics.matched.accuracy`; None where it is not there."""
    source, _, rest = name.partition(".")
    if source == "numbers":
        return record.result.numbers.get(rest)
    if source == "controls":
        return record.controls.get(rest)
    if record.result.run is None:
        return None
    try:
        return _from_run(Path(record.result.run), source, rest)
    except (OSError, ValueError):  # the run was deleted or damaged: it has to be run again
        return None


def _from_run(run: Path, source: str, rest: str) -> Value | None:
    if read_json(run / STATE).get("status") != "completed":
        return None
    if source == "metrics":
        split, _, figure = rest.partition(".")
        return _last_figure(read_metrics((run / METRICS).read_text(encoding="utf-8")), split, figure)
    inside: Any = read_json(run / STATE) if source == "state" else read_json(run / METADATA)["config"]
    for key in rest.split("."):
        inside = inside.get(key) if isinstance(inside, Mapping) else None
    return inside if isinstance(inside, bool | int | float | str) else None


def _last_figure(records: list[dict[str, Any]], split: str, figure: str) -> Value | None:
    kinds = ("step",) if split == "step" else MEASURED
    found = [r for r in records if r["kind"] in kinds and r.get("split", "step") == split and figure in r]
    return found[-1][figure] if found else None


@dataclass(frozen=True)
class Help:
    """What who fails a part sees by now."""

    hints: tuple[str, ...]
    worked: str
    varied: bool  # whether the varied question is asked in the question's place


def help_for(part: Part, failures: int) -> Help:
    """Nothing before two failures, then one hint after the other, after four the worked answer and another question."""
    worked = failures >= WORKED_AFTER
    shown = len(part.hints) if worked else max(0, failures - HINTS_AFTER + 1)
    return Help(tuple(part.hints[:shown]), part.worked if worked else "", worked)


def asked(part: Part, failures: int) -> Question:
    """The question that counts at present."""
    return part.varied if help_for(part, failures).varied else part.question


def reference_answer(question: Question, record: Record | None) -> Value | None:
    """The right answer to a typed question, for checking the lesson itself."""
    if isinstance(question, ChoiceQuestion):
        return next(i for i, choice in enumerate(question.choices) if choice.right)
    if isinstance(question, NumberQuestion):
        return question.answer if question.answer is not None or not record else _truth(question, record)
    return question.reference if isinstance(question, TextQuestion) else None


def _truth(question: NumberQuestion, record: Record) -> Value | None:
    return read_evidence(record, str(question.answer_from))
