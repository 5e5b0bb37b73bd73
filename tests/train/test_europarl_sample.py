"""The whole path on real text: cleaned, cut, tokenized, trained, killed, resumed, scored."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest
from support import ROOT, Lives, fingerprint, forge

DATA = Path(os.environ.get("FORGE_DATA", "data")).absolute()
TEXT = DATA / "translation" / "europarl_sample.en"
CONFIG = ROOT / "configs" / "translation" / "europarl_en_fr" / "sample" / "00_sft.yaml"


def command(folder: Path) -> list[str]:
    train = ["train.max_steps=8", "train.warmup_steps=4", "train.batch_tokens=1024", "train.threads=1"]
    build = ["model.build.vocab_size=1000", "model.build.width=32", "model.build.layers=1"]
    brief = ["evaluate.every=4", "evaluate.max_examples=12", "generate.beams=2", "generate.max_length=12"]
    return ["--config", str(CONFIG), f"run.dir={folder}", *train, *build, *brief]


@pytest.mark.slow
@pytest.mark.skipif(not TEXT.is_file(), reason=f"no {TEXT}; set FORGE_DATA to the folder that holds translation/")
def test_real_pairs_from_files_to_a_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lives: Lives, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORGE_DATA", str(DATA))
    assert forge(*command(tmp_path / "calm")) == 0
    calm = next((tmp_path / "calm").rglob("metrics.jsonl")).parent
    log = (calm / "output.log").read_text()
    assert "5 training pairs equal to one of theirs on a side" in log
    assert "cleaning: 2,200 pairs → 2,174; empty 6" in log
    rng, killed = random.Random(2), 0
    for _ in range(4):
        killed += lives.run(command(tmp_path / "stormy"), kill_after=rng.uniform(0.1, 1.0)) == 9
    assert lives.run(command(tmp_path / "stormy")) == 0
    assert killed
    assert fingerprint(next((tmp_path / "stormy").rglob("metrics.jsonl")).parent) == fingerprint(calm)
    capsys.readouterr()
    written = tmp_path / "hypotheses.fr"
    assert forge("evaluate", "--run", str(calm), "--split", "test", "--write_hypotheses", str(written), "--json") == 0
    figures = json.loads(capsys.readouterr().out)["splits"]["test"]["figures"]
    assert len(written.read_text(encoding="utf-8").splitlines()) == 12
    assert 0 <= figures["bleu"] <= 100
    recorded = json.loads((calm / "training_state.json").read_text())["test"]["test"]["bleu"]
    assert figures["bleu"] == recorded
