"""A reward of the user's own: `file.py:function`, a function from samples to values."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from forge.core.errors import UserError
from forge.core.hashing import file_sha256
from forge.tasks.rewards.base import Sample, Values


@dataclass(frozen=True)
class Plugin:
    """The function, and what it was: its file is code that runs with the user's rights, so a run shows it."""

    path: Path
    function: str
    sha256: str
    call: Callable[[Sequence[Sample]], Values]

    def __call__(self, samples: Sequence[Sample]) -> Values:
        """What the function says; `score` checks it."""
        return self.call(samples)

    def __str__(self) -> str:
        return f"{self.path}:{self.function} (sha256 {self.sha256[:12]})"


def load_plugin(named: str, root: Path) -> Plugin:
    """Import `file.py:function`; a relative path is seen from `root`. Raises UserError of one line."""
    file, _, function = named.rpartition(":")
    if not file or not function.isidentifier():
        raise UserError(f"plugin: '{named}' is not of the form file.py:function")
    path = Path(file).expanduser()
    path = path if path.is_absolute() else root / path
    if not path.is_file():
        raise UserError(f"plugin: there is no file {path}")
    sha256 = file_sha256(path)
    spec = importlib.util.spec_from_file_location(f"forge_plugin_{sha256[:12]}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"plugin: {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        where = f":{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        what = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())
        raise UserError(f"plugin: {path}{where} cannot be loaded: {type(error).__name__}: {what}") from error
    found = getattr(module, function, None)
    if found is None:
        raise UserError(f"plugin: {path} has no function '{function}'")
    if not callable(found):
        raise UserError(f"plugin: '{function}' of {path} is no function")
    return Plugin(path, function, sha256, found)
