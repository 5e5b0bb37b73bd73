"""What a teacher wrote, kept as text: made once, whole or absent, shared out, verified."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from forge.teaching import texts as module
from forge.teaching.texts import TextCache, Texts

IDENTITY = {"teacher_weights_sha256": "abc", "beams": 2}
ODD = ["line\nbreak", "a\u2028b", 'quote "', "", "été", "\\"]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARD_SIZE", 4)


def written(ids: Sequence[int]) -> list[Texts]:
    return [[ODD[i % len(ODD)], None if i % 5 == 0 else f"text {i}"] for i in ids]


def never(ids: Sequence[int]) -> list[Texts]:
    raise AssertionError(f"asked again for {list(ids)}")


def quiet(*_: int) -> None:
    pass


def test_what_was_written_is_read_back_and_not_made_again(tmp_path: Path) -> None:
    cache = TextCache(tmp_path, IDENTITY, 10)
    assert cache.read() is None
    seen: list[tuple[int, int]] = []
    cache.fill(written, lambda done, total: seen.append((done, total)))
    assert seen == [(4, 10), (8, 10), (10, 10)]
    assert cache.read() == written(range(10))
    again = TextCache(tmp_path, IDENTITY, 10)
    again.fill(never, quiet)
    assert again.read() == written(range(10))
    assert {path.name for path in cache.folder.iterdir()} == {
        "identity.json", "00000.jsonl", "00001.jsonl", "00002.jsonl"
    }  # fmt: skip


@pytest.mark.parametrize("other", [{"beams": 3}, {"teacher_weights_sha256": "abd"}])
def test_another_teacher_has_another_directory(tmp_path: Path, other: dict[str, str | int]) -> None:
    one = TextCache(tmp_path, IDENTITY, 10)
    assert TextCache(tmp_path, IDENTITY | other, 10).folder != one.folder
    assert TextCache(tmp_path, IDENTITY, 11).folder != one.folder


def test_processes_share_the_files_out(tmp_path: Path) -> None:
    asked: dict[int, list[int]] = {0: [], 1: []}
    for process, own in asked.items():
        cache = TextCache(tmp_path, IDENTITY, 18)

        def write(ids: Sequence[int], mine: list[int] = own) -> list[Texts]:
            mine += ids
            return written(ids)

        cache.fill(write, quiet, process, 2)
    assert sorted(asked[0] + asked[1]) == list(range(18))
    assert len(asked[0]) == 10
    assert TextCache(tmp_path, IDENTITY, 18).read() == written(range(18))


@pytest.mark.parametrize("damage", ["cut", "flip", "missing", "header", "binary", "foreign"])
def test_a_damaged_file_alone_is_made_again(tmp_path: Path, damage: str) -> None:
    cache = TextCache(tmp_path, IDENTITY, 10)
    cache.fill(written, quiet)
    file = cache.folder / "00001.jsonl"
    whole = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(
            {
                "cut": whole[:-7],
                "flip": whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:],
                "header": b"{}\n" + whole.split(b"\n", 1)[1],
                "binary": bytes(range(256)),
                "foreign": (cache.folder / "00000.jsonl").read_bytes(),
            }[damage]
        )
    assert cache.read() is None
    asked: list[int] = []

    def write(ids: Sequence[int]) -> list[Texts]:
        asked.extend(ids)
        return written(ids)

    cache.fill(write, quiet)
    assert asked == [4, 5, 6, 7]
    assert file.read_bytes() == whole


def test_a_stop_between_two_files_keeps_what_is_whole(tmp_path: Path) -> None:
    cache = TextCache(tmp_path, IDENTITY, 10)

    def stopped(ids: Sequence[int]) -> list[Texts]:
        if ids[0]:
            raise KeyboardInterrupt
        return written(ids)

    with pytest.raises(KeyboardInterrupt):
        cache.fill(stopped, quiet)
    asked: list[int] = []

    def write(ids: Sequence[int]) -> list[Texts]:
        asked.extend(ids)
        return written(ids)

    cache.fill(write, quiet)
    assert asked == list(range(4, 10))
