"""Learning from rewards: GRPO and its kin, with a teacher along the samples if asked.

Shape letters: b prompts of a micro-batch, G samples of each, N = b·G rows, T tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from forge.config.schema.rl import metrics_rewarded
from forge.core.errors import CheckpointError
from forge.core.events import Event, Notice, Sampled
from forge.models.generate import prompts_of
from forge.models.head import Head
from forge.objectives.base import LossReport, MicroBatches, Objective, Remarks
from forge.objectives.rl.choices import held_out_of, limits_of, mixture_of
from forge.objectives.rl.guards import Alarm, StepGuards
from forge.objectives.rl.logprobs import tokens_of
from forge.objectives.rl.losses import count_tokens, sequence_log_ratios, token_weights, without_truncated
from forge.objectives.rl.rolling import NUMBERS, News, Roller
from forge.objectives.rl.rollout import Rollout, restored
from forge.objectives.rl.sampler import log_probs_of
from forge.objectives.rl.share import Drawn, share_of
from forge.tasks.base import HIGHER_IS_BETTER, IGNORED_LABEL, Batch

TOKENS, LEARNED, ADVANTAGES = "tokens", "learned", "advantages"  # of a batch with samples
OLD, REFERENCE = "old_log_probs", "reference_log_probs"


def with_row_numbers(batch: Batch, rows: np.ndarray) -> None:
    """Say which examples a batch is of."""
    batch[NUMBERS] = torch.from_numpy(np.asarray(rows, dtype=np.int64))


class GRPO(Objective):
    """(1 − α) · Σ_t w_t · [policy_t + β · kl_t − η · entropy_t] + α · Σ_t w_t · gkd_t over a step's sampled tokens.

    Shao et al. 2024 (GRPO), arXiv 2402.03300, eq. 3, with the choices of `RL`; w_t are `token_weights`. Every
    `rl.updates` steps begin with a rollout: texts are sampled, scored and compared; the steps then learn from them. The
    model is in evaluation mode throughout: with dropout each pass would be another model's, and the ratio noise.
    """

    name = "rl"
    wants_baseline = True
    enrich = staticmethod(with_row_numbers)

    def __init__(self, roller: Roller, alpha: float = 0.0) -> None:
        self.roller, self.chosen, self.sampler = roller, roller.chosen, roller.sampler
        self._mixture = mixture_of(roller.chosen, alpha)
        self._guards = StepGuards(limits_of(roller.chosen))
        self._teacher: tuple[nn.Module, Head | None] | None = None
        self._rollout: Rollout | None = None
        self._number = -1  # of the rollout
        self._step = -1  # that comes next, or was just taken
        self._held_out = held_out_of(roller.chosen)
        self._start: float | None = None  # what was measured before the first step
        self._since = [0.0, 0]  # sum of rewards, and rollouts, since the last evaluation
        self._news: News | None = None  # of a rollout whose first update is not done
        self._figures: dict[str, float] = {}
        self._failed: set[str] = set()  # rewards whose failure was told in this life

    def learn_from(self, teacher: nn.Module, head: Head | None) -> None:
        """Take what this frozen model says along the samples; called once, before the first step."""
        self._teacher = teacher.eval(), head

    def gather(self, model: nn.Module, micro_batches: MicroBatches, step: int) -> MicroBatches:
        """At the first update of a rollout sample and score; at each, put the samples beside their prompts."""
        number, turn = divmod(step, self.chosen.updates)
        model.eval()
        device = next(model.parameters()).device
        here = [(place, {name: x.to(device) for name, x in batch.items()}) for place, batch in micro_batches]
        if turn == 0:
            prompts = [batch for _, batch in here if not is_filler(batch)]
            self._rollout, self._news = self.roller.roll(model, prompts, number)
            self._number, self._figures = number, dict(self._rollout.figures)
        elif self._rollout is None or self._number != number:
            raise CheckpointError("the checkpoint lacks the samples that its next step learns from")
        self._step = step
        return [(place, self._with_samples(batch, self._rollout)) for place, batch in here]

    def counts(self, batch: Batch) -> dict[str, float]:
        """Samples, tokens that are learned from, micro-batches."""
        counted = count_tokens(batch[LEARNED])
        return dict.fromkeys(counted, 0.0) if is_filler(batch) else counted

    def compute(self, model: nn.Module, batch: Batch, totals: Mapping[str, float]) -> LossReport:
        """One pass of the model over the samples, and of the teacher where there is one."""
        model.eval()
        sampler, tokens_NT, learned_NT = self.sampler, batch[TOKENS], batch[LEARNED]
        rows = sampler.rows(model, self.roller.head, batch, tokens_NT)
        old_NT, reference_NT, sequence_NT = batch.get(OLD), batch.get(REFERENCE), None
        if self.chosen.loss == "gspo" and old_NT is not None:
            logp_NT = log_probs_of(rows, tokens_NT, learned_NT, sampler.rules)
            sequence_NT = sequence_log_ratios(logp_NT, old_NT, learned_NT).expand_as(logp_NT)
        drawn = Drawn(
            tokens_of(tokens_NT),
            token_weights(learned_NT, self.chosen.normaliser, totals, sampler.longest).flatten(),
            batch[ADVANTAGES][:, None].expand_as(tokens_NT).flatten(),
            *(None if known is None else known.flatten() for known in (old_NT, sequence_NT, reference_NT)),
        )
        teacher = None
        if self._teacher:
            with torch.no_grad():
                teacher = sampler.rows(*self._teacher, batch, tokens_NT)
        loss, shares = share_of(rows, drawn, self._mixture, sampler.rules, teacher)
        absent = {name for name, there in (("kl", reference_NT), ("gkd", teacher)) if there is None}
        return LossReport(loss, {name: share for name, share in shares.items() if name not in absent})

    def remarks(self) -> Remarks:
        """The rollout's figures after each of its updates; after the first also its texts and what the guards say."""
        news, self._news = self._news, None
        if news is None:
            return Remarks(self._figures)
        reward = self._figures.get("reward", 0.0)
        if self._start is not None:  # this rollout was sampled by the model that was measured then
            self._held_out.see(reward, self._start)
            self._start = None
        self._since = [self._since[0] + reward, self._since[1] + 1]
        events: list[Event] = [Sampled(self._step + 1, news.groups)]
        events += [Notice(said, "warning") for name, said in news.failed if name not in self._failed]
        self._failed.update(name for name, _ in news.failed)
        return _said(self._guards.see(news.seen), self._figures, events)

    def measured(self, name: str, value: float) -> Remarks:
        """Whether the reward rises while a metric that is none falls. The first value is that of the start."""
        if name in metrics_rewarded(self.chosen.rewards) or not self.chosen.rewards:
            return Remarks()
        self._held_out.higher_is_better = HIGHER_IS_BETTER[name]
        total, rollouts = self._since
        if not rollouts:
            self._start = value
            return Remarks()
        self._since = [0.0, 0]
        alarm = self._held_out.see(total / rollouts, value, name)
        return _said([alarm] if alarm else [])

    def state(self) -> dict[str, Any]:
        """What the guards have counted, and which rollout the tensors are."""
        return {
            "guards": self._guards.state(),
            "held_out": self._held_out.state(),
            "since": self._since,
            "rollout": self._number,
            "figures": self._figures,
        }

    def tensors(self) -> dict[str, Tensor]:
        """The rollout, where steps that are still to come may learn from it."""
        return self._rollout.saved() if self._rollout and self.chosen.updates > 1 else {}

    def load_state(self, saved: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        self._guards.load_state(saved["guards"])
        self._held_out.load_state(saved["held_out"])
        self._since = [float(saved["since"][0]), int(saved["since"][1])]
        self._number = int(saved["rollout"])
        self._figures = {str(name): float(value) for name, value in saved["figures"].items()}

    def load_tensors(self, saved: Mapping[str, Tensor]) -> None:
        """The inverse of `tensors`."""
        self._rollout = restored(saved, self._figures)

    def _with_samples(self, batch: Batch, rollout: Rollout) -> Batch:
        """The prompts of a batch with their samples, as long as the longest of them."""
        device, places_b = batch[NUMBERS].device, rollout.places(batch[NUMBERS])
        tokens_NT = rollout.tokens_BGT[places_b].flatten(0, 1)
        mask_NT, ended_N = self.sampler.mask(tokens_NT)
        longest = int(mask_NT.sum(-1).max())
        tokens_NT, mask_NT = tokens_NT[:, :longest], mask_NT[:, :longest]
        learned_NT = self.sampler.rules.chosen(mask_NT)
        if self.chosen.mask_truncated:
            learned_NT = without_truncated(learned_NT, ended_N)
        if is_filler(batch):
            mask_NT, learned_NT = torch.zeros_like(mask_NT), torch.zeros_like(learned_NT)
        made = {
            TOKENS: tokens_NT,
            LEARNED: learned_NT,
            ADVANTAGES: rollout.advantages_BG[places_b].flatten(),
            "decoder_input_ids": tokens_NT,  # says that labels are beside the prompt: the loop counts both as tokens
            "labels": tokens_NT.masked_fill(~mask_NT, IGNORED_LABEL),
        }
        for name, known_BGT in ((OLD, rollout.old_BGT), (REFERENCE, rollout.reference_BGT)):
            if known_BGT is not None:
                made[name] = known_BGT[places_b].flatten(0, 1)[:, :longest]
        return prompts_of(batch) | {name: x.to(device) for name, x in made.items()}


def _said(
    alarms: Sequence[Alarm], figures: Mapping[str, float] = MappingProxyType({}), events: Sequence[Event] = ()
) -> Remarks:
    told = [*events, *(Notice(alarm.message, "warning") for alarm in alarms)]
    stop = next((f"guard {alarm.guard}: {alarm.message}" for alarm in alarms if alarm.level == "stop"), "")
    return Remarks(figures, told, stop)


def is_filler(batch: Batch) -> bool:
    """Whether it stands for nothing: a process that has one micro-batch fewer than the others gets such a one."""
    return not bool((batch["labels"] != IGNORED_LABEL).any())
