"""Pages a CPU second of `forge.py predict` by how many are read at once, and its peak memory by pages of a document.

The documents are PDF files of embedded test pages, of the kind that the run was trained on. Speeds: one process and
thread, batches of each size in turn, several rounds; texts must not depend on the batch. Memory: the command itself, a
process for each document.

    python -m bench.page_predict --run runs/ocr/embedded_pages/tiny_reader/00_sft/latest
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from bench.kd_case import shown
from bench.machine import write_table
from forge.inference.ocr import PageAnswer, Reader, load_reader, read_pages
from forge.runs.run_dir import RunDirectory, open_existing
from forge.tasks.embedded.page_pdf import pdf_of
from forge.tasks.embedded.page_tree import tree
from forge.tasks.pages.stream import open_pages

ROOT = Path(__file__).parent.parent
AT_ONCE, ROUNDS, PAGES = (1, 8, 24, 32), 3, 192  # whole batches of each size
DOCUMENTS = (10, 40, 500)  # pages
ALLOWED = 1.10  # times the memory of the short document


def document(path: Path, preset: str, pages: int) -> Path:
    """A PDF file of test pages."""
    path.write_bytes(pdf_of([tree(preset, "test", index) for index in range(pages)]))
    return path


def read(loaded: Reader, path: Path) -> list[str]:
    """The texts of all pages."""
    answers = read_pages(loaded, open_pages(path, scale=loaded.scale, trusted=True))
    return [answer.text for answer in answers if isinstance(answer, PageAnswer)]


def speeds(loaded: Reader, path: Path, rounds: int) -> tuple[dict[int, list[float]], dict[int, int]]:
    """Pages a CPU second by pages at once, a figure a round; and how many texts differ from those read one by one."""
    found: dict[int, list[float]] = {count: [] for count in AT_ONCE}
    texts: dict[int, list[str]] = {}
    for _ in range(rounds):
        for count in AT_ONCE:
            began = time.process_time()
            texts[count] = read(replace(loaded, batch_size=count), path)
            found[count].append(len(texts[count]) / (time.process_time() - began))
    differ = {count: sum(a != b for a, b in zip(texts[1], texts[count], strict=True)) for count in AT_ONCE}
    return found, differ


# A process counts as its own the memory of the one that started it (getrusage(2)), so a small one starts it.
SMALL = """
import os, subprocess, sys
_, status, used = os.wait4(subprocess.Popen(sys.argv[1:], stderr=subprocess.DEVNULL).pid, 0)
print(used.ru_maxrss)
sys.exit(status != 0)
"""


def peak(run: RunDirectory, path: Path, at_once: int) -> float:
    """Megabytes of `forge.py predict` at its largest."""
    words = ["forge.py", "predict", "--run", str(run.path), str(path), "-o", str(path.parent / "out.md")]
    words += ["--batch_size", str(at_once)]
    command = [sys.executable, "-c", SMALL, sys.executable, *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return int(done.stdout) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, help="a trained run of a page reader")
    parser.add_argument("--quick", action="store_true", help="a check that the benchmark works")
    chosen = parser.parse_args()
    rounds, pages, documents = (1, 8, (2, 6, 12)) if chosen.quick else (ROUNDS, PAGES, DOCUMENTS)
    torch.set_num_threads(1)
    run = open_existing(chosen.run)
    preset = run.metadata()["config"]["data"]["embedded"]["preset"]
    loaded = load_reader(run)
    with tempfile.TemporaryDirectory() as folder:
        found, differ = speeds(loaded, document(Path(folder) / "speed.pdf", preset, pages), rounds)
        paths = [document(Path(folder) / f"{count}.pdf", preset, count) for count in documents]
        peaks = {at_once: [peak(run, path, at_once) for path in paths] for at_once in AT_ONCE}
    lines = ["| pages at once | pages a CPU second, median | over one at a time: median (min – max) | texts that differ |", "|---|---|---|---|"]  # fmt: skip
    for count, values in found.items():
        over = [value / one for value, one in zip(values, found[1], strict=True)]
        lines.append(f"| {count} | {statistics.median(values):.1f} | {shown(over)} | {differ[count]} |")
    shortest, *_, longest = documents
    titles = " | ".join(f"{count} pages, MB" for count in documents)
    over = f"{longest} over {shortest}"
    lines += ["", f"| pages at once | document of {titles} | {over} |", "|---" * (len(documents) + 2) + "|"]
    for at_once, megabytes in peaks.items():
        told = " | ".join(f"{one:.0f}" for one in megabytes)
        lines.append(f"| {at_once} | {told} | {megabytes[-1] / megabytes[0]:.2f} |")
    name = run.metadata()["name"]
    text = "\n".join(lines) + (
        f"\n\n{name}, {loaded.checkpoint}; {pages} pages of the preset {preset!r}, {rounds} rounds, one thread. Memory is "
        f"the command's at its largest, its libraries included; its own number at once is {loaded.for_documents().batch_size} here. "
        f"Target: the long document takes at most {ALLOWED:.2f} of the short one's memory."
    )
    write_table(
        "page_predict",
        "Reading documents with a run",
        text,
        "python -m bench.page_predict --run RUN",
        quick=chosen.quick,
    )


if __name__ == "__main__":
    main()
