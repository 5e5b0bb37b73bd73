"""Translation models as the hub has them, tiny: trained, measured, used, exported, and loaded again without Forge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_models import FOLDERS, NEED_SENTENCEPIECE, WITH_SENTENCEPIECE
from support import forge, metrics, only_run, write_config

from forge.tasks.embedded.translation import generate

LANGUAGE = {"mbart": "fr_XX", "nllb": "fra_Latn", "m2m": "__fr__"}
PREFIX = {"t5": "translate English to French: "}
ALL = [pytest.param(name, marks=[WITH_SENTENCEPIECE] * (name in NEED_SENTENCEPIECE)) for name in FOLDERS]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    folder, texts = tmp_path_factory.mktemp("data"), []
    for split, size in (("train", 100), ("test", 8)):
        rows = generate(split, size, seed=0, difficulty=0.0)
        texts += [row[column] for row in rows for column in ("source", "target")]
        for side, column in (("en", "source"), ("fr", "target")):
            (folder / f"{split}.{side}").write_text("".join(f"{row[column]}\n" for row in rows))
    return folder, texts


@pytest.mark.parametrize("name", ALL)
def test_from_the_hub_and_back(
    name: str, data: tuple[Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.set_num_threads(1)
    folder, texts = data
    (tmp_path / "model").mkdir()
    pairs = {role: f"{folder}/{split}.{{en,fr}}" for role, split in (("train", "train"), ("test", "test"))}
    change: dict[str, Any] = {
        "task": "translation",
        "data": {"name": None, "embedded": {}, **pairs, "validation": pairs["test"]},
        "model": {"name": str(FOLDERS[name](tmp_path / "model", texts))},
        "train": {"max_steps": 2, "learning_rate": 1e-3},
        "evaluate": {"every": 2},
        "generate": {"beams": 2, "max_length": 12},
    }
    assert forge("--config", write_config(tmp_path, change)) == 0
    run, english = only_run(tmp_path), (folder / "test.en").read_text().splitlines()
    capsys.readouterr()
    assert forge("evaluate", "--run", run, "--data", f"{folder}/test.{{en,fr}}", "--json") == 0
    (split,) = json.loads(capsys.readouterr().out)["splits"].values()
    noted = json.loads((run / "training_state.json").read_text())["test"]["test"]
    assert split["figures"] == pytest.approx(noted, abs=1e-6)
    assert forge("predict", "--run", run, *english) == 0
    answers = capsys.readouterr().out.split("\n")[:-1]
    assert len(answers) == len(english)
    assert len(set(answers)) > 1
    assert not any(answer.startswith(LANGUAGE.get(name, "?")) for answer in answers)
    assert forge("export", "--run", run, "--out", tmp_path / "out") == 0
    assert _without_forge(tmp_path / "out", name, english) == answers


@pytest.mark.parametrize("name", ALL)
def test_each_learns_from_rewards(name: str, data: tuple[Path, list[str]], tmp_path: Path) -> None:
    """The ratio is 1 only where sampling and learning see one distribution, with the language forced in both."""
    folder, texts = data
    (tmp_path / "model").mkdir()
    pairs = f"{folder}/train.{{en,fr}}"
    change: dict[str, Any] = {
        "task": "translation",
        "data": {"name": None, "embedded": {}, "train": pairs, "validation": pairs, "test": None},
        "model": {"name": str(FOLDERS[name](tmp_path / "model", texts)), "dropout": 0.3},
        "train": {"max_steps": 4, "batch_size": 6, "micro_batch_size": 4, "learning_rate": 1e-2},
        "evaluate": {"every": 4, "max_examples": 8},
        "generate": {"beams": 1, "max_length": 12},
        "rl": {
            "samples": 3, "updates": 2, "max_length": 12, "mask_truncated": False, "rewards": {"chrf": {}},
            "kl": {"beta": 0.1},
        },
    }  # fmt: skip
    assert forge("--config", write_config(tmp_path, change)) == 0
    run = only_run(tmp_path)
    found = [record for record in metrics(run) if record["kind"] == "step"]
    assert [record["ratio"] for record in found[::2]] == pytest.approx([1.0, 1.0], abs=1e-5)
    assert found[0]["kl"] == pytest.approx(0.0, abs=1e-5)
    assert found[-1]["kl"] > 0
    assert all(record["grad_norm"] > 1e-4 for record in found)
    records = [json.loads(line) for line in (run / "completions.jsonl").read_text().splitlines()]
    written = [sample["text"] for record in records for sample in record["samples"]]
    assert len(set(written)) > len(written) // 2
    begun = [text.startswith(LANGUAGE.get(name, "?")) for text in written]
    assert sum(begun) < len(begun) / 4  # one that has learnt nothing samples language tokens too
    assert not any(record["prompt"].startswith(PREFIX.get(name, "?")) for record in records)


def _without_forge(folder: Path, name: str, texts: list[str]) -> list[str]:
    """What a user of transformers writes."""
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    language = LANGUAGE.get(name)
    first = tokenizer.get_lang_id("fr") if name == "m2m" else language and tokenizer.convert_tokens_to_ids(language)
    found = []
    for text in texts:
        inputs = tokenizer(PREFIX.get(name, "") + text, return_tensors="pt")
        written = model.generate(
            **inputs, num_beams=2, max_new_tokens=12, max_length=None, early_stopping=True, forced_bos_token_id=first
        )
        answer = tokenizer.decode(written[0], skip_special_tokens=True)
        found.append(answer.removeprefix("__fr__").strip())
    return found
