"""French word forms: conjugation, agreement, numbers, and what happens where two words meet.

Decisions, after the French half of Europarl: the apostrophe is the plain ' ; one plain space stands before ? and ! ;
capitals keep their accents; numbers are written the traditional way (vingt et un, quatre-vingt-deux).
"""

from __future__ import annotations

import re
from functools import cache
from types import MappingProxyType

# The places of je, il/elle, nous, vous, ils/elles in every row of six forms; Parliament does not say tu.
JE, IL, NOUS, VOUS, ILS = 0, 2, 3, 4, 5

_IMPERFECT = ("ais", "ais", "ait", "ions", "iez", "aient")
_FUTURE = ("ai", "as", "a", "ons", "ez", "ont")
_SUBJUNCTIVE = ("e", "es", "e", "ions", "iez", "ent")

# Ending of the infinitive → present, stem of the future, participle, and the subjunctive where it does not follow.
_IRREGULAR: dict[str, tuple[str, str, str, str]] = {
    "être": ("suis es est sommes êtes sont", "ser", "été", "sois sois soit soyons soyez soient"),
    "avoir": ("ai as a avons avez ont", "aur", "eu", "aie aies ait ayons ayez aient"),
    "aller": ("vais vas va allons allez vont", "ir", "allé", "aille ailles aille allions alliez aillent"),
    "faire": ("fais fais fait faisons faites font", "fer", "fait", "fasse fasses fasse fassions fassiez fassent"),
    "pouvoir": (
        "peux peux peut pouvons pouvez peuvent",
        "pourr",
        "pu",
        "puisse puisses puisse puissions puissiez puissent",
    ),
    "devoir": ("dois dois doit devons devez doivent", "devr", "dû", ""),
    "vouloir": (
        "veux veux veut voulons voulez veulent",
        "voudr",
        "voulu",
        "veuille veuilles veuille voulions vouliez veuillent",
    ),
    "savoir": ("sais sais sait savons savez savent", "saur", "su", "sache saches sache sachions sachiez sachent"),
    "recevoir": ("reçois reçois reçoit recevons recevez reçoivent", "recevr", "reçu", ""),
    "tenir": ("tiens tiens tient tenons tenez tiennent", "tiendr", "tenu", ""),
    "venir": ("viens viens vient venons venez viennent", "viendr", "venu", ""),
    "prendre": ("prends prends prend prenons prenez prennent", "prendr", "pris", ""),
    "dre": ("ds ds d dons dez dent", "dr", "du", ""),
    "partir": ("pars pars part partons partez partent", "partir", "parti", ""),
    "suivre": ("suis suis suit suivons suivez suivent", "suivr", "suivi", ""),
    "dire": ("dis dis dit disons dites disent", "dir", "dit", ""),
    "uire": ("uis uis uit uisons uisez uisent", "uir", "uit", ""),
    "mettre": ("mets mets met mettons mettez mettent", "mettr", "mis", ""),
    "connaître": ("connais connais connaît connaissons connaissez connaissent", "connaîtr", "connu", ""),
    "croire": ("crois crois croit croyons croyez croient", "croir", "cru", ""),
    "convaincre": ("convaincs convaincs convainc convainquons convainquez convainquent", "convaincr", "convaincu", ""),
}
# Verbs in -er whose stem changes before a mute ending, and their stem of the future.
_CHANGING = {
    "rejeter": ("rejett", "rejetter"),
    "envoyer": ("envoi", "enverr"),
    "appuyer": ("appui", "appuier"),
    "protéger": ("protèg", "protéger"),
    "espérer": ("espèr", "espérer"),
}
_WITH_ETRE = frozenset({"arriver", "partir", "revenir", "entrer"})


def auxiliary(infinitive: str) -> str:
    """The helper of the passé composé."""
    return "être" if infinitive in _WITH_ETRE else "avoir"


@cache
def conjugation(infinitive: str) -> MappingProxyType[str, tuple[str, ...]]:
    """Tense → six forms; under "participle" there is one."""
    present, future, participle, subjunctive = _principal_parts(infinitive)
    imperfect = tuple(_spelled(_stem_of_the_past(infinitive, present), ending) for ending in _IMPERFECT)
    if not subjunctive:
        strong = present[5].removesuffix("ent")
        subjunctive = tuple(
            imperfect[person] if person in {NOUS, VOUS} else strong + ending
            for person, ending in enumerate(_SUBJUNCTIVE)
        )
    return MappingProxyType(
        {
            "present": present,
            "imperfect": imperfect,
            "future": tuple(future + ending for ending in _FUTURE),
            "conditional": tuple(future + ending for ending in _IMPERFECT),
            "subjunctive": subjunctive,
            "participle": (participle,),
        }
    )


def _principal_parts(infinitive: str) -> tuple[tuple[str, ...], str, str, tuple[str, ...]]:
    for ending in sorted(_IRREGULAR, key=len, reverse=True):
        if infinitive.endswith(ending):
            start = infinitive.removesuffix(ending)
            present, future, participle, subjunctive = _IRREGULAR[ending]
            forms = [tuple(start + form for form in row.split()) for row in (present, subjunctive)]
            return forms[0], start + future, start + participle, forms[1]
    stem = infinitive[:-2]
    if infinitive.endswith("ir"):
        endings = ("is", "is", "it", "issons", "issez", "issent")
        return tuple(stem + ending for ending in endings), infinitive, f"{stem}i", ()
    mute, future = _CHANGING.get(infinitive, (stem, infinitive))
    endings = ("e", "es", "e", "ons", "ez", "ent")
    present_forms = tuple(
        _spelled(stem if person in {NOUS, VOUS} else mute, ending) for person, ending in enumerate(endings)
    )
    return present_forms, future, f"{stem}é", ()


def _stem_of_the_past(infinitive: str, present: tuple[str, ...]) -> str:
    if infinitive == "être":
        return "ét"
    regular = infinitive.endswith("er") and infinitive != "aller"
    return infinitive[:-2] if regular else present[NOUS].removesuffix("ons")


def _spelled(stem: str, ending: str) -> str:
    """A stem in c or g keeps its sound before a and o: annonçons, protégeait."""
    soft = {"c": "ç", "g": "ge"} if ending[0] in "ao" else {}
    return stem[:-1] + soft.get(stem[-1], stem[-1]) + ending


@cache
def agreed(masculine: str, feminine: bool, plural: bool) -> str:
    """An adjective or participle in the asked form, by its ending."""
    if plural and not feminine:
        if masculine.endswith("al"):
            return f"{masculine[:-1]}ux"
        return masculine if masculine[-1] in "sx" else masculine + ("x" if masculine.endswith("eau") else "s")
    if not feminine:
        return masculine
    return _feminine(masculine) + ("s" if plural else "")


_FEMININES = {"public": "publique", "long": "longue", "nouveau": "nouvelle", "vieux": "vieille", "complet": "complète"}
_FEMININE_ENDINGS = (("eux", "euse"), ("if", "ive"), ("er", "ère"), ("en", "enne"), ("on", "onne"), ("el", "elle"))


def _feminine(masculine: str) -> str:
    if masculine in _FEMININES:
        return _FEMININES[masculine]
    for ending, other in _FEMININE_ENDINGS:
        if masculine.endswith(ending):
            return masculine.removesuffix(ending) + other
    return masculine if masculine.endswith("e") else f"{masculine}e"


# An h is mute and a first letter elides, except in these.
_ASPIRATED = ("haut", "huit", "onze", "hausse")
_VOWELS = "aeiouyhàâéèêëîïôûœ"
_LINKED = re.compile(rf"\b(?:(l)[ea]|([dnjm]|qu)e) (?=[{_VOWELS}])(?!{'|'.join(_ASPIRATED)})", flags=re.IGNORECASE)
_SI = re.compile(r"\b(s)i (?=ils?\b)", flags=re.IGNORECASE)


def elided(text: str) -> str:
    """The words with le, la, de, ne, je, me, que and si shortened where French does so."""
    return _SI.sub(r"\1'", _LINKED.sub(r"\1\2'", text))


@cache
def opens_with_vowel(word: str) -> bool:
    """Whether a word before this one elides or takes its form for vowels (cet, son, nouvel)."""
    lower = word.lower()
    return lower[0] in _VOWELS and not lower.startswith(_ASPIRATED)


_UNITS = (
    *("zéro", "un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf", "dix", "onze", "douze"),
    *("treize", "quatorze", "quinze", "seize", "dix-sept", "dix-huit", "dix-neuf"),
)
_TENS = {2: "vingt", 3: "trente", 4: "quarante", 5: "cinquante", 6: "soixante", 8: "quatre-vingt"}


@cache
def cardinal(number: int, feminine: bool = False) -> str:
    """A number from 1 to 99 in words, before a noun."""
    if number < 20:
        return f"{_UNITS[number]}e" if number == 1 and feminine else _UNITS[number]
    ten, unit = divmod(number, 10)
    if ten in {7, 9}:  # these count on from sixty and eighty
        ten, unit = ten - 1, unit + 10
    if unit == 0:
        return _TENS[ten] + ("s" if ten == 8 else "")
    last = cardinal(unit, feminine)
    return f"{_TENS[ten]} et {last}" if unit in {1, 11} and ten != 8 else f"{_TENS[ten]}-{last}"
