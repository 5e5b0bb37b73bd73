"""Every format gives the same pairs, and every bad input is one line that names file and line."""

from __future__ import annotations

import csv
import gzip
import json
import unicodedata

import pytest
from datasets import Dataset

from forge.core.assets import Wanted, locate

PAIRS = [
    ('A man, "running".', "Un homme, « courant »."),
    ("Two dogs\u2028play & bark.", "Deux chiens\u0085jouent & aboient."),
    ("The end <of> it.", "La fin <de> tout."),
]
CLEAN = [("A man.", "Un homme."), ("Two dogs.", "Deux chiens."), ("The end.", "La fin.")]
COLUMNS = {"source": "translation.en", "target": "translation.fr"}


def _pairs(table):
    return list(zip(table.rows["source"][:], table.rows["target"][:], strict=True))


def _tmx(units, head="<header/>", start='<?xml version="1.0"?>\n'):
    def variant(language, text):
        text = text.replace("&", "&amp;").replace("<", "&lt;")
        return f'<tuv xml:lang="{language}"><seg>{text}</seg></tuv>'

    body = "".join(f"<tu>{''.join(variant(*one) for one in unit.items())}</tu>\n" for unit in units)
    return f'{start}<tmx version="1.4">{head}\n<body>\n{body}</body></tmx>\n'


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_two_files(put, read, end):
    put("a.en", "\ufeff" + end.join(source for source, _ in PAIRS))  # a byte order mark, no end of the last line
    put("a.fr", end.join(target for _, target in PAIRS) + end)
    data = read(train="a.{en,fr}", validation="a.{en,fr}")
    assert _pairs(data.train) == _pairs(data.validation["validation"]) == PAIRS
    assert (data.source_language, data.target_language) == ("en", "fr")
    assert data.train.where(2) == "a.{en,fr}:3"
    assert data.notices == ("cleaning: 3 pairs → 3",)


def test_the_source_comes_first_in_braces(two, read):
    two("a", CLEAN)
    data = read(train="a.{fr,en}")
    assert _pairs(data.train) == [(target, source) for source, target in CLEAN]
    assert (data.source_language, data.target_language) == ("fr", "en")


def test_compressed_files_are_the_same_data(two, put, read, tmp_path):
    plain = read(train=two("a", CLEAN))
    for side in ("en", "fr"):
        put(f"b.{side}.gz", gzip.compress((tmp_path / f"work/a.{side}").read_bytes()))
    packed = read(train="b.{en,fr}.gz")
    assert _pairs(packed.train) == CLEAN
    assert packed.fingerprints == plain.fingerprints
    assert packed.train.where(1) == "b.{en,fr}.gz:2"


def test_rows_in_files(put, read, tmp_path):
    nested = [{"translation": {"en": source, "fr": target}} for source, target in PAIRS]
    put("a.jsonl", "".join(json.dumps(row) + "\n\n" for row in nested))
    Dataset.from_list(nested).to_parquet(str(tmp_path / "work/a.parquet"))
    flat = [{"source": source, "target": target} for source, target in PAIRS]
    put("b.tsv", "source\ttarget\n" + "".join(f"{source}\t{target}\n" for source, target in PAIRS))
    Dataset.from_list(flat).to_parquet(str(tmp_path / "work/b.parquet"))
    with (tmp_path / "work/b.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("source", "target"), *PAIRS])
    where = {
        "a.jsonl": "a.jsonl:5",
        "a.parquet": "a.parquet, row 3",
        "b.tsv": "b.tsv:4",
        "b.parquet": "b.parquet, row 3",
    }
    for name in ("a.jsonl", "a.parquet", "b.tsv", "b.parquet", "b.csv"):
        data = read(train=name, columns=COLUMNS if name.startswith("a") else {})
        assert _pairs(data.train) == PAIRS, name
        assert data.train.where(2) == where.get(name, "b.csv:4")
        assert data.source_language == ("en" if name.startswith("a") else None)


def test_a_column_whose_name_has_a_dot(put, read):
    put("a.jsonl", json.dumps({"text.en": "A.", "text.fr": "B."}) + "\n")
    assert _pairs(read(train="a.jsonl", columns={"source": "text.en", "target": "text.fr"}).train) == [("A.", "B.")]


def test_a_hub_data_set_with_a_training_split_only(read, tmp_path):
    folder = tmp_path / "europarl"
    (folder / "en-fr").mkdir(parents=True)
    card = "---\nconfigs:\n- config_name: en-fr\n  data_files:\n  - {split: train, path: en-fr/train-*}\n---\n"
    (folder / "README.md").write_text(card)
    rows = [{"translation": {"en": f"Sentence {word} here.", "fr": f"Phrase {word} ici."}} for word in "abcdefgh"]
    Dataset.from_list(rows).to_parquet(str(folder / "en-fr/train-00000-of-00001.parquet"))
    asset = locate(Wanted("dataset", str(folder), patterns=("en-fr",)), "auto", smoke=False)
    data = read(
        asset, name=str(folder), subset="en-fr", train="train", columns=COLUMNS, cut={"validation": 2, "test": 1}
    )
    assert [len(table.rows) for table in (data.train, *data.validation.values(), *data.test.values())] == [5, 2, 1]
    assert data.test["test"].rows[0] == {"source": "Sentence h here.", "target": "Phrase h ici."}
    assert data.test["test"].where(0) == f"{folder}:train, row 8"


def test_tmx(put, read):
    units = [
        {"EN-gb": PAIRS[0][0], "fr": PAIRS[0][1], "de": "Ein Mann"},
        {"de": "Nichts", "fr": "Rien"},
        {"fr_CA": PAIRS[1][1], "en": PAIRS[1][0], "en-US": "a second text of the language"},
    ]
    put("a.tmx", _tmx(units, start='<?xml version="1.0"?>\n<!DOCTYPE tmx SYSTEM "tmx14.dtd">\n'))
    put("b.tmx.gz", gzip.compress(_tmx(units).encode()))
    for name in ("a.tmx", "b.tmx.gz"):
        data = read(train=name, languages={"source": "en", "target": "fr"})
        # XML knows no next-line character but as white space, and a segment's white space is layout.
        assert _pairs(data.train) == [tuple(" ".join(text.split()) for text in pair) for pair in PAIRS[:2]]
        assert data.notices[0] == f"{name}: 1 units without both languages were left out"
    assert data.train.where(1) == "b.tmx.gz:6"
    assert _pairs(read(train="a.tmx", languages={"source": "en-gb", "target": "fr"}).train)[0][0] == PAIRS[0][0]


def test_tmx_leaves_out_mark_up_codes_and_keeps_marked_text(put, read):
    seg = '<seg>A <bpt i="1">&lt;b&gt;</bpt>bold<ept i="1">&lt;/b&gt;</ept> <hi>high</hi>\n   <ph>{1}</ph>word</seg>'
    text = f'<tmx><body><tu><tuv lang="en">{seg}</tuv><tuv lang="fr">{seg}</tuv></tu></body></tmx>'
    data = read(train=put("a.tmx", text), languages={"source": "en", "target": "fr"})
    assert _pairs(data.train) == [("A bold high word", "A bold high word")]


def test_tmx_in_utf16_and_on_one_line(put, read):
    units = [{"en": f"Text {i}.", "fr": f"Texte {i}."} for i in range(3)]
    put("a.tmx", _tmx(units, start='<?xml version="1.0" encoding="utf-16"?>').replace("\n", "").encode("utf-16"))
    assert len(read(train="a.tmx", languages={"source": "en", "target": "fr"}).train.rows) == 3


def test_the_cache_is_kept_by_content(two, read, tmp_path):
    one = read(train=two("a", CLEAN))
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache/forge-parallel").iterdir()}
    assert {path.suffix for path in files} == {".arrow", ".json"}
    renamed = read(train=two("b", CLEAN))
    assert renamed.fingerprints == one.fingerprints
    assert renamed.train.where(0) == "b.{en,fr}:1"
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache/forge-parallel").iterdir()} == files
    assert read(train=two("b", CLEAN[:2])).fingerprints != one.fingerprints


def test_nothing_half_written_is_left_of_a_failure(put, refused, tmp_path):
    put("a.jsonl", "".join(json.dumps({"source": "a", "target": "b"}) + "\n" for _ in range(5000)) + "{oops\n")
    assert refused(train="a.jsonl").startswith("a.jsonl:5001:2  not JSON")
    assert list((tmp_path / "cache/forge-parallel").iterdir()) == []


def test_several_evaluation_splits(two, read):
    names = {name: two(name, CLEAN) for name in ("one", "two")}
    data = read(train=two("a", CLEAN), validation=names, test=names)
    assert list(data.validation) == list(data.test) == ["one", "two"]
    assert set(data.fingerprints) == {"train", "validation.one", "validation.two", "test.one", "test.two"}


def test_an_empty_side_is_filtered_in_training_and_refused_in_evaluation(two, read, refused):
    holes = [*CLEAN, ("  ", "Vide."), ("Empty.", ""), ("", "")]
    data = read(train=two("a", holes))
    assert _pairs(data.train) == CLEAN
    assert data.notices == ("cleaning: 6 pairs → 3; empty 3",)
    assert refused(validation="a.{en,fr}") == "a.en:4  the source is empty; an evaluation split needs both sides"
    two("b", [*CLEAN, ("Empty.", "\u00a0")])
    assert refused(test="b.{en,fr}").startswith("b.fr:4  the target is empty")


@pytest.mark.parametrize(
    ("en", "fr", "message"),
    [
        ("a\nb\nc\n", "a\nb\n", "a.en:3  has no counterpart: a.fr ends at line 2, this file at line 3"),
        ("a\n", "a\nb\nc", "a.fr:2  has no counterpart: a.en ends at line 1, this file at line 3"),
        ("", "", "a.{en,fr}  has no rows"),
        ("\n\n", "\n\n", "a.{en,fr}  has no pair that can be trained on: 2 pairs → 0; empty 2"),
        ("a\nb\n", b"a\ncaf\xe9\n", "a.fr:2  is not UTF-8 text: invalid continuation byte (0xe9)"),
        ("a\nb\n".encode("utf-16"), "a\nb\nc\n", "a.en:1  is not UTF-8 text: invalid start byte (0xff)"),
        ("a\n", None, "a.fr  no such file (looked at "),
    ],
)
def test_bad_two_files(put, refused, en, fr, message):
    put("a.en", en)
    if fr is not None:
        put("a.fr", fr)
    assert refused(train="a.{en,fr}").startswith(message)


def test_damaged_gzip(put, refused):
    put("a.en.gz", b"no gzip")
    put("a.fr.gz", gzip.compress(b"text\n")[:-6])
    assert refused(train="a.{en,fr}.gz").startswith("a.en.gz  is damaged or no gzip file: Not a gzipped file")
    put("a.en.gz", gzip.compress(b"text\n"))
    assert refused(train="a.{en,fr}.gz").startswith("a.fr.gz  is damaged or no gzip file: Compressed file ended")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.jsonl",
            '{"source": "a"}\n',
            "a.jsonl:1  no column 'target' (from data.columns.target); the columns are: so",
        ),
        ("a.jsonl", '{"source": "a", "target": 3}\n', "a.jsonl:1  the target must be a text, this row has a number"),
        ("a.jsonl", '{"source": "\\ud800", "target": "b"}\n', "a.jsonl:1  the source holds half of a surrogate pair"),
        ("a.jsonl", "\n", "a.jsonl  has no rows"),
        ("a.csv", "source,target\n", "a.csv  has no rows"),
        ("a.csv", "source,target\na,b\nc\n", "a.csv:3  has 1 columns, the header has 2"),
        ("a.tsv", b"source\ttarget\na\t\xff\n", "a.tsv:2  is not UTF-8 text"),
        ("a.parquet", b"PAR1", "a.parquet  cannot read as Parquet"),
        ("a.txt", "a", "a.txt  unknown kind of file; known are .jsonl, .json, .csv, .tsv, .parquet, .tmx, .tmx.gz, or"),
    ],
)
def test_bad_columns(put, refused, name, content, message):
    assert refused(train=put(name, content)).startswith(message)


def test_a_nested_column_that_is_not_there(put, refused, tmp_path):
    rows = [{"translation": {"en": "a", "de": "b"}}]
    put("a.jsonl", json.dumps(rows[0]) + "\n")
    Dataset.from_list(rows).to_parquet(str(tmp_path / "work/a.parquet"))
    for name, where in (("a.jsonl", "a.jsonl:1"), ("a.parquet", "a.parquet, row 1")):
        message = refused(train=name, columns=COLUMNS)
        assert message.startswith(f"{where}  no column 'translation.fr' (from data.columns.target); the columns are: ")
        assert {"en", "de"} <= set(message.rsplit(": ")[-1].split(", "))
    assert "no column 'en.x'" in refused(train="a.jsonl", columns={"source": "en.x"})


def test_a_parquet_column_of_numbers(refused, tmp_path):
    Dataset.from_dict({"source": ["a", "b"], "target": [1, 2]}).to_parquet(str(tmp_path / "work/a.parquet"))
    assert refused(train="a.parquet").startswith("a.parquet, row 1  the target must be a text, this row has a number")


BOMB = '<!DOCTYPE tmx [<!ENTITY a "lol"><!ENTITY b "&a;&a;">]>'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            _tmx([{"en-GB": "a", "de": "b"}]),
            "a.tmx  has no text in 'fr' (data.languages.target); its languages are: de, en",
        ),
        (_tmx([{"en": "a", "fr": "b"}])[:-20], "a.tmx:4:79  not TMX: no element found"),
        (_tmx([{"en": "a", "fr": "b"}], start=BOMB), "a.tmx:1  declares the entity 'a', which is refused"),
        (_tmx([]), "a.tmx  has no rows"),
        ("", "a.tmx:1:1  not TMX: no element found"),
        (_tmx([{"en": "a", "fr": "caf\xe9"}]).encode("latin-1"), "a.tmx:4:"),
        (_tmx([{"en": "", "fr": "b"}]), "a.tmx:4  the source is empty"),
    ],
)
def test_bad_tmx(put, refused, content, message):
    put("a.tmx", content)
    assert refused(validation="a.tmx", languages={"source": "en", "target": "fr"}).startswith(message)


def test_an_external_entity_is_not_read(put, refused, tmp_path):
    secret = put("secret", "hidden")
    outside = f'<!DOCTYPE tmx [<!ENTITY x SYSTEM "file://{tmp_path}/{secret}">]>'
    put("a.tmx", _tmx([{"en": "a", "fr": "b"}], start=outside).replace(">a<", ">&x;<"))
    assert "declares the entity 'x'" in refused(train="a.tmx", languages={"source": "en", "target": "fr"})


def test_tmx_needs_to_know_the_languages(put, refused):
    put("a.tmx", _tmx([{"en": "a", "fr": "b"}]))
    assert refused(train="a.tmx").endswith("say which two: data.languages.source is not set")


def test_texts_are_kept_as_they_are(two, read):
    decomposed = unicodedata.normalize("NFD", "été")
    assert _pairs(read(train=two("a", [("x  y", decomposed)])).train) == [("x  y", decomposed)]
