"""What only parallel text has is checked where it is written, and stays out of classification's way."""

from __future__ import annotations

import pytest

from forge.config import resolve
from forge.config.schema.parallel import language_in, languages_of, two_files


@pytest.mark.parametrize(
    ("task", "data", "message"),
    [
        (
            "classification",
            "train: 'a.{en,fr}'",
            "3:10  data.train is parallel text (a.{en,fr}), which only task: trans",
        ),
        ("classification", "test: {x: 'a.{en,fr}'}", "3:9  data.test is parallel text (a.{en,fr}), which only task"),
        ("classification", "train: a.TMX.gz", "3:10  data.train is parallel text (a.TMX.gz), which only task: transl"),
        ("classification", "clean: {max_words: 9}", "3:10  data.clean is set, but only task: translation reads it"),
        ("classification", "cut: {test: 9}", "3:8  data.cut is set, but only task: translation or ocr reads it"),
        ("classification", "languages: {source: en}", "3:14  data.languages is set, but only task: translation reads"),
        (
            "classification",
            "max_target_length: 9",
            "3:22  data.max_target_length is set, but only task: translation or",
        ),
        ("classification", "columns: {source: en}", "3:21  data.columns.source is set, but only task: translation r"),
        ("translation", "labels: [a, b]", "3:11  data.labels is set, but task: translation has none"),
        ("translation", "columns: {label: x}", "3:20  data.columns.label is set, but task: translation has none"),
        ("translation", "cut: {test: 9}\n  test: t", "3:15  data.cut.test makes a split that data.test names already"),
        ("translation", "train: 'a.{en,fr}'\n  name: n", "3:10  data.train names two files (a.{en,fr}), but data.na"),
        (
            "translation",
            "train: 'a.{fr,en}'\n  languages: {source: en-GB, target: fr}",
            "4:23  data.train has the source in fr, but data.languages.source is en-GB",
        ),
        ("translation", "clean: {max_ratio: 1.0}", "3:22  data.clean.max_ratio must be more than 1, got 1"),
        ("translation", "clean: {deduplicate: all}", "3:24  data.clean.deduplicate must be one of none, pair or so"),
        ("translation", "cut: {validation: 0}", "3:21  data.cut.validation must be at least 1, got 0"),
    ],
)
def test_combinations_that_make_no_sense(write, errors, task, data, message):
    path = write("x.yaml", f"task: {task}\ndata:\n  {data}\nmodel: {{name: m}}\n")
    (line,) = errors(path)
    assert line.startswith(f"x.yaml:{message}")


def test_everything_together(write):
    text = """task: translation
data:
  train: corpus/train.{en,fr}
  validation: {news: "corpus/news.{en,fr}", talks: talks.tmx}
  languages: {target: fr-FR}
  cut: {test: 500}
  clean: {max_words: null, language: true, deduplicate: source}
  max_target_length: 64
model: {name: m}
"""
    data = resolve(write("x.yaml", text)).settings.data
    assert data.named_languages() == ("en", "fr-FR")
    assert data.references() == [
        ("data.train", "corpus/train.{en,fr}"),
        ("data.validation", "corpus/news.{en,fr}"),
        ("data.validation", "talks.tmx"),
    ]
    assert data.clean.max_words is None


@pytest.mark.parametrize(
    ("reference", "files", "languages"),
    [
        ("a/train.{en,fr}", ("a/train.en", "a/train.fr"), ("en", "fr")),
        ("{en-GB,fr}/text.gz", ("en-GB/text.gz", "fr/text.gz"), ("en-GB", "fr")),
        ("train.{src,tgt}", ("train.src", "train.tgt"), (None, None)),
        ("train.{europarl.en,europarl.fr}", ("train.europarl.en", "train.europarl.fr"), ("en", "fr")),
        ("train.en", None, (None, None)),
        ("train.{en}", None, (None, None)),
        ("train.{en,fr,de}", None, (None, None)),
        ("{a,b}.{en,fr}", None, (None, None)),
    ],
)
def test_braces(reference, files, languages):
    assert two_files(reference) == files
    assert languages_of(reference) == languages


def test_languages_in_names():
    names = ["en", "translation.fr", "zh-Hans", "pt_BR", "fra", "source", "text", "tgt", "a.target"]
    assert [language_in(name) for name in names] == ["en", "fr", "zh-Hans", "pt_BR", "fra", None, None, None, None]


def test_a_short_name_is_the_outer_key(write):
    path = write("x.yaml", "task: translation\ndata: {name: d, train: t}\nmodel: {name: m}\n")
    data = resolve(path, ["--validation", "v", "cut.test=5"]).settings.data
    assert (data.validation, data.cut.validation, data.cut.test) == ("v", None, 5)
