"""What the schema says: every key with its type, default and description, read off the pydantic models once."""

from __future__ import annotations

import functools
import types
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from forge.config.schema import Section, Settings
from forge.config.wording import either, number

_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}
_PLURAL = {int: "whole numbers", float: "numbers", str: "text", bool: "true or false"}
_BOUNDS = (("ge", "at least"), ("gt", "more than"), ("le", "at most"), ("lt", "less than"))


@dataclass(frozen=True)
class Key:
    """One key of the schema: a section, or a leaf with a value of its own."""

    path: tuple[str, ...]
    annotation: Any
    description: str
    default: Any = PydanticUndefined
    section: type[Section] | None = None
    metadata: tuple[Any, ...] = ()

    @property
    def dotted(self) -> str:
        """The full name, as on the command line."""
        return ".".join(self.path)

    @property
    def required(self) -> bool:
        """Whether a configuration must set it."""
        return self.default is PydanticUndefined

    @property
    def is_bool(self) -> bool:
        """Whether a bare ``--key`` means true."""
        return self.annotation is bool

    @property
    def is_map(self) -> bool:
        """Whether it may hold a map with keys of the user's own."""
        return any(get_origin(option) is dict for option in options(self.annotation))


@functools.cache
def keys(root: type[Section] = Settings) -> dict[str, Key]:
    """Every key of the schema by its full name, in the order of the schema."""
    return {key.dotted: key for key in _walk(root, (), PydanticUndefined)}


def leaf_keys() -> dict[str, Key]:
    """Every key that is not a section."""
    return {name: key for name, key in keys().items() if key.section is None}


def _walk(model: type[Section], path: tuple[str, ...], instance: Any) -> list[Key]:
    found: list[Key] = []
    for name, info in model.model_fields.items():
        here = (*path, name)
        default = _default(info) if instance is PydanticUndefined else getattr(instance, name)
        section = section_of(info.annotation)
        found.append(Key(here, info.annotation, info.description or "", default, section, tuple(info.metadata)))
        if section is not None:
            found += _walk(section, here, default if isinstance(default, Section) else PydanticUndefined)
    return found


def _default(info: FieldInfo) -> Any:
    return info.get_default(call_default_factory=True, validated_data={})


def section_of(annotation: Any) -> type[Section] | None:
    """The section that a value of this type may be."""
    for option in options(annotation):
        if isinstance(option, type) and issubclass(option, Section):
            return option
    return None


def options(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of a union, without their constraints; the type itself if it is none."""
    if get_origin(annotation) is Annotated:
        return options(get_args(annotation)[0])
    if get_origin(annotation) in {Union, types.UnionType}:
        return tuple(inner for option in get_args(annotation) for inner in options(option))
    return (annotation,)


def item_of(annotation: Any, step: str | int) -> Any:
    """The type of one item of a list or map; None if it can have none."""
    for option in options(annotation):
        arguments = [argument for argument in get_args(option) if argument is not Ellipsis]
        if isinstance(step, int) and get_origin(option) in {list, tuple} and arguments:
            return arguments[min(step, len(arguments) - 1)]
        if isinstance(step, str) and get_origin(option) is dict:
            return arguments[1]
    return None


def names_in(section: tuple[str, ...], root: type[Section] = Settings) -> list[str]:
    """The keys of a section, which may be one that stands in a map under a name of the user's own."""
    known = [key.path[-1] for key in keys(root).values() if key.path[:-1] == section]
    above = keys(root).get(".".join(section[:-1])) if section else None
    inner = section_of(item_of(above.annotation, section[-1])) if above and not known else None
    return list(inner.model_fields) if inner else known


def words_of(annotation: Any) -> list[str]:
    """The words a literal allows, empty for other types."""
    return [str(word) for option in options(annotation) if get_origin(option) is Literal for word in get_args(option)]


def describe(annotation: Any, metadata: tuple[Any, ...] = (), *, limits: bool = True) -> str:
    """The type in words: ``a whole number, at least 1, or null``, or without its limits."""
    parts = [_describe_one(option, metadata, limits) for option in _constrained(annotation)]
    # A part with commas of its own needs one before the *or* as well.
    return either(parts) if all("," not in part for part in parts) else ", or ".join(parts)


def _constrained(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) in {Union, types.UnionType}:
        return tuple(inner for option in get_args(annotation) for inner in _constrained(option))
    return (annotation,)


def _describe_one(annotation: Any, metadata: tuple[Any, ...], limits: bool) -> str:
    if get_origin(annotation) is Annotated:
        inner, *extra = get_args(annotation)
        flat = [item for mark in extra for item in (mark.metadata if isinstance(mark, FieldInfo) else [mark])]
        return describe(inner, (*metadata, *flat), limits=limits)
    kind, arguments = get_origin(annotation), get_args(annotation)
    if kind is Literal:
        return either([str(word) for word in arguments])
    if kind is tuple:
        text = f"a list of {len(arguments)} {_plural(arguments[0])}"
    elif kind is list:
        text = f"a list of {_plural(arguments[0])}"
    elif kind is dict:
        text = f"a map of names to {_plural(arguments[1])}"
    elif isinstance(annotation, type) and issubclass(annotation, Section):
        text = "a section"
    else:
        text = _NAMES.get(annotation, str(annotation))
    return ", ".join([text, *_limits(metadata)]) if limits and annotation is not type(None) else text


def _plural(annotation: Any) -> str:
    inner = options(annotation)[0]
    words = words_of(annotation)
    if section_of(inner):
        return "sections"
    if get_origin(inner) is list:
        return f"lists of {_plural(get_args(inner)[0])}"
    return f"words ({either(words)})" if words else _PLURAL.get(inner, str(inner))


def _limits(metadata: tuple[Any, ...]) -> list[str]:
    limits = [
        f"{words} {number(getattr(mark, name))}" for mark in metadata for name, words in _BOUNDS if hasattr(mark, name)
    ]
    least = [mark.min_length for mark in metadata if hasattr(mark, "min_length")]
    return limits + [f"at least {length} long" for length in least if length > 1] + ["not empty"] * (least == [1])
