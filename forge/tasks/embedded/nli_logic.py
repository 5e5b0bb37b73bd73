"""When does one statement follow from another? The few rules that give every embedded NLI pair its label."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cache

LABELS = ("entailment", "neutral", "contradiction")
ENTAILMENT, NEUTRAL, CONTRADICTION = LABELS


class Relation(Enum):
    """How a first statement or set stands to a second one (the basic relations of natural logic)."""

    EQUAL = "same"
    FORWARD = "the first implies the second"
    REVERSE = "the second implies the first"
    EXCLUSIVE = "never both"
    COMPLEMENT = "exactly one of the two"
    INDEPENDENT = "neither says anything about the other"


def judge(relation: Relation, premise_true: bool, hypothesis_true: bool) -> str:
    """The label of a pair: the premise says its statement holds (or not), the hypothesis says so of its own."""
    if premise_true:
        known = {
            Relation.EQUAL: True,
            Relation.FORWARD: True,
            Relation.EXCLUSIVE: False,
            Relation.COMPLEMENT: False,
        }.get(relation)
    else:
        known = {Relation.EQUAL: False, Relation.REVERSE: False, Relation.COMPLEMENT: True}.get(relation)
    if known is None:
        return NEUTRAL
    return ENTAILMENT if known == hypothesis_true else CONTRADICTION


MANY = 99


@dataclass(frozen=True)
class Quantifier:
    """What "all", "some", "exactly two" … say about a group: bounds on the members that do and that do not.

    A group that is spoken of has at least one member, as in everyday language.
    """

    text: str
    doing: tuple[int, int]
    others: tuple[int, int] = (0, MANY)


MOST = Quantifier("most", (1, MANY))  # more do than do not: no pair of bounds says that, so the rules name it
_NUMBERS = ((2, "two"), (3, "three"), (4, "four"), (5, "five"))
# Those a hypothesis may use; each of them can follow from another one, be open, or be excluded.
HYPOTHESIS_QUANTIFIERS = (
    Quantifier("all", (1, MANY), (0, 0)),
    Quantifier("all of the", (1, MANY), (0, 0)),
    Quantifier("some", (1, MANY)),
    Quantifier("no", (0, 0), (1, MANY)),
    Quantifier("none of the", (0, 0), (1, MANY)),
    Quantifier("not all", (0, MANY), (1, MANY)),
    MOST,
    *(Quantifier(f"at least {word}", (n, MANY)) for n, word in _NUMBERS[:3]),
    *(Quantifier(f"fewer than {word}", (0, n - 1)) for n, word in _NUMBERS[1:]),
)
# "Exactly two" follows from nothing but itself, so it stands in premises only.
QUANTIFIERS = (*HYPOTHESIS_QUANTIFIERS, *(Quantifier(f"exactly {word}", (n, n)) for n, word in _NUMBERS))


def _implied(first: Quantifier, group: Relation, activity: Relation) -> tuple[int, int, int, int]:
    """Bounds on (doing, others) of the second statement, given the first one and how their words are related."""
    low_doing = low_others = 0
    high_doing = high_others = MANY
    if group in (Relation.EQUAL, Relation.FORWARD):  # members of the first group are members of the second
        if activity in (Relation.EQUAL, Relation.FORWARD):
            low_doing = first.doing[0]
        if activity in (Relation.EQUAL, Relation.REVERSE):
            low_others = first.others[0]
        if activity is Relation.EXCLUSIVE:
            low_others = first.doing[0]
    if group in (Relation.EQUAL, Relation.REVERSE):
        if activity in (Relation.EQUAL, Relation.REVERSE):
            high_doing = first.doing[1]
        if activity in (Relation.EQUAL, Relation.FORWARD):
            high_others = first.others[1]
        if activity is Relation.EXCLUSIVE:
            high_doing = first.others[1]
    if high_doing == 0:
        low_others = max(low_others, 1)
    if high_others == 0:
        low_doing = max(low_doing, 1)
    return low_doing, high_doing, low_others, high_others


def judge_quantified(first: Quantifier, second: Quantifier, group: Relation, activity: Relation) -> str:
    """The label of "first G1 are A1" with "second G2 are A2", given how G1 stands to G2 and A1 to A2."""
    if first is second is MOST and group is Relation.EQUAL:
        if activity in (Relation.EQUAL, Relation.FORWARD):
            return ENTAILMENT
        return CONTRADICTION if activity is Relation.EXCLUSIVE else NEUTRAL
    low_doing, high_doing, low_others, high_others = _implied(first, group, activity)
    if second is MOST:
        follows, excluded = low_doing > high_others, high_doing <= low_others
    else:
        follows = low_doing >= second.doing[0] and high_doing <= second.doing[1]
        follows = follows and low_others >= second.others[0] and high_others <= second.others[1]
        excluded = high_doing < second.doing[0] or low_doing > second.doing[1]
        excluded = excluded or high_others < second.others[0] or low_others > second.others[1]
    if excluded:
        return CONTRADICTION
    return ENTAILMENT if follows else NEUTRAL


@dataclass(frozen=True)
class QuantifiedPremise:
    """One way to speak about the hypothesis's group and activity, or their neighbours in the lexicon."""

    quantifier: Quantifier
    group: Relation
    activity: Relation

    @property
    def steps(self) -> int:
        """How many things differ from the hypothesis beside the quantifier."""
        return (self.group is not Relation.EQUAL) + (self.activity is not Relation.EQUAL)


@cache
def quantified_premises(
    second: Quantifier, groups: frozenset[Relation], activities: frozenset[Relation]
) -> dict[tuple[str, int], list[QuantifiedPremise]]:
    """Every premise for a hypothesis, by (label, steps); an exact repetition of the hypothesis is left out."""
    found: dict[tuple[str, int], list[QuantifiedPremise]] = {}
    for first in QUANTIFIERS:
        for group in sorted(groups, key=lambda r: r.name):
            for activity in sorted(activities, key=lambda r: r.name):
                premise = QuantifiedPremise(first, group, activity)
                label = judge_quantified(first, second, group, activity)
                if first is not second or premise.steps:
                    found.setdefault((label, premise.steps), []).append(premise)
    return found
