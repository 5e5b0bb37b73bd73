"""report.html of one or several studies, with results.csv and effects.json beside it: every number of the report."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from forge.core.io import storage_errors, write_atomic, write_json
from forge.reports.page import figures as side_by_side
from forge.reports.page import folded, heading, page, paragraph
from forge.study import figures, tables, wording
from forge.study.analysis import Analysis, Findings, analyse
from forge.study.methods import methods
from forge.study.numbers import as_json
from forge.study.results import Declared, Result

REPORT, TABLE, NUMBERS = "report.html", "results.csv", "effects.json"
PAIRS_SHOWN = 10  # of factors: five factors have so many
COST_SHOWN = ("cpu_seconds", "wall_seconds")


def write_report(studies: Sequence[tuple[Declared, Sequence[Result]]], folder: Path) -> None:
    """Analyse studies and write the three files, each anew from all results.

    Raises UserError, before anything is written, where a study is not complete.
    """
    findings = analyse(studies)
    with storage_errors(f"writing the report in {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / TABLE, flat_table(studies))
        write_json(folder / NUMBERS, as_json(findings))
        write_atomic(folder / REPORT, render(findings))


def render(findings: Findings) -> str:
    """The page; equal findings give equal bytes."""
    names = list(dict.fromkeys(study.declared.name for study in findings.studies))
    body, several = [heading(f"Study {', '.join(names)}", 1)], len(names) > 1
    if findings.pooled:
        body.append(paragraph(wording.pooled_headline(findings), "verdict"))
    for study in findings.studies:
        named = f"{study.declared.name}: " if several else ""
        body.append(paragraph(named + wording.headline(study), "verdict"))
        body.append(paragraph(f"{wording.outlook(study)} {wording.best_cells(study)}"))
    body += _over_tasks(findings)
    for study in findings.studies:
        body += _study(study, findings.label(study) if len(findings.studies) > 1 else "")
    body += [heading("How these numbers were made", 2), *(paragraph(words) for words in methods(findings))]
    return page(f"Study {', '.join(names)}", body)


def flat_table(studies: Sequence[tuple[Declared, Sequence[Result]]]) -> str:
    """One row a cell and seed, in the order of the design, controls last."""
    factors = list(dict.fromkeys(factor for declared, _ in studies for factor in declared.factors))
    measures = sorted({name for _, results in studies for result in results for name in result.measures})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["study", "task", *factors, "control", "seed", "outcome_name", "outcome", *measures])
    for declared, results in studies:
        for result in sorted(results, key=lambda result: _order(declared, result)):
            levels = [result.cell.get(factor, "") for factor in factors]
            kept = [repr(float(result.measures[name])) if name in result.measures else "" for name in measures]
            named = [declared.name, declared.task, *levels, result.control or "", result.seed, declared.outcome]
            writer.writerow([*named, repr(float(result.outcome)), *kept])
    return out.getvalue()


def _order(declared: Declared, result: Result) -> tuple[str, list[int], int]:
    levels = [list(declared.factors[factor]).index(result.cell[factor]) for factor in declared.factors if result.cell]
    return result.control or "", levels, list(declared.seeds).index(result.seed)


def _over_tasks(findings: Findings) -> list[str]:
    if not findings.pooled:
        return []
    tasks = [f"{findings.label(study)} ({study.declared.outcome})" for study in findings.studies]
    note = (
        "Gains in units of σ, the noise of one run of that task; right of 0 is better whatever the outcome. "
        "The diamond is their mean, filled if chance is an unlikely cause."
    )
    drawing = side_by_side([figures.forest(findings.pooled, tasks)])
    shown = [heading("Over all tasks", 2), paragraph(note, "note"), drawing, tables.pooled(findings.pooled, tasks)]
    ranks = tables.ranks_over_tasks(findings)
    return shown + ([folded("Mean ranks of cells over tasks", ranks)] if ranks else [])


def _study(study: Analysis, label: str) -> list[str]:
    declared = study.declared
    title = f"{label}: {declared.outcome}" if label else f"{declared.outcome} on {declared.task}"
    if not label.startswith(declared.name):
        title = title[:1].upper() + title[1:]
    return [
        heading(title, 2),
        *_effects(study),
        *_interplay(study),
        *_cells(study),
        *_controls(study),
        *_likeness(study),
        *_rest(study),
    ]


def _effects(study: Analysis) -> list[str]:
    direction = "Higher" if study.declared.higher_is_better else "Lower"
    note = (
        f"{direction} {study.declared.outcome} is better. Bars: size of each effect, blue for the better, orange for "
        "the worse; filled if found, hatched if it may be chance."
    )
    if study.sigma is not None:
        note += (
            " The black mark is what that effect had to reach (Holm), the dotted line the smallest effect worth "
            "knowing. Dots: the effect in each seed, with its mean and 95 % interval."
        )
    elif study.lenth:
        note += (
            " Dashed: what one effect alone passes by chance one time in twenty (Lenth's ME); solid: what the largest "
            "of all does (SME); dotted: the smallest effect worth knowing."
        )
    drawings = [figures.pareto(study), *([figures.by_seed(study)] if study.seeds > 1 else [])]
    return [
        heading("Effects", 3),
        paragraph(note, "note"),
        side_by_side(drawings),
        tables.effects(study),
        folded("The effect in each seed", tables.by_seed(study)),
    ]


def _interplay(study: Analysis) -> list[str]:
    if not study.grid.full:
        return [
            paragraph(
                "In this design main effects hide interactions, so it cannot say whether one part depends on another.",
                "note",
            )
        ]
    drawings = figures.interactions(study)
    if not drawings:
        return []
    note = (
        "Mean over everything else. Parallel lines: the two only add up."
        + " Bars: 95 % for the mean, with what a seed does to all cells taken out." * (study.seeds > 1)
    )
    shown = [heading("Does one depend on another?", 3), paragraph(note, "note"), side_by_side(drawings[:PAIRS_SHOWN])]
    return [*shown, folded("The means", tables.interactions(study))]


def _cells(study: Analysis) -> list[str]:
    note = "Mean of each cell; darker is better"
    if not study.grid.full:
        note = f"The word in a cell is the level of {', '.join(list(study.declared.factors)[2:])}. {note}"
    if study.sigma is not None:
        note += "; below it half of its 95 % interval for other seeds; outlined: cannot be told apart from the best"
    shown = [
        heading("Cells", 3),
        paragraph(f"{note}.", "note"),
        side_by_side([figures.cell_map(study)]),
        tables.cells(study),
    ]
    cost = next((name for name in COST_SHOWN if name in study.grid.measures), None)
    if cost is None:
        return shown
    drawing = figures.costs(study, cost)
    return [*shown, heading("What a run costs", 3), side_by_side([drawing, tables.costs(study)])]


def _controls(study: Analysis) -> list[str]:
    if not study.controls and not study.grid.controls:
        return []
    grid = study.grid
    shown = [at for at in dict.fromkeys([grid.baseline, *grid.counterparts.values()]) if at is not None]
    rows = [(grid.label(grid.cells[at]), grid.outcome_CS[at], False) for at in shown]
    rows += [(name.replace("_", " "), outcome_S, True) for name, outcome_S in grid.controls.items()]
    note = (
        "A teacher that knows nothing, and a teacher's logits given to the wrong examples. What these gain over none "
        "comes from soft targets as such; what the same cell with its teacher gains over these comes from what the "
        "teacher knows."
    )
    drawing = figures.controls(study, rows)
    return [heading("Controls", 3), paragraph(note, "note"), side_by_side([drawing, tables.comparisons(study)])]


def _likeness(study: Analysis) -> list[str]:
    """Of classifiers alone: what is kept of texts does not say whether two are the same."""
    if not (study.fidelity or study.declared.answers):
        return []
    shown = [heading("Agreement with the teacher", 3), paragraph(wording.likeness(study), "note")]
    return [*shown, tables.fidelity(study)] if study.fidelity else shown


def _rest(study: Analysis) -> list[str]:
    parts = [folded("Analysis of variance, a check", tables.variance(study))]
    if study.secondary:
        parts.append(folded("Effects on other figures", tables.secondary(study)))
    return [heading("To look up", 3), *parts]
