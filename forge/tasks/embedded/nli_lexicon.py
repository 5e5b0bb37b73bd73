"""The words of the embedded NLI data and what they mean to each other.

Lists are ordered: the first three quarters of a list are the everyday words that the matched splits mostly draw,
the rest are the words that ``validation_mismatched`` mostly draws. Every word occurs in training.
"""

from __future__ import annotations

PERSONS = (
    *("anna", "omar", "mia", "ivan", "lucy", "noah", "emma", "hugo", "sara", "liam", "nina", "adam"),
    *("ruth", "paul", "vera", "karl", "zoe", "eric", "dora", "luis", "ines", "yuri", "olga", "ravi"),
)

# Verbs between two people, none of which says anything about its own reverse.
SOCIAL_PAST = {
    "call": "called", "help": "helped", "thank": "thanked", "follow": "followed",
    "warn": "warned", "visit": "visited", "trust": "trusted", "greet": "greeted",
}  # fmt: skip
SOCIAL_VERBS = tuple(SOCIAL_PAST)

# Verbs from a person to a thing: base form and past tense.
OBJECT_VERBS = (
    ("buy", "bought"), ("find", "found"), ("sell", "sold"), ("paint", "painted"), ("draw", "drew"),
)  # fmt: skip

# What a single person did, for conjunctions and for before/after.
ACTION_VERBS = (
    ("leave", "left"), ("arrive", "arrived"), ("finish", "finished"), ("speak", "spoke"), ("eat", "ate"),
    ("sing", "sang"),
)  # fmt: skip

# Kinds of things, most general first: every child is one of its parent, siblings share no member.
THINGS: dict[str, tuple[str, ...]] = {
    "dog": ("poodle", "beagle", "terrier"),
    "bird": ("sparrow", "parrot", "eagle"),
    "boat": ("canoe", "ferry", "yacht"),
    "fruit": ("pear", "plum", "lemon"),
}
COLOURS = ("red", "blue", "green", "white")
QUALITIES = ("small", "large", "old", "new")

# The same idea for groups that can all do something. Plural forms only, so no inflection is needed.
GROUPS: dict[str, tuple[str, ...]] = {
    "dogs": ("poodles", "beagles", "terriers"),
    "birds": ("sparrows", "parrots", "eagles"),
    "artists": ("singers", "painters", "dancers"),
    "children": ("boys", "girls", "toddlers"),
}
# A parent and its children; two children of one parent, and the two parents, cannot hold of one thing at once.
ACTIVITIES: dict[str, tuple[str, ...]] = {
    "moving": ("running", "walking", "climbing"),
    "resting": ("sitting", "lying", "kneeling"),
}

# Where one can be. The parents do not overlap, nor do the rooms of one parent.
PLACES: dict[str, tuple[str, ...]] = {
    "house": ("kitchen", "bedroom", "attic"),
    "school": ("classroom", "library", "gym"),
    "farm": ("barn", "stable", "meadow"),
    "airport": ("hangar", "terminal", "tower"),
}

# One of the two always holds: "not awake" says "asleep".
COMPLEMENTS = (("awake", "asleep"), ("present", "absent"), ("guilty", "innocent"))
# At most one of the two holds: "not happy" leaves "sad" open.
CONTRARIES = (("happy", "sad"), ("rich", "poor"), ("loud", "quiet"))

# Comparison and its mirror image: x is taller than y exactly when y is shorter than x.
COMPARATIVES = (("taller", "shorter"), ("older", "younger"), ("faster", "slower"))

# "x knew that S" makes S true; "x hoped that S" leaves it open.
FACTIVES = ("knew", "noticed", "remembered")
NON_FACTIVES = ("hoped", "believed", "claimed")

NUMBERS = ("two", "three", "four", "five")

FUNCTION_WORDS = frozenset(
    [
        *("a", "an", "the", "is", "are", "was", "did", "it", "that", "who", "nobody", "everybody"),
        *("not", "no", "none", "all", "some", "most", "at", "least", "fewer", "exactly", "of", "false"),
        *("and", "or", "but", "neither", "nor", "in", "by", "near", "than", "before", "after"),
    ]
)
