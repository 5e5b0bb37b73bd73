"""What a frozen teacher says about every training example, computed once and read by every later epoch and run.

A cache is a directory named by its identity (teacher, data, lengths, …). Each field has a directory of its own, so runs
that need different fields share what they have in common, and is cut into shards of a fixed number of examples. A
shard is a safetensors file that is whole or absent; its header says what it belongs to and holds the sha256 of its
content, and one that fails the check is made again. The shards are written as they are computed, so memory holds one
batch, and their bytes depend on nothing but the identity and the teacher.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import platform
import re
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open

from forge.core.errors import UserError
from forge.core.events import Notice, Sink, fan_out
from forge.core.hashing import digest
from forge.core.io import fsync_file, storage_errors, to_json, write_json

SHARD_SIZE = 1024  # examples
BATCH = 64  # examples that the teacher sees at once; part of the identity, because it changes the last bits
IDENTITY_FILE = "identity.json"
DAY = 86400.0  # seconds after which a temporary file of another machine counts as left behind

CODES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int32: "I32"}
BITS = {2: torch.int16, 4: torch.int32}  # NumPy knows no bfloat16, and copying needs only the size

Indices = NDArray[np.int64]
Identity = Mapping[str, str | int]


class CacheError(UserError):
    """The teacher's outputs cannot be stored or read as asked."""


@dataclass(frozen=True)
class Field:
    """One kind of teacher output: (width,) for each example, or (tokens, width) with `per_token`.

    The name is a directory, so it must say everything that sets apart two fields of one teacher ("top16.indices").
    """

    name: str
    width: int
    per_token: bool
    dtype: torch.dtype

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", self.name, re.ASCII):
            raise ValueError(f"'{self.name}' cannot name a field: use letters, digits, '.', '_' and '-'")
        if self.width < 1 or self.dtype not in CODES:
            raise ValueError(f"field '{self.name}' has width {self.width} and {self.dtype}")


Compute = Callable[[Indices, Sequence[Field]], Mapping[str, list[torch.Tensor]]]


@dataclass(frozen=True)
class Missing:
    """Shards to compute, each with the fields it lacks, and what is wrong with those that exist but cannot be used."""

    shards: tuple[tuple[int, tuple[Field, ...]], ...]
    damaged: tuple[str, ...]


class TeacherCache:
    """The cache of one identity under `root`; `lengths_N` holds the number of tokens of each example."""

    def __init__(self, root: Path, identity: Identity, lengths_N: NDArray[Any]) -> None:
        self.identity = _full(identity)
        self.digest = digest(self.identity)
        self.folder = root / self.digest[:12]
        self.lengths_N: Indices = np.asarray(lengths_N, dtype=np.int64)
        self._verified: dict[tuple[Field, int], tuple[int, ...]] = {}

    def missing(self, fields: Sequence[Field]) -> Missing:
        """Verify every shard of `fields`; absent, damaged and foreign ones have to be computed."""
        shards, damaged = [], []
        for shard in range(-(-len(self.lengths_N) // SHARD_SIZE)):
            lacking = []
            for field in _distinct(fields):
                try:
                    reason = self._check(field, shard)
                except FileNotFoundError:
                    lacking.append(field)
                    continue
                if reason:
                    lacking.append(field)
                    damaged.append(f"{self.folder / _file(field, shard)} {reason}")
            if lacking:
                shards.append((shard, tuple(lacking)))
        return Missing(tuple(shards), tuple(damaged))

    def fill(
        self,
        fields: Sequence[Field],
        compute: Compute,
        progress: Callable[[int, int], None],
        emit: Sink | None = None,
    ) -> list[str]:
        """Compute what is missing and return what was found damaged.

        `compute(ids, fields)` gives for each field's name one tensor an example. Its batches follow from a shard's
        ids and lengths alone, so a shard that is made again has the same bytes. `progress(done, total)` counts
        examples. Only one process fills at a time; another waits for it and then finds the work done.
        """
        before = self.missing(fields)
        if not before.shards:
            return []
        self._prepare(fields)
        with self._alone(emit or fan_out()):
            self._clean()
            now = self.missing(fields)
            done, total = 0, sum(len(self._ids(shard)) for shard, _ in now.shards)
            for shard, lacking in now.shards:
                with closing(self._fill_shard(shard, lacking, compute)) as counts:
                    for count in counts:
                        done += count
                        progress(done, total)
        return list(dict.fromkeys(before.damaged + now.damaged))

    def open(self, fields: Sequence[Field]) -> Reader:
        """A reader of `fields`. Raises CacheError unless every shard is there and verifies."""
        missing = self.missing(fields)
        if missing.shards:
            damage = f" ({missing.damaged[0]})" if missing.damaged else ""
            number, names = missing.shards[0][0], ", ".join(field.name for field in missing.shards[0][1])
            raise CacheError(
                f"{self.folder}  the teacher cache is incomplete: {len(missing.shards)} shards have to be computed, "
                f"the first is {number:05d} of {names}{damage}; fill the cache again"
            )
        return Reader(self.folder, _distinct(fields), self.lengths_N, SHARD_SIZE)

    def bytes_needed(self, fields: Sequence[Field]) -> int:
        """Size of the complete cache for `fields`."""
        shards = range(-(-len(self.lengths_N) // SHARD_SIZE))
        return sum(self._layout(field, shard).size for field in _distinct(fields) for shard in shards)

    def size(self) -> int:
        """Bytes on disk, all fields together."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    def _ids(self, shard: int) -> Indices:
        return np.arange(shard * SHARD_SIZE, min((shard + 1) * SHARD_SIZE, len(self.lengths_N)), dtype=np.int64)

    def _batches(self, shard: int) -> list[Indices]:
        """The shard's ids, longest first, cut into batches: like lengths together waste little padding."""
        ids = self._ids(shard)
        ids = ids[np.argsort(-self.lengths_N[ids], kind="stable")]
        return [ids[start : start + BATCH] for start in range(0, len(ids), BATCH)]

    def _layout(self, field: Field, shard: int) -> _Layout:
        ids = self._ids(shard)
        return _Layout(self.folder / _file(field, shard), field, int(ids[0]), self.lengths_N[ids], self.digest)

    def _check(self, field: Field, shard: int) -> str:
        """What is wrong with a shard, or an empty text. One that this process has verified is not hashed again."""
        layout = self._layout(field, shard)
        status = layout.path.stat()
        stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
        if self._verified.get((field, shard)) == stamp:
            return ""
        reason = layout.check()
        if not reason:
            self._verified[field, shard] = stamp
        return reason

    def _fill_shard(self, shard: int, fields: tuple[Field, ...], compute: Compute) -> Generator[int]:
        """Compute and publish one shard of `fields`; yields the number of examples after each batch."""
        drafts: list[_Draft] = []
        try:
            with self._storing():
                for field in fields:
                    drafts.append(_Draft(self._layout(field, shard)))  # noqa: PERF401  what is open must be closed
            for ids in self._batches(shard):
                outputs = compute(ids, fields)
                for draft in drafts:
                    rows = self._rows(draft.layout.field, ids, outputs)
                    with self._storing():
                        draft.put(ids, rows)
                yield len(ids)
            with self._storing():
                for draft in drafts:
                    draft.publish()
        finally:
            for draft in drafts:
                draft.discard()

    def _rows(self, field: Field, ids: Indices, outputs: Mapping[str, list[torch.Tensor]]) -> NDArray[np.uint8]:
        """The bytes of a batch, (rows, width · itemsize): all tokens of all examples in turn, or an example a row."""
        tensors = outputs[field.name]
        lengths = self.lengths_N[ids].tolist()
        expected = [(length, field.width) for length in lengths] if field.per_token else [(field.width,)] * len(ids)
        if [tuple(tensor.shape) for tensor in tensors] != expected:
            shapes = [tuple(tensor.shape) for tensor in tensors]
            raise ValueError(f"field '{field.name}': the teacher gave {shapes} for examples {ids}, not {expected}")
        values = (torch.cat(tensors) if field.per_token else torch.stack(tensors)).detach()
        stored = values.to(field.dtype)
        exact = field.dtype.is_floating_point or torch.equal(stored.to(values.dtype), values)
        if not (exact and bool(torch.isfinite(stored).all())):
            raise CacheError(f"{self.folder}  {_unfit(field, values)}")
        rows: NDArray[np.uint8] = stored.cpu().contiguous().view(torch.uint8).numpy()
        return rows

    def _prepare(self, fields: Sequence[Field]) -> None:
        with self._storing():
            for field in fields:
                (self.folder / field.name).mkdir(parents=True, exist_ok=True)
            path = self.folder / IDENTITY_FILE
            if not path.is_file() or path.read_bytes() != to_json(self.identity).encode():
                write_json(path, self.identity)
            fsync_file(self.folder)
            fsync_file(self.folder.parent)

    def _storing(self) -> AbstractContextManager[None]:
        return storage_errors(f"filling the teacher cache {self.folder}")

    @contextmanager
    def _alone(self, emit: Sink) -> Iterator[None]:
        """Hold the lock of this cache, which the system releases when the process dies."""
        with self._storing():
            file = (self.folder / ".lock").open("a")
        with file:
            try:
                self._lock(file.fileno(), emit)
                yield
            finally:
                with suppress(OSError):  # closing is not enough: a child that was forked meanwhile has the lock too
                    fcntl.flock(file, fcntl.LOCK_UN)

    def _lock(self, descriptor: int, emit: Sink) -> None:
        """Some network file systems have no locks: two processes may then do the same work, slow but harmless."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            emit(Notice(f"waiting for another run that fills this cache: {self.folder}"))
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}:
                raise

    def _clean(self) -> None:
        """Delete the temporary files of processes that died."""
        for path in [*self.folder.glob(".*.tmp"), *self.folder.glob("*/.*.tmp")]:
            owner = re.search(r"\.(\d+)@(.+)\.tmp$", path.name)
            with suppress(OSError):
                if owner and owner[2] == platform.node():
                    left_behind = not _lives(int(owner[1]))
                else:
                    left_behind = time.time() - path.stat().st_mtime > DAY
                if left_behind:
                    path.unlink()


@dataclass(frozen=True)
class _Layout:
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
        return self.field.width * self.field.dtype.itemsize

    @property
    def values_at(self) -> int:
        """The byte of the file at which `values` starts."""
        return len(self.header("0" * 64)) + len(self.offsets())

    @property
    def size(self) -> int:
        return self.values_at + int(self.starts[-1]) * self.row_bytes

    def offsets(self) -> bytes:
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


class _Draft:
    """A shard under its temporary name. Examples come in any order; `publish` makes it visible, whole."""

    def __init__(self, layout: _Layout) -> None:
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


class Reader:
    """Teacher outputs by example. Forked workers share its memory; a pickled copy opens the files again."""

    def __init__(self, folder: Path, fields: Sequence[Field], lengths_N: Indices, shard_size: int) -> None:
        self.folder = folder
        self.fields = tuple(fields)
        self.lengths_N = lengths_N
        self.shard_size = shard_size
        starts_N = np.cumsum(lengths_N) - lengths_N
        # Where each example starts in the values of its shard.
        self._starts_N = starts_N - starts_N[np.arange(len(lengths_N)) // shard_size * shard_size]
        self._mapped: dict[str, dict[int, NDArray[Any]]] = {field.name: {} for field in self.fields}
        self._whole: dict[str, NDArray[Any]] = {}
        for field in self.fields:
            if not field.per_token:
                self._whole_field(field)  # before any fork, so that workers share it

    def read(self, ids: NDArray[Any] | Sequence[int], length: int) -> dict[str, torch.Tensor]:
        """The outputs of `ids` (B,), in their order: (B, length, width) padded with zeros, or (B, width).

        Floating point comes as float32, integers as int64. An example of more than `length` tokens is an error.
        """
        ids_B = np.asarray(ids, dtype=np.int64).reshape(-1)
        if len(ids_B) and not 0 <= int(ids_B.min()) <= int(ids_B.max()) < len(self.lengths_N):
            raise CacheError(f"{self.folder}  holds examples 0 to {len(self.lengths_N) - 1}, asked for {ids_B}")
        lengths_B = self.lengths_N[ids_B]
        if len(ids_B) and int(lengths_B.max()) > length:
            row = int(lengths_B.argmax())
            problem = f"example {ids_B[row]} has {lengths_B[row]} tokens, more than the batch's {length}"
            raise CacheError(f"{self.folder}  {problem}; cut the examples as the cache was made")
        starts_B = self._starts_N[ids_B]
        places = np.stack([ids_B // self.shard_size, starts_B, starts_B + lengths_B, lengths_B], axis=1).tolist()
        tensors = {}
        for field in self.fields:
            bits = self._gather(field, places, length) if field.per_token else self._whole_field(field)[ids_B]
            values = torch.from_numpy(bits).view(field.dtype)
            tensors[field.name] = values.float() if field.dtype.is_floating_point else values.long()
        return tensors

    def _gather(self, field: Field, places: Sequence[Sequence[int]], length: int) -> NDArray[Any]:
        """Copy example after example: a slice of NumPy costs the least of all ways that were measured."""
        shards = self._mapped[field.name]
        padded = np.zeros((len(places), length, field.width), dtype=f"i{field.dtype.itemsize}")
        for row, (shard, start, stop, count) in enumerate(places):
            if (values := shards.get(shard)) is None:
                values = shards[shard] = self._map(field, shard)
            padded[row, :count] = values[start:stop]
        return padded

    def _whole_field(self, field: Field) -> NDArray[Any]:
        """All examples of a field that has a row an example, as bits (N, width)."""
        if field.name not in self._whole:
            shards = [self._map(field, shard) for shard in range(-(-len(self.lengths_N) // self.shard_size))]
            empty = np.empty((0, field.width), dtype=f"i{field.dtype.itemsize}")
            self._whole[field.name] = np.concatenate([empty, *shards])
        return self._whole[field.name]

    def _map(self, field: Field, shard: int) -> NDArray[Any]:
        """The values of a shard as bits, mapped: a page is read from disk when it is first used."""
        with safe_open(self.folder / _file(field, shard), framework="pt") as file:
            values: torch.Tensor = file.get_tensor("values")
        bits: NDArray[Any] = values.view(BITS[field.dtype.itemsize]).numpy()
        return bits

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_mapped": {field.name: {} for field in self.fields}, "_whole": {}}


def describe_difference(root: Path, identity: Identity) -> str | None:
    """How the most similar cache of the same teacher and data differs from `identity`; None if there is no other."""
    mine = _full(identity)
    own = digest(mine, length=12)
    found: list[tuple[int, str]] = []
    for path in sorted(root.glob(f"*/{IDENTITY_FILE}")):
        with suppress(OSError, ValueError):
            theirs = json.loads(path.read_text(encoding="utf-8"))
            same = isinstance(theirs, dict) and all(theirs.get(key) == mine.get(key) for key in _NAMES)
            if same and path.parent.name != own:
                changes = [_change(key, theirs.get(key), mine.get(key)) for key in mine | theirs]
                changes = [change for change in changes if change]
                found.append((len(changes), f"the cache in {path.parent} was made with {', '.join(changes)}"))
    return min(found)[1] if found else None


_NAMES = ("teacher_name", "data_name")


def _change(key: str, theirs: str | int | None, mine: str | int | None) -> str:
    if theirs == mine:
        return ""
    if any(re.fullmatch(r"[0-9a-f]{12,}", str(value)) for value in (theirs, mine)):
        return "other " + re.sub(r"_(sha256|hash|digest|fingerprint)$", "", key).replace("_", " ")
    if theirs is None:
        return f"no {key}"
    return f"{key} {theirs}" + (f" instead of {mine}" if mine is not None else "")


def _full(identity: Identity) -> dict[str, str | int]:
    """The caller's identity and what this file adds to it."""
    return dict(identity) | {"cache_format": 1, "examples_per_shard": SHARD_SIZE, "examples_per_forward": BATCH}


def _unfit(field: Field, values: torch.Tensor) -> str:
    """Why `values` cannot be stored as `field`, and what to do."""
    if not bool(torch.isfinite(values).all()):
        return f"field '{field.name}': the teacher gives values that are not finite; run it in float32 or bfloat16"
    dtype, largest = str(field.dtype).removeprefix("torch."), float(values.abs().max())
    if field.dtype.is_floating_point:
        return f"field '{field.name}' reaches {largest:.4g}, too large for {dtype}; cache it as float32 or bfloat16"
    return f"field '{field.name}' holds values that are no {dtype}; cache it as float32"


def _file(field: Field, shard: int) -> str:
    return f"{field.name}/{shard:05d}.safetensors"


def _distinct(fields: Sequence[Field]) -> list[Field]:
    distinct = list(dict.fromkeys(fields))
    if len({field.name for field in distinct}) < len(distinct):
        raise ValueError(f"two different fields have one name: {[field.name for field in distinct]}")
    return distinct


def _lives(pid: int) -> bool:
    """Whether another process of this machine has the number `pid`."""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
