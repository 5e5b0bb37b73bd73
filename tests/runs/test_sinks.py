"""Files, lines and panels that a run leaves behind."""

from __future__ import annotations

import builtins
import errno
import io
import json
import sys

import pytest
from rich.console import Console

from forge.core.errors import StorageError, UserError
from forge.core.events import (
    CheckpointSaved,
    Evaluated,
    Finished,
    Notice,
    Progressed,
    Started,
    StepLogged,
    fan_out,
)
from forge.runs import console as console_module
from forge.runs.console import LiveConsole, PlainConsole, make_console, sparkline
from forge.runs.lines import describe, duration
from forge.runs.run_dir import RunDirectory
from forge.runs.sinks import MetricsLog, OutputLog, StateFile, read_metrics
from forge.runs.tables import scores_table
from forge.runs.trackers import MAKERS, Tracker, make_trackers

SPEED = {"seconds_per_step": 0.5, "tokens_per_second": 12_345.0}
DETAIL = {
    "labels": ["a", "b\u2028c"],
    "per_class": {name: {"precision": 1.0, "recall": 0.5, "f1": 0.6667, "support": 3} for name in ("a", "b\u2028c")},
    "confusion": [[3, 0], [1, 2]],
    "examples": 6,
}


def _step(step, loss=0.5, **extra):
    return StepLogged(
        step, step / 10, {"loss": loss, **extra, "learning_rate": 1e-4, "grad_norm": 2.0}, step * 8, step * 99, SPEED
    )


def _evaluated(step, split="validation", final=False, accuracy=0.75):
    return Evaluated(step, split, {"accuracy": accuracy, "loss": 0.4}, DETAIL, 1.25, final)


EVENTS = [
    Notice("run x, seed 1"),
    Notice("careful", "warning"),
    Started(0, 20, "runs/x"),
    _step(10, sft=0.25),
    _evaluated(10),
    CheckpointSaved(10, "checkpoint-10", True, 0.125),
    _step(20),
    Progressed({"step": 20}),
    Finished(20, "all 20 steps done", 65.0),
    _evaluated(10, "test", final=True),
]
LINES = [
    "run x, seed 1",
    "warning: careful",
    "training starts: 20 steps",
    "step 10/20  loss 0.5000  sft 0.2500  grad 2.00  lr 1.00e-04  epoch 1.00  12,345 tokens/s  5.0 s left",
    "evaluation of validation at step 10:  accuracy 0.7500  loss 0.4000  (6 examples, 1.2 s)",
    "saved checkpoint-10 in 0.12 s  (best so far)",
    "step 20/20  loss 0.5000  grad 2.00  lr 1.00e-04  epoch 2.00  12,345 tokens/s  0.0 s left",
    "training ends: all 20 steps done, 1 min 05 s",
    "evaluation of test at best checkpoint (step 10):  accuracy 0.7500  loss 0.4000  (6 examples, 1.2 s)",
]


@pytest.fixture
def run(tmp_path):
    return RunDirectory(tmp_path)


def test_lines():
    assert [line for event in EVENTS if (line := describe(event, 20))] == LINES
    assert describe(Started(5, 1_000, ""), 0) == "training continues after step 5 of 1,000"
    assert describe(_step(5), 1_000).startswith("step    5/1000  ")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (9.94, "9.9 s"), (42, "42 s"), (60, "1 min 00 s"), (185, "3 min 05 s"), (7_800, "2 h 10 min")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_output_log_is_appended_with_the_time(run):
    (run.path / "output.log").write_text("an earlier life\nthat was cut sh")
    send = fan_out(OutputLog(run))
    for event in EVENTS:
        send(event)
    lines = (run.path / "output.log").read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ["an earlier life", "that was cut sh"]
    assert [line[21:] for line in lines[2:]] == LINES
    assert all(line[4] == line[7] == "-" and line[13] == ":" for line in lines[2:])


# metrics.jsonl


def _metrics(run):
    return read_metrics((run.path / "metrics.jsonl").read_text(encoding="utf-8"))


def test_metrics_hold_a_record_for_each_step_and_evaluation(run):
    log = MetricsLog(run)
    for event in EVENTS:
        log(event)
    records = _metrics(run)
    assert [(record["kind"], record["step"]) for record in records] == [
        ("step", 10),
        ("evaluation", 10),
        ("step", 20),
        ("test", 10),
    ]
    assert records[0] == {
        "kind": "step",
        "step": 10,
        "epoch": 1.0,
        "loss": 0.5,
        "sft": 0.25,
        "learning_rate": 1e-4,
        "grad_norm": 2.0,
        "samples_seen": 80,
        "tokens_seen": 990,
        "time": SPEED,
    }
    assert records[1]["labels"] == DETAIL["labels"], "a separator inside a label does not cut the record"
    assert records[1]["time"] == {"seconds": 1.25}


def test_a_record_that_is_nested_too_deeply_ends_the_reading():
    assert read_metrics('{"a": 1}\n' + "[" * 3_000 + "\n") == [{"a": 1}]


def test_a_restart_drops_what_comes_again(run):
    log = MetricsLog(run)
    for event in EVENTS:
        log(event)
    MetricsLog(run)(Started(10, 20, ""))
    assert [(record["kind"], record["step"]) for record in _metrics(run)] == [("step", 10), ("evaluation", 10)]
    MetricsLog(run)(Started(10, 20, "", evaluated=5))
    assert [record["kind"] for record in _metrics(run)] == ["step"], "no checkpoint remembers the evaluation"
    MetricsLog(run)(Started(0, 20, ""))
    assert _metrics(run) == []


@pytest.mark.parametrize("cut", [1, 10, -1])
def test_a_half_written_last_line_is_dropped(run, cut):
    log = MetricsLog(run)
    log(_step(1))
    path = run.path / "metrics.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:cut])
    assert len(_metrics(run)) == (2 if cut == -1 else 1)  # without its line's end alone a record is whole
    log(Started(1, 9, ""))
    assert path.read_bytes() == whole * len(_metrics(run))
    log(_step(2))
    assert _metrics(run)[-1]["step"] == 2


def test_a_line_cut_inside_a_letter_is_dropped(run):
    log = MetricsLog(run)
    log(_step(1))
    path = run.path / "metrics.jsonl"
    path.write_bytes(path.read_bytes() + '{"kind": "evaluation", "split": "é'.encode()[:-1])
    log(Started(1, 9, ""))
    assert [record["step"] for record in _metrics(run)] == [1]


# training_state.json


def test_state_is_written_now_and_then_and_at_each_checkpoint(run, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    sink = StateFile(run)
    sink(Progressed({"step": 1}))
    assert run.state() == {"status": "running", "step": 1}
    sink(Progressed({"step": 2}))
    assert run.state()["step"] == 1, "too soon"
    clock[0] += 2.1
    sink(Progressed({"step": 3}))
    assert run.state()["step"] == 3
    sink(CheckpointSaved(4, "checkpoint-4", True, 0.1))
    sink(Progressed({"step": 4, "checkpoint": "checkpoint-4"}))
    assert run.state() == {"status": "running", "step": 4, "checkpoint": "checkpoint-4"}, "at once"
    sink(Progressed({"step": 5}))
    assert run.state()["step"] == 4
    sink(Finished(5, "all 5 steps done", 1.0))
    sink(_evaluated(4, "test", final=True))
    sink.end("completed", "completed")
    assert run.completed
    assert run.state()["reason"] == "all 5 steps done"
    assert run.state()["step"] == 5
    assert run.state()["test"] == {"test": {"accuracy": 0.75, "loss": 0.4}}


def test_a_failed_life_says_why_and_the_next_one_forgets_it(run):
    first = StateFile(run)
    first(Progressed({"step": 3}))
    first.end("failed", "the disk is full")
    assert (run.state()["status"], run.state()["reason"]) == ("failed", "the disk is full")
    second = StateFile(run)
    second(Progressed({"step": 4}))
    assert run.state() == {"status": "running", "step": 4}


def test_a_damaged_state_does_not_stop_the_next_life(run):
    (run.path / "training_state.json").write_text("")
    sink = StateFile(run)
    sink.end("completed", "completed")
    assert run.completed


# The terminal


def test_the_plain_console_prints_the_lines(capsys):
    assert isinstance(make_console(), PlainConsole)
    with PlainConsole() as console:
        for event in EVENTS:
            console(event)
    assert capsys.readouterr().out.splitlines() == LINES


def test_the_live_console_draws_one_panel(monkeypatch):
    out = io.StringIO()
    wide = lambda: Console(file=out, force_terminal=True, width=120, color_system=None)  # noqa: E731
    monkeypatch.setattr(console_module, "Console", wide)
    with LiveConsole() as live:
        for event in EVENTS[:7]:
            live(event)
        live(_evaluated(20, split="[bold]odd[/x]"))  # a name in brackets is no markup
        panel = Console(file=io.StringIO(), width=120, color_system=None, record=True)
        panel.print(live._panel())
    shown = panel.export_text()
    for part in ("step 20 of 20", "0.5000", "1.00e-04", "12,345 tokens/s", "checkpoint-10", "accuracy 0.7500"):
        assert part in shown
    assert "[bold]odd[/x]" in shown
    assert "evaluation of validation at step 10" in out.getvalue()


def test_a_terminal_gets_the_panel(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert isinstance(make_console(), LiveConsole)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([], ""),
        ([1.0], "▁"),
        ([1.0, 1.0], "▁▁"),
        ([0.0, 1.0], "▁█"),
        (list(range(8)), "▁▂▃▄▅▆▇█"),
        ([3.0, float("nan"), 1.0, float("inf")], "█▁"),
        ([0.0, 5e-324], "▁█"),
        ([0.1 * i for i in range(200)][-48:], None),
    ],
)
def test_sparkline(values, text):
    found = sparkline(values)
    assert found == text if text is not None else (len(found), found[0], found[-1]) == (48, "▁", "█")


def test_a_table_for_the_terminal():
    names = ["a", "a long name of a class"]
    per_class = {name: {"precision": 1.0, "recall": 0.5, "f1": 2 / 3, "support": 3} for name in names}
    detail = {"labels": names, "per_class": per_class, "confusion": [[3, 0], [1, 2]], "examples": 6}
    lines = scores_table({"accuracy": 0.5}, detail).splitlines()
    assert lines[0] == "accuracy 0.5000  (6 examples)"
    assert lines[-1].split()[-2:] == ["1", "2"]
    assert len({len(line) for line in lines[2:5]}) == 1


# Trackers


def test_tensorboard_holds_every_figure_once_also_after_a_restart(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def life(*events):
        (made,) = make_trackers(["tensorboard"], tmp_path, "x", {})
        with made as tracker:
            for event in events:
                tracker(event)

    life(_step(10, loss=0.9), _step(20, loss=0.8), _step(30, loss=0.7))
    # The second life continues after step 10; its last figures come after the end of training.
    life(
        Started(10, 30, ""),
        _step(20, loss=0.6),
        _step(30, loss=0.5),
        Finished(30, "", 1.0),
        _evaluated(30, "test", True),
    )
    found = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    losses = [(event.step, round(event.value, 4)) for event in found.Scalars("train/loss")]
    assert losses == [(10, 0.9), (20, 0.6), (30, 0.5)]
    assert [(event.step, event.value) for event in found.Scalars("test/accuracy")] == [(30, 0.75)]
    assert found.Scalars("speed/tokens_per_second")[0].value == 12_345.0
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2, "a file a life"


def test_a_tracker_without_events_leaves_nothing(tmp_path):
    with make_trackers(["tensorboard"], tmp_path, "x", {})[0]:
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_tracker_on_a_full_disk(run):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StorageError, match=r"cannot write while handing figures to log\.sinks: No space left"):
        Tracker(full, full)(_step(1))
    with pytest.raises(StorageError, match=r"closing log\.sinks"), Tracker(full, full):
        pass
    with pytest.raises(ValueError, match="the run's own failure"), Tracker(full, full):
        raise ValueError("the run's own failure")


@pytest.mark.parametrize("name", MAKERS)
def test_a_missing_library_is_one_line(tmp_path, monkeypatch, name):
    real = builtins.__import__

    def without(module, *arguments, **named):
        if module.split(".")[0] in MAKERS or module == "torch.utils.tensorboard":
            raise ImportError(module)
        return real(module, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError) as caught:
        make_trackers([name], tmp_path, "x", {})
    assert str(caught.value) == (
        f"log.sinks: {name} is not installed; pip install 'forge-distill[{name}]', or take it out"
    )
    json.dumps(str(caught.value))
