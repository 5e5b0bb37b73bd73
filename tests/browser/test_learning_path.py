"""A learner walks every lesson that exists, from nothing to the end: in a real Chromium, then in a terminal.

Both really train. What one face did the other sees at once.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from learner_at_keyboard import Watched
from support import ROOT

from forge.learn import draw
from forge.learn.cards import CARDS, PHASES
from forge.learn.checks import reference_answer
from forge.learn.course import Course, load_course
from forge.learn.lessons import Lesson, Part
from forge.learn.questions import Question
from forge.learn.terminal import Terminal
from forge.learn.verify import quiz_answers
from forge.learn.worker import Worker

pytestmark = pytest.mark.slow
MOST_PROMPTS = 600
FORGE = [sys.executable, str(ROOT / "forge.py"), "learn"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("learner")


@pytest.fixture
def served(home: Path) -> Iterator[str]:
    """The address of `forge.py learn`, started as a learner starts it."""
    process = subprocess.Popen(
        [*FORGE, "--no-browser"], cwd=home, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert process.stdout
    found = re.search(r"http://\S+", process.stdout.readline())
    assert found
    yield found[0]
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0


def test_in_a_browser_with_the_keyboard_alone(served: str, watched: Any, home: Path) -> None:
    window = watched(served)
    see_what_is_locked(window)
    course = load_course(Worker(home / ".forge"), home / ".forge")  # to know the answers; its worker never starts
    for phase in PHASES:
        written = [course.lessons[card.id] for card in phase.cards if card.id in course.lessons]
        for lesson in written:
            look_at_the_map(window, course, lesson)
            if lesson.card.number == "1.2":
                predict_in_the_terminal(home, lesson)
            walk_lesson(window, course, lesson)
        if len(written) < len(phase.cards):
            course.unlock_all()  # the way on leads through a gate that cannot be tried yet
            continue
        walk_gate(window, course, phase.number, fail_first=phase.number == 1)
    window.go("", ".phases")
    done = sum(progress.passed for progress in course.store.read().lessons.values())
    assert window.text("#progress") == f"{done} of 18"
    same_in_the_terminal(window, home)
    narrow = watched(served, viewport={"width": 360, "height": 740})
    for name, lesson in course.lessons.items():
        narrow.go(f"lesson/{name}", ".lesson")
        see_pictures(narrow, course, lesson)
        assert not narrow.sticking_out(), name


def see_what_is_locked(window: Watched) -> None:
    """To who begins, one lesson is open; each other one, and each gate, says on the map and by its address why not."""
    first, *others = CARDS
    assert window.page.query_selector(f"a.node.next[data-id={first}]")
    for name in others:
        assert window.page.get_attribute(f"button.node.locked[data-id={name}]", "aria-disabled") == "true"
    for place in [*(f"lesson/{name}" for name in others), *(f"gate/{phase.number}" for phase in PHASES)]:
        window.go(place, ".refusal")
        assert "still locked" in window.text(".refusal h1"), place
        why = window.text(".refusal [role=alert]")
        assert re.search(r"Pass (lesson|the gate)|not written yet", why), place
    window.go("", ".phases")


def predict_in_the_terminal(home: Path, lesson: Lesson) -> None:
    """The other face, in the middle of the walk: the page finds the prediction made."""
    typed = f"{lesson.card.number}\n1\nq\n"
    done = subprocess.run([*FORGE, "--terminal"], cwd=home, input=typed, capture_output=True, text=True, check=True)
    assert lesson.file.prediction.choices[0] in " ".join(done.stdout.split())


def look_at_the_map(window: Watched, course: Course, lesson: Lesson) -> None:
    """This lesson is open; every later one is locked, says why, and opens neither by key nor by address."""
    window.go("", ".phases")
    assert window.page.query_selector(f"a.node.next[data-id={lesson.id}]")
    if not course.store.read().unlocked_all_at:
        try_what_is_locked(window, course, lesson)
    window.go("", ".phases")
    window.activate(f"a.node[data-id={lesson.id}]")
    window.page.wait_for_selector(".lesson")
    assert window.text("h1") == lesson.card.title


def try_what_is_locked(window: Watched, course: Course, lesson: Lesson) -> None:
    order = list(CARDS)
    later = [name for name in order[order.index(lesson.id) + 1 :] if name in course.lessons][:1] or order[-1:]
    for name in later:
        if name == lesson.id:
            continue
        locked = f"button.node.locked[data-id={name}]"
        assert window.page.get_attribute(locked, "aria-disabled") == "true"
        window.activate(locked)
        assert window.text("#announce").startswith("Locked. ")
        assert window.page.query_selector(".phases"), "nothing opened"
        window.go(f"lesson/{name}", ".refusal")
        assert "still locked" in window.text(".refusal h1")
        assert window.text(".refusal [role=alert]").endswith(".")


def walk_lesson(window: Watched, course: Course, lesson: Lesson) -> None:
    if course.store.read().lesson(lesson.id).prediction is None:
        assert window.page.query_selector(".experiment .go button:disabled"), "first the prediction"
        window.choose(".prediction", 0)
        window.activate(".prediction button")
    else:
        window.reload(".predicted")
    window.page.wait_for_selector(".predicted")
    ran = False
    for part in lesson.file.check:
        if part.question.kind != "evidence" and not ran:
            window.set_controls(lesson, {})
            window.run()
            ran = True
        if part.question.kind == "evidence":
            window.set_controls(lesson, part.question.reference)
            window.run()
            ran = True
        else:
            answer_typed(window, course, lesson, part)
        window.page.wait_for_selector(f"#part-{part.id}.right")
        if part is lesson.file.check[0]:
            see_pictures(window, course, lesson)
            window.reload(".lesson")
            assert window.page.query_selector(f"#part-{part.id}.right"), "a reload keeps what was done"
            assert window.page.query_selector(".predicted")
            see_pictures(window, course, lesson)
    window.page.wait_for_selector(".finished")
    assert course.store.read().lesson(lesson.id).status == "passed"


def see_pictures(window: Watched, course: Course, lesson: Lesson) -> None:
    record = course.record(lesson.id)
    assert record
    assert window.page.locator(".pictures .picture").count() == len(record.result.pictures)
    for picture in record.result.pictures:
        figure = window.page.locator(
            f".picture.{picture.kind}", has=window.page.get_by_text(picture.title, exact=True)
        ).first
        assert figure.bounding_box()["height"] > 40
    assert window.text(".pictures .said") == " ".join(record.result.said.split())


def answer_typed(window: Watched, course: Course, lesson: Lesson, part: Part) -> None:
    """First wrong, and it is explained; then right."""
    wrong, why = a_wrong_answer(part.question)
    give(window, part, wrong)
    window.page.wait_for_selector(f"#part-{part.id} .verdict.wrong")
    assert why in window.text(f"#part-{part.id} .verdict")
    give(window, part, reference_answer(part.question, course.record(lesson.id)))


def a_wrong_answer(question: Question) -> tuple[Any, str]:
    if question.kind == "choice":
        return next((i, choice.why) for i, choice in enumerate(question.choices) if not choice.right)
    assert question.kind != "evidence"
    return ("-987654", question.otherwise) if question.kind == "number" else ("zzz", question.otherwise)


def give(window: Watched, part: Part, answer: Any) -> None:
    if part.question.kind == "choice":
        window.choose(f"#part-{part.id}", answer)
    else:
        window.write(f"#part-{part.id} input", f"{answer:.12g}" if isinstance(answer, int | float) else str(answer))
    window.activate(f"#part-{part.id} button")


def walk_gate(window: Watched, course: Course, phase: int, fail_first: bool) -> None:
    window.go(f"gate/{phase}", ".quiz")
    if fail_first:
        hand_in(window, course, phase, wrong=True)
        assert window.page.locator(".questions .wrong .verdict").count() >= 2
        assert "needed" in window.text(".result")
        window.activate(".result button")
        window.page.wait_for_selector(".quiz button[type=submit]:visible")
    hand_in(window, course, phase, wrong=False)
    assert "Passed" in window.text(".result")
    assert course.store.read().gate(phase).status == "passed"


def hand_in(window: Watched, course: Course, phase: int, wrong: bool) -> None:
    questions, answers = course.quiz(phase, test_out=False), quiz_answers(course, phase, test_out=False)
    for place, (asked, answer) in enumerate(zip(questions, answers, strict=True)):
        given = a_wrong_answer(asked.question)[0] if wrong else answer
        card = f"[data-place='{place}']"
        if asked.question.kind == "choice":
            window.choose(card, given)
        else:
            window.write(f"{card} input", str(given))
    window.activate(".quiz button[type=submit]")
    window.page.wait_for_selector(".result .notice")


def same_in_the_terminal(window: Watched, home: Path) -> None:
    """Another process, another face, the same progress."""
    done = subprocess.run([*FORGE, "--terminal"], cwd=home, input="q\n", capture_output=True, text=True, check=True)
    passed = {card.id for card in CARDS.values() if re.search(rf"^  \[x\] {card.number} ", done.stdout, re.MULTILINE)}
    assert passed
    shown = window.page.eval_on_selector_all("a.node.passed", "(all) => all.map((one) => one.dataset.id)")
    assert passed == {name for name in shown if name in CARDS}


class AtPrompts(io.TextIOBase):
    """Standard input of a learner who reads what stands on the screen and knows the answers."""

    def __init__(self, course: Course, screen: io.StringIO) -> None:
        self.course, self.screen = course, screen
        self.tried: set[str] = set()
        self.shown: list[str] = []  # what stands on the screen without what is typed
        self.prompts = self.seen = 0
        self.lines: list[str] = []  # of a text of several, still to be typed
        self.questions: dict[str, tuple[str, Question]] = {}
        for name, lesson in course.lessons.items():
            for part in lesson.file.check:
                self.questions[flat(part.question.ask)] = name, part.question
                self.questions[flat(part.varied.ask)] = name, part.varied

    def readline(self, limit: int | None = -1, /) -> str:  # type: ignore[override]
        self.prompts += 1
        assert self.prompts < MOST_PROMPTS, self.screen.getvalue()[-2_000:]
        text = self.screen.getvalue()
        line = f"{self._answer(text)}\n"
        self.shown.append(text[self.seen :])
        self.screen.write(line)  # as terminals show what is typed
        self.seen = len(text) + len(line)
        return line

    def _answer(self, text: str) -> str:
        prompt = text.rsplit("\n", 1)[-1]
        if prompt == "  > " and self.lines:
            return self.lines.pop(0)
        if prompt == "> ":
            following = self.course.view_map()["next"]
            return "" if following else "q"
        quiz = re.findall(r"^Gate of phase (\d)", text, re.MULTILINE)
        if quiz and text.rfind("Gate of phase") > text.rfind("What do you expect?"):
            return self._in_quiz(int(quiz[-1]), text)
        if prompt.startswith("Your choice: ") and text.rfind("What do you expect?") > text.rfind("Question: "):
            return "1"
        return self._in_lesson(text, prompt)

    def _in_quiz(self, phase: int, text: str) -> str:
        questions, answers = self.course.quiz(phase, test_out=False), quiz_answers(self.course, phase, test_out=False)
        now = flat(text)
        at = max(range(len(questions)), key=lambda i: now.rfind(f"{i + 1}. {flat(questions[i].question.ask)}"))
        answer = answers[at]
        return str(answer + 1) if questions[at].question.kind == "choice" and isinstance(answer, int) else str(answer)

    def _in_lesson(self, text: str, prompt: str) -> str:
        now = flat(text)
        latest = max(self.questions, key=lambda ask: (now.rfind(f"uestion: {ask}"), len(ask)))  # one may begin another
        name, question = self.questions[latest]
        if prompt not in {"Your answer: ", "Your choice: ", "  > "} and not prompt.startswith("Your choice ["):
            return self._control(name, question, prompt.partition(" [")[0])
        if prompt.startswith("Your choice ["):
            label = re.findall(r"^(.*):\n(?:  \d+  .*\n)+\Z", text[: -len(prompt)], re.MULTILINE)[-1]
            return self._control(name, question, label)
        if prompt == "  > ":
            label = re.findall(r"^(.*) \(Enter keeps it;", text, re.MULTILINE)[-1]
            first, *self.lines = [*self._control(name, question, label).splitlines(), ""]
            return first
        if question.ask not in self.tried:
            self.tried.add(question.ask)
            wrong = a_wrong_answer(question)[0]
            return str(wrong + 1) if question.kind == "choice" else str(wrong)
        answer = reference_answer(question, self.course.record(name))
        return str(answer + 1) if question.kind == "choice" and isinstance(answer, int) else str(answer)

    def _control(self, name: str, question: Question, label: str) -> str:
        wanted = question.reference if question.kind == "evidence" else {}
        controls = self.course.lessons[name].file.controls
        for control in sorted(controls, key=lambda one: -len(one.label)):  # one label may begin another
            if label.startswith(control.label):
                value = wanted.get(control.name, control.start)
                return str(control.options.index(str(value)) + 1) if control.kind == "pick" else str(value)
        raise AssertionError(f"no control for the prompt {label!r}")


def flat(text: str) -> str:
    return " ".join(text.split())


def test_in_a_terminal(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / ".forge"
    if (home / ".forge" / "runs").is_dir():  # the same settings were trained in the browser's walk: found done
        shutil.copytree(home / ".forge" / "runs", folder / "runs", symlinks=True)
    monkeypatch.chdir(tmp_path)
    worker, screen = Worker(Path(".forge")), io.StringIO()
    course = load_course(worker, Path(".forge"))
    if len(course.lessons) < len(CARDS):
        course.unlock_all()  # the way on leads through gates that cannot be tried yet
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(sys, "stdin", learner := AtPrompts(course, screen))
    to_the_letter: set[str] = set()  # what a program printed is shown as it is, however wide

    def verbatim(picture: Mapping[str, Any]) -> list[str]:
        lines = text_lines(picture)
        to_the_letter.update(lines)
        return lines

    text_lines = draw._DRAWERS["text"]
    monkeypatch.setitem(draw._DRAWERS, "text", verbatim)
    try:
        Terminal(course).walk()
    finally:
        monkeypatch.undo()
        worker.close()
    state, text = load_course(worker, folder).store.read(), screen.getvalue()
    assert {name for name, progress in state.lessons.items() if progress.passed} == set(course.lessons)
    whole = [phase for phase in PHASES if all(card.id in course.lessons for card in phase.cards)]
    assert [state.gate(phase.number).status for phase in whole] == ["passed"] * len(whole)
    assert "Not quite. " in text
    assert "\x1b" not in text, "no colour is needed"
    wide = [line for part in learner.shown for line in part.splitlines() if len(line) > 120]
    wide = [line for line in wide if " " in line.strip() and line not in to_the_letter]
    assert not wide, "only a word, such as a path, may be longer"
