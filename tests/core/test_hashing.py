"""Digests and seeds are part of the run directory's name and of every random draw: they may never change."""

from __future__ import annotations

import hashlib

import pytest

from forge.core.hashing import derive_seed, digest, file_sha256


def test_digest_is_the_sha256_of_canonical_json():
    expected = hashlib.sha256('{"a":[1,"é"],"b":null}'.encode()).hexdigest()
    assert digest({"b": None, "a": [1, "é"]}) == expected
    assert digest({"a": [1, "é"], "b": None}, length=12) == expected[:12]


def test_digest_tells_alike_values_apart():
    alike = [1, "1", 1.5, True, None, [], {}, "", [1], [[1]], {"1": 1}]
    assert len({digest(value) for value in alike}) == len(alike)


@pytest.mark.parametrize(
    ("arguments", "seed"),
    [
        ((0,), int(hashlib.sha256(b"[0]").hexdigest()[:16], 16) >> 1),
        ((1, "init"), 4516505415010317374),
        ((1, "dropout", 3, 0), 8210195622381569305),
        ((2**63 - 1, "shuffle"), 5323003818965568054),
    ],
)
def test_derived_seeds_are_pinned(arguments, seed):
    assert derive_seed(*arguments) == seed


def test_derived_seeds_differ_by_every_part_of_the_path():
    paths = [(), ("a",), ("b",), ("a", 0), ("a", 1), ("a", "0"), (0, "a"), ("a", 0, 0), ("a0",)]
    seeds = {derive_seed(seed, *path) for seed in (0, 1) for path in paths}
    assert len(seeds) == 2 * len(paths)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_file_sha256_reads_the_bytes(tmp_path):
    content = bytes(range(256)) * 10_000
    (tmp_path / "f").write_bytes(content)
    assert file_sha256(tmp_path / "f") == hashlib.sha256(content).hexdigest()
