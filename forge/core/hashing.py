"""Names and seeds from content: the same input gives the same digest on every machine and Python."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path


def digest(value: object, length: int = 64) -> str:
    """First `length` hex digits of the sha256 of `value` as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, in hex, read in constant memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def derive_seed(seed: int, *path: str | int) -> int:
    """A 63-bit seed for one purpose, for example ``derive_seed(1, "dropout", step, micro_batch)``.

    Every random draw of Forge comes from such a seed, so no generator carries state from step to step:
    a resumed run needs no saved generator, and two processes draw what one process would have drawn.
    """
    return int(digest([seed, *path], length=16), 16) >> 1
