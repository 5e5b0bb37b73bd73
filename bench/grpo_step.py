"""Samples a second of GRPO steps of a decoder: Forge against TRL's `GRPOTrainer`.

A step samples, scores and updates. Same new Llama (4 layers, width 192, vocabulary 32,000, tied), same tokenizer, 4 prompts of 8 to
64 tokens a step, 8 samples of at most 64 new tokens each, temperature 1, DAPO's normaliser, no KL, one update a rollout, fused
AdamW, clipping at 1, fp32, SDPA, one thread. Both write the samples as text, and one function scores the text. Neither logs or
saves. TRL samples with transformers' `generate` (no vLLM); bf16 and gradient checkpointing, which its defaults turn on, are off:
here they would slow it down. Forge's side is its sampler, objective, engine and updater. Sides run in turn in one process, each
from the same weights, and the first step of each is left out.

TRL computes log-probabilities with a head of its own, which is made for GPUs: on a CPU it scores prompts too, a large tile at a
time. A third side has TRL's trainer make the logits of the samples at once instead, with its own `selective_log_softmax` and
`entropy_from_logits`, as earlier releases did; it says how much of the difference is that head.

Two kinds of texts: those that no sample ends before the limit, and those in which one token of 24 is an end, so that lengths
differ as those of a trained model do.

    python -m bench.grpo_step

`--quick` measures less; its figures are a check that the benchmark works.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, TrainerCallback

from bench.kd_case import shown
from bench.machine import write_table
from forge import assemble
from forge.config.schema import RL, Train
from forge.models.head import find_head
from forge.objectives.rl.decoder_only import DecoderOnly
from forge.objectives.rl.judge import Asked, Judge
from forge.objectives.rl.objective import GRPO, with_row_numbers
from forge.objectives.rl.rolling import Roller
from forge.objectives.rl.rules import rules_of
from forge.tasks.base import Batch
from forge.tasks.rewards.base import Sample
from forge.tasks.written import end_tokens
from forge.train.engine import Engine
from forge.train.optim import build_optimizer
from forge.train.step import Updater
from forge.train.stream import Cursor, StepBatches

PAD, END, RATE = 0, 1, 1e-4
STEPS, ROUNDS = 2, 3


@dataclass(frozen=True)
class Case:
    """What is sampled and learned from. Of `ending` tokens one ends a text; 0 is none but one in the vocabulary."""

    name: str
    ending: int = 0
    width: int = 192
    layers: int = 4
    vocabulary: int = 32_000
    prompts: int = 4
    samples: int = 8
    longest: int = 64
    most_read: int = 64

    def model(self) -> Any:
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=self.vocabulary, hidden_size=self.width, intermediate_size=self.width * 8 // 3,
            num_hidden_layers=self.layers, num_attention_heads=6, num_key_value_heads=6, tie_word_embeddings=True,
            pad_token_id=PAD, eos_token_id=END, bos_token_id=2, max_position_embeddings=256,
        )  # fmt: skip
        model = LlamaForCausalLM(config)
        if self.ending:
            model.generation_config.eos_token_id = [END, *range(self.ending, self.vocabulary, self.ending)]
        return model

    def tokenizer(self) -> Any:
        """A word a token; words are their numbers."""
        words = {str(token): token for token in range(self.vocabulary)}
        made: Any = Tokenizer(models.WordLevel(words, unk_token="3"))
        made.pre_tokenizer = pre_tokenizers.Whitespace()
        return PreTrainedTokenizerFast(
            tokenizer_object=made, pad_token="0", eos_token="1", unk_token="3", padding_side="left"
        )

    def texts(self) -> list[str]:
        """Prompts of a step, the same at each: 8 to 64 tokens, evenly."""
        draw = np.random.default_rng(0)
        lengths = np.linspace(8, self.most_read, self.prompts).astype(int)
        return [" ".join(map(str, draw.integers(3, self.vocabulary, length))) for length in lengths]


CASES = (Case("to the limit"), Case("that end", ending=24))


@dataclass
class Measured:
    """Of the timed steps."""

    seconds: float  # of the CPU
    sampling: float  # of these
    tokens: float  # a sample


def even(texts: Sequence[str]) -> list[float]:
    """The share of even words."""
    return [sum(int(word) % 2 == 0 for word in words) / max(1, len(words)) for words in map(str.split, texts)]


def forge_side(case: Case, model: Any, steps: int) -> Measured:
    model, tokenizer, prompts = copy.deepcopy(model), case.tokenizer(), case.texts()

    def reward(samples: Sequence[Sample]) -> list[float | None]:
        return list(even([sample.output for sample in samples]))

    chosen = RL.model_validate(
        {"samples": case.samples, "mask_truncated": False, "rewards": {"even": {"plugin": "x.py:even"}}}
    )
    ends = frozenset(end_tokens(model))
    sampler = DecoderOnly(rules_of(model), ends, PAD, case.samples, case.longest)
    judge = Judge(
        {"even": reward}, {"even": 1.0}, {}, lambda ids: tokenizer.batch_decode(ids, skip_special_tokens=True),
        lambda rows: [Asked(prompts[row], None) for row in rows],
    )  # fmt: skip
    objective = GRPO(Roller(chosen, sampler, judge, 1, find_head(model)))
    train = Train.model_validate({"learning_rate": RATE, "weight_decay": 0.0, "max_grad_norm": 1.0})
    engine = Engine(Accelerator(cpu=True), model, build_optimizer(model, train), objective, train)
    updater, spent, lengths = Updater(engine, 0), [], []
    start = 0.0
    for step in range(steps):
        if step == 1:
            start = time.process_time()
        began = time.process_time()
        read = StepBatches(Cursor(step, 0), 0.0, case.prompts, [(0, _batch(tokenizer, prompts))])
        batches = updater.gather(read, step)
        spent.append(time.process_time() - began)
        updater.update(batches, updater.count(batches), step, RATE)
        lengths.append(objective.remarks().figures["length"])
    return Measured(time.process_time() - start, sum(spent[1:]), statistics.mean(lengths[1:]))


def _batch(tokenizer: Any, prompts: list[str]) -> Batch:
    read = tokenizer(prompts, padding=True, return_tensors="pt")
    batch = {"input_ids": read["input_ids"], "attention_mask": read["attention_mask"], "labels": read["input_ids"]}
    with_row_numbers(batch, np.arange(len(prompts)))
    return batch


def trl_side(case: Case, model: Any, steps: int, fused: bool = True) -> Measured:
    import trl
    from trl.trainer.utils import entropy_from_logits, selective_log_softmax

    marks: list[float] = []
    spent: list[float] = []
    lengths: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            marks.append(time.process_time())

    class Timed(trl.GRPOTrainer):  # type: ignore[misc]
        def _generate(self, *asked: Any) -> Any:
            began = time.process_time()
            found = super()._generate(*asked)
            spent.append(time.process_time() - began)
            lengths.append(statistics.mean(map(len, found[1])))
            return found

        def _get_per_token_logps_and_entropies(
            self, model: Any, input_ids: Any, attention_mask: Any, logits_to_keep: int, *asked: Any, **named: Any
        ) -> Any:
            if fused:
                inputs = (model, input_ids, attention_mask, logits_to_keep)
                return super()._get_per_token_logps_and_entropies(*inputs, *asked, **named)
            read = {"input_ids": input_ids, "attention_mask": attention_mask, "use_cache": False}
            logits = model(**read, logits_to_keep=logits_to_keep + 1).logits[:, :-1]
            with torch.no_grad():
                entropies = entropy_from_logits(logits)
            return selective_log_softmax(logits, input_ids[:, -logits_to_keep:]), entropies, None

    def reward(completions: list[str], **_: Any) -> list[float]:
        return even(completions)

    with tempfile.TemporaryDirectory() as folder:
        arguments = trl.GRPOConfig(
            output_dir=folder, per_device_train_batch_size=case.prompts * case.samples, num_generations=case.samples,
            max_steps=steps, gradient_accumulation_steps=1, max_completion_length=case.longest, learning_rate=RATE,
            lr_scheduler_type="constant", weight_decay=0.0, max_grad_norm=1.0, beta=0.0, loss_type="dapo", epsilon_high=0.28, optim="adamw_torch_fused", shuffle_dataset=False, bf16=False,
            gradient_checkpointing=False, save_strategy="no", logging_strategy="no", report_to=[], use_cpu=True,
            disable_tqdm=True, dataloader_pin_memory=False,
        )  # fmt: skip
        Timed(
            model=copy.deepcopy(model), reward_funcs=reward, args=arguments, processing_class=case.tokenizer(),
            train_dataset=Dataset.from_dict({"prompt": case.texts()}), callbacks=[Clock()],
        ).train()  # fmt: skip
    return Measured(marks[-1] - marks[0], sum(spent[1:]), statistics.mean(lengths[1:]))


Side = Callable[[Case, Any, int], Measured]
SIDES: dict[str, Side] = {
    "Forge": forge_side,
    "TRL's GRPOTrainer": trl_side,
    "the same, logits of samples at once": partial(trl_side, fused=False),
}


def measure(case: Case, steps: int, rounds: int) -> list[str]:
    """A row a side."""
    model = case.model()
    found: dict[str, list[Measured]] = {name: [] for name in SIDES}
    for number in range(rounds):
        for name in list(SIDES) if number % 2 == 0 else list(SIDES)[::-1]:
            found[name].append(SIDES[name](case, model, steps))
    lines, samples = [], (steps - 1) * case.prompts * case.samples
    for name, its in found.items():
        over = [b.seconds / a.seconds for a, b in zip(found["Forge"], its, strict=True)]
        sampling = [b.sampling / a.sampling for a, b in zip(found["Forge"], its, strict=True)]
        rest = [(b.seconds - b.sampling) / (a.seconds - a.sampling) for a, b in zip(found["Forge"], its, strict=True)]
        speed = statistics.median(samples / one.seconds for one in its)
        share = statistics.median(one.sampling / one.seconds for one in its)
        tokens = statistics.mean(one.tokens for one in its)
        lines.append(
            f"| {case.name} | {name} | {speed:.1f} | {shown(over)} | {shown(sampling)} | {shown(rest)} | {share:.0%} | {tokens:.1f} |"
        )
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--quick", action="store_true", help="one round of few steps: a check, no measurement")
    chosen = reader.parse_args()
    assemble.quiet_libraries()
    torch.set_num_threads(1)
    rounds = 1 if chosen.quick else ROUNDS
    lines = [
        "| texts | side | samples a CPU second, median | Forge over it: median (min – max) | in sampling | in the rest | sampling's share | tokens a sample |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case in CASES:
        lines += measure(replace(case, longest=8) if chosen.quick else case, STEPS, rounds)
    size = sum(parameter.numel() for parameter in CASES[0].model().parameters())
    text = "\n".join(lines) + (
        f"\n\n{rounds} rounds of {STEPS - 1} step(s) of {CASES[0].prompts} prompts with {CASES[0].samples} samples each, one process and "
        f"thread, {size:,} parameters. More than 1 means that Forge is quicker."
    )
    write_table(
        "grpo_step",
        "A GRPO step of a decoder: Forge against TRL",
        text,
        "python -m bench.grpo_step",
        quick=chosen.quick,
    )


if __name__ == "__main__":
    main()
