"""Linear probes of 13 layers, 2,000 rows, width 768: Forge's protocol against scikit-learn called once for every fit.

Five splits, five penalties, three classes, one thread. Both sides standardise on the training rows, choose the penalty
on validation rows and look at test rows once. Forge fits in fp32 and begins each fit where the last one ended; the other
side calls LogisticRegression as one would, in fp64 from nothing.

    python -m bench.workbench_probes

`--quick` measures the same with fewer layers, narrower.
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import Any

import numpy as np

from bench.machine import write_table
from forge.workbench.probing import ProbeSettings, Split, make_splits, probe_layers

LAYERS, ROWS, WIDTH, CLASSES = 13, 2_000, 768, 3
Layers = dict[str, np.ndarray[Any, Any]]


def case(layers: int, rows: int, width: int) -> tuple[Layers, np.ndarray[Any, Any]]:
    """Few directions with most of the variance, as in hidden states; the label hangs on some, and noise falls with depth."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.standard_normal((width, width)))[0]
    hidden = rng.standard_normal((rows, width))
    spread = 1 / np.sqrt(np.arange(1, width + 1))
    seen = min(20, width)
    labels = (hidden[:, :seen] @ rng.standard_normal((seen, CLASSES)) + 2 * rng.gumbel(size=(rows, CLASSES))).argmax(1)
    found = {}
    for layer in range(layers):
        noise = 0.02 * (layers - layer) * rng.standard_normal((rows, width))
        found[f"layer.{layer}"] = ((hidden * spread) @ turn.T + noise + 3 * rng.standard_normal(width)).astype(
            np.float32
        )
    return found, labels


def ours(layers: Layers, labels: np.ndarray[Any, Any], splits: list[Split], settings: ProbeSettings) -> list[float]:
    return [probe.accuracy for probe in probe_layers(layers, labels, splits, settings).layers]


def plain(layers: Layers, labels: np.ndarray[Any, Any], splits: list[Split], settings: ProbeSettings) -> list[float]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    means = []
    for features in layers.values():
        reached = []
        for split in splits:
            x = StandardScaler().fit(features[split.train].astype(np.float64)).transform(features.astype(np.float64))
            fitted = [
                LogisticRegression(C=c, max_iter=500).fit(x[split.train], labels[split.train])
                for c in settings.strengths
            ]
            best = max(fitted, key=lambda model: model.score(x[split.validation], labels[split.validation]))
            reached.append(best.score(x[split.test], labels[split.test]))
        means.append(float(np.mean(reached)))
    return means


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--quick", action="store_true", help="fewer layers, narrower: a check, no measurement")
    quick = reader.parse_args().quick
    count, rows, width = (2, 600, 64) if quick else (LAYERS, ROWS, WIDTH)
    warnings.simplefilter("ignore")
    settings = ProbeSettings()
    layers, labels = case(count, rows, width)
    splits = make_splits(np.arange(rows), settings)
    few = {"layer.0": layers["layer.0"][:, :8]}
    lines, first, accuracies = ["| side | CPU s | over Forge |", "|---|---|---|"], 0.0, []
    for name, work in (("Forge", ours), ("scikit-learn, fit by fit", plain)):
        work(few, labels, splits[:1], settings)  # imports
        start = time.process_time()
        accuracies.append(work(layers, labels, splits, settings))
        seconds = time.process_time() - start
        first = first or seconds
        lines.append(f"| {name} | {seconds:.1f} | {seconds / first:.1f} |")
        print(lines[-1], flush=True)
    gap = float(np.abs(np.subtract(*accuracies)).max())
    text = "\n".join(lines) + (
        f"\n\n{count} layers, {rows:,} rows, width {width}, 5 splits, 5 penalties, one thread. Mean test accuracies of the "
        f"layers differ by at most {100 * gap:.2f} points between the sides; they lie from {min(accuracies[0]):.3f} to "
        f"{max(accuracies[0]):.3f}."
    )
    if quick:
        print(text)
    else:
        write_table("workbench_probes", "Linear probes of all layers", text, "python -m bench.workbench_probes")


if __name__ == "__main__":
    main()
