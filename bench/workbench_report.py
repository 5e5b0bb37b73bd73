"""One look of the workbench from the command to the page: time, memory, sizes, and what it says.

The embedded teacher, its student on the labels alone and students that learned from it; trained first where `--runs` does not
have them (five minutes on one thread of an idle machine). Each look is a process of its own with two threads.

    python -m bench.workbench_report --runs runs

`--quick` looks once, at few rows: a check, no measurement.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.machine import write_table
from forge.workbench.findings import FILE, Findings, read_findings

ROOT = Path(__file__).parent.parent
NLI = "classification/embedded_nli"
TEACHER, BASELINE = f"{NLI}/tiny_bert/00_teacher", f"{NLI}/tiny_distilbert/00_sft"
STUDENTS = [f"{NLI}/tiny_distilbert/{name}" for name in ("50_far", "10_forward_kl")]


@dataclass(frozen=True)
class Look:
    wall: float
    cpu: float
    megabytes: float
    folder: Path
    findings: Findings


def trained(name: str, runs: Path, *more: str) -> Path:
    """A finished run of a configuration; started again, it continues or says that it is done."""
    words = [sys.executable, "forge.py", "--config", f"configs/{name}.yaml", f"run.dir={runs}", *more]
    subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return runs / name / "latest"


def look(folder: Path, *words: str) -> Look:
    """Run the command, and measure its process."""
    start = time.perf_counter()
    line = [sys.executable, "forge.py", "workbench", *words, "--out", str(folder)]
    process = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "2"})
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit("the look failed")
    wall = time.perf_counter() - start
    return Look(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3, folder, read_findings(folder / FILE))


def size(path: Path) -> float:
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return sum(one.stat().st_size for one in files) / 1e6


def row(name: str, one: Look) -> str:
    sizes = [size(one.folder / part) for part in (FILE, "report.html", "representations")]
    told = " | ".join(f"{value:.1f}" for value in sizes)
    return f"| {name} | {one.findings.rows.used:,} | {one.wall:.0f} | {one.cpu:.0f} | {one.megabytes:,.0f} | {told} |"


def said(name: str, found: Findings) -> str:
    """Accuracy of the student, and how much nearer and more in agreement it is than the baseline."""

    def interval(told: object, scale: float, digits: int) -> str:
        value, (low, high) = told.value, told.interval
        return f"{scale * value:+.{digits}f} ({scale * low:+.{digits}f} to {scale * high:+.{digits}f})"

    nearer = next(one.mean for one in found.nearer if one.than == "baseline")
    compared = found.disagreement.compared[0]
    accuracy = found.subject("student").figures["accuracy"]
    parts = [
        f"{accuracy:.4f}",
        interval(nearer, 1, 3),
        interval(compared.agreement.difference, 100, 1),
        interval(compared.copied_errors.difference, 100, 1),
    ]
    return f"| {name} | {' | '.join(parts)} |"


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--runs", type=Path, default=ROOT / "runs", help="where the runs are, or go")
    reader.add_argument("--quick", action="store_true", help="one quick look")
    asked = reader.parse_args()
    runs = asked.runs.absolute()
    teacher, baseline = trained(TEACHER, runs), trained(BASELINE, runs)
    looks, verdicts = [], []
    for name in STUDENTS[:1] if asked.quick else STUDENTS:
        run, short = trained(name, runs, f"teacher.name={teacher}"), name.rpartition("/")[2]
        for kind in (["--quick"],) if asked.quick else ([], ["--quick"]):
            with tempfile.TemporaryDirectory() as folder:
                one = look(Path(folder), "--run", str(run), "--baseline", str(baseline), *kind)
                looks.append(row(" ".join([short, *kind]), one))
            print(looks[-1], flush=True)
            if not kind or asked.quick:
                verdicts.append(said(short, one.findings))
    best = json.loads((teacher / "training_state.json").read_text())["test"]["test"]["accuracy"]
    text = "\n".join(
        [
            "| look at | rows | wall s | CPU s | peak MB | findings MB | page MB | representations MB |",
            "|---|---|---|---|---|---|---|---|",
            *looks,
            "",
            "Four models each: teacher, student, baseline and random weights; start-up and imports included. What it says of the",
            f"students (teacher {best:.4f} on the test split; each difference is from the baseline, with the interval of 95 %):",
            "",
            "| student | accuracy | nearer to the teacher, CKA | agrees more, points | repeats its mistakes more, points |",
            "|---|---|---|---|---|",
            *verdicts,
        ]
    )
    write_table("workbench_report", "One look of the workbench", text, "python -m bench.workbench_report", asked.quick)


if __name__ == "__main__":
    main()
