"""Whatever a file is: looks at how it begins, never at its name."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Protocol

from forge.tasks.pages.raw import RawPage
from forge.tasks.pages.sizes import RefusedError, Scale, one_line

_HEAD = 1_024  # bytes; readers of PDF accept so much before `%PDF-`


class Source(Protocol):
    """An open document."""

    count: int

    def page(self, number: int, scale: Scale, text: bool, /) -> RawPage:
        """Page `number`, counted from 1. Raises RefusedError."""
        ...


def open_regular(path: Path) -> int:
    """A descriptor of a regular file, links followed. Raises RefusedError; never waits for a pipe or a device."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise RefusedError("does not exist") from None
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        raise RefusedError(f"cannot be opened: {one_line(getattr(error, 'strerror', None) or error)}") from error
    mode, size = os.fstat(descriptor).st_mode, os.fstat(descriptor).st_size
    if stat.S_ISREG(mode) and size:
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise RefusedError("is a directory")
    raise RefusedError("is empty" if stat.S_ISREG(mode) else "is not a file but a pipe, a socket or a device")


def open_source(descriptor: int, password: str | None) -> Source:
    """The document behind a descriptor. Raises RefusedError."""
    head = os.pread(descriptor, _HEAD, 0)
    if b"%PDF-" in head:
        from forge.tasks.pages.pdf import PdfFile  # each library is loaded for its own files alone

        return PdfFile(descriptor, password)
    if _is_image(head):
        from forge.tasks.pages.images import ImageFile

        return ImageFile(descriptor)
    if head.startswith(b"version https://git-lfs"):
        raise RefusedError("is a pointer of Git LFS, not the file itself: run git lfs pull")
    raise RefusedError("is neither a PDF nor an image (PNG, JPEG, TIFF, WebP)")


def _is_image(head: bytes) -> bool:
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return True
    return head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"))
