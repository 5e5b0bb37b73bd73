"""Filling a teacher cache, with a fault at each operation: whole shards stay, and the next life completes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from injector import KILLED, KINDS, attempt

from forge.objectives.kd import cache as cache_module
from forge.objectives.kd.cache import Identity, TeacherCache
from forge.objectives.kd.shard import Field, Indices
from forge.teaching.measure import remember, remembered

LENGTHS = np.array([3, 1, 2, 5, 4, 2])
FIELDS = [Field("logits", 3, False, torch.float32), Field("hidden", 2, True, torch.float32)]
IDENTITY: Identity = {"teacher_name": "t", "data_name": "d"}
MEASURED = {"figures": {"accuracy": 0.5}, "examples": 4, "best": {"accuracy": 0.5, "order": [0, 1]}}
FOUND: Any = SimpleNamespace(validation=Dataset.from_dict({"input_ids": [[1, 2], [3]], "label": [0, 1]}))


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "SHARD_SIZE", 4)
    monkeypatch.setattr(cache_module, "BATCH", 2)


def compute(ids: Indices, fields: Sequence[Field]) -> Mapping[str, list[torch.Tensor]]:
    shapes = {
        field.name: [(int(LENGTHS[i]), field.width) if field.per_token else (field.width,) for i in ids]
        for field in fields
    }
    return {
        name: [torch.full(shape, float(i)) for i, shape in zip(ids, of_each, strict=True)]
        for name, of_each in shapes.items()
    }


def fill(folder: Path) -> list[str]:
    cache = TeacherCache(folder, IDENTITY, {"input": LENGTHS})
    damaged = cache.fill(FIELDS, compute, lambda done, total: None)
    remember(cache.folder, FOUND, MEASURED)
    return damaged


def files(folder: Path) -> dict[str, bytes]:
    """Everything that has its final name."""
    found = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.mark.parametrize("damaged", [False, True], ids=["new", "damaged"])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_next_life_completes_the_cache(tmp_path: Path, kind: int, damaged: bool) -> None:
    fill(tmp_path / "calm")
    calm = files(tmp_path / "calm")
    assert len([name for name in calm if name.endswith(".safetensors")]) == 4
    for at in range(500):
        folder = tmp_path / str(at)
        folder.mkdir()
        if damaged:
            fill(folder)
            for path in folder.rglob("00000.safetensors"):
                path.write_bytes(b"")
            next(folder.glob("*/measured-*.json")).write_text("{")
        spoilt = {name: content for name, content in files(folder).items() if content != calm[name]}
        passed = attempt(lambda folder=folder: fill(folder), folder, at, kind)
        found = files(folder)
        assert all(content in (calm[name], spoilt.get(name)) for name, content in found.items()), (
            "old or new, and whole"
        )
        still = [name for name, content in found.items() if content == spoilt.get(name)]
        assert len(fill(folder)) == len([name for name in still if name.endswith(".safetensors")])
        assert files(folder) == calm
        cache = TeacherCache(folder, IDENTITY, {"input": LENGTHS})
        assert cache.open(FIELDS)
        assert remembered(cache.folder, FOUND) == MEASURED
        assert kind == KILLED or not list(folder.rglob("*.safetensors.*.tmp"))
        if passed:
            break
    assert at > 30
    print(f"{at} operations, a fault at each")
