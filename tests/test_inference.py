"""Using a finished run through the command line: predict, evaluate, export."""

from __future__ import annotations

import io
import json
import shutil

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from forge.cli import main
from forge.core.manifest import seal, verify
from forge.core.version import VERSION

CONFIG = """
task: classification
data:
  name: embedded/nli
  train: train
  validation: {matched: validation, mismatched: validation_mismatched}
  test: test
  max_length: 64
  embedded: {train_size: 64}
model: {name: embedded/tiny-distilbert}
train: {max_steps: 3, batch_size: 8, threads: 1}
evaluate: {max_examples: 32}
"""
LABELS = {"entailment", "neutral", "contradiction"}
PAIRS = [("a dog runs", "an animal moves"), ("no cat sleeps", "a cat sleeps"), ("a man eats", "a man eats well")]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A real run of three steps."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("run")
    (folder / "tiny.yaml").write_text(CONFIG)
    assert main(["--config", str(folder / "tiny.yaml"), f"run.dir={folder / 'runs'}"]) == 0
    (metadata,) = [path for path in folder.rglob("run_metadata.json") if "latest" not in path.parts]
    return metadata.parent


@pytest.fixture
def call(run, capsys, monkeypatch):
    """call(verb, *words) → exit code, lines of standard output, text of standard error."""

    def _call(verb, *words, stdin=None, on=run):
        if stdin is not None:
            monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        capsys.readouterr()
        code = main([verb, "--run", str(on), *words])
        captured = capsys.readouterr()
        return code, captured.out.splitlines(), captured.err

    return _call


@pytest.fixture
def refused(call):
    """refused(…) → the one line of an error that ends with exit code 2."""

    def _refused(verb, *words, exit_code=2, **named):
        code, out, err = call(verb, *words, **named)
        assert (code, out) == (exit_code, [])
        assert err.startswith("forge: ")
        assert err.count("\n") == 1, err
        return err.removeprefix("forge: ").strip()

    return _refused


@pytest.fixture
def predictions(call):
    """predictions(…) → what predict answered."""

    def _predictions(*words, **named):
        code, out, err = call("predict", *words, **named)
        assert code == 0, err
        return [json.loads(line) for line in out]

    return _predictions


# predict


def test_arguments_are_pairs_and_probabilities_sum_to_one(predictions):
    answers = predictions(*[text for pair in PAIRS for text in pair])
    assert [(answer["text"], answer["text_pair"]) for answer in answers] == PAIRS
    for answer in answers:
        assert set(answer["probabilities"]) == LABELS
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=3e-6)
        assert answer["label"] == max(answer["probabilities"], key=answer["probabilities"].get)
    assert len({json.dumps(answer["probabilities"]) for answer in answers}) == 3


def test_every_way_in_gives_the_same_answers_in_the_same_order(predictions, tmp_path):
    expected = predictions(*[text for pair in PAIRS for text in pair])
    lines = "".join(f"{a}\t{b}\n" for a, b in PAIRS)
    (tmp_path / "a.txt").write_text("\ufeff" + lines.replace("\n", "\r\n\r\n"))
    rows = [{"premise": a, "hypothesis": b, "more": 1} for a, b in PAIRS]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "a.csv").write_text("premise,hypothesis\n" + "".join(f'"{a}",{b}\n' for a, b in PAIRS))
    (tmp_path / "a.tsv").write_text("premise\thypothesis\n" + lines)
    Dataset.from_list(rows).to_parquet(str(tmp_path / "a.parquet"))
    for name in ("a.txt", "a.jsonl", "a.csv", "a.tsv", "a.parquet"):
        assert predictions("--file", str(tmp_path / name)) == expected, name
    assert predictions(stdin=lines + "\n") == expected


def test_more_rows_than_a_chunk_keep_their_order(predictions, monkeypatch):
    monkeypatch.setattr("forge.inference.classification.PREDICT_CHUNK", 4)
    texts = [f"a dog number {i}" + " runs" * (i % 5) for i in range(11)]
    answers = predictions(stdin="".join(f"{text}\tan animal\n" for text in texts))
    assert [answer["text"] for answer in answers] == texts
    monkeypatch.undo()
    again = predictions(stdin="".join(f"{text}\tan animal\n" for text in texts))
    for one, other in zip(answers, again, strict=True):
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=2e-6)


def test_nothing_in_nothing_out(predictions):
    assert predictions(stdin="") == []
    assert predictions(stdin="\n  \n") == []


def test_a_text_longer_than_the_model_is_truncated(predictions):
    assert predictions("dog " * 500, "cat " * 500)[0]["label"] in LABELS


@pytest.mark.parametrize(
    ("words", "stdin", "message"),
    [
        (["one", "two", "three"], None, "this model reads pairs: give two texts for each, not 3 in all"),
        ([], "a\tb\nno tab\n", "standard input:2  this model reads pairs: put a tab between the two texts"),
        (["--file", "no.txt"], None, "--file: cannot read no.txt: No such file or directory"),
        (["--file", "no.jsonl"], None, "no.jsonl  no such file (looked at "),
        (["--file", "."], None, ".  no such file"),
        (["--file", "latin.txt"], None, "latin.txt  is not UTF-8 text, after line "),
        (["--file", "latin.csv"], None, "latin.csv:2  is not UTF-8 text"),
        (["--file", "columns.jsonl"], None, "columns.jsonl:1  no column 'premise' (from data.columns.text); the col"),
        (["--file", "pair.txt"], None, "pair.txt:1  this model reads pairs"),
        (["--checkpoint", "bad", "a", "b"], None, "has no checkpoint 'bad'; there are: checkpoint-3"),
        (["--nonsense", "a", "b"], None, "unknown argument --nonsense"),
    ],
)
def test_bad_input_to_predict(refused, tmp_path, monkeypatch, words, stdin, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\tx\n")
    (tmp_path / "latin.csv").write_bytes(b"premise,hypothesis\ncaf\xe9,x\n")
    (tmp_path / "columns.jsonl").write_text('{"text": "x"}\n')
    (tmp_path / "pair.txt").write_text("only one\n")
    assert message in refused("predict", *words, stdin=stdin)


def test_checkpoints_by_name(predictions):
    answers = [predictions(*PAIRS[0], "--checkpoint", which) for which in ("best", "last", "3", "checkpoint-3")]
    assert all(answer == answers[0] for answer in answers)


@pytest.fixture
def damaged(run, tmp_path):
    """A copy of the run with one flipped bit in its weights."""
    copy = tmp_path / "damaged"
    shutil.copytree(run, copy, symlinks=True)
    weights = copy / "checkpoint-3/model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    return copy


@pytest.mark.parametrize(
    ("verb", "words"), [("predict", PAIRS[0]), ("evaluate", ["--data", "x.jsonl"]), ("export", ["--out", "out"])]
)
def test_a_damaged_checkpoint_ends_with_exit_code_3(refused, damaged, tmp_path, monkeypatch, verb, words):
    monkeypatch.chdir(tmp_path)
    message = refused(verb, *words, on=damaged, exit_code=3)
    assert "checkpoint-3  is damaged: model.safetensors has changed (sha256 differs)" in message
    assert not (tmp_path / "out").exists()


def test_a_directory_that_is_no_run(refused, tmp_path):
    for verb, words in (("predict", ["a", "b"]), ("evaluate", []), ("export", ["--out", "o"])):
        assert "is not a run directory: it has no run_metadata.json" in refused(verb, *words, on=tmp_path)


# evaluate


@pytest.fixture
def labelled(tmp_path, predictions):
    """Rows whose labels are what the model predicts, but for the first."""
    answers = predictions(*[text for pair in PAIRS for text in pair])
    labels = [answer["label"] for answer in answers]
    labels[0] = next(iter(sorted(LABELS - {labels[0]})))
    return [{"premise": a, "hypothesis": b, "label": name} for (a, b), name in zip(PAIRS, labels, strict=True)]


def _write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_evaluate_on_a_file(call, labelled, tmp_path):
    data = _write(tmp_path / "a.jsonl", [*labelled, labelled[0] | {"label": "-1"}])
    code, out, err = call("evaluate", "--data", data, "--json")
    assert code == 0
    scores = json.loads("\n".join(out))
    assert scores["accuracy"] == pytest.approx(2 / 3)
    assert scores["examples"] == 3
    assert set(scores["labels"]) == LABELS
    assert err.strip() == f"{data}: 1 rows without a label were left out"
    code, out, _ = call("evaluate", "--data", data)
    assert code == 0
    assert out[0].startswith(f"{data} with checkpoint-3 of ")
    assert out[1].startswith("accuracy 0.6667")


def test_evaluate_with_other_columns(call, labelled, tmp_path):
    rows = [{"a": row["premise"], "b": row["hypothesis"], "gold": row["label"]} for row in labelled]
    data = _write(tmp_path / "a.jsonl", rows)
    mapping = ["--text", "a", "--text_pair", "b", "--label", "gold"]
    code, out, _ = call("evaluate", "--data", data, "--json", *mapping)
    assert (code, json.loads("\n".join(out))["examples"]) == (0, 3)
    assert "no column 'premise'" in call("evaluate", "--data", data)[2]


def test_evaluate_on_a_split_of_a_folder(call, refused, labelled, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    for split, rows in (("test", labelled), ("extra", labelled[:2])):
        _write(tmp_path / f"{split}.jsonl", rows)
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n"
        "  - {split: test, path: test.jsonl}\n  - {split: extra, path: extra.jsonl}\n---\n"
    )
    found = {}
    for words in ([], ["--split", "test"], ["--split", "extra"]):
        code, out, _ = call("evaluate", "--data", str(tmp_path), "--json", *words)
        assert code == 0
        found[" ".join(words)] = json.loads("\n".join(out))["examples"]
    assert found == {"": 3, "--split test": 3, "--split extra": 2}
    message = refused("evaluate", "--data", str(tmp_path), "--split", "dev")
    assert "cannot read split 'dev'" in message


def test_evaluate_without_data_prints_what_the_run_measured(call):
    code, out, _ = call("evaluate")
    assert code == 0
    assert any("test" in line and "accuracy" in line for line in out)


def test_evaluate_on_bad_data(refused, tmp_path):
    data = _write(tmp_path / "a.jsonl", [{"premise": "a", "hypothesis": "b", "label": "unknown"}])
    assert f"{data}:1  label is 'unknown' in column 'label', known: " in refused("evaluate", "--data", data)
    assert "no such file" in refused("evaluate", "--data", str(tmp_path / "no.csv"))


# export


def test_an_export_is_a_model_that_transformers_loads(call, predictions, tmp_path):
    out = tmp_path / "out"
    code, lines, _ = call("export", "--out", str(out))
    assert code == 0
    names = sorted(path.name for path in out.iterdir())
    assert lines == [str(out / name) for name in names]
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= set(names)
    assert not set(names) & {"manifest.json", "optimizer.safetensors", "trainer_state.json"}
    model = AutoModelForSequenceClassification.from_pretrained(out).eval()
    tokenizer = AutoTokenizer.from_pretrained(out)
    classify = pipeline("text-classification", model=str(out), tokenizer=str(out), top_k=None)
    for answer, (a, b) in zip(predictions(*[text for pair in PAIRS for text in pair]), PAIRS, strict=True):
        inputs = {k: v for k, v in tokenizer(a, b, return_tensors="pt").items() if k != "token_type_ids"}
        with torch.inference_mode():
            probabilities = torch.softmax(model(**inputs).logits[0], -1)
        by_model = {model.config.id2label[i]: float(p) for i, p in enumerate(probabilities)}
        assert by_model == pytest.approx(answer["probabilities"], abs=1e-5)
        by_pipeline = {row["label"]: row["score"] for row in classify({"text": a, "text_pair": b})}
        assert by_pipeline == pytest.approx(answer["probabilities"], abs=1e-5)


def test_an_export_never_overwrites(refused, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    assert refused("export", "--out", str(tmp_path)).endswith("is not empty; give a new directory")
    assert refused("export", "--out", str(tmp_path / "mine.txt")).endswith("is a file; give a new directory")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_export_into_the_checkpoint_would_damage_it(refused, run):
    for out in (run / "checkpoint-3", run / "checkpoint-3/exported"):
        assert "is inside the checkpoint" in refused("export", "--out", str(out))
    assert verify(run / "checkpoint-3") == ""


def test_an_export_holds_what_was_sealed_alone(call, run, tmp_path):
    """Folders too, and nothing of what an editor or a download left beside it."""
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    checkpoint = folder / "checkpoint-3"
    (checkpoint / "manifest.json").unlink()
    (checkpoint / "templates").mkdir()
    (checkpoint / "templates/a.jinja").write_text("x")
    seal(checkpoint, {"step": 3})
    (checkpoint / ".cache").mkdir()
    (checkpoint / ".DS_Store").write_text("x")
    assert call("export", "--out", str(tmp_path / "out"), on=folder)[0] == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"model.safetensors", "templates"} <= names
    assert not {".cache", ".DS_Store"} & names
    assert (tmp_path / "out/templates/a.jinja").read_text() == "x"


def test_a_push_without_network_keeps_the_export(call, tmp_path, monkeypatch):
    import huggingface_hub

    def fail(*_, **__):
        raise ConnectionError("no route to the hub\nwith a second line")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", fail)
    code, lines, err = call("export", "--out", str(tmp_path / "out"), "--push", "me/name")
    assert code == 2
    assert err == f"forge: --push: cannot upload to me/name: no route to the hub; the export is in {tmp_path}/out\n"
    assert str(tmp_path / "out/model.safetensors") in lines


def test_a_run_is_a_model_for_the_next_run(run, tmp_path, capsys):
    path = tmp_path / "next.yaml"
    path.write_text(CONFIG.replace("embedded/tiny-distilbert", str(run)).replace("max_steps: 3", "max_steps: 1"))
    assert main(["--config", str(path), f"run.dir={tmp_path / 'runs'}"]) == 0
    capsys.readouterr()
    (metadata,) = [found for found in tmp_path.rglob("run_metadata.json") if "latest" not in found.parts]
    assert json.loads(metadata.read_text())["assets"]["model"]["location"] == str(run / "checkpoint-3")


@pytest.mark.parametrize("verb", ["", "train", "prepare", "config", "evaluate", "predict", "export"])
def test_help(verb, capsys):
    with pytest.raises(SystemExit) as caught:
        main([*([verb] if verb else []), "--help"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("usage: forge")


def test_prepare_says_what_is_there(run, tmp_path, capsys):
    path = tmp_path / "x.yaml"
    path.write_text(CONFIG.replace("embedded/tiny-distilbert", str(run)))
    assert main(["prepare", "--config", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"model: {run} already here: ")
    assert lines[1] == "dataset: embedded/nli is embedded, nothing to fetch"


@pytest.mark.parametrize(
    ("kind", "verb", "words"),
    [
        ("classification", "evaluate", ["--data", "a.jsonl"]),
        ("classification", "predict", ["a.jsonl"]),
        ("ocr", "evaluate", ["--split", "words"]),
        ("ocr", "evaluate", ["--data", "pages"]),
        ("ocr", "predict", ["a.pdf"]),
    ],
)
def test_a_run_with_settings_of_another_version_is_one_line(kind, verb, words, run, reader_run, call, tmp_path):
    """What it noted of itself when it ended can still be told."""
    old = shutil.copytree(run if kind == "classification" else reader_run, tmp_path / "old")
    record = json.loads((old / "run_metadata.json").read_text())
    record["config"]["data"]["of_another_time"] = 3
    record["versions"]["forge"] = "0.0.9"
    (old / "run_metadata.json").write_text(json.dumps(record))
    code, _, said = call(verb, *words, on=old)
    assert code == 2
    assert said.splitlines() == [
        f"forge: {old}  has settings that forge {VERSION} does not take: data.of_another_time is not a setting; "
        "take forge 0.0.9, which trained it, or train it again"
    ]
    assert call("evaluate", on=old)[0] == 0
