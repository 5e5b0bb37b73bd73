"""Pages a second: PDF files in this process and in a child, with and without the text layer; images; embedded pages."""

from __future__ import annotations

import statistics
import tempfile
import time
from importlib import metadata
from pathlib import Path

from bench.machine import write_table

ROUNDS = 5
LINE = "the quick brown fox jumps over the lazy dog, twice, and then sleeps for 12 hours"


def make(folder: Path) -> dict[str, Path]:
    """A document of 100 full A4 pages of text, and the first of them as images of 100 pixels an inch."""
    from reportlab.lib.pagesizes import A4
    from reportlab.pdfgen.canvas import Canvas

    from forge.tasks.pages.stream import open_pages

    pdf = folder / "pages.pdf"
    canvas = Canvas(str(pdf), pagesize=A4)
    for page in range(100):
        canvas.setFont("Helvetica", 11)
        for line in range(48):
            canvas.drawString(60, 780 - 15 * line, f"{page}.{line} {LINE}")
        canvas.showPage()
    canvas.save()
    image = next(iter(open_pages(pdf, "1", trusted=True))).image()
    files = {"pdf": pdf}
    for form in ("png", "jpeg", "webp"):
        files[form] = folder / f"page.{form}"
        image.save(files[form], dpi=(100, 100))
    files["tiff"] = folder / "pages.tiff"
    image.save(files["tiff"], save_all=True, append_images=[image] * 19, compression="tiff_lzw")
    return files


def seconds(path: Path, **options: bool) -> tuple[float, float, int]:
    """Wall and CPU seconds of this process, and how many pages came."""
    from forge.tasks.pages.stream import Page, open_pages

    wall, cpu = time.perf_counter(), time.process_time()
    count = sum(isinstance(item, Page) for item in open_pages(path, **options))
    return time.perf_counter() - wall, time.process_time() - cpu, count


def embedded() -> list[str]:
    """A table of the embedded presets: pages drawn, with their boxes, in a second of CPU time."""
    from forge.tasks.embedded.page_image import picture
    from forge.tasks.embedded.page_pdf import paper
    from forge.tasks.embedded.page_tree import PRESETS

    lines = [
        "| embedded preset | pixels | characters a page | pages a CPU second, boxes included |",
        "|---|---|---|---|",
    ]
    for preset in PRESETS:
        count = 40 if preset == "a4" else 400
        rates, size, length = [], "", 0.0
        for round_ in range(ROUNDS + 1):  # the first fills the caches of glyphs
            start = time.process_time()
            pages = [
                paper("train", round_ * count + i) if preset == "a4" else picture(preset, "train", round_ * count + i)
                for i in range(count)
            ]
            rates.append(count / (time.process_time() - start))
            length = statistics.mean(len(page.markdown) for page in pages)
            height, width = pages[0].pixels_HW.shape
            size = f"{height} × {width}"
        name = f"{preset} (reportlab, pdfium)" if preset == "a4" else preset
        lines.append(f"| {name} | {size} | {length:.0f} | {statistics.median(rates[1:]):.0f} |")
    return lines


def main() -> None:
    lines = [
        "| file | where | text layer | pages | pages/s | CPU ms of the parent a page |",
        "|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name, path in make(Path(folder)).items():
            for trusted in (True, False):
                for text in (False, True) if name == "pdf" else (False,):
                    seconds(path, trusted=trusted, text=text)
                    found = [seconds(path, trusted=trusted, text=text) for _ in range(ROUNDS)]
                    wall, cpu = (statistics.median(one[i] for one in found) for i in (0, 1))
                    count = found[0][2]
                    where = "this process" if trusted else "child"
                    lines.append(
                        f"| {path.name} | {where} | {'with' if text else 'without'} | {count} "
                        f"| {count / wall:.0f} | {1000 * cpu / count:.2f} |"
                    )
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("pypdfium2", "Pillow"))
    note = (
        f"\n\nA4 at 100 pixels an inch, {len(LINE) * 48:,} characters a page; medians of {ROUNDS}; {versions}. "
        "A child costs its start once a file, which is all there is in a file of one page."
    )
    write_table(
        "pages",
        "Reading pages and drawing them",
        "\n".join(lines) + note + "\n\n" + "\n".join(embedded()),
        "python -m bench.pages",
    )


if __name__ == "__main__":
    main()
