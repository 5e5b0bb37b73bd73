"""Images a second of training a page reader: pages drawn in line, and ahead in worker processes.

The configurations of `configs/ocr/embedded_pages/tiny_reader`, both stages, the real Trainer.run() on one thread, sides
in turn. Wall clock, because a worker's work is another process's: it needs a core that is free, so look at the load.

    python -m bench.page_train
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from bench.kd_case import _Timed
from bench.machine import write_table
from forge import assemble
from forge.config import resolve
from forge.core.events import Event, StepLogged
from forge.preflight import preflight
from forge.train.checkpoint import CheckpointStore
from forge.train.device import make_accelerator
from forge.train.parts import Parts

CONFIGS = Path(__file__).parent.parent / "configs/ocr/embedded_pages/tiny_reader"
CASES = {"1 to 3 lines, 80 × 256": ("00_sft", 16), "a page of Markdown, 160 × 256": ("01_markdown", 8)}
WORKERS = (0, 1, 2)
STEPS, ROUNDS = 16, 3


def prepare(folder: Path, config: str, batch: int, workers: int, alone: bool, steps: int) -> Parts:
    """The run of a configuration, in one of its stages."""
    settings = [
        f"run.dir={folder}", f"max_steps={steps}", "train.threads=1", f"log.every={steps + 1}",
        f"train.batch_size={batch}", f"train.num_workers={workers}", "evaluate.max_examples=2",
        f"glyphs.alone_steps={steps if alone else 0}",
    ]  # fmt: skip
    found = preflight(resolve(CONFIGS / f"{config}.yaml", settings))
    found.run.path.mkdir(parents=True, exist_ok=True)
    accelerator = make_accelerator(found.resolved.settings)
    return assemble.prepare_run(found, None, accelerator, CheckpointStore(found.run.path, 2)).parts


def images_a_second(parts: Parts) -> float:
    """Between the first step and the last; starting the workers is not counted."""
    marks: list[tuple[float, int]] = []

    def sink(event: Event) -> None:
        if isinstance(event, StepLogged):
            marks.append((time.perf_counter(), event.step))

    _Timed(parts, sink, None).run()
    (began, first), (ended, last) = marks[0], marks[-1]
    return (last - first) * parts.settings.train.batch_size / (ended - began)


def measure(config: str, batch: int, alone: bool, steps: int, rounds: int) -> dict[int, list[float]]:
    """Images a second by number of workers, a figure a round."""
    found: dict[int, list[float]] = {workers: [] for workers in WORKERS}
    for _ in range(rounds):
        for workers in WORKERS:
            with tempfile.TemporaryDirectory() as folder:
                parts = prepare(Path(folder), config, batch, workers, alone, steps)
                found[workers].append(images_a_second(parts))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a check that the benchmark works")
    quick = parser.parse_args().quick
    steps, rounds = (3, 1) if quick else (STEPS, ROUNDS)
    lines = ["| pages | stage | in line | 1 worker | 2 workers | best over in line |", "|---|---|---|---|---|---|"]
    for name, (config, batch) in CASES.items():
        for stage, alone in (("letters", True), ("text", False)):
            found = measure(config, batch, alone, steps, rounds)
            middle = {workers: statistics.median(values) for workers, values in found.items()}
            ratios = [max(pair) / line for line, *pair in zip(*found.values(), strict=True)]
            shown = " | ".join(f"{middle[workers]:.1f}" for workers in WORKERS)
            lines.append(
                f"| {name} | {stage} | {shown} | {statistics.median(ratios):.2f} × ({min(ratios):.2f} – {max(ratios):.2f}) |"
            )
    text = (
        "\n".join(lines) + f"\n\nImages a second, medians of {rounds} rounds of {steps} steps; ratios within a round."
    )
    write_table("page_train", "Training a page reader with pages drawn ahead", text, "python -m bench.page_train")


if __name__ == "__main__":
    main()
