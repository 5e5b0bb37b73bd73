"""What a user of translation can get wrong: one line, the right place, exit 2, no run directory."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hub_models import FOLDERS, WITH_SENTENCEPIECE, nllb, t5
from support import forge, merged, only_run, write_config

ENGLISH = ["The small cat sees a dog.", "A dog sees the small cat.", "The dog and the cat see a bird."] * 20
FRENCH = ["Le petit chat voit un chien.", "Un chien voit le petit chat.", "Le chien et le chat voient un oiseau."] * 20
LANGUAGES = {"mbart": "ar_AR, cs_CZ, ", "nllb": "ace_Arab, ace_Latn, ", "m2m": "af, am, "}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    """Settings of a run on six small files."""
    for split in ("train", "dev", "test"):
        for side, texts in (("en", ENGLISH), ("fr", FRENCH)):
            write(tmp_path / f"{split}.{side}", texts if split == "train" else texts[:4])
    splits = {"train": "train", "validation": "dev", "test": "test"}
    return {
        "task": "translation",
        "data": {"name": None, "embedded": {}} | {key: f"{tmp_path}/{name}.{{en,fr}}" for key, name in splits.items()},
        "model": {
            "name": "built/marian",
            "build": {"layers": 1, "width": 16, "heads": 2, "vocab_size": 300, "max_positions": 32},
        },
        "train": {"max_steps": 1, "batch_size": 8},
        "generate": {"beams": 1, "max_length": 8},
    }


def write(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


@pytest.fixture
def refused(tmp_path: Path, files: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> Any:
    """refused(change) → the one line of an error that ends with exit code 2."""

    def _refused(change: dict[str, Any] | None = None) -> str:
        assert forge("--config", write_config(tmp_path, merged(files, change or {}))) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1, error
        assert "Traceback" not in error
        assert not (tmp_path / "runs").exists()
        return error.removeprefix("forge: ").strip()

    return _refused


# Files


@pytest.mark.parametrize("split", ["train", "dev", "test"])
@pytest.mark.parametrize(("side", "other"), [("en", "fr"), ("fr", "en")])
def test_one_file_is_longer(refused: Any, tmp_path: Path, split: str, side: str, other: str) -> None:
    path = tmp_path / f"{split}.{side}"
    lines = path.read_text().splitlines()
    write(path, [*lines, "one more"])
    message = refused()
    had, has = len(lines), len(lines) + 1
    ends = f"{tmp_path}/{split}.{other} ends at line {had}, this file at line {has}"
    assert message == f"{path}:{has}  has no counterpart: {ends}"


@pytest.mark.parametrize(("split", "side", "role"), [("dev", "en", "source"), ("test", "fr", "target")])
def test_an_empty_line_of_an_evaluation_split(refused: Any, tmp_path: Path, split: str, side: str, role: str) -> None:
    path = tmp_path / f"{split}.{side}"
    lines = path.read_text().splitlines()
    write(path, [*lines[:2], "  ", *lines[3:]])
    assert refused() == f"{path}:3  the {role} is empty; an evaluation split needs both sides"


def test_an_empty_line_of_the_training_set_is_left_out(tmp_path: Path, files: dict[str, Any]) -> None:
    lines = (tmp_path / "train.fr").read_text().splitlines()
    write(tmp_path / "train.fr", ["", *lines[1:]])
    assert forge("--config", write_config(tmp_path, files)) == 0
    assert "; empty 1, " in (only_run(tmp_path) / "output.log").read_text()


def test_no_text_at_all(refused: Any, tmp_path: Path) -> None:
    for side in ("en", "fr"):
        (tmp_path / f"train.{side}").write_text("")
    assert refused() == f"{tmp_path}/train.{{en,fr}}  has no rows"


def test_a_side_without_any_text(refused: Any, tmp_path: Path) -> None:
    write(tmp_path / "train.fr", [""] * len(FRENCH))
    assert "has no pair that can be trained on: " in refused()


@pytest.mark.parametrize("split", ["train", "dev"])
def test_another_encoding(refused: Any, tmp_path: Path, split: str) -> None:
    path = tmp_path / f"{split}.fr"
    lines = path.read_text().splitlines()
    path.write_bytes("".join(f"{line}\n" for line in [lines[0], "Le garçon", *lines[2:]]).encode("latin-1"))
    assert refused() == f"{path}:2  is not UTF-8 text: invalid continuation byte (0xe7)"


def test_utf_16(refused: Any, tmp_path: Path) -> None:
    path = tmp_path / "train.fr"
    path.write_bytes(path.read_text().encode("utf-16"))
    assert f"{path}:" in refused()


# Languages and tokenizers


@pytest.fixture(params=["mbart", "nllb", pytest.param("m2m", marks=WITH_SENTENCEPIECE)])
def polyglot(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """A model of many languages: what it is, where it is."""
    folder = tmp_path / "model"
    folder.mkdir()
    return request.param, str(FOLDERS[request.param](folder, ENGLISH + FRENCH))


def test_a_language_that_the_model_does_not_know(refused: Any, polyglot: tuple[str, str], tmp_path: Path) -> None:
    kind, folder = polyglot
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.fr").rename(tmp_path / f"{split}.tlh")
    data = {
        key: f"{tmp_path}/{name}.{{en,tlh}}"
        for key, name in (("train", "train"), ("validation", "dev"), ("test", "test"))
    }
    message = refused({"model": {"name": folder}, "data": data})
    assert message.startswith("data.languages.target: this model does not know 'tlh'; it knows " + LANGUAGES[kind])


def test_a_model_of_many_languages_is_not_told_which(refused: Any, polyglot: tuple[str, str], tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        for side, name in (("en", "src"), ("fr", "tgt")):
            (tmp_path / f"{split}.{side}").rename(tmp_path / f"{split}.{name}")
    splits = (("train", "train"), ("validation", "dev"), ("test", "test"))
    data = {key: f"{tmp_path}/{name}.{{src,tgt}}" for key, name in splits}
    message = refused({"model": {"name": polyglot[1]}, "data": data})
    assert message == "data.languages.source: this model knows many languages; say which, for example en"


def test_a_language_without_a_name_for_t5(refused: Any, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    folder = t5(tmp_path / "model", ENGLISH + FRENCH)
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.fr").rename(tmp_path / f"{split}.tlh")
    splits = (("train", "train"), ("validation", "dev"), ("test", "test"))
    data = {key: f"{tmp_path}/{name}.{{en,tlh}}" for key, name in splits}
    message = refused({"model": {"name": str(folder)}, "data": data})
    assert message.startswith("data.languages: T5 is asked in words")
    assert "the name of 'tlh' is not known here" in message


def tokenizer(folder: Path, **special: str) -> str:
    """A tokenizer of single words that adds nothing to a text, with these special tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "</s>", "<unk>", *sorted({word for line in ENGLISH + FRENCH for word in line.split()})]
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", **special).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    ("special", "says"),
    [
        ({}, "model.tokenizer: a built model needs a tokenizer with a padding and an end-of-text token"),
        ({"pad_token": "<pad>"}, "model.tokenizer: a built model needs a tokenizer with a padding and an end-of-text"),
        (
            {"pad_token": "<pad>", "eos_token": "</s>"},
            "model.tokenizer: the tokenizer of {folder} does not end a text with </s>, at which the model stops",
        ),
    ],
)
def test_a_tokenizer_without_the_tokens_of_a_translator(
    refused: Any, tmp_path: Path, special: dict[str, str], says: str
) -> None:
    folder = tokenizer(tmp_path / "tokenizer", **special)
    assert refused({"model": {"tokenizer": folder}}).startswith(says.format(folder=folder))


def test_a_tokenizer_with_more_tokens_than_the_model(refused: Any, tmp_path: Path) -> None:
    for name in ("model", "other"):
        (tmp_path / name).mkdir()
    small, large = t5(tmp_path / "model", ENGLISH), nllb(tmp_path / "other", ENGLISH + FRENCH)
    message = refused({"model": {"name": str(small), "tokenizer": str(large)}, "data": {"languages": {"target": "fr"}}})
    assert "tokens, model.name" in message
    assert message.endswith("take the model's own tokenizer")


# Using a run


@pytest.mark.parametrize("given", ["file", "standard input"])
def test_texts_in_another_encoding(
    tmp_path: Path,
    files: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    given: str,
) -> None:
    assert forge("--config", write_config(tmp_path, files)) == 0
    content = "A cat.\nA café.\n".encode("latin-1")
    (tmp_path / "latin.txt").write_bytes(content)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))
    capsys.readouterr()
    assert forge("predict", "--run", only_run(tmp_path), *(["--file", tmp_path / "latin.txt"] * (given == "file"))) == 2
    captured = capsys.readouterr()
    where = f"{tmp_path}/latin.txt:2" if given == "file" else "standard input"
    assert captured.out == ""
    assert captured.err.startswith(f"forge: {where}  is not UTF-8 text")
    assert captured.err.count("\n") == 1


# What is no mistake


def test_a_sentence_longer_than_the_model_is_no_error(
    tmp_path: Path, files: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """In training and in evaluation it is cut off, in `predict` it goes in pieces."""
    for split in ("train", "dev", "test"):
        for side in ("en", "fr"):
            path = tmp_path / f"{split}.{side}"
            lines = path.read_text().splitlines()
            write(path, [" ".join(lines[:1] * 20), *lines[1:]])
    assert forge("--config", write_config(tmp_path, files)) == 0
    run = only_run(tmp_path)
    capsys.readouterr()
    assert forge("evaluate", "--run", run, "--data", f"{tmp_path}/test.{{en,fr}}", "--json") == 0
    captured = capsys.readouterr()
    assert next(iter(json.loads(captured.out)["splits"].values()))["examples"] == 4
    assert "1 source is longer than the 32 tokens" in captured.err
    assert forge("predict", "--run", run, " ".join(ENGLISH[:1] * 20)) == 0
    assert capsys.readouterr().out.count("\n") == 1
