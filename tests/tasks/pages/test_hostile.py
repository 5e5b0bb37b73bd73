"""Whatever the file, reading it ends, in time, with pages or with a reason on one line, and within its memory."""

from __future__ import annotations

import json
import os
import random
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import ROOT, children
from tasks.pages.hostile import (
    document,
    drawn_for_ever,
    encrypted,
    file_cases,
    image,
    nested_forms,
    pdf,
    stream,
    tiff,
    zeros,
)

from forge.tasks.pages.sizes import MAX_EDGE, Limits, Scale
from forge.tasks.pages.stream import Page, open_pages

CASES = file_cases()


def read(path, **options):
    """(pages, refusals in words); every promise that holds for all files is checked here."""
    start, pages, refusals = time.monotonic(), [], []
    for item in open_pages(path, **options):
        assert time.monotonic() - start < 30
        start = time.monotonic()
        if isinstance(item, Page):
            assert item.pixels.shape[0] * item.pixels.shape[1] <= 20_000_000
            assert max(item.pixels.shape) <= MAX_EDGE
            assert pages == sorted(set(pages))
            pages.append(item.number)
        else:
            reason = str(item)
            assert reason.isprintable()
            assert 0 < len(reason) <= 260
            refusals.append(reason)
    assert time.monotonic() - start < 30
    return pages, refusals


def test_there_are_many_cases():
    assert len(CASES) >= 60


@pytest.mark.parametrize("name", CASES)
def test_every_file_comes_to_an_end(name, tmp_path):
    data, count, words = CASES[name]
    path = tmp_path / "wrong.suffix"
    path.write_bytes(data)
    pages, refusals = read(path)
    assert pages or refusals
    assert count is None or len(pages) == count
    assert words in " ".join(refusals)
    assert words or count is None or not refusals


def test_what_is_no_file_is_refused_without_waiting(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    Path("loop").symlink_to("loop")
    Path("dangling").symlink_to("nowhere")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind("socket")
    expected = {
        ".": "is a directory",
        "pipe": "is not a file",
        "/dev/zero": "is not a file",
        "/dev/null": "is not a file",
        "socket": "cannot be opened",
        "loop": "cannot be opened",
        "dangling": "does not exist",
        "missing.pdf": "does not exist",
        "zero\0byte": "cannot be opened",
        "long" * 1_000: "cannot be opened",
    }
    for path, words in expected.items():
        pages, [reason] = read(path)
        assert not pages
        assert words in reason
    listening.close()


def test_names_of_any_bytes_and_links_are_read(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9 \xff\n.pdf")
    path.write_bytes(document())
    (tmp_path / "link").symlink_to(path)
    assert read(path) == ([1], [])
    assert read(tmp_path / "link") == ([1], [])


def test_a_file_without_permission(tmp_path, monkeypatch):
    path = tmp_path / "a.pdf"
    path.write_bytes(document())
    path.chmod(0)
    if os.geteuid() == 0:  # root may read everything

        def refuse(*_):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("forge.tasks.pages.source.os.open", refuse)
    assert read(path) == ([], ["cannot be opened: Permission denied"])


def test_passwords(tmp_path):
    path = tmp_path / "a.pdf"
    path.write_bytes(encrypted("secret"))
    assert read(path) == ([], ["is locked: give its password"])
    assert read(path, password="wrong") == ([], ["is locked, and the password is wrong"])
    assert read(path, password="secret") == ([1], [])
    assert read(path, password="owner", trusted=True) == ([1], [])
    path.write_bytes(encrypted("clé"))
    assert read(path, password="clé") == ([1], [])
    path.write_bytes(document())
    assert read(path, password="not needed") == ([1], [])


def mixed(*contents):
    """A document with these contents as pages, `drawn_for_ever` and the like among them."""
    bad = [stream(c) if not c.startswith(b"<<") else c for c in contents]
    kids = b" ".join(b"%d 0 R" % (3 + len(bad) + i) for i in range(len(bad)))
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, len(bad))]
    one = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 100] /Contents %d 0 R /Resources << /XObject %s >> >>"
    names = b"<< /I %d 0 R >>" % (3 + 2 * len(bad))
    objects += [*bad, *[one % (3 + i, names) for i in range(len(bad))]]
    header = b"/Type /XObject /Subtype /Image /Width 4000 /Height 4000 /BitsPerComponent 8 /ColorSpace /DeviceRGB"
    return pdf([*objects, stream(zeros(48 << 20), header + b" /Filter /FlateDecode")])


GOOD, SLOW = b"0 0 m 99 99 l S", b"q 180 0 0 80 10 10 cm /I Do Q\n" * 100_000


def test_a_page_that_ends_its_reader_is_one_page(tmp_path):
    path = tmp_path / "a.pdf"
    path.write_bytes(mixed(GOOD, SLOW, GOOD, SLOW, GOOD))
    pages, refusals = read(path, limits=Limits(seconds=1))
    assert pages == [1, 3, 5]
    assert [reason.split(" takes")[0] for reason in refusals] == ["page 2", "page 4"]


def test_pages_that_all_end_their_reader_are_not_tried_for_ever(tmp_path):
    path = tmp_path / "a.pdf"
    path.write_bytes(mixed(*[SLOW] * 9))
    pages, refusals = read(path, limits=Limits(seconds=0.5))
    assert not pages
    assert refusals[-1] == "cannot be read from page 6 on: none of the 5 pages before could"
    assert len(refusals) == 6


@pytest.mark.slow
def test_computing_ends_though_nobody_waits(tmp_path):
    path = tmp_path / "a.pdf"
    path.write_bytes(mixed(GOOD, SLOW, GOOD))
    found = open_pages(path, limits=Limits(seconds=1))
    assert next(found).number == 1
    child = int(Path("/proc/thread-self/children").read_text().split()[-1])
    deadline = time.monotonic() + 25  # the child draws page 2 ahead, alone
    while "Z" not in Path(f"/proc/{child}/stat").read_text().rsplit(")")[1] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert str(next(found)).startswith("page 2 takes more than 1 s of computing")
    assert next(found).number == 3


def test_the_child_goes_with_the_one_who_asked(tmp_path):
    (tmp_path / "a.pdf").write_bytes(document(pages=9))
    before = children()
    found = open_pages(tmp_path / "a.pdf")
    next(found)
    assert len(children() - before) == 1
    found.close()
    assert children() == before


PEAK = """
import json, resource, sys
from pathlib import Path
from forge.tasks.pages.stream import Limits, Page, open_pages

def most(process):  # MiB; getrusage would count whoever forked it
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0)

pages, child = 0, 0
for item in open_pages(sys.argv[1], limits=Limits(int(sys.argv[2]))):
    pages += isinstance(item, Page)
    child = max([child, *map(most, Path("/proc/thread-self/children").read_text().split())])
ended = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print(json.dumps([pages, most("self"), child, ended]))
"""


def peak(path, memory=1_024):
    """(pages, MiB of the parent at most, of a child at most while it lived, and of parent or child at most)."""
    command = [sys.executable, "-c", PEAK, str(path), str(memory)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return json.loads(done.stdout)


@pytest.mark.slow
def test_five_hundred_pages_need_the_memory_of_ten(tmp_path):
    from reportlab.lib.utils import ImageReader
    from reportlab.pdfgen.canvas import Canvas

    found = {}
    for count in (10, 500):
        canvas = Canvas(str(tmp_path / "a.pdf"))
        for number in range(count):
            canvas.drawString(60, 700, f"Page {number} " * 9)
            noise = noise_of(number)
            canvas.drawImage(ImageReader(noise), 60, 100, 400, 400)
            canvas.showPage()
        canvas.save()
        found[count] = peak(tmp_path / "a.pdf")
    assert [found[count][0] for count in found] == [10, 500]
    (_, few, few_of_child, _), (_, many, many_of_child, _) = found.values()
    assert many < 1.1 * few
    assert many + many_of_child < 1.1 * (few + few_of_child)


def noise_of(number):
    from PIL import Image

    return Image.effect_noise((160, 160), 20 + number % 50).convert("RGB")


@pytest.mark.slow
@pytest.mark.parametrize("memory", [300, 1_024])
def test_the_caps_of_memory_hold(tmp_path, memory):
    base = None
    for name, data in {
        "good": document(),
        "nested": nested_forms(),
        "bomb": CASES["bomb in a bomb"][0],
        "huge": CASES["huge image bomb"][0],
    }.items():
        (tmp_path / name).write_bytes(data)
        _, parent, _, most = peak(tmp_path / name, memory)
        base = base or parent
        assert parent < base + 20, name
        assert most < memory, name


@pytest.mark.parametrize("answer", ["b'x' * 99", "b'page' + b'\\xff' * 99", "b''", "b'page'"])
def test_the_parent_believes_nothing(tmp_path, monkeypatch, answer):
    """A child that was taken over says what it likes."""
    (tmp_path / "a.pdf").write_bytes(document())
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable}\nimport os, time\nos.write(1, {answer})\n")
    python.chmod(0o755)
    monkeypatch.setattr("forge.tasks.pages.readers.sys.executable", str(python))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pages, [reason] = read(tmp_path / "a.pdf")
    assert not pages
    assert "nonsense" in reason or "ended its reader" in reason
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 << 10


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_files_with_random_damage(tmp_path, seed):
    """Bytes changed, taken out, doubled and cut off at random places of good files: never a crash, always an answer."""
    chance = random.Random(seed)
    good = [document(pages=3), encrypted(""), tiff(3), image("PNG"), image("JPEG"), image("WEBP"), mixed(GOOD, GOOD)]
    for number in range(25):
        data = bytearray(chance.choice(good))
        for _ in range(chance.choice([1, 3, 10, 100])):
            place = chance.randrange(len(data))
            match chance.randrange(4):
                case 0:
                    data[place] = chance.randrange(256)
                case 1:
                    del data[place : place + chance.randrange(1, 20)]
                case 2:
                    data[place:place] = data[place : place + chance.randrange(1, 50)]
                case 3:
                    data[place : place + 4] = chance.choice([b"\xff\xff\xff\xff", b"9999", b"\0\0\0\0", b" << "])
        path = tmp_path / str(number)
        path.write_bytes(data)
        pages, refusals = read(path, text=True)
        assert pages or refusals


def test_the_parent_never_loads_what_parses(tmp_path):
    (tmp_path / "a").write_bytes(document())
    code = """
import sys
from forge.tasks.pages.stream import open_pages
[page] = open_pages(sys.argv[1])
print(page.number, {"pypdfium2", "pypdfium2_raw", "PIL"} & set(sys.modules))
"""
    command = [sys.executable, "-c", code, str(tmp_path / "a")]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "1 set()\n"


def test_drawn_for_ever_is_really_slow(tmp_path):
    """Else the tests above would pass without a limit."""
    (tmp_path / "a.pdf").write_bytes(drawn_for_ever())
    assert read(tmp_path / "a.pdf", limits=Limits(seconds=2))[1] == ["page 1 takes longer than 2 s"]


def test_image_limits(tmp_path):
    (tmp_path / "a").write_bytes(image("PNG", (400, 300)))
    assert "max_pixels is 100,000" in read(tmp_path / "a", scale=Scale(max_pixels=100_000))[1][0]
    assert read(tmp_path / "a", scale=Scale(max_pixels=120_000)) == ([1], [])
