"""Chunked losses equal those of whole logits: value, gradients, and what must not count."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForSeq2SeqLM, BartConfig, MarianConfig, T5Config

from forge.models.head import find_head
from forge.objectives import rows
from forge.objectives.rows import rows_at_once, sum_over_rows, valid_positions
from forge.objectives.sft import SFT
from forge.tasks.base import IGNORED_LABEL

SMALL = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2}
SMALL |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "dropout": 0.0}
CONFIGS = {
    "marian": MarianConfig(vocab_size=40, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0, **SMALL),
    "bart": BartConfig(vocab_size=40, pad_token_id=0, eos_token_id=1, **SMALL),
    "t5": T5Config(vocab_size=40, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, dropout_rate=0.0),
    "t5_untied": T5Config(
        vocab_size=40, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, dropout_rate=0.0,
        tie_word_embeddings=False,
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _tiny_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "rows_at_once", lambda *_: 3)


def model_and_batch(name: str, seed: int = 0) -> tuple[Any, dict[str, torch.Tensor]]:
    torch.manual_seed(seed)
    model = AutoModelForSeq2SeqLM.from_config(CONFIGS[name])
    if hasattr(model, "final_logits_bias"):
        model.final_logits_bias.normal_()
    labels = torch.randint(2, 40, (4, 7))
    labels[1, 3:] = IGNORED_LABEL
    labels[2] = IGNORED_LABEL
    batch = {
        "input_ids": torch.randint(2, 40, (4, 5)),
        "attention_mask": torch.ones(4, 5, dtype=torch.long),
        "decoder_input_ids": torch.randint(2, 40, (4, 7)),
        "labels": labels,
    }
    return model, batch


def gradients(model: nn.Module, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("with_head", [True, False])
def test_chunked_cross_entropy_equals_that_of_whole_logits(name: str, smoothing: float, with_head: bool) -> None:
    model, batch = model_and_batch(name)
    head = find_head(model)
    assert head is not None
    totals = {"labels": 30.0}
    whole = SFT(smoothing).share(model(**{k: v for k, v in batch.items() if k != "labels"}).logits, batch, totals)
    expected = gradients(model, whole)
    chunked = SFT(smoothing, head if with_head else None).compute(model, batch, totals).loss
    assert chunked.item() == pytest.approx(whole.item(), rel=1e-6)
    found = gradients(model, chunked)
    assert set(found) == set(expected)
    for parameter, gradient in expected.items():
        torch.testing.assert_close(found[parameter], gradient, rtol=1e-4, atol=1e-7, msg=parameter)


def test_a_head_with_a_soft_cap_is_not_taken_apart() -> None:
    model, _ = model_and_batch("bart")
    inner = type(model).forward

    def capped(self: Any, **inputs: Any) -> Any:
        outputs = inner(self, **inputs)
        outputs.logits = torch.tanh(outputs.logits / 2) * 2
        return outputs

    model.__class__ = type("Capped", (type(model),), {"forward": capped})
    assert find_head(model) is None


def test_asking_for_the_head_leaves_the_model_as_it_was() -> None:
    model, batch = model_and_batch("marian")
    before = model.training
    find_head(model)
    assert model.training == before
    inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
    assert model(**inputs).logits.shape == (4, 7, 40)


@pytest.mark.parametrize("weights", [[1.0, 0.0], [0.0, 2.0], [0.5, 3.0]])
def test_several_losses_share_one_gradient(weights: list[float]) -> None:
    torch.manual_seed(1)
    logits = torch.randn(10, 6, requires_grad=True)
    positions = torch.tensor([0, 1, 4, 5, 8, 9])

    def losses(chunk: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return torch.stack([chunk.logsumexp(-1).sum(), (chunk**2).sum()])

    loss, sums = sum_over_rows(logits, None, positions, losses, weights)
    (found,) = torch.autograd.grad(loss * 2, logits)
    both = losses(logits[positions], positions)
    (expected,) = torch.autograd.grad(2 * (both * torch.tensor(weights)).sum(), logits)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(sums, both.detach())
    assert found[2].abs().sum() == 0


def test_frozen_states_and_no_gradients() -> None:
    model, batch = model_and_batch("marian")
    head = find_head(model)
    with torch.no_grad():
        loss = SFT(0.0, head).compute(model, batch, {"labels": 30.0}).loss
    assert not loss.requires_grad
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model.get_output_embeddings().weight.requires_grad_(True)
    loss = SFT(0.0, head).compute(model, batch, {"labels": 30.0}).loss
    assert set(gradients(model, loss)) == {"model.shared.weight"}


def test_nothing_that_counts_gives_zero() -> None:
    model, batch = model_and_batch("t5")
    batch["labels"] = torch.full_like(batch["labels"], IGNORED_LABEL)
    loss = SFT(0.1, find_head(model)).compute(model, batch, {"labels": 0.0}).loss
    assert loss.item() == 0.0
    assert all(not gradient.any() for gradient in gradients(model, loss).values())


def test_chunks_are_small_and_never_empty() -> None:
    assert 16 <= rows_at_once(250_000, torch.device("cpu")) < rows_at_once(1_000, torch.device("cpu"))
    assert valid_positions(torch.tensor([True, False, True])).tolist() == [0, 2]


def test_bf16_autocast_is_close_to_fp32() -> None:
    model, batch = model_and_batch("marian")
    head = find_head(model)
    exact = gradients(model, SFT(0.1, head).compute(model, batch, {"labels": 10.0}).loss)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = SFT(0.1, head).compute(model, batch, {"labels": 10.0}).loss
    assert loss.dtype == torch.float32
    for name, gradient in gradients(model, loss).items():
        if exact[name].norm() > 1e-3:
            assert torch.cosine_similarity(gradient.flatten(), exact[name].flatten(), dim=0) > 0.98, name
