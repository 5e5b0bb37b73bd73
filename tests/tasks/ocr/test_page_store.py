"""Pages are drawn once for their content, whole or not at all, and cost no memory afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import ROOT
from tasks.pages.hostile import document, encrypted, image

from forge.core.errors import StorageError
from forge.tasks.ocr import draw, store
from forge.tasks.ocr.files import PageColumns
from forge.tasks.pages.sizes import Scale


@pytest.fixture
def drawn(_quick, monkeypatch):
    """How many pages were drawn so far: a list of one number each."""
    pages, way = [], draw.open_places

    def counting(files, places, password=None, **options):
        pages.append(len(places))
        return way(files, places, password, **options)

    monkeypatch.setattr(draw, "open_places", counting)
    return pages


def scans(put, count=3):
    for number in range(count):
        put(f"s/{number}.png", image("PNG", (40 + number, 30)))
        put(f"s/{number}.md", f"page {number}")


def test_the_second_time_nothing_is_drawn(put, read, drawn, work):
    scans(put)
    put("s/gone.md", "")
    first = read("s")
    assert sum(drawn) == 3
    again = read("s")
    assert sum(drawn) == 3
    assert again.table.fingerprint == first.table.fingerprint
    assert again.table.rows[:] == first.table.rows[:]
    assert again.notices == first.notices == ("s/gone.md  has no page file beside it: gone.pdf, gone.png or the like",)
    for path in (work / "s").iterdir():
        os.utime(path, (1, 1))
    (work / "s").rename(work / "t")
    moved = read("t")
    assert sum(drawn) == 3, "times and the place of the folder do not count"
    assert moved.table.where(0) == "t/0.png"
    assert moved.notices[0].startswith("t/gone.md  ")


@pytest.mark.parametrize("change", ["page", "text", "name", "scale", "password", "new", "fewer"])
def test_what_changes_is_drawn_again(put, read, drawn, work, change):
    scans(put)
    before = read("s").table
    stat = (work / "s/1.png").stat()
    options = {}
    match change:
        case "page":
            same_size = bytearray((work / "s/1.png").read_bytes())
            same_size[-1] ^= 1
            put("s/1.png", bytes(same_size))
            os.utime(work / "s/1.png", ns=(stat.st_atime_ns, stat.st_mtime_ns))
        case "text":
            put("s/1.md", "other")
        case "name":
            (work / "s/1.png").rename(work / "s/1.webp")
        case "scale":
            options = {"scale": Scale(longest_edge=20)}
        case "password":
            options = {"password": "secret"}
        case "new":
            put("s/9.png")
            put("s/9.md", "9")
        case "fewer":
            (work / "s/1.md").unlink()
    after = read("s", **options).table
    assert sum(drawn) == 3 + {"new": 4, "fewer": 2}.get(change, 3)
    assert after.fingerprint != before.fingerprint


def test_rows_and_columns_are_part_of_it(put, put_rows, read, drawn):
    put("a.png")
    put_rows("p.jsonl", {"page": "a.png", "markdown": "x", "text": "y", "document": "d"})
    tables = [
        read("p.jsonl").table,
        read("p.jsonl", PageColumns(markdown="text")).table,
        read("p.jsonl", PageColumns(document="page")).table,
    ]
    assert [table.rows["markdown"][0] for table in tables] == ["x", "y", "x"]
    assert [table.rows["document"][0] for table in tables] == ["d", "d", "a.png"]
    assert len({table.fingerprint for table in tables}) == 3


def test_a_damaged_cache_is_made_again(put, read, drawn, tmp_path):
    scans(put)
    before = read("s").table
    rows = before.rows[:]
    [cache] = (tmp_path / "cache/forge-pages").glob("*.arrow")
    cache.write_bytes(cache.read_bytes()[:-100])
    assert read("s").table.rows[:] == rows
    [about] = (tmp_path / "cache/forge-pages").glob("*.json")
    about.write_text("{")
    assert read("s").table.rows[:] == rows
    assert sum(drawn) == 9


def test_nothing_is_kept_where_no_page_is_left(put, refused, drawn, tmp_path):
    put("s/a.pdf", encrypted())
    put("s/a.md", "")
    assert refused("s") == "s  has no page to read: s/a.pdf  is locked: give its password"
    assert [path.suffix for path in (tmp_path / "cache/forge-pages").iterdir()] == [".lock"]


def test_a_full_disk(put, read, drawn, monkeypatch, tmp_path):
    def full(path):
        raise OSError(28, "No space left on device")

    scans(put)
    monkeypatch.setattr(store, "fsync_file", full)
    with pytest.raises(StorageError, match="cannot write while writing pages into"):
        read("s")
    assert [path.suffix for path in (tmp_path / "cache/forge-pages").iterdir()] == [".lock"]


def test_progress(put, read, drawn, monkeypatch, capsys):
    scans(put)
    read("s")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(store, "REPORT_SECONDS", 0.0)
    put("s/0.md", "other")
    read("s")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("forge: looking at the files of s: 1, ")
    assert lines[-1].startswith("forge: drawing pages of s: 3 of 3, ")
    assert lines[-1].endswith(" a second")


CHILD = """
import re, sys, threading, time
from pathlib import Path
import datasets
datasets.config.HF_DATASETS_CACHE = sys.argv[1]
datasets.disable_progress_bars()
from forge.tasks.ocr.files import PageColumns, read_pages
from forge.tasks.pages.sizes import Scale

most = 0  # MB of memory of its own: what is mapped from files can be dropped at any time

def watch():
    global most
    while True:
        own = int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
        most = max(most, own)
        time.sleep(0.005)

def read(reference):
    found = read_pages(reference, PageColumns(), Scale(dpi=72), None, None, "", None)
    size = 0
    for row in found.table.rows:
        size += len(row["image"])
    return len(found.table.rows), size

if len(sys.argv) > 3:
    threading.Thread(target=watch, daemon=True).start()
    read(sys.argv[3])
before = most
rows, size = read(sys.argv[2])
print([rows, size / 2**20, most - before])
"""


def start(tmp_path, *references):
    command = [sys.executable, "-c", CHILD, str(tmp_path / "cache"), *references]
    return subprocess.Popen(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE)


@pytest.mark.slow
def test_killed_while_drawing(tmp_path):
    (tmp_path / "s").mkdir()
    content = b"BT /F1 24 Tf 20 40 Td (Hello, page) Tj ET " * 100
    (tmp_path / "s/a.pdf").write_bytes(document(pages=300, content=content))
    for number in range(1, 301):
        (tmp_path / f"s/a.{number}.md").write_text(f"page {number}")
    cache = tmp_path / "cache/forge-pages"
    process = start(tmp_path, "s")
    deadline = time.monotonic() + 300
    while not any(path.stat().st_size > 10_000 for path in cache.glob("*.tmp")):
        assert process.poll() is None, "was too quick to be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert sorted(path.suffix for path in cache.iterdir()) == [".lock", ".tmp"]
    done = start(tmp_path, "s").communicate()[0]
    assert json.loads(done)[0] == 300
    assert sorted(path.suffix for path in cache.iterdir()) == [".arrow", ".json", ".lock"]


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_many_pages_cost_no_memory(tmp_path):
    noise = image("PNG", (1_000, 800))
    for name, count in (("few", 8), ("many", 150)):
        (tmp_path / name).mkdir()
        for number in range(count):
            (tmp_path / name / f"{number}.png").write_bytes(noise)
            (tmp_path / name / f"{number}.md").write_text(f"page {number}")
    rows, megabytes, grew = json.loads(start(tmp_path, "many", "few").communicate()[0])
    print(f"{rows} pages, {megabytes:.0f} MB: {grew:.0f} MB more than 8 pages")
    assert rows == 150
    assert megabytes > 100
    assert grew < 0.5 * megabytes


def test_two_at_once_draw_once(put, read, drawn, monkeypatch):
    """The one that waits finds what the other has made."""
    scans(put)
    kept = read("s")
    calls = []

    def not_yet(*paths):
        calls.append(paths)
        return None if len(calls) == 1 else whole(*paths)

    whole = store._whole
    monkeypatch.setattr(store, "_whole", not_yet)
    assert read("s").table.rows[:] == kept.table.rows[:]
    assert (len(calls), sum(drawn)) == (2, 3)


def test_left_temporaries(put, read, drawn, tmp_path):
    folder = tmp_path / "cache/forge-pages"
    folder.mkdir(parents=True)
    (folder / "killed.123.tmp").write_bytes(b"half")
    (folder / "busy.124.tmp").write_bytes(b"half")
    import fcntl

    with Path(folder / "busy.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        scans(put, 1)
        read("s")
        assert sorted(path.name for path in folder.glob("*.tmp")) == ["busy.124.tmp"]


FOLDER = Path(os.environ.get("FORGE_DATA", "data"), "ocr", "olmocr").absolute()


def test_olmocr_sample(work, read):
    """Real pages of allenai/olmocr (tests/sample_dataset): PDF files of one page beside their Markdown."""
    if not any(FOLDER.rglob("*.pdf")):
        pytest.skip(
            f"no PDF files in {FOLDER}; set FORGE_DATA to the folder that holds ocr/olmocr/, pairs of a.pdf and a.md"
        )
    found = read(str(FOLDER))
    assert len(found.table.rows) >= 1
    assert all(row["image"].startswith(b"\x89PNG") for row in found.table.rows)
    assert any(row["characters"] for row in found.table.rows)
