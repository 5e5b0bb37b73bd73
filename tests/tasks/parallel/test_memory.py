"""300,000 pairs are read, cut and cleaned in far less memory than they take as texts."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import pytest
from support import ROOT

PAIRS = 300_000
MOST_MB = 80

CHILD = """
import json, re, sys
from pathlib import Path
import datasets
datasets.config.HF_DATASETS_CACHE = sys.argv[2]
datasets.disable_progress_bars()
from forge.config.schema import Data
from forge.tasks.parallel import read_parallel
from forge.tasks.parallel.moses import read_two_files

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

def size(path):
    return Path(path).stat().st_size

stem = sys.argv[1]
read_parallel(Data(train=f"{stem}-small.{{en,fr}}", cut={"validation": 10, "test": 10}), None)  # imports, tables
before = peak()
data = read_parallel(Data(train=f"{stem}.{{en,fr}}", cut={"validation": 1000, "test": 1000}), None)
after = peak()
held = list(read_two_files("", Path(f"{stem}.en"), Path(f"{stem}.fr")).batches())
print(json.dumps({"rows": len(data.train.rows), "grew": after - before, "as lists": peak() - before}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_large_text_costs_no_memory(tmp_path):
    letters = bytes.maketrans(b"0123456789abcdef", b"tionesardlumcphg")
    for side in ("en", "fr"):
        with (tmp_path / f"a.{side}").open("wb") as file, (tmp_path / f"a-small.{side}").open("wb") as small:
            for pair in range(PAIRS):
                text = hashlib.shake_128(f"{side}{pair}".encode()).hexdigest(125).encode().translate(letters)
                line = b" ".join(text[start : start + 10] for start in range(0, 250, 10)) + b"\n"
                file.write(line)
                if pair < 1000:
                    small.write(line)
    command = [sys.executable, "-c", CHILD, str(tmp_path / "a"), str(tmp_path / "cache")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout)
    print(f"{PAIRS:,} pairs, {2 * PAIRS * 275 / 2**20:.0f} MB of text: {figures}")
    assert figures["rows"] == PAIRS - 2000
    assert figures["grew"] < MOST_MB
    assert figures["as lists"] > 2 * MOST_MB, "the bound tells the difference"
