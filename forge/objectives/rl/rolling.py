"""Making a rollout: sample, score, compare, and measure what the losses need of the model as it was.

Shape letters: b prompts of a micro-batch, G samples of each, N = b·G rows, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from forge.config.schema import RL
from forge.models.head import Head
from forge.objectives.rl.drawing import uniforms
from forge.objectives.rl.guards import Figures
from forge.objectives.rl.judge import Judge
from forge.objectives.rl.outcome import advantages_of, failed, figures_of, guarded, records, rewards_of
from forge.objectives.rl.reference import Reference
from forge.objectives.rl.rollout import Group, Rollout, merge
from forge.objectives.rl.sampler import Sampler
from forge.tasks.base import Batch

NUMBERS = "row_numbers"  # of a batch's examples in the training data

Together = Callable[[list[Any]], list[Any]]
"""What all processes have, end to end; the same on each."""


@dataclass(frozen=True)
class News:
    """What is to be told of a rollout once its first update is done."""

    seen: Figures  # by the guards
    groups: list[dict[str, Any]]  # for completions.jsonl
    failed: list[tuple[str, str]]  # rewards that failed on samples


@dataclass(frozen=True)
class Roller:
    """Makes the rollouts of a run. `head` is the trained model's."""

    chosen: RL
    sampler: Sampler
    judge: Judge
    seed: int
    head: Head | None = None
    reference: Reference | None = None
    together: Together = list

    def roll(self, model: nn.Module, batches: Sequence[Batch], number: int) -> tuple[Rollout, News]:
        """Rollout `number` for the prompts of some micro-batches on the model's device; all processes call it together.

        The model is in evaluation mode. Raises UserError of one line for a reward that is none.
        """
        merged = merge(self.together(self._groups(model, batches, number)), self.sampler.padding)
        mask_NT, _ = self.sampler.mask(merged["tokens_BGT"].flatten(0, 1))
        lengths_BG = mask_NT.sum(-1).view(merged["ended_BG"].shape)
        weights_K, chosen = self.judge.weights_K(), self.chosen.advantages
        rewards_BG = rewards_of(merged, weights_K)
        advantages_BG = advantages_of(merged, rewards_BG, weights_K, chosen)
        figures = figures_of(merged, rewards_BG, lengths_BG, list(self.judge.parts), chosen.tolerance)
        of_sampling = {"logp_BGT", "entropy_BGT"}
        rollout = Rollout(
            merged.rows_B,
            **{name: value for name, value in merged.tensors.items() if name not in of_sampling},
            rewards_BG=rewards_BG,
            advantages_BG=advantages_BG,
            figures=figures,
        )
        texts = records(merged, rewards_BG, advantages_BG, self.judge)
        return rollout, News(guarded(merged, figures, lengths_BG), texts, failed(merged))

    def _groups(self, model: nn.Module, batches: Sequence[Batch], number: int) -> list[Group]:
        """The micro-batches of this process; rewards look at all its samples at once, since some ask a model."""
        drawn = [self._sampled(model, batch, number) for batch in batches]
        rows = [row for group in drawn for row in group.rows]
        ids, ended = [], []
        for group in drawn:
            tokens_NT = group.tokens_BGT.flatten(0, 1)
            lengths_N = self.sampler.mask(tokens_NT)[0].sum(-1).tolist()
            ids += [self._chosen(one[:length]) for one, length in zip(tokens_NT.tolist(), lengths_N, strict=True)]
            ended += group.ended_BG.flatten().tolist()
        judged = self.judge.judge(rows, ids, ended, self.sampler.samples)
        sizes = [len(group.rows) for group in drawn]
        parts, passed = torch.split(judged.parts_BGK, sizes), torch.split(judged.passed_BG, sizes)
        found: list[Group] = []
        first = 0
        for group, size, parts_bGK, passed_bG in zip(drawn, sizes, parts, passed, strict=True):
            texts = judged.texts_BG[first : first + size]
            failures = {} if found else judged.failures
            found.append(replace(group, texts_BG=texts, parts_BGK=parts_bGK, passed_BG=passed_bG, failures=failures))
            first += size
        return found

    def _chosen(self, ids: list[int]) -> list[int]:
        """Without forced tokens: not every tokenizer knows its languages as special, and would write them as text."""
        forced = self.sampler.rules.forced
        return [token for place, token in enumerate(ids) if place not in forced]

    def _sampled(self, model: nn.Module, batch: Batch, number: int) -> Group:
        rows, sampler = batch[NUMBERS].tolist(), self.sampler
        drawn = uniforms(self.seed, number, rows, sampler.samples, sampler.longest)
        written = sampler.sample(model, batch, drawn)
        tokens_NT = written.tokens_NT
        old_NT = reference_NT = None
        if self.chosen.updates > 1:  # of the first update alone the ratio is 1 whatever it was
            old_NT = sampler.log_probs(model, self.head, batch, tokens_NT)
        if self.reference:
            with self.reference.beside(model, self.head) as (start, its_head):
                reference_NT = sampler.log_probs(start, its_head, batch, tokens_NT)

        def by_prompt(values_NX: Tensor) -> Tensor:
            return values_NX.cpu().reshape(len(rows), sampler.samples, *values_NX.shape[1:])

        nothing = torch.empty(len(rows), sampler.samples, 0)
        return Group(
            rows,
            [],
            by_prompt(tokens_NT),
            by_prompt(sampler.mask(tokens_NT)[1]),
            nothing,
            nothing,
            by_prompt(written.logp_NT),
            by_prompt(written.entropy_NT),
            None if old_NT is None else by_prompt(old_NT),
            None if reference_NT is None else by_prompt(reference_NT),
        )
