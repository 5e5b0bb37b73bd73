"""Sampling from tiny decoders alone, some of which see: what is drawn is what is learned, in any company."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from one_distribution import assert_one_distribution
from torch import Tensor
from toy_decoders import KINDS, LONGEST, PAD, SAMPLES, SEEING, TEXT, Toy, V, make, page, text_batch

from forge.config.schema import RL
from forge.core.errors import UserError
from forge.models.head import find_head
from forge.models.prompt_once import ReadPrompts
from forge.objectives.rl.drawing import Written, uniforms
from forge.objectives.rl.judge import Asked, Judge
from forge.objectives.rl.objective import GRPO, with_row_numbers
from forge.objectives.rl.rolling import Roller

ROWS = range(4)


def sample(toy: Toy, sampler: Any, rows: Sequence[int], rollout: int = 0) -> Written:
    drawn = uniforms(1, rollout, list(rows), sampler.samples, sampler.longest)
    return sampler.sample(toy.model, toy.batch(rows), drawn)


def same(one: Tensor, other: Tensor) -> bool:
    """Whether the tokens are, beside padding."""
    shared = min(one.shape[1], other.shape[1])
    rest = torch.cat((one[:, shared:], other[:, shared:]), 1)
    return torch.equal(one[:, :shared], other[:, :shared]) and not bool((rest != PAD).any())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_teacher_forcing_finds_the_probabilities_of_sampling(kind: str, temperature: float) -> None:
    toy = make(kind)
    sampler, batch = toy.sampler(temperature=temperature), toy.batch(ROWS)
    written = sample(toy, sampler, ROWS)
    mask_NT, ended_N = sampler.mask(written.tokens_NT)
    assert int(ended_N.sum()) > 0
    assert len(set(mask_NT.sum(-1).tolist())) > 2
    assert len({tuple(row) for row in written.tokens_NT.tolist()}) > 6
    assert not (written.tokens_NT[mask_NT] == PAD).any()
    assert_one_distribution(toy.model, sampler, batch, written)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_distribution_of_a_plain_forward_pass(kind: str) -> None:
    """By hand: each sample alone, unpadded, the prompt with it in one pass, without a cache or a head taken out."""
    toy = make(kind)
    sampler = toy.sampler()
    written = sample(toy, sampler, ROWS)
    lengths_N = sampler.mask(written.tokens_NT)[0].sum(-1).tolist()
    for place, length in enumerate(lengths_N):
        tokens = written.tokens_NT[place, :length].tolist()
        with torch.no_grad():
            logits_TV, first = toy.whole(place // SAMPLES, tokens)
        logits_tV = logits_TV[first : first + length].clone()
        logits_tV[:, list(sampler.rules.forbidden)] = -torch.inf
        logp_t = logits_tV.log_softmax(-1).gather(-1, torch.tensor(tokens)[:, None])[:, 0]
        torch.testing.assert_close(written.logp_NT[place, :length], logp_t, atol=1e-5, rtol=0)
        assert not written.logp_NT[place, length:].any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_is_the_same_in_any_company(kind: str) -> None:
    toy = make(kind)
    sampler = toy.sampler()
    together = sample(toy, sampler, ROWS).tokens_NT
    for row in ROWS:
        assert same(sample(toy, sampler, [row]).tokens_NT, together[row * SAMPLES : (row + 1) * SAMPLES])
    turned = sample(toy, sampler, [2, 0]).tokens_NT
    assert same(turned, together[[6, 7, 8, 0, 1, 2]])
    assert not same(sample(toy, sampler, ROWS, rollout=1).tokens_NT, together)


@pytest.mark.parametrize("kind", TEXT)
def test_padding_on_the_left_changes_nothing(kind: str) -> None:
    toy = make(kind)
    sampler, drawn = toy.sampler(), uniforms(1, 0, list(ROWS), SAMPLES, LONGEST)
    plain, padded = (sampler.sample(toy.model, text_batch(ROWS, extra), drawn) for extra in (0, 5))
    assert torch.equal(plain.tokens_NT, padded.tokens_NT)
    torch.testing.assert_close(plain.logp_NT, padded.logp_NT, atol=1e-5, rtol=0)
    found = sampler.log_probs(toy.model, None, text_batch(ROWS, 5), plain.tokens_NT)
    torch.testing.assert_close(found, plain.logp_NT, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", SEEING)
def test_answers_behind_a_prompt_are_not_read(kind: str) -> None:
    toy = make(kind)
    sampler, drawn = toy.sampler(), uniforms(1, 0, list(ROWS), SAMPLES, LONGEST)
    alone = toy.form().collate([page(row) for row in ROWS], None)
    found = sampler.sample(toy.model, alone, drawn)
    assert torch.equal(found.tokens_NT, sample(toy, sampler, ROWS).tokens_NT)


@pytest.mark.parametrize("kind", SEEING)
def test_each_prompt_is_read_and_each_image_is_seen_once(kind: str) -> None:
    toy = make(kind)
    sampler, batch, head = toy.sampler(), toy.batch(ROWS), find_head(toy.model)
    modules = dict(toy.model.named_modules())
    eye = next(name for name in modules if name.endswith(("patch_embedding", "patch_embed", "patch_conv")))
    layer = next(modules[name] for name in modules if name.endswith("mlp.down_proj") and "vis" not in name)
    seen: list[int] = []
    tokens: list[int] = []
    hooks = [
        modules[eye].register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0]))),
        layer.register_forward_pre_hook(lambda _, inputs: tokens.append(inputs[0].shape[:2].numel())),
    ]
    toy.model(**{name: batch[name] for name in batch if name not in {"labels", "prompt_tokens"}})
    (once,) = seen
    tokens.clear()
    seen.clear()
    written = sample(toy, sampler, ROWS)
    longest = int(batch["prompt_tokens"].max())
    assert seen == [once]
    assert tokens[0] == 4 * longest
    assert max(tokens[1:]) <= 4 * SAMPLES
    tokens.clear()
    seen.clear()
    sampler.rows(toy.model, head, batch, written.tokens_NT).states_BTX.sum().backward()
    assert seen == [once]
    assert tokens == [4 * longest, 4 * SAMPLES * (written.tokens_NT.shape[1] - 1)]
    for hook in hooks:
        hook.remove()


def test_rows_leave_when_they_end() -> None:
    toy, rows = make("llama"), []
    sampler = toy.sampler()
    hook = toy.model.lm_head.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    written = sample(toy, sampler, ROWS)
    hook.remove()
    ended_N = torch.isin(written.tokens_NT[:, 0], torch.tensor(sorted(sampler.ends)))
    assert rows[:2] == [4, 12 - int(ended_N.sum())]
    assert rows[1:] == sorted(rows[1:], reverse=True)
    assert rows[-1] < rows[1] < 12
    assert len(rows) == written.tokens_NT.shape[1]


@pytest.mark.parametrize("kind", ["llama", "qwen2_vl"])
def test_one_token_is_a_sample_too(kind: str) -> None:
    toy = make(kind)
    sampler = toy.sampler(longest=1)
    written = sample(toy, sampler, ROWS)
    assert written.tokens_NT.shape == (12, 1)
    for head in (None, find_head(toy.model)):
        found = sampler.log_probs(toy.model, head, toy.batch(ROWS), written.tokens_NT)
        torch.testing.assert_close(found, written.logp_NT, atol=1e-5, rtol=0)


def test_sampling_follows_the_model() -> None:
    """First tokens are as frequent as they are likely, under a temperature and with a token that is forbidden."""
    toy = make("llama")
    sampler = toy.sampler(4_000, 1, temperature=0.8, forbidden=[5])
    written = sample(toy, sampler, [1])
    with torch.no_grad():
        logits_V = toy.whole(1, [])[0][-1] / 0.8
    logits_V[[PAD, 5]] = -torch.inf
    share_V = torch.bincount(written.tokens_NT[:, 0], minlength=V) / 4_000
    assert (share_V - logits_V.softmax(-1)).abs().max() < 0.03
    assert not share_V[[PAD, 5]].any()


def test_a_model_that_remembers_otherwise_is_refused_in_one_line() -> None:
    from transformers import FalconMambaConfig, FalconMambaForCausalLM

    config = FalconMambaConfig(
        vocab_size=V, hidden_size=16, state_size=4, num_hidden_layers=1, intermediate_size=16, eos_token_id=1
    )
    with pytest.raises(UserError, match=r"model.name: .*LinearAttentionLayer.* cannot be shared"):
        ReadPrompts(FalconMambaForCausalLM(config).eval(), text_batch(ROWS), SAMPLES)


# The objective


def even(samples: Sequence[Any]) -> list[float | None]:
    """The share of even tokens: an output is its tokens' numbers."""
    numbers = [[int(word) for word in one.output.split()] for one in samples]
    return [sum(number % 2 == 0 for number in one) / len(one) for one in numbers]


def objective_of(toy: Toy, **rl: Any) -> GRPO:
    chosen = RL.model_validate(
        {"samples": SAMPLES, "mask_truncated": False, "rewards": {"even": {"plugin": "x.py:even"}}} | rl
    )
    judge = Judge(
        {"even": even}, {"even": 1.0}, {}, lambda ids: [" ".join(map(str, one)) for one in ids],
        lambda rows: [Asked(f"prompt {row}", None) for row in rows],
    )  # fmt: skip
    sampler = toy.sampler(temperature=chosen.temperature)
    return GRPO(Roller(chosen, sampler, judge, 1, find_head(toy.model)))


def gradients(
    toy: Toy, objective: GRPO, cut: Sequence[Sequence[int]]
) -> tuple[dict[str, float], dict[str, Tensor], Any]:
    """(parts, gradient, batches) of a step in these micro-batches."""
    batches = [(place, toy.batch(rows)) for place, rows in enumerate(cut)]
    for (_, batch), rows in zip(batches, cut, strict=True):
        with_row_numbers(batch, np.asarray(rows))
    made = objective.gather(toy.model, batches, 0)
    totals: dict[str, float] = {}
    for _, batch in made:
        for name, count in objective.counts(batch).items():
            totals[name] = totals.get(name, 0.0) + count
    toy.model.zero_grad()
    parts: dict[str, float] = {}
    for _, batch in made:
        report = objective.compute(toy.model, batch, totals)
        report.loss.backward()
        for name, value in report.parts.items():
            parts[name] = parts.get(name, 0.0) + float(value)
    return parts, {name: p.grad.clone() for name, p in toy.model.named_parameters() if p.grad is not None}, made


@pytest.mark.parametrize("kind", ["llama", "gpt2", "idefics3", "qwen2_vl"])
def test_the_ratio_of_the_first_update_is_1_and_tokens_are_counted_once(kind: str) -> None:
    toy = make(kind)
    objective = objective_of(toy, updates=2, temperature=0.8)
    parts, _, made = gradients(toy, objective, [[0, 1], [3, 2]])
    assert parts["ratio"] == pytest.approx(1.0, abs=1e-6)
    assert parts["clipped"] == 0.0
    prompts = [int((toy.batch([row])["attention_mask"]).sum()) for row in ROWS]
    if toy.processor is not None:
        prompts = [int(toy.batch([row])["prompt_tokens"]) for row in ROWS]
    assert sum(int(batch["attention_mask"].sum()) for _, batch in made) == sum(prompts)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mistral", "idefics3", "qwen2_vl", "lighton_ocr"])
@pytest.mark.parametrize("cut", [[[0, 1, 2, 3]], [[2], [0, 3], [1]]])
def test_the_gradient_is_that_of_the_paper(kind: str, cut: list[list[int]]) -> None:
    """−Σ A · log p / tokens, each sample in a pass of its own with its prompt; images and prompts learn as well."""
    toy = make(kind)
    objective = objective_of(toy)
    _, found, _ = gradients(toy, objective, cut)
    rollout = objective._rollout
    assert rollout is not None
    toy.model.zero_grad()
    total, tokens = torch.zeros(()), 0
    lengths = objective.sampler.mask(rollout.tokens_BGT.flatten(0, 1))[0].sum(-1).view(4, SAMPLES)
    for row in ROWS:
        ids = [
            one[:length] for one, length in zip(rollout.tokens_BGT[row].tolist(), lengths[row].tolist(), strict=True)
        ]
        scores = torch.tensor([sum(token % 2 == 0 for token in one) / len(one) for one in ids])
        for one, advantage in zip(ids, (scores - scores.mean()) / (scores.std() + 1e-4), strict=True):
            logits_TV, first = toy.whole(row, one)
            free_tV = logits_TV[first : first + len(one)].index_fill(
                -1, torch.tensor(objective.sampler.rules.forbidden), -torch.inf
            )
            total = total - advantage * free_tV.log_softmax(-1).gather(-1, torch.tensor(one)[:, None]).sum()
            tokens += len(one)
    (total / tokens).backward()
    expected = {name: p.grad for name, p in toy.model.named_parameters() if p.grad is not None}
    assert expected.keys() == found.keys()
    assert max(float(value.abs().max()) for value in expected.values()) > 1e-3
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=2e-6, rtol=1e-3)


@pytest.mark.parametrize("kind", ["llama", "qwen2_vl"])
def test_halved_precision_is_that_of_both_passes(kind: str) -> None:
    toy = make(kind)
    sampler, head = toy.sampler(), find_head(toy.model)
    with torch.autocast("cpu", torch.bfloat16):
        written = sample(toy, sampler, ROWS)
        found_NT = sampler.log_probs(toy.model, head, toy.batch(ROWS), written.tokens_NT)
        rows = sampler.rows(toy.model, head, toy.batch(ROWS), written.tokens_NT)
    rows.states_BTX.float().square().sum().backward()
    assert all(p.grad.isfinite().all() for p in toy.model.parameters() if p.grad is not None)
    assert (found_NT - written.logp_NT).abs().max() < 0.2
    assert (found_NT - written.logp_NT).abs().mean() < 0.02
