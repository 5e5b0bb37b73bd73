"""A second reading of the embedded sentences: parse the English, build worlds from the word tables, look what holds.

It shares the word tables with the generator and nothing else. Individuals are made of words (a kind, roles, adjectives,
actions, places); one of each sort that the two sentences can tell apart is drawn, and worlds are put together from
those. Two individuals fill the two subjects and one settles each sentence, so worlds of four leave nothing out.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from functools import cache
from itertools import combinations, product

import numpy as np

from forge.tasks.embedded.nli_lexicon import (
    ACTIONS,
    ADJECTIVES,
    DEEDS,
    EXCLUSIVE_ROOTS,
    NOUNS,
    NUMBERS,
    PERSONS,
    PLACES,
    ROLES,
    SPECIES,
)

MOST = 9  # individuals of one sort in a counted world; the highest number word is seven


class UnreadableError(ValueError):
    """No reading of this sentence is known."""


@dataclass(frozen=True)
class Some:
    """`all | some | no | not all` or a count, of a set of beings that do something."""

    quantifier: str
    beings: tuple[str, ...]
    doings: tuple[str, ...]
    number: int = 0
    content: tuple[str, ...] = ()


@dataclass(frozen=True)
class Deed:
    """Whether an agent ever did something to a patient."""

    agent: str
    deed: str
    patient: str
    happened: bool
    content: tuple[str, ...] = ()


def _one_of(words) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


_QUANTIFIED = re.compile(
    f"(all|some|no|not all) (?:({_one_of(ADJECTIVES)}) )?({_one_of(NOUNS)})"
    f" ({_one_of(ACTIONS)})(?: ({_one_of(PLACES)}))?"
)
_COUNTED = re.compile(
    f"(at least|at most|more than|fewer than) ({_one_of(NUMBERS)}) ({_one_of(NOUNS)}) ({_one_of(ACTIONS)})"
)
_PERSON = f"({_one_of(PERSONS)})"
_ACTIVE = re.compile(f"the {_PERSON}(?: near the {_PERSON})? (once|never) ({_one_of(DEEDS)}) the {_PERSON}")
_PASSIVE = re.compile(
    f"the {_PERSON} was (once|never) ({_one_of(DEEDS.values())}) by the {_PERSON}(?: near the {_PERSON})?"
)
_BY_PARTICIPLE = {participle: deed for deed, participle in DEEDS.items()}


def read(sentence: str) -> Some | Deed:
    """What the sentence says."""
    if not sentence[:1].isupper():
        raise UnreadableError(sentence)
    text = sentence[0].lower() + sentence[1:]
    if found := _QUANTIFIED.fullmatch(text):
        quantifier, adjective, noun, action, place = found.groups()
        beings, doings = [tuple(w for w in pair if w) for pair in ((noun, adjective), (action, place))]
        return Some(quantifier, beings, doings, content=(noun, action))
    if found := _COUNTED.fullmatch(text):
        count, number, noun, action = found.groups()
        return Some(count, (noun,), (action,), 2 + NUMBERS.index(number), (noun, action, number))
    if found := _ACTIVE.fullmatch(text):
        agent, near, when, deed, patient = found.groups()
    elif found := _PASSIVE.fullmatch(text):
        patient, when, participle, agent, near = found.groups()
        deed = _BY_PARTICIPLE[participle]
    else:
        raise UnreadableError(sentence)
    if near in {agent, patient} or agent == patient:
        raise UnreadableError(sentence)
    return Deed(agent, deed, patient, when == "once", (agent, deed, patient))


def truths(premise: str, hypothesis: str) -> set[tuple[bool, bool]]:
    """The pairs of truth values that the two sentences take together in some world."""
    first, second = read(premise), read(hypothesis)
    if isinstance(first, Deed) and isinstance(second, Deed):
        holds = [_DONE[_place(fact)] == fact.happened for fact in (first, second)]
    elif isinstance(first, Some) and isinstance(second, Some) and bool(first.number) == bool(second.number):
        holds = _counted(first, second) if first.number else _quantified(first, second)
    else:
        raise UnreadableError(f"{premise} / {hypothesis}")
    return {(bool(p), bool(h)) for p, h in set(zip(*(h.tolist() for h in holds), strict=True))}


def judge(premise: str, hypothesis: str) -> str:
    """The label, by the worlds that were found."""
    found = truths(premise, hypothesis)
    if not any(p for p, _ in found):
        raise UnreadableError(f"never true: {premise}")
    if (True, False) not in found:
        return "entailment"
    return "neutral" if (True, True) in found else "contradiction"


# Who did what to whom, in 500 worlds where each deed happened or not by chance. Who stood near whom is presupposed.
_DONE = np.random.default_rng(0).random((len(PERSONS), len(DEEDS), len(PERSONS), 500)) < 0.5


def _place(fact: Deed) -> tuple[int, int, int]:
    return PERSONS.index(fact.agent), list(DEEDS).index(fact.deed), PERSONS.index(fact.patient)


def _subsets(words) -> list[frozenset[str]]:
    return [frozenset(c) for n in range(len(words) + 1) for c in combinations(words, n)]


def _up(words, parents) -> bool:
    """Whose kind is also here, for each of the words."""
    return all(parents[w] is None or parents[w] in words or parents[w] not in parents for w in words)


def _apart(words, opposites) -> bool:
    return not any(opposites[w] in words for w in words)


def _can_do(actions: frozenset[str]) -> bool:
    siblings = [ACTIONS[a] for a in actions if ACTIONS[a]]
    return (
        _up(actions, ACTIONS) and len(siblings) == len(set(siblings)) and not any(x <= actions for x in EXCLUSIVE_ROOTS)
    )


def _kinds() -> list[frozenset[str]]:
    """All that a being can be: of any species or of none that has a name below it; people in any roles."""
    found = []
    for species in SPECIES:
        line, parent = {species}, SPECIES[species]
        while parent:
            line.add(parent)
            parent = SPECIES[parent]
        roles = [r for r in _subsets(list(ROLES)) if _up(r, ROLES)] if "people" in line else [frozenset()]
        found += [r | line for r in roles]
    return found


_LOOKS = [a for a in _subsets(list(ADJECTIVES)) if _apart(a, ADJECTIVES)]
_WHERE = [p for p in _subsets(list(PLACES)) if _apart(p, PLACES)]
_BEINGS = [k | a for k, a in product(_kinds(), _LOOKS)]
_DOINGS = [a | p for a, p in product(filter(_can_do, _subsets(list(ACTIONS))), _WHERE)]
_CHANCE = random.Random(0)


@cache
def _having(words: tuple[str, ...], doings: bool) -> np.ndarray:
    return np.array([set(words) <= one for one in (_DOINGS if doings else _BEINGS)])


def _one_of_each(first: tuple[str, ...], second: tuple[str, ...], doings: bool) -> list[tuple[bool, bool]]:
    """Draw one being (or doing) of each sort that the two descriptions tell apart, and say which fit it."""
    pool = _DOINGS if doings else _BEINGS
    sorts = _having(first, doings) + 2 * _having(second, doings)
    drawn = [pool[_CHANCE.choice(np.flatnonzero(sorts == sort))] for sort in np.unique(sorts)]
    return [(set(first) <= one, set(second) <= one) for one in drawn]


def _individuals(first: Some, second: Some) -> np.ndarray:
    """Rows: in the first subject, in the second; does what the first says, what the second says."""
    beings = _one_of_each(first.beings, second.beings, doings=False)
    doings = _one_of_each(first.doings, second.doings, doings=True)
    return np.array([b + d for b, d in product(beings, doings)])


@cache
def _worlds(individuals: int) -> np.ndarray:
    """Every choice of at most four of them."""
    chosen = [c for n in range(1, 5) for c in combinations(range(individuals), n)]
    worlds = np.zeros((len(chosen), individuals), dtype=np.int8)
    for row, choice in enumerate(chosen):
        worlds[row, list(choice)] = 1
    return worlds


def _quantified(first: Some, second: Some) -> list[np.ndarray]:
    s1, s2, p1, p2 = _individuals(first, second).T
    worlds = _worlds(len(s1))
    worlds = worlds[(worlds @ s1 > 0) & (worlds @ s2 > 0)]  # both subjects exist
    return [_says(first, worlds @ (s1 & p1), worlds @ s1), _says(second, worlds @ (s2 & p2), worlds @ s2)]


def _counted(first: Some, second: Some) -> list[np.ndarray]:
    individuals = _individuals(first, second)
    s1, s2, p1, p2 = individuals[(individuals[:, 0] & individuals[:, 2]) | (individuals[:, 1] & individuals[:, 3])].T
    if len(s1) > 3:
        raise UnreadableError("too many sorts to count")
    # How many there are of each sort. Idle ones, who may be there too, change no count.
    worlds = np.array(list(product(range(MOST + 1), repeat=len(s1))))
    return [_says(first, worlds @ (s1 & p1), None), _says(second, worlds @ (s2 & p2), None)]


def _says(sentence: Some, does, exist) -> np.ndarray:
    match sentence.quantifier:
        case "all":
            return does == exist
        case "some":
            return does > 0
        case "no":
            return does == 0
        case "not all":
            return does < exist
        case "at least":
            return does >= sentence.number
        case "at most":
            return does <= sentence.number
        case "more than":
            return does > sentence.number
        case _:
            return does < sentence.number
