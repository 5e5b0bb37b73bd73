"""Tables from files and folders: every bad input is named by file and line, in one line."""

from __future__ import annotations

import json

import pytest
from datasets import ClassLabel, Dataset, Features, Value, disable_progress_bars

from forge.config.schema import Columns
from forge.core.errors import UserError
from forge.tasks.classification import label_names, read_labels, read_texts
from forge.tasks.sources import from_directory, from_file, from_rows

disable_progress_bars()
ROWS = [{"text": f"text {i}, with a comma", "label": name} for i, name in enumerate(["neg", "pos", "neg"])]
NAMES = ["neg", "pos"]


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def put(tmp_path):
    def _put(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path.relative_to(tmp_path)

    return _put


def _jsonl(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def _message(call, *arguments):
    with pytest.raises(UserError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _classify(path, columns=None, names=NAMES):
    """Read as a run does: texts, then labels."""
    table, columns = from_file(path), columns or Columns()
    read_texts(table, columns)
    return read_labels(table, columns.label, names)


# What is read


def test_every_format_holds_the_same_rows(put, tmp_path):
    put("a.jsonl", _jsonl(ROWS))
    put("b.jsonl", "\ufeff" + _jsonl(ROWS).replace("\n", "\r\n\r\n"))  # a byte order mark, blank lines, other ends
    put("c.csv", "text,label\r\n" + "".join(f'"{row["text"]}",{row["label"]}\r\n' for row in ROWS))
    put("d.tsv", "text\tlabel\n" + "".join(f"{row['text']}\t{row['label']}\n" for row in ROWS))
    Dataset.from_list(ROWS).to_parquet(str(tmp_path / "e.parquet"))
    folder = tmp_path / "folder"
    folder.mkdir()
    Dataset.from_list(ROWS).to_parquet(str(folder / "train-00000-of-00001.parquet"))
    tables = [from_file(path) for path in sorted(tmp_path.glob("?.*"))]
    tables += [from_directory(str(folder), None, "train", ""), from_rows("made", ROWS)]
    assert len(tables) == 7
    for table in tables:
        assert table.rows.to_list() == ROWS, table.name


def test_csv_with_line_breaks_inside_quotes_names_the_line_where_a_row_starts(put):
    path = put("a.csv", 'text,label\n"one\ntwo\nthree",neg\n"say ""hi""",pos\n\nlast,bad\n')
    table = from_file(path)
    assert table.rows["text"][:] == ["one\ntwo\nthree", 'say "hi"', "last"]
    assert [table.where(row) for row in range(3)] == ["a.csv:2", "a.csv:5", "a.csv:7"]
    assert _message(_classify, path) == "a.csv:7  label is 'bad' in column 'label', known: neg, pos (data.labels)"


def test_tsv_with_bare_quotes_as_glue_ships_it(put):
    path = put("a.tsv", 'text\tlabel\n"never closed\tneg\nan "inner" one"\tpos\n')
    assert from_file(path).rows["text"][:] == ['"never closed', 'an "inner" one"']


def test_a_very_long_field(put):
    path = put("a.csv", f"text,label\n{'x' * 200_000},neg\nshort,pos\n")
    assert len(from_file(path).rows["text"][0]) == 200_000


def test_a_text_may_hold_the_other_line_separators(put):
    odd = "a\u2028b\u0085c"
    assert from_file(put("a.jsonl", json.dumps({"text": odd}, ensure_ascii=False) + "\n")).rows["text"][:] == [odd]


def test_the_fingerprint_follows_the_content_and_nothing_else(put, tmp_path):
    one = from_file(put("a.jsonl", _jsonl(ROWS))).fingerprint
    assert from_file(put("b.jsonl", _jsonl(ROWS))).fingerprint == one
    assert from_file(put("a.jsonl", _jsonl(ROWS[:2]))).fingerprint != one


def test_a_folder_may_be_touched_and_copied_but_not_changed(tmp_path):
    def mark(name, rows):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        Dataset.from_list(rows).to_parquet(str(folder / "train.parquet"))
        Dataset.from_list(rows[:1]).to_parquet(str(folder / "test.parquet"))
        return from_directory(str(folder), None, "train", "").fingerprint

    one = mark("one", ROWS)
    assert mark("one", ROWS) == one
    assert mark("two", ROWS) == one
    assert mark("one", [ROWS[1], ROWS[0], ROWS[2]]) != one
    assert from_directory(str(tmp_path / "two"), None, "test", "").fingerprint != one
    assert from_directory(str(tmp_path / "two"), None, "train", "a" * 40).fingerprint != one


# What is refused

PAIR = Columns(text="a", text_pair="b")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", "", "a.jsonl  has no rows"),
        ("a.jsonl", "\n\n", "a.jsonl  has no rows"),
        ("a.csv", "", "a.csv  has no rows"),
        ("a.csv", "text,label\n", "a.csv  has no rows"),
        ("a.jsonl", _jsonl(ROWS * 2) + '{"text": "x"}\n', "a.jsonl:7  this row has no column 'label', which the first"),
        ("a.jsonl", _jsonl(ROWS) + "{oops\n", "a.jsonl:4:2  not JSON; each line must be one JSON object"),
        ("a.jsonl", _jsonl(ROWS) + "[" * 100_000 + "\n", "a.jsonl:4  not JSON"),
        ("a.jsonl", _jsonl(ROWS) + '["x", 1]\n', "a.jsonl:4  each line must be one JSON object, this is a list"),
        ("a.json", json.dumps(ROWS), "a.json:1  each line must be one JSON object, this is a list"),
        (
            "a.jsonl",
            _jsonl([*ROWS, {"text": 3, "label": "neg"}]),
            "a.jsonl:4  column 'text' holds a number in this row",
        ),
        ("a.jsonl", _jsonl([*ROWS, {"text": float("nan"), "label": "neg"}]), "a.jsonl:4  column 'text' holds a number"),
        ("a.jsonl", _jsonl([*ROWS, {"text": ["x"], "label": "neg"}]), "a.jsonl:4  column 'text' holds a list in this"),
        ("a.jsonl", _jsonl([*ROWS, {"text": "x", "label": 1}]), "a.jsonl:4  column 'label' holds a number in this row"),
        ("a.jsonl", _jsonl([*ROWS, {"text": "\ud800", "label": "pos"}]), "a.jsonl:4  column 'text' holds half of a"),
        ("a.jsonl", _jsonl([*ROWS, {"text": None, "label": "neg"}]), "a.jsonl:4  column 'text' must hold a text, this"),
        (
            "a.jsonl",
            _jsonl([{"text": 1.5, "label": "neg"}]),
            "a.jsonl:1  column 'text' must hold a text, this row has a n",
        ),
        (
            "a.jsonl",
            _jsonl([*ROWS, {"text": "x", "label": "bad"}]),
            "a.jsonl:4  label is 'bad' in column 'label', known",
        ),
        ("a.jsonl", _jsonl([*ROWS, {"text": "x", "label": None}]), "a.jsonl:4  label is nothing in column 'label'"),
        (
            "a.jsonl",
            _jsonl([{"txt": "x", "label": "neg"}]),
            "a.jsonl:1  no column 'text' (from data.columns.text); the col",
        ),
        ("a.jsonl", _jsonl([{"text": "x", "gold": "neg"}]), "a.jsonl:1  no column 'label' (from data.columns.label)"),
        ("a.csv", "text,label\nx,neg\na,b,c\n", "a.csv:3  has 3 columns, the header has 2"),
        ("a.csv", 'text,label\n"x\ny",neg\nz\n', "a.csv:4  has 1 columns, the header has 2"),
        (
            "a.csv",
            'text,label\nx,neg\n"never closed,pos\nz,neg\n',
            "a.csv:3  unexpected end of data in the row that st",
        ),
        ("a.csv", "text,label,text\nx,neg,y\n", "a.csv:1  has more than one column 'text'"),
        (
            "a.jsonl",
            _jsonl(ROWS).encode() + b'{"text": "caf\xe9", "label": "neg"}\n',
            "a.jsonl:4  is not UTF-8 text: inv",
        ),
        (
            "a.csv",
            b"text,label\n" + b"x,neg\n" * 5_000 + b"caf\xe9,neg\n",
            "a.csv:5002  is not UTF-8 text: invalid contin",
        ),
        ("a.tsv", "text\tlabel\n".encode("utf-16"), "a.tsv:1  is not UTF-8 text: invalid start byte (0xff)"),
        ("a.parquet", b"PAR1 and no more", "a.parquet  cannot read as Parquet: "),
        ("a.parquet", b"", "a.parquet  cannot read as Parquet: "),
        ("a.txt", "x", "a.txt  unknown kind of file; known are .jsonl, .json, .csv, .tsv, .parquet"),
    ],
)
def test_bad_files_are_named_by_line(put, name, content, message):
    assert _message(_classify, put(name, content)).startswith(message)


def test_a_damaged_parquet_file(tmp_path):
    path = tmp_path / "a.parquet"
    Dataset.from_list(ROWS).to_parquet(str(path))
    path.write_bytes(path.read_bytes()[:-20])
    assert _message(from_file, path).startswith(f"{path}  cannot read as Parquet: ")


def test_rows_of_parquet_are_counted_from_one(tmp_path):
    path = tmp_path / "a.parquet"
    Dataset.from_list([*ROWS, {"text": "x", "label": "bad"}]).to_parquet(str(path))
    assert _message(_classify, path).startswith(f"{path}, row 4  label is 'bad'")
    Dataset.from_dict({"text": []}, features=Features({"text": Value("string")})).to_parquet(str(path))
    assert _message(from_file, path) == f"{path}  has no rows"


def test_a_missing_file_and_a_missing_second_text(put, tmp_path):
    assert _message(from_file, tmp_path / "no.csv").startswith(f"{tmp_path}/no.csv  no such file")
    path = put("a.jsonl", _jsonl([{"a": "x", "label": "neg"}]))
    assert "no column 'b' (from data.columns.text_pair); the columns are: a, label" in _message(_classify, path, PAIR)


# Folders in hub format

CARD = """---
configs:
- config_name: sst2
  data_files:
  - {split: train, path: sst2/train-*}
  - {split: test, path: sst2/test-*}
- config_name: rte
  data_files:
  - {split: train, path: rte/train-*}
---
"""


@pytest.fixture
def glue(tmp_path):
    folder = tmp_path / "glue"
    (folder / "sst2").mkdir(parents=True)
    (folder / "README.md").write_text(CARD)
    features = Features({"sentence": Value("string"), "label": ClassLabel(names=["negative", "positive"])})
    for split, labels in (("train", [0, 1, 1]), ("test", [-1, -1, -1])):
        rows = {"sentence": ["a", "b", "c"], "label": labels}
        Dataset.from_dict(rows, features=features).to_parquet(str(folder / f"sst2/{split}-00000-of-00001.parquet"))
    return folder


def test_a_folder_with_configs_and_class_labels(glue):
    table = from_directory(str(glue), "sst2", "train", "")
    assert table.label_names("label") == ["negative", "positive"]
    assert read_labels(table, "label", ["negative", "positive"]) == [0, 1, 1]
    assert table.where(2) == f"{glue}:train, row 3"
    assert len(from_directory(str(glue), "sst2", "train[:2]", "").rows) == 2


@pytest.mark.parametrize(
    ("subset", "split", "message"),
    [
        ("sst2", "dev", "cannot read split 'dev': Unknown split \"dev\". Should be one of"),
        ("rte", "train", "cannot read split 'train': "),
        ("cola", "train", "cannot read split 'train': BuilderConfig 'cola' not found"),
        (None, "train", "cannot read split 'train': Config name is missing"),
    ],
)
def test_a_folder_without_what_was_asked(glue, subset, split, message):
    assert _message(from_directory, str(glue), subset, split, "").startswith(f"{glue}  {message}")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.parquet", b"PAR1 and no more"),
        ("train.csv", b"a,b\n1,2\n1,2,3,4\n"),
        ("train.jsonl", b'{"a": 1}\n{oops\n'),
        ("folder.py", b"raise SystemExit('this code must never run')"),
        ("README.md", b"---\na: [\n---\n"),
        ("notes.xyz", b"x"),
    ],
)
def test_a_damaged_folder(tmp_path, name, content):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / name).write_bytes(content)
    assert _message(from_directory, str(folder), None, "train", "").startswith(f"{folder}  cannot read split 'train': ")


# Labels


def _table(labels, names=None):
    features = Features({"label": ClassLabel(names=names)}) if names else None
    return from_rows("t", [{"label": label} for label in labels]) if not names else _with(labels, features)


def _with(labels, features):
    table = from_rows("t", [{"label": 0}])
    return type(table)("t", Dataset.from_dict({"label": labels}, features=features), "m", lambda i: f"t, row {i + 1}")


@pytest.mark.parametrize(
    ("labels", "own", "names", "expected"),
    [
        (["pos", "neg"], None, NAMES, [1, 0]),
        ([1, 0], None, NAMES, [1, 0]),
        (["1", "0"], None, NAMES, [1, 0]),
        ([1.0, 0.0], None, NAMES, [1, 0]),
        (["neg", "-", "-1"], None, NAMES, [0, None, None]),
        ([0, -1], None, NAMES, [0, None]),
        ([0.0, -1.0], None, NAMES, [0, None]),
        ([0, 1, -1], ["pos", "neg"], NAMES, [1, 0, None]),  # by name, not by position
        ([0, 1, 2], ["c", "a", "b"], ["a", "b", "c"], [2, 0, 1]),
        ([True, False], None, ["False", "True"], [1, 0]),
        (["2", "1"], None, ["1", "2", "3"], [1, 0]),  # these names are numbers: never positions
        ([3, 1], None, ["1", "2", "3"], [2, 0]),
    ],
)
def test_labels_are_matched_by_name(labels, own, names, expected):
    assert read_labels(_table(labels, own), "label", names) == expected


@pytest.mark.parametrize(
    ("labels", "own", "names", "shown"),
    [
        ([2], None, NAMES, "'2'"),
        ([-2], None, NAMES, "'-2'"),
        ([0], None, ["1", "2", "3"], "'0'"),
        (["²"], None, NAMES, "'²'"),
        ([0.5], None, NAMES, "'0.5'"),
        (["Neg"], None, NAMES, "'Neg'"),
        ([""], None, NAMES, "''"),
        ([2], ["neg", "pos", "odd"], NAMES, "'odd'"),
    ],
)
def test_unknown_labels_are_shown(labels, own, names, shown):
    message = _message(read_labels, _table(labels, own), "label", names)
    assert message.startswith(f"t, row 1  label is {shown} in column 'label', known: {', '.join(names)}")


def test_label_names_come_from_the_configuration_the_data_set_or_the_rows():
    declared = _table([0, 1], ["b", "a"])
    assert label_names(declared, "label", None) == ["b", "a"]
    assert label_names(declared, "label", ["a", "b"]) == ["a", "b"]
    message = _message(label_names, declared, "label", ["a", "c"])
    assert message == "data.labels names a, c, but t declares b, a"
    assert label_names(_table(["x", "y"]), "label", ["y", "x"]) == ["y", "x"]
    assert label_names(_table(["b", "-", "a", "b", None, "-1"]), "label", None) == ["a", "b"]
    assert label_names(_table([10, 9, 1, -1]), "label", None) == ["1", "9", "10"]
    assert label_names(_table([1.0, 0.0, None]), "label", None) == ["0", "1"]
    assert label_names(_table(["x", "2", "10", "²"]), "label", None) == ["2", "10", "x", "²"]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", "a"], "t  column 'label' has only the label 'a', two are needed"),
        ([-1, -1], "t  column 'label' has no labels, two are needed"),
        ([f"text {i}" for i in range(300)], "t  column 'label' has 300 different values; is it the label?"),
    ],
)
def test_a_column_that_cannot_be_the_label(labels, message):
    assert _message(label_names, _table(labels), "label", None) == message
