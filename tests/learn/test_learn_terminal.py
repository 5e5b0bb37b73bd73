"""The terminal's face: pictures as text, markdown as text, and the verb's errands."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from learn_stub import PICTURES, course_in
from support import forge

from forge.learn.draw import draw
from forge.learn.lessons import load_lessons
from forge.learn.state import Store
from forge.learn.terminal import WIDTH, Terminal, plain


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    monkeypatch.chdir(tmp_path)
    return monkeypatch


def say(typed: pytest.MonkeyPatch, *lines: str) -> None:
    typed.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: f"{picture.kind}-{picture.title}")
def test_every_kind_of_picture_is_text_without_colour(picture: object) -> None:
    text = draw(picture.model_dump())  # type: ignore[attr-defined]
    assert text.startswith(picture.title)  # type: ignore[attr-defined]
    assert "\x1b" not in text
    assert all(len(line) <= 80 for line in text.splitlines() if "far" not in line)


def test_a_chart_says_where_its_lines_begin_and_end() -> None:
    text = draw(PICTURES[0].model_dump())
    assert "● training: loss from 1.1 to 1" in text
    assert "○ of few: loss from 1.05 to 1.05" in text
    assert "┊" in text


def test_cells_of_a_wide_table_take_several_lines() -> None:
    long = "stopped after step 140 (Ctrl-C); checkpoint-140 is saved, and the same command continues"
    rows = [["reason", long, "all 240 steps done, and nothing more to say about them all"], ["", "", ""]]
    text = draw({"kind": "table", "title": "Two runs", "header": ["", "stopped", "never"], "rows": rows})
    assert max(len(line) for line in text.splitlines()) <= 100
    assert [line.split("  ")[0] for line in text.splitlines()[3:5]] == ["reason", ""]
    assert set(long.split()) < set(text.split())


def test_a_diff_can_be_told_apart_without_colour() -> None:
    text = draw(next(picture for picture in PICTURES if picture.kind == "diff").model_dump())
    assert text.splitlines()[1] == "all old [-dogs-] {+owls+} ran {+far+}"


def test_lessons_are_plain_text_of_80_columns() -> None:
    for lesson in load_lessons().values():
        text = plain(lesson.text)
        assert not set("`*") & set(text.replace(" * ", ""))
        assert all(len(line) <= WIDTH for line in text.splitlines())
        assert all(term.upper() in " ".join(text.split()) for term in lesson.file.terms)


def test_leaving_at_any_prompt_keeps_what_was_done(typed: pytest.MonkeyPatch, tmp_path: Path) -> None:
    say(typed, "1.1", "2", "quit")
    Terminal(course_in(tmp_path)).walk()
    assert Store(tmp_path).read().lesson("what-is-ai").prediction == 1
    say(typed)  # the end of input is leaving too
    Terminal(course_in(tmp_path)).walk()


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("1.2", "Locked. Pass lesson 1.1 first"),
        ("g1", "Locked."),
        ("9.9", "no '9.9'"),
        ("g9", "phases 1 to 6"),
        ("t2", "Locked."),
        ("w", ""),
    ],
)
def test_what_cannot_be_gone_to_says_why(
    typed: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], word: str, told: str
) -> None:
    say(typed, word, "q")
    Terminal(course_in(tmp_path)).walk()
    assert told in " ".join(capsys.readouterr().out.split())


def test_a_canned_lesson_is_walked_with_hints(
    typed: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    course = course_in(tmp_path)
    with course.store.change() as state:
        state.lesson("what-is-ai").finish()
        state.lesson("neural-networks").prediction = 0
    say(typed, "1.2", "", "All old owls ran", "1", "x", "2", "3", "7", "q")
    Terminal(course).walk()
    text = capsys.readouterr().out
    assert "'x' is not a number" in text
    assert "Hint 1: Count rows, not numbers." in text
    assert course.store.read().lesson("neural-networks").done == ["exchange", "rows"]


def test_reset_asks_before(typed: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store = Store(tmp_path / ".forge")
    with store.change() as state:
        state.lesson("bert").finish()
    say(typed, "no")
    assert forge("learn", "--reset") == 0
    assert store.read().lesson("bert").passed
    say(typed, "yes")
    assert forge("learn", "--reset") == 0
    assert not store.read().lessons


def test_a_file_in_the_folders_place_is_one_line(typed: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    Path(".forge").write_text("")
    assert forge("learn", "--terminal") == 2
    assert "move it away" in capsys.readouterr().err


def test_unlock_all_is_kept(typed: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert forge("learn", "--unlock-all") == 0
    assert Store(tmp_path / ".forge").read().unlocked_all_at


def test_test_out_says_whether_it_was_passed(typed: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    say(typed, *["1"] * 6)
    assert forge("learn", "--test-out", "1") == 1
    assert "not passed" in capsys.readouterr().out
    assert forge("learn", "--test-out", "7") == 2


def test_a_flag_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert forge("learn", "--colour") == 2
    assert capsys.readouterr().err.count("\n") == 1


SEVERAL = {"kind": "words", "name": "file", "label": "A file", "start": "a: 1\nb: 2", "lines": 4}


def test_a_text_of_several_lines_keeps_its_blanks_and_ends_with_an_empty_line(
    typed: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    terminal = Terminal(course_in(tmp_path))
    say(typed, "train:", "  steps: 3", "", "not read")
    assert terminal._control(SEVERAL, SEVERAL["start"]) == "train:\n  steps: 3"
    assert sys.stdin.readline() == "not read\n"
    say(typed, "a", "b", "c", "d", "e")
    assert terminal._control(SEVERAL, SEVERAL["start"]) == "a\nb\nc\nd"
    say(typed, "")
    assert terminal._control(SEVERAL, SEVERAL["start"]) == "a: 1\nb: 2"
