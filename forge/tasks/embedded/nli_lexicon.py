"""Words of the embedded sentences and what they mean: which set lies in which, and which exclude each other."""

from __future__ import annotations

# kind → its parent. Species exclude each other at every level; people's roles do not (a painter may dance).
SPECIES = {
    "animals": None,
    "dogs": "animals",
    "poodles": "dogs",
    "beagles": "dogs",
    "birds": "animals",
    "parrots": "birds",
    "owls": "birds",
    "people": None,
    "children": "people",
    "boys": "children",
    "girls": "children",
}
ROLES = {"artists": "people", "painters": "artists", "dancers": "artists"}
NOUNS = SPECIES | ROLES

# What one does at a moment: actions of one group exclude each other, groups do not; moving and resting do.
ACTIONS = {
    "moved": None,
    "walked": "moved",
    "ran": "moved",
    "rested": None,
    "slept": "rested",
    "sat": "rested",
    "spoke": None,
    "whispered": "spoke",
    "shouted": "spoke",
    "smiled": None,
}
EXCLUSIVE_ROOTS = {frozenset({"moved", "rested"})}
# Modifiers cut a set down; a pair of opposites cuts it into two that exclude each other.
ADJECTIVES = {"old": "young", "young": "old", "tall": "short", "short": "tall", "hungry": None, "tired": None}
PLACES = {"inside": "outside", "outside": "inside", "today": None}

PERSONS = ("nurse", "pilot", "judge", "farmer", "baker", "lawyer")
# past tense → passive participle; nothing follows from one of them to another.
DEEDS = {"called": "called", "helped": "helped", "thanked": "thanked", "saw": "seen", "followed": "followed"}

NUMBERS = ("two", "three", "four", "five", "six", "seven")
# The other genre leans on these and rarely on the rest.
MISMATCHED = {"owls", "dancers", "girls", "sat", "whispered", "baker", "lawyer", "followed"}
