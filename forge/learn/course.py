"""The engine under both faces: what is shown, what is open, what happens to an answer. Everything here is plain data.

A face asks `course` and draws; it decides nothing. Each change goes through the store, so that the page, a second
browser and the terminal stand on the same progress.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from forge.core.errors import UserError
from forge.core.io import storage_errors, write_json
from forge.learn import gates
from forge.learn.cards import CARDS, PHASES, Card, Phase
from forge.learn.checks import Verdict, asked, help_for, judge
from forge.learn.lessons import Lesson, Part, glossary, load_lessons
from forge.learn.questions import ChoiceQuestion, Question, Value
from forge.learn.results import Record, Result
from forge.learn.state import Progress, State, Store, now

EXPERIMENTS = "experiments"
Tell = Callable[[Mapping[str, Any]], None]


class LockedError(UserError):
    """Something that is not open yet; the message says what opens it."""


class Runner(Protocol):
    """What runs an experiment: the worker."""

    def run(
        self, lesson: str, controls: Mapping[str, Value], folder: Path, budget_s: float, tell: Tell
    ) -> tuple[Result, float, float]:
        """The result, seconds by the clock, seconds of computing; `tell` hears of progress."""


class Course:
    """All lessons with one learner's progress."""

    def __init__(self, lessons: Mapping[str, Lesson], store: Store, runner: Runner) -> None:
        self.lessons, self.store, self.runner = lessons, store, runner

    def view_map(self) -> dict[str, Any]:
        """Six phases with their lessons and gates, each with its status and why it is locked."""
        state = self.store.read()
        phases = [self._view_phase(phase, state) for phase in PHASES]
        flat = [entry for phase in phases for entry in [*phase["lessons"], phase["gate"]]]
        following = next((entry["id"] for entry in flat if not entry["passed"] and not entry["locked"]), None)
        done = sum(entry["passed"] for phase in phases for entry in phase["lessons"])
        begun = [lesson for name, lesson in self.lessons.items() if state.lesson(name).status != "open"]
        terms = {term: meaning for lesson in begun for term, meaning in lesson.file.terms.items()}
        return {
            "phases": phases,
            "next": following,
            "passed": done,
            "lessons": len(CARDS),
            "words": terms,
            "unlocked_all": state.unlocked_all_at,
            "notice": self.store.notice,
        }

    def view_lesson(self, name: str) -> dict[str, Any]:
        """What a lesson's page shows; raises LockedError where it is not open."""
        lesson, state = self._open(name)
        progress, record = state.lesson(name), self.record(name)
        file = lesson.file
        return {
            "id": name,
            "number": lesson.card.number,
            "title": lesson.card.title,
            "phase": PHASES[lesson.card.phase - 1].title,
            "text": lesson.text,
            "terms": file.terms,
            "links": file.links.model_dump(),
            "about": file.about,
            "budget_s": file.budget_s,
            "controls": [control.model_dump() for control in file.controls],
            "prediction": file.prediction.model_dump() | {"made": progress.prediction},
            "check": [self._view_part(part, progress, record) for part in file.check],
            "status": progress.status,
            "passed": progress.passed,
            "record": record.model_dump() if record else None,
            "next": self._after(lesson.card, state),
        }

    def predict(self, name: str, choice: Value) -> None:
        """Keep what the learner expects. The first prediction stays."""
        lesson, _ = self._open(name)
        if not isinstance(choice, int) or not 0 <= choice < len(lesson.file.prediction.choices):
            raise UserError("choose one of the predictions by its number")
        with self.store.change() as state:
            progress = state.lesson(name)
            if progress.prediction is None:
                progress.prediction = int(choice)
                _begin(progress)

    def experiment(self, name: str, controls: Mapping[str, Value], tell: Tell) -> Record:
        """Run a lesson's experiment and judge what it shows; refused before a prediction is made."""
        lesson, state = self._open(name)
        if state.lesson(name).prediction is None:
            raise UserError("say first what you expect; then the experiment runs")
        values = lesson.file.start() | dict(controls)
        if problem := lesson.file.unfit(values):
            raise UserError(problem)
        result, *took = self.runner.run(name, values, self.store.folder, float(lesson.file.budget_s), tell)
        seconds, computed = (round(value, 2) for value in took)
        record = Record(lesson=name, controls=values, result=result, seconds=seconds, computed=computed)
        path = self._record_path(name)
        with storage_errors("keeping the experiment's result"):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, record.model_dump(mode="json"))
        with self.store.change() as state:
            state.lesson(name).run = result.run or str(path)
        self._judge_run(lesson, record)
        return record

    def answer(self, name: str, part_id: str, answer: Value | None) -> dict[str, Any]:
        """Judge a typed answer and keep what it changes; the verdict with what helps."""
        lesson, _ = self._open(name)
        part = next((part for part in lesson.file.check if part.id == part_id), None)
        if part is None:
            raise UserError(f"lesson {name} has no question '{part_id[:40]}'")
        return self._judge_part(lesson, part, answer, self.record(name))

    def record(self, name: str) -> Record | None:
        """The newest experiment of a lesson; None where there is none that can be read."""
        try:
            found = Record.model_validate_json(self._record_path(name).read_bytes())
        except (OSError, ValidationError):
            return None
        return found if found.lesson == name else None

    def quiz(self, phase: int, test_out: bool) -> list[gates.Asked]:
        """The questions that a gate, or a test-out, asks now."""
        state = self._open_quiz(phase, test_out)
        return self._questions(phase, test_out, state)

    def view_quiz(self, phase: int, test_out: bool) -> dict[str, Any]:
        """What a quiz's page shows; raises LockedError where it is not open."""
        questions = self.quiz(phase, test_out)
        return {
            "phase": phase,
            "title": PHASES[phase - 1].title,
            "test_out": test_out,
            "needed": gates.needed(questions, test_out),
            "passed": self.store.read().gate(phase).passed,
            "questions": [_view_question(asked.question) | {"lesson": asked.lesson} for asked in questions],
        }

    def answer_quiz(self, phase: int, test_out: bool, answers: Sequence[Value | None]) -> dict[str, Any]:
        """Mark a quiz as a whole; passing opens what comes next."""
        state = self._open_quiz(phase, test_out)
        questions = self._questions(phase, test_out, state)
        verdicts = gates.mark(questions, answers)
        if all(verdict.state == "untouched" for verdict in verdicts):
            raise UserError("there is no answer yet")
        right = sum(verdict.state == "right" for verdict in verdicts)
        passed = right >= gates.needed(questions, test_out)
        with self.store.change() as state:
            gate = state.gate(phase)
            gate.tries += 1
            if passed:
                gate.finish("tested-out" if test_out else "passed")
                for card in PHASES[phase - 1].cards if test_out else ():
                    state.lesson(card.id).finish("tested-out")
        return {
            "right": right,
            "of": len(questions),
            "needed": gates.needed(questions, test_out),
            "passed": passed,
            "verdicts": [vars(verdict) for verdict in verdicts],
            "next": self.view_map()["next"] if passed else None,
        }

    def unlock_all(self) -> None:
        """Open everything, for who teaches; kept with its time."""
        with self.store.change() as state:
            state.unlocked_all_at = state.unlocked_all_at or now()

    def words(self) -> dict[str, str]:
        """Every term of the path."""
        return glossary(self.lessons)

    def _open(self, name: str) -> tuple[Lesson, State]:
        if name not in CARDS:
            raise UserError(f"there is no lesson '{name[:40]}'")
        state = self.store.read()
        if reason := gates.why_locked(CARDS[name], state, self.lessons):
            raise LockedError(reason)
        return self.lessons[name], state

    def _open_quiz(self, phase: int, test_out: bool) -> State:
        if not 1 <= phase <= len(PHASES):
            raise UserError(f"there are phases 1 to {len(PHASES)}")
        state = self.store.read()
        why = gates.why_no_test_out if test_out else gates.why_gate_locked
        if reason := why(phase, state, self.lessons):
            raise LockedError(reason)
        return state

    def _questions(self, phase: int, test_out: bool, state: State) -> list[gates.Asked]:
        draw = gates.test_out_questions if test_out else gates.gate_questions
        return draw(phase, state.gate(phase).tries, self.lessons)

    def _judge_run(self, lesson: Lesson, record: Record) -> None:
        """A run answers the questions that are about runs. One with nothing touched does not count against anybody."""
        progress = self.store.read().lesson(lesson.id)
        for part in lesson.file.check:
            question = asked(part, progress.failures.get(part.id, 0))
            if question.kind != "evidence" or part.id in progress.done:
                continue
            touched = record.controls != lesson.file.start()
            if touched or judge(question, None, record).state == "right":
                self._judge_part(lesson, part, None, record)

    def _judge_part(self, lesson: Lesson, part: Part, answer: Value | None, record: Record | None) -> dict[str, Any]:
        with self.store.change() as state:
            progress = state.lesson(lesson.id)
            failures = progress.failures.get(part.id, 0)
            verdict = judge(asked(part, failures), answer, record)
            if verdict.state != "untouched" and part.id not in progress.done:
                _keep(progress, part, verdict)
            if all(part.id in progress.done for part in lesson.file.check):
                progress.finish()
            view = self._view_part(part, progress, record)
            return vars(verdict) | {"part": view, "passed": progress.passed, "next": self._after(lesson.card, state)}

    def _view_part(self, part: Part, progress: Progress, record: Record | None) -> dict[str, Any]:
        failures = progress.failures.get(part.id, 0)
        helped, done = help_for(part, failures), part.id in progress.done
        view = _view_question(asked(part, failures))
        verdict = judge(asked(part, failures), None, record) if view["kind"] == "evidence" else None
        return view | {
            "id": part.id,
            "done": done,
            "varied": helped.varied,
            "failures": failures,
            "hints": helped.hints,
            "worked": helped.worked,
            "verdict": vars(verdict) if verdict else None,
        }

    def _view_phase(self, phase: Phase, state: State) -> dict[str, Any]:
        cards = []
        for card in phase.cards:
            locked, progress = gates.why_locked(card, state, self.lessons), state.lesson(card.id)
            cards.append(_entry(card.id, card.number, card.title, locked, progress))
        gate = state.gate(phase.number)
        locked = "" if gate.passed else gates.why_gate_locked(phase.number, state, self.lessons)
        return {
            "number": phase.number,
            "title": phase.title,
            "locked": gates.why_phase_locked(phase.number, state),
            "lessons": cards,
            "gate": _entry(f"gate-{phase.number}", f"G{phase.number}", f"Gate: {phase.title}", locked, gate),
            "test_out": not gate.passed and not gates.why_no_test_out(phase.number, state, self.lessons),
        }

    def _after(self, card: Card, state: State) -> dict[str, str] | None:
        """Where the way goes on from a lesson, once that is open."""
        cards = PHASES[card.phase - 1].cards
        if card.place == len(cards):
            locked = gates.why_gate_locked(card.phase, state, self.lessons)
            title = f"Gate of phase {card.phase}"
            return None if locked else {"id": f"gate-{card.phase}", "title": title}
        after = cards[card.place]
        return None if gates.why_locked(after, state, self.lessons) else {"id": after.id, "title": after.title}

    def _record_path(self, name: str) -> Path:
        return self.store.folder / EXPERIMENTS / f"{name}.json"


def _entry(name: str, number: str, title: str, locked: str, progress: Progress) -> dict[str, Any]:
    status = "locked" if locked else progress.status
    return {
        "id": name,
        "number": number,
        "title": title,
        "status": status,
        "locked": locked,
        "passed": progress.passed,
    }


def _view_question(question: Question) -> dict[str, Any]:
    """What the learner may see of a question: nothing that tells the answer."""
    view: dict[str, Any] = {"kind": question.kind, "ask": question.ask}
    if isinstance(question, ChoiceQuestion):
        view["choices"] = [choice.text for choice in question.choices]
    return view


def _begin(progress: Progress) -> None:
    if progress.status == "open":
        progress.status = "attempted"


def _keep(progress: Progress, part: Part, verdict: Verdict) -> None:
    _begin(progress)
    progress.tries += 1
    if verdict.state == "right":
        progress.done.append(part.id)
        return
    before = len(help_for(part, progress.failures.get(part.id, 0)).hints)
    progress.failures[part.id] = progress.failures.get(part.id, 0) + 1
    progress.hints_used += len(help_for(part, progress.failures[part.id]).hints) - before


def load_course(runner: Runner, folder: Path | None = None) -> Course:
    """The course as it is shipped, over the progress of a folder."""
    return Course(load_lessons(), Store(folder) if folder else Store(), runner)
