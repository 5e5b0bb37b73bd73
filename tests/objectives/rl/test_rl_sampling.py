"""Sampling from tiny encoder-decoders: what is drawn is what is learned, alone and in any company."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from one_distribution import assert_one_distribution
from torch import Tensor
from toy_vision_models import ENCODER_DECODERS
from transformers import AutoModelForSeq2SeqLM, BartConfig, MarianConfig, T5Config

from forge.models.encoder_once import encoded_once
from forge.models.head import find_head
from forge.models.reader import Characters, build_reader
from forge.models.seq2seq import start_token
from forge.objectives.rl.drawing import BLOCK, draw, uniforms
from forge.objectives.rl.rules import Rules, rules_of
from forge.objectives.rl.samples import decoder_inputs
from forge.objectives.rl.sampling import EncoderDecoder
from forge.tasks.written import end_tokens

V, END, PAD, SAMPLES, LONGEST = 24, 1, 0, 3, 8
SMALL = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2}
SMALL |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "init_std": 0.5}
TOKENS = {"vocab_size": V, "pad_token_id": PAD, "eos_token_id": END, "decoder_start_token_id": PAD}
CONFIGS = {
    "marian": lambda: MarianConfig(**TOKENS, forced_eos_token_id=END, dropout=0.3, **SMALL),
    "t5": lambda: T5Config(
        vocab_size=V, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, initializer_factor=1.0,
        decoder_start_token_id=PAD,
    ),
    "bart": lambda: BartConfig(**TOKENS, bos_token_id=2, forced_eos_token_id=END, dropout=0.3, **SMALL),
}  # fmt: skip


def make(name: str) -> Any:
    torch.manual_seed(3)
    return AutoModelForSeq2SeqLM.from_config(CONFIGS[name]()).eval()


def sampler_of(model: Any, **rules: Any) -> EncoderDecoder:
    """Several tokens end a text, else a model that has learnt nothing comes to no end."""
    ends = frozenset(end_tokens(model)) | {*range(7, 11)}
    return EncoderDecoder(rules_of(model, **rules), ends, start_token(model), PAD, SAMPLES, LONGEST)


def prompts(rows: int = 4) -> dict[str, Tensor]:
    """Of different lengths, padded."""
    torch.manual_seed(5)
    ids, lengths = torch.randint(3, V, (rows, 6)), torch.tensor([6, 3, 5, 2][:rows])
    mask = (torch.arange(6) < lengths[:, None]).long()
    return {"input_ids": ids * mask, "attention_mask": mask}


def numbers(rows: int = 4) -> Tensor:
    return uniforms(1, 0, list(range(rows)), SAMPLES, LONGEST)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_teacher_forcing_finds_the_probabilities_of_sampling(name: str, temperature: float) -> None:
    model = make(name)
    sampler, batch = sampler_of(model, temperature=temperature), prompts()
    written = sampler.sample(model, batch, numbers())
    mask_NT, ended_N = sampler.mask(written.tokens_NT)
    assert int(ended_N.sum()) > 0
    assert len(set(mask_NT.sum(-1).tolist())) > 2
    assert len({tuple(row) for row in written.tokens_NT.tolist()}) > 6
    assert not (written.tokens_NT[mask_NT] == PAD).any()  # of Marian, T5 and BART no word
    assert_one_distribution(model, sampler, batch, written)


@pytest.mark.parametrize("name", CONFIGS)
def test_it_is_the_distribution_of_a_plain_forward_pass(name: str) -> None:
    """By hand: each sample alone, without a cache, a shared encoder or a head taken out."""
    model, batch = make(name), prompts()
    sampler = sampler_of(model)
    written = sampler.sample(model, batch, numbers())
    mask_NT, _ = sampler.mask(written.tokens_NT)
    for row in range(4 * SAMPLES):
        prompt, length = row // SAMPLES, int(mask_NT[row].sum())
        tokens_1T = written.tokens_NT[row : row + 1, :length]
        source = int(batch["attention_mask"][prompt].sum())
        with torch.no_grad():
            logits_TV = model(
                input_ids=batch["input_ids"][prompt : prompt + 1, :source],
                decoder_input_ids=decoder_inputs(tokens_1T, sampler.start),
            ).logits[0]
        logits_TV[:, PAD] = -torch.inf
        logp_T = logits_TV.log_softmax(-1).gather(-1, tokens_1T[0, :, None])[:, 0]
        torch.testing.assert_close(written.logp_NT[row, :length], logp_T, atol=1e-5, rtol=0)
        assert not written.logp_NT[row, length:].any()


def test_a_sample_is_the_same_in_any_company() -> None:
    model = make("marian")
    sampler, batch = sampler_of(model), prompts()
    together = sampler.sample(model, batch, numbers())
    for row in range(4):
        alone = {name: x[row : row + 1] for name, x in batch.items()}
        found = sampler.sample(model, alone, uniforms(1, 0, [row], SAMPLES, LONGEST))
        mine = together.tokens_NT[row * SAMPLES : (row + 1) * SAMPLES]
        assert torch.equal(found.tokens_NT, mine[:, : found.tokens_NT.shape[1]])
        assert not (mine[:, found.tokens_NT.shape[1] :] != PAD).any()
    other = sampler.sample(model, batch, uniforms(1, 1, range(4), SAMPLES, LONGEST))
    assert other.tokens_NT.shape != together.tokens_NT.shape or not torch.equal(other.tokens_NT, together.tokens_NT)


def test_forced_tokens_are_written_and_not_learned() -> None:
    model = make("marian")
    sampler = sampler_of(model, first=3)
    written = sampler.sample(model, prompts(), numbers())
    assert (written.tokens_NT[:, 0] == 3).all()
    assert not written.logp_NT[:, 0].any()
    assert written.logp_NT[:, 1].any()
    assert not sampler.rules.chosen(sampler.mask(written.tokens_NT)[0])[:, 0].any()


def test_the_encoder_reads_each_prompt_once() -> None:
    model, batch, seen = make("t5"), prompts(), []
    sampler = sampler_of(model)
    written = sampler.sample(model, batch, numbers())
    # On its first layer, since a hook of the encoder's own would see what the others have not thinned yet.
    hook = model.get_encoder().block[0].register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    sampler.rows(model, None, batch, written.tokens_NT)
    hook.remove()
    assert seen == [4]
    repeated = {name: x.repeat_interleave(SAMPLES, 0) for name, x in batch.items()}
    decoder = decoder_inputs(written.tokens_NT, sampler.start)
    with torch.no_grad():
        plain = model(**repeated, decoder_input_ids=decoder).logits
        with encoded_once(model, SAMPLES):
            shared = model(**repeated, decoder_input_ids=decoder).logits
        after = model(**repeated, decoder_input_ids=decoder).logits
    torch.testing.assert_close(shared, plain, atol=1e-5, rtol=0)
    assert torch.equal(after, plain)


@pytest.mark.parametrize("kind", ["donut", "trocr", "embedded"])
def test_what_reads_images_is_sampled_and_learned_alike(kind: str) -> None:
    torch.manual_seed(3)
    if kind == "embedded":
        model = build_reader("embedded/tiny-reader", Characters(V, PAD, 2, END), 0, LONGEST, (32, 64))
        pixels, places = torch.rand(4, 1, 32, 64), (32 // 8) * (64 // 8)
    else:
        model, _ = ENCODER_DECODERS[kind]()
        height, width = model.config.encoder.image_size
        pixels, places = torch.rand(4, 3, height, width), 8
    for parameter in model.parameters():
        parameter.data.mul_(2.0 if parameter.ndim > 1 else 1.0)
    model.eval()
    seen: list[int] = []
    batch = {"pixel_values": pixels, "attention_mask": torch.ones(4, places, dtype=torch.long)}
    ends = frozenset({END, *range(V // 2)})
    sampler = EncoderDecoder(rules_of(model), ends, start_token(model), PAD, SAMPLES, LONGEST)
    hook = model.encoder.register_forward_hook(lambda _, __, output: seen.append(len(output[0])))
    written = sampler.sample(model, batch, numbers())
    hook.remove()
    assert seen == [4]
    assert len({tuple(row) for row in written.tokens_NT.tolist()}) > 4
    for head in (None, find_head(model)):
        found_NT = sampler.log_probs(model, head, batch, written.tokens_NT)
        torch.testing.assert_close(found_NT, written.logp_NT, atol=1e-5, rtol=0)
    with torch.no_grad():
        decoder = decoder_inputs(written.tokens_NT, sampler.start)
        logits_NTV = model(pixel_values=pixels.repeat_interleave(SAMPLES, 0), decoder_input_ids=decoder).logits
    logits_NTV[..., list(sampler.rules.forbidden)] = -torch.inf
    logp_NT = logits_NTV.log_softmax(-1).gather(-1, written.tokens_NT[..., None])[..., 0]
    mask_NT, _ = sampler.mask(written.tokens_NT)
    torch.testing.assert_close(written.logp_NT[mask_NT], logp_NT[mask_NT], atol=1e-5, rtol=0)


def test_a_number_draws_each_token_as_often_as_it_is_likely() -> None:
    probs_V = torch.tensor([0.0, 0.5, 0.0, 0.3, 0.2, 0.0])
    uniform_N = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    found_N = draw(probs_V.expand(10_000, -1), uniform_N)
    assert torch.bincount(found_N, minlength=6).tolist() == [0, 5_000, 0, 3_000, 2_000, 0]
    edges_N = torch.tensor([0.0, 1.0 - 2**-53, 1.0], dtype=torch.float64)
    assert draw(probs_V.expand(3, -1), edges_N).tolist() == [1, 4, 4]


@pytest.mark.parametrize("tokens", [BLOCK - 1, BLOCK, 3 * BLOCK, 3 * BLOCK + 7])
def test_a_large_vocabulary_is_drawn_as_its_cumulative_sum_says(tokens: int) -> None:
    """A tail with next to nothing, blocks of nothing at all, and the edges of all of them."""
    torch.manual_seed(0)
    probs_V = torch.rand(tokens)
    probs_V[tokens // 3 : tokens // 2] = 0.0
    probs_V[-tokens // 5 :] *= 1e-4
    probs_V = probs_V / probs_V.sum()
    sums_V = probs_V.double().cumsum(-1)
    middles_V = (torch.cat((torch.zeros(1, dtype=torch.float64), sums_V[:-1])) + sums_V) / 2 / sums_V[-1]
    wide = (probs_V > 1e-6).nonzero().flatten()  # the others are narrower than the rounding of a sum
    assert torch.equal(draw(probs_V.expand(len(wide), -1), middles_V[wide]), wide)
    uniform_N = torch.cat((torch.rand(5_000, dtype=torch.float64), sums_V.clamp(max=1.0), torch.zeros(1).double()))
    found_N = draw(probs_V.expand(len(uniform_N), -1), uniform_N)
    assert (probs_V[found_N] > 0).all()
    assert int(found_N.max()) >= tokens - tokens // 5  # the tail is reached
    shares_V = torch.bincount(found_N[:5_000], minlength=tokens) / 5_000
    assert (shares_V.cumsum(0) - probs_V.cumsum(0)).abs().max() < 0.03


def test_sampling_follows_the_model() -> None:
    """First tokens are as frequent as they are likely, under a temperature and with a token that is forbidden."""
    model, batch = make("marian"), prompts(1)
    sampler = EncoderDecoder(Rules(0.8, (PAD, 5)), frozenset({END}), PAD, PAD, 4_000, 1)
    written = sampler.sample(model, batch, uniforms(7, 0, [0], 4_000, 1))
    with torch.no_grad():
        logits_V = model(**batch, decoder_input_ids=torch.tensor([[PAD]])).logits[0, 0] / 0.8
    logits_V[[PAD, 5]] = -torch.inf
    share_V = torch.bincount(written.tokens_NT[:, 0], minlength=V) / 4_000
    assert (share_V - logits_V.softmax(-1)).abs().max() < 0.03
    assert not share_V[[PAD, 5]].any()
