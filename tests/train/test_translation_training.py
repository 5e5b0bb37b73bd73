"""Translation from files to a trained model: trained, killed, resumed, measured, used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import Lives, fingerprint, forge, metrics, only_run, write_config
from toy_translation import finished_after_kills, settings


@pytest.mark.slow
def test_from_files_to_translations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert forge("--config", write_config(tmp_path, settings(tmp_path / "data"))) == 0
    run = only_run(tmp_path)
    log = (run / "output.log").read_text()
    assert "languages: en → fr" in log
    kinds = {record["kind"]: record for record in metrics(run)}
    assert {"bleu", "chrf", "ter", "length_ratio", "loss"} <= set(kinds["test"])
    assert kinds["test"]["signatures"]["bleu"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert json.loads((run / "training_state.json").read_text())["best"]["metric"] == "bleu"
    assert "<td>The " in (run / "report.html").read_text()
    capsys.readouterr()
    long = "The small dog sees the cat. " * 12  # twice what the model reads
    assert forge("predict", "--run", str(run), "The big cat sees the dog.", "", long.strip()) == 0
    answers = capsys.readouterr().out.split("\n")
    assert len(answers) == 4
    assert answers[0]
    assert answers[1] == ""


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_bit_equal(tmp_path: Path, lives: Lives) -> None:
    change = settings(tmp_path / "data", micro_batch_size=4, num_workers=2)
    assert lives.run(["--config", str(write_config(tmp_path / "calm", change))]) == 0
    expected = fingerprint(only_run(tmp_path / "calm"))
    for run in finished_after_kills(lives, tmp_path / "stormy", change, longest=3.0):
        assert fingerprint(run) == expected


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path, lives: Lives) -> None:
    change = settings(tmp_path / "data", micro_batch_size=8, batch_size=16, group_by_length=True)
    assert forge("--config", write_config(tmp_path / "one", change)) == 0
    lives.run_pair(write_config(tmp_path / "two", change))
    pairs = list(zip(*(metrics(only_run(tmp_path / name)) for name in ("one", "two")), strict=True))
    assert len(pairs) > 12
    for one, two in pairs:
        assert set(one) == set(two)
        for name, value in one.items():
            if isinstance(value, float):
                assert two[name] == pytest.approx(value, abs=1e-5), (one["step"], name)


def test_ter_chooses_the_best_checkpoint_however_long_the_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit on what TER may cost is drawn so low that only who needs TER has it."""
    from support import merged

    from forge.tasks import translation

    score = translation.score_translations
    monkeypatch.setattr(translation, "score_translations", lambda *words: score(*words[:3], words[3] and 5))
    change = merged(settings(tmp_path / "data", learning_rate=0.02), {"evaluate": {"every": 2, "metric": "ter"}})
    assert forge("--config", write_config(tmp_path, change)) == 0
    run = only_run(tmp_path)
    found = {record["step"]: record["ter"] for record in metrics(run) if record["kind"] == "evaluation"}
    assert len(set(found.values())) > 2
    lowest = min(found.values())
    best = json.loads((run / "training_state.json").read_text())["best"]
    assert (best["metric"], best["value"]) == ("ter", lowest)
    assert best["step"] == next(step for step, value in found.items() if value == lowest)
    assert "ter" in next(record for record in metrics(run) if record["kind"] == "test")
    assert (run / f"checkpoint-{best['step']}").is_dir()
    change = merged(change, {"train": {"max_steps": 1}, "evaluate": {"metric": "bleu"}})
    assert forge("--config", write_config(tmp_path / "bleu", change)) == 0
    assert all("ter" not in record for record in metrics(only_run(tmp_path / "bleu")))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"evaluate": {"metric": "accuracy"}}, "evaluate.metric: accuracy is no figure of translation"),
        ({"model": {"name": "built/lstm"}}, "there is no built/lstm"),
        ({"model": {"name": "embedded/tiny-bart"}}, "there is no embedded/tiny-bart"),
        ({"model": {"build": {"width": 30, "heads": 4}}}, "is no multiple of model.build.heads"),
    ],
)
def test_one_line_for_what_does_not_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], said: str
) -> None:
    from support import merged

    assert forge("--config", write_config(tmp_path, merged(settings(tmp_path / "data"), change))) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") <= 2
