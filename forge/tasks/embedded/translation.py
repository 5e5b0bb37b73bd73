"""Embedded English sentences with their French translation, in the register of the debates of Parliament.

Both sentences grow from the same plan, so the translation is right by construction, and each English sentence has one:
wherever French must know more than English says (a gender, who "you" is), the sentence itself tells. "We" is masculine.

The splits share every word but no combination: subject, verb and object of every clause, taken together, belong to
one split.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate

from forge.tasks.embedded.translation_asked import question, urging
from forge.tasks.embedded.translation_clauses import Pair
from forge.tasks.embedded.translation_draw import SHARES, Draw, NothingFitsError, split_of
from forge.tasks.embedded.translation_french import elided
from forge.tasks.embedded.translation_phrases import YOU
from forge.tasks.embedded.translation_sentences import FRAMES, Frame

SPLITS = tuple(SHARES)
__all__ = ["SPLITS", "generate", "split_of"]

_VOCATIVES = (  # feminine and plural decide how French agrees with "you"
    (Pair("Mr President", "Monsieur le Président"), False, False),
    (Pair("Madam President", "Madame la Présidente"), True, False),
    (Pair("Mr Commissioner", "Monsieur le Commissaire"), False, False),
    (Pair("Madam Commissioner", "Madame la Commissaire"), True, False),
    (Pair("ladies and gentlemen", "Mesdames et Messieurs"), False, True),
    (Pair("dear colleagues", "chers collègues"), False, True),
)
_OPENERS = tuple(
    Pair(*words.split(":"))
    for words in (
        "of course,:bien sûr,",
        "in other words,:en d'autres termes,",
        "at the same time,:en même temps,",
        "first of all,:tout d'abord,",
        "on the other hand,:en revanche,",
        "in my opinion,:à mon avis,",
        "for this reason,:pour cette raison,",
        "unfortunately,:malheureusement,",
        "finally,:enfin,",
        "however,:cependant,",
        "that is why:c'est pourquoi",
    )
)


def generate(split: str, size: int, seed: int = 0, difficulty: float = 0.5) -> list[dict[str, str]]:
    """Rows with source (English) and target (French); the same for the same arguments, everywhere.

    `difficulty` runs from 0 (mostly single clauses, few modifiers) to 1 (mostly two clauses, many modifiers).
    """
    if split not in SHARES:
        raise ValueError(f"no split {split!r}: choose one of {', '.join(SPLITS)}")
    if not 0.0 <= difficulty <= 1.0:
        raise ValueError(f"difficulty must lie between 0 and 1, not {difficulty}")
    draw = Draw(f"translation/{split}/{seed}/{difficulty!r}", split, difficulty)
    return [_row(draw) for _ in range(size)]


def _row(draw: Draw) -> dict[str, str]:
    while True:
        try:
            return _sentence(draw)
        except NothingFitsError:  # rare outside the small splits
            continue


def _sentence(draw: Draw) -> dict[str, str]:
    draw.you, draw.addressed = YOU, False
    start = _start(draw)
    frames, shares = _frames(draw.difficulty)
    drawn = draw.random()
    frame = next(f for f, share in zip(frames, shares, strict=True) if drawn < share or f is frames[-1])
    text = frame(draw)
    mark = Pair("?", " ?") if frame is question else Pair("!", " !") if frame is urging else Pair(".", ".")
    if start and not (start.en == "that is why" and frame in {question, urging}):
        text = Pair(f"{start.en} {text.en}", f"{start.fr} {text.fr}")
    return {"source": _opened(f"{text.en}{mark.en}"), "target": _opened(elided(f"{text.fr}{mark.fr}"))}


def _start(draw: Draw) -> Pair | None:
    kind = draw.random()
    if kind < 0.14:
        name, feminine, plural = draw.one(_VOCATIVES)
        draw.you, draw.addressed = draw.you.known_as(feminine, plural), True
        return Pair(f"{name.en},", f"{name.fr},")
    return draw.one(_OPENERS) if kind < 0.24 else None


@lru_cache(maxsize=64)
def _frames(difficulty: float) -> tuple[tuple[Frame, ...], tuple[float, ...]]:
    weights = [easy + (hard - easy) * difficulty for easy, hard in FRAMES.values()]
    return tuple(FRAMES), tuple(accumulate(weight / sum(weights) for weight in weights))


def _opened(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}"
