"""What an environment holds in secret is in nothing that a run writes or prints, also when it crashes."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest
from support import forge, only_run, write_config

from forge.train.loop import Trainer

NAMES = (
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "WANDB_API_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AZURE_CLIENT_SECRET",
    "GITHUB_TOKEN",
    "OPENAI_API_KEY",
    "MLFLOW_TRACKING_PASSWORD",
    "SLURM_JWT",
    "DATABASE_URL",
)
TINY = {"train": {"max_steps": 2, "batch_size": 8}, "evaluate": {"every": 1, "max_examples": 8}}


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    found = {name: f"canary{place:02}{'x7' * 12}" for place, name in enumerate(NAMES)}
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return found


def leaks(folder: Path, said: str, secrets: dict[str, str]) -> tuple[list[str], int]:
    """Where a secret stands, and how many files were searched."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    texts = {str(path): path.read_bytes() for path in files} | {"output": said.encode()}
    return [
        f"{name} in {where}"
        for name, value in secrets.items()
        for where, text in texts.items()
        if value.encode() in text
    ], len(files)


def test_a_run(tmp_path: Path, secrets: dict[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    assert forge("--config", write_config(tmp_path, TINY)) == 0
    run, said = only_run(tmp_path), capfd.readouterr()
    assert forge("export", "--run", run, "--out", tmp_path / "exported") == 0
    found, searched = leaks(tmp_path, said.out + said.err, secrets)
    assert not found
    assert searched > 15
    assert "training ends" in said.out + said.err
    # The search finds what is there.
    assert leaks(tmp_path, "", {"host": platform.node()})[0]
    assert leaks(tmp_path, f"x{secrets['HF_TOKEN']}", secrets)[0] == ["HF_TOKEN in output"]
    print(f"{len(secrets)} secrets, {searched} files: found in none")


@pytest.mark.parametrize("debug", [False, True])
def test_a_run_that_crashes(
    tmp_path: Path,
    secrets: dict[str, str],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    debug: bool,
) -> None:
    def crash(*_: object) -> None:
        raise RuntimeError(f"a defect in process {os.getpid()}")

    monkeypatch.setattr(Trainer, "_note", crash)
    arguments = ["--config", write_config(tmp_path, TINY)]
    if debug:
        with pytest.raises(RuntimeError, match="a defect"):
            forge(*arguments, "--debug")
    else:
        assert forge(*arguments) == 1
    said = capfd.readouterr()
    found, searched = leaks(tmp_path, said.out + said.err, secrets)
    assert not found
    assert searched >= 4
    assert debug or "a defect in process" in said.err
    assert "a defect in process" in (only_run(tmp_path) / "training_state.json").read_text(encoding="utf-8")


def test_bad_input(tmp_path: Path, secrets: dict[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    assert forge("--config", write_config(tmp_path, {"model": {"name": "./nowhere"}, "assets": "local"})) == 2
    assert forge("--config", write_config(tmp_path, {"train": {"max_stepss": 3}})) == 2
    said = capfd.readouterr()
    assert not leaks(tmp_path, said.out + said.err, secrets)[0]
    assert "max_stepss" in said.err
