"""What follows from what, found by going through all cases instead of by rules of inference."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from forge.tasks.embedded.nli_lexicon import ACTIONS, ADJECTIVES, EXCLUSIVE_ROOTS, NOUNS, PLACES, SPECIES

ENTAILMENT, NEUTRAL, CONTRADICTION = LABELS = ("entailment", "neutral", "contradiction")
Truth = NDArray[np.bool_]


class Relation(Enum):
    """How two sets lie to each other. OVERLAP says that nothing is known."""

    EQUAL = "="
    SUBSET = "<"
    SUPERSET = ">"
    DISJOINT = "|"
    OVERLAP = "#"


def ancestors(word: str, parents: Mapping[str, str | None]) -> list[str]:
    """The word and all that it is a kind of, nearest first."""
    chain = [word]
    while (parent := parents[chain[-1]]) is not None:
        chain.append(parent)
    return chain


@cache
def noun_relation(left: str, right: str) -> Relation:
    """How the kinds of living beings lie to each other."""
    if (known := _by_ancestry(left, right, NOUNS)) is not None:
        return known
    species = [next(word for word in ancestors(noun, NOUNS) if word in SPECIES) for noun in (left, right)]
    related = _by_ancestry(species[0], species[1], SPECIES)
    return Relation.DISJOINT if related is None else Relation.OVERLAP


@cache
def action_relation(left: str, right: str) -> Relation:
    """How those who do the one lie to those who do the other."""
    if (known := _by_ancestry(left, right, ACTIONS)) is not None:
        return known
    roots = [ancestors(action, ACTIONS)[-1] for action in (left, right)]
    exclude = roots[0] == roots[1] or frozenset(roots) in EXCLUSIVE_ROOTS
    return Relation.DISJOINT if exclude else Relation.OVERLAP


def _by_ancestry(left: str, right: str, parents: Mapping[str, str | None]) -> Relation | None:
    if left == right:
        return Relation.EQUAL
    if right in ancestors(left, parents):
        return Relation.SUBSET
    return Relation.SUPERSET if left in ancestors(right, parents) else None


@cache
def modified(base: Relation, left: str | None, right: str | None) -> Relation:
    """The relation of two sets after each may have been cut down by a modifier."""
    opposite = (ADJECTIVES | PLACES).get(left or "")
    if base is Relation.DISJOINT or (opposite is not None and opposite == right):
        return Relation.DISJOINT
    inside = base in {Relation.EQUAL, Relation.SUBSET} and right in {None, left}
    around = base in {Relation.EQUAL, Relation.SUPERSET} and left in {None, right}
    if inside and around:
        return Relation.EQUAL
    return Relation.SUBSET if inside else Relation.SUPERSET if around else Relation.OVERLAP


_ALLOWED = {
    Relation.EQUAL: {(0, 0), (1, 1)},
    Relation.SUBSET: {(0, 0), (0, 1), (1, 1)},
    Relation.SUPERSET: {(0, 0), (1, 0), (1, 1)},
    Relation.DISJOINT: {(0, 0), (0, 1), (1, 0)},
    Relation.OVERLAP: {(0, 0), (0, 1), (1, 0), (1, 1)},
}


@cache
def quantified_label(premise: str, hypothesis: str, subjects: Relation, predicates: Relation) -> str:
    """Label of `<premise> S1 P1` against `<hypothesis> S2 P2`, over all worlds in which S1 and S2 are not empty.

    A world is the set of kinds of individuals that occur in it; a kind says which of S1, S2, P1, P2 it lies in.
    """
    kinds = [s + p for s, p in product(sorted(_ALLOWED[subjects]), sorted(_ALLOWED[predicates]))]
    worlds = np.arange(2 ** len(kinds))
    occurs = [(worlds >> i & 1).astype(bool) for i in range(len(kinds))]

    def some(*wanted: int | None) -> Truth:
        """Where some kind occurs that is as wanted in S1, S2, P1, P2; None leaves open."""
        fits = [o for o, kind in zip(occurs, kinds, strict=True) if _fits(kind, wanted)]
        return np.any(fits, axis=0) if fits else np.zeros(len(worlds), dtype=bool)

    def truth(quantifier: str, first: bool) -> Truth:
        does = some(1, None, 1, None) if first else some(None, 1, None, 1)
        does_not = some(1, None, 0, None) if first else some(None, 1, None, 0)
        return {"some": does, "no": ~does, "not all": does_not, "all": ~does_not}[quantifier]

    populated = some(1, None, None, None) & some(None, 1, None, None)
    return _label(truth(premise, first=True)[populated], truth(hypothesis, first=False)[populated])


def _fits(kind: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return all(want in {None, has} for want, has in zip(wanted, kind, strict=True))


HIGHEST = 12


@cache
def counted_label(premise: tuple[str, int], hypothesis: tuple[str, int], subjects: Relation) -> str:
    """Label of `<at least> <n> S1 P` against `<…> <m> S2 P`, over all pairs of counts up to HIGHEST."""
    first, second = np.meshgrid(np.arange(HIGHEST + 1), np.arange(HIGHEST + 1), indexing="ij")
    possible = {
        Relation.EQUAL: first == second,
        Relation.SUBSET: first <= second,
        Relation.SUPERSET: first >= second,
    }.get(subjects, np.ones_like(first, dtype=bool))
    return _label(_counts(premise, first)[possible], _counts(hypothesis, second)[possible])


def _counts(statement: tuple[str, int], counts: NDArray[np.int64]) -> Truth:
    word, number = statement
    return {
        "at least": counts >= number,
        "at most": counts <= number,
        "more than": counts > number,
        "fewer than": counts < number,
    }[word]


def _label(premise: Truth, hypothesis: Truth) -> str:
    when = hypothesis[premise]
    if not len(when):
        raise ValueError("the premise is true in no world")
    return ENTAILMENT if when.all() else NEUTRAL if when.any() else CONTRADICTION
