"""Two ways to read a document: in a child process with limits, or in this process."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Protocol

from forge.tasks.pages import wire
from forge.tasks.pages.places import Place, open_any
from forge.tasks.pages.raw import GLYPH, RawPage
from forge.tasks.pages.sizes import Limits, RefusedError, Scale, one_line

_PIPE = 1 << 20  # bytes that wait in the pipe, where the system allows it


class DiedError(RefusedError):
    """The page ended the process that read it."""


@dataclass(frozen=True)
class Settings:
    """How a document is read."""

    scale: Scale
    limits: Limits
    password: str | None = None
    text: bool = False
    places: tuple[Place, ...] | None = None  # of several files; None is one file with all its pages


class Reader(Protocol):
    """An open document somewhere."""

    def count(self) -> int:
        """Pages of the document. Raises RefusedError."""
        ...

    def read(self, number: int, following: int | None) -> RawPage:
        """Page `number`; `following` is the one that will be asked for next. Raises RefusedError."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


class Here:
    """Reads in this process: quick, and only for files that Forge has made itself."""

    def __init__(self, descriptors: Sequence[int], settings: Settings) -> None:
        self._settings = settings
        self._source = open_any(descriptors, settings.places, settings.password)

    def count(self) -> int:
        """As Reader says."""
        return self._source.count

    def read(self, number: int, following: int | None) -> RawPage:  # noqa: ARG002 - the other reader looks ahead
        """As Reader says."""
        return self._source.page(number, self._settings.scale, self._settings.text)

    def close(self) -> None:
        """Nothing: the document goes with its last page."""


class Child:
    """Reads in a process of its own, which is started again after a page that ended it."""

    def __init__(self, descriptors: Sequence[int], settings: Settings) -> None:
        self._descriptors = descriptors
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._asked: int | None = None

    def count(self) -> int:
        """As Reader says."""
        return self._start()

    def read(self, number: int, following: int | None) -> RawPage:
        """As Reader says."""
        if self._process is None:
            self._start()
        if self._asked != number:
            self._ask(number)
        page = self._page(number)
        # The child draws the next page while this one is worked on. It holds one page at most: the pipe is full.
        self._ask(following)
        return page

    def close(self) -> None:
        """End the process; the next page starts another."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe is not None
                with suppress(OSError):
                    pipe.close()
        self._process, self._asked = None, None

    def _start(self) -> int:
        settings = self._settings
        command = [sys.executable, "-m", "forge.tasks.pages.child", *map(str, self._descriptors)]
        # The parent's path and nothing else: not what lies in the working directory.
        path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)  # noqa: PTH100 - an entry may be a zip file
        environment = os.environ | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter and numbers
            command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=self._descriptors,
            env=environment,
        )
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        with suppress(OSError, AttributeError):
            fcntl.fcntl(self._process.stdout, fcntl.F_SETPIPE_SZ, _PIPE)
        line = {
            "scale": asdict(settings.scale),
            "limits": asdict(settings.limits),
            "password": settings.password,  # through the pipe, because everybody can read a command line
            "text": settings.text,
            "places": settings.places,
        }
        self._write(json.dumps(line).encode() + b"\n")
        deadline = time.monotonic() + settings.limits.seconds
        header = self._header(0, deadline)
        if header.kind == wire.REFUSED:
            raise RefusedError(self._message(header, deadline))
        return header.number

    def _ask(self, number: int | None) -> None:
        self._asked = number
        if number is not None:
            self._write(wire.REQUEST.pack(number))

    def _write(self, data: bytes) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # the answer, which does not come, tells why
            self._process.stdin.write(data)

    def _page(self, number: int) -> RawPage:
        deadline = time.monotonic() + self._settings.limits.seconds
        header = self._header(number, deadline)
        self._asked = None
        if header.kind == wire.REFUSED:
            raise RefusedError(self._message(header, deadline))
        pixels = self._receive(header.width * header.height * 3, deadline)
        glyphs = self._receive(header.glyphs * GLYPH.size, deadline)
        sizes = (header.width, header.height, header.width_pt, header.height_pt, header.rotation)
        return RawPage(pixels, *sizes, bytes(glyphs))

    def _header(self, asked: int, deadline: float) -> wire.Header:
        data = bytes(self._receive(wire.HEADER.size, deadline))
        try:
            return wire.check(data, asked, self._settings.scale.max_pixels)
        except ValueError as error:
            self.close()
            raise DiedError("made the reader answer nonsense: damaged on purpose?") from error

    def _message(self, header: wire.Header, deadline: float) -> str:
        return one_line(self._receive(header.message, deadline).decode("utf-8", "replace")) or "cannot be read"

    def _receive(self, size: int, deadline: float) -> bytearray:
        """Exactly `size` bytes. Raises DiedError where they do not come in time."""
        assert self._process is not None
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        data = bytearray(size)
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        with memoryview(data) as view:
            got = 0
            while got < size:
                left = deadline - time.monotonic()
                if left <= 0 or not poll.poll(left * 1_000):
                    raise self._died(f"takes longer than {self._settings.limits.seconds:g} s")
                try:
                    count = os.readv(pipe, [view[got:]])
                except BlockingIOError:
                    continue
                if not count:
                    raise self._died("")
                got += count
        return data

    def _died(self, why: str) -> DiedError:
        assert self._process is not None
        if not why:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)
            code = self._process.poll() or 0
            name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            limits = self._settings.limits
            why = f"ended its reader ({name}): it is damaged, or needs more than {limits.memory_mib:,} MiB"
            if code == -signal.SIGXCPU:
                why = f"takes more than {limits.seconds:g} s of computing"
        self.close()
        return DiedError(why)
