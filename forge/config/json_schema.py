"""The schema for editors: completion and checks while a configuration is typed."""

from __future__ import annotations

from typing import Any

from forge.config.schema import Settings

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """JSON Schema of one file. Nothing is required, because a file may inherit what it does not say."""
    schema = Settings.model_json_schema()
    for part in [schema, *schema.get("$defs", {}).values()]:
        part.pop("required", None)
    path = {"type": "string", "minLength": 1}
    extends = {
        "description": "Configurations to start from, relative to this file; later ones win, this file wins over all.",
        "anyOf": [path, {"type": "array", "items": path}],
    }
    schema["properties"] = {"extends": extends, **schema["properties"]}
    return {"$schema": DIALECT, **schema, "title": "Forge configuration"}
