"""`extends`, the merge directives and `${env:…}`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from forge.config import resolve
from forge.config.inherit import configuration_root, entry_file
from forge.core.errors import ConfigError

BASE = "task: classification\ndata: {name: d, labels: [a, b], validation: {m: x, n: y}}\nmodel: {name: m}\n"


@pytest.fixture
def base(write):
    return write("configs/_base.yaml", BASE + "train: {max_steps: 5, learning_rate: 1e-4}\n")


def test_maps_merge_deep_and_the_file_wins(base, write):
    config = resolve(write("configs/a/x.yaml", "extends: ../_base.yaml\ntrain: {max_steps: 7}\n"))
    assert (config.settings.train.max_steps, config.settings.train.learning_rate) == (7, 1e-4)
    assert str(config.origins["train.max_steps"]) == "configs/a/x.yaml:2:20"
    assert str(config.origins["train.learning_rate"]) == "configs/_base.yaml:4:38"
    assert [path.name for path in config.chain] == ["_base.yaml", "x.yaml"]


def test_lists_and_scalars_replace_and_null_is_a_value(base, write):
    config = resolve(
        write(
            "configs/x.yaml", "extends: _base.yaml\ndata: {labels: [c, d], validation: z}\ntrain: {max_steps: null}\n"
        )
    )
    assert config.settings.data.labels == ["c", "d"]
    assert config.settings.data.validation == "z"
    assert config.settings.train.max_steps is None
    assert config.origins["train.max_steps"].line == 3


def test_append_replace_unset(base, write):
    text = (
        "extends: _base.yaml\ndata: {labels: !append [c], validation: !replace {k: v}}\ntrain: {max_steps: !unset }\n"
    )
    config = resolve(write("configs/x.yaml", text))
    assert config.settings.data.labels == ["a", "b", "c"]
    assert config.settings.data.validation == {"k": "v"}
    assert config.settings.train.max_steps is None
    assert config.origins["train.max_steps"].kind == "default"
    turns = config.history["train.max_steps"]
    assert [(turn.value, turn.removed) for turn in turns] == [(5, False), (None, True)]


def test_a_whole_section_can_be_unset(base, write):
    config = resolve(write("configs/x.yaml", "extends: _base.yaml\ntrain: !unset\n"))
    assert config.settings.train.max_steps is None
    assert config.history["train.learning_rate"][-1].removed


def test_free_maps_merge(base, write):
    config = resolve(write("configs/x.yaml", "extends: _base.yaml\ndata: {validation: {n: z, o: w}}\n"))
    assert config.settings.data.validation == {"m": "x", "n": "z", "o": "w"}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("data: {test: !append [c]}", "2:14  !append has nothing to act on: no parent sets data.test"),
        ("data: {name: !append [c]}", '2:14  !append has nothing to act on: data.name is text "d" there'),
        ("train: {every: !unset }", "2:16  !unset has nothing to act on: no parent sets train.every"),
        ("data: {labels: !replace {a: b}}", "2:16  !replace has nothing to act on: data.labels is a list there"),
        ("log: {sinks: !append [wandb]}", "2:14  !append has nothing to act on: no parent sets log.sinks"),
        ("data: !replace {test: !unset }", "2:23  !unset has nothing to act on: no parent sets data.test"),
    ],
)  # fmt: skip
def test_directives_with_nothing_to_act_on(base, write, errors, text, line):
    assert errors(write("configs/x.yaml", f"extends: _base.yaml\n{text}\n")) == [f"configs/x.yaml:{line}"]


def test_later_parents_win_and_a_mixin_acts_on_earlier_ones(base, write):
    write("configs/mixin.yaml", "train: {max_steps: 9, learning_rate: !unset }\ndata: {labels: !append [z]}\n")
    config = resolve(write("configs/x.yaml", "extends: [_base.yaml, mixin.yaml]\n"))
    assert config.settings.train.max_steps == 9
    assert config.settings.train.learning_rate == 5e-5
    assert config.settings.data.labels == ["a", "b", "z"]


def test_in_a_diamond_the_shared_parent_counts_once_and_first(base, write):
    write("configs/left.yaml", "extends: _base.yaml\ntrain: {max_steps: 6}\ndata: {labels: !append [l]}\n")
    write("configs/right.yaml", "extends: _base.yaml\ndata: {labels: !append [r]}\n")
    config = resolve(write("configs/x.yaml", "extends: [left.yaml, right.yaml]\n"))
    assert config.settings.train.max_steps == 6
    assert config.settings.data.labels == ["a", "b", "l", "r"]
    assert [path.name for path in config.chain] == ["_base.yaml", "left.yaml", "right.yaml", "x.yaml"]


def test_cycles_print_the_circle(write, errors):
    write("configs/a.yaml", "extends: b.yaml\n")
    write("configs/b.yaml", "x: 1\nextends: [c.yaml]\n")
    write("configs/c.yaml", "extends: a.yaml\n")
    circle = "configs/a.yaml → configs/b.yaml → configs/c.yaml → configs/a.yaml"
    assert errors("configs/a.yaml") == [f"configs/c.yaml:1:10  extends goes in a circle: {circle}"]
    write("configs/self.yaml", "extends: ./self.yaml\n")
    assert errors("configs/self.yaml") == [
        "configs/self.yaml:1:10  extends goes in a circle: configs/self.yaml → configs/self.yaml"
    ]


def test_missing_parents_are_suggested(base, write, errors):
    write("configs/a/mid.yaml", "extends: [../_bsae.yaml, _base.yaml, nothing/zzz.yaml]\n")
    chain = "(read through configs/a/x.yaml → configs/a/mid.yaml)"
    assert errors(write("configs/a/x.yaml", "extends: mid.yaml\n")) == [
        f'configs/a/mid.yaml:1:11  extends: "../_bsae.yaml" does not exist {chain}; did you mean "../_base.yaml"?',
        f'configs/a/mid.yaml:1:26  extends: "_base.yaml" does not exist {chain}; did you mean "../_base.yaml"?',
        f'configs/a/mid.yaml:1:38  extends: "nothing/zzz.yaml" does not exist {chain}',
    ]


def test_the_root_is_not_left(write, errors):
    write("out.yaml", BASE)
    line = errors(write("configs/x.yaml", "extends: ../out.yaml\n"))[0]
    through = "(read through configs/x.yaml)"
    assert line == f'configs/x.yaml:1:10  extends: "../out.yaml" leaves the configuration root configs {through}'
    assert "leaves the configuration root" in errors(write("elsewhere/x.yaml", "extends: ../out.yaml\n"))[0]


def test_the_root_is_not_left_through_a_link(write, errors):
    outside = write("out.yaml", BASE)
    entry = write("configs/x.yaml", "extends: link.yaml\n")
    Path("configs/link.yaml").symlink_to(outside.absolute())
    assert "leaves the configuration root" in errors(entry)[0]
    Path("configs/up").symlink_to(outside.parent.absolute())
    assert "leaves the configuration root" in errors(write("configs/y.yaml", "extends: up/out.yaml\n"))[0]
    Path("configs/loop.yaml").symlink_to("loop.yaml")
    assert "does not exist" in errors(write("configs/z.yaml", "extends: loop.yaml\n"))[0]


def test_a_link_inside_the_root_is_fine(base, write):
    Path("configs/link.yaml").symlink_to("_base.yaml")
    config = resolve(write("configs/x.yaml", "extends: [link.yaml, _base.yaml]\n"))
    assert [path.name for path in config.chain] == ["_base.yaml", "x.yaml"]


@pytest.mark.parametrize("name", ["/etc/x.yaml", "https://a.b/x.yaml", "file:x.yaml", "~/x.yaml", "C:\\x.yaml"])
def test_absolute_and_remote_parents(write, errors, name):
    (line,) = errors(write("x.yaml", f"extends: '{name}'\n"))
    assert line.startswith("x.yaml:1:10  extends: ")
    assert "is absolute or remote (read through x.yaml); write a path relative to this file" in line


@pytest.mark.parametrize("value", ["3", "{a: b}", "null", "''", "[[a]]", "[a, 1]", "!append [a]"])
def test_extends_of_the_wrong_kind(write, errors, value):
    assert "extends" in errors(write("x.yaml", f"extends: {value}\n"))[0]


@pytest.mark.parametrize("value", ['"a\\0b"', "a" * 5000, "'${env:HOME}/x.yaml'", "'.'"])
def test_unusable_parents(write, errors, value):
    (line,) = errors(write("x.yaml", f"extends: {value}\n"))
    assert line.startswith("x.yaml:1:10  extends")


def test_at_most_eight_levels(write, errors):
    write("c0.yaml", BASE)
    for level in range(1, 10):
        write(f"c{level}.yaml", f"extends: c{level - 1}.yaml\n")
    assert resolve("c8.yaml").settings.model.name == "m"
    (line,) = errors("c9.yaml")
    assert line.startswith("c1.yaml:1:10  extends is more than 8 levels deep (read through c9.yaml → c8.yaml → ")


def test_a_broken_parent_is_named_itself(write, errors):
    write("_base.yaml", "a: [\n")
    assert errors(write("x.yaml", "extends: _base.yaml\n"))[0].startswith("_base.yaml:2:1  not valid YAML")


def test_root(tmp_path):
    assert configuration_root(tmp_path / "configs/a/configs/b/x.yaml") == tmp_path / "configs/a/configs"
    assert configuration_root(tmp_path / "a/x.yaml") == tmp_path / "a"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nope.yaml", "does not exist"),
        (".", "is a directory"),
        ("a\0b", "does not exist"),
        ("a" * 5000, "not a usable path"),
    ],
)
def test_entry_file(write, errors, name, words):
    write("note.yaml", "")
    (line,) = errors(name)
    assert words in line
    assert ("did you mean note.yaml?" in line) == (name == "nope.yaml")


def test_entry_file_is_absolute(valid):
    assert entry_file(valid()).is_absolute()


def test_environment(valid, monkeypatch):
    monkeypatch.setenv("WHERE", "no")
    config = resolve(valid("run: {dir: '${env:WHERE}/${env:UNSET_NAME, other}/$x${y}'}\n"))
    assert config.settings.run.dir == "no/other/$x${y}"
    assert str(config.origins["run.dir"]) == "x.yaml:4:12 (${env:WHERE}/${env:UNSET_NAME, other}/$x${y})"
    assert resolve(valid(), ["run.dir=${env:WHERE}"]).settings.run.dir == "no"


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("${env:UNSET_NAME}", "environment variable UNSET_NAME is not set; set it, or write ${env:UNSET_NAME,default}"),
        ("${env:HF_TOKEN,x}", "environment variable HF_TOKEN looks like a secret, which no file may hold"),
        ("a${env:my_api_key}", "environment variable my_api_key looks like a secret, which no file may hold"),
        ("${env:}", '"${env:}" is not written ${env:NAME} or ${env:NAME,default}'),
        ("${env:A", '"${env:A" is not written ${env:NAME} or ${env:NAME,default}'),
        ("${env:A,${env:B,c}}", '"${env:A,${env:B,c}}" is not written ${env:NAME} or ${env:NAME,default}'),
    ],
)
def test_environment_errors(valid, errors, monkeypatch, value, line):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert errors(valid(f"run: {{dir: '{value}'}}\n")) == [f"x.yaml:4:12  {line}"]


def test_environment_gives_text_and_never_a_reference(valid, errors, monkeypatch):
    monkeypatch.setenv("STEPS", "10")
    hint = 'must be a whole number or null, got text "10"; write 10, without quotes or separators'
    assert errors(valid("train: {max_steps: '${env:STEPS}'}\n")) == [f"x.yaml:4:20  train.max_steps {hint}"]
    monkeypatch.setenv("STEPS", "${env:HOME}")
    assert "which is not usable" in errors(valid("run: {dir: '${env:STEPS}'}\n"))[0]


def test_keys_are_not_filled_in(valid):
    config = resolve(valid(), ["data.validation={'${env:HOME}': x}"])
    assert config.settings.data.validation == {"${env:HOME}": "x"}


def test_unreadable_file(valid):
    path = valid()
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user reads everything")
    with pytest.raises(ConfigError, match=r"cannot read x\.yaml: Permission denied"):
        resolve(path)
