"""Single pages of many files as if they were the pages of one document.

A process costs 80 ms of computing before it reads its first page, more than most pages, so one reads several files.
"""

from __future__ import annotations

from collections.abc import Sequence

from forge.tasks.pages.raw import RawPage
from forge.tasks.pages.sizes import RefusedError, Scale
from forge.tasks.pages.source import Source, open_source

WHICH = "pages, and no number says which"
Place = tuple[int, int | None]
"""A file's index, and a page counted from 1; None is the only page of a file that has one."""


class Places:
    """Page i is places[i − 1]. One file is open at a time, so places of one file stand together."""

    def __init__(self, descriptors: Sequence[int], places: Sequence[Place], password: str | None) -> None:
        self._descriptors = descriptors
        self._places = places
        self._password = password
        self._file: int | None = None
        self._opened: Source | RefusedError = RefusedError("")
        self.count = len(places)

    def page(self, number: int, scale: Scale, text: bool) -> RawPage:
        """Page `number`, counted from 1. Raises RefusedError, also where its file cannot be opened."""
        file, wanted = self._places[number - 1]
        if file != self._file:
            self._file, self._opened = file, self._open(file)
        if isinstance(self._opened, RefusedError):
            raise self._opened
        count = self._opened.count
        if wanted is None and count != 1:
            raise RefusedError(f"has {count:,} {WHICH}")
        if wanted is not None and not 1 <= wanted <= count:
            raise RefusedError(f"is not there: the file has {count:,} page{'s' * (count != 1)}")
        return self._opened.page(wanted or 1, scale, text)

    def _open(self, file: int) -> Source | RefusedError:
        self._opened = RefusedError("")  # the file before lets go of its memory first
        try:
            return open_source(self._descriptors[file], self._password)
        except RefusedError as error:
            return error


def open_any(descriptors: Sequence[int], places: Sequence[Place] | None, password: str | None) -> Source:
    """One file with all its pages, or these places of several. Raises RefusedError."""
    return open_source(descriptors[0], password) if places is None else Places(descriptors, places, password)
