"""All runs below a folder: how each stands, what to type next. Reads what is there, changes nothing, trusts nothing."""

from __future__ import annotations

import math
import os
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forge.core.errors import UserError
from forge.core.manifest import CHECKPOINT, average_of
from forge.runs.lock import is_held
from forge.runs.run_dir import LOCK, LOG, METADATA, METRICS, STATE, read_record

if TYPE_CHECKING:
    from rich.table import Table

STATES = ("running", "completed", "interrupted", "failed", "stale", "unreadable")
COLUMNS = ("run", "mode", "state", "progress", "lives", "best", "newest checkpoint", "next")
STYLES = {"running": "cyan", "completed": "green", "failed": "red", "unreadable": "red"}  # the rest is yellow
REASON_LENGTH = 80


@dataclass(frozen=True)
class Listed:
    """One run, as far as its files say; None and empty for what they do not."""

    run: str  # below the folder that was asked for
    path: str
    mode: str
    state: str
    step: int | None
    total_steps: int | None
    lives: int | None
    best: Mapping[str, Any] | None  # the result: metric, value, step, `averaged` where it is an average
    checkpoint: str
    checkpoint_age_s: float | None
    active: float  # when something was last written, in seconds of the epoch
    reason: str  # why it ended, or what cannot be read
    next: str  # a command

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self) | {"active": datetime.fromtimestamp(self.active, UTC).isoformat(timespec="seconds")}

    def cells(self) -> list[str]:
        """For people, in the order of COLUMNS."""
        progress = "" if self.step is None else f"{self.step}"
        if self.step is not None and self.total_steps:
            progress = f"{self.step}/{self.total_steps} {100 * self.step // self.total_steps}%"
        where = "average" if self.best and self.best.get("averaged") else f"at {self.best['step']}" if self.best else ""
        best = self.best and f"{self.best['metric']} {self.best['value']:.4f} {where}"
        age = "" if self.checkpoint_age_s is None else f", {_age(self.checkpoint_age_s)} ago"
        hint = self.reason if self.state in {"failed", "unreadable"} else self.next
        if len(hint) > REASON_LENGTH and hint is self.reason:
            hint = hint[: REASON_LENGTH - 1] + "…"
        lives = "" if self.lives is None else str(self.lives)
        cells = (self.run, self.mode, self.state, progress, lives, best or "", self.checkpoint + age, hint)
        return [_printable(cell) for cell in cells]


def list_runs(folder: Path, state: str | None = None) -> list[Listed]:
    """The runs below `folder`, the one that wrote last first. Raises UserError for no such folder or state."""
    if state not in {None, *STATES}:
        raise UserError(f"--state: no state '{state}'; states are {', '.join(STATES)}")
    if not folder.is_dir():
        raise UserError(f"{folder}  is not a directory; runs are below run.dir, by default below runs")
    now = time.time()
    found = [_look(path, folder, now) for path in _run_directories(folder)]
    wanted = [run for run in found if state in {None, run.state}]
    return sorted(wanted, key=lambda run: (-run.active, run.run))


def plain_table(runs: Sequence[Listed]) -> str:
    """Aligned text, a line a run."""
    rows = [list(COLUMNS), *(run.cells() for run in runs)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def rich_table(runs: Sequence[Listed]) -> Table:
    """The same for a terminal, which folds what is too long for it."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in COLUMNS:
        table.add_column(name, overflow="fold", no_wrap=name == "state")
    for run in runs:
        style = STYLES.get(run.state, "yellow")
        cells = zip(COLUMNS, run.cells(), strict=True)
        table.add_row(*(Text(cell, style=style if name == "state" else "") for name, cell in cells))
    return table


def _run_directories(folder: Path) -> Iterator[Path]:
    """Directories that a run has written to. Links are not followed: `latest` shows what is listed anyway."""
    ahead = [folder]
    while ahead:
        here = ahead.pop()
        try:
            with os.scandir(here) as scan:
                entries = list(scan)
        except OSError:  # not for this user, or deleted meanwhile
            continue
        if any(entry.name in {METADATA, STATE} for entry in entries):
            yield here
        else:
            ahead += [here / entry.name for entry in entries if _is_folder(entry)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _look(path: Path, folder: Path, now: float) -> Listed:
    metadata = _load(path / METADATA)
    state, progress, trouble = _stand(path, metadata)
    metadata, progress = metadata or {}, progress or {}
    lives = metadata.get("lives")
    lives = lives if isinstance(lives, list) else None
    checkpoint, saved = _newest_checkpoint(path)
    return Listed(
        run=str(path.relative_to(folder)),
        path=str(path),
        mode=_text(metadata.get("mode")),
        state=state,
        step=_count(progress.get("step")),
        total_steps=_count(progress.get("total_steps")),
        lives=None if lives is None else len(lives),
        best=_best(progress),
        checkpoint=checkpoint,
        checkpoint_age_s=None if saved is None else round(max(now - saved, 0.0), 1),
        active=max(_written(path / name) or 0.0 for name in (METADATA, STATE, METRICS, LOG, LOCK)),
        reason=trouble or _text(progress.get("reason")),
        next=_next_command(path, state, lives or []),
    )


def _stand(path: Path, metadata: Mapping[str, Any] | None) -> tuple[str, dict[str, Any] | None, str]:
    """State, progress, and what cannot be read. The lock tells a run that goes from one that died saying so."""
    progress = _load(path / STATE)
    if _status(progress) != "completed":
        if is_held(path / LOCK):
            return "running", progress, ""
        progress = _load(path / STATE)  # it may have ended between the two looks
    damaged = [name for name, record in ((METADATA, metadata), (STATE, progress)) if record is None]
    if damaged or not _status(progress):
        return "unreadable", progress, f"damaged: {', '.join(damaged or [STATE])}"
    status = _status(progress)
    return "stale" if status == "running" else status, progress, ""


def _status(progress: Mapping[str, Any] | None) -> str:
    """What the state says; a run without one has begun. Empty for what no run says."""
    status = _text(progress.get("status")) if progress else "running"
    return status if status in {"running", "completed", "interrupted", "failed"} else ""


def _load(path: Path) -> dict[str, Any] | None:
    """A JSON object; empty where there is no file, None where it is damaged."""
    try:
        return read_record(path)
    except UserError:
        return None if path.exists() else {}


def _newest_checkpoint(path: Path) -> tuple[str, float | None]:
    """The newest complete checkpoint and when it was saved."""
    try:
        steps = [int(match[1]) for name in os.listdir(path) if (match := CHECKPOINT.fullmatch(name))]  # noqa: PTH208
    except (OSError, ValueError):
        return "", None
    for step in sorted(steps, reverse=True):
        if (saved := _written(path / f"checkpoint-{step}/manifest.json")) is not None:
            return f"checkpoint-{step}", saved
    return "", None


def _next_command(path: Path, state: str, lives: Sequence[Any]) -> str:
    if state == "completed":
        return f"python forge.py evaluate --run {shlex.quote(str(path))}"
    if state == "running":
        return f"tail -f {shlex.quote(str(path / LOG))}"
    last = lives[-1] if lives and isinstance(lives[-1], dict) else {}
    command, launch = _words(last.get("command")), _words(last.get("launch"))
    if not command:
        return ""
    program = command[0]
    if launch and program.endswith(".py"):
        script = [] if launch[-1].endswith(".sh") else [program]  # run_training.sh knows the program
        return shlex.join([*launch, *script, *command[1:]])
    return shlex.join([*(["python", program] if program.endswith(".py") else [Path(program).name]), *command[1:]])


def _best(progress: Mapping[str, Any]) -> dict[str, Any] | None:
    value, average = progress.get("best"), average_of(progress)
    if not isinstance(value, dict):
        return None
    averaged = average.get("chosen") is True
    metric, figure, step = _text(value.get("metric")), value.get("value"), _count(value.get("step"))
    more = {"averaged": True} if averaged else {}
    if averaged:
        figure, step = average.get("value"), _count(progress.get("step"))
    usable = isinstance(figure, float) and math.isfinite(figure) and metric and step is not None
    return {"metric": metric, "value": figure, "step": step, **more} if usable else None


def _words(value: object) -> list[str]:
    return value if isinstance(value, list) and all(isinstance(word, str) for word in value) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _written(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _age(seconds: float) -> str:
    """A time span, roughly: the largest unit that fits."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _printable(text: str) -> str:
    """One line without signs that steer a terminal or that it cannot show."""
    return "".join(sign if sign.isprintable() else "?" for sign in " ".join(text.split()))
