"""Progress of what takes long before a run begins: it has no log yet, so it goes to the terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

REPORT_SECONDS = 10.0


def reporter(what: str, where: str = "", last_line: bool = True) -> Callable[[int, int], None]:
    """A function of (done, total) that tells of it now and then; `what` has a place for each of the two.

    `last_line`: also when all is done, however quick that was.
    """
    started = last = time.monotonic()

    def say(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= REPORT_SECONDS or (last_line and done == total):
            last = now
            left = (now - started) * (total - done) / max(done, 1)
            line = f"forge: {what.format(f'{done:,}', f'{total:,}')}, {left:.0f} s left{where and f' ({where})'}"
            print(line, file=sys.stderr, flush=True)  # noqa: T201

    return say
