"""Single clauses: statements, what something is, passives, questions, demands on ourselves."""

from __future__ import annotations

from forge.tasks.embedded.translation_clauses import COMPOUND, NOTHING, TENSES, Clause, Pair, Tense
from forge.tasks.embedded.translation_draw import (
    NOT,
    TRIES,
    Draw,
    NothingFitsError,
    actors,
    end,
    fits,
    hearer,
    qualified,
    weighted,
)
from forge.tasks.embedded.translation_english import forms
from forge.tasks.embedded.translation_french import agreed, conjugation
from forge.tasks.embedded.translation_phrases import WE, Nominal, noun_phrase
from forge.tasks.embedded.translation_words import (
    BE,
    BODIES,
    COME_INTO_FORCE,
    EVENTS,
    LAWS,
    SAID,
    TAKE_PLACE,
    TEXTS,
    VERBS,
    Adjective,
    Noun,
    Verb,
)

_TOLD = weighted(
    "perfect:22 future:15 present:12 progressive:6 past:11 conditional:4 was_-ing:4 used_to:3 going_to:4 just:4"
    " must:5 can:4 should:4 could:3 want:4 since:3"
)
_BEING = weighted("present:60 future:12 was:10 perfect:5 conditional:4 must:6 should:3")
_PASSIVE = weighted("perfect:34 future:18 past:16 must:8 should:6 can:6 could:3 going_to:4 conditional:5")
_HAPPENING = weighted("future:35 past:25 perfect:15 going_to:10 must:5 should:5 can:5")
INNER = ("perfect", "future", "present", "must", "conditional", "can")  # in a clause under another
_NOT_OF_STATES = {"progressive", "was -ing", "since", "just", "want", "used to"}
_PASSIVE_VERBS = tuple(v for v in VERBS if v.objects == "text" and not (v.preposition or v.state or v.to_whom))
_DEGREES = (Pair("very", "très"), Pair("too", "trop"), Pair("really", "vraiment"))
_COMPARED = (
    Pair("more {} than", "plus {} que"),
    Pair("less {} than", "moins {} que"),
    Pair("as {} as", "aussi {} que"),
)


def tense_of(draw: Draw, verb: Verb, names: tuple[tuple[str, ...], tuple[float, ...]] = _TOLD) -> Tense:
    """A tense that the verb has; what lasted, and did not happen, is told in the imparfait."""
    while True:
        name = draw.of(names)
        if verb.state and name in _NOT_OF_STATES:
            continue
        if name == "past" and forms(verb.en)[1] == verb.en:  # "they put" could be either
            continue
        return TENSES["was" if verb.state and name == "past" else name]


def realised(draw: Draw, actor: Nominal | Noun, negated: bool = False) -> Nominal:
    """The actor as a subject."""
    return actor if isinstance(actor, Nominal) else draw.subject(actor, negated)


def action(draw: Draw, tense: Tense | None = None, subject: Nominal | None = None, ends: bool = True) -> Clause:
    """Somebody does something. A subject that is handed in decides what is drawn for it."""
    while True:
        actor, verb, noun = actors(draw, subject=subject)
        chosen = tense or tense_of(draw, verb)
        if tense and verb.state and tense.en in {"is -ing", "was -ing", "since", "just"}:
            continue
        negation = draw.negation(chosen)
        who = realised(draw, actor, bool(negation.en))
        if not fits(draw, who, verb, chosen):
            continue
        clause = Clause(who, verb, chosen, negation=negation, adverb=draw.adverb(chosen, negation))
        if noun is not None:
            _add_object(draw, clause, noun)
        if ends or chosen is TENSES["since"]:
            clause.end = end(draw, chosen)
        return clause


def _add_object(draw: Draw, clause: Clause, noun: Noun) -> None:
    verb = clause.verb
    if verb.objects == "body" and draw.chance(0.25):
        agrees = clause.tense.leader == COMPOUND and not verb.preposition
        spoken = hearer(draw, clause.subject, agrees)
        if spoken and draw.ours(clause.subject.key, verb.key, spoken.key):
            clause.object = spoken
            return
    clause.object, clause.negation = draw.thing(noun, clause.subject, clause.negation)
    if verb.to_whom and draw.chance(0.5):
        clause.recipient = hearer(draw, clause.subject, agrees=False) if draw.chance(0.4) else None
        clause.recipient = clause.recipient or noun_phrase("the", draw.one(BODIES), (), False)


def being(draw: Draw, tense: Tense | None = None, subject: Nominal | None = None) -> Clause:
    """Something is so, or more so than something else."""
    who, adjective = _somebody_so(draw, subject)
    chosen = tense or tense_of(draw, BE, _BEING)
    negation = draw.negation(chosen, 0.25)
    if negation.en and not who.pronoun:
        negation = NOT if who.en.split()[0] in {"the", "this", "these", "our", "your"} else NOTHING
    form = agreed(adjective.fr, who.feminine, who.plural)
    said = Pair(adjective.en, form)
    kind = draw.random()
    if kind < 0.25:
        degree = draw.one(_DEGREES)
        said = Pair(f"{degree.en} {said.en}", f"{degree.fr} {form}")
    elif kind < 0.25 + 0.2 * draw.difficulty and adjective.en not in {"clear", "ready"}:
        way, other = draw.one(_COMPARED), noun_phrase("the", draw.one(BODIES if who.body else TEXTS), (), False)
        if other.key != who.key:
            said = Pair(f"{way.en.format(said.en)} {other.en}", f"{way.fr.format(form)} {other.fr}")
    return Clause(who, BE, chosen, predicate=said, negation=negation)


def _somebody_so(draw: Draw, subject: Nominal | None) -> tuple[Nominal, Adjective]:
    for _ in range(TRIES):
        who: Nominal | Noun
        if subject is not None:
            who, kind = subject, "body" if subject.body else "text"
        elif draw.chance(0.65):
            who, kind = draw.one(TEXTS), "text"
        else:
            who, kind = (WE if draw.chance(0.2) else draw.one(BODIES)), "body"
            who = draw.you if draw.addressed and draw.chance(0.3) else who
        adjective = draw.one(SAID[kind])
        if draw.ours(who.key if isinstance(who, Nominal) else who.en[0], "be", adjective.en):
            return realised(draw, who), adjective
    raise NothingFitsError


def naming(draw: Draw) -> Clause:
    """Something is something: `this proposal is a good compromise`."""
    while True:
        first, second = draw.one(TEXTS), draw.one(TEXTS)
        if first is not second and draw.ours(first.en[0], "be a", second.en[0]):
            break
    who = noun_phrase("this" if draw.chance(0.5) else "the", first, draw.adjectives(first))
    what = noun_phrase("a", second, draw.adjectives(second))
    tense = tense_of(draw, BE, _BEING)
    return Clause(who, BE, tense, predicate=Pair(what.en, what.fr), negation=NOT if draw.chance(0.2) else NOTHING)


def passive(draw: Draw, tense: Tense | None = None, subject: Nominal | None = None) -> Clause:
    """Something is done, mostly by somebody."""
    while True:
        noun, verb, actor = draw.one(TEXTS), draw.one(_PASSIVE_VERBS), draw.one(BODIES)
        if draw.ours(actor.en[0], verb.key, subject.key if subject else noun.en[0]):
            break
    chosen = tense or TENSES[draw.of(_PASSIVE)]
    negation = draw.negation(chosen)
    who = subject or draw.subject(noun, bool(negation.en))
    by = draw.subject(actor, negated=True)
    participle = agreed(conjugation(verb.fr)["participle"][0], who.feminine, who.plural)
    said = Pair(f"{forms(verb.en)[2]} by {by.en}", f"{participle} par {by.fr}")
    return Clause(who, BE, chosen, predicate=said, negation=negation, end=end(draw, chosen))


def happening(draw: Draw, tense: Tense | None = None) -> Clause:
    """Something takes place or comes into force."""
    verb, nouns = (COME_INTO_FORCE, LAWS) if draw.chance(0.5) else (TAKE_PLACE, EVENTS)
    noun, adjectives = qualified(draw, nouns, verb.key)
    chosen = tense or TENSES[draw.of(_HAPPENING)]
    negation = draw.negation(chosen)
    who = draw.subject(noun, bool(negation.en), adjectives)
    return Clause(who, verb, chosen, negation=negation, end=end(draw, chosen))
