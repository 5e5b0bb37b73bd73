"""Benchmarks replace parts of the trainer, so a change of the trainer can break them: each side is run once, tiny."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import kd_cache, kd_step, step
from bench.kd_case import Shape, save_models, training_texts

STEPS = 3


@pytest.mark.slow
def test_each_side_runs(tmp_path: Path) -> None:
    save_models(tmp_path, Shape(width=48), training_texts(200))
    rows = [
        kd_step.measure(tmp_path, "hidden_mse", STEPS, 1),
        kd_cache.measure(tmp_path, "forward_kl", ["forward_kl"], STEPS, 1),
    ]
    assert [row.split(" | ")[:2] for row in rows] == [["| feature", "hidden_mse"], ["| response", "forward_kl"]]
    parts = step.parts_for("embedded/tiny-distilbert", 8, STEPS, str(tmp_path / "runs"))
    for side in (step.forge_side, step.bare_side):
        cpu, wall = side(parts, STEPS)
        assert cpu > 0
        assert wall > 0
