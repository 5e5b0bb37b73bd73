"""A checkpoint's manifest: the size and sha256 of every file, written last, so that damage never loads silently."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath
from typing import Any

from forge.core.hashing import digest, file_sha256
from forge.core.io import fsync_file, read_json, to_json

MANIFEST = "manifest.json"
OPTIMIZER_FILE = "optimizer.safetensors"
EXTRA_FILE = "extra.safetensors"  # what an objective trains along with the model
ADAPTER_FILE = "adapter.safetensors"  # low-rank adapters and what they were merged into; the weights hold both
MEMORY_FILE = "objective.safetensors"  # what an objective remembers from step to step: samples, for one
STATE_FILE = "trainer_state.json"
WEIGHTS_FILE = "model.safetensors"
DIGEST = "manifest_sha256"  # of the manifest without it
AT_ONCE = 3  # files: weights, optimizer, and the small ones
CARD_FILE = "README.md"
TOKENIZER_LIST = "tokenizer_files.json"
RESUME_ONLY = frozenset({MANIFEST, ADAPTER_FILE, EXTRA_FILE, MEMORY_FILE, OPTIMIZER_FILE, STATE_FILE, TOKENIZER_LIST})
"""What using the model does not need."""
CHECKPOINT = re.compile(r"checkpoint-(\d+)")
AVERAGE = "checkpoint-average"  # weights alone: nothing continues from it


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
    """What is wrong with a checkpoint, or an empty text: every file must have its recorded size and sha256.

    A file that the manifest does not name counts as damage, since libraries load files by their names alone.
    """
    path = folder / MANIFEST
    try:
        manifest = read_json(path)
        own = manifest.pop(DIGEST)
        if digest(manifest) != own or to_json(manifest | {DIGEST: own}).encode() != path.read_bytes():
            return f"{MANIFEST} has changed (its own sha256 differs)"
        if not manifest["files"]:
            return f"{MANIFEST} names no files"
        if _leads_out(path, folder):
            return f"{MANIFEST} is a link to a file outside the checkpoint"
        return _first_damage(folder, manifest["files"]) or _first_added(folder, manifest["files"])
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    except ValueError as error:
        return f"{MANIFEST} cannot be read: {error}"
    except (KeyError, TypeError, AttributeError, OSError):
        return f"{MANIFEST} cannot be read"


def sealed_files(folder: Path) -> list[str]:
    """The files of a verified checkpoint; what stands beside them is somebody else's."""
    return sorted(read_json(folder / MANIFEST)["files"])


def checkpoint_names(state: Mapping[str, Any]) -> dict[str, str | None]:
    """The `best` (the run's result) and the `last` checkpoint in its state. Raises ValueError for what names none."""
    try:
        best = f"checkpoint-{state['best']['step']}" if state.get("best") else None
        last = state.get("checkpoint")
        if all(name is None or CHECKPOINT.fullmatch(name) for name in (best, last)):
            return {"best": AVERAGE if average_of(state).get("chosen") is True else best, "last": last}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("it does not say which checkpoints there are") from error
    raise ValueError(f"it names {best} and {last!r}, which no checkpoint is called")


def average_of(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a run's state says of the average of its checkpoints; empty where none was asked for."""
    found = state.get("average")
    return found if isinstance(found, Mapping) else {}


def _first_damage(folder: Path, files: dict[str, Any]) -> str:
    for name, expected in files.items():
        path = folder / name
        parts = PurePath(name).parts
        if not parts or PurePath(name).is_absolute() or ".." in parts:
            return f"{MANIFEST} names {name!r}, which is not in the checkpoint"
        if not path.is_file():
            return f"{name} is missing"
        if _leads_out(path, folder):
            return f"{name} is a link to a file outside the checkpoint"
        if path.stat().st_size != expected["size"]:
            return f"{name} has {path.stat().st_size} bytes, not {expected['size']}"
        if file_sha256(path) != expected["sha256"]:
            return f"{name} has changed (sha256 differs)"
    return ""


def _first_added(folder: Path, files: Container[str]) -> str:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        is_folder = path.is_dir() and not path.is_symlink()
        if not (is_folder or name in files or name == MANIFEST or _is_harmless(name)):
            return f"{name} was added after the checkpoint was written; move it elsewhere"
    return ""


def _is_harmless(name: str) -> bool:
    """Hidden files, as editors and file systems leave them, and a model card: no library loads them of its own."""
    return name == CARD_FILE or any(part.startswith(".") for part in PurePath(name).parts)


def _leads_out(path: Path, folder: Path) -> bool:
    return not path.resolve().is_relative_to(folder.resolve())


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
