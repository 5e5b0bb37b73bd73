"""README.md of an exported model: a model card in the hub's format, with figures that were measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

HUB_TASKS = {"classification": "text-classification"}


def model_card(name: str, metadata: Mapping[str, Any], state: Mapping[str, Any]) -> str:
    """The card of a run's best checkpoint."""
    config = metadata["config"]
    assets = metadata["assets"]
    task = HUB_TASKS[config["task"]]
    at_best = state.get("validation_at_best", {})
    measured = {f"{split} (validation)": figures for split, figures in at_best.items()}
    measured |= {f"{split} (test)": figures for split, figures in state.get("test", {}).items()}
    front = {
        "library_name": "transformers",
        "pipeline_tag": task,
        "tags": ["forge"],
        # Only what the model was really made from is claimed: a stand-in is named as itself.
        **({"base_model": assets["model"]["asked"]} if assets["model"]["source"] in {"hub", "cache"} else {}),
        **({"datasets": [config["data"]["name"]]} if assets["data"]["source"] in {"hub", "cache"} else {}),
        "model-index": [{"name": name, "results": [_result(task, assets, *item) for item in measured.items()]}],
    }
    rows = "\n".join(
        f"| {split} | " + " | ".join(f"{value:.4f}" for value in figures.values()) + " |"
        for split, figures in measured.items()
    )
    columns = list(next(iter(measured.values()), {}))
    return CARD.format(
        front=yaml.safe_dump(front, sort_keys=False, allow_unicode=True).strip(),
        name=name,
        model=assets["model"]["description"],
        data=assets["data"]["description"],
        mode=metadata["mode"],
        step=(state.get("best") or {}).get("step", state.get("step")),
        total=state.get("total_steps"),
        task=task,
        columns=" | ".join(columns),
        rule="|".join("---" for _ in range(len(columns) + 1)),
        rows=rows,
        version=metadata["versions"]["forge"],
        config=yaml.safe_dump(config, sort_keys=False, allow_unicode=True).strip(),
    )


def _result(task: str, assets: Mapping[str, Any], split: str, figures: Mapping[str, float]) -> dict[str, Any]:
    data = assets["data"]["location"] if assets["data"].get("stand_in") else assets["data"]["asked"]
    return {
        "task": {"type": task},
        "dataset": {"name": data, "type": data, "split": split},
        "metrics": [{"type": name, "value": round(value, 6)} for name, value in figures.items()],
    }


CARD = """---
{front}
---

# {name}

Start: {model}. Data: {data}. Mode: {mode}. Best checkpoint at step {step} of {total}.

| split | {columns} |
|{rule}|
{rows}

```python
from transformers import pipeline
pipeline("{task}", "path/to/this/folder")
```

Trained with Forge {version} from these settings:

```yaml
{config}
```
"""
