"""No damage to a checkpoint loads silently: whatever changes is named."""

from __future__ import annotations

import json

import pytest

from forge.core.hashing import digest
from forge.core.io import to_json
from forge.core.manifest import DIGEST, MANIFEST, seal, verify

FILES = {"model.safetensors": bytes(range(200)), "config.json": b"{}\n", "sub/extra.txt": b"x"}


@pytest.fixture
def folder(tmp_path):
    for name, content in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    seal(tmp_path, {"step": 3})
    assert verify(tmp_path) == ""
    return tmp_path


def test_the_manifest_names_every_file_and_not_itself(folder):
    manifest = json.loads((folder / MANIFEST).read_text())
    assert manifest["step"] == 3
    assert {name: entry["size"] for name, entry in manifest["files"].items()} == {
        name: len(content) for name, content in FILES.items()
    }


@pytest.mark.parametrize("name", FILES)
def test_damage_is_named(folder, name):
    path, content = folder / name, FILES[name]
    path.unlink()
    assert verify(folder) == f"{name} is missing"
    path.write_bytes(content[:-1])
    assert verify(folder) == f"{name} has {len(content) - 1} bytes, not {len(content)}"
    path.write_bytes(content + b"\0")
    assert verify(folder) == f"{name} has {len(content) + 1} bytes, not {len(content)}"
    for bit in (0, 3, len(content) * 8 - 1):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        assert verify(folder) == f"{name} has changed (sha256 differs)"
    path.unlink()
    path.mkdir()
    assert verify(folder) == f"{name} is missing"


def test_a_missing_manifest(folder):
    (folder / MANIFEST).unlink()
    assert verify(folder) == "manifest.json is missing"
    assert verify(folder / "nowhere") == "manifest.json is missing"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"3",
        b"{}",
        b'{"files": []}',
        b'{"files": {}}',  # a checkpoint of no files is none
        b'{"files": null}',
        b'{"files": {"config.json": 3}}',
        b'{"files": {"config.json": {"size": 3}}}',
    ],
)
def test_a_damaged_manifest_never_verifies(folder, content):
    (folder / MANIFEST).write_bytes(content)
    assert verify(folder).startswith("manifest.json")


def test_every_single_bit_of_the_listed_files_counts(folder):
    """Also inside the manifest's own list: no flipped bit there turns a damaged file into a good one."""
    text = (folder / MANIFEST).read_bytes()
    start = text.index(b'"files"')
    bits = range(start * 8, len(text) * 8, 37)
    (folder / "config.json").write_bytes(b"[]\n")
    for bit in bits:
        flipped = bytearray(text)
        flipped[bit // 8] ^= 1 << bit % 8
        (folder / MANIFEST).write_bytes(flipped)
        assert verify(folder), f"bit {bit}"


def reseal(folder, change):
    """A manifest that is true to itself, whoever wrote it."""
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest[DIGEST]
    change(manifest["files"])
    (folder / MANIFEST).write_text(to_json(manifest | {DIGEST: digest(manifest)}))


ADDED = ["pytorch_model.bin", "adapter_config.json", "modeling_x.py", "notes.txt", "sub/x.json", "new/chat.jinja"]


@pytest.mark.parametrize("name", ADDED)
def test_an_added_file_is_named(folder, name):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"")
    assert verify(folder) == f"{name} was added after the checkpoint was written; move it elsewhere"


def test_an_added_link_is_named(folder, tmp_path_factory):
    (folder / "more").symlink_to(tmp_path_factory.mktemp("elsewhere"))
    assert verify(folder).startswith("more was added")
    (folder / "more").unlink()
    (folder / "more.bin").symlink_to("nowhere")
    assert verify(folder).startswith("more.bin was added")


@pytest.mark.parametrize("name", [".DS_Store", "._config.json", ".nfs0001", "sub/.x.swp", ".cache/x.json", "README.md"])
def test_what_no_library_loads_may_be_added(folder, name):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"x")
    assert verify(folder) == ""


def test_a_file_outside_the_folder_is_never_a_part_of_it(folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "config.json"
    outside.write_bytes(FILES["config.json"])
    for name in (str(outside), f"../{outside.parent.name}/config.json", "sub/../config.json", ""):
        reseal(folder, lambda files, name=name: files.update({name: files["config.json"]}))
        assert verify(folder) == f"{MANIFEST} names {name!r}, which is not in the checkpoint"
        reseal(folder, lambda files, name=name: files.pop(name))
    assert verify(folder) == ""


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_a_link_that_leads_out_is_damage_and_one_that_stays_is_not(folder, tmp_path_factory, name):
    path, outside = folder / name, tmp_path_factory.mktemp("outside") / "file"
    path.rename(outside)
    path.symlink_to(outside)
    assert verify(folder) == f"{name} is a link to a file outside the checkpoint"
    path.unlink()
    outside.rename(folder / ".kept")
    path.symlink_to(folder / ".kept")
    assert verify(folder) == ""


def test_a_checkpoint_may_itself_be_reached_through_a_link(folder, tmp_path_factory):
    link = tmp_path_factory.mktemp("elsewhere") / "checkpoint-3"
    link.symlink_to(folder)
    assert verify(link) == ""


@pytest.mark.parametrize(
    ("content", "says"), [(b"[" * 3_000, "nested"), (b" " * 2**25, "larger than 16,777,216 bytes")]
)
def test_a_manifest_that_asks_for_too_much(folder, content, says):
    (folder / MANIFEST).write_bytes(content)
    assert verify(folder).startswith("manifest.json cannot be read: ")
    assert says in verify(folder)
