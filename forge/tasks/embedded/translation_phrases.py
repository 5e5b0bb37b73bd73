"""Noun phrases and pronouns in both languages, with all that agreement needs to know about them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from forge.tasks.embedded import translation_english as english
from forge.tasks.embedded import translation_french as french
from forge.tasks.embedded.translation_french import IL, ILS, JE, NOUS, VOUS
from forge.tasks.embedded.translation_words import BODIES, Adjective, Noun


@dataclass(frozen=True, slots=True)
class Nominal:
    """What can be a subject or an object. `de` and `a` hold the phrase after these prepositions, contracted."""

    en: str
    fr: str
    de: str = ""
    a: str = ""
    after_pas: str = ""  # the phrase as object of a negated verb
    person: int = IL
    feminine: bool = False
    plural: bool = False
    key: str = ""
    body: bool = False  # acts and can be told something; the rest are things
    human: bool = False  # he, not it
    pronoun: bool = False

    def followed(self, en: str, fr: str) -> Nominal:
        """The phrase with a complement or a relative clause behind it."""
        return replace(
            self,
            en=f"{self.en} {en}",
            fr=f"{self.fr} {fr}",
            de=f"{self.de} {fr}",
            a=f"{self.a} {fr}",
            after_pas=f"{self.after_pas} {fr}",
        )

    def known_as(self, feminine: bool, plural: bool) -> Nominal:
        """The pronoun for somebody whose gender and number are known."""
        return replace(self, feminine=feminine, plural=plural)

    def subject_pronoun(self) -> Nominal:
        """It, he or they, standing for this phrase."""
        french_words = ("il", "elle") if not self.plural else ("ils", "elles")
        return replace(
            self,
            en="they" if self.plural else "he" if self.human else "it",
            fr=french_words[self.feminine],
            pronoun=True,
        )

    def object_pronoun(self) -> Nominal:
        """It, him or them, standing for this phrase."""
        return replace(self, en="them" if self.plural else "him" if self.human else "it", pronoun=True)


def _spoken(en: str, fr: str, person: int, plural: bool) -> Nominal:
    return Nominal(en, fr, person=person, plural=plural, key=en, body=True, pronoun=True)


ONE, WE, YOU = _spoken("I", "je", JE, False), _spoken("we", "nous", NOUS, True), _spoken("you", "vous", VOUS, True)
ME, US = replace(ONE, en="me"), replace(WE, en="us")

_DEFINITE = {"the": "le la les", "this": "ce cette ces"}
_POSSESSIVE = {
    "my": "mon ma mes",
    "our": "notre notre nos",
    "your": "votre votre vos",
    "its": "son sa ses",
    "his": "son sa ses",
    "their": "leur leur leurs",
}
_OTHER = {"several": "plusieurs plusieurs plusieurs", "each": "chaque chaque chaque", "any": "aucun aucune aucun"}
_ARTICLES = {name: row.split() for name, row in (_DEFINITE | _POSSESSIVE | _OTHER).items()}
_FOR_VOWELS = {"ce": "cet", "cette": "cette", "ma": "mon", "sa": "son"}


@lru_cache(maxsize=200_000)
def noun_phrase(determiner: str, noun: Noun, adjectives: tuple[Adjective, ...] = (), plural: bool = False) -> Nominal:
    """`the new directives`, `les nouvelles directives`. A number is written in digits: `21`, `the 21`."""
    fr, in_front = _french_core(noun, adjectives, plural)
    whole, de, a, after_pas = _french_phrase(determiner, fr, noun.feminine, plural, in_front)
    en = _english_phrase(determiner, " ".join([*(each.en for each in adjectives), noun.en[plural]]), plural)
    return Nominal(
        en,
        whole,
        de,
        a,
        after_pas,
        ILS if plural else IL,
        noun.feminine,
        plural,
        noun.en[0],
        noun in BODIES,
        noun.human,
    )


def _english_phrase(determiner: str, core: str, plural: bool) -> str:
    match determiner:
        case "a":
            return core if plural else english.with_article(core)
        case "this":
            return f"{'these' if plural else 'this'} {core}"
        case "all":
            return f"all the {core}"
    article, _, number = determiner.rpartition(" ")
    if number.isdigit():
        return f"{article} {english.cardinal(int(number))} {core}".lstrip()
    return f"{determiner} {core}"


def _french_core(noun: Noun, adjectives: tuple[Adjective, ...], plural: bool) -> tuple[str, bool]:
    """Noun and adjectives in French order, and whether an adjective comes first."""
    words = noun.fr[plural]
    in_front = False
    for each in adjectives:
        form = french.agreed(each.fr, noun.feminine, plural)
        if not each.before:
            words = f"{words} {form}"
    for each in reversed(adjectives):
        if each.before:
            special = each.before_vowel and not noun.feminine and not plural and french.opens_with_vowel(words)
            form = each.before_vowel if special else french.agreed(each.fr, noun.feminine, plural)
            words, in_front = f"{form} {words}", True
    return words, in_front


def _french_phrase(
    determiner: str, core: str, feminine: bool, plural: bool, in_front: bool
) -> tuple[str, str, str, str]:
    """The phrase alone, after de, after à, and as the object of a negated verb."""
    article, _, number = determiner.rpartition(" ")
    match article or determiner:
        case "a" if plural:
            partitive = f"{'de' if in_front else 'des'} {core}"
            return partitive, f"de {core}", f"à {partitive}", f"de {core}"
        case "a":
            whole = f"{'une' if feminine else 'un'} {core}"
            return whole, f"de {whole}", f"à {whole}", f"de {core}"
        case "many":
            whole = f"de {french.agreed('nombreux', feminine, True)} {core}"
            return whole, whole, f"à {whole}", whole
        case "all":
            whole = f"{'toutes' if feminine else 'tous'} les {core}"
            return whole, f"de {whole}", f"à {whole}", whole
        case "the":
            counted = f"{french.cardinal(int(number), feminine)} {core}" if article else core
            return _with_the(counted, feminine, plural)
        case digits if digits.isdigit():
            whole = f"{french.cardinal(int(digits), feminine)} {core}"
            return whole, f"de {whole}", f"à {whole}", whole
        case name:
            word = _ARTICLES[name][2 if plural else feminine]
            word = _FOR_VOWELS.get(word, word) if french.opens_with_vowel(core) else word
            whole = f"{word} {core}"
            return whole, f"de {whole}", f"à {whole}", whole


def _with_the(core: str, feminine: bool, plural: bool) -> tuple[str, str, str, str]:
    if plural:
        return f"les {core}", f"des {core}", f"aux {core}", f"les {core}"
    whole = f"{'la' if feminine else 'le'} {core}"
    if feminine or french.opens_with_vowel(core):  # what elides does not contract
        return whole, f"de {whole}", f"à {whole}", whole
    return whole, f"du {core}", f"au {core}", whole


def owned(noun: Noun, adjectives: tuple[Adjective, ...], plural: bool, owner: Nominal, by_of: bool) -> Nominal:
    """`the Commission's report` or `the report of the Commission`: le rapport de la Commission."""
    phrase = noun_phrase("the", noun, adjectives, plural)
    whole = phrase.followed(f"of {owner.en}", owner.de)
    if by_of:
        return whole
    return replace(whole, en=f"{english.possessive(owner.en, owner.plural)} {phrase.en.removeprefix('the ')}")
