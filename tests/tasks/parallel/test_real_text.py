"""Read → clean → cut on Multi30k and on a sample of Europarl, with the counts that they have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("FORGE_DATA", "data"), "translation").absolute()


def _text(name):
    if not (FOLDER / f"{name}.en").is_file():
        pytest.skip(f"no {FOLDER / name}.en; set FORGE_DATA to the folder that holds translation/")
    return f"{FOLDER / name}.{{en,fr}}"


def test_europarl_sample(read):
    data = read(train=_text("europarl_sample"), cut={"validation": 200, "test": 200}, clean={"language": True})
    print(*data.notices, sep="\n")
    assert (data.source_language, data.target_language) == ("en", "fr")
    assert [len(table.rows) for table in (data.validation["validation"], data.test["test"])] == [200, 200]
    assert "5 training pairs equal to one of theirs" in data.notices[0]
    assert data.notices[1] == (
        "cleaning: 2,100 pairs → 2,074; empty 6, lengths too different 1, copies 1, equal to evaluation 5, "
        "other language 1, duplicates 12"
    )
    trained = set(data.train.rows["source"][:])
    for table in (data.validation["validation"], data.test["test"]):
        assert not trained & set(table.rows["source"][:])
    assert data.train.where(0) == f"{FOLDER}/europarl_sample.{{en,fr}}:1"


def test_multi30k(read):
    data = read(
        train=_text("multi30k.train"),
        validation=_text("multi30k.val"),
        test={"flickr_2016": _text("multi30k.test_2016_flickr")},
        clean={},
    )
    print(*data.notices, sep="\n")
    assert len(data.validation["validation"].rows) == 1014
    assert len(data.test["flickr_2016"].rows) == 1000
    assert data.notices == ("cleaning: 29,000 pairs → 28,995; duplicates 5",)
