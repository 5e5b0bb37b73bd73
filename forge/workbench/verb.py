"""The verb `workbench`: what is asked of it on the command line, and what it says."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

from forge.core.errors import UserError
from forge.workbench.asked import Asked
from forge.workbench.findings import Findings


def workbench(options: argparse.Namespace) -> str:
    """Look at the runs, write what was found, and say where. Raises UserError."""
    asked = asked_of(options)
    from forge.workbench.course import look
    from forge.workbench.report import write_report
    from forge.workbench.store import REPORT

    findings, folder = look(asked, _say)

    write_report(findings, folder / REPORT)
    return told(findings) + f"\n{folder / 'findings.json'}\n{folder / REPORT}"


def asked_of(options: argparse.Namespace) -> Asked:
    """Raises UserError for words that do not go together."""
    words = list(options.words)
    given = (options.teacher, options.baseline, options.rows, options.quick, options.out, options.split)
    if words[:1] == ["compare"]:
        runs = words[1:]
        if options.run_dir:
            raise UserError("workbench compare names its runs without --run: workbench compare R1 R2")
        if len(runs) < 2:
            raise UserError("workbench compare needs two runs or more: workbench compare R1 R2")
        if options.baseline:
            raise UserError("workbench compare takes no --baseline; name it among the runs")
        return Asked(runs, *given)
    if words:
        raise UserError(f"workbench {words[0]}: write workbench --run {words[0]}, or workbench compare R1 R2")
    if not options.run_dir:
        raise UserError("workbench needs --run R, or: workbench compare R1 R2")
    return Asked([options.run_dir], *given)


def told(findings: Findings) -> str:
    """Figures, verdicts and notes, a line each."""
    lines = [f"{findings.rows.used:,} rows of {findings.rows.split}. {findings.rows.overlap_told}"]
    lines += [f"{one.name}: {_figures(one.figures)}" for one in findings.subjects if one.figures]
    lines += [f"- {verdict.sentence}" for verdict in findings.verdicts]
    lines += [f"note ({note.about}): {note.text}" for note in findings.notes]
    return "\n".join(lines)


def _figures(figures: Mapping[str, float | None]) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in figures.items() if value is not None)


def _say(line: str) -> None:
    print(f"forge: {line}", file=sys.stderr, flush=True)  # noqa: T201
