"""Pages are drawn once and kept on this machine, in a memory-mapped Arrow file named by all that determines them."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset
from datasets import config as datasets_config

from forge.core.errors import UserError
from forge.core.hashing import digest
from forge.core.io import fsync_file, read_json, storage_errors, write_json
from forge.tasks.ocr.draw import Drawn, Way, draw
from forge.tasks.ocr.listing import LeftOut, Listing, Wanted, read_markdown
from forge.tasks.ocr.notes import Notes
from forge.tasks.pages.sizes import RefusedError
from forge.tasks.pages.source import open_regular
from forge.tasks.sources import Table

FORMAT = 2  # raise it when the same files come to be drawn or kept in another way
SCHEMA = pa.schema(
    {
        "page": pa.string(),
        "markdown": pa.string(),
        "document": pa.string(),
        "image": pa.binary(),
        "characters": pa.string(),
        "boxes": pa.list_(pa.float32()),
        "tests": pa.string(),
        "place": pa.string(),
    }
)
COLUMNS = [name for name in SCHEMA.names if name != "place"]
BATCH_BYTES = 4 << 20
REPORT_SECONDS = 10.0
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}  # of some network file systems


def stored_pages(listing: Listing, way: Way) -> tuple[Table, tuple[str, ...]]:
    """The pages as a table with COLUMNS, and what was left out; drawn at the first call for their content.

    Raises UserError where no page is left.
    """
    mark, count = _content(listing, way)
    folder = Path(datasets_config.HF_DATASETS_CACHE) / "forge-pages"
    cache, about = folder / f"{mark}.arrow", folder / f"{mark}.json"
    if (kept := _whole(cache, about)) is None:
        with storage_errors(f"writing pages into {folder}"):
            folder.mkdir(parents=True, exist_ok=True)
            with _alone(folder, mark, listing.name):
                # While this process waited, another may have drawn them.
                kept = _whole(cache, about) or _write(cache, about, listing, way, count)
    rows = Dataset.from_file(str(cache))
    places = rows.select_columns("place")

    def where(row: int) -> str:
        return f"{listing.at}{places[row]['place']}"

    table = Table(listing.name, rows.select_columns(COLUMNS), digest([mark, kept["pages"]], 16), where)
    return table, tuple(Notes(**kept["notes"]).lines(listing.at))


def _content(listing: Listing, way: Way) -> tuple[str, int]:
    """A name for what the pages will be, wherever the files lie, and how many are wanted."""
    content = hashlib.sha256(json.dumps([FORMAT, asdict(way)]).encode())
    progress, count = _Progress(f"looking at the files of {listing.name}"), 0
    marks: dict[Path, str] = {}
    for entry in listing.entries():
        known: list[Any]
        if isinstance(entry, LeftOut):
            known = [entry.place, entry.reason]
        else:
            count += entry.markdown is not None
            if isinstance(entry.file, bytes):
                mark = hashlib.sha256(entry.file).hexdigest()
            else:
                mark = marks[entry.file] = marks.get(entry.file) or _mark(entry.file)
            known = [entry.page, entry.document, entry.number, entry.place, mark, _text(entry), entry.tests]
        content.update(json.dumps(known).encode())
        progress.tell(count)
    return content.hexdigest()[:24], count


def _mark(path: Path) -> str:
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (RefusedError, OSError) as error:
        return str(error)


def _text(entry: Wanted) -> str | None:
    if not isinstance(entry.markdown, Path):
        return entry.markdown
    try:
        return read_markdown(entry.markdown)
    except RefusedError as error:
        return f"{entry.markdown.name} {error}"


def _whole(cache: Path, about: Path) -> dict[str, Any] | None:
    """What is known of pages that are kept, None where they are not, or not whole."""
    with suppress(OSError, ValueError):
        kept: dict[str, Any] = read_json(about)
        if cache.stat().st_size == kept["bytes"]:
            return kept
    return None


def _write(cache: Path, about: Path, listing: Listing, way: Way, count: int) -> dict[str, Any]:
    """Draw them all. What is said about them goes first: where there are pages it is there too."""
    notes, pages = Notes(), hashlib.sha256()
    progress = _Progress(f"drawing pages of {listing.name}", count)
    temporary = cache.with_suffix(f".{os.getpid()}.tmp")
    done = 0
    try:
        with pa.OSFile(str(temporary), "wb") as file, pa.ipc.new_stream(file, SCHEMA) as stream:
            batch = _Batch(stream)
            for one in draw(listing.entries(), way):
                if isinstance(one, LeftOut):
                    notes.add(one)
                else:
                    batch.add(one)
                    pages.update(json.dumps(one.entry.page).encode())
                    done += 1
                progress.tell(done)
            batch.write()
        if not done:
            first, *more = notes.lines(listing.at) or [listing.name]
            raise UserError(f"{listing.name}  has no page to read: {' · '.join([first, *more[-1:]])}")
        fsync_file(temporary)
        kept = {"bytes": temporary.stat().st_size, "pages": pages.hexdigest()[:16], "notes": asdict(notes)}
        write_json(about, kept)
        temporary.replace(cache)
        return kept
    finally:
        temporary.unlink(missing_ok=True)


class _Batch:
    """Rows that wait to be written together: few enough for memory, enough for a file of few pieces."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._rows: list[Drawn] = []
        self._size = 0

    def add(self, one: Drawn) -> None:
        self._rows.append(one)
        self._size += len(one.image) + one.boxes_N4.nbytes
        if self._size >= BATCH_BYTES or len(self._rows) == 64:
            self.write()

    def write(self) -> None:
        if self._rows:
            columns = zip(*(_row(one) for one in self._rows), strict=True)
            self._stream.write_batch(pa.record_batch([list(column) for column in columns], schema=SCHEMA))
        self._rows, self._size = [], 0


def _row(one: Drawn) -> tuple[Any, ...]:
    entry = one.entry
    boxes = one.boxes_N4.reshape(-1)
    return entry.page, one.markdown, entry.document, one.image, one.characters, boxes, entry.tests, entry.place


@dataclass
class _Progress:
    """A line every ten seconds; nothing about what is quick."""

    doing: str
    count: int | None = None

    def __post_init__(self) -> None:
        self._began = self._told = time.monotonic()

    def tell(self, done: int) -> None:
        now = time.monotonic()
        if now - self._told >= REPORT_SECONDS:
            self._told = now
            of = f" of {self.count:,}" if self.count else ""
            speed = done / (now - self._began)
            _say(f"{self.doing}: {done:,}{of}, {speed:,.1f} a second")


@contextmanager
def _alone(folder: Path, mark: str, name: str) -> Iterator[None]:
    """Only one process at a time draws the same pages; whoever holds the lock owns what killed ones have left."""
    with (folder / f"{mark}.lock").open("a") as lock:
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _say(f"waiting for another process that draws the pages of {name}")
                fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:  # then two processes may do the same work, slow but harmless
            if error.errno not in NO_LOCKS:
                raise
        else:
            for path in folder.glob("*.tmp"):
                _remove(path, mark)
        yield


def _say(line: str) -> None:
    print(f"forge: {line}", file=sys.stderr, flush=True)  # noqa: T201


def _remove(path: Path, mark: str) -> None:
    """Delete a temporary file that nobody writes any more."""
    owner = path.name.split(".")[0]
    with suppress(OSError), path.with_name(f"{owner}.lock").open("a") as lock:
        if owner != mark:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
