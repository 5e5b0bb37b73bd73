"""Images a second of training a page reader: pages drawn in line or ahead in worker processes, in fp32 and in bf16.

The configurations of `configs/ocr/embedded_pages/tiny_reader`, both stages, the real Trainer.run() on one thread, sides
in turn. Wall clock, because a worker's work is another process's: it needs a core that is free, so look at the load.
bf16 is for CPUs that multiply it (AMX, AVX512-BF16).

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
SIDES = ((0, "fp32"), (1, "fp32"), (2, "fp32"), (1, "bf16"))  # workers, and precision
STEPS, WARM_UP, ROUNDS = 24, 8, 3  # in bf16 the first batches of each length take longer


def prepare(folder: Path, config: str, batch: int, side: tuple[int, str], alone: bool, steps: int) -> Parts:
    """The run of a configuration, in one of its stages."""
    settings = [
        f"run.dir={folder}", f"max_steps={steps}", "train.threads=1", "log.every=1",
        f"train.batch_size={batch}", f"train.num_workers={side[0]}", f"train.precision={side[1]}",
        "evaluate.max_examples=2",
        f"glyphs.alone_steps={steps if alone else 0}",
    ]  # fmt: skip
    found = preflight(resolve(CONFIGS / f"{config}.yaml", settings))
    found.run.path.mkdir(parents=True, exist_ok=True)
    accelerator = make_accelerator(found.resolved.settings)
    return assemble.prepare_run(found, None, accelerator, CheckpointStore(found.run.path, 2)).parts


def images_a_second(parts: Parts, warm_up: int) -> float:
    """Between the last step of warming up and the end of the run; starting the workers is not counted."""
    marks: list[tuple[float, int]] = []

    def sink(event: Event) -> None:
        if isinstance(event, StepLogged):
            marks.append((time.perf_counter(), event.step))

    _Timed(parts, sink, None).run()
    (began, first), (ended, last) = marks[warm_up - 1], marks[-1]
    return (last - first) * parts.settings.train.batch_size / (ended - began)


def measure(config: str, batch: int, alone: bool, steps: tuple[int, int], rounds: int) -> list[list[float]]:
    """Images a second of each side, for each round; `steps` are those of warming up and those that count."""
    found: list[list[float]] = []
    for _ in range(rounds):
        found.append([])
        for side in SIDES:
            with tempfile.TemporaryDirectory() as folder:
                parts = prepare(Path(folder), config, batch, side, alone, sum(steps))
                found[-1].append(images_a_second(parts, steps[0]))
    return found


def ratio(pairs: list[float]) -> str:
    return f"{statistics.median(pairs):.2f} × ({min(pairs):.2f} – {max(pairs):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a check that the benchmark works")
    quick = parser.parse_args().quick
    steps, rounds = ((1, 2), 1) if quick else ((WARM_UP, STEPS), ROUNDS)
    lines = [
        "| pages | stage | in line | 1 worker | 2 workers | best over in line | 1 worker, bf16 | bf16 over fp32 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, (config, batch) in CASES.items():
        for stage, alone in (("letters", True), ("text", False)):
            found = measure(config, batch, alone, steps, rounds)
            line, one, two, half = (f"{statistics.median(side):.1f}" for side in zip(*found, strict=True))
            ahead = ratio([max(one, two) / line for line, one, two, _ in found])
            halves = ratio([half / one for _, one, _, half in found])
            lines.append(f"| {name} | {stage} | {line} | {one} | {two} | {ahead} | {half} | {halves} |")
    text = (
        "\n".join(lines)
        + f"\n\nImages a second, medians of {rounds} rounds of {steps[1]} steps after {steps[0]}; ratios within a round."
    )
    write_table("page_train", "Training a page reader with pages drawn ahead", text, "python -m bench.page_train")


if __name__ == "__main__":
    main()
