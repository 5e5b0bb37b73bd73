"""A configuration file as a tree in which every key and value knows its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union

from forge.config.origins import Origin
from forge.config.scalars import Scalar

Directive = Literal["", "append", "replace", "unset"]
Value = Union[Scalar, "tuple[Node, ...]", "dict[str, Node]"]
Path = tuple[str, ...]


@dataclass(frozen=True)
class Node:
    """A value, where it stands, where its key stands, and how it is merged onto what is inherited."""

    value: Value
    origin: Origin
    key: Origin | None = None
    directive: Directive = ""

    @property
    def children(self) -> dict[str, Node] | None:
        """The entries of a map; None for anything else."""
        return self.value if isinstance(self.value, dict) else None

    @property
    def items(self) -> tuple[Node, ...] | None:
        """The items of a list; None for anything else."""
        return self.value if isinstance(self.value, tuple) else None


def plain(node: Node) -> Any:
    """The value alone: dicts, lists and scalars."""
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, tuple):
        return [plain(item) for item in node.value]
    return node.value


def leaves(node: Node, path: Path = ()) -> Iterator[tuple[Path, Node]]:
    """Everything below a node that is not a map with entries, with its path."""
    if isinstance(node.value, dict) and node.value:
        for key, child in node.value.items():
            yield from leaves(child, (*path, key))
    else:
        yield path, node


def find(node: Node, path: Sequence[str | int]) -> Node | None:
    """The node at a path of keys and list positions, if it is there."""
    current: Node | None = node
    for step in path:
        if current is None:
            return None
        if isinstance(step, int):
            items = current.items or ()
            current = items[step] if 0 <= step < len(items) else None
        else:
            current = (current.children or {}).get(step)
    return current


def measure(node: Node) -> tuple[int, int]:
    """How many nodes there are, and how deeply they nest."""
    below = list(node.value.values()) if isinstance(node.value, dict) else list(node.items or ())
    sizes = [measure(child) for child in below]
    return 1 + sum(size for size, _ in sizes), 1 + max((height for _, height in sizes), default=0)


def has_directive(node: Node) -> bool:
    """Whether the node or anything below it says how to merge."""
    below = list(node.value.values()) if isinstance(node.value, dict) else list(node.items or ())
    return bool(node.directive) or any(has_directive(child) for child in below)
