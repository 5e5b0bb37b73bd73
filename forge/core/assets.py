"""Where a model or a data set comes from: this disk, the hub's cache, the hub, or an embedded stand-in.

Everything that is found ends up as a local directory (or an embedded name), so what is trained from a download
and what is trained from a copied folder run through the same code. Nothing here imports torch.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from forge.core.errors import UserError

Kind = Literal["model", "dataset"]
Policy = Literal["auto", "hub", "local", "embedded"]

EMBEDDED_PREFIX = "embedded/"
SMOKE_STEPS = 100  # a run of at most so many steps only shows that everything works
HUB_TIMEOUT_S = 10.0
MODEL_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]


@dataclass(frozen=True)
class Asset:
    """A model or data set that was found. `location` is a directory, or an embedded name."""

    asked: str
    source: Literal["path", "cache", "hub", "embedded"]
    location: str
    revision: str = ""
    stand_in: bool = False

    def describe(self) -> str:
        """One phrase for the run's header."""
        if self.stand_in:
            return f"{self.location}, standing in for {self.asked}"
        return (
            self.asked if self.source in {"path", "embedded"} else f"{self.asked} ({self.source}, {self.revision[:8]})"
        )


@dataclass(frozen=True)
class Wanted:
    """What the configuration asks for."""

    kind: Kind
    name: str
    revision: str | None = None
    stand_in: str | None = None
    patterns: Sequence[str] = ()

    @property
    def key(self) -> str:
        """The configuration key that named it, for messages."""
        return "model.name" if self.kind == "model" else "data.name"


class _HubUnreachableError(Exception):
    """The network or the hub does not answer."""


def locate(wanted: Wanted, policy: Policy, smoke: bool) -> Asset:
    """Find what is wanted under `policy`; raise UserError with what to do when it cannot be had."""
    if wanted.name.startswith(EMBEDDED_PREFIX):
        return Asset(wanted.name, "embedded", wanted.name)
    if policy == "embedded":
        return _stand_in(wanted, "assets is 'embedded'")
    path = Path(wanted.name).expanduser()
    if path.is_dir():
        return Asset(wanted.name, "path", str(_best_of_run(path)))
    if path.exists():
        raise UserError(f"{wanted.key}: {wanted.name} is a file; a {wanted.kind} is a directory in hub format")
    if _looks_like_path(wanted.name):
        raise UserError(f"{wanted.key}: no directory {wanted.name} (looked at {path.absolute()})")
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
    try:
        folder = snapshot_download(
            wanted.name, repo_type=wanted.kind, revision=info.sha, allow_patterns=list(_patterns(wanted, info.sha))
        )
    except OSError as error:
        raise _HubUnreachableError(_reason(error)) from error
    return Asset(wanted.name, "hub", folder, info.sha)


def _best_of_run(path: Path) -> Path:
    """A Forge run stands for its best checkpoint; any other directory for itself."""
    state_file = path / "training_state.json"
    if not state_file.is_file():
        return path
    state = json.loads(state_file.read_text(encoding="utf-8"))
    best = state.get("best")
    name = f"checkpoint-{best['step']}" if best else state.get("checkpoint")
    if not name or not (path / name).is_dir():
        raise UserError(f"model.name: the run {path} has no checkpoint yet")
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
    from huggingface_hub.errors import EntryNotFoundError

    try:
        card = hf_hub_download(wanted.name, "README.md", repo_type="dataset", revision=revision)
    except EntryNotFoundError:
        return ["*"]
    return data_file_patterns(Path(card).read_text(encoding="utf-8"), wanted.patterns)


def data_file_patterns(card: str, subsets: Sequence[str]) -> list[str]:
    """Files of a hub data set that hold `subsets`, read from its card; everything where the card does not say."""
    import yaml

    parts = card.split("---")
    front = yaml.safe_load(parts[1]) if card.startswith("---") and len(parts) > 2 else None
    configs: list[dict[str, Any]] = front.get("configs", []) if isinstance(front, dict) else []
    found = ["README.md"]
    for config in configs:
        if subsets and config.get("config_name") not in subsets:
            continue
        files = config.get("data_files", [])
        entries = files if isinstance(files, list) else [files]
        for entry in entries:
            paths = entry.get("path", []) if isinstance(entry, dict) else entry
            found.extend([paths] if isinstance(paths, str) else paths)
    return found if len(found) > 1 else ["*"]


def _from_cache(wanted: Wanted) -> Asset | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(
            snapshot_download(wanted.name, repo_type=wanted.kind, revision=wanted.revision, local_files_only=True)
        )
    except (LocalEntryNotFoundError, ValueError, OSError):
        return None
    wants = "*.safetensors" if wanted.kind == "model" else "**/*.*"
    has_content = any(path.name != "README.md" for path in folder.glob(wants))
    return Asset(wanted.name, "cache", str(folder), folder.name) if has_content else None


def _ask_hub(wanted: Wanted) -> Any:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

    if os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"}:
        raise _HubUnreachableError("HF_HUB_OFFLINE is set")
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries are not news, the outcome is
    try:
        return HfApi().repo_info(wanted.name, repo_type=wanted.kind, revision=wanted.revision, timeout=HUB_TIMEOUT_S)
    except RepositoryNotFoundError as error:
        raise UserError(
            f"{wanted.key}: the hub has no {wanted.kind} {wanted.name}, or it is private; for a local one give its path"
        ) from error
    except OfflineModeIsEnabled as error:
        raise _HubUnreachableError("offline mode is set") from error
    except HfHubHTTPError as error:
        raise _HubUnreachableError(_reason(error)) from error
    except Exception as error:  # the HTTP library's own errors differ from version to version
        if type(error).__module__.split(".")[0] in {"httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3"}:
            raise _HubUnreachableError("no network") from error
        if isinstance(error, OSError):
            raise _HubUnreachableError(_reason(error)) from error
        raise


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:120] if lines else type(error).__name__
