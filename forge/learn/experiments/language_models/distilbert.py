"""Count what is left of BERT with fewer layers, and let a tiny student learn alone or from its teacher."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel

from forge.inference.classification import load_run, predict
from forge.learn.experiments.base import Live, whole, word
from forge.learn.experiments.language_models.taught import EASY, taught
from forge.learn.experiments.training import Shown, run_training
from forge.learn.questions import Value
from forge.learn.results import Bar, Bars, Picture, Result, Table
from forge.runs.run_dir import RunDirectory
from forge.tasks.embedded.nli import generate

ALONE = "from right answers alone"
CONFIGS = {
    ALONE: "configs/classification/embedded_nli/tiny_distilbert/00_sft.yaml",
    "from right answers and its teacher": "configs/classification/embedded_nli/tiny_distilbert/50_far.yaml",
}
STEPS = 300
ASKED = 300
TOKENS = 32  # of the sentence that multiplications are counted for
BERT_LAYERS = 12


@dataclass(frozen=True)
class Answered:
    """A trained network and what it says to 300 pairs."""

    weights: int
    kilobytes: float  # of its file
    milliseconds: float  # of computing for all pairs
    answers: list[str]


def run(controls: Mapping[str, Value], live: Live) -> Result:
    """Count BERT with `layers` of its 12; train the tiny student as `student` says and compare it with its teacher."""
    layers, student = whole(controls, "layers"), word(controls, "student")
    teacher_run = taught(live, end=0.4)
    live.chart("The student learns", "step", "loss", STEPS)
    settings = dict(EASY) | {
        "train.learning_rate": 5e-3,
        "train.max_steps": STEPS,
        "data.embedded.train_size": 4_000,
        "evaluate.every": STEPS,
        "log.every": 10,
    }
    if student != ALONE:
        settings["teacher.name"] = str(teacher_run.path.resolve())
    trained = run_training(
        CONFIGS[student], settings, live, Shown(series="student", begin=0.4, end=0.8, note="the student learns")
    )
    live.progress(0.85, f"both answer {ASKED} pairs")
    rows = generate("test", ASKED, difficulty=0.0)
    big, small = (_answered(run.path, rows) for run in (teacher_run, trained))
    truth = [row["label"] for row in rows]
    right_big, right_small = (_same(one.answers, truth) for one in (big, small))
    agree = _same(big.answers, small.answers)
    sizes = {f"BERT, {n} layers": _count(n) for n in sorted({layers, BERT_LAYERS}, reverse=True)}
    sizes["DistilBERT"] = _count_distilbert()
    millions = {name: round(count / 1e6, 1) for name, (count, _) in sizes.items()}
    whole_bert = millions[f"BERT, {BERT_LAYERS} layers"]
    kept = millions[f"BERT, {layers} layers"]
    return Result(
        said=f"BERT with {layers} of its {BERT_LAYERS} layers has {kept:g} million weights, "
        f"{1 - kept / whole_bert:.0%} fewer. The tiny student, which learned {student}, gives its teacher's "
        f"answer to {agree} of {ASKED} pairs.",
        numbers={
            "weights": kept,
            "saved": round(100 * (1 - kept / whole_bert)),
            "agree": agree,
            "right_teacher": right_big,
            "right_student": right_small,
            "smaller": round(big.weights / small.weights),
        },
        pictures=[
            *_real_ones(sizes, millions, f"BERT, {layers} layers"),
            Table(
                title=f"The tiny pair, asked about {ASKED} pairs",
                header=["", "weights", "file", "computing", "right", "as the teacher"],
                rows=[_row("teacher", big, right_big, ASKED), _row("student", small, right_small, agree)],
            ),
        ],
        run=str(trained.path),
        command=trained.command,
    )


def _real_ones(sizes: Mapping[str, tuple[int, int]], millions: Mapping[str, float], chosen: str) -> list[Picture]:
    return [
        Bars(
            title="Weights, in millions, of the real ones",
            bars=[Bar(label=name, value=value, strong=name == chosen) for name, value in millions.items()],
            most=max(millions.values()),
        ),
        Table(
            title=f"Multiplications for one sentence of {TOKENS} tokens, in millions",
            header=["", "weights", "multiplications"],
            rows=[[name, f"{count / 1e6:,.1f}", f"{products / 1e6:,.0f}"] for name, (count, products) in sizes.items()],
        ),
    ]


def _row(name: str, one: Answered, right: int, agree: int) -> list[str]:
    return [
        name,
        f"{one.weights:,}",
        f"{one.kilobytes:,.0f} kB",
        f"{one.milliseconds:,.0f} ms",
        f"{right}",
        f"{agree}",
    ]


def _same(first: list[str], second: list[str]) -> int:
    return sum(a == b for a, b in zip(first, second, strict=True))


def _answered(path: Path, rows: list[dict[str, str]]) -> Answered:
    loaded = load_run(RunDirectory(path))
    asked = [{"text": row["premise"], "text_pair": row["hypothesis"]} for row in rows]
    began = time.process_time()
    answers = [answer["label"] for answer in predict(loaded, asked)]
    took = time.process_time() - began
    file = RunDirectory(path).checkpoint("best") / "model.safetensors"
    weights = sum(parameter.numel() for parameter in loaded.model.parameters())
    return Answered(weights, file.stat().st_size / 1e3, 1e3 * took, answers)


def _count(layers: int) -> tuple[int, int]:
    """Weights and multiplications of BERT-base with so many layers; its shape alone, without any numbers in it."""
    with torch.device("meta"):
        return _counted(BertModel(BertConfig(num_hidden_layers=layers, attn_implementation="eager")))


def _count_distilbert() -> tuple[int, int]:
    with torch.device("meta"):
        return _counted(DistilBertModel(DistilBertConfig(attn_implementation="eager")))


@torch.no_grad()
def _counted(model: torch.nn.Module) -> tuple[int, int]:
    with FlopCounterMode(display=False) as counter:
        model.eval()(input_ids=torch.ones(1, TOKENS, dtype=torch.long))
    operations: int = counter.get_total_flops()  # a multiplication and an addition count two
    return sum(parameter.numel() for parameter in model.parameters()), operations // 2
