"""What tests of distillation share, whichever task they distil."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support import metrics

GROUPED = {"linear_cka", "rkd"}
CROSS = {"attention_kl": {"layers": "uniform", "value_relation": True}, "score_mse": {"layers": "uniform"}}


def distill(*names: str, **options: Any) -> dict[str, Any]:
    """A `distill:` block with these losses."""
    group = {name: {"group": 4} for name in names if name in GROUPED}
    chosen = {name: {"weight": 1.0} | group.get(name, {}) | CROSS.get(name, {}) for name in names}
    return {"distill": chosen | options}


def losses(run: Path) -> list[dict[str, float]]:
    """The records of a run's steps."""
    return [record for record in metrics(run) if record["kind"] == "step"]
