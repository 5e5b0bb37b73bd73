"""`rl:` of the configuration becomes an objective: rewards by name, the rules of sampling, the model it began with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate.utils import gather_object
from datasets import Dataset

from forge.building.asked import tested_pages
from forge.building.base import Built, Sampling, Site
from forge.config import ResolvedConfig
from forge.config.origins import display_path
from forge.config.schema import RL
from forge.config.schema.rl import Gate as GateSettings
from forge.config.schema.rl import Reward as RewardSettings
from forge.core.assets import SMOKE_STEPS, Wanted, locate
from forge.core.errors import UserError
from forge.models.head import find_head
from forge.models.identity import weights_sha256
from forge.models.lora import scales
from forge.objectives.rl.decoder_only import DecoderOnly
from forge.objectives.rl.judge import Judge
from forge.objectives.rl.objective import GRPO
from forge.objectives.rl.reference import Reference
from forge.objectives.rl.rolling import Roller
from forge.objectives.rl.rules import rules_of
from forge.objectives.rl.sampler import Sampler
from forge.objectives.rl.sampling import EncoderDecoder
from forge.tasks.rewards.base import Reward, Sample
from forge.tasks.rewards.plugin import TRIED, Plugin, load_plugin, try_plugin
from forge.tasks.rewards.score import Gate
from forge.tasks.rewards.table import Setting, check_weights, make_reward
from forge.tasks.written import WritingTask, end_tokens
from forge.train.shards import is_sharding


@dataclass(frozen=True)
class Reinforced:
    """An objective that learns from rewards, and what to tell about it."""

    objective: GRPO
    header: list[str]
    fingerprints: dict[str, str]


def reinforce(site: Site, built: Built) -> Reinforced:
    """Raises UserError for a model, rewards or processes that do not go together."""
    settings, chosen, model = site.settings, site.settings.rl, built.model
    assert chosen
    if built.sampling is None:
        raise UserError(f"rl: Forge cannot sample the answers of {type(model).__name__} yet; take rl out")
    if is_sharding(site.accelerator):
        raise UserError(
            "rl: processes that share a model (FSDP2) cannot sample yet; launch with configs/accelerate/ddp.yaml"
        )
    if settings.train.compile:
        raise UserError("rl: a compiled model cannot read a prompt once for all samples yet; take train.compile out")
    judge, plugins = _judge(site, built, chosen)
    sampling, train = built.sampling, built.data.train
    assert train is not None
    sampler = _sampler(site, model, chosen, sampling)
    many = site.accelerator.num_processes > 1
    roller = Roller(
        chosen,
        sampler,
        judge,
        settings.seed,
        built.head,
        _reference(site, built, sampling) if chosen.kl.beta > 0 else None,
        gather_object if many else list,
    )
    fingerprints = {f"plugin.{plugin.path.name}:{plugin.function}": plugin.sha256 for plugin in plugins}
    if roller.reference and roller.reference.frozen is not None and site.found.model.source in {"path", "hub"}:
        fingerprints["reference"] = weights_sha256(Path(site.found.model.location))
    return Reinforced(
        GRPO(roller, settings.alpha), _header(site, train, chosen, sampler.longest, plugins), fingerprints
    )


def _sampler(site: Site, model: Any, chosen: RL, sampling: Sampling) -> Sampler:
    rules, ends = rules_of(model, chosen.temperature, first=sampling.first), frozenset(end_tokens(model))
    padding, longest = int(model.generation_config.pad_token_id or 0), _longest(site, chosen, sampling)
    if sampling.start is None:
        return DecoderOnly(rules, ends, padding, chosen.samples, longest)
    return EncoderDecoder(rules, ends, sampling.start, padding, chosen.samples, longest)


def _longest(site: Site, chosen: RL, sampling: Sampling) -> int:
    asked = chosen.max_length
    if asked and asked > sampling.most and not site.found.model.stand_in:
        raise UserError(
            f"rl.max_length: {asked}, but the model writes at most {sampling.most} tokens; take {sampling.most}"
        )
    return min(asked or sampling.longest, sampling.most)


def _reference(site: Site, built: Built, sampling: Sampling) -> Reference:
    """The model as the run began; a run that goes on has loaded another."""
    if scales(built.model):
        return Reference()
    model = sampling.again().to(site.accelerator.device).eval().requires_grad_(False)
    return Reference(model, find_head(model))


def _judge(site: Site, built: Built, chosen: RL) -> tuple[Judge, list[Plugin]]:
    task = built.task
    assert built.sampling
    assert isinstance(task, WritingTask)
    prompts = built.sampling.prompts
    setting = Setting(
        prompts.task, prompts.has, prompts.language, prompts.lines, lambda name: _language_model(site, name)
    )
    asked = prompts.ask(range(min(TRIED, len(built.data.train or []))))
    right = [Sample(one.reference or "", one.source, one.reference, checks=tuple(one.checks)) for one in asked]
    made = _Maker(site, setting, right)
    parts = {name: made.reward("rewards", name, one) for name, one in chosen.rewards.items()}
    weights = {name: one.weight for name, one in chosen.rewards.items()}
    check_weights(weights)
    gates = {name: Gate(made.reward("gates", name, one), one.least) for name, one in chosen.gates.items()}
    return Judge(parts, weights, gates, task.texts, prompts.ask), made.plugins


class _Maker:
    """Makes rewards, and remembers which are code of the user's own; these are tried on `samples`."""

    def __init__(self, site: Site, setting: Setting, samples: Sequence[Sample]) -> None:
        self.plugins: list[Plugin] = []
        self._site, self._setting, self._samples = site, setting, samples

    def reward(self, section: str, name: str, one: RewardSettings | GateSettings) -> Reward:
        """A plugin's path is seen from the file that names it. Raises UserError with the place of what is wrong."""
        resolved = self._site.found.resolved
        key = f"rl.{section}.{name}"
        try:
            if one.plugin is None:
                return make_reward(name, one.options, self._setting)
            origin = resolved.origins.get(f"{key}.plugin")
            plugin = load_plugin(one.plugin, origin.file.parent if origin and origin.file else Path.cwd())
            try_plugin(plugin, self._samples)
        except UserError as error:
            told = str(error).removeprefix(f"reward {name}: ").removeprefix(f"{key}: ")
            raise UserError(f"{_place(resolved, key)}  {key}: {told}") from error
        self.plugins.append(plugin)
        return plugin


def _place(resolved: ResolvedConfig, key: str) -> str:
    """Where something below the key was set, or else the file that was asked for."""
    below = (at.where for name, at in resolved.origins.items() if name.startswith(f"{key}.") and at.kind != "default")
    return next(below, display_path(resolved.path))


def _language_model(site: Site, name: str) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    settings = site.settings
    smoke = settings.train.max_steps is not None and settings.train.max_steps <= SMOKE_STEPS
    folder = locate(Wanted("model", name, asked_by="rl.rewards.causal_fluency"), settings.assets, smoke).location
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    return model.to(site.accelerator.device).eval().requires_grad_(False), AutoTokenizer.from_pretrained(
        folder, local_files_only=True
    )


def _tests(train: Dataset) -> str:
    own = tested_pages(train)
    if not own:
        return "unit tests: made of the Markdown of each page"
    rest = ", those of the others are made of their Markdown" if own < len(train) else ""
    return f"unit tests: {own:,} of {len(train):,} pages have their own{rest}"


def _header(site: Site, train_data: Dataset, chosen: RL, longest: int, plugins: Sequence[Plugin]) -> list[str]:
    train = site.settings.train
    prompts = f"prompts of {train.batch_tokens:,} tokens" if train.batch_tokens else f"{train.batch_size} prompts"
    parts = ", ".join(f"{name} × {one.weight:g}" for name, one in chosen.rewards.items()) or "none, the teacher alone"
    gates = ", ".join(f"{name} at least {one.least:g}" for name, one in chosen.gates.items())
    return [
        f"rollout: {prompts} × {chosen.samples} samples of at most {longest} tokens at temperature "
        f"{chosen.temperature:g}, {chosen.updates} step(s) on each; loss {chosen.loss}, normaliser {chosen.normaliser}",
        f"rewards: {parts}" + (f"; gates: {gates}" if gates else ""),
        *([_tests(train_data)] if {"unit_tests"} & {*chosen.rewards, *chosen.gates} else []),
        *(f"rewards: this run executes code of yours: {plugin}" for plugin in plugins),
    ]
