"""What a teacher wrote for every training text, kept as text: a directory of JSON lines, a file for 1,024 examples.

A file is whole or absent; its first line says what it belongs to and holds the sha256 of the rest, and one that fails
the check is made again. Processes share the files out, and two runs that fill the same directory do no harm: what they
write is the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from forge.core.hashing import digest
from forge.core.io import storage_errors, write_atomic, write_json

SHARD_SIZE = 1024  # examples
IDENTITY_FILE = "identity.json"

Texts = list[str | None]
"""What a search kept of one example, best first; None where it did not come to an end."""


class TextCache:
    """The texts of one teacher for `examples` examples; `identity` says what determines them."""

    def __init__(self, root: Path, identity: Mapping[str, str | int], examples: int) -> None:
        self.identity = dict(identity) | {"examples": examples, "examples_per_shard": SHARD_SIZE}
        self.digest = digest(self.identity)
        self.folder = root / f"texts-{self.digest[:12]}"
        self.examples = examples

    def fill(
        self,
        write: Callable[[Sequence[int]], list[Texts]],
        say: Callable[[int, int], None],
        process: int = 0,
        processes: int = 1,
    ) -> None:
        """Let `write(ids)` make the texts that are missing, this process its share; `say(done, total)` of its own."""
        mine = [shard for shard in self._shards() if shard % processes == process and self._read(shard) is None]
        if not mine:
            return
        with storage_errors(f"keeping the teacher's texts in {self.folder}"):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / IDENTITY_FILE, self.identity)
        total = sum(len(self._ids(shard)) for shard in mine)
        done = 0
        for shard in mine:
            texts = write(self._ids(shard))
            with storage_errors(f"keeping the teacher's texts in {self.folder}"):
                self._save(shard, texts)
            done += len(texts)
            say(done, total)

    def read(self) -> list[Texts] | None:
        """The texts of all examples in order, or None where a file is missing or damaged."""
        found: list[Texts] = []
        for shard in self._shards():
            texts = self._read(shard)
            if texts is None:
                return None
            found += texts
        return found

    def _shards(self) -> range:
        return range(-(-self.examples // SHARD_SIZE))

    def _ids(self, shard: int) -> range:
        return range(shard * SHARD_SIZE, min((shard + 1) * SHARD_SIZE, self.examples))

    def _path(self, shard: int) -> Path:
        return self.folder / f"{shard:05d}.jsonl"

    def _save(self, shard: int, texts: Sequence[Texts]) -> None:
        lines = [json.dumps(kept, ensure_ascii=False) for kept in texts]
        body = "\n".join(lines) + "\n"
        header = {"identity": self.digest, "first": self._ids(shard)[0], "sha256": _sha256(body)}
        write_atomic(self._path(shard), f"{json.dumps(header)}\n{body}")

    def _read(self, shard: int) -> list[Texts] | None:
        try:
            header, _, body = self._path(shard).read_text(encoding="utf-8").partition("\n")
            about = json.loads(header)
            expected = {"identity": self.digest, "first": self._ids(shard)[0], "sha256": _sha256(body)}
            return [json.loads(line) for line in body.removesuffix("\n").split("\n")] if about == expected else None
        except (OSError, ValueError):
            return None


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
