"""Where models and data come from, under every policy; the hub's answers are played by stubs."""

from __future__ import annotations

import errno
import importlib
import json

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from forge.core.assets import SMOKE_STEPS, Asset, Wanted, data_file_patterns, locate
from forge.core.errors import CheckpointError, StorageError, UserError
from forge.core.manifest import seal

# The HTTP library under the hub's changes its name from version to version.
httpx = importlib.import_module(HfHubHTTPError.__mro__[1].__module__.split(".")[0])

SHA = "a" * 40
MODEL = Wanted("model", "org/name", stand_in="embedded/tiny-bert")
DATA = Wanted("dataset", "org/data", stand_in="embedded/nli")
POLICIES = ("auto", "hub", "local", "embedded")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub, and no way to the hub."""
    folder = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.chdir(tmp_path)
    _hub_raises(monkeypatch, httpx.ConnectError("[Errno -2] Name or service not known"))
    return folder


def _hub_raises(monkeypatch, error):
    def repo_info(*_, **__):
        raise error

    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", repo_info)


def _response(status=404):
    return httpx.Response(status, request=httpx.Request("GET", "https://hub.invalid"))


def _hub_error(kind, status=404):
    try:
        return kind("the hub says no", response=_response(status))
    except TypeError:
        return kind("the hub says no")


def _fill(cache, kind="model", name="org--name", sha=SHA, files=("config.json", "model.safetensors"), ref="main"):
    """Lay out a cache as the hub's library does."""
    repository = cache / f"{kind}s--{name}"
    for file in files:
        path = repository / "snapshots" / sha / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    if ref:
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / ref).write_text(sha)
    return repository / "snapshots" / sha


def _error(wanted, policy="auto", smoke=False, kind=UserError):
    with pytest.raises(kind) as caught:
        locate(wanted, policy, smoke)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("smoke", [False, True])
def test_an_embedded_name_is_itself_under_every_policy(policy, smoke):
    asset = locate(Wanted("model", "embedded/tiny-bert"), policy, smoke)
    assert asset == Asset("embedded/tiny-bert", "embedded", "embedded/tiny-bert")
    assert not asset.stand_in
    assert asset.describe() == "embedded/tiny-bert"


@pytest.mark.parametrize("policy", ["auto", "hub", "local"])
@pytest.mark.parametrize("smoke", [False, True])
def test_a_cached_model_is_found_without_network(cache, policy, smoke):
    folder = _fill(cache)
    asset = locate(MODEL, policy, smoke)
    assert asset == Asset("org/name", "cache", str(folder), SHA)
    assert asset.describe() == "org/name (cache, aaaaaaaa)"


def test_the_embedded_policy_passes_the_cache_by(cache):
    _fill(cache)
    asset = locate(MODEL, "embedded", smoke=False)
    assert (asset.location, asset.stand_in) == ("embedded/tiny-bert", True)
    assert asset.describe() == "embedded/tiny-bert, standing in for org/name"
    message = _error(Wanted("dataset", "org/data"), "embedded")
    assert message == "data.name: org/data has no embedded stand-in (assets is 'embedded'); set data.stand_in"


def test_a_revision_is_its_own(cache):
    _fill(cache)
    other = _fill(cache, sha="b" * 40, ref="v2")
    assert locate(Wanted("model", "org/name", "v2"), "local", smoke=False).location == str(other)
    assert locate(Wanted("model", "org/name", "b" * 40), "local", smoke=False).revision == "b" * 40
    assert "is not on this machine" in _error(Wanted("model", "org/name", "v3"), "local")


@pytest.mark.parametrize("files", [("config.json",), ("config.json", "pytorch_model.bin"), ("README.md",)])
def test_a_cache_without_safetensors_is_no_model(cache, files):
    _fill(cache, files=files)
    assert "org/name is not on this machine and assets is 'local'" in _error(MODEL, "local")


CARD = """---
configs:
- config_name: rte
  data_files:
  - {split: train, path: rte/train-*}
- config_name: sst2
  data_files:
  - {split: train, path: sst2/train-*}
  - {split: validation, path: sst2/validation-*}
---
"""


def _subset(name):
    return Wanted("dataset", "org/data", patterns=(name,))


def test_only_a_cached_subset_counts_as_cached(cache):
    """Another subset of the same repository, or half of this one, is not what was asked for."""
    folder = _fill(cache, "dataset", "org--data", files=("README.md", "rte/train-0.parquet", "sst2/train-0.parquet"))
    (folder / "README.md").write_text(CARD)
    assert locate(_subset("rte"), "local", smoke=False).location == str(folder)
    assert "is not on this machine" in _error(_subset("sst2"), "local")
    (folder / "sst2/validation-0.parquet").write_text("")
    assert locate(_subset("sst2"), "local", smoke=False).location == str(folder)


@pytest.mark.parametrize("files", [("README.md",), (".gitattributes", "README.md")])
def test_a_cached_card_alone_is_no_data(cache, files):
    _fill(cache, "dataset", "org--data", files=files)
    assert "is not on this machine" in _error(DATA, "local")


def test_a_cached_data_set_without_a_card(cache):
    folder = _fill(cache, "dataset", "org--data", files=("train.jsonl",))
    assert locate(DATA, "local", smoke=False).location == str(folder)


def test_an_unreachable_hub_smoke_run_takes_the_stand_in():
    asset = locate(MODEL, "auto", smoke=True)
    assert asset == Asset("org/name", "embedded", "embedded/tiny-bert", stand_in=True)
    assert SMOKE_STEPS == 100


@pytest.mark.parametrize(("policy", "smoke"), [("auto", False), ("hub", True), ("hub", False)])
def test_an_unreachable_hub_is_an_error_that_says_what_to_do(policy, smoke):
    assert _error(MODEL, policy, smoke) == (
        "model.name: org/name is neither on this disk nor to be had from the hub (no network); "
        "run `forge.py prepare --config …` where there is network, or give a local path"
    )


def test_no_stand_in_no_smoke_run():
    assert "neither on this disk" in _error(Wanted("model", "org/name"), "auto", smoke=True)


def test_offline_mode_never_asks_the_hub(monkeypatch):
    _hub_raises(monkeypatch, AssertionError("the hub was asked"))
    for value in ("1", "TRUE", "yes", "on"):
        monkeypatch.setenv("HF_HUB_OFFLINE", value)
        assert "(HF_HUB_OFFLINE is set)" in _error(MODEL)
        assert locate(MODEL, "auto", smoke=True).stand_in


@pytest.mark.parametrize("policy", ["auto", "hub"])
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RepositoryNotFoundError, "model.name: the hub has no model org/name, or it is private"),
        (GatedRepoError, "model.name: org/name asks for its terms to be accepted"),
        (RevisionNotFoundError, "model.revision: org/name has no revision v9"),
    ],
)
def test_what_a_person_must_mend_never_becomes_a_stand_in(monkeypatch, policy, error, message):
    """A mistyped name in a smoke run must not pass as a missing network."""
    _hub_raises(monkeypatch, _hub_error(error))
    wanted = Wanted("model", "org/name", "v9", stand_in="embedded/tiny-bert")
    assert _error(wanted, policy, smoke=True).startswith(message)


@pytest.mark.parametrize("name", ["two words", "org/na me", "-x", "a..b", "x" * 200])
def test_a_name_that_the_hub_cannot_have(name, monkeypatch):
    monkeypatch.undo()
    wanted = Wanted("model", name, stand_in="embedded/tiny-bert")
    assert _error(wanted) == f"model.name: {name} is neither a directory nor a name that the hub could have"


def test_a_hub_in_trouble_is_unreachable(monkeypatch):
    _hub_raises(monkeypatch, _hub_error(HfHubHTTPError, 503))
    assert "(the hub says no)" in _error(MODEL)
    assert locate(MODEL, "auto", smoke=True).stand_in


def test_an_error_of_our_own_is_not_taken_for_a_missing_network(monkeypatch):
    _hub_raises(monkeypatch, TypeError("a defect"))
    with pytest.raises(TypeError):
        locate(MODEL, "auto", smoke=True)


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (httpx.ReadTimeout("slow"), UserError, "(no network)"),
        (LocalEntryNotFoundError("went away"), UserError, "(went away)"),
        (OSError(errno.ENOSPC, "No space left on device"), StorageError, "fetching org/name: No space left on device"),
    ],
)
def test_a_download_that_breaks_off(monkeypatch, error, kind, message):
    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", lambda *_, **__: type("Info", (), {"sha": SHA}))
    real = huggingface_hub.snapshot_download

    def download(*arguments, **options):
        if options.get("local_files_only"):
            return real(*arguments, **options)
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert message in _error(MODEL, kind=kind)


# Paths


@pytest.mark.parametrize("policy", ["auto", "hub", "local"])
def test_a_directory_wins_over_the_hub(tmp_path, policy):
    (tmp_path / "org/name").mkdir(parents=True)
    assert locate(MODEL, policy, smoke=False) == Asset("org/name", "path", "org/name")
    assert locate(Wanted("dataset", str(tmp_path / "org")), policy, smoke=False).source == "path"


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "m").mkdir()
    assert locate(Wanted("model", "~/m"), "auto", smoke=False).location == str(tmp_path / "m")


def test_a_file_is_no_directory(tmp_path):
    (tmp_path / "m.bin").write_text("")
    assert _error(Wanted("model", "m.bin")) == "model.name: m.bin is a file; a model is a directory in hub format"


@pytest.mark.parametrize("name", ["./m", "../m", "/m/n", "~/m", "a/b/c", "m/"])
def test_what_looks_like_a_path_never_goes_to_the_hub(name, monkeypatch):
    _hub_raises(monkeypatch, AssertionError("the hub was asked"))
    message = _error(Wanted("dataset", name, stand_in="embedded/nli"), smoke=True)
    assert message.startswith(f"data.name: no directory {name} (looked at /")


@pytest.fixture
def run(tmp_path):
    """A run directory with two checkpoints."""
    for step in (2, 4):
        folder = tmp_path / f"run/checkpoint-{step}"
        folder.mkdir(parents=True)
        for name in ("model.safetensors", "optimizer.safetensors"):
            (folder / name).write_text(f"{name} {step}")
        seal(folder, {"step": step})
    _state(tmp_path / "run", {"best": {"step": 2}, "checkpoint": "checkpoint-4"})
    return tmp_path / "run"


def _state(run, state):
    (run / "training_state.json").write_text(state if isinstance(state, str) else json.dumps(state))


def test_a_run_stands_for_its_best_checkpoint(run):
    wanted = Wanted("model", str(run))
    assert locate(wanted, "auto", smoke=False).location == str(run / "checkpoint-2")
    _state(run, {"best": None, "checkpoint": "checkpoint-4"})
    assert locate(wanted, "auto", smoke=False).location == str(run / "checkpoint-4")
    assert locate(Wanted("model", str(run / "checkpoint-4")), "auto", smoke=False).source == "path"


@pytest.mark.parametrize("state", [{}, {"best": {"step": 9}}, {"checkpoint": "checkpoint-9"}])
def test_a_run_without_a_checkpoint(run, state):
    _state(run, state)
    assert _error(Wanted("model", str(run))) == f"model.name: the run {run} has no checkpoint yet"


DAMAGED_STATES = ["", "{", "[]", '{"best": 3}', '{"best": {"x": 1}}', "[" * 3_000, '{"checkpoint": 4}']
ELSEWHERE = ['{"checkpoint": "../other"}', '{"checkpoint": "/etc"}', '{"best": {"step": "2/../../other"}}']


@pytest.mark.parametrize("state", DAMAGED_STATES + ELSEWHERE)
def test_a_run_with_a_damaged_state(run, state):
    _state(run, state)
    assert "training_state.json cannot be read; name a checkpoint of the run" in _error(Wanted("model", str(run)))


@pytest.mark.parametrize("name", ["", "/checkpoint-2"])
def test_a_damaged_checkpoint_is_never_a_starting_point(run, name):
    weights = run / "checkpoint-2/model.safetensors"
    weights.write_text("model.safetensors 3")
    message = _error(Wanted("model", f"{run}{name}"), kind=CheckpointError)
    assert message == f"model.name: {run}/checkpoint-2 is damaged: model.safetensors has changed (sha256 differs)"


def test_a_foreign_manifest_is_not_a_checkpoint(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m/manifest.json").write_text('{"icons": []}')
    assert locate(Wanted("model", "m"), "auto", smoke=False).source == "path"


# What to fetch of a data set

GLUE = """---
annotations_creators:
- other
pretty_name: GLUE --- General Language
configs:
- config_name: ax
  data_files:
  - split: test
    path: ax/test-*
- config_name: mnli
  data_files:
  - split: train
    path: mnli/train-*
  - split: validation_matched
    path: mnli/validation_matched-*
---

# GLUE

| a | b |
| --- | --- |
"""


def _card(body):
    return f"---\nconfigs:\n{body}---\ntext\n"


@pytest.mark.parametrize(
    ("card", "subsets", "patterns"),
    [
        (GLUE, ("mnli",), ["README.md", "mnli/train-*", "mnli/validation_matched-*"]),
        (GLUE, (), ["README.md", "ax/test-*", "mnli/train-*", "mnli/validation_matched-*"]),
        (GLUE, ("unknown",), ["*"]),
        (GLUE.replace("\n", "\r\n"), ("ax",), ["README.md", "ax/test-*"]),
        ("\ufeff" + GLUE, ("ax",), ["README.md", "ax/test-*"]),
        (_card("- config_name: default\n  data_files: data.csv\n"), (), ["README.md", "data.csv"]),
        (_card("- config_name: d\n  data_files: [a.csv, b/*.csv]\n"), ("d",), ["README.md", "a.csv", "b/*.csv"]),
        (_card("- config_name: d\n  data_files: {train: a, test: [b, c]}\n"), ("d",), ["README.md", "a", "b", "c"]),
        (_card("- config_name: d\n  data_files:\n  - split: t\n    path: [a, b]\n"), ("d",), ["README.md", "a", "b"]),
        (_card("- config_name: d\n  data_dir: sub/\n"), ("d",), ["README.md", "sub/*"]),
        (_card("- config_name: d\n  data_dir: sub\n  data_files: a.csv\n"), ("d",), ["README.md", "sub/a.csv"]),
        (_card('- config_name: d\n  data_files: "**/train.csv"\n'), ("d",), ["README.md", "*train.csv"]),
        (_card("- config_name: d\n  data_files: https://x.invalid/a.csv\n"), ("d",), ["*"]),
        ("", (), ["*"]),
        ("# no front matter\n---\nconfigs: [1]\n---\n", (), ["*"]),
        ("---\nlicense: mit\n---\n", ("d",), ["*"]),
        ("---\nconfigs:\n---\n", (), ["*"]),
        ("---\nconfigs: [x, 3]\n---\n", (), ["*"]),
        ("---\na: [\n---\n", (), ["*"]),
        ("---\nnever closed", (), ["*"]),
    ],
)
def test_the_files_that_hold_a_subset(card, subsets, patterns):
    assert data_file_patterns(card, subsets) == patterns


def test_nothing_was_written_outside(tmp_path):
    _error(MODEL)
    assert not list(tmp_path.iterdir())
