"""Models of the classes that real page readers have: trained, stopped, gone on with, loaded by the Auto classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support import AskAt, merged, metrics, only_run, write_config
from toy_vision_models import ALL, DECODERS, make
from transformers import AutoModelForImageTextToText

from forge.building.page_model import load_page_model, page_task
from forge.config import resolve
from forge.config.schema import Settings
from forge.core.assets import Asset
from forge.core.errors import StoppedError
from forge.models.image_text import peek_reader
from forge.preflight import preflight
from forge.tasks.base import forward
from forge.tasks.ocr.pictures import pictured

STEPS = 4


def settings(folder: Path, model: Path, **of_model: Any) -> dict[str, Any]:
    return {
        "task": "ocr",
        "data": {
            "name": "embedded/pages", "train": "train", "validation": "validation", "test": "test",
            "embedded": {"preset": "line", "train_size": 32}, "max_target_length": 16,
        },
        "model": {"name": str(model)} | of_model,
        "generate": {"beams": 1},
        "train": {"max_steps": STEPS, "batch_size": 4, "micro_batch_size": 2, "learning_rate": 3e-3},
        "evaluate": {"every": 2, "max_examples": 3, "metric": "loss", "batch_size": 3},
        "checkpoint": {"keep": 4},
        "log": {"every": 1, "sinks": []},
        "run": {"dir": str(folder / "runs")},
    }  # fmt: skip


def train(folder: Path, change: dict[str, Any], looks: int | None = None) -> Path:
    from forge.assemble import train as begin

    found = preflight(resolve(write_config(folder, change)))
    try:
        begin(found, ["test"], AskAt(looks) if looks else None)
    except StoppedError:
        assert looks
    return found.run.path


def tensors(checkpoint: Path) -> dict[str, torch.Tensor]:
    files = [(file.name, load_file(file)) for file in checkpoint.glob("*.safetensors")]
    return {f"{file}:{name}": value for file, found in files for name, value in found.items()}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return AutoModelForImageTextToText.from_pretrained(folder).state_dict()


def same(one: Path, other: Path) -> None:
    mine, its = tensors(one), tensors(other)
    assert mine.keys() == its.keys()
    assert all(torch.equal(value, its[name]) for name, value in mine.items())


def logits(checkpoint: Path, change: dict[str, Any], model: Any = None) -> torch.Tensor:
    """What a checkpoint says about two embedded pages."""
    chosen, asset = Settings.model_validate(change), Asset(str(checkpoint), "path", str(checkpoint))
    config = peek_reader(asset, chosen.model)
    assert config is not None
    loaded, processor = load_page_model(asset, chosen.model, config, 0)
    form = page_task(chosen, loaded, processor).form
    pages = [pictured({"page": f"embedded/line/validation/0/{number}"}) for number in range(2)]
    batch = form.collate(pages, form.encode([page.markdown for page in pages]))
    with torch.no_grad():
        return forward((model or loaded).eval(), batch).logits


@pytest.mark.parametrize("kind", ALL)
def test_trained_stopped_and_gone_on_it_is_the_same_run(tmp_path: Path, kind: str) -> None:
    model = make(kind, tmp_path / kind)
    change = settings(tmp_path, model)
    calm = train(tmp_path / "calm", merged(change, {"run": {"dir": str(tmp_path / "calm" / "runs")}}))
    stormy = merged(change, {"run": {"dir": str(tmp_path / "stormy" / "runs")}})
    train(tmp_path / "stormy", stormy, looks=3)
    run = train(tmp_path / "stormy", stormy)
    last = run / f"checkpoint-{STEPS}"
    same(calm / last.name, last)
    for name in ("tokenizer.json", "processor_config.json", "tokenizer_files.json"):
        assert (calm / last.name / name).read_bytes() == (last / name).read_bytes()
    assert (last / "processor_config.json").read_bytes() == (model / "processor_config.json").read_bytes()
    records = metrics(only_run(tmp_path / "stormy"))
    losses = [record["loss"] for record in records if record["kind"] == "step"]
    assert len(losses) == STEPS
    assert losses[-1] < losses[0]
    reloaded = AutoModelForImageTextToText.from_pretrained(last)
    assert torch.equal(logits(last, change), logits(last, change, reloaded))
    assert not torch.equal(logits(last, change), logits(model, change))


@pytest.mark.parametrize("kind", ["idefics3", "lighton_ocr", "qwen2_vl", "donut"])
def test_adapters_are_merged_and_go_on_bit_by_bit(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("peft")
    model = make(kind, tmp_path / kind)
    lora = {"r": 4, "alpha": 32, "dropout": 0.1, "targets": ["q_proj", "v_proj"]}
    sees = "vision" if kind in DECODERS else "encoder"
    change = settings(tmp_path, model, lora=lora, freeze=[sees])
    calm = train(tmp_path / "calm", merged(change, {"run": {"dir": str(tmp_path / "calm" / "runs")}}))
    stormy = merged(change, {"run": {"dir": str(tmp_path / "stormy" / "runs")}})
    train(tmp_path / "stormy", stormy, looks=3)
    last = train(tmp_path / "stormy", stormy) / f"checkpoint-{STEPS}"
    same(calm / last.name, last)
    before, after = weights(model), weights(last)
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    kept = load_file(last / "adapter.safetensors")
    layers = {name.removesuffix(".base_layer.weight") for name in kept if name.endswith(".base_layer.weight")}
    assert changed == {f"{layer}.weight" for layer in layers}
    assert all(layer.endswith(("q_proj", "v_proj")) for layer in layers)
    assert not any("vision" in layer or "visual" in layer or layer.startswith("encoder") for layer in layers)
    for layer in layers:
        assert torch.equal(kept[f"{layer}.base_layer.weight"], before[f"{layer}.weight"])
        delta = 32 / 4 * kept[f"{layer}.lora_B.default.weight"] @ kept[f"{layer}.lora_A.default.weight"]
        torch.testing.assert_close(after[f"{layer}.weight"], before[f"{layer}.weight"] + delta)
    reloaded = AutoModelForImageTextToText.from_pretrained(last)
    assert torch.equal(logits(last, change), logits(last, change, reloaded))


def test_a_frozen_part_stays(tmp_path: Path) -> None:
    model = make("lighton_ocr", tmp_path / "model")
    last = train(tmp_path, settings(tmp_path, model, freeze=["vision", "projector"])) / f"checkpoint-{STEPS}"
    before, after = weights(model), weights(last)
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed
    assert not any("vision" in name for name in changed)
