"""What can be wrong with `rl:` beyond the types of its values, found before torch is imported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from forge.config.origins import Origin
from forge.config.schema import RL, Settings
from forge.config.schema.rl import ALSO_A_METRIC, JUDGES, REWARD_NAMES, RL_TASKS, metrics_rewarded, rewards_of
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
    yield from _unknown(rl, settings.task, where)
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
    metric, rewarded = settings.evaluate.metric, metrics_rewarded(settings.rl.rewards)
    for name in settings.rl.rewards:
        if metric in ALSO_A_METRIC.get(name, ()):
            others = [other for other in JUDGES[settings.task] if other not in rewarded]
            same = "also" if ALSO_A_METRIC[name][0] == metric else "nearly"
            yield (
                f"{origins['evaluate.metric'].where}  evaluate.metric: {metric} is {same} the reward {name}, so the "
                "best checkpoint may be the one that pleases it and nothing else"
                + (f"; take evaluate.metric: {either(others)}" if others else "")
            )


def places_unused(settings: Settings, origins: Mapping[str, Origin]) -> Iterator[str]:
    """No error: a run inherits these losses from the one that it goes on from, and they say nothing of samples."""
    if settings.rl is None or not settings.glyphs.wanted:
        return
    name = next(f"glyphs.{one}" for one in ("cells", "attention", "place") if getattr(settings.glyphs, one))
    yield (
        f"{origins[name].where}  glyphs has no effect, because rl is set: where on a page the characters of a sample "
        "are, nobody knows"
    )


def _unknown(rl: RL, task: str, where: Where) -> Iterator[Problem]:
    known = rewards_of(task)
    for section, chosen in (("rewards", rl.rewards), ("gates", rl.gates)):
        for name, one in chosen.items():
            if one.plugin is not None or name in known:
                continue
            if name in REWARD_NAMES:
                message = f"rl.{section}: {name} is not for task: {task}"
                yield Problem(message, where(("rl", section, name)), f"take one of {', '.join(known)}, or a plugin")
                continue
            near = nearest(name, known)
            hint = f"did you mean {near}?" if near else f"there are {', '.join(known)}, or set its plugin"
            yield Problem(f"rl.{section}: there is no reward {name}", where(("rl", section, name)), hint)
