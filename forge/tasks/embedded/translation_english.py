"""English word forms: regular ones by rule, the rest from a table."""

from __future__ import annotations

from functools import cache
from types import MappingProxyType

_IRREGULAR = MappingProxyType(
    {  # base: third person, past, participle, -ing
        "be": ("is", "was", "been", "being"),
        "have": ("has", "had", "had", "having"),
        "take": ("takes", "took", "taken", "taking"),
        "come": ("comes", "came", "come", "coming"),
        "leave": ("leaves", "left", "left", "leaving"),
        "put": ("puts", "put", "put", "putting"),
        "send": ("sends", "sent", "sent", "sending"),
        "speak": ("speaks", "spoke", "spoken", "speaking"),
        "know": ("knows", "knew", "known", "knowing"),
        "understand": ("understands", "understood", "understood", "understanding"),
        "choose": ("chooses", "chose", "chosen", "choosing"),
        "forget": ("forgets", "forgot", "forgotten", "forgetting"),
        "submit": ("submits", "submitted", "submitted", "submitting"),
        "say": ("says", "said", "said", "saying"),
        "think": ("thinks", "thought", "thought", "thinking"),
    }
)
_VOWELS = "aeiou"


@cache
def forms(base: str) -> tuple[str, str, str, str]:
    """Third person singular, past, participle and -ing form."""
    if base in _IRREGULAR:
        return _IRREGULAR[base]
    stem = base.removesuffix("e")
    past = f"{base[:-1]}ied" if _ends_in_consonant_y(base) else f"{stem}ed"
    return with_s(base), past, past, f"{stem}ing"


@cache
def with_s(word: str) -> str:
    """The plural of a noun or the third person of a verb."""
    if _ends_in_consonant_y(word):
        return f"{word[:-1]}ies"
    return f"{word}es" if word.endswith(("s", "sh", "ch", "x")) else f"{word}s"


def _ends_in_consonant_y(word: str) -> bool:
    return word.endswith("y") and word[-2] not in _VOWELS


@cache
def with_article(words: str) -> str:
    """The words after a or an, by their sound."""
    sounds_like_you = words.startswith(("Euro", "use", "uni"))
    return f"an {words}" if words[0].lower() in _VOWELS and not sounds_like_you else f"a {words}"


def possessive(words: str, plural: bool) -> str:
    """`the Commission's`, `the ministers'`."""
    return f"{words}'" if plural and words.endswith("s") else f"{words}'s"


def _words(table: str) -> tuple[str, ...]:
    return tuple(table.split())


_UNITS = _words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen"
)
_TENS = _words("- - twenty thirty forty fifty sixty seventy eighty ninety")


@cache
def cardinal(number: int) -> str:
    """A number from 1 to 99 in words."""
    if number < 20:
        return _UNITS[number]
    ten, unit = divmod(number, 10)
    return f"{_TENS[ten]}-{_UNITS[unit]}" if unit else _TENS[ten]
