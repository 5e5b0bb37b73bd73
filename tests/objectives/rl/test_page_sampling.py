"""Sampling from vision-encoder-decoders: what is drawn is what is learned, and a page is seen once for its samples."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from one_distribution import assert_one_distribution
from torch import Tensor
from toy_vision_models import ENCODER_DECODERS

from forge.models.image_text import settle_ends
from forge.models.reader import Characters, build_reader
from forge.models.seq2seq import start_token
from forge.objectives.rl.drawing import uniforms
from forge.objectives.rl.rules import rules_of
from forge.objectives.rl.samples import decoder_inputs
from forge.objectives.rl.sampling import EncoderDecoder
from forge.tasks.written import end_tokens

SAMPLES, LONGEST, PAGES = 3, 9, 3
SHAPES = {"reader": (1, 32, 64), "donut": (3, 64, 96), "trocr": (3, 32, 64)}
PLACES = {"reader": 16, "donut": 96, "trocr": 33}


def make(name: str) -> Any:
    torch.manual_seed(4)
    if name == "reader":
        model: Any = build_reader("embedded/mini-reader", Characters(30), 0, 32)
    else:
        model, processor = ENCODER_DECODERS[name]()
        settle_ends(model, processor.tokenizer)
    for parameter in model.decoder.parameters():  # of a new model all tokens are nearly as likely
        if parameter.ndim > 1:
            parameter.data.mul_(4.0)
    return model.eval()


def sampler_of(model: Any, temperature: float = 1.0) -> EncoderDecoder:
    """Several tokens end a text, else a model that has learnt nothing comes to no end."""
    ends = frozenset(end_tokens(model)) | {*range(7, 14)}
    padding = model.generation_config.pad_token_id
    return EncoderDecoder(rules_of(model, temperature), ends, start_token(model), padding, SAMPLES, LONGEST)


def pages(name: str) -> dict[str, Tensor]:
    """The mask is of what the encoder makes of a page, all of which is read."""
    drawn = torch.rand(PAGES, *SHAPES[name], generator=torch.Generator().manual_seed(1))
    return {"pixel_values": drawn, "attention_mask": torch.ones(PAGES, PLACES[name], dtype=torch.long)}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_teacher_forcing_finds_the_probabilities_of_sampling(name: str, temperature: float) -> None:
    model = make(name)
    sampler, batch = sampler_of(model, temperature), pages(name)
    written = sampler.sample(model, batch, uniforms(1, 0, range(PAGES), SAMPLES, LONGEST))
    mask_NT, ended_N = sampler.mask(written.tokens_NT)
    assert len({tuple(row) for row in written.tokens_NT.tolist()}) > PAGES
    assert int(ended_N.sum()) > 0
    assert not (written.tokens_NT[mask_NT] == sampler.padding).any()
    assert_one_distribution(model, sampler, batch, written)


@pytest.mark.parametrize("name", SHAPES)
def test_each_page_is_seen_once_and_answers_for_its_own_samples(name: str) -> None:
    model, batch, seen = make(name), pages(name), []
    sampler = sampler_of(model)
    written = sampler.sample(model, batch, uniforms(1, 0, range(PAGES), SAMPLES, LONGEST))
    hook = model.encoder.register_forward_pre_hook(
        lambda _, __, named: seen.append(len(named["pixel_values"])), with_kwargs=True
    )
    rows = sampler.rows(model, None, batch, written.tokens_NT)
    hook.remove()
    assert seen == [PAGES]
    repeated = batch["pixel_values"].repeat_interleave(SAMPLES, 0)
    plain_NTV = model(pixel_values=repeated, decoder_input_ids=decoder_inputs(written.tokens_NT, sampler.start)).logits
    torch.testing.assert_close(rows.states_BTX, plain_NTV, atol=1e-5, rtol=0)
    assert not torch.allclose(plain_NTV[0], plain_NTV[SAMPLES], atol=1e-3)  # pages differ, so it matters whose it is
