"""A translator in CTranslate2 writes what it writes in Forge, by its card's own code; what cannot be is said."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from support import forge, only_run, write_config
from transformers import AutoTokenizer, MarianConfig, MarianMTModel

from forge.core.errors import UserError
from forge.runs import export_ctranslate2
from forge.runs.run_dir import RunDirectory

SENTENCES = 60
TRANSLATOR: dict[str, Any] = {
    "task": "translation",
    "data": {"name": "embedded/en_fr", "embedded": {"train_size": 2000}, "max_length": 64},
    "model": {"name": "embedded/tiny-marian", "dropout": None},
    "train": {"max_steps": 150, "batch_size": 32, "micro_batch_size": None, "learning_rate": 6e-3},
    "evaluate": {"every": 75, "max_examples": 16, "metric": "loss"},
    "generate": {"beams": 4, "max_length": 24},
    "log": {"every": 50},
}
BUILT = {"name": "built/marian", "build": {"layers": 1, "width": 48, "heads": 2, "vocab_size": 500}}


def card_says(folder: Path, texts: list[str], **change: str) -> list[str]:
    """What the code of a folder's card prints for these texts."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", (folder / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    code = code.replace('"path/to/this/folder"', repr(str(folder))).replace('["A sentence."]', repr(texts))
    for name, value in change.items():
        code, count = re.subn(rf"{name}=[\d.]+", f"{name}={value}", code)
        assert count == 1, name
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        exec(code, {})
    return shown.getvalue().split("\n")[:-1]


@pytest.fixture(scope="module", params=["embedded", "built"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    change = TRANSLATOR | ({"model": BUILT} if request.param == "built" else {})
    assert forge("--config", write_config(folder, change)) == 0
    return only_run(folder)


@pytest.mark.slow
def test_it_writes_what_forge_writes(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("ctranslate2", reason="CTranslate2 is not installed: pip install 'forge-distill[ctranslate2]'")
    from forge.inference.translation import load_translator, translate
    from forge.tasks.embedded.translation import generate

    texts = [row["source"] for row in generate("test", SENTENCES)]
    assert forge("export", "--run", run, "--out", tmp_path / "fast", "--format", "ctranslate2") == 0
    for beams in (1, 4):
        expected = list(translate(load_translator(RunDirectory(run), beams=beams), texts))
        assert len(set(expected)) > 5
        assert card_says(tmp_path / "fast", texts, beam_size=str(beams)) == expected
    assert not list(tmp_path.glob(".*")), "the temporary folder is gone"
    words = ["--format", "ctranslate2", "--quantization", "int8"]
    assert forge("export", "--run", run, "--out", tmp_path / "small", *words) == 0
    answers = card_says(tmp_path / "small", texts)
    assert len(answers) == SENTENCES
    sizes = [(tmp_path / name / "model.bin").stat().st_size for name in ("small", "fast")]
    assert sizes[0] < sizes[1] / 2


@pytest.mark.slow
def test_the_card_of_an_ordinary_export_works(run: Path, tmp_path: Path) -> None:
    from forge.inference.translation import load_translator, translate

    assert forge("export", "--run", run, "--out", tmp_path / "out") == 0
    texts = ["We are ready to help the country."]
    assert card_says(tmp_path / "out", texts) == [repr(list(translate(load_translator(RunDirectory(run)), texts)))]


@pytest.mark.slow
def test_forbidden_pieces_biases_and_another_activation(run: Path, tmp_path: Path) -> None:
    """As OPUS-MT models have them."""
    fast = pytest.importorskip("ctranslate2")
    hub = tmp_path / "hub"
    assert forge("export", "--run", run, "--out", hub) == 0
    model, tokenizer = MarianMTModel.from_pretrained(hub), AutoTokenizer.from_pretrained(hub)
    model.config.activation_function = "swish"
    torch.manual_seed(0)
    model.final_logits_bias.normal_(0.0, 0.5)
    model.save_pretrained(hub)
    model = MarianMTModel.from_pretrained(hub).eval()
    inputs = tokenizer(["The country is ready.", "We are not."], padding=True, return_tensors="pt")

    def written() -> list[list[int]]:
        ids = model.generate(**inputs, num_beams=1, max_new_tokens=12)
        return [[token for token in row if token] for row in ids[:, 1:].tolist()]

    first = written()[0][0]
    model.generation_config.bad_words_ids = [[first], [0]]
    model.generation_config.save_pretrained(hub)
    assert all(first not in row for row in written())
    export_ctranslate2.convert(hub, tmp_path / "made", "float32")
    pieces = [
        tokenizer.convert_ids_to_tokens(ids) for ids in tokenizer(["The country is ready.", "We are not."])["input_ids"]
    ]
    found = fast.Translator(str(tmp_path / "made")).translate_batch(pieces, beam_size=1, max_decoding_length=12)
    ids = [tokenizer.convert_tokens_to_ids(one.hypotheses[0]) for one in found]
    assert ids == [[token for token in row if token != tokenizer.eos_token_id] for row in written()]


@pytest.mark.slow
def test_what_cannot_be_is_one_line(run: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*words: str) -> str:
        assert forge("export", "--run", run, "--out", tmp_path / "out", *words) == 2
        said = capsys.readouterr().err
        assert len(said.splitlines()) == 1
        assert not (tmp_path / "out").exists()
        return str(said)

    assert "goes with --format ctranslate2" in refused("--quantization", "int8")
    assert "invalid choice" in refused("--format", "onnx")
    with monkeypatch.context() as patch:
        patch.setattr(export_ctranslate2, "find_spec", lambda _: None)
        assert "pip install 'forge-distill[ctranslate2]'" in refused("--format", "ctranslate2")
    monkeypatch.setattr(export_ctranslate2, "find_spec", lambda _: True)
    assert "no type 'int4'; types are float32, " in refused("--format", "ctranslate2", "--quantization", "int4")

    def fail(*_: Any) -> None:
        raise UserError("it broke")

    monkeypatch.setattr(export_ctranslate2, "convert", fail)
    assert "it broke" in refused("--format", "ctranslate2")
    assert list(tmp_path.iterdir()) == [], "nothing is left of what failed"


@pytest.mark.parametrize(
    ("config", "said"),
    [({"model_type": "t5"}, "no converter for t5"), ({"share_encoder_decoder_embeddings": False}, "two vocabularies")],
)
def test_models_without_a_converter(tmp_path: Path, config: dict[str, Any], said: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(MarianConfig().to_dict() | config))
    with pytest.raises(UserError, match=said):
        export_ctranslate2.convert(tmp_path, tmp_path / "made", "float32")


def test_a_classifier_is_none(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_ctranslate2, "find_spec", lambda _: True)
    assert forge("--config", write_config(tmp_path, {"train": {"max_steps": 2}})) == 0
    capsys.readouterr()
    words = ["--out", tmp_path / "out", "--format", "ctranslate2"]
    assert forge("export", "--run", only_run(tmp_path), *words) == 2
    assert "is for translators" in capsys.readouterr().err
