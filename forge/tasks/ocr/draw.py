"""From what is wanted to what training reads: a PNG of each page, its Markdown, and where its characters are."""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import numpy as np
import numpy.typing as npt
from PIL import Image

from forge.tasks.ocr.listing import LeftOut, Wanted, read_markdown, shown
from forge.tasks.pages.many import open_places
from forge.tasks.pages.places import WHICH, Place
from forge.tasks.pages.sizes import Limits, RefusedError, Scale
from forge.tasks.pages.stream import Page, Refusal

AT_ONCE = 8  # pages that one child process draws; what they need waits in memory
MOST_WORKERS = 4
LIMITS = Limits(seconds=60)  # nobody waits for one page, and a busy machine must not cost a page for good
Entry = Wanted | LeftOut


@dataclass(frozen=True, eq=False)
class Drawn:
    """A page as it is kept."""

    entry: Wanted
    markdown: str
    image: bytes  # PNG
    characters: str  # N of the text layer, or none
    boxes_N4: npt.NDArray[np.float32]  # left, top, right, bottom in pixels


@dataclass(frozen=True)
class Way:
    """How pages are drawn."""

    scale: Scale
    password: str | None
    which: str  # what to do where a file turns out to have several pages


def draw(entries: Iterable[Entry], way: Way) -> Iterator[Drawn | LeftOut]:
    """What becomes of each entry, in order, on several cores; a few dozen pages are in memory at most."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers, stop = min(cores, MOST_WORKERS), Event()
    waiting: deque[Future[list[Drawn | LeftOut]]] = deque()
    with ThreadPoolExecutor(workers, "pages") as pool:
        try:
            for some in _units(entries):
                waiting.append(pool.submit(_draw_some, some, way, stop))
                if len(waiting) > workers:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            stop.set()
            for future in waiting:
                future.cancel()


def _units(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    some: list[Entry] = []
    for entry in entries:
        some.append(entry)
        if len(some) == AT_ONCE:
            yield some
            some = []
    yield some


def _draw_some(entries: Sequence[Entry], way: Way, stop: Event) -> list[Drawn | LeftOut]:
    read = [_with_text(entry) for entry in entries]
    files: list[Path | bytes] = []
    places: list[Place] = []
    for one in read:
        if isinstance(one, LeftOut):
            continue
        if not files or one.entry.file != files[-1]:
            files.append(one.entry.file)
        places.append((len(files) - 1, one.entry.number))
    out: list[Drawn | LeftOut] = []
    with closing(open_places(files, places, way.password, scale=way.scale, limits=LIMITS, text=True)) as answers:
        for one in read:
            if stop.is_set():
                break
            kept = one if isinstance(one, LeftOut) else _kept(one, next(answers), way)
            out += [kept] if kept else []
    return out


@dataclass(frozen=True)
class _Read:
    entry: Wanted
    markdown: str | None  # None: there should be no such page


def _with_text(entry: Entry) -> _Read | LeftOut:
    """The entry with its Markdown, before any effort is made for its page."""
    if isinstance(entry, LeftOut):
        return entry
    if not isinstance(entry.markdown, Path):
        return _Read(entry, entry.markdown)
    try:
        return _Read(entry, read_markdown(entry.markdown))
    except RefusedError as error:
        return _left_out(entry, f"its text {shown(entry.markdown.name)} {error}")


def _kept(read: _Read, answer: Page | Refusal, way: Way) -> Drawn | LeftOut | None:
    entry = read.entry
    if read.markdown is None:
        if isinstance(answer, Refusal):
            return None  # as it should be, or the pages before have told why not
        return _left_out(entry, f"has no Markdown from page {answer.number} on: give a blank page an empty text")
    if isinstance(answer, Refusal):
        more = f"; {way.which}" if answer.reason.endswith(WHICH) else ""
        return _left_out(entry, f"{answer.reason}{more}")
    glyphs = answer.glyphs
    assert glyphs is not None
    return Drawn(entry, read.markdown, png(answer.pixels), glyphs.characters, glyphs.boxes_N4)


def _left_out(entry: Wanted, reason: str) -> LeftOut:
    """Names the page, unless its place does."""
    return LeftOut(entry.place, reason if entry.place in (entry.page, entry.document) else f"{entry.page} {reason}")


def png(pixels_HW3: npt.NDArray[np.uint8]) -> bytes:
    """RGB pixels as PNG, in shades of grey where they have no colour."""
    red, green, blue = (pixels_HW3[..., channel] for channel in range(3))
    is_grey = np.array_equal(red, green) and np.array_equal(green, blue)
    file = io.BytesIO()
    # The lowest level is five times as quick as the usual one, and a tenth larger.
    Image.fromarray(np.ascontiguousarray(red) if is_grey else pixels_HW3).save(file, "PNG", compress_level=1)
    return file.getvalue()
