"""The engine under both faces: order, predictions, checks that unlock, gates, testing out."""

from __future__ import annotations

from pathlib import Path

import pytest
from learn_stub import Canned, course_in

from forge.core.errors import UserError
from forge.learn import gates
from forge.learn.cards import CARDS, PHASES
from forge.learn.checks import reference_answer
from forge.learn.course import Course, LockedError
from forge.learn.state import State
from forge.learn.verify import quiz_answers


@pytest.fixture
def course(tmp_path: Path) -> Course:
    return course_in(tmp_path)


def wrong(course: Course, name: str, part_id: str) -> int:
    """A wrong choice of a part."""
    part = next(part for part in course.lessons[name].file.check if part.id == part_id)
    assert part.question.kind == "choice"
    return next(place for place, choice in enumerate(part.question.choices) if not choice.right)


def pass_lesson(course: Course, *names: str) -> None:
    with course.store.change() as state:
        for name in names:
            state.lesson(name).finish()


def test_eighteen_cards_in_six_phases() -> None:
    assert len(CARDS) == 18
    assert [len(phase.cards) for phase in PHASES] == [3] * 6
    assert [card.number for card in PHASES[1].cards] == ["2.1", "2.2", "2.3"]


def test_at_first_one_lesson_is_open_and_the_rest_says_why(course: Course) -> None:
    view = course.view_map()
    entries = [entry for phase in view["phases"] for entry in [*phase["lessons"], phase["gate"]]]
    assert [entry["id"] for entry in entries if not entry["locked"]] == ["what-is-ai"]
    assert view["next"] == "what-is-ai"
    assert all(entry["locked"].endswith(".") for entry in entries[1:])
    with pytest.raises(LockedError, match=r"Pass lesson 1\.1 first"):
        course.view_lesson("neural-networks")


@pytest.mark.parametrize("name", ["", "../what-is-ai", "what-is-ai/", "gate-1", "WHAT-IS-AI", "x" * 5_000])
def test_a_lesson_that_is_not_there_is_refused_in_one_line(course: Course, name: str) -> None:
    with pytest.raises(UserError, match="there is no lesson") as caught:
        course.view_lesson(name)
    assert len(str(caught.value)) < 100


def test_no_experiment_before_a_prediction_and_the_first_one_stays(course: Course) -> None:
    with pytest.raises(UserError, match="what you expect"):
        course.experiment("what-is-ai", {}, lambda event: None)
    course.predict("what-is-ai", 2)
    course.predict("what-is-ai", 0)
    assert course.view_lesson("what-is-ai")["prediction"]["made"] == 2
    assert course.experiment("what-is-ai", {}, lambda event: None).result.said == "It ran."


@pytest.mark.parametrize(
    "controls", [{"rounds": 0}, {"rounds": 401}, {"rounds": "400"}, {"rounds": True}, {"pair": "x"}, {"speed": 1}]
)
def test_controls_out_of_their_range_are_refused(course: Course, controls: dict[str, object]) -> None:
    course.predict("what-is-ai", 0)
    with pytest.raises(UserError):
        course.experiment("what-is-ai", controls, lambda event: None)  # type: ignore[arg-type]
    assert isinstance(course.runner, Canned)
    assert not course.runner.asked


def test_a_view_tells_no_answer(course: Course) -> None:
    shown = repr(course.view_lesson("what-is-ai")["check"])
    assert "worked" in shown
    for part in course.lessons["what-is-ai"].file.check:
        assert part.worked not in shown
        assert part.hints[0] not in shown
        if part.question.kind == "choice":
            assert all(choice.why not in shown for choice in part.question.choices)


def test_failing_brings_hints_then_the_answer_then_another_question(course: Course) -> None:
    answer = wrong(course, "what-is-ai", "what-changed")
    seen = []
    for _ in range(4):
        said = course.answer("what-is-ai", "what-changed", answer)
        assert said["state"] == "wrong"
        seen.append((len(said["part"]["hints"]), bool(said["part"]["worked"])))
    assert seen == [(0, False), (1, False), (2, False), (2, True)]
    part = course.lessons["what-is-ai"].file.check[1]
    assert said["part"]["ask"] == part.varied.ask
    assert course.store.read().lesson("what-is-ai").hints_used == 2
    said = course.answer("what-is-ai", "what-changed", reference_answer(part.varied, None))
    assert said["state"] == "right"
    assert said["part"]["done"]


def test_untouched_is_not_counted(course: Course) -> None:
    for answer in (None, "", "  "):
        assert course.answer("what-is-ai", "what-changed", answer)["state"] == "untouched"
    assert course.answer("what-is-ai", "train-it", None)["state"] == "untouched"
    course.predict("what-is-ai", 0)
    course.experiment("what-is-ai", {}, lambda event: None)  # everything as it stood
    assert course.store.read().lesson("what-is-ai").tries == 0


def test_a_right_answer_unlocks_what_comes_next(course: Course) -> None:
    pass_lesson(course, "what-is-ai")
    lesson = course.lessons["neural-networks"]
    course.predict("neural-networks", 0)
    course.experiment("neural-networks", {"changed": "All old owls ran"}, lambda event: None)
    assert course.answer("neural-networks", "rows", "1")["state"] == "wrong"
    assert course.answer("neural-networks", "rows", "7")["state"] == "right"
    assert "Locked" not in str(course.view_map())
    with pytest.raises(LockedError):
        course.view_lesson("vocabulary")
    said = course.answer("neural-networks", "where", reference_answer(lesson.file.check[2].question, None))
    assert said["passed"]
    assert said["next"]["id"] == "vocabulary"
    assert course.view_lesson("vocabulary")["status"] == "open"


def test_a_failed_experiment_leaves_progress_as_it_was(course: Course) -> None:
    course.predict("what-is-ai", 1)
    assert isinstance(course.runner, Canned)
    course.runner.fail = UserError("the experiment's process died twice; your progress is safe")
    with pytest.raises(UserError, match="died"):
        course.experiment("what-is-ai", {}, lambda event: None)
    assert course.store.read().lesson("what-is-ai").prediction == 1
    assert course.record("what-is-ai") is None


def test_a_damaged_record_is_no_record(course: Course) -> None:
    course.predict("what-is-ai", 0)
    course.experiment("what-is-ai", {}, lambda event: None)
    path = course.store.folder / "experiments" / "what-is-ai.json"
    path.write_text(path.read_text()[:-20])
    assert course.record("what-is-ai") is None
    assert course.view_lesson("what-is-ai")["record"] is None


def test_a_gate_opens_after_its_lessons_and_opens_the_next_phase(course: Course) -> None:
    with pytest.raises(LockedError, match=r"lesson 1\.1"):
        course.quiz(1, test_out=False)
    pass_lesson(course, "what-is-ai", "neural-networks", "vocabulary")
    assert course.view_map()["next"] == "gate-1"
    questions = course.quiz(1, test_out=False)
    assert len(questions) == 5
    assert len({asked.lesson for asked in questions}) == 3
    answers = quiz_answers(course, 1, test_out=False)
    said = course.answer_quiz(1, False, [None, None, *answers[2:]])
    assert (said["right"], said["passed"]) == (3, False)
    assert [verdict["state"] for verdict in said["verdicts"]] == ["untouched"] * 2 + ["right"] * 3
    assert [asked.question.ask for asked in course.quiz(1, test_out=False)] != [a.question.ask for a in questions]
    said = course.answer_quiz(1, False, [*quiz_answers(course, 1, test_out=False)[:4], None])
    assert said["passed"]
    assert not gates.why_phase_locked(2, course.store.read())


def test_an_empty_quiz_is_not_a_try(course: Course) -> None:
    pass_lesson(course, "what-is-ai", "neural-networks", "vocabulary")
    with pytest.raises(UserError, match="no answer"):
        course.answer_quiz(1, False, [])
    assert course.store.read().gate(1).tries == 0


def test_gates_of_later_phases_ask_two_questions_of_earlier_ones(course: Course) -> None:
    copies = {card.id: course.lessons["vocabulary"] for card in CARDS.values()}
    for phase in range(2, 7):
        for tries in range(5):
            asked = gates.gate_questions(phase, tries, copies)
            own = {card.id for card in PHASES[phase - 1].cards}
            assert len(asked) == 5
            assert sum(question.lesson not in own for question in asked) >= 2


def test_testing_out_takes_a_phase_as_known(course: Course) -> None:
    questions = course.quiz(1, test_out=True)
    assert len(questions) == 6
    assert gates.needed(questions, test_out=True) == 5
    answers = quiz_answers(course, 1, test_out=True)
    assert not course.answer_quiz(1, True, [*answers[:4], None, None])["passed"]
    said = course.answer_quiz(1, True, quiz_answers(course, 1, test_out=True))
    assert said["passed"]
    assert {progress.status for progress in course.store.read().lessons.values()} == {"tested-out"}
    assert course.view_map()["phases"][0]["gate"]["status"] == "tested-out"


def test_one_does_not_test_out_of_a_phase_whose_earlier_ones_are_open(course: Course) -> None:
    copies = {card.id: course.lessons["vocabulary"] for card in CARDS.values()}
    assert gates.why_no_test_out(1, State(), copies) == ""
    assert "gate of phase 1" in gates.why_no_test_out(2, State(), copies)


def test_unlocking_everything_is_recorded(course: Course) -> None:
    course.unlock_all()
    assert course.view_map()["unlocked_all"]
    assert course.view_lesson("vocabulary")["status"] == "open"
    assert course.store.read().unlocked_all_at
