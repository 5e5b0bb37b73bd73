"""Pages of many files, or of bytes that are no file, each as safely as a page of one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from forge.tasks.pages.places import Place
from forge.tasks.pages.readers import Child, DiedError, Here, Reader, Settings
from forge.tasks.pages.sizes import Limits, RefusedError, Scale
from forge.tasks.pages.source import open_regular
from forge.tasks.pages.stream import Page, Refusal, to_page

DEATHS_OF_A_FILE = 2  # after so many pages that each ended a reader, the file's others are not tried
Opened = int | RefusedError


def open_places(
    files: Sequence[Path | bytes],
    places: Sequence[Place],
    password: str | None = None,
    *,
    scale: Scale | None = None,
    limits: Limits | None = None,
    text: bool = False,
    trusted: bool = False,
) -> Generator[Page | Refusal, None, None]:
    """One answer for each of the places, in their order: the page, or why it cannot be had.

    A file is a path or what a file would hold. All of them are open at once, so give some dozens at a time, with the
    places of one file side by side. They share a child process with `limits` for each page; one that was damaged by the
    file before it does not count against a page, which is tried again in a new one. With `trusted` as `open_pages`.
    """
    with ExitStack() as stack:
        opened = [_opened(file, stack) for file in files]
        there = [file for file, one in enumerate(opened) if isinstance(one, int)]
        descriptors = [one for one in opened if isinstance(one, int)]
        asked = tuple((there.index(file), number) for file, number in places if file in there)
        settings = Settings(scale or Scale(), limits or Limits(), password, text, asked)
        reader = Here(descriptors, settings) if trusted else Child(descriptors, settings)
        stack.callback(reader.close)
        answers = _answers(reader, asked, text)
        for file, number in places:
            one = opened[file]
            yield Refusal(number, str(one)) if isinstance(one, RefusedError) else next(answers)


def _opened(file: Path | bytes, stack: ExitStack) -> Opened:
    """A descriptor that the stack closes."""
    try:
        descriptor = open_regular(file) if isinstance(file, Path) else _in_memory(file)
    except RefusedError as error:
        return error
    stack.callback(os.close, descriptor)
    return descriptor


def _in_memory(content: bytes) -> int:
    if not content:
        raise RefusedError("is empty")
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("page", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]
    return descriptor


def _answers(reader: Reader, asked: Sequence[Place], text: bool) -> Iterator[Page | Refusal]:
    """An answer for each place whose file is open."""
    fresh, deaths, file = True, 0, -1
    for place, (here, number) in enumerate(asked, start=1):
        if here != file:
            file, deaths = here, 0
        if deaths == DEATHS_OF_A_FILE:
            yield Refusal(number, "is not tried: pages before it ended their readers")
            continue
        following = place + 1 if place < len(asked) else None
        answer: Page | Refusal
        try:
            try:
                raw = reader.read(place, following)
            except DiedError:
                if fresh:
                    raise
                raw = reader.read(place, following)  # in a new process
            answer, fresh = to_page(number or 1, raw, text), False
        except RefusedError as error:
            answer, fresh = Refusal(number, str(error)), isinstance(error, DiedError)
            deaths += fresh
        yield answer
