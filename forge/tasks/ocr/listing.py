"""What a source of page data says that there is: pages one by one, each with where its image and its Markdown are.

Nothing here opens a page; the Markdown alone is read in this process.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from forge.tasks.pages.sizes import RefusedError, one_line

MOST_MARKDOWN = 1_000_000
"""Bytes of one page's Markdown; 3,000 are usual, and 200,000 a page of a telephone book."""


@dataclass(frozen=True)
class Wanted:
    """A page and its text."""

    page: str  # what people are shown
    document: str
    file: Path | bytes
    number: int | None  # counted from 1; None: the file has this page alone
    markdown: str | Path | None  # None: a page that has no text should not be there, and is told if it is
    place: str  # where it is named: after `Listing.at`
    tests: str = ""  # checks that it brings with it (`page_tests`)


@dataclass(frozen=True)
class LeftOut:
    """A page or a file that is not read; `place` and `reason` are a line together."""

    place: str
    reason: str


@dataclass(frozen=True)
class Listing:
    """Pages in order, which can be read more than once; `at` comes before a place."""

    name: str
    at: str
    entries: Callable[[], Iterator[Wanted | LeftOut]]
    which: str = "give the page's `number`"  # what to do where a file turns out to have several pages


def read_markdown(path: Path) -> str:
    """A page's text. Raises RefusedError with a line that follows the file's name; an empty file is a blank page."""
    try:
        # Without waiting, because it may be a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise RefusedError("is not a file")
            data = file.read(MOST_MARKDOWN + 1)
    except FileNotFoundError:
        raise RefusedError("does not exist") from None
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        raise RefusedError(f"cannot be opened: {one_line(getattr(error, 'strerror', None) or error)}") from error
    if len(data) > MOST_MARKDOWN:
        raise RefusedError(f"has more than {MOST_MARKDOWN:,} bytes, too many for one page")
    try:
        return normalised(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise RefusedError(f"is not UTF-8 text: line {line} has a byte 0x{data[error.start]:02x}") from error


def normalised(text: str) -> str:
    r"""Lines end in \n, and nothing white follows the last one; in between, two spaces at a line's end mean a break."""
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip()


def shown(name: str) -> str:
    """A file's name as text that can be printed and stored, whatever its bytes are."""
    return one_line(os.fsencode(name).decode("utf-8", "replace"), 300)
