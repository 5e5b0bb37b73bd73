"""What can be wrong with `rl:` beyond the types of its values, found before torch is imported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from forge.config.origins import Origin
from forge.config.schema import RL, Settings
from forge.config.schema.rl import ALSO_A_METRIC, REWARD_NAMES, RL_TASKS
from forge.config.suggest import nearest
from forge.config.wording import either
from forge.core.errors import Problem

Where = Callable[[tuple[str, ...]], str]


def rl_problems(settings: Settings, where: Where) -> Iterator[Problem]:
    """A task without texts to sample, rewards that are none, weights that say nothing."""
    rl = settings.rl
    if rl is None:
        return
    if settings.task not in RL_TASKS:
        message = f"rl is set, but Forge cannot sample the answers of task: {settings.task} yet"
        yield Problem(message, where(("rl",)), f"task: {either(list(RL_TASKS))} can, or take rl out")
        return
    yield from _unknown(rl, where)
    if settings.alpha > 0 and settings.distill.sequence.targets != "reference":
        message = "distill.sequence: with rl set the teacher's texts are not learned from"
        yield Problem(message, where(("distill", "sequence", "targets")), "take it out; rl.distill is what it says")
    if settings.alpha > 0 and settings.teacher.tokenizer == "own":
        message = "teacher.tokenizer: own, but along the student's samples both must read the same tokens"
        yield Problem(message, where(("teacher", "tokenizer")), "take teacher.tokenizer: student")
    if settings.alpha < 1 and not rl.rewards:
        message = "rl is set, but rl.rewards names none"
        yield Problem(message, where(("rl",)), "for example rl.rewards: {chrf: {weight: 1.0}}")
    if rl.rewards and not sum(reward.weight for reward in rl.rewards.values()) > 0:
        message = "rl.rewards: the weights add up to 0, so nothing would be learned"
        yield Problem(message, where(("rl", "rewards")), "give one of them a weight")


def judged_by_its_reward(settings: Settings, origins: Mapping[str, Origin]) -> Iterator[str]:
    """No error: a metric that is also the reward still says something, but it overstates what was gained."""
    if settings.rl is None:
        return
    metric = settings.evaluate.metric
    for name in settings.rl.rewards:
        if ALSO_A_METRIC.get(name) == metric:
            others = [other for other in ALSO_A_METRIC.values() if other != metric]
            yield (
                f"{origins['evaluate.metric'].where}  evaluate.metric: {metric} is also the reward {name}, so the best "
                f"checkpoint may be the one that pleases it and nothing else; take evaluate.metric: {either(others)}"
            )


def _unknown(rl: RL, where: Where) -> Iterator[Problem]:
    for section, chosen in (("rewards", rl.rewards), ("gates", rl.gates)):
        for name, one in chosen.items():
            if one.plugin is None and name not in REWARD_NAMES:
                near = nearest(name, REWARD_NAMES)
                hint = f"did you mean {near}?" if near else f"there are {', '.join(REWARD_NAMES)}, or set its plugin"
                yield Problem(f"rl.{section}: there is no reward {name}", where(("rl", section, name)), hint)
