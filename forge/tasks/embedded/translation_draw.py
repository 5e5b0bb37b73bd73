"""The source of chance of the translation data, and the parts that it draws: who, what, when."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import accumulate
from typing import TypeVar

from forge.tasks.embedded.translation_clauses import COMPOUND, NOTHING, TENSES, Pair, Tense
from forge.tasks.embedded.translation_french import JE, VOUS, auxiliary
from forge.tasks.embedded.translation_phrases import ME, ONE, US, WE, YOU, Nominal, noun_phrase, owned
from forge.tasks.embedded.translation_when import (
    ADVERBS,
    ADVERBS_OF_PERFECT,
    COMING,
    COMING_TENSES,
    NOW,
    PAST,
    PLACES,
    in_years,
    lasting,
)
from forge.tasks.embedded.translation_words import (
    BEFORE,
    BESIDE,
    BODIES,
    EVENTS,
    OF_BODIES,
    TEXTS,
    VERBS,
    Adjective,
    Noun,
    Verb,
)

T = TypeVar("T")
SHARES = {"train": (0, 80), "validation": (80, 90), "test": (90, 100)}  # percentiles of all word combinations


@lru_cache(maxsize=262_144)
def split_of(words: tuple[str, ...]) -> str:
    """The only split in which a clause with these content words occurs."""
    digest = hashlib.sha256(" ".join(sorted(words)).encode()).digest()
    percentile = int.from_bytes(digest[:4], "big") % 100
    return next(split for split, (low, high) in SHARES.items() if low <= percentile < high)


def weighted(table: str) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """`the:60 a:40` as names and running shares; names may hold spaces written as _."""
    pairs = [entry.split(":") for entry in table.split()]
    total = sum(int(weight) for _, weight in pairs)
    return tuple(n.replace("_", " ") for n, _ in pairs), tuple(accumulate(int(w) / total for _, w in pairs))


_OF_SUBJECTS = weighted("the:62 this:10 our:6 your:2 several:4 many:5 all:6 number:3 each:2")
_OF_OBJECTS = weighted("the:42 a:20 this:8 own:6 our:5 your:3 my:2 several:3 many:3 all:4 number:3 the_number:1")
_NEGATED_OBJECTS = weighted("the:50 a:14 any:12 this:10 own:6 our:5 your:3")
_ONLY_SINGULAR = {"each", "any"}
_ONLY_PLURAL = {"several", "many", "all", "number", "the number"}
_INSTITUTION_BEFORE = tuple(adjective for adjective in BEFORE if adjective.en in {"new", "former", "large", "small"})
_PERSON_BEFORE = _INSTITUTION_BEFORE[:2]

NOT, NEVER, NO_LONGER = Pair("not", "pas"), Pair("never", "jamais"), Pair("no longer", "plus")
NOT_YET, NOT_ANY = Pair("not yet", "pas encore"), Pair("not", "")


TRIES = 60


class NothingFitsError(Exception):
    """A sentence was begun that no words of this split complete."""


class Draw(random.Random):
    """Seeded by text, it draws the same on every machine. `you` is whoever the sentence has addressed."""

    def __init__(self, seed: str, split: str, difficulty: float) -> None:
        super().__init__(seed)
        self.split = split
        self.difficulty = difficulty
        self.you = YOU
        self.addressed = False

    def chance(self, share: float) -> bool:
        """True in about this share of the calls."""
        return self.random() < share

    def one(self, items: Sequence[T]) -> T:
        """One of the items, each as likely."""
        return items[int(self.random() * len(items))]

    def of(self, table: tuple[tuple[str, ...], tuple[float, ...]]) -> str:
        """One of the names of a weighted table."""
        names, shares = table
        drawn = self.random()
        return next(name for name, share in zip(names, shares, strict=True) if drawn < share or name is names[-1])

    def ours(self, *words: str) -> bool:
        """Whether a clause with these words belongs to this split."""
        return split_of(words) == self.split

    def adjectives(self, noun: Noun) -> tuple[Adjective, ...]:
        """None, one or seldom two."""
        if noun.only_singular or self.random() > 0.12 + 0.3 * self.difficulty:
            return ()
        body = noun in _BODY_SET
        before = (_PERSON_BEFORE if noun.human else _INSTITUTION_BEFORE) if body else BEFORE
        beside = OF_BODIES if body else BESIDE
        kind = self.random()
        if kind < 0.15 * self.difficulty:
            return self.one(before), self.one(beside)
        return (self.one(before),) if kind < 0.5 else (self.one(beside),)

    def phrase(
        self,
        noun: Noun,
        table: tuple[tuple[str, ...], tuple[float, ...]],
        own: str = "the",
        adjectives: tuple[Adjective, ...] | None = None,
    ) -> Nominal:
        """The noun with a determiner and what may stand beside it."""
        if noun.only_singular:
            return noun_phrase("the", noun)
        determiner = self.of(table)
        plural = determiner in _ONLY_PLURAL or (determiner not in _ONLY_SINGULAR and self.chance(0.4))
        if determiner.endswith("number"):
            determiner = determiner.replace("number", str(2 + int(self.random() ** 2 * 98)))
        beside = self.adjectives(noun) if adjectives is None else adjectives
        return noun_phrase(own if determiner == "own" else determiner, noun, beside, plural)

    def subject(self, noun: Noun, negated: bool = False, adjectives: tuple[Adjective, ...] | None = None) -> Nominal:
        """The noun as a subject."""
        return self.phrase(noun, _NEGATED_SUBJECTS if negated else _OF_SUBJECTS, adjectives=adjectives)

    def thing(self, noun: Noun, subject: Nominal | None = None, negation: Pair = NOTHING) -> tuple[Nominal, Pair]:
        """The noun as an object, and the negation that fits it."""
        own = "the" if subject is None else own_determiner(subject)
        if noun not in _BODY_SET and self.chance(0.04 + 0.12 * self.difficulty):
            owner = noun_phrase("the", self.one(BODIES), (), False)
            return owned(noun, self.adjectives(noun), self.chance(0.4), owner, self.chance(0.5)), negation
        phrase = self.phrase(noun, _NEGATED_OBJECTS if negation.en else _OF_OBJECTS, own)
        if phrase.en.startswith("any "):
            negation = NOT_ANY
        return phrase, negation

    def negation(self, tense: Tense, share: float = 0.2) -> Pair:
        """Mostly none."""
        if tense in _NEVER_NEGATED or self.random() > share:
            return NOTHING
        kind = self.random()
        if tense.en == "perfect":
            return NOT if kind < 0.4 else NOT_YET if kind < 0.75 else NEVER
        if tense.en == "past":
            return NOT if kind < 0.8 else NEVER
        return NOT if kind < 0.55 else NO_LONGER if kind < 0.8 else NEVER

    def adverb(self, tense: Tense, negation: Pair) -> Pair:
        """Mostly none."""
        if negation.en or tense in _NEVER_NEGATED or self.random() > 0.12 + 0.1 * self.difficulty:
            return NOTHING
        return self.one(ADVERBS_OF_PERFECT if tense.en == "perfect" else ADVERBS)


def own_determiner(subject: Nominal) -> str:
    """The possessive of what belongs to the subject."""
    if subject.pronoun and subject.key in {"I", "we", "you"}:
        return {"I": "my", "we": "our", "you": "your"}[subject.key]
    return "their" if subject.plural else "his" if subject.human else "its"


_BODY_SET = frozenset(BODIES)
_NEGATED_SUBJECTS = weighted("the:75 this:14 our:8 your:3")
_NEVER_NEGATED = frozenset({TENSES["just"], TENSES["used to"], TENSES["since"], TENSES["when"], TENSES["to"]})
_NOUNS = {"text": TEXTS, "body": BODIES, "event": EVENTS}
_PERSONS_SPOKEN = (ONE, WE, WE, YOU)


def actors(
    draw: Draw, verbs: Sequence[Verb] = VERBS, spoken: float = 0.3, subject: Nominal | None = None
) -> tuple[Nominal | Noun, Verb, Noun | None]:
    """A subject, a verb and the noun of its object, whose combination belongs to this split."""
    for _ in range(TRIES):
        who = subject or _who(draw, spoken)
        verb = draw.one(verbs)
        obj = draw.one(_NOUNS[verb.objects]) if verb.objects != "nothing" else None
        name = who.key if isinstance(who, Nominal) else who.en[0]
        what = obj.en[0] if obj else ""
        if name != what and draw.ours(name, verb.key, what):
            return who, verb, obj
    raise NothingFitsError


def _who(draw: Draw, spoken: float) -> Nominal | Noun:
    if not draw.chance(spoken):
        return draw.one(BODIES)
    chosen = draw.one(_PERSONS_SPOKEN)
    return draw.you if chosen is YOU else chosen


def qualified(draw: Draw, nouns: Sequence[Noun], verb: str) -> tuple[Noun, tuple[Adjective, ...]]:
    """A noun of few verbs with its adjectives, which then help to decide the split."""
    for _ in range(TRIES):
        noun = draw.one(nouns)
        adjectives = (draw.one((*BEFORE, *BESIDE)),) if draw.chance(0.5) else ()
        if draw.ours(noun.en[0], verb, *(each.en for each in adjectives)):
            return noun, adjectives
    raise NothingFitsError


def needs_gender(draw: Draw, nominal: Nominal) -> bool:
    """Whether the sentence leaves open how French agrees with this pronoun."""
    return nominal.person == JE or (nominal.person == VOUS and not draw.addressed)


def hearer(draw: Draw, subject: Nominal, agrees: bool) -> Nominal | None:
    """A pronoun of the first or second person that is not the subject itself."""
    chosen = draw.one((ME, US, draw.you))
    if chosen.key == subject.key or {chosen.key, subject.key} == {"I", "we"}:
        return None
    if agrees and needs_gender(draw, chosen):
        return None
    return replace(chosen, body=True)


def fits(draw: Draw, subject: Nominal, verb: Verb, tense: Tense) -> bool:
    """Whether the participle, if there is one, agrees with something that the sentence tells."""
    return not (tense.leader == COMPOUND and auxiliary(verb.fr) == "être" and needs_gender(draw, subject))


def end(draw: Draw, tense: Tense) -> Pair:
    """A time that suits the tense, a place, or nothing."""
    if tense == TENSES["since"]:
        return lasting(2 + int(draw.random() * 9))
    kind = draw.random()
    if kind < 0.08:
        return draw.one(PLACES)
    if tense == TENSES["past"] and kind < 0.7:
        if kind < 0.2:
            year = 1990 + int(draw.random() * 20)
            return Pair(f"in {year}", f"en {year}")
        return draw.one(PAST)
    if kind > 0.35:
        return NOTHING
    if tense in COMING_TENSES:
        if kind < 0.12:
            return in_years(2 + int(draw.random() * 9))
        return draw.one(COMING)
    return draw.one(NOW) if tense.en in {"present", "perfect", "is -ing"} and kind < 0.2 else NOTHING
