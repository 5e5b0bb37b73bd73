"""What the real jobs cost: units measured here, the rest arithmetic. Run it where you train and put in your own GPU.

A training step does 6 floating-point operations a weight and token (forward 2, backward 4; Kaplan et al. 2020, arXiv
2001.08361, §2.1), a teacher's forward pass 2. Embedding tables are looked up, not multiplied, so they count for memory alone.
"""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.kd_case import BATCH, Shape, prepare, run_trainer, save_models, training_texts
from bench.machine import write_table

STEPS, LAYERS = 8, 12
ROWS = 393_000  # pairs of sentences, as many as MNLI has
USED = 0.25  # of a GPU's peak in bf16: small models and short sequences; 0.4 and more need longer ones
GPUS = {"A100": 312e12, "H100": 989e12}  # dense bf16, from their data sheets
BYTES_TRAINED = 16  # a weight: fp32 weight, gradient, two moments of Adam
BYTES_SAVED = 12  # a weight in a checkpoint: fp32 weight, two moments


@dataclass(frozen=True)
class Job:
    name: str
    examples: float
    tokens: float  # of an example, read and written
    epochs: float
    batch: float  # examples of a step
    layers: int
    weights: float  # multiplied for each token
    tables: float  # embedding tables
    teacher: float = 0.0  # weights of the teacher
    hidden: tuple[int, float] = (0, 0.0)  # layers and width that a cache would hold

    @property
    def operations(self) -> float:
        return 6 * self.weights * self.tokens * self.examples * self.epochs

    def seconds(self, peak: float, host: float, gpus: int = 1) -> float:
        """On GPUs of this peak, whose host needs so many seconds a step and layer to launch the kernels."""
        steps = self.examples * self.epochs / self.batch
        return steps * max(self.operations / steps / (peak * USED * gpus), host * self.layers)

    @property
    def teaching(self) -> float:
        """One pass of the teacher, for a cache."""
        return 2 * self.teacher * self.tokens * self.examples

    @property
    def trained(self) -> float:
        return self.weights + self.tables


JOBS = [
    Job("MNLI, DistilBERT from BERT-base, 3 epochs", 393e3, 40, 3, 32, 6, 43e6, 24e6, 86e6, (4, 768)),
    Job("Europarl, Marian-sized (6 + 6 layers, 512), 10 epochs", 2e6, 65, 10, 385, 12, 44e6, 30e6, 180e6, (4, 1024)),
    Job("OCR, a 258M vision-language model, 1 epoch", 250e3, 1500, 1, 8, 42, 210e6, 48e6, 2e9, (4, 2048)),
]


def measured() -> dict[str, float]:
    """Units of this machine."""
    units: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        save_models(Path(folder), Shape(), training_texts(2_000))
        prepared = prepare(Path(folder), STEPS)
        layers = [p for name, p in prepared.parts.model.named_parameters() if p.ndim > 1 and "embeddings" not in name]
        cpu, _ = run_trainer(prepared)
        data = prepared.parts.data.train
        tokens = sum(data["length"][:]) / len(data)
        done = 6 * sum(p.numel() for p in layers) * tokens * BATCH * (STEPS - 1)
        units["operations a second and core"] = done / cpu
        units["host seconds a step and layer"] = launching()
        began = time.process_time()
        rows = [data[i % len(data)] for i in range(20_000)]
        for start in range(0, len(rows), BATCH):
            prepared.parts.task.collate(rows[start : start + BATCH])
        units["examples collated a second and worker"] = len(rows) / (time.process_time() - began)
        done_encoding = subprocess.run(
            [sys.executable, "-m", "bench.scaling", "encode", folder], capture_output=True, text=True, check=True,
            env=os.environ | {"HF_DATASETS_CACHE": folder, "TOKENIZERS_PARALLELISM": "false"},
        )  # fmt: skip
        seconds, peak, size = map(float, done_encoding.stdout.split()[-3:])
        units["examples encoded a second and core"] = ROWS / seconds
        units["bytes of an encoded example"] = size / ROWS
        units["peak memory of encoding 393,000 pairs, GB"] = peak
    return units


def launching() -> float:
    """CPU seconds that a step takes per layer when there is next to nothing to compute: no GPU goes faster than that."""
    with tempfile.TemporaryDirectory() as folder:
        save_models(Path(folder), Shape(width=8, heads=1, student_depth=LAYERS), training_texts(2_000))
        cpu, _ = run_trainer(prepare(Path(folder), STEPS))
        return cpu / (STEPS - 1) / LAYERS


def encode(folder: Path) -> None:
    """In a process of its own, for its peak memory."""
    from transformers import AutoTokenizer

    from forge.tasks.encoding import encode_texts

    texts, rng = training_texts(2_000), random.Random(1)
    pairs = {part: [" ".join(rng.choices(texts, k=2)) for _ in range(ROWS)] for part in ("text", "text_pair")}
    tokenizer = AutoTokenizer.from_pretrained(folder / "student")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    encode_texts(tokenizer, pairs | {"label": [0] * ROWS}, 128, key=["scaling"])
    seconds = time.process_time() - began
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    size = sum(path.stat().st_size for path in folder.rglob("*.arrow"))
    print(seconds, (after - before) / 1e6, size)


def hours(seconds: float) -> str:
    return f"{seconds / 60:,.0f} min" if seconds < 2 * 3600 else f"{seconds / 3600:,.1f} h"


def table(units: dict[str, float]) -> list[str]:
    core = units["operations a second and core"]
    lines = [
        "| job | operations | 16 cores | " + " | ".join(f"one {name}" for name in GPUS) + " | 8 × H100 |",
        "|---|---|---|" + "---|" * (len(GPUS) + 1),
    ]
    for job in JOBS:
        host = units["host seconds a step and layer"]
        gpus = [job.seconds(peak, host) for peak in GPUS.values()]
        eight = job.seconds(GPUS["H100"], host, 8)
        cells = [hours(job.operations / (16 * core)), *map(hours, gpus), hours(eight)]
        lines.append(f"| {job.name} | {job.operations:.1e} | {' | '.join(cells)} |")
    lines += [
        "",
        "| job | training memory, without activations | two checkpoints | encoded data | teacher: one pass on an H100 | cache: logits alone | cache: hidden states |",
        "|---|---|---|---|---|---|---|",
    ]
    for job in JOBS:
        layers, width = job.hidden
        data = job.examples * job.tokens * 8  # ids and types as 32 bits; OCR's pictures are not in it
        cells = [
            f"{job.trained * BYTES_TRAINED / 1e9:.1f} GB",
            f"{2 * job.trained * BYTES_SAVED / 1e9:.1f} GB",
            f"{data / 1e9:.2f} GB",
            hours(job.teaching / (GPUS["H100"] * USED)),
            f"{job.examples * (3 * 4 if job.tokens < 50 else job.tokens * 17 * 4) / 1e9:,.2f} GB",
            f"{job.examples * job.tokens * layers * width * 2 / 1e9:,.0f} GB",
        ]
        lines.append(f"| {job.name} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    units = measured()
    lines = ["Measured on this machine:", "", "| unit | value |", "|---|---|"]
    lines += [f"| {name} | {value:,.3g} |" for name, value in units.items()]
    lines += [
        "",
        f"Arithmetic; a GPU is taken at {USED:.0%} of its peak, which nobody measured here, or at the pace of its host if slower.",
        "",
    ]
    text = "\n".join([*lines, *table(units)])
    write_table("scaling", "What the real jobs cost", text, "python -m bench.scaling")


if __name__ == "__main__":
    if sys.argv[1:2] == ["encode"]:
        encode(Path(sys.argv[2]))
    else:
        main()
