"""The smoke test, typed by the learner: the real command, twice, and the run directory that it leaves."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from forge.config import resolve
from forge.core.assets import SMOKE_STEPS
from forge.core.errors import ForgeError, UserError
from forge.learn.experiments.base import Live, word
from forge.learn.experiments.practice.command import Told, split_words, type_in, workplace
from forge.learn.questions import Value
from forge.learn.results import Block, Result, Table
from forge.preflight import preflight
from forge.runs.run_dir import RunDirectory

CONFIG = "configs/classification/mnli/distilbert/00_sft.yaml"
FIXED = ("--config", CONFIG, "--assets", "embedded")
STEP = re.compile(r"step +(\d+)/(\d+) +loss (\d+\.\d+)")
FILES: Mapping[str, str] = MappingProxyType(
    {
        "output.log": "the lines of the terminal, with their time",
        "run_metadata.json": "all settings and who set each; versions, machine, command",
        "training_state.json": "how the run stands: step, examples seen, best figure",
        "metrics.jsonl": "every figure, a line for each measurement, for programs",
        "report.html": "curves, tables and settings in one page, for a browser",
    }
)
THE_MODEL = "the model as it was after that step, and what is needed to go on from there"


def run(controls: Mapping[str, Value], live: Live) -> Result:
    """README's command with the words that were `typed` behind it, then the same command once more."""
    place = workplace(live)
    words = [*FIXED, *split_words(word(controls, "typed"))]
    path = _directory(words, place)
    if path:
        shutil.rmtree(path, ignore_errors=True)
    live.chart("Loss, as the terminal shows it", "step", "loss")
    live.progress(0.05, "the command starts")
    told = type_in(words, place, lambda line: _show(line, live))
    said = Block(title="What the terminal shows", text=told.as_terminal())
    if told.code or path is None or not RunDirectory(path).completed:
        return Result(
            said=f"The command ended with exit code {told.code} after {_steps_logged(told)} steps. Read its last line.",
            numbers={"exit_code": told.code, "trained": _steps_logged(told)},
            pictures=[said],
            command=told.typed,
        )
    live.progress(0.85, "the same command once more")
    again = type_in(words, place)
    shown = again.text.partition("outputs:")[0].rstrip()  # what follows was there before
    state = RunDirectory(path).state()
    right = state["validation"]["matched"]["accuracy"]
    return Result(
        said=f"Exit code 0 after {state['step']} steps on {state['samples_seen']:,} examples: everything works. The "
        f"model is right on {right:.0%} of new pairs; guessing gives 33%. The same command once more trained "
        f"{_steps_logged(again)} steps.",
        numbers={
            "exit_code": told.code,
            "trained": int(state["step"]),
            "examples": int(state["samples_seen"]),
            "right": right,
            "trained_again": _steps_logged(again),
        },
        pictures=[
            said,
            Block(title="The same command once more", text=again.as_terminal(shown)),
            _files(path, place),
        ],
        run=str(live.folder / path.relative_to(live.folder.absolute())),
        command=told.typed,
    )


def _directory(words: Sequence[str], place: Path) -> Path | None:
    """Where the run will be; None where the command is wrong, which it shall say itself."""
    settings = [item for item in words if item not in {"--config", CONFIG}]
    try:
        resolved = resolve(place / CONFIG, settings)
        found = preflight(resolved)
    except ForgeError:
        return None
    steps = resolved.settings.train.max_steps
    if steps is None or steps > SMOKE_STEPS:
        raise UserError(f"a smoke test has at most {SMOKE_STEPS} steps; type for example --max_steps 10")
    path = (place / found.run.path).resolve()
    if not path.is_relative_to((place / "runs").resolve()):
        raise UserError("in this lesson runs stay where they are; leave run.dir as it is")
    return place / found.run.path


def _show(line: str, live: Live) -> None:
    if found := STEP.match(line):
        step, total = int(found[1]), int(found[2])
        live.progress(0.1 + 0.6 * step / total, f"training: step {step} of {total}")
        live.point("loss", step, float(found[3]))


def _steps_logged(told: Told) -> int:
    """The last step that a command's lines tell of; 0 where it trained nothing."""
    return max((int(found[1]) for line in told.text.splitlines() if (found := STEP.match(line))), default=0)


def _files(path: Path, place: Path) -> Table:
    models = sorted(folder.name for folder in path.glob("checkpoint-*"))
    rows = [[name, FILES[name]] for name in FILES if (path / name).is_file()]
    return Table(
        title=f"The run directory {path.relative_to(place)}",
        header=["file", "what it is"],
        rows=[*rows, *([f"{name}/", THE_MODEL] for name in models)],
    )
