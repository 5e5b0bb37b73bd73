"""Every lesson can be failed and passed: untouched it is not passed, and its reference answers pass it.

The walk is that of a learner: prediction, experiment, answers, gates. A lesson that its own start already passes, or
whose worked answer does not, is a defect of the lesson.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from forge.learn import gates
from forge.learn.cards import PHASES
from forge.learn.checks import judge, reference_answer
from forge.learn.course import Course, Runner, Tell
from forge.learn.lessons import Lesson, Part, load_lessons
from forge.learn.questions import EvidenceQuestion, Question, Value
from forge.learn.results import Result
from forge.learn.state import Store
from forge.learn.worker import Worker

Say = Callable[[str], None]


def verify(folder: Path, say: Say) -> list[str]:
    """Walk all lessons with progress of their own in `folder`; what is wrong, a line each."""
    worker = Worker(folder)
    timed = _Timed(worker)
    course = Course(load_lessons(), Store(folder), timed)
    problems: list[str] = []
    try:
        for phase in PHASES:
            written = [course.lessons[card.id] for card in phase.cards if card.id in course.lessons]
            for lesson in written:
                found = list(_verify_lesson(course, lesson))
                took = timed.of(lesson.id)
                if took and median(took) > lesson.file.budget_s:
                    found.append(f"its experiments need more than its budget of {lesson.file.budget_s:g} s")
                shown = ", ".join(f"{seconds:.1f}" for seconds in took)
                say(
                    f"{lesson.card.number} {lesson.id}: {'; '.join(found) or 'ok'}; experiments: {shown} s of computing"
                )
                problems += [f"{lesson.id}: {problem}" for problem in found]
            if len(written) == len(phase.cards):
                _pass_gate(course, phase.number)
            elif phase.number > 1:
                course.unlock_all()  # a gate before it cannot be passed yet
        if took := timed.of():
            figures = f"median {median(took):.1f} s of computing on a thread, longest {max(took):.1f}"
            say(f"{len(took)} experiments: {figures}")
    finally:
        worker.close()
    return problems


class _Timed:
    """A runner that remembers how long experiments computed."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._took: list[tuple[str, float]] = []

    def run(
        self, lesson: str, controls: Mapping[str, Value], folder: Path, budget_s: float, tell: Tell
    ) -> tuple[Result, float, float]:
        """As the runner does it."""
        ran = self._runner.run(lesson, controls, folder, budget_s, tell)
        self._took.append((lesson, ran[2]))
        return ran

    def of(self, lesson: str | None = None) -> list[float]:
        """Seconds of computing of a lesson's experiments, or of all."""
        return [seconds for name, seconds in self._took if lesson in {None, name}]


def _verify_lesson(course: Course, lesson: Lesson) -> Iterator[str]:
    name, state = lesson.id, course.store.read()
    if state.lesson(name).passed:
        yield "is passed before anybody touched it"
    for part in lesson.file.check:
        said = judge(part.question, None, None)
        if said.state != "untouched":
            yield f"part {part.id} is {said.state} before anybody touched it"
    course.predict(name, 0)
    course.experiment(name, {}, _quiet)
    progress = course.store.read().lesson(name)
    if progress.passed or progress.done:
        yield "its experiment as it stands already answers a question"
    for part in lesson.file.check:
        answer_part(course, lesson, part.id, part.question)
        if part.id not in course.store.read().lesson(name).done:
            yield f"the reference answer of part {part.id} is not right"
        yield from _verify_varied(course, lesson, part)
    if not course.store.read().lesson(name).passed:
        yield "its reference answers do not pass it"


def _verify_varied(course: Course, lesson: Lesson, part: Part) -> Iterator[str]:
    """The question after the worked answer has an answer too."""
    question = part.varied
    if question.kind == "evidence":
        said = judge(question, None, course.experiment(lesson.id, question.reference, _quiet))
    else:
        record = course.record(lesson.id)
        said = judge(question, reference_answer(question, record), record)
    if said.state != "right":
        yield f"the reference answer of the varied question of part {part.id} is {said.state}: {said.text}"


def answer_part(course: Course, lesson: Lesson, part_id: str, question: Question) -> None:
    """Answer as the lesson's author would: with the reference run, or the reference answer."""
    if isinstance(question, EvidenceQuestion):
        course.experiment(lesson.id, question.reference, _quiet)
        return
    course.answer(lesson.id, part_id, reference_answer(question, course.record(lesson.id)))


def quiz_answers(course: Course, phase: int, test_out: bool) -> list[Value | None]:
    """The right answers of a quiz, as it is asked now."""
    return [reference_answer(asked.question, None) for asked in course.quiz(phase, test_out)]


def _pass_gate(course: Course, phase: int) -> None:
    said = course.answer_quiz(phase, False, quiz_answers(course, phase, test_out=False))
    assert said["passed"], gates.GATE_RIGHT


def _quiet(event: Any) -> None:
    """Progress nobody looks at."""
