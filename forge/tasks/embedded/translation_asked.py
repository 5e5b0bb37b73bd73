"""Clauses of their own make: what there is, questions, and what we should do."""

from __future__ import annotations

from dataclasses import replace

from forge.tasks.embedded.translation_clauses import NOTHING, TENSES, Clause, Pair, Tense
from forge.tasks.embedded.translation_draw import (
    NOT,
    Draw,
    actors,
    end,
    qualified,
    weighted,
)
from forge.tasks.embedded.translation_french import IL, ILS
from forge.tasks.embedded.translation_phrases import WE, Nominal, noun_phrase
from forge.tasks.embedded.translation_simple import action, being
from forge.tasks.embedded.translation_words import BE, BODIES, EVENTS, TEXTS

_ASKED = weighted("perfect:30 future:20 present:16 past:8 conditional:5 must:5 can:6 should:5 going_to:4")
_EXISTING = {"present": "il y a", "was": "il y avait", "future": "il y aura", "perfect": "il y a eu"}
_NOT_EXISTING = {
    "present": "il n'y a pas",
    "was": "il n'y avait pas",
    "future": "il n'y aura pas",
    "perfect": "il n'y a pas eu",
}


def existing(draw: Draw) -> Pair:
    """`there are new rules`, `there was no debate`."""
    noun, adjectives = qualified(draw, (*TEXTS, *EVENTS), "there is")
    name = draw.one(tuple(_EXISTING))
    plural, negated = draw.chance(0.5), draw.chance(0.3)
    there = Clause(replace(WE, en="there", person=ILS if plural else IL), BE, TENSES[name]).english()
    if negated:
        phrase = noun_phrase("a", noun, adjectives, plural)
        core = phrase.en if plural else phrase.en.split(" ", 1)[1]
        return Pair(f"{there} no {core}", f"{_NOT_EXISTING[name]} {phrase.after_pas}")
    determiner = draw.one(("several", "many", str(2 + int(draw.random() * 98)))) if plural else "a"
    phrase = noun_phrase(determiner if draw.chance(0.6) else "a", noun, adjectives, plural)
    return Pair(f"{there} {phrase.en}", f"{_EXISTING[name]} {phrase.fr}")


_ASKING = (Pair("why", "pourquoi"), Pair("when", "quand"), Pair("how", "comment"))
_WHICH = ("quel", "quelle", "quels", "quelles")


def question(draw: Draw) -> Pair:
    """Yes or no, why, when, how, or which."""
    if draw.chance(0.25):
        clause = being(draw)
        return Pair(clause.english(question=True), clause.french(question=True))
    clause = action(draw, TENSES[draw.of(_ASKED)], ends=False)
    if clause.subject.key == "I" or clause.negation.en not in {"", "not"}:
        return question(draw)
    clause.adverb = NOTHING
    kind = draw.random()
    obj = clause.object
    if kind < 0.2 and obj and not (obj.pronoun or clause.verb.preposition or clause.negation.en):
        return _which(clause, obj)
    if kind < 0.5:
        ask = draw.one(_ASKING[:1] if clause.negation.en else _ASKING)
        return Pair(f"{ask.en} {clause.english(question=True)}", f"{ask.fr} {clause.french(question=True)}")
    clause.end = end(draw, clause.tense)
    return Pair(clause.english(question=True), clause.french(question=True))


def _which(clause: Clause, obj: Nominal) -> Pair:
    noun = next(n for n in (*TEXTS, *BODIES, *EVENTS) if n.en[0] == obj.key)
    word = _WHICH[obj.feminine + 2 * obj.plural]
    clause.object, clause.antecedent = None, obj
    en, fr = clause.english(question=True), clause.french(question=True)
    return Pair(f"which {noun.en[obj.plural]} {en}", f"{word} {noun.fr[obj.plural]} {fr}")


def urging(draw: Draw) -> Pair:
    """`let us adopt the new rules`."""
    while True:
        _, verb, noun = actors(draw, spoken=1.0)
        if noun and not verb.state and draw.ours("we", verb.key, noun.en[0]):
            break
    negation = NOT if draw.chance(0.25) else NOTHING
    clause = Clause(WE, verb, TENSES["present"], negation=negation)
    clause.object, clause.negation = draw.thing(noun, WE, negation)
    lead = "let us not" if clause.negation.en else "let us"
    words = clause.french(subject=False)
    ordered = replace(clause, tense=Tense("base", "present"), negation=NOTHING)
    return Pair(f"{lead} {ordered.english(subject=False)}", words)
