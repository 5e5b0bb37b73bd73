"""Forge's SFT step against a bare PyTorch loop over the same batches and the same model, in alternation.

Both update the same number of steps on the same micro-batches. Forge's side is the real Trainer.run(), with its data
stream, counting, logging every 10 steps and non-finite check; evaluation and checkpoints fall outside both. The bare
side is the loop one would write by hand: collate, forward with labels, backward, clip, step, schedule. Both are timed
in CPU seconds as well as on the wall, since the wall clock of a shared machine is noisy.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import get_scheduler

from bench.machine import write_table
from forge import assemble
from forge.config import resolve
from forge.core.events import Event, Finished, Started
from forge.preflight import preflight
from forge.train.checkpoint import CheckpointStore
from forge.train.device import make_accelerator
from forge.train.loop import Trainer
from forge.train.parts import Parts

ROUNDS = 9
CONFIG = Path(__file__).parent.parent / "configs/classification/mnli/distilbert/00_sft.yaml"
CASES = {
    "tiny DistilBERT, 32 x short pairs": ("embedded/tiny-distilbert", 32, 300),
    "tiny BERT, 32 x short pairs": ("embedded/tiny-bert", 32, 150),
}


def parts_for(model: str, batch_size: int, steps: int, folder: str) -> Parts:
    settings = [
        f"run.dir={folder}", f"model.name={model}", "data.name=embedded/nli", f"max_steps={steps}",
        f"train.batch_size={batch_size}", "data.embedded.train_size=10000", "evaluate.max_examples=8", "train.threads=1",
    ]  # fmt: skip
    found = preflight(resolve(CONFIG, settings))
    store = CheckpointStore(found.run.path, 2)
    found.run.path.mkdir(parents=True, exist_ok=True)
    return assemble.prepare_run(found, None, make_accelerator(found.resolved.settings), store).parts


def forge_side(parts: Parts, steps: int) -> tuple[float, float]:
    marks: dict[str, tuple[float, float]] = {}

    class Timed(Trainer):
        def _evaluate_if_due(self) -> bool:
            if self.state.step == self.total_steps:
                marks["end"] = (time.process_time(), time.perf_counter())
            return False

        def _save_if_due(self, *_: bool) -> bool:
            return False

    def sink(event: Event) -> None:
        if isinstance(event, Started):
            marks["start"] = (time.process_time(), time.perf_counter())
        assert not isinstance(event, Finished) or event.step == steps

    Timed(parts, sink, None).run()
    return marks["end"][0] - marks["start"][0], marks["end"][1] - marks["start"][1]


def bare_side(parts: Parts, steps: int) -> tuple[float, float]:
    model, train = parts.model, parts.settings.train
    data: Any = parts.data.train
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=train.learning_rate, weight_decay=train.weight_decay, fused=True
    )
    scheduler = get_scheduler("linear", optimizer, num_warmup_steps=3, num_training_steps=steps)
    plan = parts.plan.epoch(0)[:steps]
    model.train()
    start = (time.process_time(), time.perf_counter())
    for step in plan:
        for rows in step:
            batch = parts.task.collate(data.__getitems__(rows.tolist()))
            batch.pop("token_type_ids") if "distilbert" in model.config.model_type else None
            model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
    return time.process_time() - start[0], time.perf_counter() - start[1]


def alternate(parts: Parts, steps: int) -> tuple[list[float], list[float], float]:
    sides: list[Callable[[Parts, int], tuple[float, float]]] = [forge_side, bare_side]
    forge_side(parts, steps)
    bare_side(parts, steps)
    cpu, wall, bare_cpu = [], [], []
    for number in range(ROUNDS):
        results = {side.__name__: side(parts, steps) for side in (sides if number % 2 == 0 else sides[::-1])}
        cpu.append(results["forge_side"][0] / results["bare_side"][0])
        wall.append(results["forge_side"][1] / results["bare_side"][1])
        bare_cpu.append(results["bare_side"][0] / steps * 1e3)
    return cpu, wall, statistics.median(bare_cpu)


def main() -> None:
    assemble.quiet_libraries()
    lines = [
        "| case | bare step, CPU ms | ratio of CPU time: median (min – max) | ratio of wall time: median (min – max) |"
    ]
    lines.append("|---|---|---|---|")
    for name, (model, batch_size, steps) in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            cpu, wall, bare = alternate(parts_for(model, batch_size, steps, folder), steps)
        shown = [f"{statistics.median(r):.3f} ({min(r):.3f} – {max(r):.3f})" for r in (cpu, wall)]
        lines.append(f"| {name} | {bare:.1f} | {shown[0]} | {shown[1]} |")
    text = (
        "\n".join(lines)
        + f"\n\nForge over bare, {ROUNDS} alternations of each case, one thread. Target: median ≤ 1.05."
    )
    write_table("step", "SFT step: Forge against a bare PyTorch loop", text, "python -m bench.step")


if __name__ == "__main__":
    main()
