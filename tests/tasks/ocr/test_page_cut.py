"""Splits of whole documents, apart from each other."""

from __future__ import annotations

import random

import pytest
from datasets import Dataset

from forge.core.errors import UserError
from forge.core.hashing import digest
from forge.tasks.ocr.cut import cut_by_document
from forge.tasks.sources import Table


def text(seed, words=80):
    generator = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyz"
    return " ".join("".join(generator.choices(letters, k=generator.randint(2, 9))) for _ in range(words))


def table(pages):
    """Rows from (document, Markdown, image)."""
    rows = Dataset.from_list(
        [
            {"page": f"{document}#{row}", "markdown": markdown, "document": document, "image": picture}
            for row, (document, markdown, picture) in enumerate(pages)
        ]
    )
    return Table("scans", rows, "mark", lambda row: f"scans, row {row + 1}")


def many(documents=40, pages=3):
    return [(f"d{d}", text(f"{d} {p}"), b"%d %d" % (d, p)) for d in range(documents) for p in range(pages)]


def documents(part):
    return set(part.rows["document"][:])


def test_no_document_is_in_two_splits():
    whole = table(many())
    cut = cut_by_document(whole, 10, 20, seed=0)
    assert len(cut.validation.rows) == 9
    assert len(cut.test.rows) == 18
    assert len(cut.train.rows) == 120 - 27
    splits = [documents(part) for part in (cut.train, cut.validation, cut.test)]
    assert sum(map(len, splits)) == len(set.union(*splits)) == 40
    assert cut.notices == (
        "cut: validation 9 pages of 3 documents and test 18 pages of 6 documents from scans; 0 training pages equal to "
        "one of theirs and 0 nearly equal are left out",
    )
    assert len({part.fingerprint for part in (whole, cut.train, cut.validation, cut.test)}) == 4
    assert cut.train.name == "scans"
    assert cut.test.name == "scans, cut for test"
    for part in (cut.train, cut.validation, cut.test):
        rows = part.rows["page"][:]
        assert rows == sorted(rows, key=whole.rows["page"][:].index), "the table's order stays"
        place = whole.rows["page"][:].index(rows[-1])
        assert part.where(len(rows) - 1) == whole.where(place) == f"scans, row {place + 1}"


def test_the_name_and_the_seed_decide():
    first, again = (cut_by_document(table(many()), 10, 20, seed=0) for _ in range(2))
    assert first.test.rows["page"][:] == again.test.rows["page"][:]
    assert first.test.fingerprint == again.test.fingerprint
    other = cut_by_document(table(many()), 10, 20, seed=1)
    assert documents(other.test) != documents(first.test)
    shuffled = many()
    random.Random(0).shuffle(shuffled)
    assert documents(cut_by_document(table(shuffled), 10, 20, seed=0).test) == documents(first.test)
    larger = cut_by_document(table(many(44)), 10, 20, seed=0)
    assert len(documents(larger.test) & documents(first.test)) >= 4, "few documents move when some are added"


def test_one_split_or_none():
    cut = cut_by_document(table(many()), None, 20, seed=0)
    assert cut.validation is None
    assert len(cut.test.rows) == 18
    cut = cut_by_document(table(many()), 5, None, seed=0)
    assert cut.test is None
    assert len(cut.validation.rows) == 3
    cut = cut_by_document(table(many(2)), None, None, seed=0)
    assert len(cut.train.rows) == 6
    assert cut.notices == ()


def test_large_documents_are_passed_over():
    pages = [("book", text(number), b"%d" % number) for number in range(500)] + many(20, 1)
    for seed in range(5):
        cut = cut_by_document(table(pages), None, 12, seed)
        assert len(cut.test.rows) == 12
        assert "book" in documents(cut.train)


def test_pages_that_equal_an_evaluation_page_leave_training():
    pages = many()
    plain = cut_by_document(table(pages), None, 18, seed=0)
    held = plain.test.rows["markdown"][0]
    # Names that come last in the order, so that the test split is full before one of them fits.
    names = sorted((f"leak{number}" for number in range(400)), key=lambda name: digest([0, name]))[-4:]
    texts = [
        held,
        held.upper().replace(" ", "\n"),  # case and white space do not count
        f"word {held} more",
        held[: len(held) // 2],  # half a page is another page
    ]
    leaks = [(name, markdown, b"other") for name, markdown in zip(names, texts, strict=True)]
    cut = cut_by_document(table([*pages, *leaks]), None, 18, seed=0)
    assert documents(cut.test) == documents(plain.test)
    assert documents(cut.train) & set(names) == {names[-1]}
    assert "; 2 training pages equal to one of theirs and 1 nearly equal are left out" in cut.notices[0]


def test_blank_and_short_pages_stay_unless_they_are_the_same_image():
    pages = [(f"d{d}", "", b"blank") for d in range(20)] + [(f"e{d}", "Total 12.50", b"%d" % d) for d in range(20)]
    cut = cut_by_document(table(pages), None, 20, seed=0)
    assert len(cut.test.rows) == len(cut.train.rows) == 20
    same = [(document, markdown, b"one" if markdown else picture) for document, markdown, picture in pages]
    cut = cut_by_document(table(same), None, 20, seed=0)
    assert set(cut.train.rows["markdown"][:]) == {""}
    assert set(cut.test.rows["markdown"][:]) == {"", "Total 12.50"}


@pytest.mark.parametrize(
    ("pages", "validation", "test", "message"),
    [
        (
            many(4),
            None,
            12,
            "scans  has 12 pages of 4 documents, and data.cut takes all of them; nothing is left to train on",
        ),
        (
            many(4),
            None,
            2,
            "scans  data.cut.test takes whole documents of at most 2 pages, and the smallest document left has 3",
        ),
        (
            many(4),
            1,
            12,
            "scans  data.cut.validation takes whole documents of at most 1 pages, and no document is left",
        ),
        (
            [(f"d{d}", text("same"), b"") for d in range(9)],
            None,
            3,
            "scans  has no training page that differs from all that data.cut takes",
        ),
    ],
)
def test_nothing_left(pages, validation, test, message):
    with pytest.raises(UserError) as caught:
        cut_by_document(table(pages), validation, test, seed=0)
    assert str(caught.value) == message
