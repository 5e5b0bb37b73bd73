"""From runs to findings on disk: open, show the same rows to every model, compare what was seen, write it down."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from forge.core.errors import UserError
from forge.core.hashing import digest
from forge.workbench.asked import Asked
from forge.workbench.findings import Findings, stack_name
from forge.workbench.looking import SEED, Look, Say
from forge.workbench.opening import Opened, open_runs
from forge.workbench.probed import Effort
from forge.workbench.sections import compare
from forge.workbench.store import Store
from forge.workbench.views import VIEWS

LEAST_ROWS = 30  # below it no estimator says anything
_OTHERS = "take another split with --split, or a run with a larger one"


def look(asked: Asked, say: Say) -> tuple[Findings, Path]:
    """The findings, and the folder that they and all else were written to. Raises UserError."""
    from forge.assemble import quiet_libraries

    quiet_libraries()
    opened = open_runs(asked)
    view = VIEWS[opened.task]
    most = asked.rows or (view.most_quick if asked.quick else view.most)
    shown = view.show(opened.run, opened.split, opened.table, most)
    if len(shown.ids) < LEAST_ROWS:
        raise UserError(
            f"{opened.table.name}  gives {len(shown.ids)} rows, and its figures need at least {LEAST_ROWS}; "
            f"{'give --rows more' if most < LEAST_ROWS <= shown.of else _OTHERS}"
        )
    store = Store(_folder(asked, opened))
    for source in opened.sources:
        view.check(source, shown)
    store.begin()
    _take_threads(opened)
    found = Look(opened, view, shown, Effort.of(asked.quick, SEED), say)
    for about, text in opened.notes:
        found.note(about, text)
    _note_rows(found, asked)
    try:
        _watch(found, asked.quick, store)
        findings, examples = compare(found, asked.quick)
        store.write(findings, examples)
    except BaseException:
        store.abandon()
        raise
    return findings, store.folder


def _folder(asked: Asked, opened: Opened) -> Path:
    if asked.out:
        return Path(asked.out).expanduser()
    beside = opened.run.path / "workbench"
    if len(asked.runs) == 1:
        return beside
    return beside / f"compare-{digest([str(Path(run).resolve()) for run in asked.runs], 8)}"


def _take_threads(opened: Opened) -> None:
    """As many as the run was trained with: a tiny model on more of them only waits for itself."""
    if threads := opened.sources[-1].settings.train.threads:
        torch.set_num_threads(threads)


def _note_rows(found: Look, asked: Asked) -> None:
    shown = found.shown
    if asked.rows and asked.rows > len(shown.ids):
        found.note("rows", f"{asked.rows:,} rows were asked for, the split has {len(shown.ids):,}.")
    if shown.split.split(".")[0] != "test":
        whose = "The run's" if asked.split else "The run has no test split, and its"
        found.note(
            "rows",
            f"{whose} split {shown.split} was measured while it trained; the first validation split chose the best "
            "checkpoint, which may flatter it here.",
        )


def _watch(found: Look, quick: bool, store: Store) -> None:
    """Show every model the rows, one model in memory at a time, the reference first."""
    for source in found.opened.sources:
        began = time.monotonic()
        known = found.watched.get(found.opened.reference or "")
        loaded = found.view.load(source, found.shown)
        seen = found.view.watch(
            loaded, found.shown, store.representations(source.key), known.made if known else None, quick
        )
        found.watched[source.key] = seen
        layers = [f"{len(one.layers)} layers of the {stack_name(stack)}" for stack, one in seen.stacks.items()]
        rows = f"{len(found.shown.ids):,} rows through {', '.join(layers) or 'no layer that could be read'}"
        found.say(f"{source.name}: {rows}, {time.monotonic() - began:.1f} s")
        for stack, why in seen.missed.items():
            found.note("models", f"The {stack_name(stack)} of {source.name} could not be looked into: {why}.")
