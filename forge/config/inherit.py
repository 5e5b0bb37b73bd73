"""`extends:` which files make up a configuration, parents first.

Files are laid over each other in the order of a depth-first walk: a file's parents from left to right, then the file.
A file reached twice (a diamond) counts once, at its first place, so the more special file still wins.
"""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from forge.config.interpolate import interpolate
from forge.config.origins import Origin, display_path
from forge.config.strict_yaml import load_file
from forge.config.tree import Node
from forge.config.wording import fail, quoted
from forge.core.errors import ConfigError, Problem

DEEPEST_CHAIN = 8
ROOT_NAME = "configs"


@dataclass(frozen=True)
class Layer:
    """One file's own settings, without `extends`."""

    file: Path
    node: Node


def entry_file(path: str | Path) -> Path:
    """The absolute path of the file a user named, which must be a file."""
    file = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would lose the name under which a link was given
    try:
        if file.is_file():
            return file
        kind = "is a directory, not a file" if file.is_dir() else "does not exist"
    except (OSError, ValueError):
        kind = "is not a usable path"
    near = difflib.get_close_matches(file.name, _yaml_names(file.parent), 1, 0.6)
    hint = f"did you mean {display_path(file.parent / near[0])}?" if near else ""
    raise ConfigError([Problem(f"configuration file {display_path(file)} {kind}", hint=hint)])


def configuration_root(entry: Path) -> Path:
    """The nearest directory above called `configs`, else the entry file's own."""
    return next((folder for folder in entry.parents if folder.name == ROOT_NAME), entry.parent)


def load_layers(entry: Path) -> tuple[Layer, ...]:
    """All files of a configuration, the weakest first."""
    walk = _Walk(Path(os.path.realpath(configuration_root(entry))))
    walk.visit(entry, ())
    if walk.problems:
        raise fail(walk.problems)
    return tuple(walk.layers)


@dataclass
class _Walk:
    root: Path
    layers: list[Layer] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    done: set[Path] = field(default_factory=set)

    def visit(self, file: Path, above: tuple[Path, ...]) -> None:
        """Adds the parents of a file, then the file."""
        try:
            node = load_file(file)
        except ConfigError as error:
            self.problems.extend(error.problems)
            return
        chain = (*above, file)
        for parent in self._parents(node, file, chain):
            real = Path(os.path.realpath(parent[0]))
            if self._may_visit(real, parent[1], chain):
                self.visit(real, chain)
        own = {key: child for key, child in (node.children or {}).items() if key != "extends"}
        self.layers.append(Layer(file, interpolate(replace(node, value=own), self.problems)))
        self.done.add(Path(os.path.realpath(file)))

    def _may_visit(self, real: Path, origin: Origin, chain: tuple[Path, ...]) -> bool:
        ahead = [Path(os.path.realpath(file)) for file in chain]
        if real in ahead:
            circle = " → ".join(display_path(file) for file in [*chain[ahead.index(real) :], chain[ahead.index(real)]])
            self.problems.append(Problem(f"extends goes in a circle: {circle}", origin.where))
        elif real not in self.done and len(chain) > DEEPEST_CHAIN:
            message = f"extends is more than {DEEPEST_CHAIN} levels deep{_through(chain)}"
            self.problems.append(Problem(message, origin.where))
        else:
            return real not in self.done
        return False

    def _parents(self, node: Node, file: Path, chain: tuple[Path, ...]) -> list[tuple[Path, Origin]]:
        extends = (node.children or {}).get("extends")
        if extends is None:
            return []
        found: list[tuple[Path, Origin]] = []
        for item in extends.items if extends.items is not None else (extends,):
            problem = self._wrong_parent(item, file, chain)
            if problem is None:
                found.append((file.parent / str(item.value), item.origin))
            else:
                self.problems.append(problem)
        return found

    def _wrong_parent(self, item: Node, file: Path, chain: tuple[Path, ...]) -> Problem | None:
        name, through, hint = item.value, _through(chain), ""
        if not isinstance(name, str) or not name.strip() or item.directive:
            message = "extends takes a path or a list of paths"
        elif re.match(r"[A-Za-z][A-Za-z0-9+.-]*:|[/\\~]", name):
            message, hint = f"extends: {quoted(name)} is absolute or remote", "write a path relative to this file"
        elif "${" in name:
            message = f"extends takes a plain path, nothing is filled in: {quoted(name)}"
        else:
            message, hint = self._unreachable(name, file.parent)
        return Problem(message + through, item.origin.where, hint) if message else None

    def _unreachable(self, name: str, folder: Path) -> tuple[str, str]:
        """Why a parent cannot be read and what may have been meant; empty if it can be."""
        try:
            real = Path(os.path.realpath(folder / name))
            exists = real.is_file()
        except (OSError, ValueError):
            return f"extends: {quoted(name)} is not a usable path", ""
        # Checked on the real path: neither `..` nor a symbolic link leads out.
        if not real.is_relative_to(self.root):
            return f"extends: {quoted(name)} leaves the configuration root {display_path(self.root)}", ""
        return ("", "") if exists else (f"extends: {quoted(name)} does not exist", self._near(name, folder))

    def _near(self, name: str, folder: Path) -> str:
        """A file of the same name further up, or one nearly of that name beside it."""
        wanted = Path(name)
        for up in folder.parents:
            if not up.is_relative_to(self.root):
                break
            if (up / wanted.name).is_file():
                return f"did you mean {quoted(os.path.relpath(up / wanted.name, folder))}?"
        beside = (folder / wanted).parent
        close = difflib.get_close_matches(wanted.name, _yaml_names(beside), 1, 0.5)
        return f"did you mean {quoted(str(wanted.parent / close[0]))}?" if close else ""


def _yaml_names(folder: Path) -> list[str]:
    try:
        return sorted(file.name for file in folder.iterdir() if file.suffix in {".yaml", ".yml"})
    except (OSError, ValueError):
        return []


def _through(chain: tuple[Path, ...]) -> str:
    return f" (read through {' → '.join(display_path(file) for file in chain)})"
