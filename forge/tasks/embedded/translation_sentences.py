"""Whole sentences: main and subordinate clauses, whose connection decides tense, mood and pronouns."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

from forge.tasks.embedded.translation_asked import existing, question, urging
from forge.tasks.embedded.translation_clauses import NOTHING, TENSES, Clause, Pair, Tense
from forge.tasks.embedded.translation_draw import Draw
from forge.tasks.embedded.translation_linked import recalled, related
from forge.tasks.embedded.translation_phrases import ONE, WE, noun_phrase
from forge.tasks.embedded.translation_simple import INNER, action, being, happening, naming, passive
from forge.tasks.embedded.translation_words import BODIES, THINKING


def stated(draw: Draw) -> Pair:
    """One action."""
    return action(draw).text()


def described(draw: Draw) -> Pair:
    """What something is."""
    return (naming(draw) if draw.chance(0.2) else being(draw)).text()


def done(draw: Draw) -> Pair:
    """A passive."""
    return passive(draw).text()


def happened(draw: Draw) -> Pair:
    """Something takes place or comes into force."""
    return happening(draw).text()


def reported(draw: Draw) -> Pair:
    """`the ministers think that they have …`."""
    verb = draw.one(THINKING)
    speaker = draw.one((ONE, WE)) if draw.chance(0.5) else draw.subject(draw.one(BODIES))
    lead = Clause(speaker, verb, TENSES["present"])
    if verb.en == "say":
        lead.tense = TENSES["perfect"]
    tense = TENSES[draw.one(INNER)]
    if not speaker.pronoun and draw.chance(0.5):
        inner = action(draw, tense, speaker.subject_pronoun())
    else:
        inner = _any_clause(draw, tense)
    return _joined(lead.text(), Pair("that", "que"), inner.text())


def _any_clause(draw: Draw, tense: Tense) -> Clause:
    kind = draw.random()
    if kind < 0.25:
        return being(draw, tense)
    return passive(draw, tense) if kind < 0.4 else action(draw, tense)


def _joined(first: Pair, link: Pair, second: Pair) -> Pair:
    return Pair(f"{first.en} {link.en} {second.en}", f"{first.fr} {link.fr} {second.fr}")


def _in_front(link: Pair, first: Pair, second: Pair) -> Pair:
    return Pair(f"{link.en} {first.en}, {second.en}", f"{link.fr} {first.fr}, {second.fr}")


def conditional(draw: Draw) -> Pair:
    """`if … adopts, … will`, `if … adopted, … would`."""
    real = draw.chance(0.55)
    first = _under(draw, TENSES["present" if real else "was"])
    second = action(draw, TENSES["future" if real else "conditional"])
    link = Pair("if", "si")
    return _in_front(link, first, second.text()) if draw.chance(0.7) else _joined(second.text(), link, first)


def _under(draw: Draw, tense: Tense) -> Pair:
    """A clause for after if or when."""
    clause = being(draw, tense) if draw.chance(0.25) else action(draw, tense, ends=False)
    return clause.text()


def timed(draw: Draw) -> Pair:
    """`when … adopts, … will`: French has the future twice."""
    first = action(draw, TENSES["when"], ends=False)
    second = action(draw, TENSES["future"])
    link = Pair("when", "quand")
    return (
        _in_front(link, first.text(), second.text()) if draw.chance(0.7) else _joined(second.text(), link, first.text())
    )


def conceded(draw: Draw) -> Pair:
    """`although …`, with its subjunctive, and `because …`."""
    if draw.chance(0.5):
        first, second = action(draw, ends=False).text(), _any_clause(draw, TENSES[draw.one(INNER)]).text()
        return _joined(first, Pair("because", "parce que"), second)
    tense = TENSES[draw.one(("subjunctive", "although"))]
    first = (being(draw, TENSES["subjunctive"]) if draw.chance(0.3) else action(draw, tense, ends=False)).text()
    return _in_front(Pair("although", "bien que"), first, action(draw).text())


_WISHES = (
    (Pair("it is important that", "il est important que"), "subjunctive"),
    (Pair("it is necessary that", "il est nécessaire que"), "subjunctive"),
    (Pair("it is time for", "il est temps que"), "to"),
    (Pair("we would like", "nous voudrions que"), "to"),
    (Pair("we want", "nous voulons que"), "to"),
    (Pair("I want", "je veux que"), "to"),
)


def wished(draw: Draw) -> Pair:
    """What somebody should do, in the subjunctive."""
    lead, mood = draw.one(_WISHES)
    while (clause := action(draw, TENSES[mood])).subject.pronoun:
        pass
    return Pair(f"{lead.en} {clause.english()}", f"{lead.fr} {clause.french()}")


_ASKED = (Pair("we call on {} to", "nous demandons {} de"), Pair("I call on {} to", "je demande {} de"))
_ALONE = (
    Pair("it is time to", "il est temps de"),
    Pair("I should like to", "je voudrais"),
    Pair("we are ready to", "nous sommes prêts à"),
    Pair("we are right to", "nous avons raison de"),
    Pair("we refuse to", "nous refusons de"),
)


def asked(draw: Draw) -> Pair:
    """`we call on the Council to adopt …`, `it is time to …`."""
    if draw.chance(0.5):
        noun = draw.one(BODIES)
        who = noun_phrase("the", noun, draw.adjectives(noun), not noun.only_singular and draw.chance(0.4))
        clause = action(draw, Tense("base", "present"), who)
        lead = draw.one(_ASKED)
        lead = Pair(lead.en.format(who.en), lead.fr.format(who.a))
    else:
        lead = draw.one(_ALONE)
        clause = action(draw, Tense("base", "present"), WE if lead.en[0] == "w" else ONE)
    clause.negation, clause.adverb = NOTHING, NOTHING
    if clause.object and clause.object.en.startswith("any "):
        clause.object = None
        return asked(draw)
    return Pair(f"{lead.en} {clause.english(subject=False)}", f"{lead.fr} {clause.infinitive()}")


Frame = Callable[[Draw], Pair]
FRAMES: MappingProxyType[Frame, tuple[float, float]] = MappingProxyType(
    {  # shares at difficulty 0 and 1
        stated: (30, 16),
        described: (12, 7),
        done: (10, 6),
        happened: (5, 3),
        existing: (4, 3),
        question: (12, 9),
        urging: (4, 2),
        reported: (4, 9),
        conditional: (2, 7),
        timed: (1, 5),
        conceded: (2, 7),
        wished: (3, 6),
        asked: (4, 5),
        recalled: (5, 9),
        related: (2, 8),
    }
)
