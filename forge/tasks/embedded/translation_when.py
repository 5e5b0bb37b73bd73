"""When, where and how: the tables of adverbs, times and places, and which tense takes which."""

from __future__ import annotations

from forge.tasks.embedded import translation_english as english
from forge.tasks.embedded.translation_clauses import TENSES, Pair
from forge.tasks.embedded.translation_french import cardinal


def pairs(*lines: str) -> tuple[Pair, ...]:
    """`yesterday:hier` as a pair."""
    return tuple(Pair(*line.split(":")) for line in lines)


ADVERBS = pairs("also:également", "often:souvent", "clearly:clairement", "always:toujours", "quickly:rapidement")
ADVERBS_OF_PERFECT = (Pair("already", "déjà"), *ADVERBS[:4])
PAST = pairs(
    "yesterday:hier",
    "last year:l'année dernière",
    "last month:le mois dernier",
    "last week:la semaine dernière",
    "on Monday:lundi",
    "on Thursday:jeudi",
)
COMING = pairs(
    "tomorrow:demain",
    "next year:l'année prochaine",
    "next month:le mois prochain",
    "next week:la semaine prochaine",
    "as soon as possible:dès que possible",
    "before the end of the year:avant la fin de l'année",
    "on Monday:lundi",
    "on Thursday:jeudi",
)
PLACES = pairs(
    "in Brussels:à Bruxelles",
    "in Strasbourg:à Strasbourg",
    "in Luxembourg:à Luxembourg",
    "in France:en France",
    "in Germany:en Allemagne",
    "in Italy:en Italie",
    "in Portugal:au Portugal",
    "in Denmark:au Danemark",
    "in the Netherlands:aux Pays-Bas",
)
NOW = pairs("today:aujourd'hui", "this week:cette semaine", "this year:cette année")
COMING_TENSES = frozenset(TENSES[name] for name in ("future", "going to", "must", "can", "should", "could", "want"))


def lasting(years: int) -> Pair:
    """For how long, up to now."""
    return Pair(f"for {english.cardinal(years)} years", f"depuis {cardinal(years)} ans")


def in_years(years: int) -> Pair:
    """How far ahead."""
    return Pair(f"in {english.cardinal(years)} years", f"dans {cardinal(years)} ans")
