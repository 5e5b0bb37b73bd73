"""One small function a phenomenon: draw a hypothesis, then build a premise that gives it the wanted label.

The hypothesis is drawn before anything looks at the label, so it says nothing about the label on its own.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from forge.tasks.embedded import nli_lexicon as lexicon
from forge.tasks.embedded.nli_logic import NEUTRAL, Relation, judge

T = TypeVar("T")
EQUAL, FORWARD, REVERSE = Relation.EQUAL, Relation.FORWARD, Relation.REVERSE
EXCLUSIVE, COMPLEMENT, INDEPENDENT = Relation.EXCLUSIVE, Relation.COMPLEMENT, Relation.INDEPENDENT


class Draw:
    """Random choices that are the same on every Python: only ``random()`` of a seeded generator is used."""

    def __init__(self, seed: str, difficulty: float, rare_share: float) -> None:
        self._random = random.Random(int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big"))
        self.difficulty = difficulty**2  # so that half the difficulty is still mostly plain
        self.rare_share = rare_share

    def below(self, n: int) -> int:
        """A whole number from 0 to n - 1."""
        return int(self._random.random() * n)

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self._random.random() < probability

    def hard(self) -> bool:
        """Should this step be a hard one?"""
        return self.chance(self.difficulty**2)

    def turn(self) -> bool:
        """Should this be said the other way round (denied, passive, mirrored)? At most as often as not.

        Easy draws do it seldom: rare turns leave the plain rule visible, even turns hide it in a parity.
        """
        return self.chance(0.1 + 0.4 * self.difficulty**2)

    def pick(self, options: Sequence[T]) -> T:
        """One of the options, each as likely."""
        return options[int(self._random.random() * len(options))]

    def word(self, words: Sequence[T]) -> T:
        """One word of a lexicon list: an everyday one, or a rare one with the genre's share."""
        everyday = -(-3 * len(words) // 4)
        if everyday < len(words) and self.chance(self.rare_share):
            return words[everyday + self.below(len(words) - everyday)]
        return words[self.below(everyday)]

    def other(self, words: Sequence[T], *taken: T) -> T:
        """A word that is none of those already taken."""
        while (word := self.word(words)) in taken:
            pass
        return word


@dataclass(frozen=True)
class Statement:
    """A statement said to hold and said not to; ``denied`` is empty where English has no plain way to deny it."""

    said: str
    denied: str = ""
    atomic: bool = True  # False: several claims in one, so "it is false that" would not deny the right one

    def text(self, holds: bool, draw: Draw) -> str:
        """As a sentence, sometimes turned around by "it is false that" when the draw is a hard one."""
        if self.denied and self.atomic and draw.chance(0.3 * draw.difficulty**2):
            return self.turned(holds)
        return self.said if holds else self.denied

    def turned(self, holds: bool) -> str:
        """The same, by denying its opposite."""
        return f"it is false that {self.denied if holds else self.said}"


@dataclass(frozen=True)
class Pair:
    """A premise and a hypothesis in words, what the pair exercises, and a sentence that changes nothing."""

    premise: str
    hypothesis: str
    phenomenon: str
    decoy: str = ""


Family = Callable[[Draw, str], Pair]
# A premise in the making: its relation to the hypothesis's statement, and how to say it.
Move = tuple[Relation, Callable[[], Statement]]


def assemble(draw: Draw, label: str, hypothesis: Statement, moves: Sequence[Move], tag: str, decoy: str = "") -> Pair:
    """Say or deny the hypothesis, then choose a premise among the moves that give it the label.

    The first move is the plain way to be neutral: the same said of somebody else. The easier the draw, the more
    often it is taken instead of a subtler one.
    """
    hypothesis_holds = not draw.turn()
    hypothesis_text = hypothesis.text(hypothesis_holds, draw)
    if label == NEUTRAL and draw.chance(1.0 - 0.8 * draw.difficulty):
        moves = moves[:1]
    while True:
        relation, build = draw.pick(moves)
        premise_holds = not draw.turn()
        if judge(relation, premise_holds, hypothesis_holds) != label:
            continue
        premise = build()
        if premise_holds or premise.denied:
            text = premise.text(premise_holds, draw)
            if text == hypothesis_text:
                text = premise.turned(premise_holds)
            return Pair(text, hypothesis_text, tag, decoy)


def _social(draw: Draw, agent: str, verb: str, patient: str) -> Statement:
    """Who did what to whom, in the active or the passive voice."""
    past = lexicon.SOCIAL_PAST[verb]
    if draw.turn():
        return Statement(f"{patient} was {past} by {agent}", f"{patient} was not {past} by {agent}")
    return Statement(f"{agent} {past} {patient}", f"{agent} did not {verb} {patient}")


def role(draw: Draw, label: str) -> Pair:
    """Word order, passives, and the words everybody and nobody."""
    agent, verb = draw.word(lexicon.PERSONS), draw.word(lexicon.SOCIAL_VERBS)
    patient = draw.other(lexicon.PERSONS, agent)
    past = lexicon.SOCIAL_PAST[verb]
    third = draw.other(lexicon.PERSONS, agent, patient)
    swapped = (third, patient) if draw.chance(0.5) else (agent, third)
    moves: list[Move] = [
        (INDEPENDENT, lambda: _social(draw, swapped[0], verb, swapped[1])),
        (EQUAL, lambda: _social(draw, agent, verb, patient)),
        (INDEPENDENT, lambda: _social(draw, patient, verb, agent)),
        (FORWARD, lambda: Statement(f"everybody {past} {patient}")),
        (EXCLUSIVE, lambda: Statement(f"nobody {past} {patient}")),
        (EXCLUSIVE, lambda: Statement(f"{agent} {past} nobody")),
        (INDEPENDENT, lambda: Statement(draw.pick((f"nobody {past} {agent}", f"everybody {past} {agent}")))),
    ]
    fourth = draw.other(lexicon.PERSONS, agent, patient, third)
    decoy = _social(draw, patient, verb, fourth).text(draw.chance(0.5), draw)
    return assemble(draw, label, _social(draw, agent, verb, patient), moves, "role", decoy)


def relative_clause(draw: Draw, label: str) -> Pair:
    """The words of the hypothesis stand side by side in the premise, and yet it need not follow."""
    first, verb = draw.word(lexicon.PERSONS), draw.word(lexicon.SOCIAL_VERBS)
    second = draw.other(lexicon.PERSONS, first)
    third = draw.other(lexicon.PERSONS, first, second)
    other_verb = draw.other(lexicon.SOCIAL_VERBS, verb)
    past, other_past = lexicon.SOCIAL_PAST[verb], lexicon.SOCIAL_PAST[other_verb]
    main = f"{past} {second}", f"did not {verb} {second}"
    inner = f"who {main[0]}", f"who {main[1]}"
    aside = draw.pick((f"near {third}", f"who {other_past} {third}"))
    tail = f" {other_past} {third}"

    def both(start: str, said: str, denied: str, end: str = "") -> Statement:
        return Statement(f"{start} {said}{end}", f"{start} {denied}{end}", atomic=False)

    def trap() -> Statement:
        return both(f"{third} {draw.pick((f'near {first}', f'who {other_past} {first}'))}", *main)

    moves: list[Move] = [
        (INDEPENDENT, trap),
        (EQUAL, lambda: both(f"{first} {aside}", *main)),
        (EQUAL, lambda: both(first, *inner, tail)),
    ]
    return assemble(draw, label, _social(draw, first, verb, second), moves, "relative_clause")


def embedding(draw: Draw, label: str) -> Pair:
    """Verbs that make their clause true against verbs that leave it open."""
    agent, verb = draw.word(lexicon.PERSONS), draw.word(lexicon.SOCIAL_VERBS)
    patient = draw.other(lexicon.PERSONS, agent)
    judge_of_it = draw.other(lexicon.PERSONS, agent, patient)

    third = draw.other(lexicon.PERSONS, agent, patient, judge_of_it)

    def told(verbs: Sequence[str], who: str = agent) -> Statement:
        clause, attitude = _social(draw, who, verb, patient), draw.word(verbs)
        said, denied = (f"{judge_of_it} {attitude} that {text}" for text in (clause.said, clause.denied))
        return Statement(said, denied, atomic=False)

    moves: list[Move] = [
        (INDEPENDENT, lambda: told(lexicon.FACTIVES, third)),
        (INDEPENDENT, lambda: told(lexicon.NON_FACTIVES)),
        (EQUAL, lambda: told(lexicon.FACTIVES)),
    ]
    return assemble(draw, label, _social(draw, agent, verb, patient), moves, "embedding")


def article(words: str) -> str:
    """The words with "a" or "an" before them."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def thing(draw: Draw, label: str) -> Pair:
    """Kinds of things and adjectives: what holds of a red poodle holds of a dog, and not the other way round."""
    person, (verb, past) = draw.word(lexicon.PERSONS), draw.word(lexicon.OBJECT_VERBS)
    parent = draw.word(tuple(lexicon.THINGS))
    child = draw.word(lexicon.THINGS[parent])
    lists = lexicon.COLOURS, lexicon.QUALITIES
    mine, others = lists if draw.chance(0.5) else lists[::-1]
    adjective, extra = draw.word(mine), draw.word(others)
    other_of_mine = draw.other(mine, adjective)
    someone_else = draw.other(lexicon.PERSONS, person)
    by_kind, specific = draw.chance(0.5), draw.chance(0.5)
    both = draw.hard() and draw.chance(0.5)  # kind and adjective change together
    noun = child if specific and by_kind else parent
    with_adjective = (not by_kind and specific) or (both and by_kind)

    def owns(noun: str, *adjectives: str, who: str = person) -> Statement:
        what = article(" ".join((*adjectives, noun)))
        none = f"{who} {past} no {' '.join((*adjectives, noun))}"
        return Statement(f"{who} {past} {what}", none if draw.chance(0.3) else f"{who} did not {verb} {what}")

    own = (adjective,) if with_adjective else ()
    moves: list[Move] = [
        (INDEPENDENT, lambda: owns(noun, *own, who=someone_else)),
        (EQUAL, lambda: owns(noun, *own)),
    ]
    if noun == child:
        moves.append((INDEPENDENT, lambda: owns(draw.other(lexicon.THINGS[parent], child), *own)))
        moves.append((REVERSE, lambda: owns(parent, *own)))
    else:
        moves.append((FORWARD, lambda: owns(draw.word(lexicon.THINGS[parent]), *own)))
    if with_adjective:
        moves.append((FORWARD, lambda: owns(noun, *sorted((extra, *own), key=lexicon.COLOURS.__contains__))))
        moves += [(REVERSE, lambda: owns(noun)), (INDEPENDENT, lambda: owns(noun, draw.pick((extra, other_of_mine))))]
        if noun == child:
            moves.append((REVERSE, lambda: owns(parent)))
        else:
            moves.append((INDEPENDENT, lambda: owns(child)))
    else:
        moves.append((FORWARD, lambda: owns(noun, extra)))
        if noun == child:
            moves.append((INDEPENDENT, lambda: owns(parent, extra)))
    decoy = owns(noun, *own, who=draw.other(lexicon.PERSONS, person, someone_else)).text(draw.chance(0.5), draw)
    tag = "modifier" if with_adjective else "hypernym"
    return assemble(draw, label, owns(noun, *own), moves, tag, decoy)
