"""CKA of 13 by 7 layers: time, memory and value, against torch_cka on the same features; and of many rows, streamed.

2,000 examples, width 768, fp32, one thread. Layers are a shared random walk, so that neighbours are alike as those of a
network are. Every side runs in a process of its own, which reports CPU seconds, and by how much its resident memory
peaked over what it had with the features in place. The right values come from the definition in fp64.

torch_cka is given the same features through modules that pass them on: all rows as one batch, where its estimate is
that of the definition, and in batches of 250 rows, as one would use it, where it estimates the same from less. It lives
in a folder of its own:

    pip install --target /tmp/torch_cka --no-deps torch_cka==0.21
    python -m bench.workbench_cka --torch-cka /tmp/torch_cka

Without that folder its rows are left out. `--quick` measures the same with fewer rows and narrower layers.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import write_table
from forge.workbench.cka import cka_heatmap
from forge.workbench.cka_stream import StreamingCka
from forge.workbench.similarity import similarity

TEACHER, STUDENT = 13, 7
ROWS, WIDTH = 2_000, 768
STREAMED, STREAM_WIDTH, STREAM_BATCH = (2_000, 20_000, 200_000), 128, 1_000
PEER_BATCH = 250
ROUNDS = 3
SIDES = (
    "Forge",
    "Forge, 50 half-subsamples",
    "Forge, everything",
    "torch_cka, one batch",
    f"torch_cka, batches of {PEER_BATCH}",
)
Layers = dict[str, np.ndarray[Any, Any]]


def walk(depth: int, rows: int, width: int, base: np.ndarray[Any, Any], seed: int) -> Layers:
    """Each layer is the one before, mixed a little and with something new."""
    rng = np.random.default_rng(seed)
    state = base @ rng.standard_normal((base.shape[1], width)) / np.sqrt(base.shape[1])
    layers = {}
    for layer in range(depth):
        layers[f"layer_{layer}"] = state.astype(np.float32)
        mixed = state @ rng.standard_normal((width, width)) / np.sqrt(width)
        state = np.sqrt(0.7) * state + np.sqrt(0.2) * np.tanh(mixed) + np.sqrt(0.1) * rng.standard_normal((rows, width))
    return layers


def features(rows: int, width: int) -> tuple[Layers, Layers]:
    base = np.random.default_rng(0).standard_normal((rows, 64))
    return walk(TEACHER, rows, width, base, 1), walk(STUDENT, rows, width, base, 2)


def by_definition(teacher: Layers, student: Layers) -> np.ndarray[Any, Any]:
    """Debiased CKA in fp64, written in features (google-research, representation_similarity)."""
    sides = [[x.astype(np.float64) - x.mean(0, dtype=np.float64) for x in side.values()] for side in (teacher, student)]
    rows = len(sides[0][0])

    def hsic(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> float:
        a, b = np.square(x).sum(1), np.square(y).sum(1)
        return float(
            np.square(x.T @ y).sum() - rows / (rows - 2) * (a @ b) + a.sum() * b.sum() / ((rows - 1) * (rows - 2))
        )

    own = [[hsic(x, x) for x in side] for side in sides]
    cross = np.array([[hsic(x, y) for y in sides[1]] for x in sides[0]])
    return cross / np.sqrt(np.outer(own[0], own[1]))


def torch_cka(teacher: Layers, student: Layers, batch: int) -> np.ndarray[Any, Any]:
    import torch
    from torch_cka import CKA

    class Given(torch.nn.Module):
        def __init__(self, layers: Layers) -> None:
            super().__init__()
            self.known = {name: torch.from_numpy(x) for name, x in layers.items()}
            for name in layers:
                self.add_module(name, torch.nn.Identity())

        def forward(self, rows: Any) -> None:
            for name, x in self.known.items():
                getattr(self, name)(x[rows])

    torch.set_num_threads(1)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.arange(len(teacher["layer_0"]))), batch)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        found = CKA(Given(teacher), Given(student), "teacher", "student", list(teacher), list(student))
        found.compare(loader)
    return found.export()["CKA"].numpy()


def of_side(name: str, teacher: Layers, student: Layers) -> np.ndarray[Any, Any]:
    if name == "Forge":
        return cka_heatmap(teacher, student).values_TS
    if name == "Forge, 50 half-subsamples":
        return cka_heatmap(teacher, student, halves=50).values_TS
    if name == "Forge, everything":
        return similarity(teacher, student).cka.values_TS
    return torch_cka(teacher, student, len(teacher["layer_0"]) if "one" in name else PEER_BATCH)


def stream(rows: int, width: int) -> Iterator[tuple[Layers, Layers]]:
    """Batches drawn as they are asked for."""
    rng = np.random.default_rng(0)
    for _ in range(rows // STREAM_BATCH):
        base = rng.standard_normal((STREAM_BATCH, width)).astype(np.float32)
        yield tuple(
            {
                f"{whose}{i}": base + np.float32(0.3 * (i + 1)) * rng.standard_normal(base.shape, dtype=np.float32)
                for i in range(depth)
            }
            for whose, depth in (("t", TEACHER), ("s", STUDENT))
        )  # type: ignore[misc]


def peak_of(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """CPU seconds, MB by which resident memory peaked over its start, and the result."""
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before, start = resident("VmRSS"), time.process_time()
    result = work()
    return time.process_time() - start, resident("VmHWM") - before, result


def resident(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


def side(name: str, rows: int, width: int, folder: Path) -> None:
    if name == "stream":
        state, seconds = StreamingCka(), 0.0

        def work() -> Any:
            nonlocal seconds
            for teacher, student in stream(rows, width):
                start = time.process_time()
                state.add(teacher, student)
                seconds += time.process_time() - start
            return state.heatmap()

        _, peak, found = peak_of(work)
        print(json.dumps({"seconds": seconds, "megabytes": peak, "value": float(found.values_TS[0, 0])}))
        return
    teacher, student = features(rows, width)
    warm = {name: x[:50] for name, x in teacher.items()}, {name: x[:50] for name, x in student.items()}
    of_side(name, *warm)  # imports and first use of the linear algebra
    seconds, peak, values = peak_of(lambda: of_side(name, teacher, student))
    off = float(np.abs(values - np.load(folder / "right.npy")).max())
    print(json.dumps({"seconds": seconds, "megabytes": peak, "off": off}))


def run(name: str, rows: int, width: int, folder: Path, peer: str) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.workbench_cka", "--side", name, "--rows", str(rows), "--width", str(width), "--folder", str(folder)]  # fmt: skip
    paths = [peer] if name.startswith("torch_cka") else []
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([*paths, "."]),
        "MPLBACKEND": "agg",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def heatmaps(rows: int, width: int, peer: str, rounds: int) -> list[str]:
    names = [name for name in SIDES if not name.startswith("torch_cka") or (Path(peer) / "torch_cka").is_dir()]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "right.npy", by_definition(*features(rows, width)))
        for number in range(rounds):
            for name in names if number % 2 == 0 else names[::-1]:
                found[name].append(run(name, rows, width, Path(folder), peer))
    lines = [
        "| side | CPU s, median | over Forge's heatmap: median (min – max) | peak MB over features | furthest from the definition |",
        "|---|---|---|---|---|",
    ]
    for name, runs in found.items():
        over = [its["seconds"] / ours["seconds"] for its, ours in zip(runs, found[names[0]], strict=True)]
        seconds, peak, off = (statistics.median(one[key] for one in runs) for key in ("seconds", "megabytes", "off"))
        lines.append(
            f"| {name} | {seconds:.2f} | {statistics.median(over):.1f} ({min(over):.1f} – {max(over):.1f}) | {peak:.0f} | {off:.1e} |"
        )
        print(lines[-1], flush=True)
    return lines


def streams(counts: tuple[int, ...], width: int) -> list[str]:
    lines = ["| rows | CPU s | peak MB over start |", "|---|---|---|"]
    for rows in counts:
        found = run("stream", rows, width, Path(), "")
        lines.append(f"| {rows:,} | {found['seconds']:.1f} | {found['megabytes']:.0f} |")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--quick", action="store_true", help="fewer rows, narrower: a check, no measurement")
    reader.add_argument("--torch-cka", default="/tmp/torch_cka", help="folder that torch_cka was installed into")
    reader.add_argument("--side", help=argparse.SUPPRESS)
    reader.add_argument("--rows", type=int, help=argparse.SUPPRESS)
    reader.add_argument("--width", type=int, help=argparse.SUPPRESS)
    reader.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    chosen = reader.parse_args()
    if chosen.side:
        side(chosen.side, chosen.rows, chosen.width, chosen.folder)
        return
    rows, width = (500, 96) if chosen.quick else (ROWS, WIDTH)
    counts, narrow = (STREAMED[:2], 16) if chosen.quick else (STREAMED, STREAM_WIDTH)
    peer = chosen.torch_cka
    there = sorted(Path(peer).glob("torch_cka-*.dist-info"))
    told = (
        f"torch_cka {metadata.Distribution.at(there[0]).version}" if there else "torch_cka was not there to be measured"
    )
    text = "\n".join(heatmaps(rows, width, peer, 1 if chosen.quick else ROUNDS)) + (
        f"\n\n{1 if chosen.quick else ROUNDS} rounds. {TEACHER} × {STUDENT} layers, {rows:,} examples, width {width}, fp32, one thread; {told}. *Everything* is the "
        "heatmap with intervals, that of standardised features, 200 permutations on 500 rows, and Procrustes similarity of "
        "each student layer and its best teacher layer. The last column is the largest difference of any of the "
        f"{TEACHER * STUDENT} values from the definition in fp64 on all examples.\n\n"
        f"## Streaming\n\n"
        + "\n".join(streams(counts, narrow))
        + f"\n\n{TEACHER} × {STUDENT} layers of width {narrow} in batches of {STREAM_BATCH:,} rows, fp64."
    )
    write_table("workbench_cka", "CKA of two models' layers", text, "python -m bench.workbench_cka", quick=chosen.quick)


if __name__ == "__main__":
    main()
