"""A study as an array of a real Slurm: eight cells, and a node that dies under them; none is lost, none done twice."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from slurm.cluster import Cluster, missing, wait_for
from support import ROOT, forge
from tiny_study import tiny_study, write_study

pytestmark = [pytest.mark.slow, pytest.mark.first, pytest.mark.skipif(bool(missing()), reason=missing())]

PATIENCE = 900.0
CELLS = 8
NODES = {"n1": 2, "n2": 2}
PARTITION = "PartitionName=main Nodes=n1,n2 Default=YES State=UP"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path / "cluster", NODES, PARTITION)
    yield made
    made.stop()


def study(folder: Path) -> Path:
    """One factor over four seeds, long enough for a node to die."""
    settings: dict[str, Any] = tiny_study() | {"controls": {}, "match_gradients": False, "seeds": [1, 2, 3, 4]}
    settings["factors"] = {"rate": {"low": {}, "high": {"train": {"learning_rate": 2e-3}}}}
    settings["always"] = {"train": {"max_steps": 60}, "evaluate": {"every": 20}}
    del settings["teacher"]
    return write_study(folder, settings)


def test_an_array_whose_node_dies(tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    path = study(tmp_path / "study")
    slow = tmp_path / "python"
    plainly = f'[ "$1" = -c ] && exec {sys.executable} "$@"'
    slow.write_text(f'#!/bin/sh\n{plainly}\nexec {sys.executable} {ROOT}/tests/slurm/slow.py "$@"\n')
    slow.chmod(0o755)
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    given = {
        "FORGE_PYTHON": str(slow),
        "PACE": "0.5 0.1",
        "PACE_LIVES": str(tmp_path / "lives"),
        "OMP_NUM_THREADS": "1",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(cluster.folder)
    flags = ["--cpus-per-task=1", "--mem=100", "--time=30", "--output=cell-%A_%a.out"]
    assert forge("study", "submit", "--config", path, "--at-once", 4, "--sbatch", *flags) == 0
    folder = path.parent / "runs/studies/tiny"
    jobs = json.loads((folder / "cells.json").read_text())["jobs"]
    assert len(jobs) == CELLS
    wait_for(lambda: any(folder.rglob("checkpoint-*/manifest.json")), PATIENCE, lambda: said(cluster))
    cluster.kill_node("n2")
    done = folder / "results"
    wait_for(lambda: len(list(done.glob("*.json"))) >= 2, PATIENCE, lambda: said(cluster))
    cluster.start_node("n2")
    wait_for(lambda: len(list(done.glob("*.json"))) == len(jobs), PATIENCE, lambda: said(cluster))
    ends = {
        record.parent.parent.name + record.parent.name: [
            life["why"] for life in json.loads(record.read_text())["lives"]
        ]
        for record in (folder / "cells").rglob("run_metadata.json")
        if not record.parent.is_symlink()
    }
    assert len(ends) == len(jobs)
    assert all(why.count("completed") == 1 and why[-1] == "completed" for why in ends.values()), ends
    assert any(len(why) > 1 for why in ends.values()), ends  # the node took some with it
    assert forge("study", "run", "--config", path) == 0  # nothing is left to do


def said(cluster: Cluster) -> str:
    logs = sorted(cluster.folder.glob("cell-*.out"))
    return "\n".join(f"{log.name}: {log.read_text()[-600:]}" for log in logs)
