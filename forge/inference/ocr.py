"""Reading pages with a run: any number of them, in order, in batches, at the memory of one batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from accelerate import Accelerator

from forge.assemble import quiet_libraries
from forge.building.ocr import Reading, reading_of
from forge.core.assets import Asset
from forge.core.errors import CheckpointError, UserError
from forge.core.manifest import verify
from forge.inference.saved import model_in, settings_of
from forge.inference.tries import Outcome, read_well
from forge.runs.run_dir import RunDirectory
from forge.tasks.metrics.ocr.loops import Loop
from forge.tasks.ocr.asked import RETRIES
from forge.tasks.ocr.canvas import lay
from forge.tasks.ocr.pictures import Pictured
from forge.tasks.ocr.read import scale_of
from forge.tasks.pages.sizes import Scale
from forge.tasks.pages.stream import Page, Refusal

PIXELS_AT_ONCE = 16_000_000
"""Pixels of a batch's pages as a model takes them: 48 MB, 16 pages of A4 at 100 dots an inch."""
ON_A_CPU = 24
"""Pages of a document at once there, if not told: 32 are a tenth faster, but need more memory (docs/log.md)."""
WAITING = 4  # refused pages are kept in order with the others: so many batches of them at most
Key = TypeVar("Key")


@dataclass(frozen=True)
class Reader:
    """A run's trained model with what it was trained for."""

    reading: Reading
    accelerator: Accelerator
    scale: Scale  # of the pages that it was trained on
    batch_size: int
    seed: int
    checkpoint: str

    def shrinks(self, page: Page) -> float:
        """How many times smaller than the page it is seen; 1 where the model takes pages of any size."""
        if self.reading.sheet is None:
            return 1.0
        (height, width), (most_height, most_width) = page.pixels.shape[:2], self.reading.sheet
        return float(max(1.0, height / most_height, width / most_width))

    def for_documents(self, at_once: int | None = None) -> Reader:
        """The same for documents of any length: so many pages at once, or as many as are worth their memory."""
        if at_once is None:
            on_a_cpu = self.accelerator.device.type == "cpu"
            at_once = min(self.batch_size, ON_A_CPU) if on_a_cpu else self.batch_size
        return replace(self, batch_size=at_once)

    def pictured(self, pixels: npt.NDArray[np.uint8]) -> Pictured:
        """A page as the model takes it, so that no more of it is kept than is seen."""
        page, sheet = Pictured(pixels, ""), self.reading.sheet
        return page if sheet is None else Pictured(lay(page, sheet).pixels_HW, "")


@dataclass(frozen=True)
class PageAnswer:
    """A page that was read."""

    number: int
    text: str
    confidence: float  # exp of the mean log-probability of what was written, 0 to 1
    seconds: float  # of its tries, its share of each batch
    ended: bool  # the model wrote the end of the page
    loop: Loop | None  # that the text ends in
    tries: int

    def as_json(self) -> dict[str, Any]:
        """Plain values, rounded."""
        found = asdict(self)
        return {"page": found.pop("number")} | found | {n: round(found[n], 4) for n in ("confidence", "seconds")}


def load_reader(run: RunDirectory, which: str = "best", beams: int | None = None) -> Reader:
    """Load a verified checkpoint of a run; `beams` in place of the run's own. Raises UserError, CheckpointError."""
    quiet_libraries()
    folder = run.checkpoint(which)
    if damage := verify(folder):
        raise CheckpointError(f"{folder}  is damaged: {damage}; try --checkpoint last, or an earlier step")
    metadata = run.metadata()
    if metadata["config"].get("task") != "ocr":
        raise UserError(f"{run.path}  is a run of {metadata['config'].get('task')}, not of ocr")
    settings = settings_of(run)
    if beams:
        settings = settings.model_copy(update={"generate": settings.generate.model_copy(update={"beams": beams})})
    reading = reading_of(settings, Asset(str(folder), "path", str(folder)), model_in(folder, settings), metadata)
    accelerator = Accelerator()
    reading.model.to(accelerator.device).eval()
    scale = scale_of(settings.data.pages)
    return Reader(reading, accelerator, scale, settings.evaluate.batch_size, settings.seed, folder.name)


def read_images(loaded: Reader, images: Sequence[npt.NDArray[np.uint8]], retries: int = RETRIES) -> list[str]:
    """The text of each image of a page: (height, width) of grey levels, or (height, width, 3) of RGB."""
    for image in images:
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)) or not image.size:
            raise UserError(f"an image must be uint8 of shape (H, W) or (H, W, 3), not {image.dtype} of {image.shape}")
    texts: list[str] = []
    for first in range(0, len(images), loaded.batch_size):
        pictures = [loaded.pictured(image) for image in images[first : first + loaded.batch_size]]
        texts += [one.best.text for one in _read(loaded, pictures, retries)]
    return texts


def read_pages(
    loaded: Reader, pages: Iterable[Page | Refusal], retries: int = RETRIES
) -> Iterator[PageAnswer | Refusal]:
    """An answer for each page, in order; what was refused before it could be read is passed on."""
    for _, answer in read_documents(loaded, (((), page) for page in pages), retries):
        yield answer


def read_documents(
    loaded: Reader, pages: Iterable[tuple[Key, Page | Refusal]], retries: int = RETRIES
) -> Iterator[tuple[Key, PageAnswer | Refusal]]:
    """The same of several documents, whose pages are read together; each page keeps the key that it comes with."""
    for batch in _batches(loaded, pages):
        pictures = [picture for _, _, picture in batch if not isinstance(picture, Refusal)]
        found = iter(_read(loaded, pictures, retries) if pictures else ())
        for key, number, picture in batch:
            yield key, picture if isinstance(picture, Refusal) else _answer(number, next(found))


def _read(loaded: Reader, pictures: Sequence[Pictured], retries: int) -> list[Outcome]:
    return read_well(loaded.reading, loaded.accelerator, pictures, loaded.seed, retries)


def _answer(number: int, found: Outcome) -> PageAnswer:
    best = found.best
    return PageAnswer(number, best.text, best.confidence, found.seconds, best.ended, best.loop, found.tries)


def _batches(
    loaded: Reader, pages: Iterable[tuple[Key, Page | Refusal]]
) -> Iterator[list[tuple[Key, int, Pictured | Refusal]]]:
    """At most so many pages and pixels, or one page; with what was refused between them."""
    batch: list[tuple[Key, int, Pictured | Refusal]] = []
    count = pixels = 0
    for key, page in pages:
        if isinstance(page, Refusal):
            batch.append((key, 0, page))
        else:
            picture = loaded.pictured(page.pixels)
            area = picture.pixels.shape[0] * picture.pixels.shape[1]
            if count and pixels + area > PIXELS_AT_ONCE:
                yield batch
                batch, count, pixels = [], 0, 0
            batch.append((key, page.number, picture))
            count, pixels = count + 1, pixels + area
        if count == loaded.batch_size or len(batch) == WAITING * loaded.batch_size:
            yield batch
            batch, count, pixels = [], 0, 0
    if batch:
        yield batch
