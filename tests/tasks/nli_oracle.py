"""An independent reading of the embedded NLI sentences: parse the English, enumerate small worlds, compare.

Nothing here uses the generator's rules (``nli_logic``, ``nli_families``): only its word lists, as dictionary knowledge.
A sentence becomes a function from worlds to truth; a pair is entailed when every world of the premise is one of the
hypothesis, contradictory when none is.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable

import numpy as np

from forge.tasks.embedded import nli_lexicon as lex

MAX_WORLDS = 20_000
World = dict[object, object]
Formula = Callable[[World], bool]
PAST_TO_BASE = {past: base for base, past in lex.SOCIAL_PAST.items()}
OBJECT_BASE = {past: base for base, past in lex.OBJECT_VERBS}
ACTION_BASE = {past: base for base, past in lex.ACTION_VERBS}
NUMBER = {word: n for n, word in enumerate(lex.NUMBERS, start=2)}


def _and(*parts: Formula) -> Formula:
    return lambda w: all(p(w) for p in parts)


def _not(part: Formula) -> Formula:
    return lambda w: not part(w)


def _fact(*key: object) -> Formula:
    return lambda w: bool(w[key])


class UnreadableError(Exception):
    """The sentence is outside this grammar."""


class Reader:
    """Reads both sentences of a pair, collecting what their worlds must decide."""

    def __init__(self) -> None:
        self.facts: set[tuple[object, ...]] = set()  # free yes/no facts
        self.people: set[str] = set()
        self.crowds: set[tuple[str | None, str, str | None]] = set()  # everybody to one, one to everybody
        self.scales: set[str] = set()  # each ranks all people strictly
        self.located: set[str] = set()
        self.places: set[str] = set()

    def fact(self, *key: object) -> Formula:
        self.facts.add(key)
        return _fact(*key)

    def social(self, agent: str, verb: str, patient: str) -> Formula:
        self.people |= {agent, patient}
        return self.fact("social", agent, verb, patient)

    def sentence(self, text: str) -> Formula:
        if text.startswith("it is false that "):
            return _not(self.sentence(text.removeprefix("it is false that ")))
        if m := re.fullmatch(r"(\w+) or (\w+) (\w+)", text):
            one, two = (self.sentence(f"{who} {m[3]}") for who in (m[1], m[2]))
            return lambda w: one(w) or two(w)
        if m := re.fullmatch(r"neither (\w+) nor (\w+) (\w+)", text):
            return _and(*(_not(self.sentence(f"{who} {m[3]}")) for who in (m[1], m[2])))
        if m := re.fullmatch(r"(\w+) but not (\w+) (\w+)", text):
            return _and(self.sentence(f"{m[1]} {m[3]}"), _not(self.sentence(f"{m[2]} {m[3]}")))
        if m := re.fullmatch(r"(\w+) and (\w+) (\w+)", text):
            return _and(*(self.sentence(f"{who} {m[3]}") for who in (m[1], m[2])))
        if " and " in text:
            return _and(*(self.sentence(part) for part in text.split(" and ")))
        if m := re.fullmatch(r"(\w+) (\w+) that (.+)", text):
            inside = self.sentence(m[3])
            attitude = self.fact("attitude", m[1], m[2], m[3])
            return _and(attitude, inside) if m[2] in lex.FACTIVES else attitude
        if m := re.fullmatch(r"(\w+) (near|who) (.+)", text):
            return self._with_aside(m[1], m[2], m[3].split())
        return self._clause(text)

    def _with_aside(self, who: str, kind: str, words: list[str]) -> Formula:
        """ "near y …" takes one word; "who …" runs to the first object, negated or not."""
        if kind == "near":
            return _and(self.fact("near", who, words[0]), self._clause(f"{who} {' '.join(words[1:])}"))
        cut = 4 if words[0] == "did" else 2
        return _and(*(self._clause(f"{who} {' '.join(part)}") for part in (words[:cut], words[cut:])))

    def _clause(self, text: str) -> Formula:
        for pattern, read in _CLAUSES:
            if m := re.fullmatch(pattern, text):
                found = read(self, *m.groups())
                if found is not None:
                    return found
        raise UnreadableError(text)

    def _role(self, agent: str, negation: str | None, verb: str, patient: str) -> Formula | None:
        base = PAST_TO_BASE.get(verb, verb)
        if base not in lex.SOCIAL_VERBS:
            return None
        held = self.social(agent, base, patient)
        return _not(held) if negation else held

    def _passive(self, patient: str, negation: str | None, verb: str, agent: str) -> Formula | None:
        return self._role(agent, negation, verb, patient)

    def _everybody(self, who: str, verb: str, patient: str) -> Formula:
        self.people.add(patient)
        base = PAST_TO_BASE[verb]
        self.crowds.add((None, base, patient))

        def holds(w: World) -> bool:
            hits = [w[("social", p, base, patient)] for p in w["people"] if p != patient]  # type: ignore[attr-defined]
            return all(hits) if who == "everybody" else not any(hits)

        return holds

    def _to_nobody(self, agent: str, verb: str) -> Formula:
        self.people.add(agent)
        base = PAST_TO_BASE[verb]
        self.crowds.add((agent, base, None))
        return lambda w: not any(w[("social", agent, base, p)] for p in w["people"] if p != agent)  # type: ignore[attr-defined]

    def _owns(self, who: str, verb: str, what: str) -> Formula:
        *adjectives, noun = what.split()
        verb = OBJECT_BASE.get(verb, verb)

        def holds(w: World) -> bool:
            things = w[("things", who, verb)]
            return any(
                noun in (kind, parent) and set(adjectives) <= set(has)
                for kind, parent, has in things  # type: ignore[attr-defined]
            )

        self.facts.add(("owns", who, verb, noun, tuple(adjectives)))
        return holds

    def _at(self, who: str, negation: str | None, where: str) -> Formula:
        self.located.add(who)
        self.places.add(where)
        rooms = set(lex.PLACES.get(where, (where,))) | ({f"rest of {where}"} if where in lex.PLACES else set())
        return lambda w: (w[("at", who)] in rooms) != bool(negation)

    def _compare(self, one: str, negation: str | None, word: str, two: str) -> Formula:
        for scale in lex.COMPARATIVES:
            if word in scale:
                high, low = (one, two) if word == scale[0] else (two, one)
                self.people |= {one, two}
                self.scales.add(scale[0])
                return lambda w: (w[("rank", scale[0], high)] > w[("rank", scale[0], low)]) != bool(negation)  # type: ignore[operator]
        raise UnreadableError(word)

    def _time(self, one: str, negation: str | None, verb: str, word: str, two: str) -> Formula:
        verb = ACTION_BASE.get(verb, verb)
        early, late = (one, two) if word == "before" else (two, one)
        self.people |= {one, two}
        self.scales.add(verb)
        return lambda w: (w[("rank", verb, early)] < w[("rank", verb, late)]) != bool(negation)  # type: ignore[operator]

    def _property(self, who: str, negation: str | None, adjective: str) -> Formula:
        for pairs, gap in ((lex.COMPLEMENTS, False), (lex.CONTRARIES, True)):
            for pair in pairs:
                if adjective in pair:
                    self.facts.add(("scale", who, pair, gap))
                    return lambda w: (w[("scale", who, pair, gap)] == adjective) != bool(negation)
        raise UnreadableError(adjective)

    def _did(self, who: str, negation: str | None, verb: str) -> Formula:
        did = self.fact("did", who, ACTION_BASE.get(verb, verb))
        return _not(did) if negation else did

    def worlds(self) -> Iterable[World]:
        """Every way the facts mentioned can be, plus one person nobody mentioned."""
        people = sorted(self.people) + (["stranger"] if self.people else [])
        axes: list[list[World]] = []
        for agent, verb, patient in self.crowds:
            self.facts |= {("social", agent or p, verb, patient or p) for p in people if p not in (agent, patient)}
        for key in sorted(self.facts, key=str):
            if key[0] == "scale":
                values = [*key[2], "neither"] if key[3] else list(key[2])  # type: ignore[misc]
                axes.append([{key: v} for v in values])
            elif key[0] != "owns":
                axes.append([{key: v} for v in (False, True)])
        for scale in sorted(self.scales):  # ties allowed: "not taller" does not mean "shorter"
            named = people[:-1]
            ranks = itertools.product(range(len(named)), repeat=len(named))
            axes.append([{("rank", scale, p): r for p, r in zip(named, rank, strict=True)} for rank in ranks])
        for who in sorted(self.located):
            rooms = {r for p in self.places for r in lex.PLACES.get(p, (p,))}
            rest = {f"rest of {p}" for p in lex.PLACES}
            axes.append([{("at", who): room} for room in sorted(rooms | rest)])
        axes += self._thing_axes()
        if math.prod(len(axis) for axis in axes) > MAX_WORLDS:
            raise UnreadableError("too many worlds")
        for parts in itertools.product(*axes):
            world: World = {"people": people}
            for part in parts:
                world.update(part)
            yield world

    def _thing_axes(self) -> list[list[World]]:
        """For each owner and verb: any set of at most two things out of all the kinds that matter."""
        axes: list[list[World]] = []
        owns = [key for key in self.facts if key[0] == "owns"]
        adjectives = sorted({a for key in owns for a in key[4]})  # type: ignore[attr-defined]
        parents = {p for p, kids in lex.THINGS.items() for key in owns if key[3] == p or key[3] in kids}
        subsets = [c for n in range(len(adjectives) + 1) for c in itertools.combinations(adjectives, n)]
        kinds = [(k, p, s) for p in sorted(parents) for k in lex.THINGS[p] for s in subsets]
        few = [c for n in range(3) for c in itertools.combinations(kinds, n)]
        for who, verb in sorted({(key[1], key[2]) for key in owns}):  # type: ignore[type-var]
            axes.append([{("things", who, verb): c} for c in few])
        return axes


_CLAUSES: tuple[tuple[str, Callable[..., Formula | None]], ...] = (
    (r"(everybody|nobody) (\w+) (\w+)", Reader._everybody),
    (r"(\w+) (\w+) nobody", Reader._to_nobody),
    (r"(\w+) was(?: (not))? (\w+) by (\w+)", Reader._passive),
    (r"(\w+) is(?: (not))? in the (\w+)", Reader._at),
    (r"(\w+) is(?: (not))? (\w+) than (\w+)", Reader._compare),
    (r"(\w+)(?: (did not))? (\w+) (before|after) (\w+)", Reader._time),
    (r"(\w+)(?: (did not))? (\w+) (\w+)", Reader._role),
    (r"(\w+) did not (\w+) an? (.+)", lambda r, who, verb, what: _not(r._owns(who, verb, what))),
    (r"(\w+) (\w+) no (.+)", lambda r, who, verb, what: _not(r._owns(who, verb, what))),
    (r"(\w+) (\w+) an? (.+)", Reader._owns),
    (r"(\w+) is(?: (not))? (\w+)", Reader._property),
    (r"(\w+)(?: (did not))? (\w+)", Reader._did),
)


# A quantified sentence: how many of a group take part in an activity.
_QUANTIFIED = re.compile(
    r"(all of the|all|some|none of the|no|not all|most|(?:at least|fewer than|exactly) \w+) (\w+) are (\w+)"
)


def _members(tree: dict[str, tuple[str, ...]], word: str) -> set[str]:
    """The finest kinds under a word; a parent has one more kind, its unnamed rest."""
    return {*tree[word], f"other {word}"} if word in tree else {word}


def _cells(tree: dict[str, tuple[str, ...]], words: Iterable[str], *, outside: bool) -> list[frozenset[str]]:
    """The finest kinds that the words tell apart, those treated alike put together."""
    kinds = {kind for word in [*tree, *itertools.chain(*tree.values())] for kind in _members(tree, word)}
    sets = [_members(tree, word) for word in words]
    by_signature: dict[tuple[bool, ...], set[str]] = {}
    for kind in kinds | {"anything else"}:
        by_signature.setdefault(tuple(kind in s for s in sets), set()).add(kind)
    return [frozenset(cell) for sign, cell in sorted(by_signature.items()) if outside or any(sign)]


def _quantified_label(premise: str, hypothesis: str) -> str:
    clauses = [m.groups() for part in (*premise.split(" and "), hypothesis) if (m := _QUANTIFIED.fullmatch(part))]
    second = clauses.pop()
    if len(clauses) == 2:  # a clause about a group that shares no member with the others says nothing about them
        reach = [_members(lex.GROUPS, c[1]) for c in clauses]
        aside = [i for i in (0, 1) if not reach[i] & (reach[1 - i] | _members(lex.GROUPS, second[1]))]
        clauses = [c for i, c in enumerate(clauses) if i != aside[-1]] if aside else clauses
    (first,) = clauses
    groups = _cells(lex.GROUPS, {first[1], second[1]}, outside=False)
    activities = _cells(lex.ACTIVITIES, {first[2], second[2]}, outside=True)
    shape = len(groups), len(activities)
    counts = np.indices((7,) * (shape[0] * shape[1])).reshape(*shape, -1)
    real = np.ones(counts.shape[-1], dtype=bool)
    truths = []
    for quantifier, group, activity in (first, second):
        inside = [i for i, cell in enumerate(groups) if cell <= _members(lex.GROUPS, group)]
        doing = [i for i, cell in enumerate(activities) if cell <= _members(lex.ACTIVITIES, activity)]
        total = counts[inside].sum(axis=(0, 1))
        taking_part = counts[np.ix_(inside, doing)].sum(axis=(0, 1))
        real &= total > 0
        truths.append(_holds(quantifier, taking_part, total))
    return _compare_truths(truths[0][real], truths[1][real])


def _holds(quantifier: str, n: np.ndarray, total: np.ndarray) -> np.ndarray:
    *words, last = quantifier.split()
    if last in NUMBER:
        k = NUMBER[last]
        return {"at least": n >= k, "fewer than": n < k, "exactly": n == k}[" ".join(words)]
    simple = {"all": n == total, "some": n > 0, "no": n == 0, "not all": n < total, "most": 2 * n > total}
    return simple[quantifier.replace("none", "no").removesuffix(" of the")]


def _compare_truths(premise: np.ndarray, hypothesis: np.ndarray) -> str:
    """The label, from both sentences' truth in every world."""
    if not premise.any():
        raise AssertionError("the premise cannot be true")
    reachable = hypothesis[premise]
    if reachable.all():
        return "entailment"
    return "neutral" if reachable.any() else "contradiction"


def oracle_label(premise: str, hypothesis: str) -> str:
    """The label of a pair, from enumerating worlds. Raises UnreadableError where it cannot say."""
    texts = [s.lower().rstrip(".") for s in (premise, hypothesis)]
    if _QUANTIFIED.fullmatch(texts[1]):
        return _quantified_label(*texts)
    reader = Reader()
    first, second = (reader.sentence(text) for text in texts)
    truths = np.array([(first(w), second(w)) for w in reader.worlds()], dtype=bool)
    return _compare_truths(truths[:, 0], truths[:, 1])
