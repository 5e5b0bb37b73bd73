"""Twenty optimizer steps beside TRL's own GRPOTrainer: the same model, the same completions, the same weights after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from forge.config.schema import RL
from forge.models.head import find_head
from forge.objectives.rl.decoder_only import DecoderOnly
from forge.objectives.rl.drawing import Written
from forge.objectives.rl.judge import Asked, Judge
from forge.objectives.rl.objective import GRPO, with_row_numbers
from forge.objectives.rl.reference import Reference
from forge.objectives.rl.rolling import Roller
from forge.objectives.rl.rules import Rules
from forge.tasks.rewards.base import Sample

pytestmark = pytest.mark.slow
V, PAD, END, SAMPLES, LONGEST, PROMPTS, STEPS = 24, 0, 1, 4, 6, 3, 20
RATE = 1e-3
PROMPT = [[5, 6, 7, 8, 9], [10, 11], [12, 13, 14]]


def model_of(folder: Path) -> Path:
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=V, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, initializer_range=0.3, pad_token_id=PAD, eos_token_id=END, bos_token_id=2,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def completions(rollout: int) -> list[list[int]]:
    """Of each prompt's samples; some end, some are cut off."""
    generator = torch.Generator().manual_seed(rollout)
    found = []
    for _ in range(PROMPTS * SAMPLES):
        length = int(torch.randint(1, LONGEST + 1, (1,), generator=generator))
        ids = torch.randint(3, V, (length,), generator=generator).tolist()
        found.append(ids if length == LONGEST else [*ids, END])
    return found


def even(ids: Sequence[int]) -> float:
    return sum(token % 2 == 0 for token in ids) / len(ids)


@dataclass(frozen=True)
class Told:
    """A sampler that samples what it is told; everything else is the real one."""

    real: DecoderOnly
    tokens: list[list[int]]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def sample(self, *_: Any) -> Written:
        longest = max(map(len, self.tokens))
        tokens_NT = torch.tensor([[*ids, *[PAD] * (longest - len(ids))] for ids in self.tokens])
        nothing_NT = torch.zeros(tokens_NT.shape)
        return Written(tokens_NT, nothing_NT, nothing_NT)


def ours(folder: Path, **rl: Any) -> dict[str, Tensor]:
    model, start = (AutoModelForCausalLM.from_pretrained(folder).eval() for _ in range(2))
    chosen = RL.model_validate({"samples": SAMPLES, "rewards": {"even": {"plugin": "x.py:even"}}} | rl)

    def reward(samples: Sequence[Sample]) -> list[float | None]:
        return [even([int(word) for word in one.output.split()]) for one in samples]

    judge = Judge(
        {"even": reward}, {"even": 1.0}, {}, lambda ids: [" ".join(map(str, one)) for one in ids],
        lambda rows: [Asked("", None) for _ in rows],
    )  # fmt: skip
    real = DecoderOnly(Rules(chosen.temperature), frozenset({END}), PAD, SAMPLES, LONGEST)
    reference = Reference(start, find_head(start)) if chosen.kl.beta else None
    roller = Roller(chosen, Told(real, []), judge, 1, find_head(model), reference)
    objective = GRPO(roller)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
    longest = max(map(len, PROMPT))
    ids = torch.tensor([[PAD] * (longest - len(one)) + one for one in PROMPT])
    for step in range(STEPS):
        objective.roller = replace(roller, sampler=Told(real, completions(step // chosen.updates)))
        batch = {"input_ids": ids, "attention_mask": (ids != PAD).long(), "labels": ids}
        with_row_numbers(batch, np.arange(PROMPTS))
        ((_, made),) = objective.gather(model, [(0, batch)], step)
        objective.compute(model, made, objective.counts(made)).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return {name: value.detach() for name, value in model.named_parameters()}


def theirs(folder: Path, work: Path, **settings: Any) -> dict[str, Tensor]:
    trl = pytest.importorskip("trl", reason="TRL is a test extra: pip install trl==1.16.0")
    words = {f"t{token}": token for token in range(V)}
    tokenizer: Any = Tokenizer(models.WordLevel(words, unk_token="t3"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="t0", eos_token="t1", unk_token="t3", padding_side="left"
    )
    prompts = [" ".join(f"t{token}" for token in one) for one in PROMPT]
    rollouts: list[int] = []

    def told(asked: list[str], _: Any) -> dict[str, Any]:
        assert asked == [one for one in prompts for _ in range(SAMPLES)]
        found = completions(len(rollouts))
        rollouts.append(len(rollouts))
        read = [ids for ids in PROMPT for _ in range(SAMPLES)]
        return {"prompt_ids": read, "completion_ids": found, "logprobs": [[0.0] * len(ids) for ids in found]}

    def reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
        return [even(ids) for ids in completion_ids]

    arguments = trl.GRPOConfig(
        output_dir=str(work), per_device_train_batch_size=PROMPTS * SAMPLES, num_generations=SAMPLES, max_steps=STEPS,
        gradient_accumulation_steps=1, steps_per_generation=1, max_completion_length=LONGEST, learning_rate=RATE,
        lr_scheduler_type="constant", weight_decay=0.0, max_grad_norm=1.0, shuffle_dataset=False, save_strategy="no",
        report_to=[], use_cpu=True, disable_tqdm=True, bf16=False, gradient_checkpointing=False, logging_strategy="no",
        **settings,
    )  # fmt: skip
    trainer = trl.GRPOTrainer(
        model=str(folder), reward_funcs=reward, args=arguments, processing_class=fast,
        train_dataset=Dataset.from_dict({"prompt": prompts}), rollout_func=told,
    )  # fmt: skip
    trainer.train()
    assert len(rollouts) == STEPS // settings.get("num_iterations", 1)
    return {name: value.detach() for name, value in trainer.model.named_parameters()}


@pytest.mark.parametrize(
    ("mine", "its"),
    [
        ({"mask_truncated": False}, {"loss_type": "dapo", "epsilon_high": 0.28}),
        (
            {"normaliser": "grpo", "updates": 2, "temperature": 0.8, "kl": {"beta": 0.1}, "mask_truncated": True},
            {
                "loss_type": "grpo", "num_iterations": 2, "temperature": 0.8, "beta": 0.1, "epsilon_high": 0.28,
                "use_bias_correction_kl": False,
                "mask_truncated_completions": True,
            },
        ),
        (
            {"normaliser": "dr_grpo", "updates": 4, "advantages": {"scale": "none"}, "mask_truncated": False},
            {"loss_type": "dr_grpo", "num_iterations": 4, "scale_rewards": "none", "epsilon_high": 0.28},
        ),
    ],
    ids=["dapo", "grpo twice, pulled back", "dr_grpo four times"],
)  # fmt: skip
def test_weights_after_twenty_steps_are_those_of_trl(tmp_path: Path, mine: Any, its: Any) -> None:
    folder = model_of(tmp_path / "model")
    expected = theirs(folder, tmp_path / "trl", **its)
    found = ours(folder, **mine)
    start = dict(AutoModelForCausalLM.from_pretrained(folder).named_parameters())
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert (value - start[name]).abs().max() > 1e-3  # it did learn
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=0)
