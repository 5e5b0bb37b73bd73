"""COMET, a learned judge of translations, run in an environment of its own.

unbabel-comet 2.2 needs transformers 4, numpy 1 and huggingface-hub below 1.0, so it cannot be installed beside Forge.
It is never required. Who wants it makes a second environment and names its interpreter:

    python -m venv comet && comet/bin/pip install unbabel-comet
    export FORGE_COMET_PYTHON=comet/bin/python

or has its command `comet-score` on the PATH. Forge itself touches no network here; COMET may, to fetch its model.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory

from forge.core.errors import UserError

INTERPRETER = "FORGE_COMET_PYTHON"
COMMAND = "comet-score"
MODEL = "Unbabel/wmt22-comet-da"
KIWI = "Unbabel/wmt22-cometkiwi-da"  # judges without references; its licence is accepted on the hub first
TIMEOUT_S = 3_600.0
OWN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")  # would mix Forge's environment into COMET's

WORKER = """
import json, sys
from comet import download_model, load_from_checkpoint
settings, rows, out = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
name = settings["model"]
model = load_from_checkpoint(name if name.endswith(".ckpt") else download_model(name))
data = [json.loads(line) for line in open(rows, encoding="utf-8")]
scores = model.predict(data, batch_size=settings["batch_size"], gpus=settings["gpus"]).scores
with open(out, "w", encoding="utf-8") as file:
    file.writelines(json.dumps({"score": float(score)}) + "\\n" for score in scores)
"""


@dataclass(frozen=True)
class CometScores:
    """What COMET says: about 0 to 1 for its models since 2022, higher is better; other models have other ranges."""

    model: str
    score: float  # mean over the lines
    lines: tuple[float, ...]


def score_comet(
    sources: Sequence[str],
    hypotheses: Sequence[str],
    references: Sequence[str] | None,
    model: str = MODEL,
    gpus: int = 0,
    timeout_s: float = TIMEOUT_S,
) -> CometScores:
    """Score N translations with their sources and references. Raises UserError of one line where COMET cannot.

    `model` is a name on the hub, or the path of a .ckpt file. Models that need no references (`KIWI`) are given none.
    """
    counted = len(sources) if references is None else len(references)
    if not len(sources) == len(hypotheses) == counted or not sources:
        counts = f"{len(sources):,}, {len(hypotheses):,} and {counted:,}"
        raise UserError(f"COMET needs as many sources as hypotheses and references, these are {counts}")
    with TemporaryDirectory(prefix="forge-comet-") as name:
        folder = Path(name)
        rows = [{"src": s, "mt": h} for s, h in zip(sources, hypotheses, strict=True)]
        for row, reference in zip(rows, references or (), strict=references is not None):
            row["ref"] = reference
        if interpreter := os.environ.get(INTERPRETER):
            scores = _by_interpreter(interpreter, folder, rows, model, gpus, timeout_s)
        elif command := shutil.which(COMMAND):
            scores = _by_command(command, folder, rows, model, gpus, timeout_s)
        else:
            raise _absent()
    if len(scores) != len(rows) or not all(isfinite(score) for score in scores):
        raise UserError(f"COMET answered {len(scores):,} numbers for {len(rows):,} translations, or some are no number")
    return CometScores(model, sum(scores) / len(scores), tuple(scores))


def require_comet() -> None:
    """Raises UserError of one line where there is no COMET to ask."""
    if not os.environ.get(INTERPRETER) and not shutil.which(COMMAND):
        raise _absent()


def _absent() -> UserError:
    return UserError(
        f"COMET is not here: it needs an environment of its own, with `pip install unbabel-comet`; then set "
        f"{INTERPRETER} to that environment's python, or put its {COMMAND} on the PATH"
    )


def _by_interpreter(
    interpreter: str, folder: Path, rows: Sequence[dict[str, str]], model: str, gpus: int, timeout_s: float
) -> list[float]:
    given, answer = folder / "rows.jsonl", folder / "scores.jsonl"
    given.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    settings = json.dumps({"model": model, "gpus": gpus, "batch_size": 8})
    program = Path(interpreter).expanduser()
    _run([str(program), "-c", WORKER, settings, str(given), str(answer)], folder, answer, timeout_s)
    try:
        return [float(json.loads(line)["score"]) for line in answer.read_text(encoding="utf-8").splitlines()]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"COMET's answer cannot be read: {error}") from error


def _by_command(
    command: str, folder: Path, rows: Sequence[dict[str, str]], model: str, gpus: int, timeout_s: float
) -> list[float]:
    answer, words = folder / "scores.json", [command, "--quiet", "--gpus", str(gpus), "--model", model]
    for option, part in (("-s", "src"), ("-t", "mt"), ("-r", "ref")):
        if part not in rows[0]:
            continue
        # A line each: a line break inside a text would shift all that follow.
        text = "".join(" ".join(row[part].split()) + "\n" for row in rows)
        (folder / part).write_text(text, encoding="utf-8")
        words += [option, str(folder / part)]
    _run([*words, "--to_json", str(answer)], folder, answer, timeout_s)
    try:
        (lines,) = json.loads(answer.read_text(encoding="utf-8")).values()
        return [float(line["COMET"]) for line in lines]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"COMET's answer cannot be read: {error}") from error


def _run(words: list[str], folder: Path, answer: Path, timeout_s: float) -> None:
    """Run COMET to its end; whatever happens nothing of it is left running."""
    log = folder / "output"
    environment = {name: value for name, value in os.environ.items() if name not in OWN} | {"PYTHONUTF8": "1"}
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(  # noqa: S603 - the program is the user's own setting
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # so that its data workers end with it
            )
        except OSError as error:
            raise UserError(f"{INTERPRETER}: cannot run {words[0]}: {os.strerror(error.errno or 0)}") from error
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise UserError(f"COMET did not answer within {timeout_s:,.0f} s and was stopped") from error
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if code or not answer.is_file():
        said = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        ended = f"ended with code {code}" if code else "wrote no scores"
        raise UserError(f"COMET ({words[0]}) {ended}: {said[-1] if said else 'it said nothing'}")
