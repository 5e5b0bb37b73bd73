"""What is shown to others: a page that opens offline, a card that claims only what is true."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
import yaml

from forge.runs.card import model_card
from forge.runs.report import render

EVIL = "<script>alert(1)</script>&\"'"
FIGURES = {"accuracy": 0.75, "macro_f1": 0.7, "loss": 0.4, "ece": 0.05}


def _metadata(name="sick/00_sft", model=None, data=None, **config):
    path = {"asked": "./m", "source": "path", "location": "./m", "revision": "", "stand_in": False}
    assets = {"model": path | (model or {}), "data": path | {"asked": "./d", "location": "./d"} | (data or {})}
    for asset in assets.values():
        asset["description"] = f"{asset['location']} from {asset['source']}"
    return {
        "name": name,
        "mode": "sft",
        "header": [f"run {name}", "mode: sft"],
        "config": {"task": "classification", "data": {"name": assets["data"]["asked"]}, "model": {}}
        | {"evaluate": {"metric": "accuracy"}}
        | config,
        "assets": assets,
        "versions": {"forge": "0.1.0"},
        "lives": [{"started": "2026-01-01T00:00:00+00:00", "ended": None, "why": None}],
    }


STATE = {
    "status": "completed",
    "step": 20,
    "total_steps": 20,
    "best": {"step": 10, "metric": "accuracy", "value": 0.75, "validation": {"matched": FIGURES}},
    "test": {"test": FIGURES | {"accuracy": 0.5}},
}


def _records(label="pos", split="validation"):
    row = {"precision": 1.0, "recall": 0.5, "f1": 0.6667, "support": 3}
    detail = {
        "labels": ["neg", label],
        "per_class": {"neg": row, label: row},
        "confusion": [[3, 0], [0, 0]],
        "examples": 3,
    }
    step = {"kind": "step", "loss": 0.5, "learning_rate": 1e-4}
    return [
        step | {"step": 1},
        step | {"step": 10},
        {"kind": "evaluation", "step": 10, "split": split} | FIGURES | detail,
        {"kind": "test", "step": 10, "split": "test"} | FIGURES | detail,
    ]


class _Page(HTMLParser):
    """Collects every tag and every attribute that loads something."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.loads = set(), []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.loads += [value for key, value in attrs if key.split(":")[-1] in {"src", "href", "action", "data"}]


def test_the_report_is_one_file_that_loads_nothing():
    page = render(_metadata(), STATE, _records())
    parsed = _Page(page)
    assert "svg" in parsed.tags
    assert not parsed.tags & {"script", "link", "iframe", "img", "object", "embed", "base"}
    assert all(value.startswith("#") for value in parsed.loads)
    assert "@import" not in page
    assert all(target.startswith("#") for target in re.findall(r"url\(['\"]?([^)]*)", page))
    named = set(re.findall(r"https?://[^\s\"'<>]+", page))
    assert all(re.search(rf"xmlns[:\w]*=\"{re.escape(a)}\"|(resource|about)=\"{re.escape(a)}\"", page) for a in named)
    assert "best accuracy 0.7500 on validation, at step 10; measured once on test 0.7500" in page


def test_the_report_is_the_same_for_the_same_run():
    assert render(_metadata(), STATE, _records()) == render(_metadata(), STATE, _records())


@pytest.mark.parametrize("place", ["name", "label", "split", "config"])
def test_names_are_text_never_markup(place):
    metadata = _metadata(EVIL if place == "name" else "x", **({"note": EVIL} if place == "config" else {}))
    names = {place: EVIL} if place in {"label", "split"} else {}
    page = render(metadata, STATE, _records(**names))
    assert "script" not in _Page(page).tags
    assert "<script" not in page
    assert "alert(1)" in page


def test_a_report_before_the_first_evaluation():
    page = render(_metadata(), {"status": "failed", "step": 3}, _records()[:1])
    assert "failed at step 3" in page
    assert "running at step 0" in render(_metadata(), {}, [])


# The card


def _card(step=10, state=STATE, **metadata):
    text = model_card("name", _metadata(**metadata), state, f"checkpoint-{step}")
    _, front, body = re.split(r"^---$\n", text, maxsplit=2, flags=re.MULTILINE)
    return yaml.safe_load(front), body


HUB = {"source": "hub", "revision": "a" * 40}
STAND_IN = {"source": "embedded", "stand_in": True}


def test_a_card_of_real_assets_names_them():
    front, body = _card(
        model=HUB | {"asked": "org/net", "location": "/cache/net"},
        data=HUB | {"source": "cache", "asked": "org/data", "location": "/cache/data"},
    )
    assert front["base_model"] == "org/net"
    assert front["datasets"] == ["org/data"]
    assert (front["library_name"], front["pipeline_tag"]) == ("transformers", "text-classification")
    (index,) = front["model-index"]
    splits = {result["dataset"]["split"]: result for result in index["results"]}
    assert set(splits) == {"matched (validation)", "test (test)"}
    assert splits["test (test)"]["metrics"][0] == {"type": "accuracy", "value": 0.5}
    assert splits["test (test)"]["dataset"]["name"] == "org/data"
    assert "| test (test) | 0.5000 | 0.7000 | 0.4000 | 0.0500 |" in body
    assert "Best checkpoint, at step 10 of 20." in body
    table = [line for line in body.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1


def test_a_stand_in_is_never_claimed_as_what_it_stands_for():
    front, body = _card(
        model=STAND_IN | {"asked": "org/net", "location": "embedded/tiny-bert"},
        data=STAND_IN | {"asked": "org/data", "location": "embedded/nli"},
    )
    assert "base_model" not in front
    assert "datasets" not in front
    assert "org/" not in json.dumps(front)
    assert {result["dataset"]["name"] for result in front["model-index"][0]["results"]} == {"embedded/nli"}
    assert "Start: embedded/tiny-bert" in body


def test_random_weights_have_no_base_model():
    front, _ = _card(model=HUB | {"asked": "org/net"})
    assert front["base_model"] == "org/net"
    metadata = _metadata(model=HUB | {"asked": "org/net"})
    metadata["config"]["model"] = {"init": "random"}
    assert "base_model" not in model_card("name", metadata, STATE, "checkpoint-10").split("---")[1]


def test_local_assets_are_no_hub_names():
    front, _ = _card()
    assert "base_model" not in front
    assert "datasets" not in front


def test_another_checkpoint_does_not_claim_the_figures_of_the_best():
    front, body = _card(step=20)
    assert "model-index" not in front
    assert "0.75" not in body
    assert "Checkpoint at step 20 of 20." in body


def test_odd_names_stay_valid_yaml():
    odd = "a: {b} #c '\"é\n---"
    front, _ = _card(model=HUB | {"asked": odd}, data=HUB | {"asked": odd})
    assert front["base_model"] == odd
