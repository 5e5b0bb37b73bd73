"""Who reads the crops: Tesseract's command line, and the trained model of a run."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from forge.core.errors import UserError
from forge.tasks.metrics.ocr.normalise import MARKS, SIGNS

U8 = npt.NDArray[np.uint8]
Read = Callable[[list[U8]], list[str]]
"""A text for each image of any size (height, width), in order."""
ENLARGED = 3  # Tesseract wants capitals of 20 to 40 pixels; these crops have ten
_HEADING = re.compile(r"^#{1,6} +", re.MULTILINE)
_ONE_THREAD = {"OMP_THREAD_LIMIT": "1"}


@dataclass(frozen=True)
class Reading:
    """What a reader made of N images, and the CPU seconds that it took with its child processes.

    Wall clock would say how busy the machine is: each reader has one thread.
    """

    texts: list[str]
    cpu: float


def measure(read: Read, images: Sequence[U8]) -> Reading:
    """Read all images once."""
    before = _cpu()
    texts = read(list(images))
    return Reading(texts, _cpu() - before)


def tesseract(enlarged: int = 1, at_once: bool = True, psm: int = 6, dpi: int = 130) -> Read:
    """Tesseract with English alone; `at_once` is one process for all images, else one for each, as a script would.

    `enlarged` many times by Lanczos before; `dpi` is told. Writing the image files counts, because Tesseract needs them.
    """

    def read(images: list[U8]) -> list[str]:
        with tempfile.TemporaryDirectory() as folder:
            paths = [_saved(image, enlarged, Path(folder, f"{index:05}.pgm")) for index, image in enumerate(images)]
            options = ["-l", "eng", "--psm", str(psm), "--dpi", str(dpi * enlarged)]
            if not at_once:
                return [_run(["tesseract", path, "stdout", *options]).rstrip("\f\n") for path in paths]
            listed = Path(folder, "list.txt")
            listed.write_text("\n".join(paths))
            texts = _run(["tesseract", str(listed), "stdout", *options]).split("\f")[: len(images)]
            if len(texts) != len(images):
                raise UserError(f"tesseract wrote {len(texts):,} pages for {len(images):,} images")
            return texts

    return read


def version() -> str:
    """The first line of `tesseract --version`. Raises UserError where there is none."""
    return _run(["tesseract", "--version"]).splitlines()[0]


def model(run: Path, checkpoint: str = "best") -> Read:
    """The trained model of a run."""
    from forge.inference.ocr import load_reader, read_images
    from forge.runs.run_dir import open_existing

    loaded = load_reader(open_existing(run), checkpoint)

    def read(images: list[U8]) -> list[str]:
        return [unmarked(text) for text in read_images(loaded, images)]

    return read


def plain(text: str) -> str:
    """What is compared: dashes and quotation marks in one spelling, white space collapsed."""
    return " ".join(text.split()).translate(SIGNS)


def unmarked(markdown: str) -> str:
    """Without the marks of headings and emphasis, of which a text layer has none."""
    for mark in MARKS[:2]:
        markdown = mark.sub(r"\1", markdown)
    return _HEADING.sub("", MARKS[2].sub(r"\2", markdown))


def _saved(image: U8, enlarged: int, path: Path) -> str:
    picture = Image.fromarray(image)
    if enlarged > 1:
        picture = picture.resize((picture.width * enlarged, picture.height * enlarged), Image.Resampling.LANCZOS)
    picture.save(path)
    return str(path)


def _run(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, env=os.environ | _ONE_THREAD, capture_output=True, check=True, encoding="utf-8")
    except FileNotFoundError:
        raise UserError("tesseract is not installed: apt-get install tesseract-ocr tesseract-ocr-eng") from None
    return done.stdout


def _cpu() -> float:
    times = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in times)
