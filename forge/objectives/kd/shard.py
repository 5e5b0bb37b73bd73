"""One shard of a teacher cache: a safetensors file that is whole or absent, and says what it belongs to."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from forge.core.errors import UserError
from forge.core.io import fsync_file
from forge.tasks.base import Side

CODES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int32: "I32"}
Indices = NDArray[np.int64]


class CacheError(UserError):
    """The teacher's outputs cannot be stored or read as asked."""


@dataclass(frozen=True)
class Field:
    """One kind of teacher output: (width,) for each example, or (tokens, width) with `per_token`, those of one `side`.

    The name is a directory, so it must say everything that sets apart two fields of one teacher ("top16.indices").
    """

    name: str
    width: int
    per_token: bool
    dtype: torch.dtype
    side: Side = "input"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", self.name, re.ASCII):
            raise ValueError(f"'{self.name}' cannot name a field: use letters, digits, '.', '_' and '-'")
        if self.width < 1 or self.dtype not in CODES:
            raise ValueError(f"field '{self.name}' has width {self.width} and {self.dtype}")


@dataclass(frozen=True)
class Layout:
    """What the file of one shard must look like; only the sha256 of its content is not known beforehand.

    The content is `offsets` (n+1,), the row at which each example starts, if there is a row a token, and `values`
    (rows, width).
    """

    path: Path
    field: Field
    first: int
    lengths_N: Indices
    identity: str

    @cached_property
    def starts(self) -> Indices:
        """The row of `values` at which each example starts, and their number at the end, (n+1,)."""
        rows_N = self.lengths_N if self.field.per_token else np.ones_like(self.lengths_N)
        return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(rows_N)])

    @cached_property
    def about(self) -> dict[str, str]:
        """What the header says beside the sha256; the lengths are in it because `values` alone may fit others."""
        lengths = hashlib.sha256(self.lengths_N.astype("<i8").tobytes()).hexdigest()
        about = {"identity": self.identity, "field": self.field.name, "first example": str(self.first)}
        return about | {"number of examples": str(len(self.lengths_N)), "lengths": lengths}

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of `values`."""
        return self.field.width * self.field.dtype.itemsize

    @property
    def values_at(self) -> int:
        """The byte of the file at which `values` starts."""
        return len(self.header("0" * 64)) + len(self.offsets())

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self.values_at + int(self.starts[-1]) * self.row_bytes

    def offsets(self) -> bytes:
        """The content of the tensor `offsets`, empty where each example has one row."""
        return self.starts.astype("<i8").tobytes() if self.field.per_token else b""

    def header(self, sha256: str) -> bytes:
        """The first bytes of the safetensors file: the header's length, then JSON, padded to whole words."""
        ragged = len(self.offsets())
        rows = int(self.starts[-1])
        header: dict[str, Any] = {"__metadata__": self.about | {"sha256": sha256}}
        if ragged:
            header["offsets"] = {"dtype": "I64", "shape": [len(self.starts)], "data_offsets": [0, ragged]}
        header["values"] = {
            "dtype": CODES[self.field.dtype],
            "shape": [rows, self.field.width],
            "data_offsets": [ragged, ragged + rows * self.row_bytes],
        }
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text

    def check(self) -> str:
        """What is wrong with the file, or an empty text."""
        try:
            with self.path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                length = int.from_bytes(file.read(8), "little")
                raw = file.read(length) if 8 + length <= size else b""
                reason, sha256 = self._check_header(raw, size)
                if reason:
                    return reason
                # Read, not mapped: a bad block is then an error to report instead of the end of the process.
                changed = hashlib.file_digest(file, "sha256").hexdigest() != sha256
                return "has changed (sha256 differs)" if changed else ""
        except FileNotFoundError:
            raise
        except OSError as error:
            return f"cannot be read ({os.strerror(error.errno or 0)})"

    def _check_header(self, raw: bytes, size: int) -> tuple[str, str]:
        """What is wrong with a header, and the sha256 it promises."""
        try:
            header = json.loads(raw)
            about, shape = header["__metadata__"], (header["values"]["shape"], header["values"]["dtype"])
            found = {key: about[key] for key in self.about}
            sha256 = str(about["sha256"])
        except (ValueError, KeyError, TypeError):
            return ("is empty" if not size else "has no readable header"), ""
        if wrong := [key for key, value in self.about.items() if found[key] != value]:
            return f"was made for other {wrong[0]}", ""
        if shape != ([int(self.starts[-1]), self.field.width], CODES[self.field.dtype]):
            return f"holds {shape[1]} {shape[0]}, not {CODES[self.field.dtype]} of width {self.field.width}", ""
        if self.header(sha256)[8:] != raw:
            return "has a header that was changed", ""
        return (f"has {size} bytes, not {self.size}" if size != self.size else ""), sha256


class Draft:
    """A shard under its temporary name. Examples come in any order; `publish` makes it visible, whole."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.values_at = layout.values_at
        owner = f"{os.getpid()}@{platform.node()}"
        self.temporary = layout.path.with_name(f".{layout.path.name}.{owner}.tmp")
        self.file = self.temporary.open("wb+", buffering=0)

    def put(self, ids: Indices, rows: NDArray[np.uint8]) -> None:
        """Write the rows of some examples, (rows, bytes), each example at its place."""
        starts = self.layout.starts
        taken = 0
        for place in (ids - self.layout.first).tolist():
            start, count = int(starts[place]), int(starts[place + 1] - starts[place])
            self._write(self.values_at + start * self.layout.row_bytes, rows[taken : taken + count].tobytes())
            taken += count

    def publish(self) -> None:
        """Write the header, force everything onto the disk, and give the file its name."""
        layout = self.layout
        before = len(layout.header("0" * 64))
        self._write(before, layout.offsets())
        self.file.truncate(layout.size)
        self.file.seek(before)
        self._write(0, layout.header(hashlib.file_digest(self.file, "sha256").hexdigest()))
        os.fsync(self.file.fileno())
        self.temporary.replace(layout.path)
        fsync_file(layout.path.parent)

    def discard(self) -> None:
        """Forget what was not published."""
        with suppress(OSError):
            self.file.close()
        with suppress(OSError):
            self.temporary.unlink(missing_ok=True)

    def _write(self, position: int, data: bytes) -> None:
        while data:  # a nearly full disk takes a part before it refuses the rest
            written = os.pwrite(self.file.fileno(), data, position)
            position, data = position + written, data[written:]


def shard_file(field: Field, shard: int) -> str:
    """Where a shard lies in its cache."""
    return f"{field.name}/{shard:05d}.safetensors"


def unfit(field: Field, values: torch.Tensor) -> str:
    """Why `values` cannot be stored as `field`, and what to do."""
    if not is_finite(values):
        return f"field '{field.name}': the teacher gives values that are not finite; run it in float32 or bfloat16"
    dtype, largest = str(field.dtype).removeprefix("torch."), float(values.abs().max())
    if field.dtype.is_floating_point:
        return f"field '{field.name}' reaches {largest:.4g}, too large for {dtype}; cache it as float32 or bfloat16"
    return f"field '{field.name}' holds values that are no {dtype}; cache it as float32"


def is_finite(values: torch.Tensor) -> bool:
    """Whether all values are; nan and inf both win a maximum, which takes a ninth of the time of asking each value."""
    return values.numel() == 0 or bool(torch.isfinite(values.abs().max()))
