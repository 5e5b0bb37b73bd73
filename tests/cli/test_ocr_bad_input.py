"""What a user of page readers can get wrong: one line, the right place, exit 2."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import ROOT, forge
from tasks.pages.hostile import document, encrypted, image


@pytest.fixture
def refused(reader_run: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """refused(verb, …) → the one line of an error that ends with exit code 2; `run=None` leaves the run out."""

    def _refused(verb: str, *words: object, run: Path | None = reader_run) -> str:
        capsys.readouterr()
        chosen = ["--run", str(run)] if run else []
        code = forge(verb, *map(str, words), *chosen)
        out, err = capsys.readouterr()
        assert (code, out) == (2, ""), (code, out, err)
        assert err.count("\n") == 1, err
        assert "Traceback" not in err
        return err.removeprefix("forge: ").strip()

    return _refused


@pytest.fixture
def put(tmp_path: Path) -> Any:
    def _put(name: str, data: bytes | str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    return _put


# predict


def test_documents_that_cannot_be_read(refused: Any, put: Any, tmp_path: Path) -> None:
    assert refused("predict") == "give the files to read: PDF, PNG, JPEG, TIFF or WebP"
    assert refused("predict", tmp_path / "no.pdf") == f"{tmp_path}/no.pdf  does not exist"
    assert refused("predict", tmp_path) == f"{tmp_path}  is a directory"
    text = put("a.pdf", "I am a text")
    assert refused("predict", text) == f"{text}  is neither a PDF nor an image (PNG, JPEG, TIFF, WebP)"
    assert refused("predict", put("empty.pdf", b"")).endswith("empty.pdf  is empty")
    assert "empty.pages" in refused("predict", put("empty.pages", document(pages=0)))
    bomb = refused("predict", put("bomb.pdf", document(box=b"0 0 200000 200000")))
    assert "bomb.pdf  page 1 is too large" in bomb


def test_passwords(refused: Any, put: Any) -> None:
    path = put("a.pdf", encrypted())
    assert f"{path}  " in refused("predict", path)
    assert "password" in refused("predict", path)
    assert "password" in refused("predict", path, "--password", "wrong")


def test_pages_that_are_not_there(refused: Any, put: Any) -> None:
    path = put("a.pdf", document(pages=2))
    assert refused("predict", path, "--pages", "7") == f"{path}  has 2 pages, but pages 7 were asked for"
    assert "is not a list of pages such as 1-5,8" in refused("predict", path, "--pages", "one")
    assert "is empty; pages are counted from 1" in refused("predict", path, "--pages", "0")


def test_sizes_and_numbers(refused: Any, put: Any) -> None:
    path = put("a.pdf", document())
    assert "dpi must lie between 1 and 10,000" in refused("predict", path, "--dpi", "0.5")
    assert "--dpi: must be a number, got many" in refused("predict", path, "--dpi", "many")
    assert "dpi must lie between 1 and 10,000" in refused("predict", path, "--dpi", "nan")
    assert "--longest_edge: must be a whole number from 1 to 32767, got 0" in refused(
        "predict", path, "--longest_edge", 0
    )
    assert "give --dpi or --longest_edge, not both" in refused("predict", path, "--dpi", 90, "--longest_edge", 90)
    assert "--retries: must be a whole number from 0 to 5, got 6" in refused("predict", path, "--retries", 6)
    assert "--batch_size: must be a whole number from 1 to 4096, got 0" in refused("predict", path, "--batch_size", 0)
    assert "--beams: must be a whole number from 1 to 64, got 0" in refused("predict", path, "--beams", 0)
    assert "invalid choice: 'csv'" in refused("predict", path, "--tables", "csv")


def test_outputs(refused: Any, put: Any, tmp_path: Path) -> None:
    one, two, other = put("a.png", image("PNG")), put("b.png", image("PNG")), put("x/a.png", image("PNG"))
    assert refused("predict", one, two, "-o", "out.md") == "--output: 2 documents need a directory: --output out.md/"
    assert "lies in no directory" in refused("predict", one, "-o", tmp_path / "no" / "out.md")
    assert "lies in no directory" in refused("predict", one, "-o", f"{tmp_path}/no/out/")
    message = refused("predict", one, other, "-o", f"{tmp_path}/out/")
    assert message == f"--output: {one} and {other} would both become {tmp_path}/out/a.md; read them apart"
    assert refused("predict", one, "-o", one) == f"--output: {one} is one of the documents"
    (tmp_path / "dir" / "a.md").mkdir(parents=True)
    assert refused("predict", one, "-o", tmp_path / "dir") == f"--output: {tmp_path}/dir/a.md is a directory"
    assert refused("predict", one, "--json", "--mark_pages").startswith("--mark_pages is for Markdown")
    assert "unknown argument --colour" in refused("predict", one, "--colour")
    assert "--file names texts" in refused("predict", "--file", one)
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_where_nothing_was_read(refused: Any, put: Any, tmp_path: Path) -> None:
    old = put("out.md", "what was there")
    refused("predict", put("a.pdf", "I am a text"), "-o", old)
    assert old.read_text() == "what was there"
    refused("predict", put("b.pdf", "I am a text"), "-o", f"{tmp_path}/new/")
    assert not (tmp_path / "new").exists()


def test_runs(refused: Any, put: Any, reader_run: Path, tmp_path: Path) -> None:
    path = put("a.png", image("PNG"))
    assert "is not a run directory" in refused("predict", path, run=tmp_path)
    assert "has no checkpoint '7'" in refused("predict", path, "--checkpoint", 7)


def test_flags_of_other_tasks(refused: Any, reader_run: Path, tmp_path: Path) -> None:
    metadata = json.loads((reader_run / "run_metadata.json").read_text())
    metadata["config"]["task"] = "classification"
    (tmp_path / "run_metadata.json").write_text(json.dumps(metadata))
    for words in (("--pages", "1"), ("-o", "x"), ("--tables", "html"), ("--mark_pages",), ("--retries", 0)):
        assert "is for ocr; " in refused("predict", *words, run=tmp_path)
    assert "--tests is for ocr" in refused("evaluate", "--tests", "a", run=tmp_path)
    for words in (("--label", "a"), ("--comet",), ("--write_hypotheses", "a"), ("--target", "a")):
        assert f"{reader_run} is a run of ocr" in refused("evaluate", *words)


# evaluate


CHECK = {"pdf": "a.pdf", "page": 1, "id": "1", "type": "present", "text": "Hello"}


def test_checks(refused: Any, put: Any, tmp_path: Path) -> None:
    tests = put("tests.jsonl", json.dumps(CHECK) + "\n")
    pdfs = ("--pdfs", tmp_path)
    assert refused("evaluate", "--tests", tests).startswith("give --pdfs DIR and --tests FILE together")
    assert refused("evaluate", *pdfs).startswith("give --pdfs DIR and --tests FILE together")
    assert refused("evaluate", "--pdfs", tests, "--tests", tests) == f"--pdfs: {tests} is not a directory"
    none = f"--pdfs: none of the 1 files that --tests names lies in {tmp_path}"
    assert refused("evaluate", *pdfs, "--tests", tests) == none
    assert "cannot read" in refused("evaluate", *pdfs, "--tests", tmp_path / "no.jsonl")
    broken = put("broken.jsonl", '{"pdf": "a.pdf"}\n')
    assert f"{broken}:1  " in refused("evaluate", *pdfs, "--tests", broken)
    out = put("out.jsonl", json.dumps(CHECK | {"pdf": "../a.pdf"}) + "\n")
    assert "names ../a.pdf, which leads out of the directory" in refused("evaluate", *pdfs, "--tests", out)
    same = put("x/tests.jsonl", json.dumps(CHECK) + "\n")
    assert "have one name" in refused("evaluate", *pdfs, "--tests", tests, same)
    assert "leave --data and --split out" in refused("evaluate", *pdfs, "--tests", tests, "--split", "words")
    assert "goes with one run" in refused("evaluate", *pdfs, "--tests", tests, "--against", "b")
    assert "not both" in refused("evaluate", *pdfs, "--tests", tests, "--hypotheses", tmp_path)


def test_checks_of_texts(refused: Any, put: Any, tmp_path: Path) -> None:
    tests = put("tests.jsonl", json.dumps(CHECK) + "\n")
    alone = {"run": None}
    assert "--tests needs --run R with --pdfs DIR" in refused("evaluate", "--tests", tests, **alone)
    words = ("--hypotheses", tests, "--tests", tests)
    assert "is not a directory" in refused("evaluate", *words, **alone)
    empty = tmp_path / "empty"
    empty.mkdir()
    message = refused("evaluate", "--hypotheses", empty, "--tests", tests, **alone)
    assert message.endswith("has no text of any page that is checked, such as a_pg1_repeat1.md")
    put("latin/a.md", b"\xe9t\xe9")
    assert "is not UTF-8" in refused("evaluate", "--hypotheses", tmp_path / "latin", "--tests", tests, **alone)


def test_splits_and_data(refused: Any, reader_run: Path) -> None:
    names = "validation, test.words, test.fonts"
    assert refused("evaluate", "--split", "no") == f"--split: {reader_run} has no split 'no'; there are: {names}"
    assert "--retries goes with --pdfs" in refused("evaluate", "--split", "words", "--retries", 1)


def test_what_is_wrong_is_found_before_torch(reader_run: Path, put: Any) -> None:
    path = put("a.png", image("PNG"))
    commands = [
        ["predict", "--run", str(reader_run), str(path), "--pages", "x"],
        ["predict", "--run", str(reader_run), str(path), "-o", "/no/where/a.md"],
        ["evaluate", "--run", str(reader_run), "--pdfs", "."],
        ["predict", "--help"],
    ]
    code = (
        "import sys\nfrom forge.cli import main\n"
        f"for words in {commands!r}:\n"
        "    try:\n        assert main(words) == 2, words\n    except SystemExit:\n        pass\n"
        "heavy = {'torch', 'transformers', 'datasets', 'accelerate', 'numpy', 'PIL', 'pypdfium2'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
