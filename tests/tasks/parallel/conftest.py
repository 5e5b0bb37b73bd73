"""Throw-away files and cache; parallel text in every format."""

from __future__ import annotations

import pytest
from datasets import disable_progress_bars

from forge.config.schema import Data
from forge.core.errors import UserError
from forge.tasks.parallel import read_parallel

disable_progress_bars()


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def put(tmp_path):
    """put("a.en", text or bytes) writes a file in the working directory."""

    def _put(name, content):
        path = tmp_path / "work" / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return name

    return _put


@pytest.fixture
def two(put):
    """two("train", pairs) → `train.{en,fr}`."""

    def _two(name, pairs):
        put(f"{name}.en", "".join(f"{source}\n" for source, _ in pairs))
        put(f"{name}.fr", "".join(f"{target}\n" for _, target in pairs))
        return f"{name}.{{en,fr}}"

    return _two


@pytest.fixture
def read():
    """read(asset=None, **data) → ParallelData, with no filter unless asked for."""

    def _read(asset=None, **data):
        return read_parallel(Data.model_validate({"clean": PLAIN} | data), asset)

    return _read


@pytest.fixture
def refused(read):
    """refused(**data) → the one line of the UserError."""

    def _refused(**data):
        with pytest.raises(UserError) as caught:
            read(**data)
        assert caught.value.exit_code == 2
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return _refused


PLAIN = {"max_words": None, "max_ratio": None, "deduplicate": "none", "copies": False, "garbled": False}
