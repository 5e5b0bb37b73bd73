"""Reads YAML strictly: a safe subset, YAML 1.2 scalars, and a place for every key and value.

PyYAML scans and parses; the tree is built here from its events, so that nothing is ever constructed from a tag,
nesting and aliases are bounded while reading, and a duplicate key is an error rather than a silent overwrite.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from forge.config.origins import Origin, display_path, start_of
from forge.config.scalars import Scalar, resolve_plain
from forge.config.tree import Directive, Node, Value, has_directive, measure
from forge.config.wording import fail, one_line, quoted
from forge.core.errors import Problem

MOST_BYTES = 2**20
DEEPEST = 50
MOST_ALIASES = 50
MOST_ALIASED_NODES = 10_000

_BOM = b"\xef\xbb\xbf"
_DIRECTIVES: dict[str, Directive] = {"!append": "append", "!replace": "replace", "!unset": "unset"}
_EXPECTED: dict[Directive, str] = {"append": "a list", "replace": "a map", "unset": "no value"}
_LIKELY = {
    "mapping values are not allowed": "check the indentation, and quote text that holds a colon and a space",
    "could not find expected ':'": "is a colon missing, or a quote or bracket left open above?",
    "expected <block end>": "this line does not line up with the ones above it",
}


def load_file(file: Path) -> Node:
    """The map in a file. Every problem is a ConfigError with ``path:line:col``."""
    text = _read_text(file)
    node = _Composer(text, lambda line, column: Origin("file", file, line, column)).document()
    if node.children is None:
        kind = "empty" if node.value is None else quoted(node.value)
        raise fail([Problem(f"a configuration is a map of keys, this file is {kind}", start_of(file).where)])
    return node


def parse_scalar_or_flow(text: str, origin: Origin | None = None) -> Node:
    """A value from the command line: a quoted, plain, ``[list]`` or ``{map}`` value by the same rules as in a file.

    Text that opens with none of ``[ { " ' !`` is one plain scalar as it stands, so `#1`, `a: b` and `*.csv` are text.
    """
    origin = origin or Origin("cli", text=text)
    text = text.strip()
    if text[:1] in tuple("[{\"'!"):
        return _Composer(text, lambda _line, _column: origin).document()
    try:
        return Node(_clean(resolve_plain(text)), origin)
    except ValueError as error:
        raise fail([Problem(str(error), origin.where)]) from None


def _read_text(file: Path) -> str:
    where = start_of(file).where
    try:
        with file.open("rb") as stream:
            raw = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise fail([Problem(f"cannot read {display_path(file)}: {error.strerror}")]) from None
    if len(raw) > MOST_BYTES:
        raise fail([Problem("the file is larger than 1 MiB, which no configuration is", where)])
    raw = raw.removeprefix(_BOM)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line, column = _place(raw[: error.start].decode("utf-8", "replace"))
        where = Origin("file", file, line, column).where
        raise fail([Problem(f"byte 0x{raw[error.start]:02x} is not UTF-8", where, "save the file as UTF-8")]) from None


def _place(before: str) -> tuple[int, int]:
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def _clean(value: Scalar) -> Scalar:
    if isinstance(value, str) and any("\ud800" <= char <= "\udfff" for char in value):
        raise ValueError("half of a surrogate pair is not a character")
    return value


class _Composer:
    """Builds the tree from the parser's events; `problems` collects what need not end the reading."""

    def __init__(self, text: str, locate: Callable[[int, int], Origin]) -> None:
        self.locate = locate
        self.problems: list[Problem] = []
        self.anchors: dict[str, Node] = {}
        self.aliases = 0
        self.aliased_nodes = 0
        try:
            self.parser = yaml.SafeLoader(text)
        except yaml.reader.ReaderError as error:
            line, column = _place(text[: error.position])
            where = locate(line, column).where
            raise fail(
                [Problem(f"character U+{ord(text[error.position]):04X} is not allowed in YAML", where)]
            ) from None

    def document(self) -> Node:
        """The one document of the stream."""
        self._next()  # the start of the stream
        event = self._next()
        if isinstance(event, yaml.StreamEndEvent):
            return Node(None, self.locate(1, 1))
        node = self._node(self._next(), 1, in_list=False)
        self._next()  # the end of the document
        after = self._next()
        if not isinstance(after, yaml.StreamEndEvent):
            self._stop("a second document starts here", after, "a file holds one configuration")
        if node.directive and node.origin.kind == "file":
            self._note(f"!{node.directive} has nothing to act on at the top of a file", node.origin)
        if self.problems:
            raise fail(self.problems)
        return node

    def _next(self) -> Any:
        try:
            return self.parser.get_event()  # type: ignore[no-untyped-call]
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark or self.parser.get_mark()
            message = error.problem or error.context or "cannot be read"
            context = f" ({error.context})" if error.context and error.context != message else ""
        except (yaml.YAMLError, ValueError, OverflowError, IndexError) as error:
            # PyYAML lets some numbers in escapes and directives reach int() and chr() unchecked.
            mark, message, context = self.parser.get_mark(), str(error), ""
        where = self.locate(mark.line + 1, mark.column + 1).where
        if "'\\t'" in message:
            raise fail([*self.problems, Problem("a tab stands here", where, "YAML is indented with spaces")])
        hint = next((hint for start, hint in _LIKELY.items() if message.startswith(start)), "")
        raise fail([*self.problems, Problem(f"not valid YAML: {message}{context}", where, hint)])

    def _origin(self, event: Any) -> Origin:
        return self.locate(event.start_mark.line + 1, event.start_mark.column + 1)

    def _note(self, message: str, origin: Origin, hint: str = "") -> None:
        self.problems.append(Problem(message, origin.where, hint))

    def _stop(self, message: str, event: Any, hint: str = "") -> None:
        raise fail([*self.problems, Problem(message, self._origin(event).where, hint)])

    def _node(self, event: Any, depth: int, in_list: bool) -> Node:
        if depth > DEEPEST:
            self._stop(f"more than {DEEPEST} levels of nesting", event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, depth, in_list)
        origin = self._origin(event)
        value: Value
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._list(depth)
        else:
            value = self._map(depth, in_list)
        node = Node(value, origin, directive=self._directive(event, value, in_list))
        if event.anchor:
            self.anchors[event.anchor] = node
        return node

    def _scalar(self, event: Any) -> Scalar:
        try:
            return _clean(resolve_plain(event.value) if event.style is None else event.value)
        except ValueError as error:
            self._note(str(error), self._origin(event))
            return None

    def _list(self, depth: int) -> tuple[Node, ...]:
        items: list[Node] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1, in_list=True))
        return tuple(items)

    def _map(self, depth: int, in_list: bool) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key_origin = self._origin(event)
            key = self._key(event, depth)
            node = replace(self._node(self._next(), depth + 1, in_list), key=key_origin)
            if key in entries:
                first = entries[key].key or entries[key].origin
                self._note(f"key {quoted(key)} is given twice, first at {first.where}", key_origin)
            elif key is not None:
                entries[key] = node
        return entries

    def _key(self, event: Any, depth: int) -> str | None:
        """The key's text; None, with a note, for what cannot be a key."""
        if not isinstance(event, yaml.ScalarEvent):
            self._note("a key must be text", self._origin(event), "a value that opens with { or [ or * needs quotes")
            self._node(event, depth + 1, in_list=True)
            return None
        value = self._scalar(event)
        if event.tag:
            self._note(f"tag {one_line(_tag_text(event.tag))} is not allowed on a key", self._origin(event))
        elif value == "<<" and event.style is None:
            self._note("merge keys (<<) are not supported", self._origin(event), "inherit with extends: instead")
        elif isinstance(value, str):
            return value
        else:
            self._note(f"a key must be text, not {quoted(value)}", self._origin(event), "put it in quotes")
        return None

    def _directive(self, event: Any, value: Value, in_list: bool) -> Directive:
        if event.tag is None:
            return ""
        directive = _DIRECTIVES.get(event.tag)
        origin = self._origin(event)
        if directive is None:
            allowed = "only !append, !replace and !unset are"
            self._note(f"tag {one_line(_tag_text(event.tag))} is not allowed", origin, allowed)
            return ""
        fits = {"append": isinstance(value, tuple), "replace": isinstance(value, dict), "unset": value is None}
        if not fits[directive]:
            self._note(f"!{directive} takes {_EXPECTED[directive]}", origin)
        elif in_list:
            self._note(f"!{directive} has nothing to act on inside a list", origin, "lists are replaced as a whole")
        else:
            return directive
        return ""

    def _alias(self, event: Any, depth: int, in_list: bool) -> Node:
        node = self.anchors.get(event.anchor)
        if node is None:
            self._stop(f"alias *{one_line(event.anchor)} refers to nothing above it", event)
        assert node is not None
        size, height = measure(node)
        self.aliases += 1
        self.aliased_nodes += size
        if self.aliases > MOST_ALIASES or self.aliased_nodes > MOST_ALIASED_NODES:
            self._stop(f"more than {MOST_ALIASES} aliases, or aliases of aliases that grow too large", event)
        if depth + height - 1 > DEEPEST:
            self._stop(f"more than {DEEPEST} levels of nesting", event)
        if in_list and has_directive(node):
            self._note("an alias inside a list may not carry !append, !replace or !unset", self._origin(event))
        return replace(node, origin=self._origin(event))


def _tag_text(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")
