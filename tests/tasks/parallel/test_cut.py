"""Splits from the end, and a training split that shares nothing with them."""

from __future__ import annotations

import random

import pytest

from forge.tasks.parallel.hashes import WIDTH, sketch
from forge.tasks.parallel.overlap import NEARLY, HeldOut

WORDS = [
    a + b + c for a in ("ba", "de", "fi", "go", "lu", "ma", "no", "pre") for b in "rstnml" for c in ("a", "ent", "ir")
]


def _sentence(generator, words=14):
    return " ".join(generator.choice(WORDS) for _ in range(words))


@pytest.fixture
def speech():
    generator = random.Random(0)
    return [(f"{_sentence(generator)}.", f"{_sentence(generator)} !") for _ in range(300)]


def _rows(table):
    return list(zip(table.rows["source"][:], table.rows["target"][:], strict=True))


def test_the_last_pairs_are_test_and_those_before_them_validation(two, read, speech):
    data = read(train=two("a", speech), cut={"validation": 20, "test": 30})
    assert _rows(data.train) == speech[:250]
    assert _rows(data.validation["validation"]) == speech[250:270]
    assert _rows(data.test["test"]) == speech[270:]
    assert data.validation["validation"].where(0) == "a.{en,fr}:251"
    assert data.test["test"].where(29) == "a.{en,fr}:300"
    assert data.notices == (
        "cut: validation 20 and test 30 pairs from the end of a.{en,fr}; 0 training pairs equal to one of theirs on a "
        "side and 0 nearly equal are left out",
        "cleaning: 250 pairs → 250",
    )
    assert len(set(data.fingerprints.values())) == 3


@pytest.mark.parametrize("cut", [{"test": 30}, {"validation": 30}])
def test_one_split_alone(two, read, speech, cut):
    data = read(train=two("a", speech), cut=cut)
    (table,) = (data.test or data.validation).values()
    assert _rows(table) == speech[270:]
    assert len(data.validation) + len(data.test) == 1


def test_pairs_without_text_are_no_evaluation_pairs(two, read, speech):
    holes = [*speech[:-1], ("", "Vide."), speech[-1], ("Empty.", "")]
    data = read(train=two("a", holes), cut={"test": 2})
    assert _rows(data.test["test"]) == speech[-2:]
    assert _rows(data.train) == speech[:-2]


def test_a_training_pair_goes_that_equals_an_evaluation_pair_on_either_side(two, read, speech):
    source, target = speech[-1]
    leaks = [
        (source, "Tout autre chose."),
        ("Something else.", target),
        (source.upper().replace(" ", "  ") + "?!", "Encore autre chose."),  # case, spaces and punctuation do not count
        (source, target),
    ]
    data = read(train=two("a", [*leaks, *speech]), cut={"test": 10})
    assert _rows(data.train) == speech[:-10]
    assert data.notices[1] == "cleaning: 294 pairs → 290; equal to evaluation 4"


def test_a_training_pair_goes_that_nearly_equals_one(two, read, speech):
    generator = random.Random(1)
    one_word_more = (f"{_sentence(generator)}", "mot " + speech[-3][1])
    half_the_words = (" ".join(speech[-1][0].split()[:7] + _sentence(generator, 7).split()), _sentence(generator))
    data = read(train=two("a", [one_word_more, half_the_words, *speech]), cut={"test": 10})
    assert _rows(data.train) == [half_the_words, *speech[:-10]]
    assert data.notices[1] == "cleaning: 292 pairs → 291; nearly equal to evaluation 1"


def test_too_few_pairs(two, refused, speech):
    path = two("a", speech[:10])
    message = "a.{en,fr}  has 10 pairs, and data.cut takes 10; nothing is left to train on"
    assert refused(train=path, cut={"validation": 5, "test": 5}) == message
    two("a", [speech[0]] * 10)
    message = refused(train=path, cut={"test": 5})
    assert message.startswith("a.{en,fr}  has no pair that can be trained on: 5 pairs → 0; equal to evaluation 5")


def test_cut_beside_a_given_test_split(two, read, speech):
    data = read(train=two("a", speech), test=two("t", speech[:3]), cut={"validation": 10})
    assert _rows(data.test["test"]) == speech[:3]
    assert len(data.validation["validation"].rows) == 10


# Near duplicates


def _shingles(text):
    letters = "".join(character.lower() for character in text if character.isalpha())
    return {letters[start : start + WIDTH] for start in range(len(letters) - WIDTH + 1)}


def _variants(generator, count):
    """Pairs of texts of every similarity."""
    for _ in range(count):
        words = _sentence(generator, generator.randint(6, 30)).split()
        changed = list(words)
        for _ in range(generator.randint(0, 4)):
            changed[generator.randrange(len(changed))] = generator.choice(WORDS)
        yield " ".join(words), " ".join(changed)


def test_near_duplicates_agree_with_the_similarity_of_sets():
    missed = near = 0
    for original, changed in _variants(random.Random(2), 900):
        both, either = _shingles(original) & _shingles(changed), _shingles(original) | _shingles(changed)
        expected = len(both) / len(either) >= NEARLY
        equal, nearly = (bool(mask[0]) for mask in HeldOut([original]).compare([changed]))
        assert equal == (original == changed)
        if equal:
            continue
        assert expected or not nearly, "nothing is removed by chance"
        near += expected
        missed += expected and not nearly
    assert near > 100
    assert missed <= 0.02 * near


def test_texts_are_compared_with_all_held_out_ones():
    generator = random.Random(3)
    held_out = [_sentence(generator) for _ in range(500)]
    texts = [f"mot {held_out[i]}" for i in range(0, 500, 50)] + [_sentence(generator) for _ in range(700)]
    equal, nearly = HeldOut(held_out).compare(texts)
    assert nearly.tolist() == [True] * 10 + [False] * 700
    assert not equal.any()


@pytest.mark.parametrize("texts", [[""], ["", "", ""], ["..."], ["a"], ["!", "abcd", ""], ["\n", "a\nb"]])
def test_texts_with_few_letters(texts):
    letters = [any(character.isalnum() for character in text) for text in texts]
    equal, nearly = HeldOut(texts).compare(texts)
    assert equal.tolist() == letters
    assert not nearly.any()
    assert HeldOut([]).compare(texts)[0].tolist() == [False] * len(texts)
    assert len(HeldOut(texts).compare([])[0]) == 0


def test_a_text_is_hashed_the_same_in_any_company():
    texts = [
        "Été à la plage",
        "",
        "Ete a la plage",
        "e\u0301te\u0301 A\u0300 LA PLAGE!",
        "Article 12",
        "article 34",
        "日本語の文です",
    ]
    together = sketch(texts)
    for place, text in enumerate(texts):
        alone = sketch([text])
        assert alone.whole_N[0] == together.whole_N[place]
        assert (alone.bands_NB[0] == together.bands_NB[place]).all()
        assert alone.shingles(0) == together.shingles(place)
    whole = together.whole_N.tolist()
    assert whole[0] == whole[3] != whole[2]  # an accent is part of a letter, however it is encoded
    assert whole[4] == whole[5]
    assert whole[1] == 0
