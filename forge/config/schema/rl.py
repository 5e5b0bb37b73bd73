"""`rl:` learning from rewards. The block turns a run into RL: the model samples texts, rewards score them, and what
scored better than the others of its prompt becomes likelier (GRPO, Shao et al. 2024, arXiv 2402.03300).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field, model_validator

from forge.config.schema._base import Section

Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Patience = Annotated[int, Field(ge=1)] | None
Option = bool | int | float | str

RL_TASKS = ("translation", "ocr")
"""Tasks whose models write texts, which can be sampled."""
ALSO_A_METRIC: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "sentence_bleu": ("bleu",),
        "chrf": ("chrf",),
        "edit_similarity": ("edit_similarity", "cer", "nid"),
    }
)
"""Rewards that are a metric of whole splits too, or nearly one: what rises with them was asked for, and is no proof."""
JUDGES: Mapping[str, tuple[str, ...]] = MappingProxyType({"translation": ("bleu", "chrf"), "ocr": ("cer", "wer")})
"""Metrics by which a run may be judged, where they are no reward in it."""
REWARD_NAMES = (
    "sentence_bleu",
    "chrf",
    "length",
    "language",
    "repetition",
    "not_copied",
    "fluency",
    "causal_fluency",
    "comet_kiwi",
    "edit_similarity",
    "unit_tests",
    "teds",
    "markdown",
    "no_loop",
    "ended",
    "not_empty",
    "constant",
    "random",
)
"""All rewards; `forge.tasks.rewards.table` has what they are made of."""
ONLY_FOR: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "translation": ("sentence_bleu", "chrf", "not_copied", "comet_kiwi"),
        "ocr": ("unit_tests", "teds", "markdown"),
    }
)
"""Rewards that look at what only one task has: a text that is translated, or a page."""
BOUNDS: Mapping[str, tuple[float | None, float]] = MappingProxyType(
    {"grpo": (0.2, 0.28), "gspo": (3e-4, 4e-4), "cispo": (None, 4.0)}
)
"""Of each loss, how far a ratio may fall below 1 and rise above it, where `rl.clip` does not say."""


class Reward(Section):
    """One part of the reward: a name of the table, or any name with a `plugin`."""

    weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of this part among all; 0 only measures it."""
    plugin: Annotated[str, Field(min_length=1)] | None = None
    """A function of your own, `file.py:function`, from samples to values of 0 to 1. It is code that runs with your
    rights; a relative path is seen from the file that names it."""
    options: dict[str, Option] = Field(default={})
    """What the reward takes, for example `{least: 0.6}` of `length`."""


class Gate(Section):
    """A condition: a sample whose value is below `least` gets the reward 0, whatever else is said of it."""

    least: Share
    """Least value that passes."""
    plugin: Annotated[str, Field(min_length=1)] | None = None
    """As in `rl.rewards`."""
    options: dict[str, Option] = Field(default={})
    """As in `rl.rewards`."""


class Clip(Section):
    """How far the ratio of new to old probability may go before a token stops teaching; 1 is no change."""

    low: Annotated[float, Field(gt=0, le=1)] | None = 0.2
    """Below 1 by so much; null sets no lower bound. Unless set, 3e-4 for `gspo` and null for `cispo`."""
    high: Annotated[float, Field(gt=0)] = 0.28
    """Above 1 by so much. Unless set, 4e-4 for `gspo` and 4.0 for `cispo`."""
    dual: Annotated[float, Field(gt=1)] | None = None
    """Largest ratio that a bad sample is punished with; null sets none."""


class Advantages(Section):
    """From rewards to how much better a sample is than the others of its prompt."""

    scale: Literal["group", "batch", "none"] = "group"
    """What the difference to the mean is divided by: the deviation of the prompt's samples, of all samples, or 1."""
    baseline: Literal["mean", "leave_one_out"] = "mean"
    """What a sample is compared with: the mean of all samples of its prompt, or of the others."""
    combine: Literal["sum", "decoupled"] = "sum"
    """`sum`: rewards are added up, then compared; `decoupled`: each is compared by itself first (GDPO)."""
    epsilon: Annotated[float, Field(gt=0)] = 1e-4
    """Added to the deviation."""
    tolerance: Annotated[float, Field(ge=0)] = 1e-6
    """Rewards that differ by no more than this are equal; a prompt with equal rewards teaches nothing."""


class KL(Section):
    """A pull back to the model that the run began with."""

    beta: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the divergence in the loss. Above 0 the starting model is kept beside the trained one."""
    estimator: Literal["k1", "k2", "k3"] = "k3"
    """How it is estimated from the sampled tokens; `k1` has no gradient on average and is for measuring."""


class OnPolicy(Section):
    """What a teacher says along the samples, when `alpha` is above 0 (GKD, Agarwal et al. 2024)."""

    beta: Share = 0.5
    """Weight of the teacher in the mixture: 0 is forward KL, 1 is reverse KL."""
    temperature: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """Both models' logits are divided by it."""


class Guard(Section):
    """When a rollout is bad, and how many of them in a row take a warning, or the end of the run; null: never."""

    warn: Patience = 1
    """So many in a row are warned of."""
    stop: Patience = 20
    """So many in a row end the run."""


class FlatGuard(Guard):
    """Nothing to learn from."""

    share: Share = 0.9
    """Bad from this share of prompts on whose samples all have the same reward."""
    warn: Patience = 10
    """So many in a row are warned of."""
    stop: Patience = 100
    """So many in a row end the run."""


class TruncatedGuard(Guard):
    """Samples that never end."""

    share: Share = 0.95
    """Bad from this share of samples on that the limit cut off."""


class KLGuard(Guard):
    """Too far from the start; only with `rl.kl.beta` above 0, else the distance is not known."""

    nats: Annotated[float, Field(gt=0)] = 1.0
    """Bad above this distance, in nats a token."""


class EntropyGuard(Guard):
    """Samples that hardly differ any more."""

    share: Share = 0.1
    """Bad below this share of the entropy of the first rollout."""
    warn: Patience = 5
    """So many in a row are warned of."""
    stop: Patience = 50
    """So many in a row end the run."""


class HeldOutGuard(Guard):
    """The reward rises while the metric that chooses the best checkpoint falls; not where the metric is a reward."""

    margin: Annotated[float, Field(ge=0)] = 0.01
    """Bad from this share of its best on that the metric has lost."""
    warn: Patience = 2
    """So many evaluations in a row are warned of."""
    stop: Patience = 4
    """So many evaluations in a row end the run."""


class Guards(Section):
    """What goes wrong silently is said aloud, and at last ends the run."""

    flat: FlatGuard = FlatGuard()
    """Prompts whose samples all have the same reward."""
    truncated: TruncatedGuard = TruncatedGuard()
    """Samples that the limit cut off."""
    kl: KLGuard = KLGuard()
    """Distance to the model that the run began with."""
    entropy: EntropyGuard = EntropyGuard()
    """How much the model still hesitates."""
    held_out: HeldOutGuard = HeldOutGuard()
    """A metric that is no reward."""


class RL(Section):
    """Learning from rewards. A rollout is `train.batch_size` prompts with `samples` texts each."""

    samples: Annotated[int, Field(ge=2)] = 8
    """Texts that are sampled for each prompt; they are judged against each other, so one is not enough."""
    updates: Positive = 1
    """Optimizer steps on each rollout before the next one is sampled."""
    temperature: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Logits are divided by it, in sampling and in learning alike."""
    max_length: Positive | None = None
    """Most tokens of a sample; null takes `data.max_target_length`, or else `data.max_length`."""
    loss: Literal["grpo", "gspo", "cispo"] = "grpo"
    """`grpo`: a clipped ratio a token; `gspo`: one a sample (Zheng et al. 2025); `cispo`: clipped weights, so that
    every token keeps its gradient (MiniMax 2025)."""
    clip: Clip = Clip()
    """Bounds of the ratio. They bind only where `updates` is above 1: before, the ratio is 1."""
    normaliser: Literal["dapo", "grpo", "dr_grpo", "bnpo"] = "dapo"
    """What a token weighs. `dapo`: every token of the step alike; `grpo`: every sample alike; `dr_grpo`: every token,
    by the longest possible length; `bnpo`: every token of a micro-batch alike, so it depends on how a step is cut."""
    advantages: Advantages = Advantages()
    """From rewards to advantages."""
    mask_truncated: bool = False
    """Learn nothing from samples that the limit cut off; their rewards still count in the mean of their prompt. Right
    where the limit cuts what would have been good (DAPO, Yu et al. 2025); then endless texts are not held back."""
    kl: KL = KL()
    """A pull back to the model that the run began with."""
    entropy: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the entropy that is rewarded."""
    distill: OnPolicy = OnPolicy()
    """What a teacher says along the samples."""
    rewards: dict[str, Reward] = Field(default={})
    """The parts of the reward by name. Empty with `alpha: 1.0`: the teacher alone is learned from."""
    gates: dict[str, Gate] = Field(default={})
    """Conditions that a sample must meet, by the name of the reward that tells."""
    guards: Guards = Guards()
    """When to warn, and when to end the run."""

    @model_validator(mode="after")
    def _bounds_of_the_loss(self) -> RL:
        low, high = BOUNDS[self.loss]
        own = {"low": low, "high": high}
        missing = {name: value for name, value in own.items() if name not in self.clip.model_fields_set}
        if any(getattr(self.clip, name) != value for name, value in missing.items()):
            object.__setattr__(self, "clip", self.clip.model_copy(update=missing))  # still what was asked for
        return self

    @model_validator(mode="after")
    def _plugins_have_no_options(self) -> RL:
        for key, chosen in (("rl.rewards", self.rewards), ("rl.gates", self.gates)):
            for name, one in chosen.items():
                if one.plugin and one.options:
                    raise ValueError(f"{key}: {name} has a plugin and options, which only rewards of the table take")
        return self


def rewards_of(task: str) -> list[str]:
    """The rewards that a run of this task may name."""
    foreign = {name for other, names in ONLY_FOR.items() if other != task for name in names}
    return [name for name in REWARD_NAMES if name not in foreign]


def metrics_rewarded(rewards: Collection[str]) -> set[str]:
    """The metrics that these rewards ask for."""
    return {metric for reward in rewards for metric in ALSO_A_METRIC.get(reward, ())}
