"""The disk fails, or the process dies, at one chosen operation below a folder.

Python tells an audit hook of every file that is opened for writing, renamed, linked, made or removed, and obeys an
error that the hook raises. What tells nobody is wrapped: fsync, pwrite, the writes of a Python file (a fault there
leaves half of the bytes, as a full disk does), and a safetensors file, which a limit of the system cuts short.
"""

from __future__ import annotations

import errno
import io
import os
import re
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import safetensors.torch

from forge.core.errors import ForgeError, StorageError

CHANGING = {"os.rename", "os.mkdir", "os.symlink", "os.chmod", "os.remove", "os.rmdir", "os.truncate"}
NEEDS_NO_ROOM = {"os.remove", "os.rmdir", "os.chmod", "os.truncate"}
KILLED = 9
KINDS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC, "EROFS": errno.EROFS, "killed": KILLED}
FEW_BYTES = 100  # of a safetensors file, before the fault


class Fault:
    """What happens at operation number `at` below `folder`: an errno, or KILLED.

    EIO comes once. A full disk stays full for all that needs room, and one that turned read-only refuses all.
    """

    def __init__(self) -> None:
        self.folder, self.at, self.kind, self.seen = "", -1, 0, 0
        self._lock = Lock()
        self.strike: Callable[[], None] | None = None  # in place of an error: real faults follow from what it does

    def covers(self, path: object) -> bool:
        """Whether a path, or the file of a descriptor, lies below the folder."""
        if not self.folder:
            return False
        if isinstance(path, int):
            path = os.readlink(f"/proc/self/fd/{path}")  # noqa: PTH115
        return isinstance(path, str | bytes | os.PathLike) and os.fsdecode(path).startswith(self.folder)

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.folder:
            return
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (writes or event in CHANGING) and self.covers(_changed(event, arguments)):
            self.happen(event)

    def happen(self, event: str) -> None:
        """Count an operation, and raise or die where it is its turn."""
        if self.due(event):
            self.fail()

    def due(self, event: str) -> bool:
        """Count an operation; whether it fails."""
        with self._lock:  # files of a checkpoint are forced out by several threads
            self.seen += 1
            seen = self.seen
        if seen == self.at + 1:
            if self.strike:
                self.folder = ""  # what it writes is no operation of the program
                self.strike()
            return not self.strike
        lasts = self.kind == errno.EROFS or (self.kind == errno.ENOSPC and event not in NEEDS_NO_ROOM)
        return lasts and 0 <= self.at < seen and not self.strike

    def fail(self) -> None:
        if self.kind == KILLED:
            os._exit(KILLED)
        raise OSError(self.kind, os.strerror(self.kind), self.folder)

    @property
    def struck(self) -> bool:
        """Whether there were so many operations that the fault came."""
        return self.seen > self.at


def _changed(event: str, arguments: tuple[Any, ...]) -> object:
    """The path that an audited event is about."""
    if event == "os.symlink":
        return arguments[1]
    if event in {"os.remove", "os.rmdir"} and arguments[1] >= 0:  # rmtree names files by their directory's descriptor
        return arguments[1]
    return arguments[0]


FAULT = Fault()
sys.addaudithook(FAULT.hear)


class _HalfWritten(io.FileIO):
    """A file whose write can fail after half of the bytes."""

    def write(self, data: Any) -> int:
        if FAULT.covers(self.name) and FAULT.due("write"):
            super().write(bytes(data)[: len(data) // 2])
            FAULT.fail()
        return super().write(data)


_open, _fsync, _pwrite, _serialize = io.open, os.fsync, os.pwrite, safetensors.torch.serialize_file


def _open_half_written(file: Any, mode: str = "r", buffering: int = -1, *text: Any, **named: Any) -> Any:
    if isinstance(file, int) or not set(mode) & set("wax+") or not FAULT.covers(file):
        return _open(file, mode, buffering, *text, **named)
    raw = _HalfWritten(file, mode.replace("b", "").replace("t", ""), opener=named.pop("opener", None))
    if buffering == 0:
        return raw
    buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
    return buffered if "b" in mode else io.TextIOWrapper(buffered, *text, **named)


def _fsync_or_fail(descriptor: int) -> None:
    if FAULT.covers(descriptor):
        FAULT.happen("fsync")
    _fsync(descriptor)


def _pwrite_or_fail(descriptor: int, data: bytes, position: int) -> int:
    if FAULT.covers(descriptor) and FAULT.due("write"):
        _pwrite(descriptor, data[: len(data) // 2], position)
        FAULT.fail()
    return _pwrite(descriptor, data, position)


def _serialize_or_fail(tensors: Any, path: Any, *rest: Any, **named: Any) -> None:
    """The system's own limit cuts the file short; the error then speaks of the fault instead of the limit."""
    if not (FAULT.covers(path) and FAULT.due("write")):
        _serialize(tensors, path, *rest, **named)
        return
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FEW_BYTES, limits[1]))
    try:
        _serialize(tensors, path, *rest, **named)
    except safetensors.SafetensorError as error:
        if FAULT.kind != KILLED:
            text, number = str(error), f"os error {FAULT.kind}"
            assert f"os error {errno.EFBIG}" in text
            raise safetensors.SafetensorError(re.sub(r"os error \d+", number, text)) from None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    FAULT.fail()


@contextmanager
def failing(folder: Path, at: int, kind: int, strike: Callable[[], None] | None = None) -> Iterator[Fault]:
    """Let operation number `at` (from 0) below `folder` fail inside the block."""
    FAULT.at, FAULT.kind, FAULT.strike, FAULT.seen, FAULT.folder = at, kind, strike, 0, str(folder)
    io.open, os.fsync, os.pwrite = _open_half_written, _fsync_or_fail, _pwrite_or_fail  # type: ignore[assignment]
    safetensors.torch.serialize_file = _serialize_or_fail
    try:
        yield FAULT
    finally:
        FAULT.folder = ""
        io.open, os.fsync, os.pwrite = _open, _fsync, _pwrite
        safetensors.torch.serialize_file = _serialize


def attempt(
    act: Callable[[], object], folder: Path, at: int, kind: int, codes: tuple[int, ...] = (StorageError.exit_code,)
) -> bool:
    """Act with a fault at operation `at`; whether none came. An error must be one line with an exit code of `codes`."""
    if kind == KILLED:
        child = os.fork()
        if not child:
            with failing(folder, at, kind):
                act()
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    failure = None
    with failing(folder, at, kind) as fault:
        try:
            act()
        except ForgeError as error:
            failure = error
    assert failure is None or (failure.exit_code in codes and "\n" not in str(failure)), failure
    return not fault.struck
