"""A model directory from anywhere: what its files name stays inside it, and no other file of this machine is read."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from forge.config.schema import Model
from forge.core.assets import Asset
from forge.core.errors import UserError
from forge.models.identity import weights_sha256
from forge.models.load import load_classifier, load_tokenizer, peek, tokenizer_files
from forge.tasks.embedded.tokenizer import build_tokenizer
from forge.tasks.labels import LabelPlan

TOKENIZER = build_tokenizer(["a dog runs in the park", "a cat sleeps at home"], 60)
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
LIST = "tokenizer_files.json"
INDEX = "model.safetensors.index.json"
DEEP = "[" * 3_000


@pytest.fixture
def asset(tmp_path):
    """A model as a checkpoint holds it, and beside it a file that is none of its business."""
    torch.manual_seed(0)
    (tmp_path / "secret").write_text("of somebody else")
    folder = tmp_path / "model"
    BertForSequenceClassification(BertConfig(**SMALL, vocab_size=len(TOKENIZER))).save_pretrained(folder)
    made = Asset(str(folder), "path", str(folder))
    for name, content in tokenizer_files(made, Model(name="x"), TOKENIZER).items():
        (folder / name).write_bytes(content)
    return made


def refused(call, *arguments):
    with pytest.raises(UserError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def put(asset, name, content):
    path = Path(asset.location, name)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def listed(asset):
    return tokenizer_files(asset, Model(name="x"), TOKENIZER)


def test_what_a_checkpoint_lists_is_copied(asset):
    names = {LIST, "tokenizer.json", "tokenizer_config.json"}
    assert listed(asset) == {name: Path(asset.location, name).read_bytes() for name in names}


@pytest.mark.parametrize("name", ["../secret", "{}/secret", "sub/x.json", "", ".", "..", "link", "sub", "none", "\0"])
def test_a_list_names_files_of_its_directory_alone(asset, tmp_path, name):
    folder = Path(asset.location)
    (folder / "sub").mkdir()
    (folder / "sub/x.json").write_text("{}")
    (folder / "link").symlink_to("../secret")
    name = name.format(tmp_path)
    path = put(asset, LIST, ["tokenizer.json", name])
    assert refused(listed, asset) == (
        f"{path}  cannot be used: it names {name!r}, which is not a file of that directory; delete it, and the "
        "tokenizer is saved anew"
    )


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "manifest.json", "trainer_state.json", LIST])
def test_a_list_cannot_replace_what_forge_writes(asset, name):
    put(asset, name, Path(asset.location, LIST).read_text() if name == LIST else "{}")
    put(asset, LIST, ["tokenizer.json", name])
    assert f"it names {name!r}, which is not a part of a tokenizer" in refused(listed, asset)


@pytest.mark.parametrize("content", ["", "{", "\0", "3", "null", "{}", "[1]", '[["a"]]', DEEP, " " * 2**17])
def test_a_damaged_list(asset, content):
    path = put(asset, LIST, content)
    message = refused(listed, asset)
    assert message.startswith(f"{path}  cannot be used: ")
    assert message.endswith("; delete it, and the tokenizer is saved anew")


def test_a_list_may_be_deleted_as_the_message_says(asset):
    before = listed(asset)
    Path(asset.location, LIST).unlink()
    assert set(listed(asset)) == set(before)


def test_a_list_that_leads_elsewhere(asset, tmp_path):
    (tmp_path / "list").write_text("[]")
    Path(asset.location, LIST).unlink()
    Path(asset.location, LIST).symlink_to(tmp_path / "list")
    assert f"it names {LIST!r}, which is not a file of that directory" in refused(listed, asset)


def test_links_inside_and_those_of_the_hubs_cache_are_followed(asset, tmp_path):
    folder, blobs = Path(asset.location), tmp_path / "models--a--b/blobs"
    snapshot = tmp_path / "models--a--b/snapshots/abc"
    snapshot.parent.mkdir(parents=True)
    blobs.mkdir()
    folder.rename(snapshot)
    for path in list(snapshot.iterdir()):
        path.rename(blobs / path.name)
        path.symlink_to(os.path.relpath(blobs / path.name, snapshot))
    assert LIST in listed(Asset("a/b", "cache", str(snapshot)))
    assert "is not a file of that directory" in refused(listed, Asset("x", "path", str(snapshot)))


def load(asset):
    return load_classifier(asset, Model(name="x"), LabelPlan(["a", "b"], keep_head=True), TOKENIZER, 0)


@pytest.mark.parametrize(
    "shard", ["pytorch_model.bin", "../secret", "../model.safetensors", "none.safetensors", 3, None]
)
def test_an_index_names_safetensors_of_its_directory_alone(asset, tmp_path, shard):
    weights = Path(asset.location, "model.safetensors")
    weights.rename(weights.with_name("model-1.safetensors"))
    index = {"metadata": {}, "weight_map": dict.fromkeys(load_keys(asset), "model-1.safetensors")}
    put(asset, INDEX, index)
    assert load(asset)
    weights.with_name("model-1.safetensors").rename(tmp_path / "blob")
    weights.with_name("model-1.safetensors").symlink_to("../blob")  # as in the hub's cache
    assert load(asset)
    put(asset, "pytorch_model.bin", "")
    (tmp_path / "model.safetensors").write_bytes(weights.with_name("model-1.safetensors").read_bytes())
    for broken in (index | {"weight_map": index["weight_map"] | {"classifier.bias": shard}}, [shard], DEEP):
        put(asset, INDEX, broken)
        assert refused(load, asset).startswith(f"model.name: cannot read the weights of {asset.location}: ")


def load_keys(asset):
    from safetensors.torch import load_file

    return load_file(Path(asset.location, "model-1.safetensors"))


@pytest.mark.parametrize("name", ["adapter_model.bin", "other.safetensors"])
def test_a_configuration_names_no_weights(asset, name):
    config = json.loads(Path(asset.location, "config.json").read_text())
    put(asset, name, "")
    put(asset, "config.json", config | {"transformers_weights": name})
    assert "names them in transformers_weights; call them model.safetensors" in refused(load, asset)


@pytest.mark.parametrize("content", [DEEP, '{"a":' * 900 + "1" + "}" * 900, '{"a": "' + "x" * 2**24 + '"}'])
def test_a_configuration_that_asks_for_too_much(asset, content):
    put(asset, "config.json", content)
    message = refused(peek, asset, Model(name="x"))
    assert message.startswith(f"model.name: cannot read the config.json of {asset.location}: it is ")


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_a_deeply_nested_tokenizer(asset, name):
    put(asset, name, DEEP)
    message = refused(load_tokenizer, asset, Model(name="x"), [])
    assert message.startswith(f"model.name: cannot read the tokenizer of {asset.location}: ")


# What a model is, by content


def test_weights_are_hashed_whatever_a_manifest_says(asset):
    folder = Path(asset.location)
    before = weights_sha256(folder)
    put(asset, "manifest.json", {"files": {"model.safetensors": {"size": 1, "sha256": "0" * 64}}})
    assert weights_sha256(folder) == before
    put(asset, "model.safetensors", "others")
    assert weights_sha256(folder) != before


def test_every_file_that_may_hold_weights_counts_and_no_other(asset):
    folder = Path(asset.location)
    before = weights_sha256(folder)
    put(asset, "optimizer.safetensors", "x")
    put(asset, "extra.safetensors", "x")
    assert weights_sha256(folder) == before
    put(asset, "more.safetensors", "x")
    assert weights_sha256(folder) != before
