"""Each filter on pairs that it must stop and on such that it must not."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from forge.tasks.parallel import pairs as pairs_module
from forge.tasks.parallel.hashes import SeenHashes
from forge.tasks.parallel.language import Expected

OFF = {"max_words": None, "max_ratio": None, "deduplicate": "none", "copies": False, "garbled": False}
GOOD = [("A man walks his dog.", "Un homme promène son chien."), ("Two girls sing.", "Deux filles chantent.")]


def _words(count):
    return " ".join(["mot"] * count)


@pytest.mark.parametrize(
    ("clean", "bad", "reason"),
    [
        ({"min_words": 3}, [("Two words", "Trois mots ici"), ("Three words here", "Deux mots")], "too short"),
        ({"max_words": 5}, [(_words(6), _words(5)), (_words(5), _words(6))], "too long"),
        ({"max_ratio": 2.0}, [(_words(1), _words(6)), (_words(24), _words(10))], "lengths too different"),
        ({"copies": True}, [("Un homme", "Un homme")], "copies"),
        ({"garbled": True}, [("a\x00b", "c"), ("a", "\x9cuf"), ("caf\ufffd", "b"), ("it â€™s", "cafÃ©")], "garbled"),
        ({"deduplicate": "pair"}, [GOOD[0], GOOD[1], GOOD[0]], "duplicates"),
        ({"deduplicate": "source"}, [GOOD[0], (GOOD[1][0], "Autre chose.")], "duplicates"),
    ],
)  # fmt: skip
def test_a_filter_stops_what_it_must_and_says_how_much(two, read, clean, bad, reason):
    fine = [("Trois mots ici", "Trois mots là"), (_words(4), _words(5))]  # a ratio of 1.1
    path = two("a", [*GOOD, *bad, *fine])
    data = read(train=path, clean=OFF | clean)
    assert list(zip(data.train.rows["source"][:], data.train.rows["target"][:], strict=True)) == [*GOOD, *fine]
    assert data.notices == (f"cleaning: {len(bad) + 4} pairs → 4; {reason} {len(bad)}",)
    assert data.train.where(2) == f"a.{{en,fr}}:{len(bad) + 3}"
    assert len(read(train=path).train.rows) == len(bad) + 4  # off is off


def test_short_pairs_are_spared_by_the_ratio(two, read):
    fine = [("Yes.", "Mais oui bien sûr alors."), ("Thank you very much indeed, sir.", "Merci.")]
    assert len(read(train=two("a", fine), clean=OFF | {"max_ratio": 3.0}).train.rows) == 2
    limit = [(_words(1), _words(5)), (_words(6), _words(1))]  # 8 / 4 and 9 / 4
    assert read(train=two("b", limit), clean=OFF | {"max_ratio": 2.0}).train.where(0) == "b.{en,fr}:1"
    assert len(read(train="b.{en,fr}", clean=OFF | {"max_ratio": 2.0}).train.rows) == 1


def test_letters_that_only_look_garbled_stay(two, read):
    fine = [("SÃO PAULO, Â", "«Âge», l’œuvre – “cœur”…"), ("tab\there", "Ça\u00a0va ?")]
    assert len(read(train=two("a", fine), clean=OFF | {"garbled": True}).train.rows) == 2


def test_a_pair_that_goes_does_not_hide_its_twin(two, read):
    pairs = [("A man walks.", _words(9)), ("A man walks.", "Un homme marche.")]
    data = read(train=two("a", pairs), clean=OFF | {"max_words": 8, "deduplicate": "source"})
    assert data.train.rows["target"][:] == ["Un homme marche."]


def test_the_limit_counts_pairs_that_are_left(two, read):
    pairs = [GOOD[0], GOOD[0], GOOD[1], ("More.", "Encore."), ("Even more.", "Encore plus.")]
    data = read(train=two("a", pairs), clean=OFF | {"deduplicate": "pair"}, max_train_examples=3)
    assert data.train.rows["source"][:] == [GOOD[0][0], GOOD[1][0], "More."]
    assert len(read(train="a.{en,fr}", max_train_examples=99).train.rows) == 5


def test_the_size_of_batches_does_not_matter(two, read, monkeypatch, tmp_path):
    pairs = [(f"Sentence {i % 37} of {_words(i % 11)}", f"Phrase {i % 37} de {_words(i % 7)}") for i in range(400)]
    seen = []
    for size in (1, 7, 500):
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / f"cache{size}")
        monkeypatch.setattr(pairs_module.Batcher.__init__, "__defaults__", (size,))
        data = read(train=two("a", pairs), clean={"max_words": 9}, cut={"validation": 5, "test": 5})
        seen.append((data.train.rows.to_list(), data.fingerprints, data.notices))
    assert seen[0] == seen[1] == seen[2]
    assert 0 < len(seen[0][0]) < 390


# Language

FOREIGN = "Ich erkläre die unterbrochene Sitzungsperiode für wieder aufgenommen und wünsche Ihnen alles Gute."


def test_sides_in_another_language_go(two, read):
    swapped = (GOOD[0][1] + " Il fait très beau aujourd'hui.", GOOD[0][0] + " The weather is very nice today.")
    pairs = [
        *GOOD,
        (FOREIGN, GOOD[0][1]),
        (GOOD[0][0], FOREIGN),
        swapped,
        ("OK", "OK"),
        ("Koch (A5-0105/1999)", "Koch"),
    ]
    data = read(train=two("a", pairs), clean=OFF | {"language": True})
    assert data.notices == ("cleaning: 7 pairs → 4; other language 3",)


def test_a_region_is_the_same_language_and_close_ones_are_not_told_apart():
    assert Expected("de-AT", "k").others([FOREIGN, GOOD[0][0]]) == [False, True]
    assert not any(Expected("hr", "k").others(["Predsjednik je danas otvorio sjednicu parlamenta."]))


def test_unknown_and_missing_languages(put, refused):
    put("a.tsv", "source\ttarget\na\tb\n")
    clean = OFF | {"language": True}
    message = refused(train="a.tsv", clean=clean)
    assert message == "data.clean.language needs to know the language; set data.languages.source"
    message = refused(train="a.tsv", clean=clean, languages={"source": "en", "target": "xx"})
    assert message.startswith("data.clean.language cannot recognise 'xx' (data.languages.target); set it to false")


def test_the_language_model_is_read_without_pickle(monkeypatch):
    import pickle

    from forge.tasks.parallel import language

    def never(*_, **__):
        raise AssertionError("unpickled")

    monkeypatch.setattr(pickle, "load", never)
    monkeypatch.setattr(pickle, "loads", never)
    monkeypatch.setattr("numpy.lib.format.read_array", _without_pickle(np.lib.format.read_array))
    language._identifier.cache_clear()
    assert Expected("en", "k").others([GOOD[0][0]]) == [False]


def _without_pickle(read_array):
    def read(file, allow_pickle=False, **more):
        assert not allow_pickle
        return read_array(file, allow_pickle=False, **more)

    return read


def test_the_library_is_loaded_only_when_asked(two, read, monkeypatch):
    monkeypatch.delitem(sys.modules, "py3langid.langid", raising=False)
    read(train=two("a", GOOD))
    assert "py3langid.langid" not in sys.modules


# Duplicates


def test_seen_hashes_agree_with_a_set():
    generator, seen, reference = np.random.default_rng(0), SeenHashes(), set()
    for _ in range(60):
        values = generator.integers(0, 3_000, size=int(generator.integers(1, 300))).astype(np.uint64)
        expected = []
        for value in values.tolist():
            expected.append(value not in reference)
            reference.add(value)
        assert seen.new(values).tolist() == expected
    assert len(seen._sorted) < 14
