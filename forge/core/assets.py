"""Where a model or a data set comes from: this disk, the hub's cache, the hub, or an embedded stand-in.

Everything that is found ends up as a local directory (or an embedded name), so what is trained from a download
and what is trained from a copied folder run through the same code. Nothing here imports torch.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

from forge.core.errors import CheckpointError, UserError
from forge.core.io import read_json, storage_errors
from forge.core.manifest import AVERAGE, MANIFEST, OPTIMIZER_FILE, checkpoint_names, verify

Kind = Literal["model", "dataset"]
Policy = Literal["auto", "hub", "local", "embedded"]

EMBEDDED_PREFIX = "embedded/"
BUILT_PREFIX = "built/"  # a model that is made from nothing, in the shape that the configuration gives
SMOKE_STEPS = 100  # a run of at most so many steps only shows that everything works
HUB_TIMEOUT_S = 10.0
MODEL_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*.py"]
NOT_MODEL_FILES = ["*/*"]  # other formats of the same model live in folders of its repository
HTTP_LIBRARIES = {"httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3"}
FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)^---[ \t]*$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Asset:
    """A model or data set that was found. `location` is a directory, or an embedded or built name."""

    asked: str
    source: Literal["path", "cache", "hub", "embedded", "built"]
    location: str
    revision: str = ""
    stand_in: bool = False

    def describe(self) -> str:
        """One phrase for the run's header."""
        if self.stand_in:
            return f"{self.location}, standing in for {self.asked}"
        return (
            self.asked
            if self.source in {"path", "embedded", "built"}
            else f"{self.asked} ({self.source}, {self.revision[:8]})"
        )


@dataclass(frozen=True)
class Wanted:
    """What the configuration asks for."""

    kind: Kind
    name: str
    revision: str | None = None
    stand_in: str | None = None
    patterns: Sequence[str] = ()
    asked_by: str = ""

    @property
    def key(self) -> str:
        """The configuration key that named it, for messages."""
        return self.asked_by or ("model.name" if self.kind == "model" else "data.name")


class _HubUnreachableError(Exception):
    """The network or the hub does not answer."""


def locate(wanted: Wanted, policy: Policy, smoke: bool) -> Asset:
    """Find what is wanted under `policy`; raise UserError with what to do when it cannot be had."""
    if wanted.name.startswith(EMBEDDED_PREFIX):
        return Asset(wanted.name, "embedded", wanted.name)
    if wanted.kind == "model" and wanted.name.startswith(BUILT_PREFIX):
        return Asset(wanted.name, "built", wanted.name)
    if policy == "embedded":
        return _stand_in(wanted, "assets is 'embedded'")
    path = Path(wanted.name).expanduser()
    if path.is_dir():
        return Asset(wanted.name, "path", str(_usable(path, wanted.key)))
    if path.exists():
        raise UserError(f"{wanted.key}: {wanted.name} is a file; a {wanted.kind} is a directory in hub format")
    if _looks_like_path(wanted.name):
        first = "; train the teacher first, or name another" if wanted.key == "teacher.name" else ""
        raise UserError(f"{wanted.key}: no directory {wanted.name} (looked at {path.absolute()}){first}")
    if cached := _from_cache(wanted):
        return cached
    prepare = "run `forge.py prepare --config …` where there is network, or give a local path"
    if policy == "local":
        raise UserError(f"{wanted.key}: {wanted.name} is not on this machine and assets is 'local'; {prepare}")
    try:
        return fetch(wanted)
    except _HubUnreachableError as error:
        if policy == "auto" and smoke and wanted.stand_in:
            return _stand_in(wanted, str(error))
        raise UserError(
            f"{wanted.key}: {wanted.name} is neither on this disk nor to be had from the hub ({error}); {prepare}"
        ) from error


def fetch(wanted: Wanted) -> Asset:
    """Download from the hub into its cache and return the snapshot's directory."""
    from huggingface_hub import snapshot_download

    info = _ask_hub(wanted)
    with _hub_errors(wanted), storage_errors(f"fetching {wanted.name}"):
        # By its own name, not by the commit's: only so does the cache learn which commit that name stands for,
        # and finds it again without network.
        folder = snapshot_download(
            wanted.name,
            repo_type=wanted.kind,
            revision=wanted.revision,
            allow_patterns=list(_patterns(wanted, info.sha)),
            ignore_patterns=_unwanted(wanted),
        )
    return Asset(wanted.name, "hub", folder, Path(folder).name)


def _usable(path: Path, key: str) -> Path:
    """A Forge run stands for its result; any other directory for itself. A damaged checkpoint is refused."""
    folder = _best_of_run(path, key) if (path / "training_state.json").is_file() else path
    named = folder.name == AVERAGE or (folder / OPTIMIZER_FILE).is_file()  # a manifest alone may be anybody's
    is_checkpoint = named and (folder / MANIFEST).is_file()
    if is_checkpoint and (damage := verify(folder)):
        raise CheckpointError(f"{key}: {folder} is damaged: {damage}")
    return folder


def _best_of_run(path: Path, key: str) -> Path:
    try:
        names = checkpoint_names(read_json(path / "training_state.json"))
        name = names["best"] or names["last"]
    except (OSError, ValueError) as error:
        raise UserError(
            f"{key}: {path / 'training_state.json'} cannot be read; name a checkpoint of the run"
        ) from error
    if not name or not (path / name).is_dir():
        raise UserError(f"{key}: the run {path} has no checkpoint yet")
    return path / name


def _stand_in(wanted: Wanted, why: str) -> Asset:
    if not wanted.stand_in:
        section = wanted.key.split(".", maxsplit=1)[0]
        raise UserError(f"{wanted.key}: {wanted.name} has no embedded stand-in ({why}); set {section}.stand_in")
    return Asset(wanted.name, "embedded", wanted.stand_in, stand_in=True)


def _looks_like_path(name: str) -> bool:
    return name.startswith(("/", "./", "../", "~")) or name.count("/") > 1 or name.endswith("/")


def _patterns(wanted: Wanted, revision: str | None) -> Sequence[str]:
    if wanted.kind == "model":
        return MODEL_FILES
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        card = hf_hub_download(wanted.name, "README.md", repo_type="dataset", revision=revision)
    except LocalEntryNotFoundError:  # not a missing card but a missing network
        raise
    except EntryNotFoundError:
        return ["*"]
    return data_file_patterns(Path(card).read_text(encoding="utf-8"), wanted.patterns)


def _unwanted(wanted: Wanted) -> list[str] | None:
    return NOT_MODEL_FILES if wanted.kind == "model" else None


def data_file_patterns(card: str, subsets: Sequence[str]) -> list[str]:
    """Files of a hub data set that hold `subsets`, read from its card; everything where the card does not say."""
    import yaml

    block = FRONT_MATTER.match(card.lstrip("\ufeff").replace("\r\n", "\n"))
    try:
        front = yaml.safe_load(block.group(1)) if block else None
    except yaml.YAMLError:
        front = None
    configs = front.get("configs") if isinstance(front, dict) else None
    found = ["README.md"]
    for config in configs if isinstance(configs, list) else []:
        if isinstance(config, dict) and (not subsets or config.get("config_name") in subsets):
            folder = str(config.get("data_dir") or "").strip("/")
            paths = list(_paths(config.get("data_files")))
            found += [f"{folder}/{path}" if folder else path for path in paths or (["*"] if folder else [])]
    return found if len(found) > 1 else ["*"]


def _paths(files: Any) -> Iterator[str]:
    """The paths in any form that `data_files` of a card takes: a path, a list, {split: path}, [{split:, path:}]."""
    if isinstance(files, str):
        if "://" not in files:  # those elsewhere are no part of the repository
            yield files.removeprefix("./").replace("**/", "*")  # the hub's filter lets * stand for folders too
    elif isinstance(files, list):
        for entry in files:
            yield from _paths(entry)
    elif isinstance(files, dict):
        for value in [files["path"]] if "path" in files else files.values():
            yield from _paths(value)


def _from_cache(wanted: Wanted) -> Asset | None:
    if wanted.kind == "model":
        folder = _cached_snapshot(wanted, MODEL_FILES)
        has_content = folder and any(folder.glob("*.safetensors"))
    else:
        folder = _cached_snapshot(wanted, ["README.md"])
        card = folder / "README.md" if folder else None
        patterns = data_file_patterns(card.read_text("utf-8"), wanted.patterns) if card and card.is_file() else ["*"]
        folder = folder and _cached_snapshot(wanted, patterns)
        has_content = folder and _has_each(folder, patterns)
    return Asset(wanted.name, "cache", str(folder), folder.name) if folder and has_content else None


def _cached_snapshot(wanted: Wanted, patterns: Sequence[str]) -> Path | None:
    """The cache's folder of what is wanted; None where there is none, or one that a download left incomplete."""
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            wanted.name,
            repo_type=wanted.kind,
            revision=wanted.revision,
            allow_patterns=list(patterns),
            ignore_patterns=_unwanted(wanted),
            local_files_only=True,
        )
    except (ValueError, OSError):
        return None
    return Path(folder)


def _has_each(folder: Path, patterns: Sequence[str]) -> bool:
    """Whether the folder holds at least one data file for each pattern."""
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    data = [name for name in files if name not in {"README.md", ".gitattributes"}]
    return all(any(fnmatch(name, pattern) for name in data) for pattern in patterns if pattern != "README.md")


def _ask_hub(wanted: Wanted) -> Any:
    from huggingface_hub import HfApi

    if os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"}:
        raise _HubUnreachableError("HF_HUB_OFFLINE is set")
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries are not news, the outcome is
    with _hub_errors(wanted):
        return HfApi().repo_info(wanted.name, repo_type=wanted.kind, revision=wanted.revision, timeout=HUB_TIMEOUT_S)


@contextmanager
def _hub_errors(wanted: Wanted) -> Iterator[None]:
    """Tell what the person can mend (UserError) from a hub that does not answer (_HubUnreachableError)."""
    from huggingface_hub import errors

    try:
        yield
    except errors.HFValidationError as error:
        raise UserError(
            f"{wanted.key}: {wanted.name} is neither a directory nor a name that the hub could have"
        ) from error
    except errors.GatedRepoError as error:
        raise UserError(
            f"{wanted.key}: {wanted.name} asks for its terms to be accepted on its hub page, and for `hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        section = wanted.key.split(".", maxsplit=1)[0]
        raise UserError(f"{section}.revision: {wanted.name} has no revision {wanted.revision}") from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(
            f"{wanted.key}: the hub has no {wanted.kind} {wanted.name}, or it is private; for a local one give its path"
        ) from error
    except errors.OfflineModeIsEnabled as error:
        raise _HubUnreachableError("offline mode is set") from error
    except Exception as error:  # the HTTP library's own errors differ from version to version
        if type(error).__module__.split(".")[0] in HTTP_LIBRARIES:
            raise _HubUnreachableError("no network") from error
        if isinstance(error, OSError):
            raise _HubUnreachableError(_reason(error)) from error
        raise


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:120] if lines else type(error).__name__
