"""A file is the old one or the new one, whatever goes wrong in between."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from forge.core.errors import StorageError
from forge.core.io import (
    MOST_JSON_DEPTH,
    from_json,
    read_json,
    remove_temporaries,
    storage_errors,
    to_json,
    write_atomic,
    write_json,
)


def _fail(number):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("culprit", ["fsync", "replace", "open", "write"])
def test_a_failed_write_leaves_the_old_content_and_nothing_else(tmp_path, monkeypatch, culprit):
    path = tmp_path / "state.json"
    path.write_text("old")
    if culprit == "fsync":
        monkeypatch.setattr(os, "fsync", _fail(errno.ENOSPC))
    elif culprit == "replace":
        monkeypatch.setattr(Path, "replace", _fail(errno.ENOSPC))
    elif culprit == "open":
        monkeypatch.setattr(Path, "open", _fail(errno.ENOSPC))
    text = "new \ud800" if culprit == "write" else "new"  # half a surrogate pair cannot be written
    with pytest.raises((OSError, UnicodeEncodeError)):
        write_atomic(path, text)
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]


def test_write_atomic_syncs_the_file_before_the_rename_and_the_directory_after(tmp_path, monkeypatch):
    seen: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (seen.append(Path(f"/proc/self/fd/{fd}").resolve().name), fsync(fd)))
    monkeypatch.setattr(Path, "replace", lambda self, to: (seen.append("rename"), replace(self, to))[1])
    write_atomic(tmp_path / "a", "text")
    assert seen[1:] == ["rename", tmp_path.name]
    assert seen[0].startswith(".a.")
    assert (tmp_path / "a").read_text() == "text"


def test_write_json_round_trips_and_refuses_nan(tmp_path):
    write_json(tmp_path / "a.json", {"z": "é", "a": [1.5]})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "z": "é",\n  "a": [\n    1.5\n  ]\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json({"loss": float("nan")})


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM])
def test_a_disk_error_becomes_a_storage_error_that_says_what_was_done(number):
    with pytest.raises(StorageError) as caught, storage_errors("saving checkpoint-7"):
        raise OSError(number, os.strerror(number), "/disk/file")
    assert caught.value.exit_code == 5
    assert str(caught.value).startswith(
        f"cannot write while saving checkpoint-7: {os.strerror(number)} (/disk/file); what was saved before stays good"
    )


@pytest.mark.parametrize("error", [OSError(errno.ENOENT, "x"), FileNotFoundError(2, "x"), ValueError("x"), KeyError(1)])
def test_other_errors_pass_through(error):
    with pytest.raises(type(error)) as caught, storage_errors("saving"):
        raise error
    assert caught.value is error


def test_a_disk_error_inside_safetensors_is_one_too():
    from safetensors import SafetensorError

    def fail(text):
        with storage_errors("saving checkpoint-7"):
            raise SafetensorError(text)

    with pytest.raises(StorageError, match="saving checkpoint-7: No space left on device"):
        fail('Error while serializing: I/O error: No space left on device (os error 28) at path "/x"')
    with pytest.raises(SafetensorError):
        fail("Error while deserializing header: invalid header")


LIMITED = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from safetensors.numpy import save_file
from forge.core.errors import StorageError
from forge.core.io import storage_errors, write_atomic
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = Path(sys.argv[1])
write_atomic(folder / "text", "old")
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
for write in (
    lambda: write_atomic(folder / "text", "x" * 100_000),
    lambda: save_file({"a": np.zeros(100_000)}, folder / "tensors"),
):
    try:
        with storage_errors("saving"):
            write()
    except StorageError as error:
        print(error)
assert (folder / "text").read_text() == "old"
"""


def test_files_that_may_not_grow_for_real(tmp_path):
    """The operating system itself refuses the bytes, under Python's files and under those of safetensors."""
    command = [sys.executable, "-c", LIMITED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("cannot write while saving: File too large") == 2, done.stdout


def test_only_what_a_killed_write_left_is_removed(tmp_path):
    left = [".state.json.123.tmp", ".forge-write-test.9.tmp"]
    kept = ["state.json", "state.tmp", ".tmp", ".x.tmp", ".notes.1a.tmp", ".lock", "mine.7.tmp", ".cache.7.tmp"]
    for name in left + kept[:-1]:
        (tmp_path / name).write_text("x")
    (tmp_path / kept[-1]).mkdir()
    remove_temporaries(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


def nested(depth):
    return "[" * depth + "]" * depth


@pytest.mark.parametrize("depth", [MOST_JSON_DEPTH + 1, 500, 900, 3_000, 100_000])
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_json_that_is_nested_too_deeply_is_an_error_like_any_other(depth, opening):
    closing = "]" if opening == "[" else "}"
    with pytest.raises(ValueError, match="nested too deeply"):
        from_json(opening * depth + "1" + closing * depth)


def test_what_was_read_can_be_written_again(tmp_path):
    value = from_json(nested(MOST_JSON_DEPTH))
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value


def test_reading_json_stops_at_the_cap(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('"' + "x" * 98 + '"')
    assert read_json(path, 100) == "x" * 98
    with pytest.raises(ValueError, match="it is larger than 99 bytes"):
        read_json(path, 99)
    path.write_bytes(b"\xff")
    with pytest.raises(ValueError, match="utf-8"):
        read_json(path)
