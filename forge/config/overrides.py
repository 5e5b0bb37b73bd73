"""Settings from the command line: `--max_steps 10`, `--max-steps=10`, `train.learning_rate=2e-5`, in any order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from forge.config.fields import Key, item_of, keys, section_of
from forge.config.interpolate import interpolate
from forge.config.origins import Origin
from forge.config.strict_yaml import parse_scalar_or_flow
from forge.config.suggest import suggest_key
from forge.config.tree import Node, Path, leaves
from forge.config.wording import either, one_line, quoted
from forge.core.errors import ConfigError, Problem

_BOOL_WORDS = frozenset({"true", "True", "TRUE", "false", "False", "FALSE"})


@dataclass(frozen=True)
class _Argument:
    """One setting as typed; `value` is None for a bare ``--key``."""

    name: str
    value: str | None
    text: str


def read_overrides(tokens: Sequence[str], problems: list[Problem]) -> Node | None:
    """The tree that the tokens describe, to be laid over the files; what is wrong goes to `problems`."""
    settings: list[tuple[Path, Node]] = []
    for argument in _split(tokens, problems):
        try:
            path, node = _read(argument, problems)
        except ConfigError as error:
            problems.extend(error.problems)
            continue
        earlier = _clash(settings, path, node)
        if earlier is None:
            settings.append((path, node))
        else:
            message = f"{'.'.join(path)} is set twice, first by {one_line(earlier.origin.text)}"
            problems.append(Problem(message, node.origin.where))
    return _tree(settings)


def find_key(name: str) -> Key:
    """The key of a full name, or of the end of one if that is unique. A name wins over those nested beside it:
    `validation` is `data.validation`, not `data.cut.validation`.
    """
    wanted = tuple(name.replace("-", "_").split("."))
    exact = keys().get(".".join(wanted))
    if exact is not None:
        return exact
    found = [key for key in keys().values() if key.path[-len(wanted) :] == wanted]
    outer = [key for key in found if all(other.path[: len(key.path) - 1] == key.path[:-1] for other in found)]
    if len(outer) == 1:
        return outer[0]
    if found:
        names = either([key.dotted for key in found])
        raise ConfigError([Problem(f"{quoted(name)} could be {names}", hint="write the full name")])
    raise ConfigError([Problem(f"there is no setting {quoted(name)}", hint=suggest_key(_home(wanted)))])


def _home(path: Path) -> Path:
    """The path with its section spelled in full where the user shortened it, for the suggestion."""
    sections = [key for key in keys().values() if key.section and key.path[-len(path[:-1]) :] == path[:-1]]
    return (*sections[0].path, path[-1]) if len(path) > 1 and len(sections) == 1 else path


def _split(tokens: Sequence[str], problems: list[Problem]) -> list[_Argument]:
    arguments: list[_Argument] = []
    waiting = list(tokens)
    while waiting:
        token = waiting.pop(0)
        flag = token.startswith("--")
        name, equals, value = token.removeprefix("--").partition("=")
        if not name.strip() or name.startswith("-") or not (flag or equals):
            hint = "settings are written key=value or --key value"
            problems.append(Problem(f"unexpected argument {quoted(token)}", "command line", hint))
        elif equals:
            arguments.append(_Argument(name, value, token))
        elif waiting and _takes(name, waiting[0]):
            value = waiting.pop(0)
            arguments.append(_Argument(name, value, f"{token} {value}"))
        else:
            arguments.append(_Argument(name, None, token))
    return arguments


def _takes(name: str, token: str) -> bool:
    """Whether the token after ``--name`` is its value: a switch takes only true or false, nothing takes an option."""
    try:
        is_bool = find_key(name).is_bool
    except ConfigError:
        is_bool = False
    return token in _BOOL_WORDS if is_bool else not token.startswith("--")


def _read(argument: _Argument, problems: list[Problem]) -> tuple[Path, Node]:
    origin = Origin("cli", text=argument.text)
    path, key = _locate(argument.name, origin)
    if argument.value is None:
        if not key.is_bool:
            raise ConfigError([Problem(f"{'.'.join(path)} needs a value", origin.where)])
        return path, Node(True, origin, origin)
    node = replace(interpolate(parse_scalar_or_flow(argument.value, origin), problems), key=origin)
    if key.section and path == key.path and node.children is None and not node.directive:
        nested = [other.dotted for other in keys().values() if other.path[1:] and other.path[-1] == path[-1]]
        hint = f"did you mean {either(nested)}?" if nested else f"set one of its keys, as in {_example(key)}"
        raise ConfigError([Problem(f"{key.dotted} is a section, not a value", origin.where, hint)])
    return path, node


def _locate(name: str, origin: Origin) -> tuple[Path, Key]:
    """The path of a key, which may go on into a map with keys of the user's own."""
    if name == "extends":
        raise ConfigError([Problem("extends works only in a file", origin.where)])
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        try:
            key = find_key(".".join(parts[:end]))
        except ConfigError:
            continue
        if key.is_map and section_of(item_of(key.annotation, parts[end])):
            return (*key.path, *parts[end:]), key
        if key.is_map:
            return (*key.path, ".".join(parts[end:])), key
    try:
        key = find_key(name)
    except ConfigError as error:
        raise ConfigError([replace(problem, where=origin.where) for problem in error.problems]) from None
    return key.path, key


def _example(key: Key) -> str:
    return next(name for name in keys() if name.startswith(f"{key.dotted}.")) + "=…"


def _clash(settings: list[tuple[Path, Node]], path: Path, node: Node) -> Node | None:
    """An earlier setting of the same key, or of one that holds it or lies in it."""
    mine = [below for below, _ in leaves(node, path)]
    for earlier_path, earlier in settings:
        for theirs, _ in leaves(earlier, earlier_path):
            if any(theirs[: len(own)] == own[: len(theirs)] for own in mine):
                return earlier
    return None


def _tree(settings: list[tuple[Path, Node]]) -> Node | None:
    """One tree of all settings; sections on the way to them have the origin of their first setting."""
    if not settings:
        return None
    below: dict[str, list[tuple[Path, Node]]] = {}
    entries: dict[str, Node] = {}
    for path, node in settings:
        below.setdefault(path[0], []).append((path[1:], node))
    for name, group in below.items():
        whole = [node for path, node in group if not path]
        inner = _tree([(path, node) for path, node in group if path])
        if inner is None:
            entries[name] = whole[0]
        else:
            more = {key: child for node in whole for key, child in (node.children or {}).items()}
            entries[name] = replace(inner, value={**more, **(inner.children or {})}) if more else inner
    origin = settings[0][1].origin
    return Node(entries, origin, origin)
