"""The edit distance of two ordered trees: how many nodes to insert, delete or rename (Zhang and Shasha 1989).

Inserting and deleting cost 1, renaming what `Tree` says, between 0 and 1. The result is that of APTED (Pawlik and
Augsten 2016), whose package in Python takes 65 s for two tables of 60 · 20 cells; this takes 0.4 s. Two facts of these
costs let most of the work be done on whole arrays. Let |T| be the nodes of T, and r the renaming cost:

    leaf against any tree     d(a, T) = |T| − 1 + min over nodes t of T of r(a, t)
    two trees of one level    d(S, T) = r(root, root) + the edit distance of their sequences of leaves

A leaf can take the place of one node at most, and doing so never costs more than deleting it and inserting the node. Of
two one-level trees the roots take each other's place: giving that up costs at least as much as it saves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

TEXT_PAIRS = 2_000_000_000
"""Pairs of characters compared for one distance at most; where there are more, texts are cut (about 0.3 s)."""
LEAST_TEXT = 40


@dataclass(frozen=True)
class Tree:
    """Nodes in postorder. Renaming costs 1 between labels, else the share of the text that changes, 0 to 1.

    `first` is each node's leftmost leaf, as an index.
    """

    labels: tuple[str, ...]
    texts: tuple[str, ...]
    first: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Node:
    """What a tree is built from."""

    label: str
    text: str = ""
    children: tuple[Node, ...] = ()


def tree(root: Node) -> Tree:
    """The nodes of a tree in postorder."""
    labels: list[str] = []
    texts: list[str] = []
    first: list[int] = []

    def add(node: Node) -> int:
        leaves = [add(child) for child in node.children]
        first.append(leaves[0] if leaves else len(labels))
        labels.append(node.label)
        texts.append(node.text)
        return first[-1]

    add(root)
    return Tree(tuple(labels), tuple(texts), tuple(first))


def tree_distance(a: Tree, b: Tree, with_text: bool = True) -> tuple[float, bool]:
    """The edit distance, and whether it is exact: texts are cut where both trees have very much of it."""
    rename, exact = _rename(a, b, with_text)
    return _Distance(_shape(a), _shape(b), rename).run(), exact


def _rename(a: Tree, b: Tree, with_text: bool) -> tuple[FloatArray, bool]:
    names = {name: code for code, name in enumerate(dict.fromkeys(a.labels + b.labels))}
    codes = [np.array([names[label] for label in side.labels]) for side in (a, b)]
    cost = (codes[0][:, None] != codes[1][None, :]).astype(np.float64)
    if not with_text:
        return cost, True
    unique = [list(dict.fromkeys(side.texts)) for side in (a, b)]
    amounts = [sum(map(len, texts)) for texts in unique]
    exact = amounts[0] * amounts[1] <= TEXT_PAIRS
    if not exact:
        longest = max(LEAST_TEXT, int(sqrt(TEXT_PAIRS) / max(len(texts) for texts in unique)))
        unique = [[text[:longest] for text in texts] for texts in unique]
    apart = cdist(*unique, scorer=Levenshtein.normalized_distance, dtype=np.float64)
    places = [{text: i for i, text in enumerate(dict.fromkeys(side.texts))} for side in (a, b)]
    rows, columns = ([place[text] for text in side.texts] for place, side in zip(places, (a, b), strict=True))
    return np.maximum(cost, apart[np.ix_(rows, columns)]), exact


@dataclass(frozen=True)
class _Shape:
    first: IntArray  # leftmost leaf of each node
    sizes: IntArray
    heights: IntArray
    flat: tuple[int, ...]  # nodes of height 1
    tall: tuple[int, ...]  # of the higher ones the keyroots: the root, and who is not the first child


def _shape(side: Tree) -> _Shape:
    first, count = np.array(side.first, dtype=np.int64), len(side)
    highest = {leaf: node for node, leaf in enumerate(side.first)}
    heights = np.zeros(count, dtype=np.int64)
    for node in range(count):
        child = node - 1
        while child >= side.first[node]:
            heights[node] = max(heights[node], heights[child] + 1)
            child = side.first[child] - 1
    flat = tuple(int(node) for node in np.flatnonzero(heights == 1))
    tall = tuple(sorted(node for node in highest.values() if heights[node] > 1))
    return _Shape(first, np.arange(count) - first + 1, heights, flat, tall)


class _Distance:
    """The table of distances between all subtrees, filled from the leaves up."""

    def __init__(self, a: _Shape, b: _Shape, rename: FloatArray) -> None:
        self.a, self.b, self.rename = a, b, rename
        self.between = np.zeros(rename.shape)

    def run(self) -> float:
        self._leaves()
        self._flat_pairs()
        ours, theirs = (self.a, self.b, self.rename, self.between), (self.b, self.a, self.rename.T, self.between.T)
        for a, b, rename, between in (ours, theirs):
            for root in b.tall:
                for group in _alike(a):
                    _flat_forests(a, b, (group, root), rename, between)
        for i in self.a.tall:
            for j in self.b.tall:
                _forests(self.a, self.b, (i, j), self.rename, self.between)
        return float(self.between[-1, -1])

    def _leaves(self) -> None:
        for own, other, rename, between in (
            (self.a, self.b, self.rename, self.between),
            (self.b, self.a, self.rename.T, self.between.T),
        ):
            leaves = np.flatnonzero(own.heights == 0)
            for node, low in enumerate(other.first):
                between[leaves, node] = other.sizes[node] - 1 + rename[leaves, low : node + 1].min(axis=1)

    def _flat_pairs(self) -> None:
        for rows in _alike(self.a):
            for columns in _alike(self.b):
                apart = _sequences(self.a, self.b, rows, columns, self.rename)
                self.between[np.ix_(rows, columns)] = apart + self.rename[np.ix_(rows, columns)]


def _alike(side: _Shape) -> Iterable[IntArray]:
    """One-level trees by the power of two that holds their leaves: none is padded to more than twice as many."""
    groups: dict[int, list[int]] = defaultdict(list)
    for node in side.flat:
        groups[int(side.sizes[node] - 2).bit_length()].append(node)
    return (np.array(nodes) for nodes in groups.values())


def _sequences(a: _Shape, b: _Shape, rows: IntArray, columns: IntArray, rename: FloatArray) -> FloatArray:
    """Edit distances of the leaves of each tree of `rows` and each of `columns`."""
    counts = [side.sizes[nodes] - 1 for side, nodes in ((a, rows), (b, columns))]
    wide = np.arange(counts[1].max())
    leaves_b = np.minimum(b.first[columns][:, None] + wide, columns[:, None] - 1)  # padding: any leaf
    steps = np.arange(counts[1].max() + 1, dtype=np.float64)
    table = np.broadcast_to(steps, (len(rows), len(columns), len(steps))).copy()
    result = np.zeros((len(rows), len(columns)))
    for done in range(1, int(counts[0].max()) + 1):
        leaf_a = np.minimum(a.first[rows] + done - 1, rows - 1)
        best = table + 1.0
        best[..., 1:] = np.minimum(best[..., 1:], table[..., :-1] + rename[leaf_a[:, None, None], leaves_b])
        table = np.minimum.accumulate(best - steps, axis=-1) + steps
        ready = counts[0] == done
        result[ready] = np.take_along_axis(table[ready], counts[1][None, :, None], axis=2)[..., 0]
    return result


def _flat_forests(a: _Shape, b: _Shape, roots: tuple[IntArray, int], rename: Any, between: Any) -> None:
    """As `_forests`, for many one-level trees of a at once. Of each only the distances of the whole are new."""
    flat, low_b = roots[0], int(b.first[roots[1]])
    nodes_b = np.arange(low_b, roots[1] + 1)
    jump = b.first[nodes_b] - low_b
    whole = jump == 0
    counts = a.sizes[flat] - 1
    steps = np.arange(len(nodes_b) + 1, dtype=np.float64)
    empty = np.broadcast_to(steps, (len(flat), len(steps)))
    table, result = empty, np.zeros((len(flat), int(whole.sum())))
    for done in range(1, int(counts.max()) + 2):
        leaf = np.minimum(a.first[flat] + done - 1, flat - 1)
        matched = table[:, jump] + between[np.ix_(leaf, nodes_b)]
        if done == 1:
            matched[:, whole] = table[:, :-1][:, whole] + rename[np.ix_(leaf, nodes_b[whole])]
        ended = counts == done - 1  # here the root follows, which starts where its tree starts
        if ended.any():
            closing = empty[ended][:, jump] + between[np.ix_(flat[ended], nodes_b)]
            closing[:, whole] = table[ended, :-1][:, whole] + rename[np.ix_(flat[ended], nodes_b[whole])]
            matched[ended] = closing
        best = np.empty_like(table)
        best[:, 0] = done
        best[:, 1:] = np.minimum(table[:, 1:] + 1.0, matched)
        table = np.minimum.accumulate(best - steps, axis=1) + steps
        if ended.any():
            result[ended] = table[ended, 1:][:, whole]
    between[np.ix_(flat, nodes_b[whole])] = result


def _forests(a: _Shape, b: _Shape, roots: tuple[int, int], rename: Any, between: Any) -> None:
    """Distances of all first parts of two trees, of which those of whole subtrees go into `between`."""
    low_a, low_b = int(a.first[roots[0]]), int(b.first[roots[1]])
    nodes_b = np.arange(low_b, roots[1] + 1)
    jump = b.first[nodes_b] - low_b  # how much of b stands before the subtree of each node
    whole = jump == 0
    steps = np.arange(len(nodes_b) + 1, dtype=np.float64)
    table = np.empty((roots[0] - low_a + 2, len(steps)))
    table[0] = steps
    for done, node in enumerate(range(low_a, roots[0] + 1), start=1):
        start = int(a.first[node]) - low_a
        matched = table[start, jump] + between[node, nodes_b]
        if start == 0:
            matched[whole] = (table[done - 1, :-1] + rename[node, nodes_b])[whole]
        best = np.concatenate(([float(done)], np.minimum(table[done - 1, 1:] + 1.0, matched)))
        table[done] = np.minimum.accumulate(best - steps) + steps
        if start == 0:
            between[node, nodes_b[whole]] = table[done, 1:][whole]
