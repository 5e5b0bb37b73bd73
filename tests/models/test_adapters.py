"""Which weights are trained: frozen parts, low-rank adapters, the head of a classifier beside them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support import forge, only_run, write_config
from transformers import LlamaConfig, LlamaForCausalLM

from forge.config.schema import Model
from forge.core.errors import UserError
from forge.models.adapt import adapt
from forge.models.lora import beside, merged, scales, spread

ADAPTED = {"r": 2, "alpha": 8, "targets": ["q_proj", "v_proj"]}


def llama(tied: bool = False) -> Any:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=20, tie_word_embeddings=tied, **sizes)).eval()


def wanted(**of_model: Any) -> Model:
    return Model.model_validate({"name": "some/model"} | of_model)


def test_merged_weights_say_what_the_adapters_say() -> None:
    pytest.importorskip("peft")
    model, plain, ids = llama(), llama(), torch.arange(12).view(2, 6)
    before = model(ids).logits
    adapt(model, wanted(lora=ADAPTED), seed=3)
    assert torch.equal(model(ids).logits, before)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert len(trained) == 2 * 2 * 2
    assert all(".lora_" in name for name in trained)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_B." in name:
                parameter.normal_()
    after = model(ids).logits
    assert not torch.allclose(after, before)
    whole = merged(model.state_dict(), scales(model))
    assert whole.keys() == plain.state_dict().keys()
    plain.load_state_dict(whole)
    torch.testing.assert_close(plain(ids).logits, after, rtol=1e-4, atol=1e-5)
    kept = beside(model.state_dict(), scales(model))
    assert len(kept) == 2 * 2 * 3
    model.load_state_dict(spread(model, whole))
    torch.testing.assert_close(model(ids).logits, after, rtol=1e-4, atol=1e-5)


def test_adapters_are_drawn_from_the_seed_alone() -> None:
    pytest.importorskip("peft")
    drawn = []
    for seed, disturbed in ((3, False), (3, True), (4, False)):
        model = llama()
        torch.manual_seed(int(disturbed))
        adapt(model, wanted(lora=ADAPTED), seed=seed)
        drawn.append({name: value for name, value in model.state_dict().items() if ".lora_A." in name})
    assert all(torch.equal(value, drawn[1][name]) for name, value in drawn[0].items())
    assert not all(torch.equal(value, drawn[2][name]) for name, value in drawn[0].items())


def test_frozen_parts_get_no_adapters() -> None:
    pytest.importorskip("peft")
    model = llama()
    adapt(model, wanted(lora=ADAPTED, freeze=["layers.0"]), seed=3)
    assert set(scales(model)) == {"model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.v_proj"}


@pytest.mark.parametrize(
    ("of_model", "tied", "message"),
    [
        ({"lora": ADAPTED | {"targets": ["query"]}}, False, r"model.lora.targets: LlamaForCausalLM has no query; its "),
        ({"lora": ADAPTED | {"targets": ["lm_head"]}}, True, r"model.lora.targets: lm_head shares its weights"),
        ({"freeze": ["eyes"]}, False, r"model.freeze: LlamaForCausalLM has no eyes; it has lm_head, model, "),
        ({"freeze": ["model", "lm_head"]}, False, r"model.freeze: model, lm_head leaves nothing to train"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(of_model: dict[str, Any], tied: bool, message: str) -> None:
    if "lora" in of_model:
        pytest.importorskip("peft")
    with pytest.raises(UserError, match=message):
        adapt(llama(tied), wanted(**of_model), seed=0)


def test_without_peft_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match=r"model.lora needs peft: pip install 'forge-distill\[lora\]'"):
        adapt(llama(), wanted(lora=ADAPTED), seed=0)


def test_a_stand_in_is_trained_whole() -> None:
    model = llama()
    adapt(model, wanted(lora=ADAPTED, freeze=["eyes"]), seed=0, stand_in=True)
    assert not scales(model)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_head_of_a_classifier_is_trained_beside_them(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    change = {
        "model": {"lora": {"r": 2, "alpha": 8, "targets": ["q_lin", "v_lin"]}},
        "train": {"learning_rate": 1e-2},
        "checkpoint": {"keep": 3, "average": 2},
    }
    assert forge("--config", write_config(tmp_path, change)) == 0
    run = only_run(tmp_path)
    first, last = (load_file(run / f"checkpoint-{step}" / "model.safetensors") for step in (3, 6))
    changed = {name for name, value in first.items() if not torch.equal(value, last[name])}
    assert {name.split(".")[0] for name in changed} == {"distilbert", "pre_classifier", "classifier"}
    assert all(name.endswith(("q_lin.weight", "v_lin.weight")) for name in changed if name.startswith("distilbert"))
    average = run / "checkpoint-average"
    assert not (average / "adapter.safetensors").exists()
    assert load_file(average / "model.safetensors").keys() == last.keys()
    assert forge("export", "--run", run, "--out", tmp_path / "out") == 0
    assert not (tmp_path / "out" / "adapter.safetensors").exists()
