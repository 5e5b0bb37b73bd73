"""`show`, `explain`, `diff` and the JSON Schema."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge.config import resolve
from forge.config.explain import diff, diff_text, explain, json_schema, show
from forge.config.fields import keys
from forge.config.scalars import write_scalar
from forge.config.strict_yaml import load_file
from forge.config.tree import Node
from forge.core.errors import ConfigError

ROOT = Path(__file__).parents[2] / "configs"
SHIPPED = sorted(path for path in ROOT.rglob("*.yaml") if path.parent.name != "accelerate")  # those are Accelerate's
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(lambda text: "${env:" not in text)


def test_show_says_who_set_what(valid):
    text = show(resolve(valid("train: {max_steps: 3}\n"), ["--seed", "2"]), sources=True, changed=True)
    assert text.splitlines() == [
        "task: classification  # x.yaml:1",
        "seed: 2               # command line: --seed 2",
        "data:",
        "  name: embedded/nli  # x.yaml:2",
        "model:",
        "  name: tiny          # x.yaml:3",
        "train:",
        "  max_steps: 3        # x.yaml:4",
    ]


def test_show_lists_every_key(valid):
    text = show(resolve(valid()))
    there = [key for key in keys().values() if key.path[0] != "rl" or len(key.path) == 1]  # rl: null shows no more
    assert all(f"{key.path[-1]}:" in text for key in there)
    assert "#" not in text


CONTENT = st.fixed_dictionaries(
    {"task": st.just("classification"), "data": st.fixed_dictionaries({}, optional={
        "name": TEXT,
        "validation": TEXT | st.dictionaries(TEXT, TEXT, max_size=3),
        "labels": st.lists(TEXT, min_size=2, max_size=4, unique=True),
    }), "model": st.fixed_dictionaries({"name": TEXT}, optional={"dropout": st.floats(0, 0.99)})},
    optional={
        "seed": st.integers(0, 2**63 - 1),
        "train": st.fixed_dictionaries({}, optional={
            "max_steps": st.none() | st.integers(1, 10**6),
            "learning_rate": st.floats(0, 10, exclude_min=True),
            "adam_betas": st.lists(st.floats(0, 1, exclude_max=True), min_size=2, max_size=2),
            "compile": st.booleans(),
        }),
        "log": st.fixed_dictionaries({}, optional={
            "sinks": st.lists(st.sampled_from(["wandb", "mlflow"]), max_size=2),
        }),
    },
)  # fmt: skip


def as_flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{write_scalar(key)}: {as_flow(inner)}" for key, inner in value.items()) + "}"
    return "[" + ", ".join(map(as_flow, value)) + "]" if isinstance(value, list) else write_scalar(value)


@given(CONTENT, st.booleans(), st.booleans())
@settings(deadline=None, max_examples=120)
def test_what_is_shown_resolves_to_the_same(content, sources, changed):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.yaml")
        path.write_text(as_flow(content), encoding="utf-8")
        config = resolve(path)
        path.write_text(show(config, sources=sources, changed=changed), encoding="utf-8")
        again = resolve(path)
    assert again.settings == config.settings
    assert again.as_dict() == config.as_dict()
    assert again.digest() == config.digest()
    assert again.changed() == config.changed()


def test_explain_tells_meaning_value_and_who_overrode_whom(write):
    write("_base.yaml", "task: classification\ndata: {}\nmodel: {name: m}\ntrain: {max_steps: 5}\n")
    write("mid.yaml", "extends: _base.yaml\ntrain: {max_steps: !unset }\n")
    path = write("x.yaml", "extends: mid.yaml\ntrain: {max_steps: 7}\n")
    assert explain("max-steps", resolve(path, ["--max_steps", "9"])).splitlines() == [
        "train.max_steps",
        "  Stop after so many optimizer steps; null trains for `train.epochs`.",
        "  type:     a whole number, at least 1, or null",
        "  default:  null",
        "  value:    9",
        "  set by:   command line: --max_steps 9",
        "  over:     7  (x.yaml:2:20)",
        "  over:     removed  (mid.yaml:2:20)",
        "  over:     5  (_base.yaml:4:20)",
    ]
    assert explain("max_steps", resolve("mid.yaml")).splitlines()[4:] == [
        "  value:    null",
        "  set by:   default",
        "  over:     removed  (mid.yaml:2:20)",
        "  over:     5  (_base.yaml:4:20)",
    ]


@pytest.mark.parametrize("name", keys())
def test_every_key_can_be_explained(valid, name):
    config = resolve(valid(), ["data.validation={a: x}"])
    text = explain(name, config)
    assert text.startswith(f"{name}\n  ")
    assert keys()[name].description, "every key of the schema is documented"
    assert "FieldInfo" not in text
    assert "typing" not in text
    assert "PydanticUndefined" not in text


def test_explain_without_a_configuration():
    assert explain("task").splitlines()[-2:] == [
        "  type:     classification, translation or ocr",
        "  default:  none, it must be set",
    ]
    assert "max_steps" in explain("train")


def test_explain_of_unknown_and_ambiguous_keys():
    with pytest.raises(ConfigError, match=r'there is no setting "lr"; here it is called train\.learning_rate'):
        explain("lr")
    with pytest.raises(ConfigError, match="could be"):
        explain("every")


def test_diff(valid):
    left = resolve(valid("train: {max_steps: 3}\n"), ["data.test={a: x}"])
    right = resolve(valid(name="y.yaml"), ["--seed", "2", "data.test=z"])
    found = {item.key: (item.left, item.right) for item in diff(left, right)}
    assert found == {
        "seed": (1, 2),
        "data.test.a": ("x", None),
        "data.test": (None, "z"),
        "train.max_steps": (3, None),
    }
    assert diff_text(left, right).splitlines()[:3] == ["seed", "  - 1  (default)", "  + 2  (command line: --seed 2)"]
    assert "  + not set" in diff_text(left, right)
    assert diff(left, left) == ()
    assert diff_text(left, left) == "no difference"


def test_json_schema_is_one():
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    json.dumps(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"] == "Forge configuration"
    assert "required" not in json.dumps(schema)
    assert schema["properties"]["seed"]["description"] == keys()["seed"].description


@pytest.mark.parametrize(
    "content",
    [
        {"extends": 3},
        {"extends": "a.yaml", "alhpa": 1},
        {"train": {"max_steps": 0}},
        {"train": {"lr": 1}},
        {"seed": "x"},
    ],
)
def test_json_schema_refuses(content):
    assert not jsonschema.Draft202012Validator(json_schema()).is_valid(content)


def plain_for_an_editor(node: Node) -> Any:
    """As an editor reads it: directives are transparent, a removed key is not there."""
    if isinstance(node.value, dict):
        kept = {key: child for key, child in node.value.items() if child.directive != "unset"}
        return {key: plain_for_an_editor(child) for key, child in kept.items()}
    return [plain_for_an_editor(item) for item in node.value] if isinstance(node.value, tuple) else node.value


def test_json_schema_accepts_partial_files(write, valid):
    parts = [
        valid(),
        write("leaf.yaml", "extends: [x.yaml]\ntrain: {max_steps: !unset , adam_betas: [0.9, 0.99]}\n"),
        write(
            "part.yaml", "data: {labels: !append [c, d], validation: {m: x}, columns: {text: a}}\nlog: {sinks: []}\n"
        ),
    ]
    for path in parts:
        jsonschema.Draft202012Validator(json_schema()).validate(plain_for_an_editor(load_file(path)))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_files_fit_the_json_schema(path):
    if "studies" in path.parts:
        pytest.skip("a study is no configuration")
    jsonschema.Draft202012Validator(json_schema()).validate(plain_for_an_editor(load_file(path)))


@pytest.mark.parametrize(
    "path", [path for path in SHIPPED if not path.name.startswith("_")], ids=lambda path: path.stem
)
def test_shipped_files_resolve_and_show(path, tmp_path):
    if "studies" in path.parts:
        pytest.skip("a study is no configuration")
    config = resolve(path)
    copy = tmp_path / "x.yaml"
    copy.write_text(show(config, sources=True), encoding="utf-8")
    assert resolve(copy).settings == config.settings
