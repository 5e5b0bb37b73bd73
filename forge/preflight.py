"""Everything that can be found wrong, or found done, before torch is imported."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from forge.config import ResolvedConfig
from forge.config.schema import Data, Model, Teacher
from forge.config.schema.parallel import two_files
from forge.core.assets import EMBEDDED_PREFIX, SMOKE_STEPS, Asset, Policy, Wanted, locate
from forge.core.errors import ConfigError, Problem, UserError
from forge.runs.run_dir import RunDirectory, run_path

EMBEDDED_DATA = {"classification": "embedded/nli", "translation": "embedded/en_fr", "ocr": "embedded/pages"}
FIGURES = {
    "classification": ("accuracy", "macro_f1", "loss", "ece"),
    "translation": ("bleu", "chrf", "ter", "loss"),
    "ocr": ("cer", "wer", "edit_similarity", "nid", "loss"),
}


@dataclass(frozen=True)
class Preflight:
    """Where the parts of a run are, and where the run goes."""

    resolved: ResolvedConfig
    model: Asset
    tokenizer: Asset | None  # None where the model brings its own
    data: Asset | None  # None where splits are files
    teacher: Asset | None  # None without distillation
    digest: str
    run: RunDirectory

    @property
    def stand_ins(self) -> list[Asset]:
        """The embedded assets that take another's place in this run."""
        return [asset for asset in (self.model, self.data, self.teacher) if asset and asset.stand_in]


def preflight(resolved: ResolvedConfig) -> Preflight:
    """Find the assets and the run directory. Raises UserError with every problem of the configuration found here."""
    settings = resolved.settings
    problems = [*_data_problems(resolved), *_metric_problems(resolved), *_sink_problems(resolved)]
    if problems:
        raise ConfigError(problems)
    smoke = settings.train.max_steps is not None and settings.train.max_steps <= SMOKE_STEPS
    model, *tokenizers = [_at(resolved, wanted.key, wanted, smoke) for wanted in wanted_models(settings.model)]
    data = _at(resolved, "data.name", wanted_data(settings.data), smoke) if _is_named(resolved) else None
    teacher = _teacher(resolved, model, smoke) if resolved.settings.alpha > 0 else None
    digest = resolved.digest(
        {asset.asked: asset.location for asset in (model, data, teacher) if asset and asset.stand_in}
    )
    path = run_path(settings.run.dir, resolved.name, settings.seed, digest)
    return Preflight(resolved, model, tokenizers[0] if tokenizers else None, data, teacher, digest, RunDirectory(path))


def completed_run(resolved: ResolvedConfig) -> RunDirectory | None:
    """The run of this configuration if it has reached its end with the assets it names, wherever they are by now."""
    settings = resolved.settings
    run = RunDirectory(run_path(settings.run.dir, resolved.name, settings.seed, resolved.digest()))
    return run if run.completed_with(settings.checkpoint.average) else None


def wanted_models(model: Model) -> list[Wanted]:
    """The model that the configuration asks for, then its tokenizer if that is named apart."""
    wanted = [Wanted("model", model.name, model.revision, model.stand_in)]
    if model.tokenizer:
        wanted.append(Wanted("model", model.tokenizer, asked_by="model.tokenizer"))
    return wanted


def wanted_data(data: Data) -> Wanted:
    """The data set that the configuration asks for; files stand for themselves."""
    subsets = (data.subset,) if data.subset else ()
    return Wanted("dataset", data.name or str(data.train), data.revision, data.stand_in, subsets)


def wanted_teacher(teacher: Teacher) -> Wanted:
    """The teacher that the configuration asks for."""
    return Wanted("model", str(teacher.name), teacher.revision, teacher.stand_in, asked_by="teacher.name")


def _teacher(resolved: ResolvedConfig, student: Asset, smoke: bool) -> Asset:
    """Where the student is a stand-in the teacher must be one too: they share the stand-in's tokenizer."""
    wanted = wanted_teacher(resolved.settings.teacher)
    policy = "embedded" if student.stand_in else resolved.settings.assets
    return _at(resolved, "teacher.name", wanted, smoke, policy)


def _is_named(resolved: ResolvedConfig) -> bool:
    return bool(resolved.settings.data.name) or resolved.settings.assets == "embedded"


def _at(resolved: ResolvedConfig, key: str, wanted: Wanted, smoke: bool, policy: Policy | None = None) -> Asset:
    """Locate an asset; an error says which line of which file asked for it."""
    try:
        return locate(wanted, policy or resolved.settings.assets, smoke)
    except UserError as error:
        origin = resolved.origins.get(key)
        raise ConfigError([Problem(str(error), str(origin) if origin else "")]) from error


def _data_problems(resolved: ResolvedConfig) -> Iterator[Problem]:
    data = resolved.settings.data
    fitting = EMBEDDED_DATA[resolved.settings.task]
    for key, name in (("data.name", data.name), ("data.stand_in", data.stand_in)):
        if name and name.startswith(EMBEDDED_PREFIX) and name != fitting:
            yield _problem(resolved, key, f"{key}: there is no {name} for {resolved.settings.task}; it has {fitting}")
    kind = f"a split of {data.name}" if data.name else "a .jsonl, .csv, .tsv or .parquet file"
    if not data.train:
        yield _problem(resolved, "data.train", f"data.train is not set; name {kind}")
    if not data.validation and not data.cut.validation:
        yield _problem(resolved, "data.validation", f"data.validation is not set; name {kind}")
    if _is_named(resolved):
        return
    for key, reference in _split_files(data):
        for file in two_files(reference) or [reference]:
            path = Path(file).expanduser()
            if not (path.is_file() or (resolved.settings.task == "ocr" and path.is_dir())):
                yield _problem(resolved, key, f"{key}: no such file: {file} (looked at {path.absolute()})")


def _split_files(data: Data) -> Iterator[tuple[str, str]]:
    for role, value in (("train", data.train), ("validation", data.validation), ("test", data.test)):
        if isinstance(value, str):
            yield f"data.{role}", value
        for name, reference in (value or {}).items() if isinstance(value, dict) else ():
            yield f"data.{role}.{name}", reference


def _metric_problems(resolved: ResolvedConfig) -> Iterator[Problem]:
    metric, task = resolved.settings.evaluate.metric, resolved.settings.task
    if metric not in FIGURES[task]:
        message = f"evaluate.metric: {metric} is no figure of {task}, which has {', '.join(FIGURES[task])}"
        yield _problem(resolved, "evaluate.metric", message)


def _sink_problems(resolved: ResolvedConfig) -> Iterator[Problem]:
    for sink in resolved.settings.log.sinks:
        if find_spec(sink) is None:
            message = f"log.sinks: {sink} is not installed; pip install 'forge-distill[{sink}]', or take it out"
            yield _problem(resolved, "log.sinks", message)


def _problem(resolved: ResolvedConfig, key: str, message: str) -> Problem:
    origin = resolved.origins.get(key)
    where = str(origin) if origin and origin.kind != "default" else str(resolved.path)
    return Problem(message, where)
