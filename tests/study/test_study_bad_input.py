"""What a person can get wrong in a study: one line with its place each, exit code 2, before torch is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import ROOT, forge
from tiny_study import tiny_study, write_study


def refused(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """What the command line says on its way out with code 2."""
    assert forge("study", *words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    return said.err


def changed(folder: Path, **change: Any) -> Path:
    return write_study(folder, tiny_study() | change)


def test_a_valid_study_stands_without_torch(tmp_path: Path) -> None:
    path = write_study(tmp_path, tiny_study())
    program = (
        "import sys\nfrom forge.cli import main\n"
        f"code = main(['study', 'status', '--config', {str(path)!r}])\n"
        "print(code, sorted({'torch', 'transformers', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_a_level_that_does_not_exist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = changed(tmp_path, controls={"random_teacher": {"response": "forward_lk"}})
    said = refused(capsys, "run", "--config", path)
    row = next(n for n, line in enumerate(path.read_text().splitlines(), 1) if "forward_lk" in line)
    assert f"tiny.yaml:{row}:" in said
    assert "controls.random_teacher: factor response has no level forward_lk; it has off, forward_kl" in said
    assert said.rstrip().endswith("did you mean forward_kl?")


def test_a_level_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_study(tmp_path, tiny_study())
    assert "--only: factor attention has no level on; it has off, attention_kl" in refused(
        capsys, "run", "--config", path, "--only", "attention=on"
    )
    assert "--only: there is no factor feature; there are attention, response" in refused(
        capsys, "run", "--config", path, "--only", "feature=off"
    )


def test_an_outcome_that_the_task_does_not_measure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = changed(tmp_path, outcome={"figure": "bleu"})
    said = refused(capsys, "run", "--config", path)
    assert "outcome.figure: classification does not measure bleu; it measures accuracy, macro_f1, loss, ece" in said
    path = changed(tmp_path, outcome={"figure": "accuracy", "split": "words"})
    assert "outcome.split: cells have no test split words; they have test" in refused(capsys, "run", "--config", path)


def test_a_cell_that_is_no_configuration_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = tiny_study()
    study["factors"]["response"]["forward_kl"] = {"distill": {"forward_kl": {"weight": 1.0, "temprature": 2.0}}}
    said = refused(capsys, "run", "--config", write_study(tmp_path, study))
    assert "cell attention=off response=forward_kl: distill.forward_kl.temprature is not a setting" in said
    assert "did you mean distill.forward_kl.temperature?" in said
    assert said.count("temprature is not") == 1  # not once for every cell that has it


def test_seeds_that_are_too_few(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "run", "--config", changed(tmp_path, seeds=[1, 2]))
    assert "seeds has 2, but the analysis needs the spread over at least 3" in said
    assert "seeds names a seed twice" in refused(capsys, "run", "--config", changed(tmp_path, seeds=[1, 2, 2, 3]))
    assert "max_seeds is 2, but seeds has 3" in refused(capsys, "run", "--config", changed(tmp_path, max_seeds=2))


def test_an_unknown_control_and_an_unknown_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = changed(tmp_path, controls={"random_techer": {"response": "forward_kl"}}, smalest_effect=1.0)
    said = refused(capsys, "run", "--config", path)
    assert "random_techer" in said
    assert "random_teacher" in said
    assert "smalest_effect is not a setting; did you mean smallest_effect?" in said


def test_a_base_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = changed(tmp_path, base="tiny_bsae.yaml", teacher={"config": "nowhere.yaml"})
    said = refused(capsys, "run", "--config", path)
    assert "base: configuration file" in said
    assert "tiny_bsae.yaml does not exist; did you mean" in said
    assert "teacher.config: configuration file" in said


def test_levels_that_cannot_be_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = changed(tmp_path, factors={"response": {"off": {}}}, controls={}, design="square")
    said = refused(capsys, "run", "--config", path)
    assert "factors.response has 1 level, so there is nothing to compare" in said
    assert "design: square is for three factors of four levels each" in said


def test_steps_must_be_equal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = tmp_path / "tiny_base.yaml"
    path = write_study(tmp_path, tiny_study())
    settings = yaml.safe_load(base.read_text())
    del settings["train"]["max_steps"]
    base.write_text(yaml.safe_dump(settings))
    assert "train.max_steps is not set" in refused(capsys, "run", "--config", path)


def test_nothing_to_shuffle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = changed(tmp_path, controls={"shuffled_logits": {"attention": "attention_kl"}})
    assert "this cell has no loss on logits" in refused(capsys, "run", "--config", path)


def test_flags_that_do_not_go_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_study(tmp_path, tiny_study())
    assert "--json is for study status, not for study run" in refused(capsys, "run", "--config", path, "--json")
    assert "--index" in refused(capsys, "run", "--config", path, "--index", "-1")
    assert "two of these studies have the same name" in refused(capsys, "status", "--config", path, path)
    assert "`study submit` writes it" in refused(capsys, "run", "--config", path, "--index", "0")
