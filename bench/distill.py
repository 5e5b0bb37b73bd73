"""What each distillation loss is worth: paired seeds of SFT and every configuration beside it, with intervals.

`python -m bench.distill embedded` takes about 70 minutes on one thread, `python -m bench.distill translation` about two
hours, `python -m bench.distill sick --model DIR` some, `python -m bench.distill pages` a night; DIR is a directory with
all-MiniLM-L6-v2. Runs are ordinary Forge runs in `--runs`: started again, the bench goes on where it was, and finished
runs cost nothing. `--workers 2` keeps two runs going.

A gain is that of one seed over SFT with the same seed: same start, same batches. It is positive where the student became
better, also of figures that are better when they are lower. Its interval is Student's t over seeds;
p is the paired t test, adjusted for the number of configurations (Holm 1979).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from bench.machine import write_table
from forge.tasks.base import HIGHER_IS_BETTER

ROOT = Path(__file__).parent.parent
CONFIGS = ROOT / "configs"


@dataclass(frozen=True)
class Case:
    title: str
    teacher: str
    students: str  # a directory of configurations
    split: str
    figure: str = "accuracy"
    scale: float = 100.0  # of the figure, to points
    part: str = ""  # of a split that has several

    def points(self, state: dict) -> float:
        return self.scale * state[self.split][self.part or self.split][self.figure]

    @property
    def sign(self) -> int:
        return 1 if HIGHER_IS_BETTER[self.figure] else -1


CASES = {
    "embedded": Case(
        "embedded NLI",
        "classification/embedded_nli/tiny_bert/00_teacher",
        "classification/embedded_nli/tiny_distilbert",
        "test",
    ),
    "sick": Case("SICK", "classification/sick/minilm/00_sft", "classification/sick/minilm3", "validation"),
    "translation": Case(
        "embedded English to French",
        "translation/embedded_en_fr/small_marian/00_teacher",
        "translation/embedded_en_fr/tiny_marian",
        "test",
        "bleu",
        1.0,
    ),
    "pages": Case(
        "embedded pages, held-out words",
        "ocr/embedded_pages/tiny_reader/00_sft",
        "ocr/embedded_pages/mini_reader",
        "test",
        "cer",
        part="words",
    ),
}


class Runner:
    """Starts runs and reads what they reached."""

    def __init__(self, case: Case, runs: Path, settings: list[str]) -> None:
        self.case, self.runs, self.settings = case, runs, settings
        self.teacher = ""

    def one(self, name: str, seed: int) -> float:
        config = CONFIGS / f"{name}.yaml"
        settings = [f"seed={seed}", f"run.dir={self.runs}", "train.threads=1", *self.settings]
        if self.teacher and name != self.case.teacher:
            settings += [f"teacher.name={self.teacher}", f"distill.cache.dir={self.runs / 'teacher_cache'}"]
        command = [sys.executable, "forge.py", "--config", str(config), *settings]
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{name}, seed {seed}: exit {done.returncode}\n{done.stdout[-500:]}{done.stderr[-1500:]}")
        folder = next(Path(line.strip()).parent for line in done.stdout.splitlines() if line.endswith("/output.log"))
        value = self.case.points(json.loads((ROOT / folder / "training_state.json").read_text()))
        print(f"{name}  seed {seed}  {value:.2f}", flush=True)
        if name == self.case.teacher:
            self.teacher = str(ROOT / folder)
        return value


def interval(values: list[float]) -> tuple[float, float]:
    """95 % interval of a mean, Student's t."""
    half = stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return statistics.mean(values) - half, statistics.mean(values) + half


def holm(raw: dict[str, float]) -> dict[str, float]:
    """p-values that allow for their number (Holm 1979)."""
    adjusted, largest = {}, 0.0
    for rank, name in enumerate(sorted(raw, key=lambda name: raw[name])):
        largest = max(largest, min(1.0, (len(raw) - rank) * raw[name]))
        adjusted[name] = largest
    return adjusted


def table(found: dict[str, list[float]], teacher: float, figure: str, sign: int = 1) -> list[str]:
    sft = found["00_sft"]
    gains = {name: [sign * (a - b) for a, b in zip(values, sft, strict=True)] for name, values in found.items()}
    compared = [name for name in found if name != "00_sft"]
    raw = [float(stats.ttest_rel(found[name], sft).pvalue) for name in compared]
    adjusted = holm(dict(zip(compared, raw, strict=True)))
    gap = sign * (teacher - statistics.mean(sft))
    lines = [
        f"| configuration | mean {figure} | gain over SFT, points [95 %] | of the gap | p (Holm) |",
        "|---|---|---|---|---|",
    ]
    lines.append(f"| teacher | {teacher:.2f} | | | |")
    for name, values in sorted(found.items(), key=lambda item: -sign * statistics.mean(item[1])):
        mean = f"| {name} | {statistics.mean(values):.2f} ({min(values):.2f} – {max(values):.2f}) "
        if name == "00_sft":
            lines.append(mean + "| | | |")
            continue
        low, high = interval(gains[name])
        gain = statistics.mean(gains[name])
        lines.append(mean + f"| {gain:+.2f} [{low:+.2f}, {high:+.2f}] | {gain / gap:.0%} | {adjusted[name]:.2g} |")
    return lines


def draw(found: dict[str, list[float]], teacher: float, case: Case, path: Path) -> None:
    """Every seed a dot, every configuration a row, from the worst to the best."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "forge", "font.family": "sans-serif"})
    from matplotlib import pyplot as plt

    ranked = sorted(found, key=lambda name: case.sign * statistics.mean(found[name]))
    figure, axis = plt.subplots(figsize=(8, 0.36 * len(ranked) + 1.2), layout="constrained")
    for row, name in enumerate(ranked):
        color = "C3" if name in {"00_sft", "90_random_teacher"} else "C0"
        axis.plot(found[name], [row] * len(found[name]), "o", color=color, alpha=0.35, markersize=5)
        axis.plot(statistics.mean(found[name]), row, "|", color=color, markersize=16, markeredgewidth=2.5)
    axis.axvline(teacher, color="gray", linestyle="--", linewidth=1)
    axis.text(teacher, len(ranked) - 0.4, " teacher ", ha="right" if case.sign > 0 else "left", color="gray")
    axis.axvline(statistics.mean(found["00_sft"]), color="C3", linewidth=0.8, alpha=0.6)
    axis.set(
        title=f"{case.title}: a dot is a seed",
        xlabel=f"{case.figure}, points",
        yticks=range(len(ranked)),
        yticklabels=ranked,
        ylim=(-0.6, len(ranked) - 0.1),
    )
    axis.grid(axis="x", alpha=0.3)
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    plt.close(figure)


def more(option: str, values: list[str] | None) -> str:
    return " ".join(["", option, *values]) if values else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "bench_distill")
    parser.add_argument("--model", help="directory of all-MiniLM-L6-v2 (sick)")
    parser.add_argument("--only", nargs="*", help="names of configurations")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of every run, the teacher's too"
    )
    options = parser.parse_args()
    case = CASES[options.case]
    model = [f"model.name={options.model}"] if options.model else []
    runner = Runner(case, options.runs.absolute(), [*model, *options.set])
    teacher = runner.one(case.teacher, 1)
    names = ["00_sft", *sorted(path.stem for path in (CONFIGS / case.students).glob("[1-59]*.yaml"))]  # 6: rewards
    names = [name for name in names if not options.only or name in {"00_sft", *options.only}]
    wanted = [(name, seed) for seed in range(1, options.seeds + 1) for name in names]  # whole blocks first
    with ThreadPoolExecutor(options.workers) as pool:
        values = list(pool.map(lambda job: runner.one(f"{case.students}/{job[0]}", job[1]), wanted))
    found = {name: [v for (n, _), v in zip(wanted, values, strict=True) if n == name] for name in names}
    where = "test split, best checkpoint" if case.split == "test" else "trial split, last step"
    text = "\n".join(table(found, teacher, case.figure, case.sign)) + (
        f"\n\n{options.seeds} paired seeds, the same teacher for all; {case.figure} on the {where}. "
        f"Largest standard deviation of a configuration over seeds: "
        f"{max(float(np.std(v, ddof=1)) for v in found.values()):.2f} points."
    )
    draw(found, teacher, case, ROOT / "docs" / "images" / f"distill_{options.case}.svg")
    write_table(
        f"distill_{options.case}",
        f"Distillation losses on {case.title}",
        text,
        f"python -m bench.distill {options.case}" + more("--only", options.only) + more("--set", options.set),
    )


if __name__ == "__main__":
    main()
