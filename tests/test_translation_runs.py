"""Finished translation runs through the command line: measured on pairs of texts, and compared with each other."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support import forge, merged, only_run, write_config

from forge.tasks.embedded.translation import generate

STEPS = 60
SIGNATURE = "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:"


def settings(folder: Path, **train: Any) -> dict[str, Any]:
    """Files of the embedded sentences, as a user would have them."""
    for split, size in (("train", 300), ("validation", 20), ("test", 40)):
        rows = generate(split, size, seed=0, difficulty=0.0)
        for side, column in (("en", "source"), ("fr", "target")):
            text = "".join(f"{row[column]}\n" for row in rows)
            (folder / f"{split}.{side}").write_text(text, encoding="utf-8")
    return {
        "task": "translation",
        "data": {
            "name": None,
            "embedded": {},
            "train": f"{folder}/train.{{en,fr}}",
            "validation": f"{folder}/validation.{{en,fr}}",
            "test": {"news": f"{folder}/test.{{en,fr}}", "dev": f"{folder}/validation.{{en,fr}}"},
        },
        "model": {
            "name": "built/marian",
            "build": {"layers": 1, "width": 64, "heads": 2, "vocab_size": 400, "max_positions": 64},
        },
        "train": {"max_steps": STEPS, "batch_size": 32, "micro_batch_size": None, "learning_rate": 5e-3, **train},
        "evaluate": {"every": 100, "max_examples": None},
        "generate": {"beams": 2, "max_length": 24},
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run, and one that was given a third of its time."""
    torch.set_num_threads(1)
    found = []
    for steps in (STEPS, STEPS // 3):
        folder = tmp_path_factory.mktemp(f"run{steps}")
        assert forge("--config", write_config(folder, settings(data, max_steps=steps))) == 0
        found.append(only_run(folder))
    return found[0], found[1]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Any:
    """call(*words) → exit code, standard output, standard error."""

    def _call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = forge("evaluate", *map(str, words))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return _call


@pytest.fixture
def refused(call: Any) -> Any:
    """refused(…) → the one line of an error that ends with exit code 2."""

    def _refused(*words: object) -> str:
        code, out, err = call(*words)
        assert (code, out) == (2, ""), err
        assert err.count("\n") == 1, err
        return str(err.removeprefix("forge: ").strip())

    return _refused


# One run


def test_other_data_gives_the_figures_that_the_run_noted(call: Any, runs: tuple[Path, Path], data: Path) -> None:
    code, out, err = call("--run", runs[0], "--data", data / "test.en", data / "test.fr", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    (name,) = found["splits"]
    assert name == f"{data}/test.en and {data}/test.fr"
    noted = json.loads((runs[0] / "training_state.json").read_text())["test"]["news"]
    assert found["splits"][name]["figures"] == pytest.approx(noted, abs=1e-6)
    assert 0 < noted["bleu"] < 100
    assert found["beams"] == 2


def test_a_table_with_signatures(call: Any, runs: tuple[Path, Path], data: Path) -> None:
    code, out, _ = call("--run", runs[0], "--data", f"{data}/test.{{en,fr}}", "--beams", 1, "--tokenised_lower")
    lines = out.splitlines()
    assert code == 0
    assert re.fullmatch(rf"checkpoint-{STEPS} of {runs[0]}, greedy", lines[0])
    assert lines[1] == f"{data}/test.{{en,fr}}  (40 examples)"
    for figure, mark in (("bleu", SIGNATURE), ("chrf", "|nw:2|"), ("ter", "|tok:tercom|"), ("loss", "nats a token")):
        assert mark in next(line for line in lines if line.startswith(f"  {figure} "))
    assert any("prepared:lc.norm.moses-fr" in line for line in lines)


def test_its_own_splits_again(call: Any, refused: Any, runs: tuple[Path, Path]) -> None:
    """Without a flag it is what the run noted; with one it is measured anew."""
    assert "news (best checkpoint): " in call("--run", runs[0])[1]
    found = json.loads(call("--run", runs[0], "--beams", 2, "--json")[1])
    noted = json.loads((runs[0] / "training_state.json").read_text())["test"]
    assert list(found["splits"]) == ["test.news", "test.dev"]
    for name, split in found["splits"].items():
        assert split["figures"] == pytest.approx(noted[name.removeprefix("test.")], abs=1e-6)
    assert list(json.loads(call("--run", runs[0], "--split", "news", "--json")[1])["splits"]) == ["test.news"]
    assert "has no split 'x'; there are: validation, test.news, test.dev" in refused("--run", runs[0], "--split", "x")


@pytest.mark.parametrize("kind", ["tmx", "jsonl", "tsv", "directory", "gz", "txt"])
def test_every_format(call: Any, runs: tuple[Path, Path], data: Path, tmp_path: Path, kind: str) -> None:
    from xml.sax.saxutils import escape

    english, french = (_lines(data / f"test.{side}")[:12] for side in ("en", "fr"))
    pairs = list(zip(english, french, strict=True))
    columns: list[str] = []
    if kind == "tmx":
        units = "".join(
            f'<tu><tuv xml:lang="fr"><seg>{escape(f)}</seg></tuv>'
            f'<tuv xml:lang="en-GB"><seg>{escape(e)}</seg></tuv></tu>'
            for e, f in pairs
        )
        (tmp_path / "x.tmx").write_text(f"<tmx><body>{units}</body></tmx>")
        words = ["x.tmx"]
    elif kind == "tsv":
        (tmp_path / "x.tsv").write_text("a\tb\n" + "".join(f"{e}\t{f}\n" for e, f in pairs))
        words, columns = ["x.tsv"], ["--source", "a", "--target", "b"]
    elif kind == "gz":
        import gzip

        for side, texts in (("en", english), ("fr", french)):
            (tmp_path / f"x.{side}.gz").write_bytes(gzip.compress("".join(f"{t}\n" for t in texts).encode()))
        words = ["x.en.gz", "x.fr.gz"]
    elif kind == "txt":
        for name, texts in (("source.txt", english), ("target.tok", french)):
            (tmp_path / name).write_text("".join(f"{text}\n" for text in texts))
        words = ["source.txt", "target.tok"]
    else:
        folder = tmp_path / ("d" if kind == "directory" else ".")
        folder.mkdir(exist_ok=True)
        rows = "".join(json.dumps({"translation": {"en": e, "fr": f}}) + "\n" for e, f in pairs)
        (folder / "test.jsonl").write_text(rows)
        words = ["d"] if kind == "directory" else ["test.jsonl"]
        columns = ["--source", "translation.en", "--target", "translation.fr"]
    paths = [str(tmp_path / word) for word in words]
    code, out, err = call("--run", runs[0], "--data", *paths, *columns, "--json")
    assert code == 0, err
    (split,) = json.loads(out)["splits"].values()
    assert split["examples"] == 12
    assert split["figures"] == pytest.approx(_first_twelve(call, runs[0], data, tmp_path), abs=1e-6)


def _first_twelve(call: Any, run: Path, data: Path, folder: Path) -> dict[str, float]:
    for side in ("en", "fr"):
        (folder / f"plain.{side}").write_text("".join(f"{line}\n" for line in _lines(data / f"test.{side}")[:12]))
    out = call("--run", run, "--data", f"{folder}/plain.{{en,fr}}", "--json")[1]
    (split,) = json.loads(out)["splits"].values()
    return dict(split["figures"])


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def test_the_command_line_of_sacrebleu_agrees_on_the_written_file(
    call: Any, runs: tuple[Path, Path], data: Path, tmp_path: Path
) -> None:
    """To the last digit, and with the same signature."""
    out = tmp_path / "out.fr"
    code, text, _ = call("--run", runs[0], "--split", "news", "--write_hypotheses", out, "--json")
    assert code == 0
    words = [sys.executable, "-m", "sacrebleu", str(data / "test.fr"), "-i", str(out), "-w", "12", "-l", "en-fr"]
    words += ["-m", "bleu", "chrf", "ter", "--chrf-word-order", "2"]
    printed = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    split = json.loads(text)["splits"]["test.news"]
    for one, name in zip(printed, ("bleu", "chrf", "ter"), strict=True):
        assert float(f"{split['figures'][name]:.12f}") == one["score"]
        assert split["signatures"][name] == one["signature"]
    assert len(_lines(out)) == 40
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.fr"]


def test_a_line_feed_in_a_translation_stays_in_its_line(
    call: Any, runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from forge.tasks.translation import TranslationTask

    monkeypatch.setattr(TranslationTask, "texts", lambda self, ids: [f"un\nchat\u2028{len(one)}" for one in ids])
    code, _, _ = call("--run", runs[0], "--split", "news", "--write_hypotheses", tmp_path / "out")
    assert code == 0
    lines = (tmp_path / "out").read_bytes().decode().split("\n")
    assert len(lines) == 41
    assert lines[0].startswith("un chat\u2028")


def test_a_source_longer_than_the_model_is_measured_and_said(
    call: Any, runs: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "x.en").write_text("the cat sees the dog.\n" + "the cat sees the dog. " * 60 + "\n")
    (tmp_path / "x.fr").write_text("le chat voit le chien.\n" + "le chat voit le chien. " * 60 + "\n")
    code, out, err = call("--run", runs[0], "--data", f"{tmp_path}/x.{{en,fr}}", "--json")
    assert code == 0
    assert "1 source is longer than the 64 tokens that the model was trained to read, and cut off; predict" in err
    assert err.count("\n") == 1
    assert next(iter(json.loads(out)["splits"].values()))["examples"] == 2


def test_bad_requests(refused: Any, runs: tuple[Path, Path], data: Path, tmp_path: Path) -> None:
    run, english, french = runs[0], data / "test.en", data / "test.fr"

    def message(*words: object) -> str:
        return str(refused("--run", run, *words))

    (tmp_path / "short.fr").write_text("un\n")
    (tmp_path / "x.csv").write_text("a,b\nun,deux\n")
    assert "has the source in fr, but the model's source is en" in message("--data", french, english)
    assert "has the source in fr, but" in message("--data", f"{data}/test.{{fr,en}}")
    assert f"{english}:2  has no counterpart: {tmp_path}/short.fr ends" in message(
        "--data", english, tmp_path / "short.fr"
    )
    assert "takes one file or directory, or two files" in message("--data", "a", "b", "c")
    assert "no column 'source' (from data.columns.source)" in message("--data", tmp_path / "x.csv")
    assert "unknown kind of file" in message("--data", english)
    assert "no such file" in message("--data", tmp_path / "no.tmx")
    assert "--text is for classification; " in message("--text", "a")
    assert "--beams: must be a whole number from 1 to 64, got 0" in message("--beams", 0)
    several = message("--write_hypotheses", tmp_path / "out")
    assert several == "--write_hypotheses takes one split; choose it with --split: test.news, test.dev"
    assert "lies in no directory" in message("--split", "news", "--write_hypotheses", tmp_path / "no" / "out")
    assert "is a directory" in message("--split", "news", "--write_hypotheses", tmp_path)


def test_data_that_changed_since(refused: Any, data: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    change = settings(tmp_path / "data", max_steps=1)
    assert forge("--config", write_config(tmp_path, merged(change, {"evaluate": {"max_examples": 4}}))) == 0
    for side in ("en", "fr"):
        with (tmp_path / "data" / f"test.{side}").open("a") as file:
            file.write("x\n")
    assert "has changed since" in refused("--run", only_run(tmp_path), "--beams", 1)


# Two runs


def test_two_runs_on_their_own_test_sets(call: Any, runs: tuple[Path, Path]) -> None:
    code, out, err = call("--run", runs[0], "--against", runs[1], "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert list(found["splits"]) == ["test.news", "test.dev"]
    news = found["splits"]["test.news"]
    assert news["examples"] == 40
    tests = [(one["figure"], one["test"]) for one in news["comparisons"]]
    both = ("paired bootstrap", "paired approximate randomisation")
    assert tests == [(figure, test) for figure in ("bleu", "chrf", "ter") for test in both]
    for run, system, key in zip(runs, ("a", "b"), ("value", "baseline"), strict=True):
        noted = json.loads((run / "training_state.json").read_text())["test"]["news"]
        assert news[system]["figures"] == pytest.approx(noted, abs=1e-6)
        assert news[system]["signatures"]["bleu"].startswith(SIGNATURE)
        for one in news["comparisons"]:
            assert one[key] == pytest.approx(noted[one["figure"]], abs=1e-6)


def test_the_same_as_the_tests_of_the_written_files(
    call: Any, runs: tuple[Path, Path], data: Path, tmp_path: Path
) -> None:
    for run, name in zip(runs, ("a", "b"), strict=True):
        assert call("--run", run, "--split", "news", "--write_hypotheses", tmp_path / name)[0] == 0
    files = ("--hypotheses", tmp_path / "a", "--references", data / "test.fr", "--against", tmp_path / "b")
    by_files = json.loads(call(*files, "--json")[1])["comparisons"]
    by_runs = json.loads(call("--run", runs[0], "--against", runs[1], "--split", "news", "--json")[1])
    assert by_runs["splits"]["test.news"]["comparisons"] == by_files


def test_the_table_of_two_runs(call: Any, runs: tuple[Path, Path], data: Path) -> None:
    words = ("--data", f"{data}/validation.{{en,fr}}", "--beams", 1, "--tokenised_lower")
    code, out, _ = call("--run", runs[0], "--against", runs[1], *words)
    lines = out.splitlines()
    assert code == 0
    assert lines[0] == f"A = {runs[0]}, checkpoint-{STEPS}"
    assert f"{data}/validation.{{en,fr}}  (20 examples)" in lines
    assert lines.index("A:") < lines.index("B:")
    assert sum(SIGNATURE in line and line.startswith("  bleu ") for line in lines) == 2
    assert sum("prepared:lc.norm.moses-fr" in line for line in lines) == 2
    assert sum(line.endswith("paired approximate randomisation, 10,000 trials, seed 12345") for line in lines) == 3
    assert "judge by the randomisation" in out


def test_a_run_does_not_differ_from_itself(call: Any, runs: tuple[Path, Path]) -> None:
    _, out, _ = call("--run", runs[0], "--against", runs[0], "--split", "news", "--json")
    for one in json.loads(out)["splits"]["test.news"]["comparisons"]:
        assert (one["delta"], one["p"]) == (0.0, 1.0)


def changed(run: Path, folder: Path, change: Any) -> Path:
    """A copy of a run whose metadata or state is another."""
    shutil.copytree(run, folder, symlinks=True)
    for name in ("run_metadata.json", "training_state.json"):
        record = json.loads((folder / name).read_text())
        change(record)
        (folder / name).write_text(json.dumps(record))
    return folder


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda r: r.get("fingerprints", {}).update({"test.news": "0"}),
            "split test.news of {a} holds other rows in {b}",
        ),
        (lambda r: r.get("fingerprints", {}).pop("test.news", 0), "split test.news of {a} is not in {b}: the two"),
        (lambda r: r.get("config", {}).get("evaluate", {}).update(max_examples=5), "40 and 5 examples"),
        (lambda r: r.update(status="interrupted"), "{b}  has not finished (interrupted); only finished runs"),
        (lambda r: r.update(languages=["en", "de"]), "{a} is en → fr and {b} is en → de; only runs between the same"),
        (
            lambda r: r.get("config", {}).update(task="classification"),
            "{a} is a run of translation and {b} is a run of classification; only runs of one task are compared",
        ),
    ],
)
def test_runs_that_cannot_be_compared(
    refused: Any, runs: tuple[Path, Path], tmp_path: Path, change: Any, says: str
) -> None:
    other = changed(runs[1], tmp_path / "other", change)
    words = ("--run", runs[0], "--against", other, "--split", "news")
    assert says.format(a=runs[0], b=other) in refused(*words)


def test_too_many_lines_are_refused_before_anything_is_translated(
    refused: Any, runs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forge.tasks.metrics.significance.PAIRED_LINES", 39)
    monkeypatch.setattr("forge.compare.translation.load_translator", None)
    assert "40 lines are too many for sacreBLEU's paired tests, up to 39" in refused(
        "--run", runs[0], "--against", runs[1]
    )


def test_what_goes_with_one_run_alone(refused: Any, runs: tuple[Path, Path], tmp_path: Path) -> None:
    for words in (("--write_hypotheses", tmp_path / "out"), ("--comet",)):
        assert "goes with one run, without --against" in refused("--run", runs[0], "--against", runs[1], *words)
