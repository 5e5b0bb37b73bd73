"""What learning from rewards is worth: from the same start, GRPO, and controls whose rewards say nothing, by paired seeds.

    python -m bench.reward translation --seeds 1 2 3 4 5
    python -m bench.reward pages --seeds 1 2 3 4 5
    python -m bench.reward lines --seeds 1 2 3 4 5

For each seed a model is trained on references and stopped early, far from converged. From there it goes on with
`60_grpo` and with `61_grpo_constant`, whose reward is the same for every text (nothing is learned from it, and a guard ends
it after 20 steps); `--random` adds a reward drawn at random, where there is a configuration for it. A gain
is what a run's best checkpoint has on the unseen test split over the start that it began from; its interval is Student's
t over seeds. A translator's reward is sentence BLEU (and that texts end and do not repeat themselves), so BLEU says whether
the reward was learned, and chrF++ and TER, which are in no reward and no control, whether the translations are better. A
page reader's is edit similarity and checks of the page, which are nearly CER and, of pages of one number, WER: so both say
that what was learned holds on unseen pages, `fonts_` in a family of faces that was never trained on. `loops` and `cut_off`
are the shares of pages that end in a loop, and that never end: `lines` begins where these are many. All are in per cent.

Runs are ordinary Forge runs in `--runs`: started again, the bench goes on where it was, and finished runs cost nothing.
`--quick` takes a few steps of each; its figures are a check that the benchmark works.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.distill import interval
from bench.machine import write_table

ROOT = Path(__file__).parent.parent
Figures = Mapping[str, float]


@dataclass(frozen=True)
class Case:
    """Where its configurations are, how the start is stopped early, and which figures are compared."""

    title: str
    folder: str
    first: str  # the configuration of the start
    start: Sequence[str]  # its settings
    figures: Mapping[str, int] = field(
        default_factory=dict
    )  # name → 1 where higher is better, -1 where lower, 0 neither
    rewarded: str = ""
    held_out: str = ""
    about: str = ""  # both of these
    splits: Mapping[str, str] = field(default_factory=lambda: {"": "test"})  # test split by what its figures begin with
    unit: float = 1.0  # what figures are multiplied by to be shown
    arms: Sequence[str] = ("60_grpo", "61_grpo_constant")  # what is looked for, then the control
    random: str | None = None  # one more control
    pages: Sequence[str] = ()  # figures that are lists of pages in the record of the evaluation: their share of all


CASES = {
    "translation": Case(
        "embedded English to French",
        "translation/embedded_en_fr/tiny_marian",
        "00_sft",
        ["train.max_steps=600", "evaluate.every=300"],
        {"bleu": 1, "chrf": 1, "ter": -1, "length_ratio": 0},
        "bleu",
        "chrf",
        "bleu is rewarded sentence by sentence, the others are not",
        random="62_grpo_random",
    ),
    "pages": Case(
        "pages of a number",
        "ocr/embedded_pages/mini_reader",
        "01_digits",
        ["train.max_steps=250", "evaluate.max_examples=400"],
        {"cer": -1, "wer": -1, "fonts_cer": -1, "fonts_wer": -1, "loops": -1, "cut_off": -1},
        "cer",
        "wer",
        "both are nearly what is rewarded, on pages of training",
        {"": "words", "fonts_": "fonts"},
        unit=100.0,
        pages=("loops", "cut_off"),
    ),
    "lines": Case(
        "pages of lines",
        "ocr/embedded_pages/mini_reader",
        "00_sft",
        ["train.max_steps=400", "train.schedule=constant", "evaluate.every=400"],
        {"loops": -1, "cut_off": -1, "cer": -1, "wer": -1},
        "cut_off",
        "cer",
        "all but wer are nearly what is rewarded, on pages of training",
        {"": "words"},
        100.0,
        ("62_grpo_lines", "63_grpo_lines_constant"),
        pages=("loops", "cut_off"),
    ),
}
QUICK_START, QUICK = ["train.max_steps=40", "evaluate.every=40"], ["train.max_steps=2", "evaluate.every=2"]
SMALL = ["evaluate.max_examples=8", "data.embedded.train_size=2000", "train.batch_size=8"]


@dataclass(frozen=True)
class Runner:
    """Starts runs and reads what they reached."""

    case: Case
    runs: Path
    quick: bool = False

    def start(self, seed: int) -> tuple[Path, Figures]:
        return self.run(self.case.first, seed, QUICK_START if self.quick else self.case.start)

    def reward(self, name: str, seed: int, start: Path) -> Figures:
        return self.run(name, seed, [f"model.name={start}", *(QUICK if self.quick else [])])[1]

    def run(self, name: str, seed: int, settings: Sequence[str]) -> tuple[Path, Figures]:
        """The directory of a finished run, and its figures on the test split."""
        config = ROOT / "configs" / self.case.folder / f"{name}.yaml"
        words = [f"seed={seed}", f"run.dir={self.runs}", "train.threads=1", *settings, *(SMALL if self.quick else [])]
        done = subprocess.run(
            [sys.executable, "forge.py", "--config", str(config), *words],
            cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"{name}, seed {seed}: exit {done.returncode}\n{done.stdout[-500:]}{done.stderr[-1500:]}")
        log = next(line.strip() for line in done.stdout.splitlines() if line.endswith("/output.log"))
        folder = (ROOT / log).parent
        found = figures_of(folder, self.case)
        shown = "  ".join(f"{figure} {found[figure]:.3f}" for figure in self.case.figures)
        print(f"{name}  seed {seed}  {shown}", flush=True)
        return folder, found


def figures_of(folder: Path, case: Case) -> Figures:
    """What a finished run reached on the test split."""
    reached = json.loads((folder / "training_state.json").read_text())["test"]
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    found = {}
    for prefix, split in case.splits.items():
        found |= {f"{prefix}{name}": value for name, value in reached[split].items()}
        last = [one for one in records if one["kind"] == "test" and one["split"] == split][-1]
        found |= {f"{prefix}{name}": len(last[name]) / last["pages"] for name in case.pages}
    return {name: case.unit * found[name] for name in case.figures}


def measure(runner: Runner, seeds: Sequence[int], arms: Sequence[str]) -> dict[str, list[Figures]]:
    """Figures by seed, of the starts and of each arm; what is looked for first, then the controls."""
    found: dict[str, list[Figures]] = {"start": [], **{arm: [] for arm in arms}}
    folders = []
    for seed in seeds:
        folder, figures = runner.start(seed)
        folders.append(folder)
        found["start"].append(figures)
        found[arms[0]].append(runner.reward(arms[0], seed, folder))
    for seed, folder in zip(seeds, folders, strict=True):
        for arm in arms[1:]:
            found[arm].append(runner.reward(arm, seed, folder))
    return found


def gains(found: Mapping[str, Sequence[Figures]], arm: str, figure: str, sign: int = 1) -> list[float]:
    """What each seed gained over its start; positive where it became better."""
    return [sign * (after[figure] - before[figure]) for after, before in zip(found[arm], found["start"], strict=True)]


def shown_gain(values: Sequence[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:+.2f}"
    low, high = interval(list(values))
    return f"{statistics.mean(values):+.2f} [{low:+.2f}, {high:+.2f}]"


def holds(found: Mapping[str, Sequence[Figures]], arm: str, case: Case) -> bool:
    """Whether both the rewarded figure and the one that is held out have intervals above zero."""
    return all(interval(gains(found, arm, name, case.figures[name]))[0] > 0 for name in (case.rewarded, case.held_out))


def table(found: Mapping[str, Sequence[Figures]], case: Case, seeds: Sequence[int]) -> list[str]:
    names = list(case.figures)
    judged = [name for name in names if case.figures[name]]
    lines = [
        "| run | " + " | ".join(names) + " | " + " | ".join(f"{name}: gain [95 %]" for name in judged) + " |",
        "|---" * (1 + len(names) + len(judged)) + "|",
    ]
    for arm, its in found.items():
        means = [statistics.mean(one[name] for one in its) for name in names]
        row = [arm, *(f"{mean:.2f}" if case.figures[name] else f"{mean:.3f}" for name, mean in zip(names, means, strict=True))]  # fmt: skip
        row += ["" if arm == "start" else shown_gain(gains(found, arm, name, case.figures[name])) for name in judged]
        lines.append("| " + " | ".join(row) + " |")
    lines += ["", "| seed | " + " | ".join(f"{arm}: {case.rewarded}, {case.held_out}" for arm in found) + " |", "|---" * (1 + len(found)) + "|"]  # fmt: skip
    for place, seed in enumerate(seeds):
        cells = [f"{its[place][case.rewarded]:.2f}, {its[place][case.held_out]:.2f}" for its in found.values()]
        lines.append(f"| {seed} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("case", choices=CASES)
    reader.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    reader.add_argument("--random", action="store_true", help="the control with a random reward too")
    reader.add_argument("--runs", type=Path, default=ROOT / "runs" / "bench_reward")
    reader.add_argument("--quick", action="store_true", help="a few steps of one seed: a check, no measurement")
    chosen = reader.parse_args()
    case, seeds = CASES[chosen.case], chosen.seeds[:1] if chosen.quick else chosen.seeds
    if chosen.random and not case.random:
        raise SystemExit(f"there is no random control for {chosen.case}")
    arms = [*case.arms, *([case.random] if chosen.random and case.random else [])]
    runner = Runner(case, chosen.runs.absolute(), chosen.quick)
    found = measure(runner, seeds, arms)
    text = "\n".join(table(found, case, seeds)) + (
        f"\n\n{len(seeds)} paired seeds, start: {case.first} with {', '.join(case.start)}; figures of test splits, "
        f"best checkpoint by {case.held_out} on validation. Positive gains are better; {case.about}. "
        "The constant control is ended by its guard after 20 steps: nothing is learned from it."
    )
    if len(seeds) > 1:
        text += " Both gains' intervals above zero: " + ", ".join(
            f"{arm} {'yes' if holds(found, arm, case) else 'no'}" for arm in arms
        )
        text += "."
    if chosen.quick or len(seeds) < 2:
        print(text)
        return
    command = f"python -m bench.reward {chosen.case} --seeds {' '.join(map(str, seeds))}" + (" --random" if chosen.random else "")  # fmt: skip
    write_table(f"reward_{chosen.case}", f"Learning from rewards: {case.title}", text, command)


if __name__ == "__main__":
    main()
