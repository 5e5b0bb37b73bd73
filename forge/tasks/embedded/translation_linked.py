"""Sentences in which one clause leans on a word of the other: pronouns for it, and relative clauses."""

from __future__ import annotations

from dataclasses import replace

from forge.tasks.embedded.translation_clauses import TENSES, Clause, Pair
from forge.tasks.embedded.translation_draw import Draw, actors, end
from forge.tasks.embedded.translation_phrases import ONE, WE, Nominal, noun_phrase
from forge.tasks.embedded.translation_simple import INNER, action, being, passive, tense_of
from forge.tasks.embedded.translation_words import BODIES, EVENTS, VERBS


def recalled(draw: Draw) -> Pair:
    """A clause about something, and another one with a pronoun for it."""
    return _object_recalled(draw) if draw.chance(0.7) else _subject_recalled(draw)


_LINKS = (Pair(", but", ", mais"), Pair(" and", " et"), Pair(" because", " parce que"))


def _object_recalled(draw: Draw) -> Pair:
    while True:
        first, what = _about(draw)
        actor, verb, _ = actors(draw, _TAKING_BODIES if what.body else _TAKING_TEXTS, spoken=0.6)
        name = actor.key if isinstance(actor, Nominal) else actor.en[0]
        if name != what.key and draw.ours(name, verb.key, what.key):
            break
    tense = tense_of(draw, verb)
    negation = draw.negation(tense, 0.4)
    who = actor if isinstance(actor, Nominal) else draw.subject(actor, bool(negation.en))
    second = Clause(who, verb, tense, object=what.object_pronoun(), negation=negation)
    second.adverb, second.end = draw.adverb(tense, negation), end(draw, tense)
    if verb.to_whom and draw.chance(0.3):
        second.recipient = noun_phrase("the", draw.one(BODIES), (), False)
    return _linked(first, draw.one(_LINKS), second.text())


def _linked(first: Pair, link: Pair, second: Pair) -> Pair:
    return Pair(f"{first.en}{link.en} {second.en}", f"{first.fr}{link.fr} {second.fr}")


def _about(draw: Draw) -> tuple[Pair, Nominal]:
    """A clause with one thing in it, which a pronoun can then only mean."""
    while True:
        clause = being(draw) if draw.chance(0.5) else action(draw, subject=draw.one((ONE, WE)), ends=False)
        what = clause.subject if clause.predicate else clause.object
        if what is None or what.pronoun or clause.recipient or _has_complement(what) or what.key in _EVENT_NAMES:
            continue
        compared = clause.predicate and {"than", "as"} & set(clause.predicate.en.split())
        if not compared and not what.en.startswith(("any ", "each ")):
            return clause.text(), what


_TAKING_TEXTS = tuple(v for v in VERBS if v.objects == "text")
_TAKING_BODIES = tuple(v for v in VERBS if v.objects == "body")
_EVENT_NAMES = frozenset(noun.en[0] for noun in EVENTS)


def _subject_recalled(draw: Draw) -> Pair:
    first, what = _about(draw)
    it = what.subject_pronoun()
    if what.body:
        second = action(draw, subject=it).text()
    else:
        second = (passive(draw, subject=it) if draw.chance(0.4) else being(draw, subject=it)).text()
    return _linked(first, draw.one(_LINKS), second)


def related(draw: Draw) -> Pair:
    """A relative clause behind a subject or an object."""
    if draw.chance(0.5):
        what, said = _with_que(draw)
        predicate = being(draw, subject=what)
        return replace(predicate, subject=said).text()
    clause = action(draw, ends=False)
    if clause.subject.pronoun or clause.negation.en:
        return related(draw)
    inner = action(draw, TENSES[draw.one(INNER)], clause.subject, ends=False)
    relative = Pair(f"that {inner.english(subject=False)}", f"qui {inner.french(subject=False)}")
    return replace(clause, subject=clause.subject.followed(*relative)).text()


_FIRST_WORDS = {"the", "this", "these", "all", "several", "many"}


def _with_que(draw: Draw) -> tuple[Nominal, Nominal]:
    """`the reports that we have adopted`, `dont nous avons besoin`."""
    while True:
        clause = action(draw, ends=False)
        what, verb = clause.object, clause.verb
        if what is None or what.body or clause.negation.en or verb.preposition == "à" or verb.fr_tail == "en faveur":
            continue
        if what.en.split()[0] not in _FIRST_WORDS or _has_complement(what):
            continue
        clause.object, clause.antecedent = None, None if verb.preposition else what
        link = "dont" if verb.preposition else "que"
        return what, what.followed(f"that {clause.english()}", f"{link} {clause.french()}")


def _has_complement(what: Nominal) -> bool:
    return " of " in what.en or "'" in what.en
