"""The sections of the findings, of what was seen of all models."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from threadpoolctl import threadpool_limits

from forge.core.version import VERSION
from forge.workbench.aligned import Alignments
from forge.workbench.attending import MOST_EXAMPLES as MAPPED
from forge.workbench.attending import attention_maps
from forge.workbench.dynamics import by_dynamics
from forge.workbench.features import Layers
from forge.workbench.findings import (
    MOST_EXAMPLES,
    SCHEMA,
    Alignment,
    AttentionMap,
    Disagreement,
    Dynamics,
    Example,
    Findings,
    Nearer,
    Probing,
    Rows,
    Subject,
    Verdict,
    stack_name,
)
from forge.workbench.looking import SEED, Look
from forge.workbench.parted import ordered, tags_of
from forge.workbench.probed import Labelled, probed
from forge.workbench.slices import Axis
from forge.workbench.verdicts import of_compared, of_nearer, of_probing, without_baseline
from forge.workbench.views.writing import token_labels

ROWS_OF_CKA = 2_000  # Gram matrices of more cost too much memory


def compare(found: Look, quick: bool) -> tuple[Findings, list[Example]]:
    """Everything that is said of what was seen, and all examples."""
    threads = found.opened.sources[-1].settings.train.threads  # of a tiny model more would wait for each other
    began = time.monotonic()
    with threadpool_limits(threads):
        alignment, nearer = _alignment(found)
    found.say(f"similarity of layers, {time.monotonic() - began:.1f} s")
    began = time.monotonic()
    with threadpool_limits(1):  # matrices of probes are small
        probing = _probing(found)
    found.say(f"probes, {time.monotonic() - began:.1f} s")
    opened, shown, reference = found.opened, found.shown, found.opened.reference
    known = found.watched[reference].made if reference else None
    axes, course = found.view.axes(shown, known), None if quick else _dynamics(found)
    axes += [course[0]] if course else []
    parted = replace(_parted(found, axes), dynamics=(course[1],) if course else ())
    examples = _examples(found, axes, quick)
    findings = Findings(
        schema=SCHEMA,
        forge=VERSION,
        title=opened.title,
        quick=quick,
        seed=SEED,
        subjects=tuple(_subjects(found)),
        rows=_rows(found),
        verdicts=tuple(_verdicts(found, nearer, parted, probing)),
        alignment=tuple(alignment),
        nearer=tuple(nearer),
        probing=tuple(probing),
        disagreement=parted,
        examples=tuple(examples[:MOST_EXAMPLES]),
        notes=tuple(found.notes),
    )
    return findings, examples


def _alignment(found: Look) -> tuple[list[Alignment], list[Nearer]]:
    reference = found.opened.reference
    if reference is None:
        found.note("alignment", "There is no teacher, so layers were compared with no other model's.")
        return [], []
    made: list[Alignment] = []
    nearer: list[Nearer] = []
    for stack in found.watched[reference].stacks:
        group = Alignments(stack, reference, _layers(found, reference, stack), SEED)
        for key, seen in found.watched.items():
            if key != reference and stack in seen.stacks:
                with found.noting("alignment", f"{stack_name(stack)} of {found.name(key)}"):
                    group.add(key, _layers(found, key, stack))
        made += group.found
        nearer += _nearer(found, group)
    return made, nearer


def _nearer(found: Look, group: Alignments) -> list[Nearer]:
    told = []
    compared = {one.other for one in group.found}
    for model, than in found.opened.pairs:
        if not {model, than} <= compared:
            continue
        difference = group.nearer(model, than)
        if difference:
            told.append(difference)
        else:
            names = f"{found.name(model)} and {found.name(than)}"
            found.note(
                "alignment", f"{stack_name(group.stack)}: {names} differ in depth, so no layer stands for another."
            )
    return told


def _layers(found: Look, key: str, stack: str) -> Layers:
    features = found.watched[key].stacks[stack].all_features()
    return {name: x_ND[:ROWS_OF_CKA] for name, x_ND in features.items()}


def _probing(found: Look) -> list[Probing]:
    made: list[Probing] = []
    for stack in dict.fromkeys(stack for seen in found.watched.values() for stack in seen.stacks):
        having = {key: seen.stacks[stack].all_features() for key, seen in found.watched.items() if stack in seen.stacks}
        told = [(one, having) for one in found.view.labelled(stack, found.shown)]
        for label, models in [*told, *_tokens(found, stack)]:
            with found.noting("probing", f"{label.name} in the {stack_name(stack)}"):
                made.append(probed(stack, label, models, found.opened.pairs, found.effort))
    return made


def _tokens(found: Look, stack: str) -> list[tuple[Labelled, Mapping[str, Layers]]]:
    """What there is to probe in single tokens, for the models that cut texts as the first one does."""
    having = {key: seen.tokens_of[stack] for key, seen in found.watched.items() if stack in seen.tokens_of}
    if not having:
        return []
    first = next(iter(having.values()))
    for key, rows in having.items():
        if rows.tokens != first.tokens:
            found.note("probing", f"tokens in the {stack}: {found.name(key)} cuts texts into other tokens.")
    told = token_labels(stack, first)
    same = {key: rows.seen.all_features() for key, rows in having.items() if rows.tokens == first.tokens}
    return [(told, same)] if told else []


def _rows(found: Look) -> Rows:
    shown = found.shown
    return Rows(
        task=found.opened.task,
        split=shown.split,
        used=len(shown.ids),
        of=shown.of,
        left_out=shown.overlap.rows or 0,
        fingerprint=shown.fingerprint,
        labels=shown.labels,
        overlap_with_training=shown.overlap,
    )


def _dynamics(found: Look) -> tuple[Axis, Dynamics] | None:
    began, made = time.monotonic(), None
    with found.noting("disagreement", "training dynamics"):
        made = by_dynamics(found)
    if made:
        found.say(f"{len(made[1].steps)} checkpoints of {found.name(made[1].model)}, {time.monotonic() - began:.1f} s")
    return made


def _parted(found: Look, axes: Sequence[Axis]) -> Disagreement:
    reference, made = found.opened.reference, Disagreement()
    with found.noting("disagreement", "answers"):
        made = found.view.parts(found.shown, found.watched, reference, found.opened.pairs, axes, SEED)
    if reference is None:
        found.note("disagreement", "There is no teacher, so answers were compared with no other model's.")
        return made
    for key, seen in found.watched.items():
        if made.texts and seen.made and seen.tokens != found.watched[reference].tokens:
            found.note("disagreement", f"{found.name(key)} cuts texts into other tokens: no agreement token by token.")
    return made


def _examples(found: Look, axes: Sequence[Axis], quick: bool) -> list[Example]:
    """All rows, those where the reference and the first other model are furthest apart first."""
    shown, view = found.shown, found.view
    said = {key: view.said(seen.made, shown) for key, seen in found.watched.items() if seen.made is not None}
    apart: list[float | None] = [None] * len(shown.ids)
    reference = found.opened.reference
    others = [source.key for source in found.opened.sources if source.role == "student" and source.key != reference]
    if reference and others:
        first, second = (found.watched[key].made for key in (reference, others[0]))
        if first is not None and second is not None:
            apart = view.apart(first, second)
    tags, order = tags_of(axes, len(shown.ids)), ordered(apart)
    attention = {} if quick or not said else _attention(found, [key for key in (reference, *others[:1]) if key], order)
    return [
        Example(
            id=shown.ids[row],
            inputs=shown.inputs[row],
            gold=shown.gold[row],
            said={key: texts[row] for key, (texts, _) in said.items()},
            confidence={key: sure[row] for key, (_, sure) in said.items() if sure},
            apart=apart[row],
            tags=tags[row],
            attention=tuple(attention.get(row, ())),
        )
        for row in order
    ]


def _attention(found: Look, keys: Sequence[str], order: Sequence[int]) -> dict[int, list[AttentionMap]]:
    """Where these models look, of the first examples; models are loaded once more for it."""
    made: dict[int, list[AttentionMap]] = {}
    if found.opened.task == "ocr":
        found.note("examples", "Where a reader looks on a page is not drawn.")
        return made
    for source in found.opened.sources:
        if source.key in keys:
            loaded = found.view.load(source, found.shown)
            maps = attention_maps(loaded, found.view.encode(loaded, found.shown), order[:MAPPED])
            if not maps:
                found.note("examples", f"{source.name} does not give its attention weights.")
            for row, one in maps.items():
                made.setdefault(row, []).append(one)
    return made


def _subjects(found: Look) -> list[Subject]:
    return [
        Subject(
            key=source.key,
            role=source.role,
            name=source.name,
            path=source.path,
            checkpoint=source.folder.name,
            architecture=found.watched[source.key].architecture,
            parameters=found.watched[source.key].parameters,
            stacks={stack: len(one.layers) for stack, one in found.watched[source.key].stacks.items()},
            figures=found.watched[source.key].figures,
        )
        for source in found.opened.sources
    ]


def _verdicts(found: Look, nearer: Sequence[Nearer], parted: Disagreement, probing: Sequence[Probing]) -> list[Verdict]:
    names = {source.key: source.name for source in found.opened.sources}
    made: list[Verdict] = [of_nearer(told, names) for told in nearer]
    made += [verdict for told in parted.compared for verdict in of_compared(told, names)]
    for told in probing:
        for difference in told.differences if told.of_task else ():
            if verdict := of_probing(told, difference, names):
                made.append(verdict)
    alone = [source.name for source in found.opened.sources if source.role == "student"]
    has_baseline = any(source.role == "baseline" for source in found.opened.sources)
    if found.opened.reference == "teacher" and len(alone) == 1 and not has_baseline:
        made.insert(0, without_baseline(alone, names["teacher"]))
    return made
