"""Two text files with a line for each other, as Moses has them: line N of one translates line N of the other."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path

from forge.core.errors import UserError
from forge.core.hashing import digest
from forge.tasks.parallel.pairs import Batcher, Pairs, Reader, Side, check_readable

CHUNK = 1 << 20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_two_files(reference: str, source: Path, target: Path) -> Reader:
    """A reader of two files. Raises UserError where one is longer than the other."""
    marks, lines = zip(*(content_and_lines(path) for path in (source, target)), strict=True)
    if lines[0] != lines[1]:
        longer, shorter = (source, target) if lines[0] > lines[1] else (target, source)
        end = min(lines)
        raise UserError(
            f"{longer}:{end + 1}  has no counterpart: {shorter} ends at line {end:,}, this file at line {max(lines):,}"
        )
    if not lines[0]:
        raise UserError(f"{reference}  has no rows")
    at_side: dict[Side, str] = {"source": f"{source}:", "target": f"{target}:"}
    mark = digest(["lines", *marks], 16)
    return Reader(reference, mark, lambda: _batches(source, target), f"{reference}:", at_side)


def _batches(source: Path, target: Path) -> Iterator[Pairs]:
    batcher = Batcher()
    both = zip(_lines(source), _lines(target), strict=True)
    for place, (left, right) in enumerate(both, start=1):
        batcher.add(left, right, place)
        yield from batcher.full()
    yield from batcher.full(last=True)


def _lines(path: Path) -> Iterator[str]:
    """Lines end at a line feed and nowhere else: the other separators of Unicode occur inside sentences."""
    with opened(path) as file:
        for line, content in enumerate(file, start=1):
            try:
                text = (content.removeprefix(BYTE_ORDER_MARK) if line == 1 else content).decode()
            except UnicodeDecodeError as error:
                byte = error.object[error.start]
                raise UserError(f"{path}:{line}  is not UTF-8 text: {error.reason} (0x{byte:02x})") from error
            yield text.strip()


def content_and_lines(path: Path) -> tuple[str, int]:
    """sha256 of what a file holds, compressed or not, and how many lines that is."""
    mark, lines, last = hashlib.sha256(), 0, b"\n"
    with opened(path) as file:
        while chunk := file.read(CHUNK):
            mark.update(chunk)
            lines += chunk.count(b"\n")
            last = chunk[-1:]
    return mark.hexdigest(), lines + (last != b"\n")


@contextmanager
def opened(path: Path) -> Iterator[BufferedIOBase]:
    """A file's bytes, decompressed where its name ends in .gz. Raises UserError for none, and for damage."""
    check_readable(path)
    try:
        with path.open("rb") as file:
            if path.suffix != ".gz":
                yield file
                return
            with gzip.GzipFile(fileobj=file) as inner:
                yield inner
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path}  is damaged or no gzip file: {error}") from error
