"""Every YAML under configs/ is valid and runs two steps with the embedded stand-ins."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import ROOT, forge, metrics

from forge.config import resolve

OURS = [path for path in (ROOT / "configs").rglob("*.yaml") if path.parent.name not in {"accelerate", "studies"}]
LEAVES = sorted(path for path in OURS if not path.name.startswith("_"))


def test_there_are_configs() -> None:
    assert len(LEAVES) >= 5


@pytest.mark.parametrize("path", LEAVES, ids=lambda path: str(path.relative_to(ROOT / "configs")))
def test_runs_two_steps(path: Path, tmp_path: Path) -> None:
    settings = [
        f"run.dir={tmp_path}",
        "assets=embedded",
        "max_steps=2",
        "train.batch_size=8",
        "evaluate.max_examples=16",
    ]
    assert forge("--config", path, *settings, "data.embedded.train_size=64") == 0
    run = next(p.parent for p in tmp_path.rglob("metrics.jsonl") if not p.parent.is_symlink())
    assert [record["step"] for record in metrics(run) if record["kind"] == "step"] == [1, 2]


@pytest.mark.parametrize("path", LEAVES, ids=lambda path: str(path.relative_to(ROOT / "configs")))
def test_a_leaf_is_short(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert len(lines) <= 15
    assert resolve(path).name == str(path.relative_to(ROOT / "configs").with_suffix(""))


@pytest.mark.parametrize("path", LEAVES, ids=lambda path: str(path.relative_to(ROOT / "configs")))
def test_ten_steps_are_all_a_newcomer_asks_for(path: Path) -> None:
    resolved = resolve(path, ["--max_steps", "10"])
    assert resolved.settings.train.max_steps == 10
    warmup = resolved.settings.train.warmup_steps or 0
    assert any("never reaches its peak" in line for line in resolved.warnings) == (warmup > 10)
