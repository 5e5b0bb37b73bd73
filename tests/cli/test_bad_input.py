"""Everything a user can get wrong: one line, the right place, exit 2, no traceback, no run directory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support import ROOT, forge, only_run, write_config

from forge import cli

HEAVY = {"torch", "transformers", "datasets", "accelerate", "matplotlib", "sklearn", "numpy"}
ROWS = '{"premise": "a", "hypothesis": "b", "label": "yes"}\n{"premise": "c", "hypothesis": "d", "label": "no"}\n'
FILES: dict[str, Any] = {
    "columns": {"text": "premise", "text_pair": "hypothesis"},
    "name": None,
    "test": None,
    "labels": ["yes", "no"],
}


def local(tmp_path: Path, train: str, **change: Any) -> Path:
    """A config over local files."""
    (tmp_path / "train.jsonl").write_text(train)
    (tmp_path / "dev.jsonl").write_text(ROWS)
    data = FILES | {"train": str(tmp_path / "train.jsonl"), "validation": str(tmp_path / "dev.jsonl")}
    return write_config(tmp_path, {"data": data | change})


def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, *arguments: str | Path, code: int = 2) -> str:
    """Run, expect the exit code, one line per problem, no traceback and no run directory; returns the message."""
    assert forge(*arguments) == code
    message = capsys.readouterr().err.strip()
    assert message
    assert "Traceback" not in message
    assert not (tmp_path / "runs").exists()
    return message


def test_unknown_key_names_the_right_section(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = write_config(tmp_path)
    config.write_text(config.read_text() + "learning_rate: 1e-4\n")
    message = refused(capsys, tmp_path, "--config", config)
    line = len(config.read_text().splitlines())
    assert f"tiny.yaml:{line}:1" in message
    assert "train.learning_rate" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "where", "says"),
    [
        ("extends: base.yaml\n", "bad.yaml:1:10", "base.yaml"),
        ("extends: bad.yaml\n", "bad.yaml:1:10", "bad.yaml"),
        ("task: classification\ntask: classification\n", "bad.yaml:2:1", "task"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: [" + "*b, " * 60 + "]\n", "bad.yaml:", "alias"),
        ("extends: ../../outside.yaml\n", "bad.yaml:1:10", "outside"),
        ("task: classification\n\ttrain: {}\n", "bad.yaml:2:", ""),
    ],
)
def test_yaml_that_cannot_be_taken(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, where: str, says: str
) -> None:
    folder = tmp_path / "configs"
    folder.mkdir()
    (folder / "bad.yaml").write_text(text)
    message = refused(capsys, tmp_path, "--config", folder / "bad.yaml")
    assert where in message
    assert says in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("train.max_steps=0", "at least 1"),
        ("train.learning_rate=fast", "number"),
        ("train.precision=fp8", "fp16"),
        ("train.lr=1e-4", "train.learning_rate"),
        ("alpha=1.5", "at most 1"),
        ("train.precision=fp16", "GPU"),
        ("data.name=embedded/snli", "embedded/nli"),
        ("model.name=embedded/huge-bert", "embedded/tiny-bert"),
        ("data.validation=null", "data.validation"),
        ("log.sinks=[mlflow]", "pip install"),
        ("model.name=/no/such/model", "/no/such/model"),
    ],
)
def test_values_that_cannot_be(capsys: pytest.CaptureFixture[str], tmp_path: Path, setting: str, says: str) -> None:
    if "mlflow" in setting and __import__("importlib.util").util.find_spec("mlflow"):
        pytest.skip("mlflow is installed")
    message = refused(capsys, tmp_path, "--config", write_config(tmp_path), setting)
    assert says in message
    assert "\n" not in message


def test_a_few_steps_of_a_long_warm_up_are_a_warning_of_the_run(tmp_path: Path) -> None:
    config = write_config(tmp_path, {"train": {"warmup_steps": 99}})
    assert forge("--config", config, "--max_steps", "1", "evaluate.max_examples=8") == 0
    (line,) = [line for line in (only_run(tmp_path) / "output.log").read_text().splitlines() if "peak" in line]
    assert "  warning: " in line
    assert "train.warmup_steps is 99, train.max_steps is 1" in line


def test_max_steps_zero_as_a_flag(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    message = refused(capsys, tmp_path, "--config", write_config(tmp_path), "--max_steps", "0")
    assert message.startswith("forge: command line: --max_steps 0")


@pytest.mark.parametrize(
    ("train", "where", "says"),
    [
        (ROWS + '{"premise": "e", "label": "no"}\n', "train.jsonl:3", "hypothesis"),
        (ROWS + '{"premise": "e", "hypothesis": "f", "label": "maybe"}\n', "train.jsonl:3", "maybe"),
        ("", "train.jsonl", "no rows"),
        (ROWS + "not json\n", "train.jsonl:3", "JSON"),
        (ROWS + '{"premise": 5, "hypothesis": "f", "label": "no"}\n', "train.jsonl", ""),
    ],
)
def test_data_that_cannot_be_read(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, train: str, where: str, says: str
) -> None:
    message = refused(capsys, tmp_path, "--config", local(tmp_path, train))
    assert where in message
    assert says in message
    assert "\n" not in message


def test_missing_data_file_names_the_line_that_asked(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = local(tmp_path, ROWS)
    (tmp_path / "train.jsonl").unlink()
    message = refused(capsys, tmp_path, "--config", config)
    assert "tiny.yaml:" in message
    assert "train.jsonl" in message


def test_hub_out_of_reach_in_a_long_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    config = ROOT / "configs/classification/mnli/distilbert/00_sft.yaml"
    message = refused(capsys, tmp_path, "--config", config, f"run.dir={tmp_path / 'runs'}")
    assert "distilbert/_base.yaml:4" in message
    assert "prepare" in message


def test_no_write_permission(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """/sys refuses even root."""
    message = refused(capsys, tmp_path, "--config", write_config(tmp_path), "run.dir=/sys/forge-runs")
    assert "cannot write to /sys" in message


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="mounting a small disk needs root")
def test_full_disk_at_the_start(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", disk], check=False)
    if mounted.returncode:
        pytest.skip("this machine does not allow mounting")
    try:
        message = refused(capsys, tmp_path, "--config", write_config(tmp_path), f"run.dir={disk / 'r'}")
        assert "free" in message
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", disk], check=True)


def test_all_problems_in_one_pass(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = write_config(tmp_path, {"train": {"learning_rate": "x", "batch_size": 0}, "evaluate": {"evry": 3}})
    message = refused(capsys, tmp_path, "--config", config)
    assert len(message.splitlines()) == 3


def test_config_show_takes_a_setting_in_two_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path)
    assert forge("config", "show", "--changed", "--config", config, "--learning_rate", "0.25") == 0
    assert "learning_rate: 0.25" in capsys.readouterr().out


def test_each_process_leaves_its_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGE_EXIT_NOTES", str(tmp_path))
    monkeypatch.setenv("RANK", "3")
    assert forge("config", "validate", write_config(tmp_path)) == 0
    assert (tmp_path / "3").read_text() == "0 \n"
    assert forge("config", "validate", write_config(tmp_path, {"tusk": 1}), "--nonsense=1") == 2
    code, why = (tmp_path / "3").read_text().split(maxsplit=1)
    assert (code, why.count("\n"), "tusk is not a setting" in why) == ("2", 1, True)
    monkeypatch.setenv("FORGE_EXIT_NOTES", str(tmp_path / "gone"))
    assert forge("config", "validate", tmp_path / "none.yaml") == 2


def test_what_only_one_of_several_processes_meets_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setattr(cli, "TELL_SECONDS", 0.2)
    began = time.monotonic()
    assert forge("--config", tmp_path / "none.yaml") == 2
    assert time.monotonic() - began >= 0.2  # in which the first process, had it met this too, would have said it
    assert capsys.readouterr().err.startswith("forge: process 3: configuration file ")


def test_from_a_shell_the_exit_code_and_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "forge.py", "--config", str(tmp_path / "none.yaml")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["config", "validate", "--config", "CONFIG"], ["config", "schema"], []]
)
def test_light_commands_leave_heavy_libraries_alone(words: list[str]) -> None:
    config = str(ROOT / "configs/classification/mnli/distilbert/00_sft.yaml")
    words = [config if word == "CONFIG" else word for word in words]
    code = (
        "import sys\nfrom forge.cli import main\n"
        f"try:\n    code = main({words!r})\nexcept SystemExit as stop:\n    code = stop.code\n"
        f"heavy = {HEAVY} & set(sys.modules)\n"
        "assert not heavy, heavy\nassert code in (0, None), code\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_bad_configuration_is_refused_before_torch_is_imported() -> None:
    code = (
        "import sys\nfrom forge.cli import main\n"
        "assert main(['--config', 'configs/classification/mnli/distilbert/00_sft.yaml', 'train.lr=1']) == 2\n"
        "assert main(['--config', 'configs/classification/sick/minilm/00_sft.yaml', 'data.train=none.jsonl']) == 2\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
