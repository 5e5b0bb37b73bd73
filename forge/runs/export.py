"""Turn a run's result into a folder to share, and push it to the hub when told to."""

from __future__ import annotations

import shutil
from pathlib import Path

from forge.core.errors import CheckpointError, UserError
from forge.core.io import storage_errors
from forge.core.manifest import RESUME_ONLY, sealed_files, verify
from forge.runs.card import model_card
from forge.runs.run_dir import RunDirectory


def export(run: RunDirectory, out: Path, which: str = "best") -> list[Path]:
    """Copy the model files of a verified checkpoint to `out` and write a model card; returns what was written."""
    checkpoint = run.checkpoint(which)
    if damage := verify(checkpoint):
        raise CheckpointError(f"{checkpoint}  is damaged: {damage}; try --checkpoint last, or an earlier step")
    refuse_in_use(out, checkpoint)
    with storage_errors(f"exporting to {out}"):
        out.mkdir(parents=True, exist_ok=True)
        for file in sealed_files(checkpoint):
            if file not in RESUME_ONLY:
                (out / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(checkpoint / file, out / file)
        name = run.metadata()["name"].replace("/", "-")
        card = model_card(name, run.metadata(), run.state(), checkpoint.name)
        (out / "README.md").write_text(card, encoding="utf-8")
    return sorted(out.iterdir())


def refuse_in_use(out: Path, checkpoint: Path) -> None:
    """Raises UserError where `out` is not a directory that is new or empty, outside the checkpoint."""
    if out.resolve().is_relative_to(checkpoint.resolve()):
        raise UserError(f"--out: {out} is inside the checkpoint, which nothing may be added to; give another directory")
    if out.exists() and not out.is_dir():
        raise UserError(f"--out: {out} is a file; give a new directory")
    if out.exists() and any(out.iterdir()):
        raise UserError(f"--out: {out} is not empty; give a new directory")


def push(folder: Path, repository: str, private: bool) -> str:
    """Upload an exported folder; returns its address. Uses the login that `hf auth login` stored."""
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        return str(api.upload_folder(repo_id=repository, folder_path=folder))
    except Exception as error:  # network, login and permission errors all end here
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"--push: cannot upload to {repository}: {reason}; the export is in {folder}") from error
