"""Families of sentence pairs: each draws a hypothesis and offers premises, and knows the label of every pair."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from forge.tasks.embedded.nli_lexicon import (
    ACTIONS,
    ADJECTIVES,
    DEEDS,
    MISMATCHED,
    NOUNS,
    NUMBERS,
    PERSONS,
    PLACES,
)
from forge.tasks.embedded.nli_logic import (
    CONTRADICTION,
    ENTAILMENT,
    NEUTRAL,
    action_relation,
    counted_label,
    modified,
    noun_relation,
    quantified_label,
)

QUANTIFIERS = ("all", "some", "no", "not all")
COUNTS = ("at least", "at most", "more than", "fewer than")


class Draw(random.Random):
    """The one source of chance, with what shapes the draws. Seeded by text, it is the same on every machine."""

    def __init__(self, seed: str, difficulty: float, mismatched: bool) -> None:
        super().__init__(seed)
        self.difficulty = difficulty
        self.mismatched = mismatched

    def chance(self, share: float) -> bool:
        """True in about this share of the calls."""
        return self.random() < share

    def word(self, words: Sequence[str]) -> str:
        """One of the words, by the habits of the genre."""
        while True:
            word = words[int(self.random() * len(words))]
            if self.chance(1.0 if (word in MISMATCHED) == self.mismatched else 0.4):
                return word

    def one(self, words: Sequence[str]) -> str:
        """One of the words, each as likely."""
        return words[int(self.random() * len(words))]


@dataclass(frozen=True)
class Quantified:
    """`All old dogs ran outside`."""

    quantifier: str
    noun: str
    action: str
    adjective: str | None = None
    place: str | None = None

    @property
    def content(self) -> tuple[str, ...]:
        """The words that decide which split this sentence may be a hypothesis in."""
        return (self.noun, self.action)

    def text(self) -> str:
        """The sentence."""
        words = [self.quantifier, self.adjective, self.noun, self.action, self.place]
        return " ".join(word for word in words if word)

    @classmethod
    def draw(cls, draw: Draw) -> Quantified:
        """A sentence to be a hypothesis."""
        adjective = draw.one(tuple(ADJECTIVES)) if draw.chance(0.15 + 0.35 * draw.difficulty) else None
        place = draw.one(tuple(PLACES)) if draw.chance(0.4 * draw.difficulty) else None
        return cls(_quantifier(draw), draw.word(tuple(NOUNS)), draw.word(tuple(ACTIONS)), adjective, place)

    def premise(self, draw: Draw) -> Quantified:
        """Another sentence about nearly the same: one part changed, at higher difficulty more."""
        changes = 1 + draw.chance(0.5 * draw.difficulty) + draw.chance(0.5 * draw.difficulty**2)
        other = self
        for _ in range(changes):
            part = draw.random()
            if part < 0.3:
                other = replace(other, quantifier=_quantifier(draw))
            elif part < 0.62:
                other = replace(other, noun=draw.one(_kin(self.noun)))
            elif part < 0.9:
                other = replace(other, action=draw.one(_like(self.action)))
            elif part < 0.96:
                other = replace(other, adjective=draw.one(_modifiers(self.adjective, tuple(ADJECTIVES))) or None)
            else:
                other = replace(other, place=draw.one(_modifiers(self.place, tuple(PLACES))) or None)
        return other

    def label(self, premise: Quantified) -> str:
        """What this sentence is, given the premise."""
        subjects = modified(noun_relation(premise.noun, self.noun), premise.adjective, self.adjective)
        predicates = modified(action_relation(premise.action, self.action), premise.place, self.place)
        return quantified_label(premise.quantifier, self.quantifier, subjects, predicates)


@dataclass(frozen=True)
class Counted:
    """`At least three dogs ran`."""

    count: str
    number: int
    noun: str
    action: str

    @property
    def content(self) -> tuple[str, ...]:
        """The words that decide which split this sentence may be a hypothesis in."""
        return (self.noun, self.action, NUMBERS[self.number - 2])

    def text(self) -> str:
        """The sentence."""
        return f"{self.count} {NUMBERS[self.number - 2]} {self.noun} {self.action}"

    @classmethod
    def draw(cls, draw: Draw) -> Counted:
        """A sentence to be a hypothesis."""
        number = 2 + int(draw.random() * len(NUMBERS))
        return cls(draw.one(COUNTS), number, draw.word(tuple(NOUNS)), draw.word(tuple(ACTIONS)))

    def premise(self, draw: Draw) -> Counted:
        """Another count of the same, or of nearly the same."""
        number = 2 + int(draw.random() * len(NUMBERS))
        noun = draw.one(_kin(self.noun)) if draw.chance(0.2 + 0.3 * draw.difficulty) else self.noun
        return replace(self, count=draw.one(COUNTS), number=number, noun=noun)

    def label(self, premise: Counted) -> str:
        """What this sentence is, given the premise."""
        relation = noun_relation(premise.noun, self.noun)
        return counted_label((premise.count, premise.number), (self.count, self.number), relation)


@dataclass(frozen=True)
class Role:
    """`The nurse called the pilot`; the same words in another order are another fact."""

    agent: str
    deed: str
    patient: str
    negated: bool = False
    passive: bool = False
    also: str = ""  # a clause about the agent that changes nothing

    @property
    def content(self) -> tuple[str, ...]:
        """The words that decide which split this sentence may be a hypothesis in."""
        return (self.agent, self.deed, self.patient)

    def text(self) -> str:
        """The sentence."""
        agent, patient = f"the {self.agent}{self.also}", f"the {self.patient}"
        when = "never" if self.negated else "once"
        if self.passive:
            return f"{patient} was {when} {DEEDS[self.deed]} by {agent}"
        return f"{agent} {when} {self.deed} {patient}"

    @classmethod
    def draw(cls, draw: Draw) -> Role:
        """A sentence to be a hypothesis."""
        agent = draw.word(PERSONS)
        patient = draw.word([person for person in PERSONS if person != agent])
        return cls(agent, draw.word(tuple(DEEDS)), patient, draw.chance(0.5), draw.chance(0.3 * draw.difficulty))

    def premise(self, draw: Draw) -> Role:
        """The same fact or one that looks like it."""
        other = replace(self, negated=draw.chance(0.5), passive=draw.chance(0.2 + 0.6 * draw.difficulty))
        change = draw.random()
        if change < 0.25:
            other = replace(other, agent=self.patient, patient=self.agent)
        elif change < 0.35:
            other = replace(other, deed=draw.one(tuple(DEEDS)))
        elif change < 0.45:
            other = replace(other, agent=draw.one([person for person in PERSONS if person != self.patient]))
        if not other.passive and draw.chance(0.5 * draw.difficulty**2):  # "by the nurse near …" could be read otherwise
            bystander = draw.one([p for p in PERSONS if p not in {other.agent, other.patient}])
            other = replace(other, also=f" near the {bystander}")
        return other

    def label(self, premise: Role) -> str:
        """What this sentence is, given the premise."""
        if (premise.agent, premise.deed, premise.patient) != (self.agent, self.deed, self.patient):
            return NEUTRAL
        return ENTAILMENT if premise.negated == self.negated else CONTRADICTION


Sentence = Quantified | Counted | Role
FAMILIES: dict[str, tuple[type[Quantified] | type[Counted] | type[Role], int]] = {
    "quantifier": (Quantified, 5),
    "number": (Counted, 2),
    "role": (Role, 3),
}
"""Name → family and its share of every ten rows."""


def _quantifier(draw: Draw) -> str:
    return draw.one(QUANTIFIERS if draw.chance(draw.difficulty) else QUANTIFIERS[:3])


@cache
def _kin(noun: str) -> tuple[str, ...]:
    """Nouns that a premise about `noun` may be about: mostly those that have something to do with it."""
    near = [other for other in NOUNS if noun_relation(noun, other).value in "<>"]
    return (*near, *near, *NOUNS)


@cache
def _like(action: str) -> tuple[str, ...]:
    near = [other for other in ACTIONS if action_relation(action, other).value in "<>"]
    far = [other for other in ACTIONS if action_relation(action, other).value == "|"]
    return (*near, *near, *near, *far, *ACTIONS)


def _modifiers(own: str | None, words: tuple[str, ...]) -> tuple[str, ...]:
    return ("", own or "", *words)
