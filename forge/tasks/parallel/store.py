"""Pairs become one memory-mapped Arrow file, written in batches, kept on this machine by what determines it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from datasets import Dataset
from datasets import config as datasets_config

from forge.core.hashing import digest
from forge.core.io import read_json, storage_errors, write_json
from forge.tasks.parallel.pairs import Pairs, Reader
from forge.tasks.sources import Table

FORMAT = 1  # raise it when the same settings come to mean other pairs
SCHEMA = pa.schema({"source": pa.string(), "target": pa.string(), "place": pa.int64()})
Counts = Counter[str]


@dataclass(frozen=True)
class Stored:
    """Pairs on disk, and what was counted when they were made."""

    reader: Reader
    rows: Dataset
    counts: Counts
    fingerprint: str

    def table(self, name: str, start: int = 0, stop: int | None = None) -> Table:
        """The pairs from `start` to `stop` as a table that names each by file and line."""
        part = self.rows if stop is None else self.rows.select(range(start, stop))
        mark = self.fingerprint if stop is None else digest([self.fingerprint, start, stop], 16)
        places = part.select_columns("place")

        def where(row: int) -> str:
            return self.reader.where(places[row]["place"])

        return Table(name, part.select_columns(["source", "target"]), mark, where)


def store(reader: Reader, key: object, make: Callable[[Counts], Iterable[Pairs]]) -> Stored:
    """The pairs that `make` gives, while it counts; made once for each content, `key` and machine."""
    mark = digest([FORMAT, reader.fingerprint, key], 24)
    folder = Path(datasets_config.HF_DATASETS_CACHE) / "forge-parallel"
    cache, about = folder / f"{mark}.arrow", folder / f"{mark}.json"
    if not (cache.is_file() and about.is_file()):
        with storage_errors(f"writing pairs into {folder}"):
            folder.mkdir(parents=True, exist_ok=True)
            _write(cache, about, reader, make)
    kept = read_json(about)
    reader.notices[:] = kept["notices"]
    return Stored(reader, Dataset.from_file(str(cache)), Counter(kept["counts"]), mark[:16])


def _write(cache: Path, about: Path, reader: Reader, make: Callable[[Counts], Iterable[Pairs]]) -> None:
    """The counts go first: where there are pairs there are counts."""
    counts: Counts = Counter()
    temporary = cache.with_suffix(f".{os.getpid()}.tmp")
    try:
        with pa.OSFile(str(temporary), "wb") as file, pa.ipc.new_stream(file, SCHEMA) as stream:
            for pairs in make(counts):
                if pairs:
                    stream.write_batch(pa.record_batch([pairs.source, pairs.target, pairs.place], schema=SCHEMA))
        write_json(about, {"counts": counts, "notices": reader.notices}, durable=False)
        temporary.replace(cache)
    finally:
        temporary.unlink(missing_ok=True)
