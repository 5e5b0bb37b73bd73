"""The reader: YAML 1.2 scalars, places, and everything it refuses, in one line each."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.config.origins import Origin
from forge.config.scalars import write_scalar
from forge.config.strict_yaml import load_file, parse_scalar_or_flow
from forge.config.tree import find, plain
from forge.core.errors import ConfigError


def read(write, text: str | bytes):
    return plain(load_file(write("x.yaml", text)))


def refusal(write, text: str | bytes) -> str:
    with pytest.raises(ConfigError) as caught:
        load_file(write("x.yaml", text))
    line = str(caught.value)
    assert "\n" not in line
    return line


SCALARS = [
    ("1e-5", 1e-5),
    ("1E5", 1e5),
    ("-2.5e+3", -2500.0),
    (".5", 0.5),
    ("1.", 1.0),
    ("0o17", 15),
    ("0x1F", 31),
    ("017", 17),
    ("+12", 12),
    ("-3", -3),
    (".inf", math.inf),
    ("-.INF", -math.inf),
    ("true", True),
    ("False", False),
    ("null", None),
    ("~", None),
    ("", None),
    ("no", "no"),
    ("yes", "yes"),
    ("on", "on"),
    ("Off", "Off"),
    ("y", "y"),
    ("tRue", "tRue"),
    ("12:30:00", "12:30:00"),
    ("2001-12-14", "2001-12-14"),
    ("1_000", "1_000"),
    ("0b11", "0b11"),
    ("1e", "1e"),
    ("e5", "e5"),
    (".", "."),
    ("=", "="),
    ('"1e-5"', "1e-5"),
    ("'true'", "true"),
    ("a # b", "a"),
    ("https://a.b/c", "https://a.b/c"),
]


@pytest.mark.parametrize(("text", "value"), SCALARS)
def test_scalars_follow_yaml_1_2(write, text, value):
    found = read(write, f"key: {text}\n")["key"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(("text", "value"), [pair for pair in SCALARS if " # " not in pair[0]])
def test_command_line_values_follow_the_same_rules(text, value):
    found = plain(parse_scalar_or_flow(text))
    assert found == value
    assert type(found) is type(value)


def test_nan_is_a_number(write):
    assert math.isnan(read(write, "a: .nan\n")["a"])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[a, 1, no]", ["a", 1, "no"]),
        ("{m: f, n: null}", {"m": "f", "n": None}),
        ("#1", "#1"),
        ("a: b", "a: b"),
        ("*.csv", "*.csv"),
        ("- x", "- x"),
        (" 3 ", 3),
        ("''", ""),
    ],
)
def test_command_line_values(text, value):
    assert plain(parse_scalar_or_flow(text)) == value


@pytest.mark.parametrize("text", ["[a", "{a: b", '"x', "[a] b", "!foo x", "!!python/name:os.system x", "'a' 'b'"])
def test_broken_command_line_values(text):
    with pytest.raises(ConfigError, match=r"^command line: "):
        parse_scalar_or_flow(text)


def test_every_key_and_value_has_its_place(write):
    tree = load_file(write("x.yaml", "a:\n  b: 1\n  c:\n    - x\n    - {d: 2}\n"))
    places = {
        step: (find(tree, step).origin.line, find(tree, step).origin.column)
        for step in [("a", "b"), ("a", "c", 1, "d")]
    }
    assert places == {("a", "b"): (2, 6), ("a", "c", 1, "d"): (5, 11)}
    key = find(tree, ("a", "c")).key
    assert key == Origin("file", Path("x.yaml"), 3, 3)


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_bom_and_windows_lines_are_fine(write, bom, newline):
    assert read(write, bom + newline.join([b"a: 1", b"b: {c: x}", b""])) == {"a": 1, "b": {"c": "x"}}


def test_few_aliases_are_fine(write):
    assert read(write, "a: &x [1, 2]\nb: *x\nc: [*x, *x]\n") == {"a": [1, 2], "b": [1, 2], "c": [[1, 2], [1, 2]]}


REFUSED = {
    "duplicate key": ("a: 1\nb: 2\na: 3\n", 'x.yaml:3:1  key "a" is given twice, first at x.yaml:1:1'),
    "nested duplicate": ("s:\n  a: 1\n  a: 1\n", 'x.yaml:3:3  key "a" is given twice, first at x.yaml:2:3'),
    "tag": ("a: !!str 1\n", "x.yaml:1:4  tag !!str is not allowed; only !append, !replace and !unset are"),
    "object": (
        "a: !!python/object/apply:os.system [ls]\n",
        "x.yaml:1:4  tag !!python/object/apply:os.system is not allowed; only !append, !replace and !unset are",
    ),
    "bare tag": ("a: ! x\n", "x.yaml:1:4  tag ! is not allowed; only !append, !replace and !unset are"),
    "tag on key": ("!!str a: 1\n", "x.yaml:1:1  tag !!str is not allowed on a key"),
    "append on text": ("a: !append x\n", "x.yaml:1:4  !append takes a list"),
    "replace on list": ("a: !replace [x]\n", "x.yaml:1:4  !replace takes a map"),
    "unset with value": ("a: !unset 1\n", "x.yaml:1:4  !unset takes no value"),
    "directive in list": (
        "a: [{b: 1}, !unset ]\n",
        "x.yaml:1:13  !unset has nothing to act on inside a list; lists are replaced as a whole",
    ),
    "directive at top": ("!replace\na: 1\n", "x.yaml:1:1  !replace has nothing to act on at the top of a file"),
    "merge key": (
        "a: &x {b: 1}\nc:\n  <<: *x\n",
        "x.yaml:3:3  merge keys (<<) are not supported; inherit with extends: instead",
    ),
    "number as key": ("1: a\n", "x.yaml:1:1  a key must be text, not 1; put it in quotes"),
    "null as key": ("a:\n  ~: b\n", "x.yaml:2:3  a key must be text, not null; put it in quotes"),
    "bool as key": ("true: b\n", "x.yaml:1:1  a key must be text, not true; put it in quotes"),
    "list as key": (
        "[a]: b\n",
        "x.yaml:1:1  a key must be text; a value that opens with { or [ or * needs quotes",
    ),
    "list at top": ("- a\n", "x.yaml:1:1  a configuration is a map of keys, this file is a list"),
    "text at top": ("hello\n", 'x.yaml:1:1  a configuration is a map of keys, this file is "hello"'),
    "empty": ("", "x.yaml:1:1  a configuration is a map of keys, this file is empty"),
    "comment alone": ("# nothing\n", "x.yaml:1:1  a configuration is a map of keys, this file is empty"),
    "two documents": ("a: 1\n---\nb: 2\n", "x.yaml:2:1  a second document starts here; a file holds one configuration"),
    "tab": ("a:\n\tb: 1\n", "x.yaml:2:1  a tab stands here; YAML is indented with spaces"),
    "tab after colon": ("a:\tb\n", "x.yaml:1:3  a tab stands here; YAML is indented with spaces"),
    "not UTF-8": (b"a: 1\nb: caf\xe9\n", "x.yaml:2:7  byte 0xe9 is not UTF-8; save the file as UTF-8"),
    "UTF-16": ("a: 1\n".encode("utf-16"), "x.yaml:1:1  byte 0xff is not UTF-8; save the file as UTF-8"),
    "control character": (b"a: 1\nb: \x00\n", "x.yaml:2:4  character U+0000 is not allowed in YAML"),
    "unknown alias": ("a: *x\n", "x.yaml:1:4  alias *x refers to nothing above it"),
    "recursion": ("a: &x [*x]\n", "x.yaml:1:8  alias *x refers to nothing above it"),
    "half a surrogate": ('a: "\\ud800"\n', "x.yaml:1:4  half of a surrogate pair is not a character"),
    "long integer": ("a: " + "9" * 5000, "x.yaml:1:4  an integer of 5000 characters is too long"),
    "3,000 brackets": ("a: " + "[" * 3000, "x.yaml:1:53  more than 50 levels of nesting"),
    "3,000 braces": ("a: " + "{a: " * 3000, "x.yaml:1:200  more than 50 levels of nesting"),
    "51 levels": ("".join(" " * i + f"a{i}:\n" for i in range(51)), "x.yaml:51:51  more than 50 levels of nesting"),
    "too large": ("a: " + "x" * 2**20, "x.yaml:1:1  the file is larger than 1 MiB, which no configuration is"),
    "unclosed": (
        "a: [1, 2\n",
        "x.yaml:2:1  not valid YAML: expected ',' or ']', but got '<stream end>' (while parsing a flow sequence)",
    ),
    "colon twice": (
        "a: b: c\n",
        "x.yaml:1:5  not valid YAML: mapping values are not allowed here; "
        "check the indentation, and quote text that holds a colon and a space",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(write, name):
    text, line = REFUSED[name]
    assert refusal(write, text) == line


@pytest.mark.parametrize("text", ['a: "\\UFFFFFFFF"\n', "%YAML " + "9" * 5000 + ".1\n---\na: 1\n", "a: !<%ff> b\n"])
def test_what_pyyaml_itself_trips_over(write, text):
    assert refusal(write, text).startswith("x.yaml:1:")


def bomb(width: int, levels: int) -> str:
    lines = ["a0: &a0 [x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]" for i in range(1, levels)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(("width", "levels"), [(9, 9), (2, 25), (1, 60), (51, 2)])
def test_alias_bombs(write, width, levels):
    line = refusal(write, bomb(width, levels))
    assert line.endswith(("more than 50 aliases, or aliases of aliases that grow too large", "levels of nesting"))


def test_aliases_may_not_add_up_to_deep_nesting(write):
    deep = "&a " + "[" * 30 + "]" * 30
    assert refusal(write, f"a: {deep}\nb: {'[' * 30}*a{']' * 30}\n").endswith("more than 50 levels of nesting")


def test_several_problems_in_one_pass(write):
    with pytest.raises(ConfigError) as caught:
        load_file(write("x.yaml", "a: 1\na: 2\nb: !!int 3\n1: x\n"))
    assert [problem.where for problem in caught.value.problems] == ["x.yaml:2:1", "x.yaml:3:4", "x.yaml:4:1"]


@given(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8"))
)
def test_written_scalars_read_back(value):
    found = plain(parse_scalar_or_flow(f"[{write_scalar(value)}]"))[0]
    assert found == value
    assert type(found) is type(value)
    assert "\n" not in write_scalar(value)
