"""A distillation step with the teacher running, against the plainest fast PyTorch loop that does the same.

Forge's side is the real Trainer.run(): data stream, collating, counting, masks, logging every 10 steps, non-finite
check. The floor has its batches, masks and normalisers made beforehand, and in its time does only this: teacher
forward without gradients, student forward, task loss and the one distillation loss written out by hand on what hooks
left, backward, clip, fused AdamW, schedule. Before anything is timed, both must give the same loss on the same batch.

`--quick` measures the same with fewer rounds and steps; its figures are a check that the benchmark works.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModelForSequenceClassification, get_scheduler

from bench.kd_case import (  # fmt: skip
    FAMILY,
    NINE,
    Shape,
    Times,
    alternate,
    now,
    prepare,
    ratios,
    run_trainer,
    save_models,
    shown,
    since,
    training_texts,
)
from bench.machine import write_table
from forge import assemble
from forge.assemble import Prepared

Kept = dict[str, Tensor]
Batch = dict[str, Tensor]
ALPHA, CLOSED = 0.5, -1e4


def forward_kl(student: Kept, teacher: Kept, _: Batch, temperature: float = 2.0) -> Tensor:
    log_q, log_p = (x["logits"].div(temperature).log_softmax(-1) for x in (student, teacher))
    return functional.kl_div(log_q, log_p, reduction="batchmean", log_target=True) * temperature**2


def jsd(student: Kept, teacher: Kept, _: Batch) -> Tensor:
    log_q, log_p = student["logits"].log_softmax(-1), teacher["logits"].log_softmax(-1)
    log_m = ((log_q.exp() + log_p.exp()) / 2).log()
    halves = [functional.kl_div(log_m, log, reduction="batchmean", log_target=True) for log in (log_p, log_q)]
    return (halves[0] + halves[1]) / 2


def dkd(student: Kept, teacher: Kept, batch: Batch, temperature: float = 2.0, other_weight: float = 2.0) -> Tensor:
    z, t = student["logits"] / temperature, teacher["logits"] / temperature
    own = batch["one_hot"]
    q, p = (z.softmax(-1) * own).sum(-1), (t.softmax(-1) * own).sum(-1)
    target = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
    log_q, log_p = ((x + own * CLOSED).log_softmax(-1) for x in (z, t))
    other = functional.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)
    return (target + other_weight * other).mean() * temperature**2


def hidden_mse(student: Kept, teacher: Kept, batch: Batch) -> Tensor:
    found = [(student[s] - teacher[t]).square().mean(-1).mul(batch["token_share"]).sum() for s, t in zip(HIDDEN_S, HIDDEN_T, strict=True)]  # fmt: skip
    return torch.stack(found).mean()


def cosine(student: Kept, teacher: Kept, batch: Batch) -> Tensor:
    found = []
    for s, t in zip(HIDDEN_S, HIDDEN_T, strict=True):  # half the time of functional.cosine_similarity
        x, unit = student[s], teacher[t] / teacher[t].norm(dim=-1, keepdim=True)
        found.append((1.0 - (x * unit).sum(-1) / x.norm(dim=-1)).mul(batch["token_share"]).sum())
    return torch.stack(found).mean()


def linear_cka(student: Kept, teacher: Kept, batch: Batch) -> Tensor:
    found = []
    for s, t in zip(HIDDEN_S, HIDDEN_T, strict=True):
        x, y = (state.flatten(0, 1).index_select(0, batch["valid"]) for state in (student[s], teacher[t]))
        x, y = x - x.mean(0), y - y.mean(0)
        found.append(1.0 - (x.T @ y).square().sum() / ((x.T @ x).norm() * (y.T @ y).norm()))
    return torch.stack(found).mean()


def _products(a: Tensor, b: Tensor, heads: int) -> Tensor:
    a, b = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (a, b))
    return (a / math.sqrt(a.shape[-1])) @ b.mT


def score_mse(student: Kept, teacher: Kept, batch: Batch, heads: int) -> Tensor:
    found = []
    for s, t in zip(HIDDEN_S, HIDDEN_T, strict=True):
        ours, its = (_products(x[f"{n}.q"], x[f"{n}.k"], heads) for x, n in ((student, s), (teacher, t)))
        found.append((ours - its).square().mean(1).mul(batch["pair_share"]).sum())
    return torch.stack(found).mean()


def _divergence(ours: Tensor, its: Tensor, batch: Batch) -> Tensor:
    log_q, log_p = ((x + batch["closed"]).log_softmax(-1) for x in (ours, its))
    rows = functional.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1).mean(1)
    return rows.mul(batch["token_share"]).sum()


def attention_kl(student: Kept, teacher: Kept, batch: Batch, heads: int) -> Tensor:
    ours, its = (_products(x[f"{n}.q"], x[f"{n}.k"], heads) for x, n in ((student, HIDDEN_S[-1]), (teacher, HIDDEN_T[-1])))  # fmt: skip
    return _divergence(ours, its, batch)


def self_relation(student: Kept, teacher: Kept, batch: Batch, heads: int) -> Tensor:
    found = []
    for letter in "qkv":
        ours, its = student[f"{HIDDEN_S[-1]}.{letter}"], teacher[f"{HIDDEN_T[-1]}.{letter}"]
        found.append(_divergence(_products(ours, ours, heads), _products(its, its, heads), batch))
    return torch.stack(found).sum()


HIDDEN_S, HIDDEN_T = ("1", "2", "3"), ("2", "4", "6")  # layer m of 3 learns from layer 2m of 6
LAST = {"attention_kl": "qk", "self_relation": "qkv"}  # these compare the last layer, like Forge unless told otherwise
BY_HAND: dict[str, Callable[..., Tensor]] = {
    "forward_kl": forward_kl,
    "jsd": jsd,
    "dkd": dkd,
    "hidden_mse": hidden_mse,
    "cosine": cosine,
    "linear_cka": linear_cka,
    "score_mse": score_mse,
    "attention_kl": attention_kl,
    "self_relation": self_relation,
}


class Floor:
    """Both models with Forge's weights but none of its hooks, and the batches of its first steps."""

    def __init__(self, prepared: Prepared, name: str, steps: int) -> None:
        assert prepared.teaching is not None
        self.parts, self.steps = prepared.parts, steps
        self.student = _twin(prepared.parts.model)
        self.teacher = _twin(prepared.teaching.found.load()).eval().requires_grad_(False)
        heads = self.student.config.num_attention_heads
        by_hand = BY_HAND[name]
        self.loss = partial(by_hand, heads=heads) if FAMILY[name] == "attention" else by_hand
        self.response = FAMILY[name] == "response"
        self.kept_s, self.kept_t = _watch(self.student, name, HIDDEN_S), _watch(self.teacher, name, HIDDEN_T)
        data: Any = prepared.parts.data.train
        self.batches = [
            _ready(prepared.parts.task.collate(data.__getitems__(rows.tolist())))
            for (rows,) in prepared.parts.plan.epoch(0)[:steps]
        ]

    def total(self, inputs: Batch, batch: Batch) -> Tensor:
        with torch.no_grad():
            self.kept_t["logits"] = self.teacher(**inputs).logits
        self.kept_s["logits"] = self.student(**inputs).logits
        own = functional.cross_entropy(self.kept_s["logits"], batch["labels"])
        return (1 - ALPHA) * own + ALPHA * self.loss(self.kept_s, self.kept_t, batch)

    def run(self) -> Times:
        """Train from where it stands; step 1, in which the optimizer makes its state, is not timed."""
        train = self.parts.settings.train
        weights = list(self.student.parameters())
        groups = [
            {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": train.weight_decay},
            {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=train.learning_rate, fused=True)
        scheduler = get_scheduler("linear", optimizer, num_warmup_steps=1, num_training_steps=self.steps)
        self.student.train()
        start = now()
        for number, (inputs, batch) in enumerate(self.batches):
            self.total(inputs, batch).backward()
            nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad(set_to_none=True)
            start = start if number else now()
        return since(start)


def _twin(model: Any) -> Any:
    twin = AutoModelForSequenceClassification.from_config(model.config)
    twin.load_state_dict(model.state_dict())
    return twin


def _watch(model: Any, name: str, layers: tuple[str, ...]) -> Kept:
    """Hooks on what the loss reads and on nothing else."""
    kept: Kept = {}

    def keep(key: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _arguments: Any, output: Any) -> None:
            kept[key] = output[0] if isinstance(output, tuple) else output

        return hook

    if FAMILY[name] == "response":
        return kept
    for layer in layers[-1:] if name in LAST else layers:
        block = model.bert.encoder.layer[int(layer) - 1]
        if FAMILY[name] == "feature":
            block.register_forward_hook(keep(layer))
            continue
        for letter, part in zip("qkv", ("query", "key", "value"), strict=True):
            if letter in LAST.get(name, "qk"):
                getattr(block.attention.self, part).register_forward_hook(keep(f"{layer}.{letter}"))
    return kept


def _ready(batch: Batch) -> tuple[Batch, Batch]:
    """What the models read, and what the losses need of a batch."""
    labels = batch.pop("labels")
    mask = batch["attention_mask"].float()
    pairs = mask[:, :, None] * mask[:, None, :]
    made = {
        "labels": labels,
        "one_hot": functional.one_hot(labels, 3).float(),
        "token_share": mask / mask.sum(),
        "valid": mask.flatten().nonzero().flatten(),
        "pair_share": pairs / pairs.sum(),
        "closed": ((1.0 - mask) * CLOSED)[:, None, None, :],
    }
    return batch, made


def check(prepared: Prepared, floor: Floor) -> None:
    """Refuse to time two sides that do not compute the same."""
    parts = prepared.parts
    data: Any = parts.data.train
    batch = parts.task.collate(data.__getitems__(parts.plan.epoch(0)[0][0].tolist()))
    parts.model.eval()
    floor.student.eval()
    with torch.no_grad():
        ours = float(parts.objective.compute(parts.model, batch, parts.objective.counts(batch)).loss)
        plain = float(floor.total(*floor.batches[0]))
    if not math.isclose(ours, plain, rel_tol=1e-4):
        raise SystemExit(f"the two sides differ: Forge's loss is {ours}, the floor's is {plain}")


def measure(folder: Path, name: str, steps: int, rounds: int) -> str:
    prepared = prepare(folder, steps, [name], "distill.cache.mode=off")
    assert prepared.teaching is not None
    prepared.teaching.begin(lambda _: None)
    floor = Floor(prepared, name, steps)
    check(prepared, floor)
    ours, plain = alternate([lambda: run_trainer(prepared), floor.run], rounds)
    base = statistics.median(cpu for cpu, _ in plain) / (steps - 1) * 1e3
    added = statistics.median(a - b for (a, _), (b, _) in zip(ours, plain, strict=True)) / (steps - 1) * 1e3
    return f"| {FAMILY[name]} | {name} | {base:.1f} | {added:+.1f} | {shown(ratios(ours, plain, 0))} | {shown(ratios(ours, plain, 1))} |"


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--quick", action="store_true", help="fewer rounds: a check, no measurement")
    reader.add_argument("--tiny", action="store_true", help="narrow models, where what is added to a step shows")
    reader.add_argument("--losses", nargs="+", choices=NINE, default=NINE)
    chosen = reader.parse_args()
    steps, rounds = (4, 2) if chosen.quick else (7, 7)
    shape = Shape(width=48) if chosen.tiny else Shape()
    if chosen.tiny:
        steps = steps * 8
    assemble.quiet_libraries()
    torch.set_num_threads(1)
    lines = [
        "| family | loss | floor's step, CPU ms | Forge adds, CPU ms | ratio of CPU time: median (min – max) | ratio of wall time: median (min – max) |",
        "|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        save_models(Path(folder), shape, training_texts())
        for name in chosen.losses:
            lines.append(measure(Path(folder), name, steps, rounds))
            print(lines[-1], flush=True)
    text = "\n".join(lines) + (
        f"\n\nForge over floor, {rounds} alternations of {steps - 1} steps for each loss, one thread. Teacher BERT "
        f"{shape.teacher_depth} × {shape.width}, student {shape.student_depth} × {shape.width}, {shape.heads} heads, batches of 32 pairs of "
        "sentences, about 30 tokens a pair. The floor's batches, masks and normalisers are made outside its time. "
        "Target: median ≤ 1.10."
    )
    if chosen.quick or chosen.tiny or list(chosen.losses) != list(NINE):
        print(text)
    else:
        write_table(
            "kd_step", "Distillation step with the teacher: Forge against a plain loop", text, "python -m bench.kd_step"
        )


if __name__ == "__main__":
    main()
