"""The process that parses one hostile file, or several: `python -m forge.tasks.pages.child DESCRIPTOR …`.

It limits itself before it looks at the file, reads its settings (a line of JSON) and then page numbers from its
input, and writes answers (`wire`) to its output. It ends with its input.
"""

from __future__ import annotations

import json
import math
import os
import resource
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import BinaryIO

from forge.tasks.pages import wire
from forge.tasks.pages.places import open_any
from forge.tasks.pages.raw import GLYPH
from forge.tasks.pages.sizes import Limits, RefusedError, Scale, one_line
from forge.tasks.pages.source import Source


def main(descriptors: Sequence[int], requests: BinaryIO, answers: BinaryIO) -> None:
    """Serve until the requests end."""
    settings = json.loads(requests.readline())
    limits, scale = Limits(**settings["limits"]), Scale(**settings["scale"])
    _limit_memory(limits)
    _limit_computing(limits)
    try:
        source = open_any(descriptors, settings["places"], settings["password"])
    except (RefusedError, MemoryError) as error:
        _send(answers, wire.refused(0, _why(error, limits)))
        return
    _send(answers, wire.opened(source.count))
    while len(request := requests.read(wire.REQUEST.size)) == wire.REQUEST.size:
        _limit_computing(limits)
        _answer(answers, source, wire.REQUEST.unpack(request)[0], scale, settings["text"], limits)


def _answer(answers: BinaryIO, source: Source, number: int, scale: Scale, text: bool, limits: Limits) -> None:
    try:
        page = source.page(number, scale, text)
    except (RefusedError, MemoryError) as error:
        _send(answers, wire.refused(number, _why(error, limits)))
        return
    _send(answers, wire.page_header(number, page, len(page.glyphs) // GLYPH.size), page.pixels, page.glyphs)


def _why(error: Exception, limits: Limits) -> str:
    if isinstance(error, MemoryError):
        return f"needs more memory than {limits.memory_mib:,} MiB"
    return one_line(error)


def _send(answers: BinaryIO, *parts: bytes | bytearray | memoryview) -> None:
    for part in parts:
        answers.write(part)
    answers.flush()


def _limit_memory(limits: Limits) -> None:
    """So much address space, no core dump, no writing to files."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = limits.memory_mib << 20
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def _limit_computing(limits: Limits) -> None:
    """From now on so many seconds of computing: a child whose parent is gone, or does not wait for it, ends too."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = math.ceil(used.ru_utime + used.ru_stime + limits.seconds)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    if hard == resource.RLIM_INFINITY or soft < hard:
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


if __name__ == "__main__":
    with suppress(BrokenPipeError, KeyboardInterrupt):
        main([int(word) for word in sys.argv[1:]], sys.stdin.buffer, sys.stdout.buffer)
    os._exit(0)  # nothing to tidy up, and closing a damaged document could crash
