"""Measuring page readers through the command line: their own splits, two of them, and checks on PDF files and texts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from reader_stub import stub_reader, train_reader
from support import forge
from tasks.pages.hostile import document, encrypted

from forge.inference import pages as measuring


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Any:
    """call(*words) → exit code, standard output, standard error."""

    def _call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = forge("evaluate", *map(str, words))
        return (code, *capsys.readouterr())

    return _call


# Splits


def test_the_figures_that_the_run_noted(call: Any, reader_run: Path) -> None:
    code, out, err = call("--run", reader_run)
    assert (code, err) == (0, "")
    assert re.search(r"^  words \(best checkpoint\): cer \d\.\d{4}  wer ", out, re.MULTILINE)
    assert re.search(r"^  validation \(last evaluation\): cer ", out, re.MULTILINE)


def test_measured_again_they_are_the_same(call: Any, reader_run: Path) -> None:
    code, out, err = call("--run", reader_run, "--split", "fonts", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    noted = json.loads((reader_run / "training_state.json").read_text())["test"]["fonts"]
    assert list(found["splits"]) == ["test.fonts"]
    assert found["splits"]["test.fonts"]["figures"] == pytest.approx(noted, abs=1e-5)
    assert (found["beams"], found["splits"]["test.fonts"]["pages"]) == (1, 12)


def test_a_table_for_people(call: Any, reader_run: Path) -> None:
    code, out, _ = call("--run", reader_run, "--split", "words", "--beams", 2)
    lines = out.splitlines()
    assert code == 0
    assert lines[0].endswith(f"of {reader_run}, 2 beams")
    assert re.fullmatch(r"test.words  \(12 pages, \d+ characters\)", lines[1])
    assert re.fullmatch(r"  cer +\d\.\d{4}  edits a character, over all pages", lines[2])
    assert any(re.fullmatch(r"  nid +\d\.\d{4}  mean of 12 pages", line) for line in lines)


def test_changed_pages_are_refused(call: Any, reader_run: Path, tmp_path: Path) -> None:
    metadata = json.loads((reader_run / "run_metadata.json").read_text())
    metadata["fingerprints"]["test.words"] = "0" * 16
    for path in reader_run.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "run_metadata.json").unlink()
    (tmp_path / "run_metadata.json").write_text(json.dumps(metadata))
    code, _, err = call("--run", tmp_path, "--split", "words")
    assert code == 2
    assert "has changed since" in err


def test_two_runs_are_compared(call: Any, reader_run: Path, tmp_path: Path) -> None:
    other = train_reader(tmp_path, steps=3, glyphs={"cells": 0.0, "alone_steps": 0})
    code, out, err = call("--run", reader_run, "--against", other, "--split", "words", "--json")
    assert (code, err) == (0, "")
    [split] = json.loads(out)["splits"].values()
    assert [one["figure"] for one in split["comparisons"]] == ["cer", "nid"]
    for one in split["comparisons"]:
        figures = [split[side]["figures"][one["figure"]] for side in "ab"]
        assert [one["value"], one["baseline"]] == pytest.approx(figures, abs=1e-9)
        assert one["interval"][0] <= one["delta"] <= one["interval"][1]
    code, out, _ = call("--run", reader_run, "--against", reader_run, "--split", "words")
    assert code == 0
    assert re.search(r"^cer .* 1\.0000  paired approximate randomisation", out, re.MULTILINE)


# Checks on PDF files


def checks(path: Path, *rows: dict[str, Any]) -> Path:
    lines = [json.dumps({"page": 1, "id": str(number)} | row) for number, row in enumerate(rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    """A directory as olmOCR-bench has it: two PDFs, one of them cannot be opened, and two files of checks."""
    (tmp_path / "pdfs" / "old").mkdir(parents=True)
    (tmp_path / "pdfs" / "old" / "one.pdf").write_bytes(document(pages=3, box=b"0 0 40 20"))
    (tmp_path / "pdfs" / "two.pdf").write_bytes(encrypted())
    checks(
        tmp_path / "words.jsonl",
        {"pdf": "old/one.pdf", "type": "present", "text": "a"},
        {"pdf": "old/one.pdf", "page": 3, "type": "present", "text": "b"},
        {"pdf": "two.pdf", "type": "present", "text": "a"},
        {"pdf": "two.pdf", "type": "absent", "text": "z", "checked": "rejected"},
    )
    checks(
        tmp_path / "formulas.jsonl",
        {"pdf": "old/one.pdf", "type": "math", "math": "x^2"},
        {"pdf": "old/one.pdf", "type": "absent", "text": "z"},
    )
    return tmp_path


@pytest.fixture
def wordy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that writes `aaaa` for every page."""
    monkeypatch.setattr(measuring, "load_reader", lambda *_: stub_reader({"a": 2.0}, most=4))


@pytest.mark.usefixtures("wordy")
def test_checks_of_pdf_files(call: Any, reader_run: Path, bench: Path) -> None:
    words = ("--run", reader_run, "--pdfs", bench, "--tests", bench / "words.jsonl", bench / "formulas.jsonl")
    code, out, err = call(*words, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    rates = {name: (row["passed"], row["checks"]) for name, row in found["files"].items()}
    assert rates == {"words": (1, 3), "formulas": (1, 1), "baseline": (1, 2)}
    assert found["figures"]["pass_rate"] == pytest.approx((1 / 3 + 1 + 1 / 2) / 3)
    assert found["interval"][0] <= found["figures"]["pass_rate"] <= found["interval"][1]
    assert found["types"]["present"]["checks"] == 3
    assert "math" in found["left_out"]
    assert found["pages"]["asked"] == 3
    assert found["pages"]["read"] == 2
    assert found["pages"]["missing"][0].startswith("two.pdf  ")
    code, out, _ = call(*words)
    assert code == 0
    assert re.search(r"^pass_rate 0\.6111  95 % \[0\.\d{4}, 0\.\d{4}\], mean over 3 files$", out, re.MULTILINE)
    assert re.search(r"^words +0\.3333 +1 +3$", out, re.MULTILINE)
    assert "2 of 3 pages have a text; checks of the others fail\n  two.pdf  " in out
    assert "checks of type math are in no rate: nothing renders formulas; 0 of 1 are the same string" in out
    opened = json.loads(call(*words, "--password", "secret", "--json")[1])
    assert (opened["pages"]["read"], opened["files"]["words"]["passed"]) == (3, 2)


def test_a_trained_reader_is_checked(call: Any, reader_run: Path, bench: Path) -> None:
    words = ("--run", reader_run, "--pdfs", bench / "pdfs", "--tests", bench / "words.jsonl", "--retries", 1)
    code, out, err = call(*words, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["pages"]["read"] == 2


# Checks on texts


def texts(folder: Path, **pages: str) -> Path:
    for name, text in pages.items():
        path = folder / f"{name.replace('__', '/')}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def test_texts_of_another_program(call: Any, bench: Path, tmp_path: Path) -> None:
    folder = texts(
        tmp_path / "made", old__one_pg1_repeat1="a", old__one_pg3_repeat1="b", two_pg1_repeat1="a", old__x=""
    )
    words = ("--hypotheses", folder, "--tests", bench / "words.jsonl", bench / "formulas.jsonl")
    code, out, err = call(*words, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["figures"]["pass_rate"] == 1.0
    assert found["pages"] == {"asked": 3, "read": 3, "missing": []}
    code, out, _ = call(*words)
    assert code == 0
    assert out.splitlines()[0] == str(folder)


def test_of_several_repeats_more_than_half_must_pass(call: Any, bench: Path, tmp_path: Path) -> None:
    test = checks(tmp_path / "one.jsonl", {"pdf": "x.pdf", "type": "present", "text": "a"})

    def rate(*repeats: str) -> float:
        folder = tmp_path / f"of{len(list(tmp_path.glob('of*')))}"
        texts(folder, **{f"x_pg1_repeat{number}": text for number, text in enumerate(repeats, start=1)})
        found = json.loads(call("--hypotheses", folder, "--tests", test, "--json")[1])
        return float(found["files"]["one"]["pass_rate"])

    assert [rate("a"), rate("b"), rate("a", "b"), rate("a", "b", "a"), rate("b", "b", "a")] == [1, 0, 0, 1, 0]


def test_plainer_names_are_taken_where_they_are_plain(call: Any, tmp_path: Path) -> None:
    test = checks(
        tmp_path / "one.jsonl",
        {"pdf": "a.pdf", "type": "present", "text": "yes"},
        {"pdf": "b.pdf", "type": "present", "text": "yes", "page": 2},
        {"pdf": "c.pdf", "type": "present", "text": "yes"},
        {"pdf": "c.pdf", "type": "present", "text": "yes", "page": 2},
    )
    folder = texts(tmp_path / "made", a="yes", b_pg2="yes", c="yes")
    found = json.loads(call("--hypotheses", folder, "--tests", test, "--json")[1])
    assert found["pages"]["missing"] == ["b.pdf, page 1", "c.pdf, page 1", "c.pdf, page 2"]
    assert (found["files"]["one"]["passed"], found["files"]["one"]["checks"]) == (2, 4)


# Pages of one's own


def test_other_pages(call: Any, reader_run: Path, tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(document(box=b"0 0 160 23"))
    (tmp_path / "a.md").write_text("Hello, page\n", encoding="utf-8")
    code, out, err = call("--run", reader_run, "--data", tmp_path, "--json")
    assert (code, err) == (0, "")
    [(name, found)] = json.loads(out)["splits"].items()
    assert (name, found["pages"], found["characters"]) == (str(tmp_path), 1, 11)
    code, _, err = call("--run", reader_run, "--data", tmp_path / "no")
    assert (code, err.count("\n")) == (2, 1)
    code, _, err = call("--run", reader_run, "--data", tmp_path, tmp_path)
    assert (code, err) == (2, "forge: --data takes one directory or file of pages\n")
    code, out, _ = call("--run", reader_run, "--against", reader_run, "--data", tmp_path, "--json")
    assert json.loads(out)["splits"][str(tmp_path)]["examples"] == 1
