"""No damage to a checkpoint loads silently: whatever changes is named."""

from __future__ import annotations

import json

import pytest

from forge.core.manifest import MANIFEST, seal, verify

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
