"""The smoke test of the README, and the same command once more."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

from forge.core.errors import UserError
from forge.learn.experiments.base import Live, whole
from forge.learn.experiments.training import RUNS, Shown, Trained, run_training
from forge.learn.lessons import ROOT
from forge.learn.questions import Value
from forge.learn.results import Block, Result, Table
from forge.runs.run_dir import LOG

CONFIG = "configs/classification/mnli/distilbert/00_sft.yaml"
WIDTH = 76
PATIENCE_S = 120.0
TIME = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +", re.MULTILINE)
FILES = {
    LOG: "what happened, line by line",
    "run_metadata.json": "all settings, versions, machine",
    "training_state.json": "how the run stands",
    "metrics.jsonl": "every figure, for programs",
    "report.html": "curves and tables, for a browser",
}


def run(controls: Mapping[str, Value], live: Live) -> Result:
    """Train `steps` steps with `seed`, then give the same command to the command line."""
    steps, seed = whole(controls, "steps"), whole(controls, "seed")
    live.chart("Loss", "step", "loss", steps)
    settings = {"train.max_steps": steps, "seed": seed, "assets": "embedded", "log.every": 5}
    trained = run_training(CONFIG, settings, live, Shown(end=0.8, note="the command, for the first time"))
    live.progress(0.85, "the same command once more")
    again = _once_more(live, steps, seed)
    accuracy = trained.last("accuracy", "matched")
    return Result(
        said=f"{steps} steps with seed {seed}: everything works, and {accuracy:.1%} right is what guessing gives. "
        f"The run directory is {trained.path.name}.",
        numbers={"steps": steps, "seed": seed, "accuracy": accuracy, "first_loss": trained.curve().points[0][1]},
        pictures=[
            Block(title="What the command printed", text=_wrapped(_log(trained))),
            Block(title="The same command, once more", text=_wrapped(again)),
            _listing(trained.path),
        ],
        run=str(trained.path),
        command=f"python forge.py --config {CONFIG} --max_steps {steps} --seed {seed} --assets embedded",
    )


def _once_more(live: Live, steps: int, seed: int) -> str:
    """What the command line prints, in a process of its own."""
    words = ["--config", str(ROOT / CONFIG), "--max_steps", str(steps), "--seed", str(seed), "--assets", "embedded"]
    where = [f"run.dir={live.folder / RUNS}", "train.threads=1"]
    try:
        done = subprocess.run(  # noqa: S603 - this program, with two numbers
            [sys.executable, str(ROOT / "forge.py"), *words, *where],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UserError("the command took far too long the second time; run the experiment again") from None
    if done.returncode:
        raise UserError(f"the command failed the second time: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout


def _log(trained: Trained) -> str:
    return TIME.sub("", (trained.path / LOG).read_text(encoding="utf-8"))


def _wrapped(text: str) -> str:
    wrap = textwrap.TextWrapper(WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    return "\n".join(wrap.fill(line) for line in text.splitlines())


def _listing(folder: Path) -> Table:
    rows = [[name, what] for name, what in FILES.items() if (folder / name).is_file()]
    rows += [[f"{path.name}/", "the model after that step"] for path in sorted(folder.glob("checkpoint-*"))]
    return Table(title=f"The run directory {folder.name}", header=["what lies in it", "what it holds"], rows=rows)
