"""`python -m bench.manuals`: see the package's docstring."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bench.machine import RESULTS, write_table
from bench.manuals.crops import KINDS, Crop
from bench.manuals.fetch import fetch
from bench.manuals.figures import HEAD, by_document, compared, row, worst
from bench.manuals.pages import whole_pages
from bench.manuals.readers import ENLARGED, Read, Reading, measure, model, tesseract, version
from bench.manuals.sample import Sample, sample
from bench.manuals.sheet import sheet
from forge.tasks.embedded.page_tree import PRESETS

PICTURE = RESULTS.parent / "images" / "manuals.png"
FORGE = "Forge"
BEST = f"Tesseract, {ENLARGED} × enlarged"
NOTE = f"""A crop has words of the text layer's lines, cut between words, of the size of embedded pages of its kind.
White space is collapsed, dashes and quotation marks are of one spelling, and Forge's marks of headings and emphasis are
taken away, because a text layer has none. Tesseract has English alone, Debian's model (tessdata_fast), psm 6 and one
thread. It is made for 300 pixels an inch, so it also reads crops {ENLARGED} times enlarged, its best here. It reads all
crops in one process; in the last row a process each, as a script would call it, where its start counts every time."""


def sides(runs: dict[str, Path], kind: str, checkpoint: str) -> dict[str, Read]:
    """Who reads crops of a kind."""
    theirs = {
        "Tesseract": tesseract(),
        BEST: tesseract(ENLARGED),
        f"{BEST}, a process a crop": tesseract(ENLARGED, False),
    }
    run = runs.get(kind) or runs.get("")
    return ({FORGE: model(run, checkpoint)} if run else {}) | theirs


def section(kind: str, found: Sample, readings: dict[str, Reading]) -> list[str]:
    """What is written about a kind."""
    preset, crops = PRESETS[kind], found.crops
    refused = "; ".join(f"{reason}: {times}" for reason, times in found.refused.most_common()) or "none"
    shown = {name: readings[name] for name in (FORGE, BEST) if name in readings}
    lines = [
        f"## {kind}: {len(crops)} crops of {preset.height} × {preset.width} pixels",
        "",
        f"{sum(len(crop.truth) for crop in crops):,} characters. Drawn places that were refused: {refused}.",
        "",
        HEAD,
        *(row(name, crops, reading) for name, reading in readings.items()),
        "",
    ]
    if FORGE in readings:
        lines += [f"{FORGE} − {BEST}: {compared(crops, readings[FORGE], readings[BEST])}.", ""]
    return [*lines, *by_document(crops, shown), "", "Worst crops:", "", *worst(crops, shown), ""]


def run(files: Sequence[Path], asked: argparse.Namespace, runs: dict[str, Path]) -> str:
    """Measure all kinds and draw the picture; returns the text of the table's page."""
    lines, pictured = [f"{version()}; {len(files)} documents: {', '.join(path.name for path in files)}. {NOTE}", ""], []
    for kind in asked.kind or KINDS:
        found = sample(files, kind, asked.crops, asked.seed)
        images = [crop.pixels_HW for crop in found.crops]
        readings = {name: measure(read, images) for name, read in sides(runs, kind, asked.checkpoint).items()}
        lines += section(kind, found, readings)
        shown: tuple[Sequence[Crop], dict[str, Reading]] = (
            found.crops,
            {name: readings[name] for name in (FORGE, BEST) if name in readings},
        )
        pictured.append(shown)
    if asked.pages:
        lines += ["## Whole pages", "", whole_pages(files, asked.pages, asked.seed), ""]
    sheet(pictured, asked.picture)
    return "\n".join([*lines, "![Crops, their truth and what was read](../images/manuals.png)"])


def _named(run: str) -> tuple[str, Path]:
    """The kind of crops that a run reads ("" for all) and where it is."""
    kind, _, path = run.partition("=")
    return (kind, Path(path)) if kind in KINDS else ("", Path(run))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.manuals", description=__doc__)
    parser.add_argument("--fetch", type=Path, metavar="DIR", help="download Debian's manuals into DIR, and stop")
    parser.add_argument("--pdfs", type=Path, metavar="DIR", help="a directory of PDF files")
    parser.add_argument("--run", action="append", default=[], metavar="[KIND=]RUN", help="a trained run")
    parser.add_argument("--checkpoint", default="best")
    parser.add_argument("--kind", action="append", choices=list(KINDS))
    parser.add_argument("--crops", type=int, default=200, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pages", type=int, default=0, help="whole pages for Tesseract alone")
    parser.add_argument("--picture", type=Path, default=PICTURE)
    parser.add_argument("--quick", action="store_true", help="ten crops of each kind")
    asked = parser.parse_args(arguments)
    if asked.fetch:
        print(*fetch(asked.fetch), sep="\n")
        return
    files = sorted(asked.pdfs.glob("*.pdf")) if asked.pdfs else []
    if not files:
        parser.error("--pdfs must name a directory with PDF files: --fetch DIR downloads some")
    asked.crops = 10 if asked.quick else asked.crops
    runs = dict(_named(one) for one in asked.run)
    text = run(files, asked, runs)
    shown = [f"{kind}=" * bool(kind) + "/".join(path.parts[-5:]) for kind, path in runs.items()]
    command = "python -m bench.manuals --pdfs DIR" + "".join(f" --run …/{one}" for one in shown)
    write_table("manuals", "Pages that other programs made", text, command + (" --pages 20" if asked.pages else ""))


if __name__ == "__main__":
    main()
