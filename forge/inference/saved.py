"""The settings that a run was trained with, as this version of Forge reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from forge.config.origins import start_of
from forge.config.problems import describe_errors
from forge.config.schema import Model, Settings
from forge.config.tree import Node
from forge.core.errors import UserError
from forge.core.version import VERSION
from forge.runs.run_dir import METADATA, RunDirectory


def settings_of(run: RunDirectory) -> Settings:
    """Raises UserError that names the run, the setting, and what to do, for a run of another version."""
    facts = run.metadata()
    try:
        return Settings.model_validate(facts["config"])
    except KeyError:
        raise UserError(f"{run.path / METADATA}  holds no settings (config); train the run again") from None
    except ValidationError as error:
        told = _first(error, facts["config"], run.path / METADATA)
    made_by = _version(facts)
    look = f"take forge {made_by}, which trained it," if made_by != VERSION else f"put {METADATA} back,"
    raise UserError(f"{run.path}  has settings that forge {VERSION} does not take: {told}; {look} or train it again")


def model_in(folder: Path, settings: Settings) -> Model:
    """A checkpoint as the model to load, with as much trust as the run's own model was given."""
    trusted = {name: getattr(settings.model, name) for name in ("trust_remote_code", "revision")}
    return Model(name=str(folder), **trusted)


def _first(error: ValidationError, config: Any, file: Path) -> str:
    """The first problem, in the words that a configuration's would have, and how many more there are."""
    problems = describe_errors(error, _tree(config, file), file)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{problems[0].message}{more}"


def _version(facts: dict[str, Any]) -> str:
    versions = facts.get("versions")
    return str(versions.get("forge", "of that time")) if isinstance(versions, dict) else "of that time"


def _tree(value: Any, file: Path) -> Node:
    """JSON as the tree that a file of settings would have given."""
    origin = start_of(file)
    if isinstance(value, dict):
        return Node({key: _tree(each, file) for key, each in value.items()}, origin)
    if isinstance(value, list):
        return Node(tuple(_tree(each, file) for each in value), origin)
    return Node(value, origin)
