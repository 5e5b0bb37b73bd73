"""A throw-away working directory, and errors as plain lines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from forge.config import resolve
from forge.core.errors import ConfigError

VALID = "task: classification\ndata: {name: embedded/nli}\nmodel: {name: tiny}\n"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """write("a.yaml", text) → its path, relative to the working directory."""
    monkeypatch.chdir(tmp_path)

    def _write(name: str, text: str | bytes) -> Path:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return _write


@pytest.fixture
def valid(write: Callable[..., Path]) -> Callable[..., Path]:
    """valid(extra) → a file that resolves, with more lines; the first of them is line 4."""
    return lambda extra="", name="x.yaml": write(name, VALID + extra)


@pytest.fixture
def errors() -> Callable[..., list[str]]:
    """errors(path, *overrides) → the lines of the ConfigError it must end with."""

    def _errors(path: str | Path, *overrides: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            resolve(path, overrides)
        lines = str(caught.value).split("\n")
        assert len(lines) == len(caught.value.problems), "one line a problem"
        return lines

    return _errors
