"""Writing files so that a crash leaves the old content or the new, never half of one; reading JSON of any origin."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from forge.core.errors import StorageError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}  # reading never meets these
DISK_ERRORS = FULL | {errno.EIO, errno.EACCES, errno.EPERM}
REMEDIES = {
    errno.EIO: "when the disk works again",
    errno.EROFS: "when the disk can be written again",
    errno.EFBIG: "with a larger limit on the size of files (ulimit -f)",
    errno.EACCES: "when this user may write there",
    errno.EPERM: "when this user may write there",
}
TEMPORARY = re.compile(r"\..+\.\d+\.tmp")
MOST_JSON_BYTES = 16 * 2**20
MOST_JSON_DEPTH = 100  # far below what Python's own stack bears, so that what was read can be written again


def fsync_file(path: Path) -> None:
    """Force a file's content, or a directory's entries, onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, text: str, durable: bool = True) -> None:
    """Replace `path` by `text` in one step, as `writing` does."""
    with writing(path, durable) as file:
        file.write(text)


@contextmanager
def writing(path: Path, durable: bool = True) -> Iterator[TextIO]:
    """Replace `path` in one step by what is written: temporary file, fsync, rename, fsync of the directory.

    Nothing is replaced where the writing fails. Without `durable` nothing waits for the disk: half a file is never
    seen, but a machine that crashes may lose it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):  # a disk that takes no writes may refuse this too; the first error tells more
            temporary.unlink(missing_ok=True)
        raise
    if durable:
        fsync_file(path.parent)


def remove_temporaries(folder: Path) -> None:
    """Delete what `write_atomic` of killed processes left in a folder that this process alone writes to."""
    for path in folder.glob(".*.tmp"):
        if TEMPORARY.fullmatch(path.name) and not path.is_dir():
            path.unlink(missing_ok=True)


def to_json(value: object) -> str:
    """JSON for people: two spaces, keys in the order given, a final newline; NaN is refused."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def from_json(text: bytes | str) -> Any:
    """The inverse of `to_json` for text of any origin. Raises ValueError for what cannot be read."""
    try:
        value = json.loads(text.decode("utf-8") if isinstance(text, bytes) else text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    level, depth = [value], 0
    while level := [item for node in level for item in _items(node)]:
        depth += 1
        if depth > MOST_JSON_DEPTH:
            raise ValueError("it is nested too deeply")
    return value


def read_json(path: Path, most_bytes: int = MOST_JSON_BYTES) -> Any:
    """What a JSON file holds. Raises OSError, and ValueError for what is too large or cannot be read."""
    with path.open("rb") as file:
        text = file.read(most_bytes + 1)
    if len(text) > most_bytes:
        raise ValueError(f"it is larger than {most_bytes:,} bytes")
    return from_json(text)


def write_json(path: Path, value: object, durable: bool = True) -> None:
    """Replace `path` by `value` as JSON, atomically."""
    write_atomic(path, to_json(value), durable)


def _items(node: object) -> Iterable[Any]:
    if isinstance(node, dict):
        return node.values()
    return node if isinstance(node, list) else ()


@contextmanager
def storage_errors(doing: str, kinds: Collection[int] = DISK_ERRORS) -> Iterator[None]:
    """Turn a full or unwritable disk inside the block into one StorageError that says what was being done."""
    try:
        yield
    except OSError as error:
        if error.errno in kinds:
            raise _storage_error(doing, error.errno or 0, error.filename) from error
        raise
    except Exception as error:
        # safetensors has an error of its own, which holds the system's number as text.
        number = re.search(r"os error (\d+)", str(error)) if type(error).__name__ == "SafetensorError" else None
        if number and int(number.group(1)) in kinds:
            raise _storage_error(doing, int(number.group(1))) from error
        raise


def _storage_error(doing: str, number: int, path: object = None) -> StorageError:
    where = f" ({path})" if path else ""
    return StorageError(
        f"cannot write while {doing}: {os.strerror(number)}{where}; what was saved before stays good, run again "
        + REMEDIES.get(number, "when there is room")
    )
