"""What the bench of a look of the workbench says of findings; the look itself is preceded by training for minutes."""

from __future__ import annotations

from pathlib import Path

from bench.workbench_report import said
from forge.workbench.findings import read_findings

SAMPLE = Path(__file__).parent.parent / "workbench" / "samples" / "classification.json"


def test_differences_from_the_baseline_with_their_intervals() -> None:
    found = read_findings(SAMPLE)
    nearer = next(one.mean for one in found.nearer if one.than == "baseline")
    told = said("50_far", found)
    assert told.startswith("| 50_far | 0.9230 | +0.561 (+0.547 to +0.575) |")
    assert f"{nearer.value:+.3f}" in told
    assert told.count("|") == 6
