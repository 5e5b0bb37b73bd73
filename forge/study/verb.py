"""The verb `study`: run, status, report, submit. No torch before something is to be done."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from forge.config.study import levels_named, wrong_level
from forge.core.errors import EXIT_DONE, ConfigError, Problem, UserError
from forge.study.course import Course, Standing
from forge.study.plan import Plan, load_plan

TOP_UP_ROUNDS = 10
OF_ACTION = dict.fromkeys(
    ("workers", "retry_failed", "fail_fast", "top_up", "only", "prepare", "index", "where"), "run"
) | {
    "at_once": "submit",
    "sbatch": "submit",
    "out": "report",
    "json": "status",
}
"""Which action each flag is for."""


def study(options: argparse.Namespace, rest: Sequence[str]) -> int:
    """Do what the command line asks for. Raises ForgeError."""
    # Settings that stand after the files, where argparse takes every word for one more of them.
    rest = [*(word for word in options.config if "=" in word), *rest]
    options.config = [word for word in options.config if "=" not in word]
    _check(options)
    plans = [(str(config), load_plan(config, rest)) for config in options.config]
    names = [plan.folder for _, plan in plans]
    if len(set(names)) < len(names):
        raise UserError("two of these studies have the same name and directory; give one another name")
    if options.index is not None:
        from forge.study.submit import run_index, where_is

        config, plan = plans[0]
        if options.where:
            print(where_is(plan, options.index))  # noqa: T201
            return EXIT_DONE
        return run_index(config, plan, tuple(rest), options.index)
    only = _only([plan for _, plan in plans], options.only or [])
    courses = [Course(plan, config, tuple(rest), only) for config, plan in plans]
    if options.action == "run":
        _run(options, courses)
    elif options.action == "submit":
        _submit(options, courses)
    elif options.action == "status":
        _status(options, courses)
    else:
        print(_report(options, courses))  # noqa: T201
    return EXIT_DONE


def _check(options: argparse.Namespace) -> None:
    """Refuse flags that do not go together."""
    if options.where and options.index is None:
        raise UserError("--where goes with --index")
    if options.index is not None and len(options.config) > 1:
        raise UserError("--index is one job of one study; give one --config")
    for flag, action in OF_ACTION.items():
        if getattr(options, flag) and options.action != action:
            raise UserError(f"--{flag.replace('_', '-')} is for study {action}, not for study {options.action}")


def _only(plans: Sequence[Plan], words: list[str]) -> list[tuple[str, str]]:
    pairs = levels_named(words)
    for plan in plans:
        for factor, level in pairs:
            if problem := wrong_level(plan.study, factor, level):
                raise ConfigError([Problem(f"--only: {problem.message}", "command line", problem.hint)])
    return pairs


def _run(options: argparse.Namespace, courses: list[Course]) -> None:
    from forge.study.board import Board
    from forge.study.runner import Runner
    from forge.train.signals import listening

    _preflight(courses)
    for course in courses:
        if options.retry_failed:
            course.forgive()
    with listening() as stop:
        stop.saves = True  # workers do; this process only has to wait for them
        for _ in range(TOP_UP_ROUNDS if options.top_up else 1):
            Runner(courses, stop, Board(courses), options.workers, options.fail_fast, options.prepare).run()
            if not (options.top_up and _top_up(courses)):
                break
    complete = [course for course in courses if course.complete]
    if complete and not options.prepare:
        configs = " ".join(options.config)
        print(f"next: python forge.py study report --config {configs}")  # noqa: T201


def _preflight(courses: Sequence[Course]) -> None:
    """Refuse a study whose models or data are not to be had, before anything starts."""
    from forge.preflight import preflight
    from forge.study.plan import Job

    for course in courses:
        plan = course.plan
        bare = next((cell for cell in plan.cells if not plan.probe(cell).settings.distill.losses()), None)
        if bare and "start" not in plan.firsts():
            preflight(plan.resolved(Job(bare, plan.study.seeds[0]), {}))
        if plan.losses() and not plan.firsts():
            preflight(plan.matching())


def _top_up(courses: Sequence[Course]) -> bool:
    """Add the seeds that each study still needs; whether there are any."""
    from forge.study.topup import missing_seeds

    added = False
    for course in courses:
        more = missing_seeds(course) if course.complete and not course.only else []
        if more:
            print(f"{course.name}: adds seeds {', '.join(map(str, more))}", flush=True)  # noqa: T201
            course.add_seeds(more)
            added = True
    return added


def _submit(options: argparse.Namespace, courses: Sequence[Course]) -> None:
    from forge.study.submit import submit

    for course in courses:
        for line in submit(course.config, course, options.at_once, options.sbatch):
            print(line, flush=True)  # noqa: T201


def _status(options: argparse.Namespace, courses: Sequence[Course]) -> None:
    from forge.study import board

    if options.json:
        print(json.dumps([board.as_json(course) for course in courses], indent=2))  # noqa: T201
        return
    for course in courses:
        if sys.stdout.isatty():
            from rich.console import Console

            Console().print(board.table(course))
        else:
            print(board.plain(course))  # noqa: T201
        for standing in course.failures:
            print(f"failed: {_named(standing)}: {standing.failed}")  # noqa: T201


def _report(options: argparse.Namespace, courses: Sequence[Course]) -> str:
    from forge.study.collect import collect
    from forge.study.report import write_report

    folder = Path(options.out) if options.out else courses[0].store.folder / "report"
    write_report([collect(course) for course in courses], folder)
    return str(folder / "report.html")


def _named(standing: Standing) -> str:
    return standing.job.shown if standing.job else standing.task.name
