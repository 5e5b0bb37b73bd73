"""The whole objective against a plain one: sample, score, and the gradient of −A · log p, all by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForSeq2SeqLM, MarianConfig, T5Config

from forge.config.schema import RL
from forge.core.errors import CheckpointError
from forge.core.events import Notice, Sampled
from forge.models.head import find_head
from forge.objectives.rl.judge import Asked, Judge
from forge.objectives.rl.objective import GRPO, with_row_numbers
from forge.objectives.rl.reference import Reference
from forge.objectives.rl.rolling import Roller
from forge.objectives.rl.rules import rules_of
from forge.objectives.rl.samples import decoder_inputs
from forge.objectives.rl.sampling import EncoderDecoder
from forge.tasks.base import IGNORED_LABEL
from forge.tasks.rewards.base import Reward, Sample

V, END, PAD, LONGEST = 24, 1, 0, 6
ENDS = frozenset({END, 7, 8, 9})
SMALL = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2}
SMALL |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "init_std": 0.5}
CONFIGS = {
    "marian": lambda: MarianConfig(
        vocab_size=V, pad_token_id=PAD, eos_token_id=END, decoder_start_token_id=PAD, dropout=0.3, **SMALL
    ),
    "t5": lambda: T5Config(
        vocab_size=V, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=PAD
    ),
}


def even(samples: Sequence[Sample]) -> list[float | None]:
    """The share of even tokens: an output is its tokens' numbers."""
    numbers = [[int(word) for word in sample.output.split()] for sample in samples]
    return [sum(number % 2 == 0 for number in one) / len(one) for one in numbers]


def make(name: str, seed: int = 3) -> Any:
    torch.manual_seed(seed)
    return AutoModelForSeq2SeqLM.from_config(CONFIGS[name]())


def objective_of(
    model: Any, reward: Reward = even, reference: Reference | None = None, alpha: float = 0.0, **rl: Any
) -> GRPO:
    chosen = RL.model_validate({"samples": 4, "rewards": {"even": {"plugin": "x.py:even"}}} | rl)
    judge = Judge(
        {"even": reward} if chosen.rewards else {},
        {"even": 1.0} if chosen.rewards else {},
        {},
        lambda ids: [" ".join(map(str, one)) for one in ids],
        lambda rows: [Asked(f"prompt {row}", None) for row in rows],
    )
    sampler = EncoderDecoder(rules_of(model, chosen.temperature), ENDS, PAD, PAD, chosen.samples, LONGEST)
    return GRPO(Roller(chosen, sampler, judge, 1, find_head(model), reference), alpha)


def batch_of(rows: Sequence[int]) -> dict[str, Tensor]:
    ids = torch.tensor([[3 + (row * 5 + place) % 20 for place in range(5)] for row in rows])
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids.clone()}
    batch["attention_mask"][:, 4] = torch.tensor([row % 2 for row in rows])
    with_row_numbers(batch, np.asarray(rows))
    return batch


def gradients(model: Any, objective: GRPO, cut: Sequence[Sequence[int]], step: int = 0) -> tuple[float, list[Tensor]]:
    """The loss of a step in these micro-batches, and its gradient."""
    made = objective.gather(model, [(place, batch_of(rows)) for place, rows in enumerate(cut)], step)
    totals: dict[str, float] = {}
    for _, batch in made:
        for name, count in objective.counts(batch).items():
            totals[name] = totals.get(name, 0.0) + count
    model.zero_grad()
    loss = 0.0
    for _, batch in made:
        share = objective.compute(model, batch, totals).loss
        share.backward()
        loss += float(share.detach())
    return loss, [p.grad.clone() for p in model.parameters() if p.grad is not None]


def by_hand(model: Any, objective: GRPO, rows: Sequence[int], beta: float = 0.0, start: Any = None) -> list[Tensor]:
    """−Σ A · log p / tokens over the same samples, each sample in a pass of its own, advantages from the paper."""
    rollout = objective._rollout
    assert rollout is not None
    model.zero_grad()
    total, tokens = torch.zeros(()), 0
    for place, row in enumerate(rows):
        scores, ids = [], []
        for sample in rollout.tokens_BGT[place].tolist():
            length = next((at + 1 for at, token in enumerate(sample) if token in ENDS), LONGEST)
            ids.append(sample[:length])
            scores.append(sum(token % 2 == 0 for token in ids[-1]) / length)
        spread = torch.tensor(scores).std()
        for one, score in zip(ids, scores, strict=True):
            advantage = (score - sum(scores) / 4) / (spread + 1e-4)
            if objective.chosen.mask_truncated and one[-1] not in ENDS:  # cut off: not learned from
                continue
            batch, tokens_1T = batch_of([row]), torch.tensor([one])
            inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
            inputs["decoder_input_ids"] = decoder_inputs(tokens_1T, PAD)
            logits = model(**inputs).logits[0].index_fill(-1, torch.tensor([PAD]), -torch.inf)
            logp_T = logits.log_softmax(-1).gather(-1, tokens_1T[0, :, None])[:, 0]
            total = total - advantage * logp_T.sum()
            if start is not None:
                with torch.no_grad():
                    its = start(**inputs).logits[0].index_fill(-1, torch.tensor([PAD]), -torch.inf)
                    its_T = its.log_softmax(-1).gather(-1, tokens_1T[0, :, None])[:, 0]
                total = total + beta * (torch.exp(its_T - logp_T) - (its_T - logp_T) - 1).sum()
            tokens += len(one)
    (total / tokens).backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("cut", [[[0, 1, 2, 3]], [[2], [0, 3], [1]]])
@pytest.mark.parametrize("masked", [False, True])
def test_the_gradient_is_that_of_the_paper(name: str, cut: list[list[int]], masked: bool) -> None:
    model = make(name)
    objective = objective_of(model, mask_truncated=masked)
    _, found = gradients(model, objective, cut)
    expected = by_hand(model, objective, range(4))
    assert max(float(value.abs().max()) for value in expected) > 1e-3
    for mine, its in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, its, atol=1e-6, rtol=1e-4)


def test_so_it_is_with_a_pull_to_the_start() -> None:
    start, model = make("marian").eval(), make("marian")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    reference = Reference(start, find_head(start))
    objective = objective_of(model, reference=reference, kl={"beta": 0.3})
    _, found = gradients(model, objective, [[0, 1], [2, 3]])
    for mine, its in zip(found, by_hand(model, objective, range(4), 0.3, start), strict=True):
        torch.testing.assert_close(mine, its, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("loss", ["grpo", "gspo", "cispo"])
def test_steps_of_one_rollout_look_at_the_same_samples(loss: str) -> None:
    model = make("marian")
    objective = objective_of(model, updates=2, loss=loss)
    first, gradient = gradients(model, objective, [[0, 1, 2, 3]])
    tokens = objective._rollout.tokens_BGT.clone()
    again, same = gradients(model, objective, [[0, 1, 2, 3]], step=1)  # nothing was updated between: the ratio is 1
    assert torch.equal(objective._rollout.tokens_BGT, tokens)
    assert again == pytest.approx(first, abs=1e-6)
    for mine, its in zip(gradient, same, strict=True):
        torch.testing.assert_close(mine, its, atol=1e-6, rtol=1e-4)
    gradients(model, objective, [[0, 1, 2, 3]], step=2)
    assert not torch.equal(objective._rollout.tokens_BGT[..., :2], tokens[..., :2])


def test_an_empty_micro_batch_counts_for_nothing_and_reaches_every_weight() -> None:
    model = make("marian")
    alone, expected = gradients(model, objective_of(model), [[0, 1]])
    objective = objective_of(model)
    filler = batch_of([0])
    filler["labels"].fill_(IGNORED_LABEL)
    made = objective.gather(model, [(0, batch_of([0, 1])), (1, filler)], 0)
    counts = [objective.counts(batch) for _, batch in made]
    assert set(counts[1].values()) == {0.0}
    model.zero_grad()
    loss = sum(objective.compute(model, batch, counts[0]).loss for _, batch in made)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(alone, abs=1e-6)
    found = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    for mine, its in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, its, atol=1e-6, rtol=1e-4)


def test_remarks_come_once_and_survive_a_checkpoint() -> None:
    def fails(samples: Sequence[Sample]) -> list[float | None]:
        if any("21" in sample.output for sample in samples):
            raise RuntimeError("no such")
        return even(samples)

    model = make("marian")
    before, after = (objective_of(model, fails, updates=3) for _ in range(2))
    gradients(model, before, [[0, 1, 2, 3]])
    said = before.remarks()
    assert [type(event) for event in said.events[:2]] == [Sampled, Notice]
    assert "reward even failed on" in said.events[1].text
    assert said.events[0].step == 1
    assert [group["prompt"] for group in said.events[0].groups] == [f"prompt {row}" for row in range(4)]
    after.load_state(before.state())
    after.load_tensors(before.tensors())
    for objective in (before, after):
        assert objective.remarks().events == ()
        assert objective.remarks().figures == said.figures
    found, expected = (gradients(model, objective, [[0, 1], [2, 3]], step=1)[1] for objective in (after, before))
    assert all(torch.equal(mine, its) for mine, its in zip(found, expected, strict=True))
    with pytest.raises(CheckpointError, match="lacks the samples"):
        gradients(model, objective_of(model, updates=3), [[0]], step=1)


def test_a_metric_that_falls_while_the_reward_rises_is_an_alarm() -> None:
    model = make("marian")
    objective = objective_of(model, guards={"held_out": {"warn": 1, "stop": 2}})
    assert not objective.measured("bleu", 60.0).events  # of the start, whose reward is not known yet
    gradients(model, objective, [[0, 1, 2, 3]])
    objective.remarks()
    assert not objective.measured("bleu", 60.0).events
    for metric, rises, level in ((55.0, 0.1, "warning"), (54.0, 0.2, "stop")):
        objective._since = [objective._held_out._best[1] + rises, 1]
        said = objective.measured("bleu", metric)
        assert "while bleu, which is not in it, went from 60 to" in said.events[0].text
        assert bool(said.stop) == (level == "stop")
