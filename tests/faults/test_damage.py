"""Every file of a real checkpoint, damaged in every way: found, named, and passed over for the checkpoint before it.

FORGE_FULL=1 flips 300 bits of each file in place of 20.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

from support import forge, only_run, write_config

from forge.core.manifest import verify
from forge.train.checkpoint import CheckpointStore

FLIPS = 300 if os.environ.get("FORGE_FULL") else 20
TRUNCATIONS = 10
DISTILLED = {
    "alpha": 0.5,
    "teacher": {"name": "embedded/tiny-bert"},
    "distill": {"hidden_mse": {"weight": 1.0}, "cache": {"mode": "off"}},
    "data": {"test": None},
    "train": {"max_steps": 4},
    "evaluate": {"every": 2, "max_examples": 16},
}


def damages(content: bytes, rng: random.Random) -> Iterator[bytes | None]:
    """None for a missing file."""
    yield None
    yield b""
    for _ in range(TRUNCATIONS):
        yield content[: rng.randrange(len(content))]
    for _ in range(FLIPS):
        flipped = bytearray(content)
        flipped[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        yield bytes(flipped)


def test_no_damage_goes_unseen(tmp_path: Path) -> None:
    assert forge("--config", write_config(tmp_path, DISTILLED)) == 0
    run = only_run(tmp_path)
    newest, before = run / "checkpoint-4", run / "checkpoint-2"
    assert not verify(newest)
    store, rng, tried = CheckpointStore(run, keep=2), random.Random(5), 0
    files = sorted(path for path in newest.rglob("*") if path.is_file())
    names = {path.name for path in files}
    assert {"manifest.json", "extra.safetensors", "optimizer.safetensors", "model.safetensors"} <= names
    for path in files:
        content = path.read_bytes()
        for damaged in damages(content, rng):
            path.unlink()
            if damaged is not None:
                path.write_bytes(damaged)
            assert path.name in verify(newest), f"{path.name}: {len(damaged or b'')} of {len(content)} bytes"
            path.write_bytes(content)
            tried += 1
        path.write_bytes(content[:-1])  # once a file the whole way
        found = store.newest_good()
        assert found.path == before
        assert path.name in found.skipped[0]
        path.write_bytes(content)
    assert not verify(newest)
    print(f"{tried} damages of {len(files)} files, all found and named")


def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(tmp_path: Path) -> None:
    config = write_config(tmp_path, DISTILLED)
    assert forge("--config", config) == 0
    run = only_run(tmp_path)
    whole = (run / "checkpoint-4" / "model.safetensors").read_bytes()
    (run / "training_state.json").unlink()
    (run / "checkpoint-4" / "extra.safetensors").write_bytes(b"")
    assert forge("--config", config) == 0
    assert (
        "checkpoint-4 is damaged and was passed over: extra.safetensors has 0 bytes" in (run / "output.log").read_text()
    )
    assert (run / "checkpoint-4" / "model.safetensors").read_bytes() == whole
    assert not verify(run / "checkpoint-4")
