"""Parallel text on the command line: files in braces are looked for one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from support import forge


def _config(folder: Path, data: dict[str, Any]) -> Path:
    settings = {"task": "translation", "data": data, "model": {"name": "embedded/tiny-distilbert"}}
    path = folder / "x.yaml"
    path.write_text(yaml.safe_dump(settings | {"run": {"dir": str(folder / "runs")}}))
    return path


@pytest.fixture
def two(tmp_path: Path) -> str:
    for side in ("en", "fr"):
        (tmp_path / f"a.{side}").write_text("one\ntwo\n")
    return str(tmp_path / "a.{en,fr}")


def test_a_missing_side_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path, two: str) -> None:
    path = _config(tmp_path, {"train": two, "validation": {"dev": two.replace("fr", "de")}})
    assert forge("--config", path) == 2
    assert f"no such file: {tmp_path}/a.de" in capsys.readouterr().err


def test_a_cut_stands_for_a_validation_split(capsys: pytest.CaptureFixture[str], tmp_path: Path, two: str) -> None:
    assert forge("--config", _config(tmp_path, {"train": two})) == 2
    assert "data.validation is not set" in capsys.readouterr().err
    forge("--config", _config(tmp_path, {"train": two, "cut": {"validation": 1}}))
    assert "data.validation" not in capsys.readouterr().err


def test_prepare_lists_both_files(capsys: pytest.CaptureFixture[str], tmp_path: Path, two: str) -> None:
    assert forge("prepare", "--config", _config(tmp_path, {"train": two, "cut": {"validation": 1}})) == 0
    shown = capsys.readouterr().out
    assert all(f"dataset: {tmp_path}/a.{side} is a local file" in shown for side in ("en", "fr"))
