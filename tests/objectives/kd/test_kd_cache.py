"""The teacher cache: what goes in comes out, whole or not at all, whatever happens to the process or the disk."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pickle
import platform
import random
import resource
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader, Dataset

from forge.core.errors import StorageError, UserError
from forge.core.events import Event, Notice
from forge.objectives.kd import cache as module
from forge.objectives.kd import shard as shard_module
from forge.objectives.kd.cache import TeacherCache, describe_difference
from forge.objectives.kd.reader import Reader
from forge.objectives.kd.shard import CacheError, Field

LOGITS = Field("logits", 3, False, torch.float32)
HIDDEN = Field("encoder.hidden.3", 5, True, torch.float16)
QUERY = Field("encoder.self.2.q", 4, True, torch.bfloat16)
TOP = Field("top2.indices", 2, True, torch.int32)
FIELDS = [LOGITS, HIDDEN, QUERY, TOP]
IDENTITY = {"teacher_name": "big", "teacher_weights_sha256": "a" * 64, "data_name": "nli", "max_length": 128}
N = 42  # two whole shards and one of ten
LENGTHS = np.random.default_rng(0).integers(1, 10, N)
LENGTHS[7] = 1
LONGEST = int(LENGTHS.max())


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARD_SIZE", 16)
    monkeypatch.setattr(module, "BATCH", 4)


def teacher(ids: np.ndarray, fields: Sequence[Field]) -> dict[str, list[torch.Tensor]]:
    """Outputs that depend on the whole batch, as a real teacher's last bits do, and not on the other fields."""
    outputs = {}
    for field in fields:
        outputs[field.name] = []
        for example in ids.tolist():
            generator = torch.Generator().manual_seed(
                hash((field.name.count("e"), field.width, example, *ids.tolist()))
            )
            shape = (int(LENGTHS[example]), field.width) if field.per_token else (field.width,)
            exact = field.dtype == torch.int32
            value = torch.randint(0, 30000, shape, generator=generator)
            outputs[field.name].append(value if exact else value / 1000 - 15)
    return outputs


def forbidden(ids: np.ndarray, fields: Sequence[Field]) -> Mapping[str, list[torch.Tensor]]:
    raise AssertionError(f"the teacher was asked for {ids} {fields}")


def quiet(done: int, total: int) -> None:
    pass


def make(root: Path, identity: Mapping[str, str | int] = IDENTITY, lengths: np.ndarray = LENGTHS) -> TeacherCache:
    return TeacherCache(root, identity, {"input": lengths})


def filled(root: Path, fields: Sequence[Field] = FIELDS) -> TeacherCache:
    cache = make(root)
    assert cache.fill(fields, teacher, quiet) == []
    return cache


def contents(root: Path) -> dict[str, bytes]:
    """Every published file and every left-over, by its path under the root."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def expected(fields: Sequence[Field]) -> dict[str, list[torch.Tensor]]:
    """What the teacher says of each example in order, in float32 after the field's rounding."""
    outputs: dict[str, list[torch.Tensor]] = {field.name: [torch.empty(0)] * N for field in fields}
    for first in range(0, N, 16):
        ids = sorted(range(first, min(first + 16, N)), key=lambda example: (-LENGTHS[example], example))
        for start in range(0, len(ids), 4):
            batch = np.array(ids[start : start + 4])
            for field in fields:
                for example, value in zip(batch, teacher(batch, [field])[field.name], strict=True):
                    rounded = value.to(field.dtype)
                    outputs[field.name][example] = rounded.float() if rounded.is_floating_point() else rounded.long()
    return outputs


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a cache that nothing disturbed."""
    root = tmp_path_factory.mktemp("calm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SHARD_SIZE", 16)
        patch.setattr(module, "BATCH", 4)
        filled(root)
    return contents(root)


def child(work: Callable[[], None]) -> int:
    """Run `work` in a forked process and return that process's number; it ends with 0, or with 1 after an error."""
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
        os._exit(0)
    except BaseException as error:
        os.write(2, f"{error!r}\n".encode())
        os._exit(1)


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# --- round trip -----------------------------------------------------------------------------------------------------


def test_what_goes_in_comes_out_in_the_order_asked(tmp_path: Path) -> None:
    reader = filled(tmp_path).open(FIELDS)
    truth = expected(FIELDS)
    ids = [41, 7, 0, 7, 15, 16, 31, 32, 3]
    read = reader.read(ids, {"input": LONGEST + 2})
    assert list(read) == [field.name for field in FIELDS]
    assert torch.equal(read["logits"], torch.stack([truth["logits"][example] for example in ids]))
    for field in (HIDDEN, QUERY, TOP):
        padded = read[field.name]
        assert padded.shape == (len(ids), LONGEST + 2, field.width)
        assert padded.dtype == (torch.int64 if field is TOP else torch.float32)
        for row, example in enumerate(ids):
            assert torch.equal(padded[row, : LENGTHS[example]], truth[field.name][example])
            assert not padded[row, LENGTHS[example] :].any()


def test_every_example_of_every_shard(tmp_path: Path) -> None:
    reader, truth = filled(tmp_path).open(FIELDS), expected(FIELDS)
    for example in range(N):
        read = reader.read(np.array([example]), {"input": int(LENGTHS[example])})
        for field in FIELDS:
            assert torch.equal(read[field.name][0], truth[field.name][example])


def test_no_ids_give_empty_tensors_of_the_right_shape(tmp_path: Path) -> None:
    read = filled(tmp_path).open(FIELDS).read([], {"input": 6})
    assert {name: tuple(value.shape) for name, value in read.items()} == {
        "logits": (0, 3),
        "encoder.hidden.3": (0, 6, 5),
        "encoder.self.2.q": (0, 6, 4),
        "top2.indices": (0, 6, 2),
    }


def test_a_data_set_without_examples(tmp_path: Path) -> None:
    cache = make(tmp_path, lengths=np.empty(0, dtype=np.int64))
    assert cache.fill(FIELDS, forbidden, quiet) == []
    assert cache.open(FIELDS).read([], {"input": 3})["logits"].shape == (0, 3)
    assert cache.size() == cache.bytes_needed(FIELDS) == 0


def test_examples_without_tokens(tmp_path: Path) -> None:
    cache = make(tmp_path, lengths=np.array([0, 2, *[0] * 20]))
    outputs = {0: torch.empty(0, 5), 2: torch.ones(2, 5)}
    cache.fill([HIDDEN], lambda ids, _: {HIDDEN.name: [outputs[2 if example == 1 else 0] for example in ids]}, quiet)
    read = cache.open([HIDDEN]).read([20, 1, 0], {"input": 3})[HIDDEN.name]
    assert read.sum(dim=2).tolist() == [[0, 0, 0], [5, 5, 0], [0, 0, 0]]


@pytest.mark.parametrize("ids", [[42], [-1], [0, 99]])
def test_an_unknown_example_is_an_error(tmp_path: Path, ids: list[int]) -> None:
    with pytest.raises(CacheError, match="examples 0 to 41"):
        filled(tmp_path, [LOGITS]).open([LOGITS]).read(ids, {"input": 20})


def test_an_example_longer_than_the_batch_is_an_error(tmp_path: Path) -> None:
    longest = int(LENGTHS.argmax())
    with pytest.raises(
        CacheError, match=f"example {longest} has {LONGEST} tokens, more than the batch's {LONGEST - 1}"
    ):
        filled(tmp_path, [HIDDEN]).open([HIDDEN]).read([7, longest], {"input": LONGEST - 1})


def test_shards_are_safetensors_files_that_anyone_can_read(tmp_path: Path) -> None:
    tensors = load_file(filled(tmp_path).folder / "encoder.hidden.3" / "00002.safetensors")
    starts = tensors["offsets"]
    assert starts.dtype == torch.int64
    assert starts.diff().tolist() == LENGTHS[32:].tolist()
    truth = expected([HIDDEN])["encoder.hidden.3"]
    for place, example in enumerate(range(32, N)):
        assert torch.equal(tensors["values"][starts[place] : starts[place + 1]].float(), truth[example])


def test_sizes(tmp_path: Path) -> None:
    cache = make(tmp_path)
    needed = cache.bytes_needed(FIELDS)
    assert not tmp_path.joinpath(cache.folder.name).exists()
    filled(tmp_path)
    assert cache.size() == needed + (cache.folder / "identity.json").stat().st_size


def test_the_identity_can_be_read_and_names_the_folder(tmp_path: Path) -> None:
    cache = filled(tmp_path, [LOGITS])
    identity = json.loads((cache.folder / "identity.json").read_text())
    assert IDENTITY.items() <= identity.items()
    assert cache.folder.parent == tmp_path
    assert len(cache.folder.name) == 12
    assert make(tmp_path, dict(reversed(IDENTITY.items()))).folder == cache.folder
    assert make(tmp_path, IDENTITY | {"max_length": 64}).folder != cache.folder


# --- what is computed and when --------------------------------------------------------------------------------------


def test_a_full_cache_does_not_ask_the_teacher_and_writes_nothing(tmp_path: Path) -> None:
    filled(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    cache = make(tmp_path)
    assert cache.missing(FIELDS).shards == ()
    assert cache.fill(FIELDS, forbidden, quiet) == []
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_shard_is_hashed_once_by_a_process_unless_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path)
    cache = make(tmp_path)
    hashed: list[Path] = []
    check = shard_module.Layout.check
    monkeypatch.setattr(shard_module.Layout, "check", lambda self: hashed.append(self.path) or check(self))
    cache.fill(FIELDS, forbidden, quiet)
    cache.open(FIELDS)
    assert len(hashed) == len(set(hashed)) == 12
    hashed[5].write_bytes(b"other")
    assert len(cache.missing(FIELDS).damaged) == 1


def test_runs_share_the_fields_they_have_in_common(tmp_path: Path, calm: dict[str, bytes]) -> None:
    filled(tmp_path, [LOGITS, HIDDEN])
    asked: set[str] = set()

    def watched(ids: np.ndarray, fields: Sequence[Field]) -> Mapping[str, list[torch.Tensor]]:
        asked.update(field.name for field in fields)
        return teacher(ids, fields)

    cache = make(tmp_path)
    cache.fill([HIDDEN, QUERY, TOP], watched, quiet)
    assert asked == {QUERY.name, TOP.name}
    assert contents(tmp_path) == calm
    one, other = cache.open([LOGITS, HIDDEN]), cache.open([HIDDEN, TOP])
    assert torch.equal(one.read([5, 30], {"input": 9})[HIDDEN.name], other.read([5, 30], {"input": 9})[HIDDEN.name])


def test_a_deleted_shard_or_field_comes_back_with_the_same_bytes(tmp_path: Path, calm: dict[str, bytes]) -> None:
    cache = filled(tmp_path)
    gone = [[path] for path in sorted(cache.folder.glob("*/*.safetensors"))]
    gone += [sorted((cache.folder / field.name).iterdir()) for field in FIELDS]
    for paths in gone:
        for path in paths:
            path.unlink()
        lacking = make(tmp_path).missing(FIELDS)
        assert lacking.damaged == ()
        assert [shard for shard, _ in lacking.shards] == [int(path.stem) for path in paths]
        with pytest.raises(CacheError, match="incomplete"):
            make(tmp_path).open(FIELDS)
        assert make(tmp_path).fill(FIELDS, teacher, quiet) == []
        assert contents(tmp_path) == calm


def test_progress_counts_the_examples_that_are_computed(tmp_path: Path) -> None:
    filled(tmp_path, [LOGITS])
    cache = make(tmp_path)
    (cache.folder / "logits" / "00001.safetensors").unlink()
    seen: list[tuple[int, int]] = []
    cache.fill([LOGITS], teacher, lambda done, total: seen.append((done, total)))
    assert seen == [(4, 16), (8, 16), (12, 16), (16, 16)]


def test_an_error_of_the_teacher_leaves_only_whole_shards(tmp_path: Path, calm: dict[str, bytes]) -> None:
    def fails(ids: np.ndarray, fields: Sequence[Field]) -> Mapping[str, list[torch.Tensor]]:
        if ids.max() > 20:
            raise RuntimeError("out of memory")
        return teacher(ids, fields)

    with pytest.raises(RuntimeError, match="out of memory"):
        make(tmp_path).fill(FIELDS, fails, quiet)
    assert contents(tmp_path).items() < calm.items()
    filled(tmp_path)
    assert contents(tmp_path) == calm


def test_an_interrupt_between_batches_leaves_only_whole_shards(tmp_path: Path, calm: dict[str, bytes]) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 24:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(tmp_path).fill(FIELDS, teacher, interrupt)
    assert contents(tmp_path).items() < calm.items()


def test_outputs_of_the_wrong_shape_are_refused(tmp_path: Path) -> None:
    def cut(ids: np.ndarray, fields: Sequence[Field]) -> Mapping[str, list[torch.Tensor]]:
        return {name: [value[:-1] for value in values] for name, values in teacher(ids, fields).items()}

    def few(ids: np.ndarray, fields: Sequence[Field]) -> Mapping[str, list[torch.Tensor]]:
        return {name: values[:-1] for name, values in teacher(ids, fields).items()}

    for wrong in (cut, few):
        with pytest.raises(ValueError, match=r"encoder\.hidden\.3"):
            make(tmp_path).fill([HIDDEN], wrong, quiet)
    assert not list(tmp_path.rglob("*.safetensors*"))


# --- damage ---------------------------------------------------------------------------------------------------------


def rebuilt(root: Path, path: Path, calm: dict[str, bytes], reason: str = "") -> None:
    """The one file at `path` is reported, with its reason, and made again; nothing else is."""
    found = make(root).missing(FIELDS)
    assert [(shard, [field.name for field in fields]) for shard, fields in found.shards] == [
        (int(path.stem), [path.parent.name])
    ]
    assert len(found.damaged) == 1
    assert found.damaged[0].startswith(f"{path} ")
    assert reason in found.damaged[0]
    with pytest.raises(CacheError, match="fill the cache again") as caught:
        make(root).open(FIELDS)
    assert str(path) in str(caught.value)
    assert make(root).fill(FIELDS, teacher, quiet) == list(found.damaged)
    assert contents(root) == calm


def flip(path: Path, position: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ (1 << bit)]))


def test_a_flipped_bit_anywhere_is_found_and_mended(tmp_path: Path, calm: dict[str, bytes]) -> None:
    paths = sorted(filled(tmp_path).folder.glob("*/*.safetensors"))
    draw = random.Random(1)
    for _ in range(50):
        path = draw.choice(paths)
        flip(path, draw.randrange(path.stat().st_size), draw.randrange(8))
        rebuilt(tmp_path, path, calm)


def test_every_byte_of_a_shard_counts(tmp_path: Path) -> None:
    path = filled(tmp_path, [HIDDEN]).folder / HIDDEN.name / "00000.safetensors"
    draw = random.Random(2)
    for position in range(path.stat().st_size):
        bit = draw.randrange(8)
        flip(path, position, bit)
        assert len(make(tmp_path).missing([HIDDEN]).damaged) == 1, position
        flip(path, position, bit)
    assert make(tmp_path).missing([HIDDEN]).damaged == ()


def test_truncated_empty_longer_and_garbage_files(tmp_path: Path, calm: dict[str, bytes]) -> None:
    path = filled(tmp_path).folder / QUERY.name / "00001.safetensors"
    good = path.read_bytes()
    draw = random.Random(3)
    for length in [1, 7, 8, 100, len(good) - 1, *(draw.randrange(len(good)) for _ in range(10))]:
        path.write_bytes(good[:length])
        rebuilt(tmp_path, path, calm, "no readable header" if length < 100 else "")
    path.write_bytes(good[:-1])
    rebuilt(tmp_path, path, calm, f"has {len(good) - 1} bytes, not {len(good)}")
    path.write_bytes(b"")
    rebuilt(tmp_path, path, calm, "is empty")
    path.write_bytes(good + b"\0")
    rebuilt(tmp_path, path, calm, f"has {len(good) + 1} bytes")
    for garbage in (draw.randbytes(3000), b"\0" * len(good), b"\2\0\0\0\0\0\0\0[]", b"\2\0\0\0\0\0\0\0{}" + good):
        path.write_bytes(garbage)
        rebuilt(tmp_path, path, calm, "no readable header")
    save_file({"values": torch.zeros(3)}, path)
    rebuilt(tmp_path, path, calm, "no readable header")


def test_a_shard_of_something_else_is_not_used(tmp_path: Path, calm: dict[str, bytes]) -> None:
    folder = filled(tmp_path).folder
    elsewhere = make(tmp_path / "other", IDENTITY | {"teacher_weights_sha256": "b" * 64})
    elsewhere.fill(FIELDS, teacher, quiet)
    path = folder / HIDDEN.name / "00001.safetensors"
    path.write_bytes((elsewhere.folder / HIDDEN.name / "00001.safetensors").read_bytes())
    for directory in (tmp_path / "other").iterdir():  # no longer needed, and not part of the calm cache
        for file in sorted(directory.rglob("*"), reverse=True):
            file.unlink() if file.is_file() else file.rmdir()
    rebuilt(tmp_path, path, calm, "other identity")
    path.write_bytes((folder / HIDDEN.name / "00000.safetensors").read_bytes())
    rebuilt(tmp_path, path, calm, "other first example")
    path.write_bytes((folder / QUERY.name / "00001.safetensors").read_bytes())
    rebuilt(tmp_path, path, calm, "other field")


@pytest.mark.parametrize("field", [LOGITS, HIDDEN])
def test_other_lengths_make_a_shard_stale(tmp_path: Path, field: Field) -> None:
    filled(tmp_path, [field])
    lengths = LENGTHS.copy()
    places = np.flatnonzero(lengths[:16] != lengths[0])
    lengths[[0, places[0]]] = lengths[[places[0], 0]]  # the sum stays: only the order tells
    found = make(tmp_path, lengths=lengths).missing([field])
    assert [shard for shard, _ in found.shards] == [0]
    assert "other lengths" in found.damaged[0]


def test_other_width_or_dtype_makes_a_field_stale(tmp_path: Path) -> None:
    filled(tmp_path, [HIDDEN])
    wider = Field(HIDDEN.name, 6, True, torch.float16)
    assert all("not F16 of width 6" in reason for reason in make(tmp_path).missing([wider]).damaged)
    other = Field(HIDDEN.name, 5, True, torch.bfloat16)
    assert len(make(tmp_path).missing([other]).damaged) == 3
    assert len(make(tmp_path).fill([other], teacher, quiet)) == 3
    assert make(tmp_path).open([other]).read([0], {"input": LONGEST})[HIDDEN.name].dtype == torch.float32


def test_a_damaged_identity_file_is_written_again_with_the_next_shard(tmp_path: Path, calm: dict[str, bytes]) -> None:
    cache = filled(tmp_path)
    (cache.folder / "identity.json").write_text("{")
    (cache.folder / "logits" / "00000.safetensors").unlink()
    filled(tmp_path)
    assert contents(tmp_path) == calm


# --- sudden death, other processes, a full disk ---------------------------------------------------------------------

STORAGE_CALLS = ("pwrite", "fsync", "replace", "unlink", "ftruncate", "mkdir")


def die_at(call: int) -> list[int]:
    """From now on kill this process at its call number `call` to the file system, in the middle of a write."""
    counted = [0]

    def dies(original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **settings: Any) -> Any:
            counted[0] += 1
            if counted[0] == call:
                if original is pwrite:
                    original(args[0], args[1][: len(args[1]) // 2], args[2])
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **settings)

        return wrapper

    pwrite = os.pwrite
    for name in STORAGE_CALLS:
        setattr(os, name, dies(getattr(os, name)))
    return counted


def test_killed_at_any_moment_leaves_whole_shards_and_the_rest_is_made_the_same(
    tmp_path: Path, calm: dict[str, bytes]
) -> None:
    receive, send = os.pipe()

    def count() -> None:
        counted = die_at(-1)
        filled(tmp_path / "counted")
        os.write(send, str(counted[0]).encode())

    assert ended(child(count)) == 0
    calls = int(os.read(receive, 20))
    assert calls > 100
    draw = random.Random(4)
    half_done = 0
    for attempt in range(30):
        root = tmp_path / str(attempt)
        moment = draw.randrange(1, calls)

        def work(root: Path = root, moment: int = moment) -> None:
            die_at(moment)
            filled(root)

        assert ended(child(work)) == -signal.SIGKILL
        left = contents(root) if root.exists() else {}
        whole = {name: content for name, content in left.items() if not name.endswith(".tmp")}
        assert whole.items() <= calm.items()
        half_done += len(left) - len(whole)
        filled(root)
        again = contents(root)
        # The temporary file of identity.json names no machine, so it goes only after a day.
        assert {name for name in again.keys() - calm.keys() if ".identity.json." not in name} == set()
        assert calm.items() <= again.items()
    assert half_done > 30  # the kills did hit unfinished files


def test_a_shard_is_on_the_disk_before_its_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[tuple[str, str]] = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        happened.append(("fsync", Path(f"/proc/self/fd/{descriptor}").readlink().name))
        fsync(descriptor)

    def renamed(source: Path, target: Path) -> None:
        happened.append(("rename", Path(source).name))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    filled(tmp_path, [LOGITS])
    for shard in range(3):
        temporary = f".0000{shard}.safetensors.{os.getpid()}@{platform.node()}.tmp"
        place = happened.index(("rename", temporary))
        assert happened[place - 1 : place + 2] == [("fsync", temporary), ("rename", temporary), ("fsync", "logits")]


def test_a_second_process_waits_for_the_first_and_computes_nothing(tmp_path: Path, calm: dict[str, bytes]) -> None:
    start_receive, start = os.pipe()
    waits_receive, waits = os.pipe()
    told: list[str] = []

    def tell(event: Event) -> None:
        assert isinstance(event, Notice)
        told.append(event.text)
        os.write(waits, b"w")

    def second() -> None:
        os.read(start_receive, 1)
        assert make(tmp_path).fill(FIELDS, forbidden, quiet, tell) == []
        assert "waiting for another run that fills this cache" in told[0]
        make(tmp_path).open(FIELDS)

    pid = child(second)

    def compute(ids: np.ndarray, fields: Sequence[Field]) -> Mapping[str, list[torch.Tensor]]:
        if not waited:
            os.write(start, b"s")
            waited.append(os.read(waits_receive, 1))
        return teacher(ids, fields)

    waited: list[bytes] = []
    make(tmp_path).fill(FIELDS, compute, quiet, lambda _: pytest.fail("the first one has nobody to wait for"))
    assert ended(pid) == 0
    assert contents(tmp_path) == calm


def test_a_process_that_the_teacher_started_does_not_keep_the_lock(tmp_path: Path) -> None:
    receive, send = os.pipe()
    workers: list[int] = []

    def compute(ids: np.ndarray, fields: Sequence[Field]) -> Mapping[str, list[torch.Tensor]]:
        if not workers:
            workers.append(child(lambda: os.read(receive, 1) and None))
        return teacher(ids, fields)

    make(tmp_path).fill([LOGITS], compute, quiet)
    try:
        make(tmp_path).fill([HIDDEN], teacher, quiet, lambda event: pytest.fail(str(event)))
    finally:
        os.write(send, b"x")
    assert ended(workers[0]) == 0


def test_two_processes_at_once_without_locks_do_no_harm(
    tmp_path: Path, calm: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    to_second, to_first = os.pipe(), os.pipe()

    def side(receive: int, send: int) -> Callable[[], None]:
        def compute(ids: np.ndarray, fields: Sequence[Field]) -> Mapping[str, list[torch.Tensor]]:
            os.write(send, b"x")  # both are inside the same batch at the same time
            assert os.read(receive, 1) == b"x"
            return teacher(ids, fields)

        return lambda: None if make(tmp_path).fill([HIDDEN, LOGITS], compute, quiet) == [] else os._exit(2)

    pids = [child(side(to_first[0], to_second[1])), child(side(to_second[0], to_first[1]))]
    assert [ended(pid) for pid in pids] == [0, 0]
    filled(tmp_path)
    assert contents(tmp_path) == calm


def test_only_files_of_the_dead_are_cleaned(tmp_path: Path) -> None:
    cache = make(tmp_path)
    (cache.folder / "logits").mkdir(parents=True)
    dead = child(lambda: None)
    ended(dead)
    here = platform.node()
    kept = [f".a.{os.getppid()}@{here}.tmp", f".a.{dead}@elsewhere.tmp"]
    gone = [f".a.{dead}@{here}.tmp", f".a.{os.getpid()}@{here}.tmp", ".a.1@elsewhere.tmp", ".identity.json.5.tmp"]
    for name in kept + gone:
        (cache.folder / "logits" / name).write_text("x")
    for name in gone[2:]:
        os.utime(cache.folder / "logits" / name, (0, 0))
    cache.fill([LOGITS], teacher, quiet)
    assert {path.name for path in (cache.folder / "logits").glob(".*")} == set(kept)


def test_a_disk_that_takes_a_little_at_a_time(
    tmp_path: Path, calm: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, position: pwrite(file, data[:7], position))
    filled(tmp_path)
    assert contents(tmp_path) == calm


def test_a_full_disk_is_a_storage_error_and_leaves_nothing_half_written(tmp_path: Path, calm: dict[str, bytes]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1300, hard))  # the logits fit, the hidden states do not
    try:
        with pytest.raises(StorageError, match="filling the teacher cache") as caught:
            make(tmp_path).fill(FIELDS, teacher, quiet)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.exit_code == 5
    assert {name.split("/", 1)[1] for name in contents(tmp_path)} == {".lock", "identity.json"}
    filled(tmp_path)
    assert contents(tmp_path) == calm


# --- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (HIDDEN, 7e4, "'encoder.hidden.3' reaches 7e.04, too large for float16; cache it as float32 or bfloat16"),
        (QUERY, 3.4e38, "'encoder.self.2.q' reaches 3.4e.38, too large for bfloat16"),
        (HIDDEN, float("inf"), "'encoder.hidden.3': the teacher gives values that are not finite"),
        (LOGITS, float("nan"), "'logits': the teacher gives values that are not finite"),
        (TOP, 2**40, "'top2.indices' holds values that are no int32"),
        (TOP, 0.5, "'top2.indices' holds values that are no int32"),
    ],
)
def test_values_that_do_not_fit_are_refused(tmp_path: Path, field: Field, value: float, message: str) -> None:
    def wild(ids: np.ndarray, fields: Sequence[Field]) -> Mapping[str, list[torch.Tensor]]:
        outputs = teacher(ids, fields)
        dtype = torch.int64 if isinstance(value, int) else torch.float32
        outputs[field.name] = [tensor.to(dtype) for tensor in outputs[field.name]]
        if 7 in ids:
            outputs[field.name][ids.tolist().index(7)].view(-1)[0] = value
        return outputs

    with pytest.raises(UserError, match=message) as caught:
        make(tmp_path).fill(FIELDS, wild, quiet)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.safetensors*"))


def test_the_largest_halves_fit(tmp_path: Path) -> None:
    field = Field("x", 2, False, torch.float16)
    cache = make(tmp_path)
    cache.fill([field], lambda ids, _: {"x": [torch.tensor([65504.0, -65504.0])] * len(ids)}, quiet)
    assert cache.open([field]).read([0], {"input": LONGEST})["x"].tolist() == [[65504.0, -65504.0]]


def test_outputs_made_in_inference_mode_with_gradients_elsewhere_are_stored(tmp_path: Path) -> None:
    def inference(ids: np.ndarray, fields: Sequence[Field]) -> Mapping[str, list[torch.Tensor]]:
        with torch.inference_mode():
            return {name: [value * 1 for value in values] for name, values in teacher(ids, fields).items()}

    def graph(ids: np.ndarray, fields: Sequence[Field]) -> Mapping[str, list[torch.Tensor]]:
        return {name: [value.requires_grad_() for value in values] for name, values in teacher(ids, fields).items()}

    for folder, compute in (("a", inference), ("b", graph)):
        make(tmp_path / folder).fill([LOGITS, HIDDEN], compute, quiet)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b", "é"])
def test_a_name_that_is_no_directory_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a field"):
        Field(name, 1, True, torch.float32)


def test_impossible_fields_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="float64"):
        Field("x", 1, True, torch.float64)
    with pytest.raises(ValueError, match="width 0"):
        Field("x", 0, True, torch.float32)
    with pytest.raises(ValueError, match="two different fields"):
        make(tmp_path).missing([Field("x", 1, True, torch.float32), Field("x", 2, True, torch.float32)])


# --- reading in other processes -------------------------------------------------------------------------------------


class Batches(Dataset[dict[str, torch.Tensor]]):
    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    def __len__(self) -> int:
        return N - 3

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return self.reader.read([index, index + 3, index], {"input": LONGEST})


@pytest.mark.parametrize("used", [False, True])
def test_a_data_loader_with_workers_reads_the_same(tmp_path: Path, used: bool) -> None:
    cache = filled(tmp_path)
    reader = cache.open(FIELDS)
    if used:
        reader.read(range(N), {"input": LONGEST})
    truth = Batches(cache.open(FIELDS))
    loader = DataLoader(Batches(reader), batch_size=None, num_workers=2, multiprocessing_context="fork")
    count = 0
    for index, batch in enumerate(loader):
        count += 1
        assert batch.keys() == truth[index].keys()
        assert all(torch.equal(batch[name], value) for name, value in truth[index].items())
    assert count == N - 3


def test_a_pickled_reader_carries_no_data_and_reads_the_same(tmp_path: Path) -> None:
    reader = filled(tmp_path).open(FIELDS)
    read = reader.read(range(N), {"input": LONGEST})
    pickled = pickle.dumps(reader)
    assert b"torch._utils" not in pickled
    assert len(pickled) < 3000
    again = pickle.loads(pickled).read(range(N), {"input": LONGEST})
    assert all(torch.equal(read[name], again[name]) for name in read)


def test_an_open_reader_holds_no_file_descriptors(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    before = len(list(Path("/proc/self/fd").iterdir()))
    reader = cache.open(FIELDS)
    reader.read(range(N), {"input": LONGEST})
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_what_is_read_may_be_changed_without_changing_the_cache(tmp_path: Path, calm: dict[str, bytes]) -> None:
    reader = filled(tmp_path).open(FIELDS)
    first = reader.read([3, 4], {"input": LONGEST})
    kept = {name: value.clone() for name, value in first.items()}
    for value in first.values():
        value.zero_()
    assert all(torch.equal(reader.read([3, 4], {"input": LONGEST})[name], value) for name, value in kept.items())
    assert contents(tmp_path) == calm


# --- why a cache does not match -------------------------------------------------------------------------------------


def test_the_difference_to_the_most_similar_cache_is_told(tmp_path: Path) -> None:
    assert describe_difference(tmp_path / "nowhere", IDENTITY) is None
    cache = filled(tmp_path, [LOGITS])
    assert describe_difference(tmp_path, IDENTITY) is None
    changed = IDENTITY | {"teacher_weights_sha256": "b" * 64, "max_length": 64}
    text = f"the cache in {cache.folder} was made with other teacher weights, max_length 128 instead of 64"
    assert describe_difference(tmp_path, changed) == text
    nearer = make(tmp_path, changed | {"max_length": 32})
    nearer.fill([LOGITS], teacher, quiet)
    assert (
        describe_difference(tmp_path, changed)
        == f"the cache in {nearer.folder} was made with max_length 32 instead of 64"
    )


def test_other_data_and_broken_files_are_no_difference(tmp_path: Path) -> None:
    cache = filled(tmp_path, [LOGITS])
    assert describe_difference(tmp_path, IDENTITY | {"data_name": "sst"}) is None
    assert describe_difference(tmp_path, IDENTITY | {"teacher_name": "small"}) is None
    for text in ("", "[]", "\x00", '{"teacher_name": "big"'):
        (cache.folder / "identity.json").write_text(text)
        assert describe_difference(tmp_path, IDENTITY | {"max_length": 1}) is None


def test_settings_that_only_one_side_has_are_told(tmp_path: Path) -> None:
    filled(tmp_path, [LOGITS])
    text = describe_difference(
        tmp_path, {key: IDENTITY[key] for key in IDENTITY if key != "max_length"} | {"dtype": "x"}
    )
    assert text is not None
    assert text.endswith("was made with no dtype, max_length 128")
