"""Laws of merging, on trees in which a key is always of one kind."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from forge.config.merge import Merger, merge_all
from forge.config.origins import Origin
from forge.config.tree import Node, leaves, plain

LEAF = st.none() | st.integers() | st.lists(st.integers(), max_size=2)
TREE = st.recursive(
    st.dictionaries(st.sampled_from("abc"), LEAF, max_size=3),
    lambda inner: st.builds(
        lambda below, own: {**below, **own},
        st.dictionaries(st.sampled_from("xyz"), inner, max_size=2),
        st.dictionaries(st.sampled_from("abc"), LEAF, max_size=2),
    ),
    max_leaves=4,
)


def tree(value: Any, file: int = 0) -> Node:
    origin = Origin("cli", text=str(file))
    if isinstance(value, dict):
        return Node({key: tree(inner, file) for key, inner in value.items()}, origin)
    return Node(tuple(tree(item, file) for item in value) if isinstance(value, list) else value, origin)


def merged(*values: Any) -> Any:
    return plain(merge_all([tree(value) for value in values], Merger()))


@given(TREE)
def test_nothing_changes_nothing(a):
    assert merged(a, {}) == merged({}, a) == merged(a, a) == merged(a) == a


@given(TREE, TREE, TREE)
def test_grouping_does_not_matter(a, b, c):
    assert merged(merged(a, b), c) == merged(a, merged(b, c)) == merged(a, b, c)


@given(TREE, TREE)
def test_the_later_one_wins_and_nothing_else_is_lost(a, b):
    result = merge_all([tree(a, 1), tree(b, 2)], Merger())
    below = dict(leaves(result))
    wanted = {path: node for path, node in [*leaves(tree(a, 1)), *leaves(tree(b, 2))] if node.value != {}}
    found = {path: node for path, node in below.items() if node.value != {}}
    assert found == wanted


@given(TREE, TREE)
def test_history_ends_with_what_stands(a, b):
    merger = Merger()
    result = merge_all([tree(a, 1), tree(b, 2)], merger)
    assert not merger.problems
    for path, node in leaves(result):
        if path and node.value != {}:
            assert merger.history[".".join(path)][-1].value == plain(node)
            assert merger.history[".".join(path)][-1].origin == node.origin


@given(TREE, st.lists(st.integers(), max_size=3), st.lists(st.integers(), max_size=3))
def test_append_lengthens_and_unset_undoes(a, first, more):
    base = tree({**a, "list": first})
    longer = Node({"list": Node(tree(more).value, Origin(), directive="append")}, Origin())
    gone = Node({"list": Node(None, Origin(), directive="unset")}, Origin())
    assert plain(merge_all([base, longer], Merger())) == {**a, "list": first + more}
    assert plain(merge_all([base, longer, gone], Merger())) == a


@given(TREE, TREE)
def test_replace_forgets_what_was_there(a, b):
    over = Node({"map": Node(tree(b).value, Origin(), directive="replace")}, Origin())
    assert plain(merge_all([tree({"map": a}), over], Merger())) == {"map": b}
