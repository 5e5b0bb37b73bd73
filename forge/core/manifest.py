"""A checkpoint's manifest: the size and sha256 of every file, written last, so that damage never loads silently."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from forge.core.hashing import digest, file_sha256
from forge.core.io import fsync_file, to_json

MANIFEST = "manifest.json"
OPTIMIZER_FILE = "optimizer.safetensors"
EXTRA_FILE = "extra.safetensors"  # what an objective trains along with the model
STATE_FILE = "trainer_state.json"
WEIGHTS_FILE = "model.safetensors"
DIGEST = "manifest_sha256"  # of the manifest without it
MOST_BYTES = 16 * 2**20
AT_ONCE = 3  # files: weights, optimizer, and the small ones
TOKENIZER_LIST = "tokenizer_files.json"
RESUME_ONLY = frozenset({MANIFEST, EXTRA_FILE, OPTIMIZER_FILE, STATE_FILE, TOKENIZER_LIST})
"""What using the model does not need."""


def seal(folder: Path, about: dict[str, Any]) -> None:
    """Force every file of `folder` onto the disk and write the manifest that names them, last."""
    readable = 0o666 & ~_umask()  # safetensors writes for the owner alone; a group shares its runs

    def settle(path: Path) -> dict[str, Any]:
        path.chmod(readable)
        fsync_file(path)
        return {"size": path.stat().st_size, "sha256": file_sha256(path)}

    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    with ThreadPoolExecutor(AT_ONCE) as pool:  # hashing and the disk both leave Python's lock alone
        files = dict(zip((str(path.relative_to(folder)) for path in paths), pool.map(settle, paths), strict=True))
    manifest = folder / MANIFEST
    record = about | {"files": files}
    manifest.write_text(to_json(record | {DIGEST: digest(record)}), encoding="utf-8")
    fsync_file(manifest)
    fsync_file(folder)


def verify(folder: Path) -> str:
    """What is wrong with a checkpoint, or an empty text: every file must have its recorded size and sha256."""
    try:
        if (folder / MANIFEST).stat().st_size > MOST_BYTES:
            return f"{MANIFEST} is too large to be one"
        text = (folder / MANIFEST).read_text(encoding="utf-8")
        manifest = json.loads(text)
        own = manifest.pop(DIGEST)
        if digest(manifest) != own or to_json(manifest | {DIGEST: own}) != text:
            return f"{MANIFEST} has changed (its own sha256 differs)"
        if not manifest["files"]:
            return f"{MANIFEST} names no files"
        for name, expected in manifest["files"].items():
            path = folder / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != expected["size"]:
                return f"{name} has {path.stat().st_size} bytes, not {expected['size']}"
            if file_sha256(path) != expected["sha256"]:
                return f"{name} has changed (sha256 differs)"
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        return f"{MANIFEST} cannot be read"
    return ""


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
