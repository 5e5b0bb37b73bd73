"""The experiments of phase 5: what is typed really runs, and what they show of it is what Forge left on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from forge.core.errors import UserError
from forge.learn.experiments.base import Live
from forge.learn.experiments.practice import configuration, first_run, outputs
from forge.learn.experiments.practice.command import split_words, type_in, workplace


@pytest.fixture
def live(tmp_path: Path) -> Live:
    return Live(tmp_path, 60.0, _ignore)


def _ignore(event: Mapping[str, Any]) -> None:
    """Progress nobody looks at."""


def test_a_command_is_a_process_with_output_and_exit_code(live: Live) -> None:
    heard: list[str] = []
    told = type_in(["--version"], workplace(live), heard.append)
    assert told.code == 0
    assert told.text.startswith("forge ")
    assert heard == [told.text]
    refused = type_in(["fly"], workplace(live))
    assert refused.code == 2
    assert "no verb 'fly'" in refused.text
    assert refused.as_terminal().startswith("$ python forge.py fly\n")


def test_a_lonely_quotation_mark_is_one_line() -> None:
    with pytest.raises(UserError, match="quotation mark"):
        split_words("--seed '2")


@pytest.mark.parametrize("typed", ["--max_steps 101", "--seed 2"])
def test_what_is_no_smoke_test_is_not_begun(live: Live, typed: str) -> None:
    with pytest.raises(UserError, match="at most 100 steps"):
        first_run.run({"typed": typed}, live)


def test_no_directory_outside_the_lesson_is_touched(live: Live, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(UserError, match=r"leave run\.dir"):
        first_run.run({"typed": f"--max_steps 1 --run.dir {other}"}, live)
    assert other.is_dir()


def test_the_same_command_again_trains_nothing(live: Live) -> None:
    typed = {"typed": "--max_steps 2 --data.embedded.train_size 100 --evaluate.max_examples 20"}
    result = first_run.run(typed, live)
    assert (result.numbers["trained"], result.numbers["trained_again"]) == (2, 0)
    assert result.numbers["examples"] == 64
    assert result.run is not None
    assert (Path(result.run) / "report.html").is_file()


def settle(live: Live, text: str, typed: str = "nothing") -> Mapping[str, float | int]:
    return configuration.run({"file": text, "typed": typed}, live).numbers


def test_the_fingerprint_tells_other_words_from_another_experiment(live: Live) -> None:
    first = configuration.FIRST
    assert settle(live, first)["retold"] == 0
    assert settle(live, f"# A remark alone.\n{first}")["retold"] == 0
    assert settle(live, first.replace("1e-3", "0.001"))["retold"] == 1
    assert settle(live, first.replace("1e-3", "2e-3"))["retold"] == 0


def test_who_set_what_is_counted(live: Live) -> None:
    found = settle(live, configuration.FIRST, "--learning_rate 0.25 --seed 4")
    assert (found["by_file"], found["by_command"], found["learning_rate"]) == (0, 2, 0.25)
    alone = settle(live, configuration.FIRST)
    assert (alone["by_file"], alone["by_command"]) == (1, 0)
    assert alone["settings"] == found["settings"]


def test_problems_are_counted_as_the_command_tells_them(live: Live) -> None:
    found = configuration.run({"file": "extends: _base.yaml\nmodle: 2\ntrain:\n  lr: 1\n", "typed": "nothing"}, live)
    assert found.numbers == {"problems": 2, "exit_code": 2}
    assert "mine.yaml:2:1" in found.pictures[0].model_dump()["text"]


def test_a_file_without_a_parent_says_what_is_missing(live: Live) -> None:
    assert settle(live, "alpha: 0.0")["problems"] >= 1


def test_a_run_in_two_lives_ends_as_one_that_was_never_stopped(live: Live) -> None:
    found = outputs.run({"stop_at": 60, "rate": "2e-2"}, live)
    assert (found.numbers["lives"], found.numbers["left"], found.numbers["same_weights"]) == (2, 180, 1)
    log = found.pictures[0].model_dump()["text"]
    assert "saved checkpoint-60 in" in log
    assert "training continues after step 60 of 240" in log
    assert found.numbers["best_is_last"] == 0, "the lesson shows a run that loses what it had"
