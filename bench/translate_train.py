"""Tokens a second of training a translator: Forge against Hugging Face's `Seq2SeqTrainer`.

Same model (the Multi30k `tiny` Transformer: 4 + 4 layers, width 128, 9,600 pieces, dropout 0.3), same encoded pairs, label
smoothing 0.1, fused AdamW, clipping at 1, fp32, SDPA, one thread. Forge's side is the real Trainer.run() with its budget of
4,096 padded tokens a step. Seq2SeqTrainer pads each batch to its longest and has as many examples a batch as Forge has on
average: with `train_sampling_strategy="group_by_length"` over the longer side's length, and by default. It sorts the batches
of a group of 30 from long to short, so there it is timed over 30 steps, the other sides over 12, after a first one. Tokens are those of source and
target without padding; neither side evaluates, saves or logs meanwhile. Sides run in turn in one process.

    FORGE_DATA=… python -m bench.translate_train

Without FORGE_DATA it measures on embedded pairs, whose vocabulary is far smaller. Rows below take one of Forge's ideas away.
`--quick` measures less; its figures are a check that the benchmark works.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments, TrainerCallback
from transformers.trainer_pt_utils import LabelSmoother

from bench.kd_case import _Timed, shown
from bench.machine import write_table
from forge import assemble
from forge.config import resolve
from forge.core.events import Event, StepLogged
from forge.models.head import find_head
from forge.objectives.base import LossReport
from forge.objectives.sft import SFT
from forge.preflight import preflight
from forge.tasks.base import IGNORED_LABEL, Batch, forward
from forge.train.checkpoint import CheckpointStore
from forge.train.device import make_accelerator
from forge.train.parts import Parts

CONFIG = Path(__file__).parent.parent / "configs/translation/multi30k_en_fr/tiny/00_sft.yaml"
MADE = ["data.name=embedded/en_fr", "data.train=train", "data.validation=validation", "data.test=test"]
STEPS, OF_A_GROUP, ROUNDS, SMOOTHING = 13, 31, 3, 0.1


@dataclass
class Measured:
    """Of the timed steps."""

    tokens: int
    padded: int
    seconds: float  # of the CPU


def prepare(folder: Path, steps: int, size: int | None = None) -> Parts:
    """The run of the configuration, on files if they are there."""
    settings = [
        f"run.dir={folder}", f"max_steps={steps}", "train.threads=1", "train.precision=fp32", f"log.every={steps + 1}",
        "evaluate.max_examples=8",
    ]  # fmt: skip
    if not os.environ.get("FORGE_DATA"):
        settings += [*MADE, f"data.embedded.train_size={size or 29000}"]
    elif size:
        settings.append(f"data.max_train_examples={size}")
    found = preflight(resolve(CONFIG, settings))
    found.run.path.mkdir(parents=True, exist_ok=True)
    accelerator = make_accelerator(found.resolved.settings)
    return assemble.prepare_run(found, None, accelerator, CheckpointStore(found.run.path, 2)).parts


class WholeLogits(SFT):
    """The loss as one writes it: all logits, then PyTorch's cross-entropy over all of them."""

    def compute(self, model: torch.nn.Module, batch: Batch, totals: Mapping[str, float]) -> LossReport:
        return LossReport(self.share(forward(model, batch).logits, batch, totals))


class TheirSmoothing(SFT):
    """All logits, then the label smoothing of transformers' Trainer, which makes several tensors of their size."""

    def compute(self, model: torch.nn.Module, batch: Batch, totals: Mapping[str, float]) -> LossReport:
        logits = {"logits": forward(model, batch).logits}
        return LossReport(LabelSmoother(SMOOTHING)(logits, batch["labels"], num_items_in_batch=totals["labels"]))


Make = Callable[[torch.nn.Module], SFT]


def chunked(model: torch.nn.Module) -> SFT:
    return SFT(SMOOTHING, find_head(model))


def logits_at_once(_: torch.nn.Module) -> SFT:
    return SFT(SMOOTHING)


def all_at_once(_: torch.nn.Module) -> SFT:
    return WholeLogits(SMOOTHING)


def their_smoothing(_: torch.nn.Module) -> SFT:
    return TheirSmoothing(SMOOTHING)


def forge_side(parts: Parts, steps: int, _: int, make: Make = chunked) -> Measured:
    model: Any = copy.deepcopy(parts.model)
    marks: list[tuple[float, int]] = []

    def sink(event: Event) -> None:
        if isinstance(event, StepLogged):  # the first step and the last
            marks.append((time.process_time(), event.tokens_seen))

    _Timed(replace(parts, model=model, objective=make(model)), sink, None).run()
    data: Any = parts.data.train
    padded = 0
    for step in parts.plan.epoch(0)[1:steps]:
        for rows in step:
            batch = parts.task.collate(data.__getitems__(rows.tolist()))
            padded += batch["input_ids"].numel() + batch["labels"].numel()
    (began, before), (ended, after) = marks
    return Measured(after - before, padded, ended - began)


def fixed_batch(parts: Parts) -> Parts:
    return replace(parts, plan=replace(parts.plan, batch_tokens=None, batch_size=examples_a_step(parts)))


def ungrouped(parts: Parts) -> Parts:
    return replace(parts, plan=replace(fixed_batch(parts).plan, group_by_length=False))


def examples_a_step(parts: Parts) -> int:
    return round(len(parts.plan.lengths_N) / parts.plan.steps_per_epoch())


def hf_side(parts: Parts, steps: int, seed: int, strategy: str) -> Measured:
    marks: list[float] = []
    counts: list[tuple[int, int]] = []
    model: Any = copy.deepcopy(parts.model)
    task: Any = parts.task
    collate = DataCollatorForSeq2Seq(task.tokenizer, model=model)

    def counted(rows: Sequence[Mapping[str, Any]]) -> Any:
        batch = collate([{"input_ids": row["input_ids"], "labels": row["labels"]} for row in rows])
        tokens = int(batch["attention_mask"].sum()) + int((batch["labels"] != IGNORED_LABEL).sum())
        counts.append((tokens, batch["input_ids"].numel() + batch["labels"].numel()))
        return batch

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            marks.append(time.process_time())

    train = parts.settings.train
    with tempfile.TemporaryDirectory() as folder:
        arguments = Seq2SeqTrainingArguments(
            output_dir=folder, per_device_train_batch_size=examples_a_step(parts), max_steps=steps, seed=seed,
            learning_rate=train.learning_rate, lr_scheduler_type="inverse_sqrt", warmup_steps=train.warmup_steps or 0,
            label_smoothing_factor=SMOOTHING, optim="adamw_torch_fused", train_sampling_strategy=strategy,
            length_column_name="length", remove_unused_columns=False, logging_strategy="no", save_strategy="no",
            report_to=[], use_cpu=True, disable_tqdm=True, dataloader_pin_memory=False,
        )  # fmt: skip
        Seq2SeqTrainer(
            model, arguments, train_dataset=parts.data.train, data_collator=counted, processing_class=task.tokenizer,
            callbacks=[Clock()],
        ).train()  # fmt: skip
    tokens, padded = (sum(column) for column in zip(*counts[1:steps], strict=True))
    return Measured(tokens, padded, marks[-1] - marks[0])


Side = Callable[[Parts, int, int], Measured]
SIDES: dict[str, Side] = {
    "Forge": forge_side,
    "Seq2SeqTrainer, group_by_length": partial(hf_side, strategy="group_by_length"),
    "Seq2SeqTrainer, default": partial(hf_side, strategy="random"),
    "Forge, logits at once": partial(forge_side, make=logits_at_once),
    "Forge, logits and loss at once": partial(forge_side, make=all_at_once),
    "Forge, logits at once, the Trainer's label smoothing": partial(forge_side, make=their_smoothing),
    "Forge, fixed number of examples": lambda parts, *rest: forge_side(fixed_batch(parts), *rest),
    "Forge, fixed number, not grouped": lambda parts, *rest: forge_side(ungrouped(parts), *rest),
    "Forge, all of these": lambda parts, *rest: forge_side(ungrouped(parts), *rest, all_at_once),
}
ESSENTIAL = list(SIDES)[:3]


def measure(parts: Parts, steps: int, rounds: int, of_a_group: int) -> list[str]:
    """A row a side. Sides that only explain the others are left out of the last rounds."""
    found: dict[str, list[Measured]] = {name: [] for name in SIDES}
    length = {name: of_a_group if name == ESSENTIAL[1] else steps for name in SIDES}
    for number in range(rounds):
        order = [name for name in SIDES if name in ESSENTIAL or number < max(1, rounds // 2)]
        for name in order if number % 2 == 0 else order[::-1]:
            found[name].append(SIDES[name](parts, length[name], number))
    lines = []
    for name, its in found.items():
        over = [a.tokens / a.seconds / (b.tokens / b.seconds) for a, b in zip(found["Forge"], its, strict=False)]
        speed = statistics.median(one.tokens / one.seconds for one in its)
        padding = 1 - sum(one.tokens for one in its) / sum(one.padded for one in its)
        each = statistics.mean(one.tokens for one in its) / (length[name] - 1)
        lines.append(f"| {name} | {speed:,.0f} | {shown(over)} | {each:,.0f} | {padding:.0%} |")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--quick", action="store_true", help="one round of few steps: a check, no measurement")
    chosen = reader.parse_args()
    assemble.quiet_libraries()
    torch.set_num_threads(1)
    steps, of_a_group, rounds = (3, 3, 1) if chosen.quick else (STEPS, OF_A_GROUP, ROUNDS)
    lines = ["| side | tokens a CPU second, median | Forge over it: median (min – max) | tokens a step | padding |", "|---|---|---|---|---|"]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        parts = prepare(Path(folder), steps)
        lines += measure(parts, steps, rounds, of_a_group)
    text = "\n".join(lines) + (
        f"\n\n{rounds} rounds ({max(1, rounds // 2)} for the rows that take something away) of {steps - 1} steps ({of_a_group - 1} of the second row), one process and thread, "
        f"{len(parts.plan.lengths_N):,} pairs, vocabulary {parts.model.config.vocab_size:,}; a batch of fixed size has {examples_a_step(parts)} "
        "pairs. More than 1 means that Forge is quicker."
    )
    write_table(
        "translate_train",
        "Training a translator: Forge against Seq2SeqTrainer",
        text,
        "python -m bench.translate_train",
        quick=chosen.quick,
    )


if __name__ == "__main__":
    main()
