"""What `resolve` hands on: settings, origins, mode, name, digest, differences from the defaults."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from forge.config import Origin, resolve
from forge.config.fields import leaf_keys
from forge.config.resolve import WITHOUT_EFFECT


def test_every_leaf_has_an_origin(valid):
    config = resolve(valid("train: {max_steps: 3}\n"))
    below_rl = {name for name in leaf_keys() if name.startswith("rl.")}  # of a section that is not there
    assert set(config.origins) == set(leaf_keys()) - below_rl | {"rl"}
    assert config.origins["train.max_steps"] == Origin("file", Path("x.yaml").absolute(), 4, 20)
    assert str(config.origins["seed"]) == "default"


def test_free_maps_have_an_origin_per_entry(valid):
    config = resolve(valid(), ["data.validation.m=x", "data.validation.n=y"])
    assert str(config.origins["data.validation.n"]) == "command line: data.validation.n=y"
    assert "data.validation" not in config.origins


def test_paths_are_shown_relative_only_where_that_is_shorter(tmp_path, monkeypatch):
    file = tmp_path / "x.yaml"
    origin = Origin("file", file, 6, 8)
    monkeypatch.chdir(tmp_path)
    assert str(origin) == "x.yaml:6:8"
    assert origin.short == "x.yaml:6"
    monkeypatch.chdir("/")
    assert str(origin) == f"{str(file).lstrip('/')}:6:8"
    deep = tmp_path / "/".join("abcdefghijklmnopqrstuvwxyz" * 3)
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert str(origin) == f"{file}:6:8"


def test_a_path_with_a_line_break_stays_on_one_line(valid, errors):
    (line,) = errors(valid("bogus_name: 1\n", name="a\nb.yaml"))
    assert line.startswith("a\\nb.yaml:4:1  bogus_name")


def test_mode_names_its_cause(valid):
    assert resolve(valid()).mode_line == "sft, because alpha = 0.0 (default)"
    config = resolve(valid("alpha: 0.0\n", name="configs/t/00_sft.yaml"))
    assert (config.mode, config.mode_line) == ("sft", "sft, because alpha = 0.0 (configs/t/00_sft.yaml:4)")
    assert resolve(valid(), ["--alpha", "0"]).mode_line == "sft, because alpha = 0.0 (command line: --alpha 0)"


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("configs/classification/mnli/distilbert/00_sft.yaml", "classification/mnli/distilbert/00_sft"),
        ("configs/a/configs/b/x.v2.yaml", "b/x.v2"),
        ("elsewhere/x.yaml", "x"),
        ("x.yml", "x"),
    ],
)
def test_name(valid, file, name):
    assert resolve(valid(name=file)).name == name


def test_result_is_plain_and_frozen(valid):
    config = resolve(valid("train: {adam_betas: [0.8, 0.9]}\n"))
    assert json.loads(json.dumps(config.as_dict())) == config.as_dict()
    with pytest.raises(AttributeError):
        config.mode = "kd"  # type: ignore[misc]
    with pytest.raises(TypeError):
        config.origins["seed"] = Origin()  # type: ignore[index]


def test_changed_holds_only_what_differs(valid):
    assert resolve(valid("seed: 1\ntrain: {epochs: 3, max_steps: 4}\n")).changed() == {
        "task": "classification",
        "data": {"name": "embedded/nli"},
        "model": {"name": "tiny"},
        "train": {"max_steps": 4},
    }


def test_changed_keeps_required_sections(valid):
    path = valid()
    path.write_text("task: classification\ndata: {}\nmodel: {name: m}\n")
    assert resolve(path).changed()["data"] == {}


@pytest.mark.parametrize(
    "override",
    [
        "seed=5",
        "run.dir=other",
        "log.every=1",
        "log.sinks=[wandb]",
        "train.num_workers=2",
        "train.threads=1",
        "epochs=3",
        "alpha=0",
    ],
)
def test_digest_ignores_what_does_not_change_the_experiment(valid, override):
    assert resolve(valid(), [override]).digest() == resolve(valid()).digest()


@pytest.mark.parametrize(
    "override",
    [
        "max_steps=5",
        "model.name=other",
        "data.embedded.seed=1",
        "evaluate.every=3",
        "epochs=4",
        "assets=hub",
        "compile=true",
    ],
)
def test_digest_sees_what_does(valid, override):
    assert resolve(valid(), [override]).digest() != resolve(valid()).digest()


def test_digest_has_eight_digits_and_takes_extras(valid):
    config = resolve(valid())
    assert len(config.digest()) == 8
    assert int(config.digest(), 16) >= 0
    assert config.digest({"code": "a"}) != config.digest({"code": "b"}) != config.digest()
    assert config.digest({"a": "1", "b": "2"}) == config.digest({"b": "2", "a": "1"})


def test_digest_sees_the_order_of_validation_sets(valid):
    """The first one chooses the best checkpoint."""
    ways = [resolve(valid(), [f"data.validation={{{order}}}"]) for order in ("a: x, b: y", "b: y, a: x")]
    assert ways[0].settings == ways[1].settings
    assert ways[0].digest() != ways[1].digest()


def test_digest_does_not_depend_on_the_way_of_saying_it(valid, write):
    write("_base.yaml", "task: classification\ndata: {name: embedded/nli}\nmodel: {name: tiny}\ntrain: {epochs: 2.0}\n")
    whole = resolve(valid("train: {epochs: 2}\n"))
    assert resolve(write("y.yaml", "extends: _base.yaml\n")).digest() == whole.digest()
    assert resolve(valid(), ["--epochs", "2"]).digest() == whole.digest()


def test_keys_without_effect_exist():
    sections = {name.partition(".")[0] for name in leaf_keys()}
    assert set(WITHOUT_EFFECT) <= {*leaf_keys(), *sections}
