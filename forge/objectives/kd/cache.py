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
import json
import os
import platform
import re
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from forge.core.events import Notice, Sink, fan_out
from forge.core.hashing import digest
from forge.core.io import fsync_file, storage_errors, to_json, write_json
from forge.objectives.kd.reader import Reader
from forge.objectives.kd.shard import CacheError, Draft, Field, Indices, Layout, is_finite, shard_file, unfit
from forge.tasks.base import Side

SHARD_SIZE = 1024  # examples
BATCH = 64  # examples that the teacher sees at once; part of the identity, because it changes the last bits
IDENTITY_FILE = "identity.json"
DAY = 86400.0  # seconds after which a temporary file of another machine counts as left behind

Identity = Mapping[str, str | int]


Compute = Callable[[Indices, Sequence[Field]], Mapping[str, list[torch.Tensor]]]


@dataclass(frozen=True)
class Missing:
    """Shards to compute, each with the fields it lacks, and what is wrong with those that exist but cannot be used."""

    shards: tuple[tuple[int, tuple[Field, ...]], ...]
    damaged: tuple[str, ...]


class TeacherCache:
    """The cache of one identity under `root`; `lengths` holds the number of tokens of each example, by side."""

    def __init__(self, root: Path, identity: Identity, lengths: Mapping[Side, NDArray[Any]]) -> None:
        self.identity = _full(identity)
        self.digest = digest(self.identity)
        self.folder = root / self.digest[:12]
        self.lengths: dict[Side, Indices] = {s: np.asarray(found, dtype=np.int64) for s, found in lengths.items()}
        self.examples = len(self.lengths["input"])
        self._order_by: Indices = np.max(list(self.lengths.values()), axis=0)
        self._verified: dict[tuple[Field, int], tuple[int, ...]] = {}

    def missing(self, fields: Sequence[Field]) -> Missing:
        """Verify every shard of `fields`; absent, damaged and foreign ones have to be computed."""
        shards, damaged = [], []
        for shard in range(-(-self.examples // SHARD_SIZE)):
            lacking = []
            for field in _distinct(fields):
                try:
                    reason = self._check(field, shard)
                except FileNotFoundError:
                    lacking.append(field)
                    continue
                if reason:
                    lacking.append(field)
                    damaged.append(f"{self.folder / shard_file(field, shard)} {reason}")
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
        return Reader(self.folder, _distinct(fields), self.lengths, SHARD_SIZE)

    def bytes_needed(self, fields: Sequence[Field]) -> int:
        """Size of the complete cache for `fields`."""
        shards = range(-(-self.examples // SHARD_SIZE))
        return sum(self._layout(field, shard).size for field in _distinct(fields) for shard in shards)

    def size(self) -> int:
        """Bytes on disk, all fields together."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    def _ids(self, shard: int) -> Indices:
        return np.arange(shard * SHARD_SIZE, min((shard + 1) * SHARD_SIZE, self.examples), dtype=np.int64)

    def _batches(self, shard: int) -> list[Indices]:
        """The shard's ids, longest first, cut into batches: like lengths together waste little padding."""
        ids = self._ids(shard)
        ids = ids[np.argsort(-self._order_by[ids], kind="stable")]
        return [ids[start : start + BATCH] for start in range(0, len(ids), BATCH)]

    def _layout(self, field: Field, shard: int) -> Layout:
        ids = self._ids(shard)
        lengths_n = self.lengths[field.side][ids]
        return Layout(self.folder / shard_file(field, shard), field, int(ids[0]), lengths_n, self.digest)

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
        drafts: list[Draft] = []
        try:
            with self._storing():
                for field in fields:
                    drafts.append(Draft(self._layout(field, shard)))  # noqa: PERF401  what is open must be closed
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
        lengths = self.lengths[field.side][ids].tolist()
        expected = [(length, field.width) for length in lengths] if field.per_token else [(field.width,)] * len(ids)
        if [tuple(tensor.shape) for tensor in tensors] != expected:
            shapes = [tuple(tensor.shape) for tensor in tensors]
            raise ValueError(f"field '{field.name}': the teacher gave {shapes} for examples {ids}, not {expected}")
        values = (torch.cat(tensors) if field.per_token else torch.stack(tensors)).detach()
        stored = values.to(field.dtype)
        exact = field.dtype.is_floating_point or torch.equal(stored.to(values.dtype), values)
        if not (exact and is_finite(stored)):
            raise CacheError(f"{self.folder}  {unfit(field, values)}")
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
