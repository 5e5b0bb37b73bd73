"""One clause in both languages: where its words go, and how its verb is formed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from forge.tasks.embedded import translation_english as english
from forge.tasks.embedded.translation_french import IL, ILS, JE, agreed, auxiliary, conjugation
from forge.tasks.embedded.translation_phrases import Nominal
from forge.tasks.embedded.translation_words import Verb


class Pair(NamedTuple):
    """A piece of text in both languages."""

    en: str
    fr: str


NOTHING = Pair("", "")


class Tense(NamedTuple):
    """An English form and the French one: of the verb itself, of its helper, or of a verb before the infinitive."""

    en: str
    fr: str
    leader: str = ""  # "" the verb itself, "avoir" the helper of compound tenses, else a verb like pouvoir


COMPOUND = "avoir"
TENSES = {
    "present": Tense("present", "present"),
    "progressive": Tense("is -ing", "present"),
    "perfect": Tense("perfect", "present", COMPOUND),
    "past": Tense("past", "present", COMPOUND),
    "future": Tense("will", "future"),
    "conditional": Tense("would", "conditional"),
    "was -ing": Tense("was -ing", "imperfect"),
    "used to": Tense("used to", "imperfect"),
    "going to": Tense("going to", "present", "aller"),
    "just": Tense("just", "present", "venir"),
    "must": Tense("must", "present", "devoir"),
    "can": Tense("can", "present", "pouvoir"),
    "should": Tense("should", "conditional", "devoir"),
    "could": Tense("could", "conditional", "pouvoir"),
    "want": Tense("want", "present", "vouloir"),
    "was": Tense("past", "imperfect"),  # states, and what is not so after if
    "since": Tense("since", "present"),  # has been preparing for two years: prépare depuis deux ans
    "when": Tense("present", "future"),
    "subjunctive": Tense("present", "subjunctive"),
    "to": Tense("to", "subjunctive"),
    "although": Tense("perfect", "subjunctive", COMPOUND),
}


@dataclass(slots=True)
class Clause:
    """Who does what to whom, and how it is said."""

    subject: Nominal
    verb: Verb
    tense: Tense
    object: Nominal | None = None
    recipient: Nominal | None = None
    predicate: Pair | None = None  # after the verb to be; the French half already agrees
    negation: Pair = NOTHING
    adverb: Pair = NOTHING
    end: Pair = NOTHING
    antecedent: Nominal | None = None  # what a relative que stands for: its participle agrees

    def text(self) -> Pair:
        """As a statement, without capital and full stop."""
        return Pair(self.english(), self.french())

    def english(self, question: bool = False, subject: bool = True) -> str:
        """The English words; without the subject for relative clauses and what is asked of somebody."""
        auxiliary_word, rest = _english_verb(
            self.tense.en, self.verb.en, self.subject.person, self.negation.en, self.adverb.en, question
        )
        name = self.subject.en if subject else ""
        front = (auxiliary_word, name) if question else (name, auxiliary_word)
        obj = self.object.en if self.object else ""
        to = f"to {self.recipient.en}" if self.recipient else ""
        said = self.predicate.en if self.predicate else ""
        parts = (*front, rest, self.verb.en_before, obj, self.verb.en_after, said, to, self.end.en)
        return " ".join(part for part in parts if part)

    def french(self, question: bool = False, subject: bool = True) -> str:
        """The French words; elision comes later."""
        name = self.subject.fr if subject and not (question and self.subject.pronoun) else ""
        parts = (name, self._verb(question), *self._after(), self.end.fr)
        return " ".join(part for part in parts if part)

    def infinitive(self) -> str:
        """The French words after de: the verb is not conjugated and has no subject."""
        ne = f"ne {self.negation.fr}" if self.negation.fr else ""
        parts = (ne, self._clitics(), self.verb.fr, self.adverb.fr, *self._after(), self.end.fr)
        return " ".join(part for part in parts if part)

    def _verb(self, question: bool) -> str:
        leader, clitics = self.tense.leader, self._clitics()
        if leader == COMPOUND:
            finite, rest = auxiliary(self.verb.fr), self._participle()
        elif leader:
            of = "de" if leader == "venir" else ""
            finite, rest = leader, " ".join(part for part in (of, clitics, self.verb.fr) if part)
            clitics = ""
        else:
            finite, rest = self.verb.fr, ""
        finite = conjugation(finite)[self.tense.fr][self.subject.person]
        if question:
            finite = inverted(finite, self.subject)
        ne = "ne" if self.negation.en else ""
        parts = (ne, clitics, finite, self.negation.fr, self.adverb.fr, rest)
        return " ".join(part for part in parts if part)

    def _participle(self) -> str:
        participle = conjugation(self.verb.fr)["participle"][0]
        if auxiliary(self.verb.fr) == "être":
            leads: Nominal | None = self.subject
        elif self.verb.preposition:
            leads = None
        else:
            leads = self.object if self.object and self.object.pronoun else self.antecedent
        return agreed(participle, leads.feminine, leads.plural) if leads else participle

    def _clitics(self) -> str:
        direct, dative = self.object, self.recipient
        pieces = []
        if direct and direct.pronoun:
            pieces.append(_clitic(direct, self.verb.preposition))
        if dative and dative.pronoun:
            pieces.append(_clitic(dative, "à"))
        return " ".join(sorted(pieces, key=_RANKS.__getitem__)) if len(pieces) > 1 else "".join(pieces)

    def _after(self) -> tuple[str, ...]:
        obj = self.object
        said = ""
        if obj and not obj.pronoun:
            plain = obj.after_pas if self.negation.fr else obj.fr
            said = {"": plain, "à": obj.a, "de": obj.de}[self.verb.preposition]
        to = self.recipient.a if self.recipient and not self.recipient.pronoun else ""
        return self.verb.fr_tail, said, self.predicate.fr if self.predicate else "", to


# Pronouns before the verb stand in this order.
_RANKS = {"me": 0, "nous": 0, "vous": 0, "le": 1, "la": 1, "les": 1, "lui": 2, "leur": 2, "y": 3, "en": 4}


def _clitic(nominal: Nominal, preposition: str) -> str:
    if nominal.person not in {IL, ILS}:
        return "me" if nominal.person == JE else nominal.fr
    match preposition:
        case "de":
            return "en"
        case "à":
            return ("leur" if nominal.plural else "lui") if nominal.body else "y"
    return "les" if nominal.plural else "la" if nominal.feminine else "le"


def inverted(finite: str, subject: Nominal) -> str:
    """A verb with its subject pronoun behind it: a-t-elle, soutiendront-ils."""
    if subject.person not in {IL, ILS}:
        return f"{finite}-{subject.fr}"
    pronoun = ("elle" if subject.feminine else "il") + ("s" if subject.plural else "")
    return f"{finite}-{pronoun}" if finite[-1] in "td" else f"{finite}-t-{pronoun}"


_MODALS = frozenset({"will", "would", "must", "can", "should", "could"})


@lru_cache(maxsize=100_000)
def _english_verb(form: str, base: str, person: int, negation: str, adverb: str, question: bool) -> tuple[str, str]:
    """What an interrogative puts before the subject, and the rest."""
    third, past, participle, ing = english.forms(base)
    have = "has" if person == IL else "have"
    be = {IL: "is", JE: "am"}.get(person, "are")
    was = "was" if person in {IL, JE} else "were"
    words = (part for part in (negation, adverb) if part)
    if form in _MODALS:
        auxiliary_word, tail = form, base
    elif form in {"present", "past"} and base == "be":
        auxiliary_word, tail = (be if form == "present" else was), ""
    elif form in {"present", "past"} and (question or negation.startswith("not")):
        auxiliary_word, tail = "did" if form == "past" else "does" if person == IL else "do", base
    elif form == "want":
        auxiliary_word, lead = _english_verb("present", "want", person, negation, adverb, question)
        return auxiliary_word, f"{lead} to {base}"
    else:
        auxiliary_word, tail = {
            "present": ("", third if person == IL else base),
            "past": ("", past),
            "perfect": (have, participle),
            "is -ing": (be, ing),
            "was -ing": (was, ing),
            "used to": ("", f"used to {base}"),
            "going to": (be, f"going to {base}"),
            "just": (have, f"just {participle}"),
            "since": (have, f"been {ing}"),
            "to": ("", f"to {base}"),
            "base": ("", base),
        }[form]
    if auxiliary_word == "can" and negation.startswith("not") and not question:
        return "", " ".join(["cannot" + negation.removeprefix("not"), *([adverb] if adverb else []), tail])
    return auxiliary_word, " ".join([*words, tail] if tail else [*words])
