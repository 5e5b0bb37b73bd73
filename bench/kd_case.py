"""What the distillation benchmarks share: models of realistic shape, prepared runs, timed runs of the real Trainer.

Teacher and student are BERTs of MiniLM's width (384, 12 heads, 1536 inside), 6 and 3 layers deep, with weights drawn at
random and the embedded sentence pairs as data: speed does not depend on what was learned. The vocabulary is the data's
own 1,200 pieces instead of 30,522, so no time is spent on updating an idle embedding table: what Forge adds to a step
weighs more, not less.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import BertConfig, BertForSequenceClassification

from forge import assemble
from forge.config import resolve
from forge.core.events import Event, StepLogged
from forge.preflight import preflight
from forge.tasks.embedded.nli import LABELS
from forge.tasks.embedded.tokenizer import build_tokenizer
from forge.train.checkpoint import CheckpointStore
from forge.train.device import make_accelerator
from forge.train.loop import Trainer

CONFIG = Path(__file__).parent.parent / "configs/classification/embedded_nli/tiny_distilbert/00_sft.yaml"
NINE = ("forward_kl", "jsd", "dkd", "hidden_mse", "cosine", "linear_cka", "score_mse", "attention_kl", "self_relation")
FAMILY = dict(zip(NINE, ["response"] * 3 + ["feature"] * 3 + ["attention"] * 3, strict=True))
FAR = ("forward_kl", "linear_cka", "attention_kl")
BATCH = 32
Times = tuple[float, float]  # CPU seconds, wall seconds


@dataclass(frozen=True)
class Shape:
    """Teacher and student differ in depth alone."""

    width: int = 384
    heads: int = 12
    teacher_depth: int = 6
    student_depth: int = 3
    dropout: float = 0.1


def save_models(folder: Path, shape: Shape, texts: Sequence[str], positions: int = 512) -> None:
    """Directories `teacher` and `student` with config, random weights and one tokenizer."""
    tokenizer = build_tokenizer(texts)
    for name, depth in (("teacher", shape.teacher_depth), ("student", shape.student_depth)):
        config = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=shape.width,
            num_hidden_layers=depth,
            num_attention_heads=shape.heads,
            intermediate_size=4 * shape.width,
            max_position_embeddings=positions,
            hidden_dropout_prob=shape.dropout,
            attention_probs_dropout_prob=shape.dropout,
            pad_token_id=tokenizer.pad_token_id,
            id2label=dict(enumerate(LABELS)),
            label2id={label: number for number, label in enumerate(LABELS)},
        )
        BertForSequenceClassification(config).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)


def prepare(folder: Path, steps: int, losses: Sequence[str] = (), *settings: str) -> assemble.Prepared:
    """A run over the saved models: distillation with these losses, or SFT without any. No gradient norms are taken."""
    chosen = [
        f"run.dir={folder / 'runs'}", f"model.name={folder / 'student'}", "model.init=random", f"max_steps={steps}",
        f"train.batch_size={BATCH}", f"data.embedded.train_size={max(512, BATCH * steps)}", "evaluate.every=null",
        "evaluate.max_examples=8", "train.threads=1", f"alpha={0.5 if losses else 0.0}",
    ]  # fmt: skip
    if losses:
        chosen += [f"teacher.name={folder / 'teacher'}", "teacher.init=random", "distill.gradient_norm_every=null"]
        chosen += [f"distill.{name}.weight=1.0" for name in losses]
    found = preflight(resolve(CONFIG, [*chosen, *settings]))
    found.run.path.mkdir(parents=True, exist_ok=True)
    accelerator = make_accelerator(found.resolved.settings)
    return assemble.prepare_run(found, None, accelerator, CheckpointStore(found.run.path, 2))


class _Timed(Trainer):
    """Measures neither evaluation nor checkpoints."""

    def _evaluate_if_due(self) -> bool:
        return False

    def _save_if_due(self, *_: bool) -> bool:
        return False


def now() -> Times:
    return time.process_time(), time.perf_counter()


def since(start: Times) -> Times:
    cpu, wall = now()
    return cpu - start[0], wall - start[1]


def run_trainer(prepared: assemble.Prepared) -> Times:
    """The real Trainer.run() from the start, less step 1, in which the optimizer makes its state."""
    marks: list[Times] = []

    def sink(event: Event) -> None:
        if isinstance(event, StepLogged):
            marks.append(now())

    trainer = _Timed(prepared.parts, sink, None)
    trainer.run()
    prepared.parts.accelerator.free_memory(trainer.engine.optimizer)
    del trainer
    gc.collect()
    return marks[-1][0] - marks[0][0], marks[-1][1] - marks[0][1]


def alternate(sides: Sequence[Callable[[], Times]], rounds: int) -> list[list[Times]]:
    """Times of each side; the order turns round after every round, and the first round is thrown away."""
    times: list[list[Times]] = [[] for _ in sides]
    for number in range(rounds + 1):
        order = range(len(sides)) if number % 2 == 0 else reversed(range(len(sides)))
        for side in order:
            measured = sides[side]()
            if number:
                times[side].append(measured)
    return times


def ratios(over: Sequence[Times], under: Sequence[Times], clock: int) -> list[float]:
    """Round by round, of CPU time (0) or wall time (1)."""
    return [a[clock] / b[clock] for a, b in zip(over, under, strict=True)]


def shown(values: Sequence[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.3f} ({min(values):.3f} – {max(values):.3f})"


def training_texts(size: int = 2000) -> list[str]:
    """Texts to train the tokenizer on."""
    from forge.tasks.embedded.nli import generate

    rows = generate("train", size)
    return [str(row[part]) for row in rows for part in ("premise", "hypothesis")]
