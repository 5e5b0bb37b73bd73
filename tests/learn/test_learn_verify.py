"""`--verify` walks every lesson for real, and finds a lesson that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from learn_stub import course_in
from support import forge

from forge.learn.course import Course
from forge.learn.lessons import Lesson, load_lessons
from forge.learn.state import Store
from forge.learn.verify import _verify_lesson


@pytest.mark.slow
@pytest.mark.first
def test_every_lesson_can_be_failed_and_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert forge("learn", "--verify") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(load_lessons()) + 1
    assert all(": ok; experiments: " in line for line in lines[:-1])
    print(lines[-1])
    assert not (tmp_path / ".forge").exists(), "it has progress of its own"


def changed(lesson: Lesson, **change: object) -> Lesson:
    return Lesson(lesson.card, lesson.file.model_copy(update=change), lesson.text)


def test_a_lesson_that_its_untouched_experiment_passes_is_found(tmp_path: Path) -> None:
    course = course_in(tmp_path)
    lesson = course.lessons["neural-networks"]
    course.unlock_all()
    assert list(_verify_lesson(course, lesson)) == []
    need = lesson.file.check[0].question.needs[0].model_copy(update={"equal": 0})  # type: ignore[union-attr]
    question = lesson.file.check[0].question.model_copy(update={"needs": [need]})
    easy = changed(lesson, check=[lesson.file.check[0].model_copy(update={"question": question})])
    again = Course({**course.lessons, lesson.id: easy}, Store(tmp_path / "again"), course.runner)
    again.unlock_all()
    found = list(_verify_lesson(again, easy))
    assert any("already answers" in problem for problem in found)


def test_a_reference_answer_that_is_wrong_is_found(tmp_path: Path) -> None:
    course = course_in(tmp_path)
    lesson = course.lessons["neural-networks"]
    wrong = lesson.file.check[0].question.model_copy(update={"reference": lesson.file.start()})
    broken = changed(lesson, check=[lesson.file.check[0].model_copy(update={"question": wrong})])
    again = Course({**course.lessons, lesson.id: broken}, Store(tmp_path / "again"), course.runner)
    again.unlock_all()
    found = list(_verify_lesson(again, broken))
    assert any("reference answer of part exchange is not right" in problem for problem in found)
