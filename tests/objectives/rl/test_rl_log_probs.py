"""Log-probabilities in chunks, the rules of sampling, and the share of a step: with real, tiny models."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, LlamaConfig, MarianConfig, T5Config

from forge.core.errors import UserError
from forge.models.head import find_head
from forge.objectives import rows as rows_module
from forge.objectives.kd.losses.jsd import jsd
from forge.objectives.kd.top_k import TopK
from forge.objectives.rl import logprobs
from forge.objectives.rl.gkd import gkd_loss
from forge.objectives.rl.kl import kl_estimate
from forge.objectives.rl.logprobs import (
    Tokens,
    sampled_log_probs,
    to_samples,
    token_entropy,
    token_log_probs,
    tokens_of,
)
from forge.objectives.rl.losses import Policy, count_tokens, policy_loss, sequence_log_ratios, token_weights
from forge.objectives.rl.rules import Rules, rules_of, sampling_options
from forge.objectives.rl.samples import decoder_inputs, sampled_mask
from forge.objectives.rl.share import Drawn, Mixture, share_of
from forge.objectives.rows import WholeRows, rows_of

V, END, PAD = 24, 1, 0
SMALL = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2}
SMALL |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "init_std": 0.5}
MARIAN = {"vocab_size": V, "pad_token_id": PAD, "eos_token_id": END, "decoder_start_token_id": PAD}
CONFIGS = {
    "marian": lambda: MarianConfig(**MARIAN, forced_eos_token_id=END, dropout=0.1, **SMALL),
    "t5": lambda: T5Config(
        vocab_size=V, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, initializer_factor=3.0,
        decoder_start_token_id=PAD,
    ),
    "llama": lambda: LlamaConfig(
        vocab_size=V, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, initializer_range=0.5, pad_token_id=PAD, eos_token_id=END, bos_token_id=2,
    ),
}  # fmt: skip
LONGEST = 6


@pytest.fixture(autouse=True)
def _tiny_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "rows_at_once", lambda *_: 3)
    monkeypatch.setattr(logprobs, "rows_at_once", lambda *_: 3)


def make(name: str, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    auto = AutoModelForCausalLM if name == "llama" else AutoModelForSeq2SeqLM
    return auto.from_config(CONFIGS[name]()).eval()


def sample(model: Any, rules: Rules, prompts: int = 3, group: int = 4) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """(inputs, tokens_NT, scores_NTV as generate drew from them) of `group` samples of each prompt."""
    torch.manual_seed(5)
    ids = torch.randint(3, V, (prompts, 4))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    begun = 1 if model.config.is_encoder_decoder else ids.shape[1]
    with torch.no_grad():
        found = model.generate(
            **inputs, **sampling_options(rules, begun), max_new_tokens=LONGEST, num_return_sequences=group,
            output_scores=True, return_dict_in_generate=True,
        )  # fmt: skip
    tokens = found.sequences[:, begun:]
    return {key: x.repeat_interleave(group, 0) for key, x in inputs.items()}, tokens, torch.stack(found.scores, 1)


def teacher_forced(model: Any, inputs: dict[str, Tensor], tokens: Tensor, head: bool = True) -> WholeRows:
    """Rows that predict the tokens, one for each."""
    with torch.autocast("cpu", enabled=False):
        found = find_head(model) if head else None
    return rows_before(model, inputs, tokens, found)


def rows_before(model: Any, inputs: dict[str, Tensor], tokens: Tensor, head: Any) -> WholeRows:
    if model.config.is_encoder_decoder:
        batch = inputs | {"decoder_input_ids": decoder_inputs(tokens, PAD)}
        return rows_of(model, batch, head)
    prompt = inputs["input_ids"].shape[1]
    ids = torch.cat((inputs["input_ids"], tokens), 1)
    found = rows_of(model, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, head)
    return WholeRows(found.states_BTX[:, prompt - 1 : -1], found.head)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("name", CONFIGS)
def test_log_probs_are_those_of_sampling(name: str, temperature: float) -> None:
    model = make(name)
    rules = rules_of(model, temperature, forbidden=[7])
    inputs, tokens, scores = sample(model, rules)
    mask, _ = sampled_mask(tokens, [END])
    rows, positions = teacher_forced(model, inputs, tokens), mask.flatten().nonzero().flatten()
    logp, entropy = sampled_log_probs(rows, positions, tokens_of(tokens), rules)
    drawn = scores.log_softmax(-1)
    expected = drawn.gather(-1, tokens[..., None]).squeeze(-1)[mask]
    torch.testing.assert_close(logp, expected, atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(entropy, -(drawn.exp() * drawn.clamp(min=-1e9)).sum(-1)[mask], atol=5e-6, rtol=1e-5)
    assert not (tokens[mask] == 7).any()
    assert not (tokens[mask] == PAD).any()


def test_another_temperature_is_another_distribution() -> None:
    model = make("marian")
    inputs, tokens, _ = sample(model, rules_of(model, 0.7))
    mask, _ = sampled_mask(tokens, [END])
    rows, positions = teacher_forced(model, inputs, tokens), mask.flatten().nonzero().flatten()
    right, wrong = (sampled_log_probs(rows, positions, tokens_of(tokens), rules_of(model, t))[0] for t in (0.7, 1.0))
    assert (right - wrong).abs().mean() > 0.05


def test_marians_padding_is_a_token_like_any_other_unless_forbidden() -> None:
    model = make("marian")
    model.final_logits_bias[0, PAD] = 6.0
    rules = rules_of(model)
    assert rules.forbidden == (PAD,)
    inputs, tokens, _ = sample(model, rules)
    mask, _ = sampled_mask(tokens, [END])
    assert not (tokens[mask] == PAD).any()
    rows, positions = teacher_forced(model, inputs, tokens), mask.flatten().nonzero().flatten()
    right = sampled_log_probs(rows, positions, tokens_of(tokens), rules)[0]
    wrong = sampled_log_probs(rows, positions, tokens_of(tokens), Rules())[0]
    assert (right - wrong).mean() > 0.5


def test_a_sample_that_was_cut_off_is_told_from_one_that_ended() -> None:
    """Marian forces the end at the limit: by the last token alone nothing was ever cut off."""
    model = make("marian")
    model.final_logits_bias[0, END] = -30.0  # it never ends by itself
    assert model.generation_config.forced_eos_token_id == END
    _, tokens, _ = sample(model, rules_of(model))
    mask, ended = sampled_mask(tokens, [END])
    assert not ended.any()
    assert mask.all()
    forcing = Rules(1.0, (PAD,), {LONGEST - 1: END})
    inputs, tokens, _ = sample(model, forcing)
    assert (tokens[:, -1] == END).all()
    mask, ended = sampled_mask(tokens, [END], forced_end=LONGEST - 1)
    assert not ended.any()
    chosen = forcing.chosen(mask)
    assert not chosen[:, -1].any()
    assert chosen[:, :-1].all()
    rows = teacher_forced(model, inputs, tokens)
    logp, entropy = sampled_log_probs(rows, torch.arange(tokens.numel()), tokens_of(tokens), forcing)
    last = to_samples(logp, torch.arange(tokens.numel()), tuple(tokens.shape))[:, -1]
    assert (last == 0).all()
    assert (entropy.view_as(tokens)[:, -1] == 0).all()
    at = torch.tensor([LONGEST - 1])
    assert token_log_probs(rows.at(at), Tokens(torch.tensor([END]), at), Rules()).item() < -7  # what the model thinks


def test_a_first_token_that_is_forced_is_not_learned() -> None:
    model = make("marian")
    rules = rules_of(model, first=9)
    inputs, tokens, _ = sample(model, rules)
    assert (tokens[:, 0] == 9).all()
    mask, _ = sampled_mask(tokens, [END])
    assert not rules.chosen(mask)[:, 0].any()
    rows = teacher_forced(model, inputs, tokens)
    states = rows.states_BTX.detach().requires_grad_()
    logp, _ = sampled_log_probs(
        WholeRows(states, rows.head), torch.arange(tokens.numel()), tokens_of(tokens), rules, entropy=False
    )
    (gradient,) = torch.autograd.grad(logp.sum(), states)
    assert (gradient[:, 0] == 0).all()
    assert gradient[:, 1:].any()


def test_settings_of_a_checkpoint_do_not_change_the_distribution() -> None:
    """OPUS-MT brings beams, bad words and a maximal length, transformers the 50 likeliest tokens."""
    model, plain = make("marian"), make("marian")
    settings = model.generation_config
    settings.num_beams, settings.bad_words_ids, settings.top_k, settings.top_p = 4, [[PAD], [5]], 2, 0.3
    settings.no_repeat_ngram_size, settings.repetition_penalty, settings.min_length = 2, 1.5, 4
    rules = rules_of(model)
    assert rules.forbidden == (PAD, 5)
    assert torch.equal(sample(model, rules)[1], sample(plain, rules)[1])


def test_bad_words_of_several_tokens_are_refused() -> None:
    model = make("marian")
    model.generation_config.bad_words_ids = [[PAD], [5, 6]]
    with pytest.raises(UserError, match=r"forbid the sequence \[5, 6\]") as caught:
        rules_of(model)
    assert "\n" not in str(caught.value)


def test_padding_that_ends_texts_is_allowed() -> None:
    model = make("llama")
    model.generation_config.pad_token_id = END
    assert rules_of(model).forbidden == ()


def test_a_temperature_of_0_is_refused() -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        Rules(0.0)


@pytest.mark.parametrize("head", [True, False])
@pytest.mark.parametrize("name", ["marian", "t5"])
def test_chunks_equal_the_whole_with_their_gradients(name: str, head: bool) -> None:
    model, rules = make(name), Rules(0.8, (PAD, 7), {0: 3})
    inputs, tokens, _ = sample(model, rules)
    positions = torch.tensor([0, 1, 2, 3, 8, 9, 11, 20])
    pull = torch.randn(2, len(positions))

    def gradients(logp: Tensor, entropy: Tensor) -> dict[str, Tensor]:
        model.zero_grad()
        (logp * pull[0] + entropy * pull[1]).sum().backward()
        return {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}

    whole = teacher_forced(model, inputs, tokens, head=False).states_BTX.flatten(0, 1)[positions]
    at = tokens_of(tokens).at(positions)
    expected = token_log_probs(whole, at, rules), token_entropy(whole, at, rules)
    wanted = gradients(*expected)
    found = sampled_log_probs(teacher_forced(model, inputs, tokens, head), positions, tokens_of(tokens), rules)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    for key, gradient in gradients(*found).items():
        torch.testing.assert_close(gradient, wanted[key], rtol=1e-4, atol=1e-5, msg=key)


def test_bf16_autocast_gives_the_same_in_both_directions() -> None:
    model, rules = make("marian"), Rules()
    inputs, tokens, _ = sample(model, rules)
    positions = torch.arange(tokens.numel())
    exact = sampled_log_probs(teacher_forced(model, inputs, tokens), positions, tokens_of(tokens), rules)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rows = teacher_forced(model, inputs, tokens)
        logp, _ = sampled_log_probs(rows, positions, tokens_of(tokens), rules)
    assert logp.dtype == torch.float32
    torch.testing.assert_close(logp, exact, atol=0.15, rtol=0.05)
    logp.sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_the_functions_of_a_row_by_finite_differences() -> None:
    torch.manual_seed(0)
    logits = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    tokens = Tokens(torch.tensor([0, 3, 2, 6, 6]), torch.tensor([0, 1, 2, 3, 4]))
    for rules in (Rules(), Rules(0.5, (1, 5)), Rules(2.0, (1,), {3: 6})):
        assert torch.autograd.gradcheck(lambda z, r=rules: token_log_probs(z, tokens, r), logits)
        assert torch.autograd.gradcheck(lambda z, r=rules: token_entropy(z, tokens, r), logits)
        assert (token_log_probs(logits, tokens, rules) <= 0).all()
        assert (token_entropy(logits, tokens, rules) <= math.log(7)).all()


def test_dropout_in_one_pass_makes_ratios_of_what_did_not_change() -> None:
    """Why every pass is made without dropout: with it, one step after sampling many tokens would be clipped."""
    model, rules = make("marian"), Rules()
    inputs, tokens, _ = sample(model, rules)
    positions = torch.arange(tokens.numel())
    old = sampled_log_probs(teacher_forced(model, inputs, tokens), positions, tokens_of(tokens), rules)[0].detach()
    again = sampled_log_probs(teacher_forced(model, inputs, tokens), positions, tokens_of(tokens), rules)[0]
    assert torch.equal(old, again)
    model.train()
    noisy = sampled_log_probs(teacher_forced(model, inputs, tokens), positions, tokens_of(tokens), rules)[0]
    assert ((noisy - old).exp() - 1).abs().max() > 0.2


def test_masks_are_made_of_ends_and_not_of_padding() -> None:
    tokens = torch.tensor([[5, END, PAD, PAD], [5, 6, 7, 8], [END, PAD, PAD, PAD], [5, 6, 7, END], [5, END, 6, END]])
    mask, ended = sampled_mask(tokens, [END])
    assert mask.sum(-1).tolist() == [2, 4, 1, 4, 2]
    assert ended.tolist() == [True, False, True, True, True]
    same = torch.tensor([[5, PAD, PAD], [PAD, PAD, PAD]])  # where padding is the end
    mask, ended = sampled_mask(same, [PAD])
    assert mask.sum(-1).tolist() == [2, 1]
    assert ended.all()
    assert sampled_mask(tokens, [END], forced_end=3)[1].tolist() == [True, False, True, False, True]
    assert decoder_inputs(tokens, PAD)[0].tolist() == [PAD, 5, END, PAD]


# The share of a step


POLICIES = {"grpo": Policy(), "dual": Policy(dual=2.0), "cispo": Policy("cispo", None, 4.0)}
POLICIES |= {"gspo": Policy("gspo", 0.05, 0.06)}


def step(name: str, policy: Policy, first: bool) -> tuple[Any, ...]:
    model, rules = make(name), rules_of(make(name), 0.9)
    inputs, tokens, _ = sample(model, rules)
    mask, _ = sampled_mask(tokens, [END])
    torch.manual_seed(1)
    advantages, shape = torch.randn(len(tokens)), tuple(tokens.shape)
    rows = teacher_forced(model, inputs, tokens)
    with torch.no_grad():
        positions = mask.flatten().nonzero().flatten()
        logp = to_samples(sampled_log_probs(rows, positions, tokens_of(tokens), rules, False)[0], positions, shape)
    old = logp if first else logp + 0.1 * torch.randn(shape)
    reference = logp + 0.2 * torch.randn(shape)
    return model, rules, inputs, tokens, mask, advantages, old, reference


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
@pytest.mark.parametrize("name", CONFIGS)
def test_the_share_equals_the_losses_of_whole_logits(name: str, policy: Policy) -> None:
    model, rules, inputs, tokens, mask, advantages, old, reference = step(name, policy, first=False)
    mixture = Mixture(policy, beta=0.3, entropy=0.02, alpha=0.25, gkd_beta=0.4, gkd_temperature=1.5)
    weights = token_weights(mask, "dapo", count_tokens(mask), LONGEST)
    teacher = WholeRows(torch.randn(*tokens.shape, V), None)

    def gradients(loss: Tensor) -> dict[str, Tensor]:
        model.zero_grad()
        loss.backward()
        return {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}

    rows = teacher_forced(model, inputs, tokens)
    logits = rows.at(torch.arange(tokens.numel()))
    logp = token_log_probs(logits, tokens_of(tokens), rules).view_as(tokens)
    entropy = token_entropy(logits, tokens_of(tokens), rules).view_as(tokens)
    gkd = jsd(logits, teacher.at(torch.arange(tokens.numel())), beta=0.4, temperature=1.5).view_as(tokens)
    told = policy_loss(logp, old, advantages, mask, policy) + 0.3 * kl_estimate(logp, reference) - 0.02 * entropy
    whole = (weights * (0.75 * told + 0.25 * gkd)).sum()
    wanted = gradients(whole)

    with torch.no_grad():
        ratios = sequence_log_ratios(logp, old, mask).expand_as(old) if policy.kind == "gspo" else None
    drawn = Drawn(
        tokens_of(tokens),
        weights.flatten(),
        advantages[:, None].expand_as(old).flatten(),
        old.masked_fill(~mask, torch.nan).flatten(),
        None if ratios is None else ratios.flatten(),
        reference.masked_fill(~mask, torch.nan).flatten(),
    )
    loss, shares = share_of(teacher_forced(model, inputs, tokens), drawn, mixture, rules, teacher)
    assert loss.item() == pytest.approx(whole.item(), rel=1e-4, abs=1e-6)
    assert shares["gkd"].item() == pytest.approx((weights * gkd).sum().item(), rel=1e-4)
    assert shares["entropy"].item() == pytest.approx((weights * entropy).sum().item(), rel=1e-4)
    for key, gradient in gradients(loss).items():
        torch.testing.assert_close(gradient, wanted[key], rtol=1e-3, atol=1e-5, msg=key)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_ratio_is_1_on_the_first_update(name: str) -> None:
    model, rules, inputs, tokens, mask, advantages, old, _ = step(name, Policy(), first=True)
    weights = token_weights(mask, "dapo", count_tokens(mask), LONGEST).flatten()
    at, each = tokens_of(tokens), advantages[:, None].expand_as(old).flatten()
    losses = []
    for old_M in (old.flatten(), None):
        model.zero_grad()
        loss, shares = share_of(
            teacher_forced(model, inputs, tokens), Drawn(at, weights, each, old_M), Mixture(), rules
        )
        assert shares["ratio"].item() == pytest.approx(1.0, abs=1e-6)
        assert shares["clipped"].item() == 0
        loss.backward()
        losses.append({key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None})
    for key, gradient in losses[0].items():
        torch.testing.assert_close(gradient, losses[1][key], rtol=1e-4, atol=1e-6)


def test_shares_of_any_cut_add_up() -> None:
    model, rules, inputs, tokens, mask, advantages, old, reference = step("marian", Policy(), first=False)
    totals, mixture = count_tokens(mask), Mixture(beta=0.1, entropy=0.01)

    def share(part: slice) -> Tensor:
        weights = token_weights(mask[part], "grpo", totals, LONGEST).flatten()
        drawn = Drawn(
            tokens_of(tokens[part]), weights, advantages[part, None].expand_as(old[part]).flatten(),
            old[part].flatten(), None, reference[part].flatten(),
        )  # fmt: skip
        rows = teacher_forced(model, {key: x[part] for key, x in inputs.items()}, tokens[part])
        return share_of(rows, drawn, mixture, rules)[0]

    whole = share(slice(0, 12)).item()
    for cut in (4, 1, 5):
        parts = [share(slice(first, first + cut)).item() for first in range(0, 12, cut)]
        assert sum(parts) == pytest.approx(whole, rel=1e-4, abs=1e-7)


def test_without_rewards_it_is_on_policy_distillation() -> None:
    model, rules, inputs, tokens, mask, _, _, _ = step("marian", Policy(), first=True)
    weights = token_weights(mask, "dapo", count_tokens(mask), LONGEST)
    rows = teacher_forced(model, inputs, tokens)
    drawn = Drawn(tokens_of(tokens), weights.flatten(), torch.zeros(tokens.numel()))
    itself, _ = share_of(rows, drawn, Mixture(alpha=1.0), rules, WholeRows(rows.states_BTX.detach(), rows.head))
    assert itself.item() == pytest.approx(0.0, abs=1e-7)
    other, _ = share_of(rows, drawn, Mixture(alpha=1.0), rules, WholeRows(torch.randn(*tokens.shape, V), None))
    assert other.item() > 0.01


def test_gkd_takes_a_cached_teacher_and_vocabularies_of_other_sizes() -> None:
    student, teacher = torch.randn(4, 10), torch.randn(4, 12)
    assert torch.equal(gkd_loss(student, teacher, beta=0.1), jsd(student, teacher[:, :10], beta=0.1))
    logprobs, indices = teacher[:, :10].log_softmax(-1).topk(10)
    found = gkd_loss(student, TopK(logprobs, indices, 10), beta=0.1)
    torch.testing.assert_close(found, jsd(student, teacher[:, :10], beta=0.1), rtol=1e-4, atol=1e-6)


def test_gkd_equals_trl() -> None:
    gkd = pytest.importorskip("trl.experimental.gkd", reason="TRL is a test extra: pip install trl==1.16.0")
    student, teacher = torch.randn(2, 3, 10, dtype=torch.float64), torch.randn(2, 3, 10, dtype=torch.float64)
    labels = torch.tensor([[1, 1, -100], [1, -100, -100]])
    for beta, temperature in ((0.0, 1.0), (0.3, 1.0), (1.0, 2.0), (0.5, 0.7)):
        theirs = gkd.GKDTrainer.generalized_jsd_loss(
            student, teacher, labels, beta, temperature, "sum", num_items_in_batch=3
        )
        mine = gkd_loss(student, teacher, beta=beta, temperature=temperature)[labels != -100].sum() / 3
        assert mine.item() / temperature**2 == pytest.approx(theirs.item(), rel=1e-9)  # TRL has no T²


def test_the_exact_policy_gradient_of_a_toy_that_can_be_counted_out() -> None:
    """Three tokens, two places, all nine samples: the mean of the samples' gradients is that of the mean reward."""
    torch.manual_seed(0)
    first = torch.randn(3, dtype=torch.float64, requires_grad=True)
    second = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    texts = torch.tensor(list(product(range(3), repeat=2)))
    rewards = torch.rand(9, dtype=torch.float64)

    def log_probs() -> Tensor:
        return torch.stack((first.log_softmax(-1)[texts[:, 0]], second.log_softmax(-1)[texts[:, 0], texts[:, 1]]), -1)

    exact = torch.autograd.grad(-(log_probs().sum(-1).exp() * rewards).sum(), (first, second))
    mask = torch.ones(9, 2).bool()
    for policy in POLICIES.values():
        logp = log_probs()
        drawn = logp.detach().sum(-1).exp()  # how often each text is sampled
        baseline = (drawn * rewards).sum()
        losses = policy_loss(logp, logp.detach(), rewards - baseline, mask, policy)
        found = torch.autograd.grad((drawn[:, None] * losses).sum(), (first, second))
        torch.testing.assert_close(found, exact)
