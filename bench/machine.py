"""The machine a figure was measured on, and how a table is written."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

RESULTS = Path(__file__).parent.parent / "docs" / "bench"


def describe() -> str:
    """One line: processor, cores, load, versions."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0] if names else model
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "transformers", "accelerate"))
    return f"{model}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, {versions}"


def write_table(name: str, title: str, text: str, command: str, quick: bool = False) -> None:
    """Write docs/bench/<name>.md and print it; of a quick run, which is no measurement, print the text alone."""
    if quick:
        print(text)
        return
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    head = f"# {title}\n\nMeasured {datetime.now(UTC):%Y-%m-%d} by `{command}` at {commit.stdout.strip()}.\n"
    RESULTS.mkdir(parents=True, exist_ok=True)
    page = f"{head}Machine: {describe()}.\n\n{text}\n"
    (RESULTS / f"{name}.md").write_text(page, encoding="utf-8")
    print(page)
