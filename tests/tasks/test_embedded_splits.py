"""Which rows of the embedded sentence pairs a configuration's names of splits mean."""

from __future__ import annotations

from forge.config.schema.data import Data
from forge.core.assets import Asset
from forge.tasks.splits import RawData, read_splits


def read(**named: object) -> RawData:
    data = Data.model_validate({"name": "embedded/nli", "embedded": {"train_size": 3000}} | named)
    return read_splits(data, Asset("embedded/nli", "embedded", "embedded/nli"))


def test_training_examples_can_be_measured_too() -> None:
    raw = read(train="train", validation={"new": "validation", "seen": "train"})
    assert raw.train
    assert raw.validation["seen"].rows[:] == raw.train.rows[:2000]
    assert raw.validation["new"].rows["premise"] != raw.validation["seen"].rows["premise"]


def test_names_of_another_data_set_mean_what_they_are_for() -> None:
    own = read(train="train", validation={"m": "validation", "mm": "validation_mismatched"}, test="test")
    other = read(train="all", validation={"m": "dev_matched", "mm": "dev_mismatched"}, test="held_out")
    assert other.validation["m"].fingerprint == own.validation["m"].fingerprint
    assert other.validation["mm"].fingerprint == own.validation["mm"].fingerprint
    assert other.test["test"].fingerprint == own.test["test"].fingerprint
