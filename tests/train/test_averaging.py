"""The average of checkpoints: the mean that torch computes, the better of two results, the same after any end."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import AskAt, Lives, fingerprint, forge, metrics, only_run, result, write_config

from forge.core.errors import CheckpointError
from forge.core.manifest import AVERAGE, verify
from forge.train.averaging import mean_weights

CHANGE: dict[str, Any] = {
    "train": {"max_steps": 8, "batch_size": 16},
    "evaluate": {"every": 4, "max_examples": 32},
    "checkpoint": {"every": 2, "average": 3},
}


def made(folder: Path, change: dict[str, Any] = CHANGE) -> Path:
    """A finished run with these settings."""
    assert forge("--config", write_config(folder, change)) == 0
    return only_run(folder)


def state_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "training_state.json").read_text())


def measuring(monkeypatch: pytest.MonkeyPatch, average: float) -> None:
    """Let the average reach this accuracy, whatever it is."""
    from dataclasses import replace

    from forge.train.loop import Trainer

    real = Trainer._measure

    def measure(self: Trainer, *arguments: Any, of: str = "", **named: Any) -> Any:
        event = real(self, *arguments, of=of, **named)
        better = dict(event.figures) | {"accuracy": average}
        return replace(event, figures=better) if of and not event.final else event

    monkeypatch.setattr(Trainer, "_measure", measure)


def test_the_mean_is_that_of_torch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    same, whole = torch.randn(5).bfloat16(), [torch.randn(7, 3) for _ in range(4)]
    for at in range(4):
        (tmp_path / str(at)).mkdir()
        tensors = {"a": whole[at], "half": (whole[at] * 3).bfloat16(), "count": torch.tensor([at]), "same": same}
        save_file(tensors, tmp_path / str(at) / "model.safetensors")
    found = mean_weights([tmp_path / str(at) for at in range(4)])
    torch.testing.assert_close(found["a"], torch.stack(whole).double().mean(0).float(), rtol=1e-6, atol=1e-7)
    halves = torch.stack([(one * 3).bfloat16() for one in whole]).float().mean(0).bfloat16()
    assert torch.equal(found["half"], halves)
    assert torch.equal(found["count"], torch.tensor([3])), "what counts is the newest's"
    assert torch.equal(found["same"], same)
    assert {name: tensor.dtype for name, tensor in found.items()} == {k: v.dtype for k, v in tensors.items()}


def test_what_does_not_fit_together_is_one_line(tmp_path: Path) -> None:
    for name, tensors in (("1", {"a": torch.ones(2)}), ("2", {"a": torch.ones(3)}), ("3", {"b": torch.ones(3)})):
        (tmp_path / name).mkdir()
        save_file(tensors, tmp_path / name / "model.safetensors")
    for old, new in (("1", "2"), ("2", "3")):
        with pytest.raises(CheckpointError) as caught:
            mean_weights([tmp_path / old, tmp_path / new])
        assert "\n" not in str(caught.value)


def test_a_run_averages_its_newest_and_reports_it(tmp_path: Path) -> None:
    run = made(tmp_path)
    folder = run / AVERAGE
    assert not verify(folder)
    kept = [f"checkpoint-{step}" for step in (4, 6, 8)]
    assert sorted(path.name for path in run.glob("checkpoint-*")) == [*kept, AVERAGE]
    weights = [load_file(run / name / "model.safetensors") for name in kept]
    for name, tensor in load_file(folder / "model.safetensors").items():
        assert torch.allclose(tensor, torch.stack([one[name] for one in weights]).mean(0), atol=1e-7), name
    assert {path.name for path in (run / "checkpoint-8").iterdir()} - {path.name for path in folder.iterdir()} == {
        "optimizer.safetensors",
        "trainer_state.json",
    }
    state = state_of(run)
    assert (state["average"]["asked"], state["average"]["of"]) == (3, kept)
    records = [record for record in metrics(run) if record["kind"] == "average"]
    assert [(record["step"], record["split"], record["checkpoint"]) for record in records] == [
        (8, "validation", AVERAGE)
    ]
    log = (run / "output.log").read_text()
    assert "averaged checkpoints 4 … 8 (3): validation accuracy" in log
    assert "validation with the average of checkpoints" in (run / "report.html").read_text()


@pytest.mark.parametrize("average", [1.0, 0.0], ids=["average", "single"])
def test_the_better_one_is_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], average: float
) -> None:
    measuring(monkeypatch, average)
    run = made(tmp_path / "run")
    state, chosen = state_of(run), average == 1.0
    best = f"checkpoint-{state['best']['step']}"
    name = AVERAGE if chosen else best
    assert state["average"]["chosen"] is chosen
    log, shown = (run / "output.log").read_text(), capsys.readouterr()
    assert f"{'the average' if chosen else best} is the result" in log
    assert ("evaluation of test at the average:" in log) is chosen
    (tested,) = [record for record in metrics(run) if record["kind"] == "test"]
    assert tested.get("checkpoint") == (AVERAGE if chosen else None)
    assert forge("export", "--run", run, "--out", tmp_path / "out") == 0
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (run / name / "model.safetensors").read_bytes()
    card = (tmp_path / "out" / "README.md").read_text()
    assert ("Average of the weights at steps 4, 6, 8, of 8" in card) is chosen
    assert "test (test)" in card
    for which in ("average", "best", "last"):
        assert forge("export", "--run", run, "--out", tmp_path / which, "--checkpoint", which) == 0
    assert f"{average:.4f}" in (tmp_path / "average" / "README.md").read_text()
    capsys.readouterr()
    assert forge("--config", tmp_path / "run" / "tiny.yaml") == 0
    shown = capsys.readouterr().out
    assert ("average of 3 checkpoints, the result" in shown) is chosen
    assert ("test (average)" in shown) is chosen
    assert forge("runs", tmp_path / "run" / "runs") == 0
    assert ("accuracy 1.0000 average" in capsys.readouterr().out) is chosen
    student = {"alpha": 0.5, "teacher": {"name": str(run)}, "distill": {"forward_kl": {"weight": 1.0}}}
    made(tmp_path / "taught", student | {"train": {"max_steps": 2}})
    weights = run / AVERAGE / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    again = write_config(tmp_path / "again", student | {"train": {"max_steps": 3}})
    assert forge("--config", again) == (3 if chosen else 0)


def test_fewer_than_asked_are_averaged_and_one_is_not(tmp_path: Path) -> None:
    few = made(tmp_path / "few", CHANGE | {"checkpoint": {"every": 2, "average": 9}})
    assert "checkpoint.average: 9, but the run keeps 4 checkpoints: averaging those" in (few / "output.log").read_text()
    assert len(state_of(few)["average"]["of"]) == 4
    one = made(tmp_path / "one", CHANGE | {"evaluate": {"every": None}, "checkpoint": {"average": 2}})
    assert "the run keeps no two checkpoints: nothing is averaged" in (one / "output.log").read_text()
    assert state_of(one)["average"] == {"asked": 2, "of": [], "value": None, "validation": {}, "chosen": False}
    assert not (one / AVERAGE).exists()
    assert forge("--config", tmp_path / "one" / "tiny.yaml") == 0
    assert len(json.loads((one / "run_metadata.json").read_text())["lives"]) == 1, "it is complete"


def test_a_damaged_checkpoint_is_left_out(tmp_path: Path) -> None:
    plain = CHANGE | {"checkpoint": {"every": 2, "keep": 4}}
    run = made(tmp_path, plain)
    weights = run / "checkpoint-6" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    run = made(tmp_path, CHANGE | {"checkpoint": {"every": 2, "keep": 4, "average": 3}})
    assert state_of(run)["average"]["of"] == ["checkpoint-2", "checkpoint-4", "checkpoint-8"]
    assert "warning: checkpoint-6 is damaged and left out of the average" in (run / "output.log").read_text()


def test_a_finished_run_is_averaged_later_and_the_average_taken_back(tmp_path: Path) -> None:
    whole = made(tmp_path / "whole", CHANGE | {"checkpoint": {"every": 2, "keep": 3, "average": 3}})
    plain = made(tmp_path / "later", CHANGE | {"checkpoint": {"every": 2, "keep": 3}})
    before = result(plain)
    later = made(tmp_path / "later", CHANGE | {"checkpoint": {"every": 2, "keep": 3, "average": 3}})
    assert later == plain, "it is the same run"
    assert fingerprint(later) == fingerprint(whole)
    assert result(made(tmp_path / "later", CHANGE | {"checkpoint": {"every": 2, "keep": 3}})) == before
    assert not (later / AVERAGE).exists()


@pytest.mark.slow
def test_killed_while_it_averages_it_ends_bit_equal(tmp_path: Path, lives: Lives) -> None:
    calm = fingerprint(made(tmp_path / "calm"))
    config = write_config(tmp_path / "stormy", CHANGE)
    killed = 0
    for then in (0.0, 0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3):
        runs = tmp_path / "stormy" / "runs"
        if runs.exists():
            shutil.rmtree(runs)
        ended = lambda: any("training ends" in log.read_text() for log in runs.glob("*/*/output.log"))  # noqa: E731, B023
        status = lives.run_until(["--config", str(config)], ended, then)
        killed += status == 9
        assert lives.run(["--config", str(config)]) == 0
        assert fingerprint(only_run(tmp_path / "stormy")) == calm, f"killed {then} s after the end of training"
    assert killed
    print(f"{killed} lives killed while averaging or measuring")


@pytest.mark.slow
def test_a_stop_on_the_way_changes_nothing_of_the_average(tmp_path: Path) -> None:
    """What is saved at a stop is no checkpoint of the schedule, and displaces none; averaging itself may be stopped."""
    from forge.assemble import train
    from forge.config import resolve
    from forge.core.errors import StoppedError
    from forge.preflight import preflight

    change = CHANGE | {"train": {"max_steps": 5}, "evaluate": {"every": 2, "max_examples": 8}}
    change |= {"checkpoint": {"every": 2, "average": 2}}
    expected = result(made(tmp_path / "calm", change))
    assert expected["state"]["average"]["of"] == ["checkpoint-4", "checkpoint-5"]
    for looks in range(0, 200, 1 if os.environ.get("FORGE_FULL") else 5):
        config = write_config(tmp_path / "stopped", change)
        try:
            train(preflight(resolve(config)), ["test"], AskAt(looks))
        except StoppedError:
            with suppress(StoppedError):
                train(preflight(resolve(config)), ["test"], AskAt(4))
            assert forge("--config", config) == 0
            assert result(only_run(tmp_path / "stopped")) == expected, f"stopped at look {looks}"
            shutil.rmtree(tmp_path / "stopped")
        else:
            break
    assert result(only_run(tmp_path / "stopped")) == expected
    assert looks > 20, "steps, evaluations, and each tensor of the average"


@pytest.mark.slow
def test_two_processes_average_as_one_does(tmp_path: Path, lives: Lives) -> None:
    one = made(tmp_path / "one", CHANGE)
    lives.run_pair(write_config(tmp_path / "two", CHANGE))
    two = only_run(tmp_path / "two")
    assert state_of(two)["average"]["of"] == state_of(one)["average"]["of"]
    own, other = (load_file(run / AVERAGE / "model.safetensors") for run in (one, two))
    for name, tensor in own.items():
        assert torch.allclose(tensor, other[name], atol=1e-5), name
    assert [record["kind"] for record in metrics(one)] == [record["kind"] for record in metrics(two)]
