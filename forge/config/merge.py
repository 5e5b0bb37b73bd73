"""Lays one tree over another, and remembers who set what.

Maps merge deep; scalars and lists replace; null is a value. `!append` lengthens the inherited list, `!replace` takes a
map's place, `!unset` removes what is inherited.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from forge.config.origins import Origin
from forge.config.tree import Node, Path, leaves, plain
from forge.config.wording import got
from forge.core.errors import Problem


@dataclass(frozen=True)
class Setter:
    """One turn in a key's history: who set it, to what, or that it was removed there."""

    origin: Origin
    value: Any = None
    removed: bool = False


@dataclass
class Merger:
    """Takes layers from the weakest to the strongest."""

    history: dict[str, list[Setter]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def over(self, base: Node | None, top: Node) -> Node:
        """The map `top` laid over the map `base`."""
        return replace(top, value=self._maps((base.children or {}) if base else {}, top.children or {}, ()))

    def _maps(self, base: dict[str, Node], top: dict[str, Node], path: Path) -> dict[str, Node]:
        merged = dict(base)
        for key, node in top.items():
            value = self._value(base.get(key), node, (*path, key))
            if value is None:
                merged.pop(key, None)
            else:
                merged[key] = value
        return merged

    def _value(self, old: Node | None, new: Node, path: Path) -> Node | None:
        """What stands at `path` afterwards; None if nothing does."""
        if new.directive:
            return self._directed(old, new, path)
        if new.children is None:
            self._removed(old.children if old else None, path, new.origin)
            self._set(new, path)
            return new
        if old is not None and old.children is None:
            self._removed_leaf(path, new.origin)
        inherited = (old.children if old else None) or {}
        if not new.children and not inherited:
            self._set(new, path)
        return replace(new, value=self._maps(inherited, new.children, path))

    def _directed(self, old: Node | None, new: Node, path: Path) -> Node | None:
        dotted = ".".join(path)
        found = f"{dotted} is {got(plain(old))} there" if old else f"no parent sets {dotted}"
        bare = replace(new, directive="")
        if new.directive == "unset" and old is not None:
            self._removed({path[-1]: old}, path[:-1], new.origin)
            return None
        if new.directive == "append" and old is not None and old.items is not None:
            longer = replace(bare, value=(*old.items, *(new.items or ())))
            self._set(longer, path)
            return longer
        if new.directive == "replace" and old is not None and old.children is not None:
            self._removed(old.children, path, new.origin)
            return self._value(None, bare, path)
        self.problems.append(Problem(f"!{new.directive} has nothing to act on: {found}", new.origin.where))
        return old

    def _set(self, node: Node, path: Path) -> None:
        self.history.setdefault(".".join(path), []).append(Setter(node.origin, plain(node)))

    def _removed(self, old: dict[str, Node] | None, path: Path, by: Origin) -> None:
        for key, child in (old or {}).items():
            for below, _ in leaves(child, (*path, key)):
                self._removed_leaf(below, by)

    def _removed_leaf(self, path: Path, by: Origin) -> None:
        self.history.setdefault(".".join(path), []).append(Setter(by, removed=True))


def merge_all(layers: Iterable[Node], merger: Merger) -> Node:
    """All layers, the weakest first, laid over each other."""
    result: Node | None = None
    for layer in layers:
        result = merger.over(result, layer)
    assert result is not None, "there is always the entry file"
    return result
