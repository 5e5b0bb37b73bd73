"""Comparing through the command line: two runs on the same examples, and translations in text files."""

from __future__ import annotations

import json
import re
import shutil
import sys

import numpy as np
import pytest
import torch

from forge.cli import main

CONFIG = """
task: classification
seed: SEED
data:
  name: embedded/nli
  train: train
  validation: {matched: validation, mismatched: validation_mismatched}
  test: test
  max_length: 64
  embedded: {train_size: 64}
model: {name: embedded/tiny-distilbert}
train: {max_steps: STEPS, batch_size: 8, threads: 1}
evaluate: {max_examples: 200}
"""


def trained(folder, seed, steps=3, **change):
    """A real run; `change` replaces lines of the configuration."""
    torch.set_num_threads(1)
    folder.mkdir()
    text = CONFIG.replace("SEED", str(seed)).replace("STEPS", str(steps))
    for line, other in change.items():
        assert f"{line}: " in text
        text = re.sub(rf"{line}: [^,}}\n]*", f"{line}: {other}", text)
    (folder / "tiny.yaml").write_text(text)
    assert main(["--config", str(folder / "tiny.yaml"), f"run.dir={folder / 'runs'}"]) == 0
    (metadata,) = [path for path in folder.rglob("run_metadata.json") if "latest" not in path.parts]
    return metadata.parent


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return trained(folder / "a", 1, steps=30), trained(folder / "b", 2)


@pytest.fixture
def call(capsys):
    """call(*words) → exit code, standard output, standard error."""

    def _call(*words):
        capsys.readouterr()
        code = main(["evaluate", *map(str, words)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return _call


@pytest.fixture
def refused(call):
    """refused(…) → the one line of an error that ends with exit code 2."""

    def _refused(*words):
        code, out, err = call(*words)
        assert (code, out) == (2, "")
        assert err.startswith("forge: ")
        assert err.count("\n") == 1, err
        return err.removeprefix("forge: ").strip()

    return _refused


# Runs


def test_two_runs_on_their_own_test_set(call, runs):
    code, out, err = call("--run", runs[0], "--against", runs[1], "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["a"].startswith(f"{runs[0]}, checkpoint-")
    assert list(found["splits"]) == ["test"]
    assert found["splits"]["test"]["examples"] == 200
    accuracy, loss = found["splits"]["test"]["comparisons"]
    for one, key in ((runs[0], "value"), (runs[1], "baseline")):
        measured = json.loads((one / "training_state.json").read_text())["test"]["test"]
        assert accuracy[key] == pytest.approx(measured["accuracy"])
        assert loss[key] == pytest.approx(measured["loss"], abs=1e-5)
    assert accuracy["test"] == "exact McNemar"
    assert loss["test"] == "paired approximate randomisation"
    assert (loss["trials"], loss["seed"]) == (10_000, 12_345)
    assert accuracy["interval"][0] <= accuracy["delta"] <= accuracy["interval"][1]
    assert loss["interval"][0] < loss["delta"] < loss["interval"][1]


def test_the_table_says_everything_that_a_paper_needs(call, runs):
    code, out, _ = call("--run", runs[0], "--against", runs[1])
    lines = out.splitlines()
    assert code == 0
    assert lines[0].startswith(f"A = {runs[0]}, checkpoint-")
    assert lines[1].startswith(f"B = {runs[1]}, checkpoint-")
    assert "test  (200 examples)" in lines
    assert any(re.fullmatch(r"accuracy .*  exact McNemar, \d+ examples on which one alone is right", x) for x in lines)
    assert any(x.endswith("paired approximate randomisation, 10,000 trials, seed 12345") for x in lines)
    assert "judge by" not in out
    assert lines[-1] == "the interval is of A - B: paired bootstrap, 1,000 resamples, seed 12345"


def test_a_run_does_not_differ_from_itself(call, runs):
    _, out, _ = call("--run", runs[0], "--against", runs[0], "--json")
    for one in json.loads(out)["splits"]["test"]["comparisons"]:
        assert (one["delta"], one["p"]) == (0.0, 1.0)


@pytest.mark.parametrize("name", ["validation.matched", "matched"])
def test_a_split_by_name(call, refused, runs, name):
    _, out, _ = call("--run", runs[0], "--against", runs[1], "--split", name, "--json")
    assert list(json.loads(out)["splits"]) == ["validation.matched"]
    message = refused("--run", runs[0], "--against", runs[1], "--split", "dev")
    assert message.endswith("has no split 'dev'; there are: validation.matched, validation.mismatched, test")


@pytest.fixture
def labelled(tmp_path):
    names = ["entailment", "neutral", "contradiction"]
    rows = [{"premise": f"a dog {i}", "hypothesis": "an animal", "label": names[i % 3]} for i in range(30)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_runs_on_other_data(call, runs, labelled):
    _, out, _ = call("--run", runs[0], "--against", runs[1], "--data", labelled, "--json")
    accuracy, _ = json.loads(out)["splits"][str(labelled)]["comparisons"]
    for one, key in ((runs[0], "value"), (runs[1], "baseline")):
        _, alone, _ = call("--run", one, "--data", labelled, "--json")
        assert accuracy[key] == pytest.approx(json.loads(alone)["accuracy"])


def test_labels_in_another_order_are_the_same_labels(call, runs, labelled, tmp_path):
    """The outputs of a copy of the run are renumbered; its answers are the same."""
    from safetensors.torch import load_file, save_file

    from forge.core.manifest import seal

    copy, order = tmp_path / "copy", [2, 0, 1]
    shutil.copytree(runs[0], copy, symlinks=True)
    metadata = json.loads((copy / "run_metadata.json").read_text())
    metadata["labels"] = [metadata["labels"][i] for i in order]
    (copy / "run_metadata.json").write_text(json.dumps(metadata))
    for checkpoint in copy.glob("checkpoint-*"):
        weights = load_file(checkpoint / "model.safetensors")
        for name in ("classifier.weight", "classifier.bias"):
            weights[name] = weights[name][order].contiguous()
        save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
        config = json.loads((checkpoint / "config.json").read_text())
        config["id2label"] = {str(i): name for i, name in enumerate(metadata["labels"])}
        config["label2id"] = {name: i for i, name in enumerate(metadata["labels"])}
        (checkpoint / "config.json").write_text(json.dumps(config))
        step = json.loads((checkpoint / "manifest.json").read_text())["step"]
        (checkpoint / "manifest.json").unlink()
        seal(checkpoint, {"step": step})
    code, out, err = call("--run", runs[0], "--against", copy, "--data", labelled, "--json")
    assert code == 0, err
    accuracy, loss = json.loads(out)["splits"][str(labelled)]["comparisons"]
    assert (accuracy["delta"], accuracy["trials"]) == (0.0, 0)
    assert loss["delta"] == pytest.approx(0, abs=1e-6)


def changed(run, folder, change):
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
        (lambda r: r.get("fingerprints", {}).update(test="0"), "split test of {a} holds other rows in {b}: the two"),
        (lambda r: r.get("fingerprints", {}).pop("test", 0), "split test of {a} is not in {b}: the two"),
        (lambda r: r.get("config", {}).get("evaluate", {}).update(max_examples=50), "200 and 50 examples"),
        (lambda r: r.update(status="interrupted"), "{b}  has not finished (interrupted); only finished runs"),
        (
            lambda r: r.get("config", {}).update(task="translation"),
            "{b} is a run of translation; only runs of one task",
        ),
    ],
)
def test_runs_that_cannot_be_compared(refused, runs, tmp_path, change, says):
    other = changed(runs[1], tmp_path / "other", change)
    assert says.format(a=runs[0], b=other) in refused("--run", runs[0], "--against", other)


def test_data_that_has_changed_since(refused, tmp_path, labelled):
    for name in ("train", "dev", "test"):
        shutil.copy(labelled, tmp_path / f"{name}.jsonl")
    config = tmp_path / "files.yaml"
    config.write_text(
        f"task: classification\ndata: {{train: {tmp_path}/train.jsonl, validation: {tmp_path}/dev.jsonl, "
        f"test: {tmp_path}/test.jsonl, columns: {{text: premise, text_pair: hypothesis}}, max_length: 32}}\n"
        "model: {name: embedded/tiny-distilbert}\ntrain: {max_steps: 1, batch_size: 8, threads: 1}\n"
    )
    assert main(["--config", str(config), f"run.dir={tmp_path / 'runs'}"]) == 0
    (run,) = [path.parent for path in tmp_path.rglob("run_metadata.json") if "latest" not in path.parts]
    assert main(["evaluate", "--run", str(run), "--against", str(run)]) == 0
    with (tmp_path / "test.jsonl").open("a") as file:
        file.write(json.dumps({"premise": "a", "hypothesis": "b", "label": "neutral"}) + "\n")
    message = refused("--run", run, "--against", run)
    assert message.startswith(f"{tmp_path}/test.jsonl  has changed since {run} was trained")


def test_not_a_run(refused, runs, tmp_path):
    assert "is not a run directory" in refused("--run", runs[0], "--against", tmp_path)
    assert refused().startswith("evaluate needs --run R, or --hypotheses FILE with --references FILE, or of pages")


# Text files

REFERENCES = ["Un homme porte une veste rouge.", "L'enfant joue au ballon.", "Deux chiens courent dans la neige."]
OURS = ["Un homme porte une veste verte.", "L'enfant joue au ballon.", "Deux chiens courent dans l'herbe."]
THEIRS = ["Un homme porte un pull vert.", "Un enfant joue.", "Deux chats courent."]


@pytest.fixture
def files(tmp_path):
    for name, lines in (("ref", REFERENCES), ("ours", OURS), ("theirs", THEIRS), ("src", ["a", "b", "c"])):
        (tmp_path / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return tmp_path


def test_files_are_scored_with_signatures(call, files):
    code, out, _ = call("--hypotheses", files / "ours", "--references", files / "ref")
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == f"{files}/ours  (3 lines, references {files}/ref)"
    for figure, mark in (("bleu", "|tok:13a|"), ("chrf", "|nw:2|"), ("ter", "|tok:tercom|")):
        (line,) = [line for line in lines if line.startswith(f"  {figure} ")]
        assert mark in line
        assert "|version:" in line
    assert not any("paired" in line for line in lines)


def test_files_against_files(call, files):
    words = ("--hypotheses", files / "ours", "--references", files / "ref", "--against", files / "theirs")
    code, out, _ = call(*words)
    assert code == 0
    assert out.count("paired bootstrap, 1,000 resamples, seed 12345") == 4  # a figure each, and the last line
    assert out.count("paired approximate randomisation, 10,000 trials, seed 12345") == 3
    assert "judge by the randomisation" in out
    _, text, _ = call(*words, "--json")
    found = json.loads(text)
    assert [one["figure"] for one in found["comparisons"]] == ["bleu", "bleu", "chrf", "chrf", "ter", "ter"]
    figures = [found["systems"][str(files / name)]["figures"] for name in ("ours", "theirs")]
    for one in found["comparisons"]:
        assert (one["value"], one["baseline"]) == (figures[0][one["figure"]], figures[1][one["figure"]])


def test_a_file_against_itself(call, files):
    words = ("--hypotheses", files / "ours", "--references", files / "ref", "--against", files / "ours")
    code, out, _ = call(*words, "--json")
    assert code == 0
    assert {one["p"] for one in json.loads(out)["comparisons"]} == {1.0}
    assert call(*words)[0] == 0


def test_the_literatures_bleu_on_request(call, refused, files):
    words = ("--hypotheses", files / "ours", "--references", files / "ref", "--tokenised_lower")
    _, out, _ = call(*words, "--language", "fr")
    assert "prepared:lc.norm.moses-fr" in out
    assert refused(*words) == "--tokenised_lower needs --language, for example fr"


def test_comet_beside_the_others(call, refused, files, monkeypatch):
    """By a stand-in: the real package cannot be installed beside transformers 5."""
    program = files / "python"
    program.write_text(
        f"#!{sys.executable}\nimport json, sys\n*_, settings, rows, out = sys.argv\n"
        "assert json.loads(settings)['model'] == 'mine.ckpt'\n"
        "open(out, 'w').writelines(json.dumps({'score': 0.5}) + '\\n' for _ in open(rows))\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("FORGE_COMET_PYTHON", str(program))
    words = ("--hypotheses", files / "ours", "--references", files / "ref", "--comet", "mine.ckpt")
    _, out, _ = call(*words, "--sources", files / "src")
    (line,) = [line for line in out.splitlines() if line.startswith("  comet")]
    assert line.split() == ["comet", "0.5000", "mine.ckpt"]
    assert "--comet needs --sources FILE" in refused(*words)


def test_a_long_text_says_that_ter_is_left_out(call, files, monkeypatch):
    from forge.tasks import text_lines

    score = text_lines.score_translations
    monkeypatch.setattr(text_lines, "score_translations", lambda *words: score(*words, word_pairs=5))
    code, out, _ = call("--hypotheses", files / "ours", "--references", files / "ref")
    assert code == 0
    assert "  ter is left out: the lines are too long for TER:" in out


def test_bad_files(refused, files):
    (files / "short").write_text("a\nb\n")
    (files / "empty").write_text("")
    (files / "blank").write_text("\n \n\n")
    (files / "latin").write_bytes("un\ncaf\u00e9\ntrois\n".encode("latin-1"))
    ref, ours = files / "ref", files / "ours"

    def message(hypotheses, references, *more):
        return refused("--hypotheses", hypotheses, "--references", references, *more)

    counts = f"{files}/short has 2 lines, {ref} has 3; each needs one of the other: {files}/short:3  is missing"
    assert message(files / "short", ref) == f"--hypotheses: {counts}"
    assert message(ours, ref, "--against", files / "short") == f"--against: {counts}"
    assert message(ours, files / "short").endswith(f"{files}/short:3  is missing")
    assert message(files / "empty", ref) == f"--hypotheses: {files}/empty:1  is empty"
    assert message(ours, files / "blank") == "all references are empty"
    assert f"--hypotheses: {files}/latin:2  is not UTF-8 text" in message(files / "latin", ref)
    assert message(files / "no", ref) == f"--hypotheses: cannot read {files}/no: No such file or directory"
    assert message(files, ref) == f"--hypotheses: cannot read {files}: Is a directory"
    for words in (
        ("--hypotheses", ours),
        ("--references", ref),
        ("--hypotheses", ours, "--references", ref, "--run", "r"),
    ):
        assert "give --hypotheses FILE and --references FILE, without --run" in refused(*words)


def test_lines_end_as_for_sacrebleu(call, files):
    """A byte order mark and \\r\\n do not count, and U+2028 does not end a line."""
    plain = call("--hypotheses", files / "ours", "--references", files / "ref", "--json")[1]
    (files / "ref").write_bytes(("\ufeff" + "\r\n".join(REFERENCES)).encode())
    assert call("--hypotheses", files / "ours", "--references", files / "ref", "--json")[1] == plain
    (files / "ref").write_text("a\u2028b\nc\x85d\ne\x0cf\n", encoding="utf-8", newline="\n")
    assert call("--hypotheses", files / "ours", "--references", files / "ref")[0] == 0


def test_a_metric_of_another_task_is_refused_before_training(tmp_path, capsys):
    path = tmp_path / "tiny.yaml"
    path.write_text(
        CONFIG.replace("SEED", "1").replace("STEPS", "1").replace("evaluate: {", "evaluate: {metric: bleu, ")
    )
    assert main(["--config", str(path), f"run.dir={tmp_path / 'runs'}"]) == 2
    assert "evaluate.metric: bleu is no figure of classification, which has accuracy" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_the_seed_of_numpy_is_left_alone(call, runs):
    np.random.seed(5)
    expected = np.random.RandomState(5).rand()
    call("--run", runs[0], "--against", runs[1])
    assert np.random.rand() == expected
