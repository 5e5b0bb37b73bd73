"""More phenomena: places, opposites, order, conjunction, quantifiers and numbers."""

from __future__ import annotations

from forge.tasks.embedded import nli_lexicon as lexicon
from forge.tasks.embedded.nli_families import (
    COMPLEMENT,
    EQUAL,
    EXCLUSIVE,
    FORWARD,
    INDEPENDENT,
    REVERSE,
    Draw,
    Family,
    Move,
    Pair,
    Statement,
    assemble,
    embedding,
    relative_clause,
    role,
    thing,
)
from forge.tasks.embedded.nli_logic import (
    HYPOTHESIS_QUANTIFIERS,
    QUANTIFIERS,
    QuantifiedPremise,
    Relation,
    quantified_premises,
)


def _is(who: str, what: str) -> Statement:
    return Statement(f"{who} is {what}", f"{who} is not {what}")


def place(draw: Draw, label: str) -> Pair:
    """One is in one place at a time, and in the house when in its kitchen."""
    person, parent = draw.word(lexicon.PERSONS), draw.word(tuple(lexicon.PLACES))
    someone_else = draw.other(lexicon.PERSONS, person)
    room = draw.word(lexicon.PLACES[parent])
    in_room = draw.chance(0.5)
    here = room if in_room else parent
    elsewhere = draw.other(tuple(lexicon.PLACES), parent)

    def at(where: str, who: str = person) -> Statement:
        return _is(who, f"in the {where}")

    moves: list[Move] = [
        (INDEPENDENT, lambda: at(draw.pick((here, room, parent)), someone_else)),
        (EQUAL, lambda: at(here)),
        (EXCLUSIVE, lambda: at(elsewhere)),
        (EXCLUSIVE, lambda: at(draw.word(lexicon.PLACES[elsewhere]))),
    ]
    if in_room:
        moves += [(REVERSE, lambda: at(parent)), (EXCLUSIVE, lambda: at(draw.other(lexicon.PLACES[parent], room)))]
    else:
        moves += [(FORWARD, lambda: at(draw.word(lexicon.PLACES[parent])))] * 2
    decoy = at(draw.pick((here, elsewhere)), draw.other(lexicon.PERSONS, person, someone_else)).text(
        draw.chance(0.5), draw
    )
    return assemble(draw, label, at(here), moves, "place", decoy)


def opposite(draw: Draw, label: str) -> Pair:
    """Opposites of which one always holds, and opposites that leave a middle."""
    person = draw.word(lexicon.PERSONS)
    someone_else = draw.other(lexicon.PERSONS, person)
    complementary = draw.chance(0.5)
    pairs = lexicon.COMPLEMENTS if complementary else lexicon.CONTRARIES
    words = draw.word(pairs)
    mine, its_opposite = words if draw.chance(0.5) else words[::-1]
    moves: list[Move] = [
        (INDEPENDENT, lambda: _is(someone_else, draw.pick(words))),
        (EQUAL, lambda: _is(person, mine)),
        (COMPLEMENT if complementary else EXCLUSIVE, lambda: _is(person, its_opposite)),
        (COMPLEMENT if complementary else EXCLUSIVE, lambda: _is(person, its_opposite)),
        (INDEPENDENT, lambda: _is(person, draw.pick(draw.other((*lexicon.COMPLEMENTS, *lexicon.CONTRARIES), words)))),
    ]
    decoy = _is(draw.other(lexicon.PERSONS, person, someone_else), draw.pick(words)).text(draw.chance(0.5), draw)
    return assemble(draw, label, _is(person, mine), moves, "opposite", decoy)


def order(draw: Draw, label: str) -> Pair:
    """Before and after, taller and shorter: mirror images, and chains of two."""
    first = draw.word(lexicon.PERSONS)
    second = draw.other(lexicon.PERSONS, first)
    third = draw.other(lexicon.PERSONS, first, second)
    if draw.chance(0.5):
        verb, past = draw.word(lexicon.ACTION_VERBS)
        forward, backward = "before", "after"
        does, does_not = past, f"did not {verb}"
    else:
        forward, backward = (f"{word} than" for word in draw.word(lexicon.COMPARATIVES))
        does, does_not = "is", "is not"
    if draw.chance(0.5):
        forward, backward = backward, forward

    def link(one: str, two: str) -> Statement:
        """``one`` stands ahead of ``two``, said from either end."""
        word = forward
        if draw.turn():
            one, two, word = two, one, backward
        return Statement(f"{one} {does} {word} {two}", f"{one} {does_not} {word} {two}")

    def chain(*links: tuple[str, str]) -> Statement:
        return Statement(" and ".join(link(*pair).said for pair in (links if draw.chance(0.5) else links[::-1])))

    swapped = (first, third) if draw.chance(0.5) else (third, second)
    moves: list[Move] = [
        (INDEPENDENT, lambda: link(*swapped)),
        (EQUAL, lambda: link(first, second)),
        (EXCLUSIVE, lambda: link(second, first)),
    ]
    if draw.hard():
        moves = [
            (INDEPENDENT, lambda: chain((first, third), (second, third))),
            (FORWARD, lambda: chain((first, third), (third, second))),
            (EXCLUSIVE, lambda: chain((second, third), (third, first))),
            (INDEPENDENT, lambda: chain((third, first), (third, second))),
        ]
    return assemble(draw, label, link(first, second), moves, "order")


def conjunction(draw: Draw, label: str) -> Pair:
    """And, or, neither … nor, but not."""
    verb, past = draw.word(lexicon.ACTION_VERBS)
    one = draw.word(lexicon.PERSONS)
    two = draw.other(lexicon.PERSONS, one)
    left, right = (one, two) if draw.chance(0.5) else (two, one)
    moves: list[Move] = [
        (INDEPENDENT, lambda: Statement(f"{two} {past}", f"{two} did not {verb}")),
        (FORWARD, lambda: Statement(f"{left} and {right} {past}")),
        (FORWARD, lambda: Statement(f"{one} but not {two} {past}")),
        (EXCLUSIVE, lambda: Statement(f"{two} but not {one} {past}")),
        (REVERSE, lambda: Statement(f"{left} or {right} {past}", f"neither {left} nor {right} {past}")),
        (INDEPENDENT, lambda: Statement(f"{left} or {right} {past}")),
    ]
    return assemble(draw, label, Statement(f"{one} {past}", f"{one} did not {verb}"), moves, "conjunction")


def _neighbour(draw: Draw, tree: dict[str, tuple[str, ...]], parent: str, word: str, relation: Relation) -> str:
    """A word of the tree that stands in this relation to the given one."""
    if relation is EQUAL:
        return word
    if relation is FORWARD:
        return draw.word(tree[parent])
    if relation is REVERSE:
        return parent
    if word != parent and draw.chance(0.5):
        return draw.other(tree[parent], word)
    other = draw.other(tuple(tree), parent)
    return other if word == parent or draw.chance(0.5) else draw.word(tree[other])


def quantity(draw: Draw, label: str) -> Pair:
    """Quantifiers and numbers, over kinds of creatures and of activities."""
    second = draw.pick(HYPOTHESIS_QUANTIFIERS)
    parents = draw.word(tuple(lexicon.GROUPS)), draw.word(tuple(lexicon.ACTIVITIES))
    group, activity = parents
    if draw.chance(0.5):
        group = draw.word(lexicon.GROUPS[group])
    if draw.chance(0.5):
        activity = draw.word(lexicon.ACTIVITIES[activity])
    groups = frozenset({EQUAL, INDEPENDENT, FORWARD if group == parents[0] else REVERSE})
    activities = frozenset({EQUAL, EXCLUSIVE, FORWARD if activity == parents[1] else REVERSE})
    options = quantified_premises(second, groups, activities)
    steps = (0, 1, 2) if draw.hard() else (0, 1)
    available: list[list[QuantifiedPremise]] = [found for n in steps if (found := options.get((label, n)))]
    premise = draw.pick(draw.pick(available))
    who = _neighbour(draw, lexicon.GROUPS, parents[0], group, premise.group)
    does = _neighbour(draw, lexicon.ACTIVITIES, parents[1], activity, premise.activity)
    theirs = next(parent for parent, kinds in lexicon.GROUPS.items() if who == parent or who in kinds)
    decoy_group = draw.other(tuple(lexicon.GROUPS), parents[0], theirs)
    decoy = f"{draw.pick(QUANTIFIERS).text} {draw.word(lexicon.GROUPS[decoy_group])} are {activity}"
    tag = "number" if second.text.split()[-1] in lexicon.NUMBERS else "quantifier"
    return Pair(f"{premise.quantifier.text} {who} are {does}", f"{second.text} {group} are {activity}", tag, decoy)


# What the data is made of, and how much of each: (family, share).
FAMILIES: tuple[tuple[Family, int], ...] = (
    (role, 4),
    (relative_clause, 2),
    (embedding, 2),
    (thing, 4),
    (place, 2),
    (opposite, 2),
    (order, 1),
    (conjunction, 2),
    (quantity, 4),
)
