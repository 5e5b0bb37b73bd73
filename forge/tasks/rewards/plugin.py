"""A reward of the user's own: `file.py:function`, a function from samples to values."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from forge.core.errors import UserError
from forge.core.hashing import file_sha256
from forge.tasks.rewards.base import Sample, Values
from forge.tasks.rewards.score import score

TRIED = 4  # examples, before a run begins


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
    except (Exception, SystemExit) as error:  # a script that ends with sys.exit() would end the run
        where = f":{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        what = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())
        raise UserError(f"plugin: {path}{where} cannot be loaded: {type(error).__name__}: {what}") from error
    found = getattr(module, function, None)
    if found is None:
        raise UserError(f"plugin: {path} has no function '{function}'")
    if not callable(found):
        raise UserError(f"plugin: '{function}' of {path} is no function")
    return Plugin(path, function, sha256, found)


def try_plugin(plugin: Plugin, samples: Sequence[Sample]) -> None:
    """Ask it of some samples before a run begins. Raises UserError of one line where it is no reward.

    One that raises on some of them may still be good for others: `score` leaves those out, and says so.
    """
    name = f"{plugin.path}:{plugin.function}"
    try:
        failure = score(samples, {name: plugin}, {}).failures.get(name)
    except UserError as error:
        raise UserError(f"plugin: {str(error).removeprefix('reward ').replace(f'{name}:', name, 1)}") from error
    if samples and failure and failure.count == len(samples):
        many = f"all of {len(samples)} examples that it was tried on"
        raise UserError(f"plugin: {name} failed on {many}; it said first: {failure.first}")
