"""The run directory: one owner, whole files, a clear word about what is there."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from forge.core.errors import CheckpointError, UserError
from forge.runs.run_dir import RunDirectory, check_room, megabytes, open_existing, outcome, read_record, run_path

CLAIM = """
import sys
from pathlib import Path
from forge.core.errors import UserError
from forge.runs.run_dir import RunDirectory
run = RunDirectory(Path(sys.argv[1]))
try:
    run.claim()
    print("claimed")
except UserError as error:
    print(error)
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)  # under Slurm a claim waits
    run = RunDirectory(tmp_path / "runs/name/1-abc")
    run.claim()
    yield run
    run.release()


def _message(call, *arguments):
    with pytest.raises(UserError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _elsewhere(path):
    command = [sys.executable, "-c", CLAIM, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_one_process_owns_a_run(run):
    taken = f"{run.path}  is in use by process {os.getpid()} on {platform.node()}; wait for it, or stop it"
    assert _elsewhere(run.path) == taken
    assert _message(RunDirectory(run.path).claim) == taken
    run.release()
    assert _elsewhere(run.path) == "claimed"
    run.claim()  # the other process ended, and with it its claim


@pytest.mark.parametrize("path", ["/proc/forge/run", "/sys/forge/run"])
def test_a_directory_that_cannot_be_made(path):
    assert _message(RunDirectory(Path(path)).claim).startswith(f"run.dir: cannot write to {path}: ")
    assert not Path(path).parent.exists()


def test_a_failed_claim_takes_back_what_it_made(tmp_path, monkeypatch):
    real = os.open

    def refuse(path, *arguments, **named):
        if str(path).endswith(".lock"):
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **named)

    monkeypatch.setattr("os.open", refuse)
    with pytest.raises(UserError, match="Permission denied"):
        RunDirectory(tmp_path / "a/b/c").claim()
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []


def test_lives_are_appended_and_facts_stay(run):
    run.begin_life({"name": "x", "labels": ["a"]}, {"pid": 1})
    run.end_life("interrupted from the keyboard")
    run.begin_life({"name": "other"}, {"pid": 2})
    metadata = run.metadata()
    assert metadata["name"] == "x"
    assert [life["pid"] for life in metadata["lives"]] == [1, 2]
    assert [life["why"] for life in metadata["lives"]] == ["interrupted from the keyboard", None]
    assert metadata["lives"][0]["ended"] >= metadata["lives"][0]["started"]
    run.end_life("completed")
    assert run.metadata()["lives"][1]["why"] == "completed"


def test_latest_points_at_the_run_that_began_last(run, tmp_path):
    run.begin_life({}, {})
    link = run.path.parent / "latest"
    assert link.resolve() == run.path.resolve()
    other = RunDirectory(run.path.parent / "2-def")
    other.claim()
    other.begin_life({}, {})
    other.release()
    assert link.is_symlink()
    assert link.resolve() == other.path.resolve()
    assert link.readlink() == Path("2-def")  # relative, so that runs/ may be moved
    assert sorted(path.name for path in run.path.parent.iterdir()) == ["1-abc", "2-def", "latest"]


def test_state_and_completion(run):
    assert run.state() == {}
    assert not run.completed
    for durable in (False, True):
        run.write_state({"status": "running", "step": 3}, durable)
        assert not run.completed
        run.write_state({"status": "completed", "step": 3}, durable)
        assert run.completed
    assert sorted(path.name for path in run.path.iterdir()) == [".lock", "training_state.json"]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "\x00\x00", "[" * 3_000, '{"a":' * 900 + "1" + "}" * 900, " " * 2**25]
)
def test_a_damaged_state_is_reported_but_stops_no_run(run, content):
    (run.path / "training_state.json").write_text(content)
    assert str(run.path / "training_state.json") in _message(run.state)
    assert run.completed is False
    assert run.known_state() == {}


def test_reading_back(run, tmp_path):
    assert not run.exists
    assert _message(open_existing, str(run.path)).endswith("is not a run directory: it has no run_metadata.json")
    run.begin_life({"name": "x"}, {})
    assert open_existing(str(run.path)).metadata()["name"] == "x"
    (run.path / "run_metadata.json").write_text("[1]")
    assert _message(run.metadata).endswith("does not hold a JSON object")
    assert "cannot be read" in _message(read_record, tmp_path / "no.json")


def test_checkpoints_by_name(run):
    run.begin_life({}, {})
    assert _message(run.checkpoint).endswith("has no checkpoint 'best'; there are: none yet")
    for step in (2, 4):
        (run.path / f"checkpoint-{step}").mkdir()
    run.write_state({"best": {"step": 2}, "checkpoint": "checkpoint-4"})
    found = {which: run.checkpoint(which).name for which in ("best", "last", "2", "4", "checkpoint-4")}
    assert found == {
        "best": "checkpoint-2",
        "last": "checkpoint-4",
        "2": "checkpoint-2",
        "4": "checkpoint-4",
        "checkpoint-4": "checkpoint-4",
    }
    for which in ("3", "bad", "", "../..", "checkpoint-"):
        assert _message(run.checkpoint, which).endswith(
            f"has no checkpoint '{which}'; there are: checkpoint-2, checkpoint-4"
        )


@pytest.mark.parametrize("state", [{"best": 3, "checkpoint": 3}, {"best": {"step": "../x"}, "checkpoint": "../x"}])
def test_a_state_that_names_no_checkpoint(run, state):
    (run.path / "checkpoint-2").mkdir()
    run.write_state(state)
    for which in ("best", "last"):
        assert _message(run.checkpoint, which).endswith("; give --checkpoint a step")
    assert run.checkpoint("2").name == "checkpoint-2"


def test_where_a_run_lives(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run_path("~/runs", "a/b", 7, "abc") == tmp_path / "runs/a/b/7-abc"


# Room

Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize("path", ["/proc/runs/x", "/sys/runs/x"])
def test_an_unwritable_disk(path):
    assert _message(check_room, Path(path), 1).startswith(f"run.dir: cannot write to {Path(path).parent.parent}: ")


def test_a_full_disk_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 5_000_000))
    message = _message(check_room, tmp_path / "runs/x", 2_500_000_000)
    assert "has 5.0 MB free, the run's checkpoints need about 2.50 GB; make room" in message
    check_room(tmp_path / "runs/x", 5_000_000)
    assert list(tmp_path.iterdir()) == []


def test_what_an_earlier_life_saved_counts_as_room(tmp_path, monkeypatch):
    """Else a run that filled its share of the disk could never be continued."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 1_000))
    (tmp_path / "checkpoint-2").mkdir()
    (tmp_path / "checkpoint-2/model.safetensors").write_bytes(b"x" * 9_000)
    check_room(tmp_path, 10_000)
    _message(check_room, tmp_path, 10_001)


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "runs").write_text("")
    assert _message(check_room, tmp_path / "runs", 1).endswith("is a file, not a directory")
    assert _message(check_room, tmp_path / "runs/x", 1).startswith("run.dir: ")
    assert _message(check_room, tmp_path / ("x" * 300), 1).startswith("run.dir: cannot reach ")


def test_sizes_and_outcomes():
    assert [megabytes(size) for size in (0, 1_500_000, 2_000_000_000)] == ["0.0 MB", "1.5 MB", "2.00 GB"]
    assert outcome(None) == ("completed", "completed")
    assert outcome(KeyboardInterrupt()) == ("interrupted", "interrupted from the keyboard")
    assert outcome(CheckpointError("one\ntwo")) == ("failed", "one")
    assert outcome(ValueError("one\ntwo")) == ("failed", "ValueError: one")
    assert outcome(ValueError()) == ("failed", "ValueError: ")
    json.dumps(outcome(None))
