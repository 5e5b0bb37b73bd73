"""`forge predict` on documents: what is read goes where it is asked for, in order, and the rest is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from reader_stub import stub_reader
from support import forge
from tasks.pages.hostile import document, encrypted, image

from forge.inference import ocr as reading


@pytest.fixture
def call(reader_run: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """call(*words) → exit code, standard output, standard error."""

    def _call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = forge("predict", "--run", reader_run, *map(str, words))
        return (code, *capsys.readouterr())

    return _call


@pytest.fixture
def wordy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that writes `aaaa` for every page."""
    monkeypatch.setattr(reading, "load_reader", lambda *_: stub_reader({"a": 2.0}, most=4))


@pytest.fixture
def put(tmp_path: Path) -> Any:
    def _put(name: str, data: bytes) -> Path:
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return _put


def test_lines_of_json(call: Any, put: Any) -> None:
    path = put("a.pdf", document(pages=3, box=b"0 0 160 23"))
    code, out, err = call(path, "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert [line["page"] for line in lines] == [1, 2, 3]
    keys = ["file", "page", "text", "confidence", "seconds", "ended", "loop", "tries"]
    assert [list(line) for line in lines] == [keys] * 3
    assert lines[0]["file"] == str(path)
    assert call(path, "--json")[1].count("\n") == 3


def test_pages_are_chosen_and_words_stand_in_any_order(call: Any, put: Any) -> None:
    one, two = put("a.pdf", document(pages=4)), put("b.png", image("PNG"))
    code, out, _ = call(one, "--pages", "4,1-2", two, "--json", "--retries", 0)
    found = [(Path(line["file"]).name, line["page"]) for line in map(json.loads, out.splitlines())]
    assert code == 0
    assert found[:3] == [("a.pdf", 1), ("a.pdf", 2), ("a.pdf", 4)]
    assert found[3:] == [("b.png", None), ("b.png", 1)]  # it has no pages 2 and 4


def test_a_refused_page_is_one_line_and_the_others_go_on(call: Any, put: Any) -> None:
    wrong, right = put("a.pdf", b"no pdf"), put("b.png", image("PNG", (100, 30)))
    code, out, err = call(wrong, right, "--json")
    assert code == 0
    assert err == f"forge: {wrong}  is neither a PDF nor an image (PNG, JPEG, TIFF, WebP)\n"
    first, second = map(json.loads, out.splitlines())
    assert first == {
        "file": str(wrong),
        "page": None,
        "refused": "is neither a PDF nor an image (PNG, JPEG, TIFF, WebP)",
    }
    assert (second["file"], second["page"]) == (str(right), 1)


def test_a_password_opens_a_file(call: Any, put: Any) -> None:
    path = put("a.pdf", encrypted())
    code, out, _ = call(path, "--password", "secret", "--json", "--longest_edge", 32)
    assert (code, json.loads(out)["page"]) == (0, 1)


def test_pages_at_once_are_as_many_as_asked_and_change_no_text(
    call: Any, put: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from forge.inference import ocr

    sizes, read_well = [], ocr.read_well
    monkeypatch.setattr(ocr, "read_well", lambda *given: sizes.append(len(given[2])) or read_well(*given))
    path = put("a.pdf", document(pages=5, box=b"0 0 160 23"))
    code, whole, _ = call(path, "--longest_edge", 32)
    assert (code, sizes) == (0, [5])
    assert call(path, "--longest_edge", 32, "--batch_size", 2) == (0, whole, "")
    assert sizes[1:] == [2, 2, 1]
    monkeypatch.setattr(ocr, "ON_A_CPU", 4)
    assert call(path, "--longest_edge", 32) == (0, whole, "")
    assert sizes[4:] in ([4, 1], [5])  # the latter on a GPU


def test_rotated_pages_are_read_upright(call: Any, put: Any) -> None:
    text = b"BT /F1 12 Tf 5 10 Td (Hello) Tj ET"
    upright = put("a.pdf", document(box=b"0 0 160 23", content=text))
    turned = put("b.pdf", document(box=b"0 0 160 23", content=text, page=b"/Rotate 180"))
    read = [json.loads(call(path, "--json")[1])["confidence"] for path in (upright, turned)]
    assert read[0] != read[1]  # upside down is another page
    with_turn = put(
        "c.pdf",
        document(box=b"0 0 23 160", content=b"q 0 1 -1 0 23 0 cm " + text + b" Q", page=b"/Rotate 90"),
    )
    assert json.loads(call(with_turn, "--json")[1])["confidence"] == pytest.approx(read[0], abs=0.02)


def test_a_large_page_is_told_once(call: Any, put: Any) -> None:
    path = put("a.pdf", document(pages=3, box=b"0 0 595 842"))
    code, _, err = call(path, "--retries", 0)
    assert code == 0
    assert err == (
        f"forge: {path}  page 1 (1170 × 827 pixels) is shrunk by factor 36.6 to the sheet of 32 × 224 that this reader "
        "was trained on, and so are others of its size; expect little of it\n"
    )
    assert "(32 × 23 pixels)" not in err
    assert call(path, "--retries", 0, "--longest_edge", 32)[2] == ""
    assert "(842 × 595 pixels)" in call(path, "--retries", 0, "--dpi", 72)[2]


@pytest.mark.usefixtures("wordy")
def test_markdown_has_an_empty_line_between_pages(call: Any, put: Any) -> None:
    path, other = put("a.pdf", document(pages=2, box=b"0 0 40 20")), put("b.png", image("PNG", (30, 20)))
    assert call(path)[1] == "aaaa\n\naaaa\n"
    assert call(path, other)[1] == "aaaa\n\naaaa\n\naaaa\n"
    assert call(path, "--mark_pages")[1] == "<!-- page 1 -->\n\naaaa\n\n<!-- page 2 -->\n\naaaa\n"
    assert f"<!-- {other}, page 1 -->\n\naaaa\n" in call(path, other, "--mark_pages")[1]


@pytest.mark.usefixtures("wordy")
def test_marks_tell_of_pages_that_could_not_be_read(call: Any, put: Any) -> None:
    huge = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200000 200000] >>"
    path = put("a.pdf", document(pages=1, box=b"0 0 40 20", kids=b"5 0 R 6 0 R", count=2, more=(huge,)))
    code, out, err = call(path, "--mark_pages")
    assert (code, out) == (0, "<!-- page 1 could not be read -->\n\n<!-- page 2 -->\n\naaaa\n")
    assert f"{path}  page 1 is too large" in err


@pytest.mark.usefixtures("wordy")
def test_a_file_takes_the_text_whole(call: Any, put: Any, tmp_path: Path) -> None:
    path, target = put("a.pdf", document(pages=2, box=b"0 0 40 20")), tmp_path / "out.md"
    assert call(path, "-o", target) == (0, "", "")
    assert target.read_text() == "aaaa\n\naaaa\n"
    assert call(path, "-o", target, "--json")[0] == 0
    assert [json.loads(line)["page"] for line in target.read_text().splitlines()] == [1, 2]
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.usefixtures("wordy")
def test_a_directory_takes_a_file_for_each_document(call: Any, put: Any, tmp_path: Path) -> None:
    documents = [put("a.pdf", document(box=b"0 0 40 20")), put("b.pdf", b"no"), put("c.png", image("PNG", (30, 20)))]
    code, out, err = call(*documents, "-o", f"{tmp_path}/out/")
    assert (code, out, err.count("\n")) == (0, "", 1)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.md", "c.md"]
    assert (tmp_path / "out" / "c.md").read_text() == "aaaa\n"


@pytest.mark.usefixtures("wordy")
def test_an_interrupted_file_leaves_what_was_there(
    call: Any, put: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, target = put("a.pdf", document(pages=3, box=b"0 0 40 20")), put("out.md", b"before")
    inner = reading._answer

    def fail(number: int, found: Any) -> Any:
        if number == 2:
            raise KeyboardInterrupt
        return inner(number, found)

    monkeypatch.setattr(reading, "_answer", fail)
    assert call(path, "-o", target)[0] == 130
    assert target.read_text() == "before"
    assert not list(tmp_path.glob(".*.tmp"))


def test_tables_are_written_in_the_form_that_is_asked_for(call: Any, put: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path, pipes = put("a.png", image("PNG", (30, 20))), "| a |\n| --- |\n| 1 |"
    inner = reading._answer
    monkeypatch.setattr(reading, "_answer", lambda *a: vars_replaced(inner(*a), pipes))
    assert call(path)[1] == f"{pipes}\n"
    assert call(path, "--tables", "html")[1].startswith("<table>\n<tr><th>a</th></tr>")
    assert "<table>" in json.loads(call(path, "--tables", "html", "--json")[1])["text"]


def vars_replaced(answer: Any, text: str) -> Any:
    return type(answer)(**(vars(answer) | {"text": text}))


def test_a_link_and_a_name_with_odd_signs_are_files(call: Any, put: Any, tmp_path: Path) -> None:
    path = put("é 文 --x.png", image("PNG", (30, 20)))
    (tmp_path / "link").symlink_to(path)
    assert call(tmp_path / "link", "--json")[0] == 0
    code, out, _ = call(path, tmp_path / "link", "--json")
    assert (code, json.loads(out.splitlines()[0])["file"]) == (0, str(path))
