"""Several looks as one: every model once and under a name of its own, everything said of it kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from forge.core.errors import UserError
from forge.workbench.findings import Disagreement, Example, Findings, Note, Probing, Subject

T = TypeVar("T")
_ROLES = ("teacher", "student", "baseline", "random_init")


@dataclass(frozen=True)
class Keys:
    """What each model of one look is called in all of them."""

    new: dict[str, str]

    def of(self, one: T, *names: str) -> T:
        """A record with the keys in these fields replaced."""
        return replace(one, **{name: self.new[getattr(one, name)] for name in names})  # type: ignore[type-var]


def merged(findings: Sequence[Findings]) -> Findings:
    """One look with the models of all. Raises UserError where tasks or classes differ, or there is nothing to merge."""
    first = _checked(findings)
    subjects, keys = _subjects(findings)
    order = list(subjects)
    both = list(zip(findings, keys, strict=True))
    verdicts = [
        replace(verdict, sentence=_named(verdict.sentence, one, named, subjects))
        for one, named in both
        for verdict in one.verdicts
        if verdict.answer != "unknown"
    ]
    return replace(
        first,
        title=" beside ".join(one.title for one in findings),
        quick=any(one.quick for one in findings),
        subjects=tuple(subjects.values()),
        verdicts=tuple(_once(verdicts, lambda one: one.sentence)),
        alignment=tuple(
            sorted(
                _once(
                    [named.of(part, "reference", "other") for one, named in both for part in one.alignment],
                    lambda part: (part.stack, part.reference, part.other),
                ),
                key=lambda part: order.index(part.other),
            )
        ),
        nearer=tuple(
            _once(
                [named.of(part, "reference", "model", "than") for one, named in both for part in one.nearer],
                lambda part: (part.stack, part.reference, part.model, part.than),
            )
        ),
        probing=tuple(_probing(both)),
        disagreement=_disagreement(both, order),
        examples=tuple(_examples(both)),
        notes=(*_notes(findings, subjects), *_once([note for one in findings for note in one.notes], lambda one: one)),
    )


def _checked(findings: Sequence[Findings]) -> Findings:
    if len(findings) < 2:
        raise UserError("a comparison needs the findings of two looks or more")
    first = findings[0]
    for one in findings[1:]:
        if (one.rows.task, one.rows.labels) != (first.rows.task, first.rows.labels):
            raise UserError(
                f"{one.title} is a look at {one.rows.task}, {first.title} at {first.rows.task}, or at other classes; "
                "compare looks at one task"
            )
    return first


def _subjects(findings: Sequence[Findings]) -> tuple[dict[str, Subject], list[Keys]]:
    """Every model once, told apart by role, place and checkpoint; students are called what their look is."""
    found: dict[tuple[str, str, str], Subject] = {}
    keys, counts = [], Counter[str]()
    for one in findings:
        new = {}
        for subject in one.subjects:
            identity = subject.role, subject.path, subject.checkpoint
            if identity not in found:
                counts[subject.role] += 1
                key = subject.role if counts[subject.role] == 1 else f"{subject.role}_{counts[subject.role]}"
                alone = sum(other.role == "student" for other in one.subjects) == 1
                name = one.title if subject.role == "student" and alone else subject.name
                found[identity] = replace(subject, key=key, name=name)
            new[subject.key] = found[identity].key
        keys.append(Keys(new))
    names = Counter(subject.name for subject in found.values())
    seen = Counter[str]()
    subjects = {}
    for subject in sorted(found.values(), key=lambda one: _ROLES.index(one.role)):
        seen[subject.name] += 1
        told = subject.name if names[subject.name] == 1 else f"{subject.name} ({seen[subject.name]})"
        subjects[subject.key] = replace(subject, name=told)
    return subjects, keys


def _named(sentence: str, one: Findings, keys: Keys, subjects: dict[str, Subject]) -> str:
    """A verdict with the new names: all looks call their student the same."""
    old = sorted(one.subjects, key=lambda subject: -len(subject.name))
    for place, subject in enumerate(old):  # in two steps, since a new name may be another's old one
        for name in (subject.name, subject.name[:1].upper() + subject.name[1:]):
            sentence = sentence.replace(name, f"\x00{place}\x00")
    for place, subject in enumerate(old):
        sentence = sentence.replace(f"\x00{place}\x00", subjects[keys.new[subject.key]].name)
    return sentence[:1].upper() + sentence[1:]


def _probing(both: Sequence[tuple[Findings, Keys]]) -> list[Probing]:
    found: dict[tuple[str, str], Probing] = {}
    for one, named in both:
        for part in one.probing:
            told = replace(
                part,
                curves=tuple(named.of(curve, "model") for curve in part.curves),
                differences=tuple(named.of(pair, "model", "than") for pair in part.differences),
            )
            known = found.get((part.stack, part.label))
            if known:
                curves = _once([*known.curves, *told.curves], lambda curve: curve.model)
                differences = _once([*known.differences, *told.differences], lambda pair: (pair.model, pair.than))
                told = replace(known, curves=tuple(curves), differences=tuple(differences))
            found[part.stack, part.label] = told
    return list(found.values())


def _disagreement(both: Sequence[tuple[Findings, Keys]], order: Sequence[str]) -> Disagreement:
    parts = [(one.disagreement, named) for one, named in both]
    classes = [named.of(part, "reference", "other") for one, named in parts for part in one.classes]
    texts = [named.of(part, "reference", "other") for one, named in parts for part in one.texts]
    calibration = [named.of(part, "model") for one, named in parts for part in one.calibration]
    compared = [named.of(part, "reference", "model", "than") for one, named in parts for part in one.compared]
    dynamics = [named.of(part, "model") for one, named in parts for part in one.dynamics]
    return Disagreement(
        tuple(sorted(_once(classes, lambda one: (one.reference, one.other)), key=lambda one: order.index(one.other))),
        tuple(sorted(_once(texts, lambda one: (one.reference, one.other)), key=lambda one: order.index(one.other))),
        tuple(sorted(_once(calibration, lambda one: one.model), key=lambda one: order.index(one.model))),
        tuple(_once(compared, lambda part: (part.reference, part.model, part.than))),
        tuple(_once(dynamics, lambda part: part)),
    )


def _examples(both: Sequence[tuple[Findings, Keys]]) -> list[Example]:
    """Those that every look has, if all looks were at the same rows; those on which most models differ first."""
    if len({one.rows.fingerprint for one, _ in both}) > 1:
        return []
    by_id = [{example.id: example for example in one.examples} for one, _ in both]
    found = []
    for example in by_id[0].values():
        if not all(example.id in known for known in by_id):
            continue
        said: dict[str, str] = {}
        sure: dict[str, float] = {}
        for (_, named), known in zip(both, by_id, strict=True):
            said |= {named.new[key]: text for key, text in known[example.id].said.items()}
            sure |= {named.new[key]: value for key, value in known[example.id].confidence.items()}
        found.append(replace(example, said=said, confidence=sure, attention=()))
    return sorted(found, key=students_agree)


def students_agree(one: Example) -> bool:
    """Whether all students say the same of it."""
    return len({text for key, text in one.said.items() if key.startswith("student")}) <= 1


def _notes(findings: Sequence[Findings], subjects: dict[str, Subject]) -> list[Note]:
    found = []
    if len({one.rows.fingerprint for one in findings}) > 1:
        told = "; ".join(f"{one.title}: {one.rows.used:,} of {one.rows.split}" for one in findings)
        found.append(Note("rows", f"The looks are at different rows, so differences may be those of rows. {told}."))
    if sum(subject.role == "teacher" for subject in subjects.values()) > 1:
        found.append(Note("models", "The looks have different teachers; each figure is beside a model's own."))
    return found


def _once(found: Iterable[T], key: Callable[[T], Hashable]) -> list[T]:
    """Each thing once, the first of equal ones."""
    kept: dict[Hashable, T] = {}
    for one in found:
        kept.setdefault(key(one), one)
    return list(kept.values())
