"""The weights of a study's losses: how hard each pulls, measured once, so that none is favoured by its unit.

An untuned weight is the commonest unfairness of a comparison of losses. While a run with all of them on takes its
first steps, the norm of each term's gradient in the student's weights is logged; a loss then weighs what makes its
gradient as long as that of the task's loss on average over those steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from forge.core.errors import CheckpointError, UserError
from forge.core.io import read_json
from forge.core.manifest import STATE_FILE
from forge.runs.run_dir import METRICS, RunDirectory
from forge.runs.sinks import read_metrics

NORM = "grad_norm."


def matched_weights(run: RunDirectory, losses: Mapping[str, float], alpha: float, since: int) -> dict[str, Any]:
    """weight_k = Σ ‖∇ task loss‖ / Σ ‖∇ loss_k‖ over the steps after `since` of a run that has all `losses` on.

    `losses` are their weights in it. The log has weighted norms: the task's times 1 − alpha, a loss's times alpha, its
    weight and the scale that balanced it at its first step, which the checkpoint holds.
    """
    records = read_metrics((run.path / METRICS).read_text(encoding="utf-8"))
    steps = [record for record in records if record["kind"] == "step" and record["step"] > since]
    scales = _scales(run)
    norms = {"task": [norm / (1.0 - alpha) for norm in _logged(steps, "task")] if alpha < 1.0 else []}
    for name, weight in losses.items():
        norms[name] = [norm / (alpha * weight * scales[name]) for norm in _logged(steps, name)]
    if not norms["task"] or not sum(norms["task"]):
        raise UserError("match_gradients: no gradient of the task's loss was measured; set alpha below 1")
    silent = [name for name in losses if not sum(norms[name])]
    if silent:
        raise UserError(
            f"match_gradients: {', '.join(silent)} has no gradient in the first steps, so nothing matches it"
        )
    weights = {name: sum(norms["task"]) / sum(norms[name]) for name in losses}
    mean = {name: sum(values) / len(values) for name, values in norms.items()}
    return {"weights": weights, "norms": mean, "steps": len(steps), "run": str(run.path)}


def _logged(steps: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [float(record[NORM + name]) for record in steps if NORM + name in record]


def _scales(run: RunDirectory) -> dict[str, float]:
    path = run.checkpoint("last") / STATE_FILE
    try:
        return {name: float(scale) for name, scale in read_json(path)["objective"]["scales"].items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}  cannot be read: {error}") from error
