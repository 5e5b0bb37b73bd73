"""`prepare`: bring everything a configuration names onto this machine, and say what and how large."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from forge.config import ResolvedConfig
from forge.config.schema.parallel import two_files
from forge.core.assets import Asset, Wanted, locate
from forge.preflight import wanted_data, wanted_models, wanted_teacher
from forge.runs.run_dir import megabytes


def prepare(resolved: ResolvedConfig) -> Iterator[str]:
    """Fetch model and data as a long run would find them; a line for each. Raises UserError without network."""
    settings = resolved.settings
    policy = "hub" if settings.assets == "auto" else settings.assets
    teachers = [wanted_teacher(settings.teacher)] if settings.alpha > 0 else []
    for wanted in [*wanted_models(settings.model), *teachers]:
        yield _line(locate(wanted, policy, smoke=False), wanted)
    if settings.data.name:
        yield _line(locate(wanted_data(settings.data), policy, smoke=False), wanted_data(settings.data))
        return
    for _, reference in settings.data.references():
        for file in two_files(reference) or [reference]:
            yield _file_line(Path(file).expanduser())


def _line(asset: Asset, wanted: Wanted) -> str:
    if asset.source == "embedded":
        return f"{wanted.kind}: {asset.location} is embedded, nothing to fetch"
    files = [path for path in Path(asset.location).rglob("*") if path.is_file()]
    size = megabytes(sum(path.stat().st_size for path in files))
    done = "fetched" if asset.source == "hub" else "already here"
    mark = f" at revision {asset.revision}" if asset.revision else ""
    return f"{wanted.kind}: {asset.asked} {done}: {len(files)} files, {size}, in {asset.location}{mark}"


def _file_line(path: Path) -> str:
    from forge.core.errors import UserError

    if not path.is_file():
        raise UserError(f"no such file: {path} (looked at {path.absolute()})")
    return f"dataset: {path} is a local file, {megabytes(path.stat().st_size)}"
