"""minigrad.trees: nested dicts, lists and tuples of arrays."""
from collections import namedtuple

import numpy as np
import pytest

import minigrad as mg

State = namedtuple("State", "h c")
TREE = {"W": 1.0, "layers": [2.0, (3.0, {"b": 4.0})], "state": State(5.0, None), "empty": {}}


def test_leaves_come_in_order_with_their_paths():
    assert list(mg.tree_items(TREE)) == [("['W']", 1.0), ("['layers'][0]", 2.0), ("['layers'][1][0]", 3.0),
                                         ("['layers'][1][1]['b']", 4.0), ("['state'][0]", 5.0)]
    assert mg.tree_leaves(TREE) == [1.0, 2.0, 3.0, 4.0, 5.0]
    for path, leaf in mg.tree_items(TREE):
        assert eval(f"TREE{path}") == leaf
    assert list(mg.tree_items(7.0)) == [("", 7.0)] and mg.tree_leaves(None) == mg.tree_leaves([]) == []


def test_map_keeps_the_structure():
    doubled = mg.tree_map(lambda x: 2 * x, TREE)
    assert doubled == {"W": 2.0, "layers": [4.0, (6.0, {"b": 8.0})], "state": State(10.0, None), "empty": {}}
    assert type(doubled["state"]) is State and list(doubled) == list(TREE)
    assert mg.tree_map(lambda x: x + 1, 1.0) == 2.0 and mg.tree_map(abs, None) is None


def test_map_of_several_trees_goes_by_key_not_by_order():
    a, b, c = {"x": 1, "y": [2, 3]}, {"y": [20, 30], "x": 10}, {"x": 100, "y": [200, 300]}
    assert mg.tree_map(lambda *leaves: sum(leaves), a, b, c) == {"x": 111, "y": [222, 333]}


def test_leaves_are_passed_as_they_are():
    a = np.arange(3.0)
    assert mg.tree_map(lambda x: x, {"a": a})["a"] is a
    assert mg.tree_leaves([a, "text", 3]) == [a, "text", 3]


@pytest.mark.parametrize("tree, other, message", [
    ({"W": 1, "b": 2}, {"W": 1}, r"tree: expected a dict with the keys \['W', 'b'\], got \['W'\]"),
    ({"W": 1}, {"W": 1, "b": 2}, r"expected a dict with the keys \['W'\], got \['W', 'b'\]"),
    ({"cell": {"W": 1}}, {"cell": [1]}, r"\['cell'\]: expected a dict with the keys \['W'\], got list"),
    ({"W": 1}, ["W"], r"tree: expected a dict with the keys \['W'\], got list"),
    ({"W": 1}, {"W": 1, 2: 2}, r"got \[2, 'W'\]"),
    ([1, [2, 3]], [1, [2]], r"\[1\]: expected a list of 2, got list of 1"),
    ([1, (2, 3)], [1, [2, 3]], r"\[1\]: expected a tuple of 2, got list of 2"),
    ((1,), 5, "tree: expected a tuple of 1, got int"),
    ({"a": [0, 1]}, {"a": [0, {"W": 1}]}, r"\['a'\]\[1\]: expected an array, got dict"),
    ({"a": 1}, {"a": (1,)}, r"\['a'\]: expected an array, got tuple"),
    ({"a": 1}, {"a": None}, r"\['a'\]: expected an array, got NoneType"),
    ({"a": None}, {"a": 1.0}, r"\['a'\]: expected None, got float"),
], ids=str)
def test_a_different_structure_is_named_with_its_place(tree, other, message):
    for others in ((other,), (tree, other)):
        with pytest.raises(ValueError, match=message):
            mg.tree_map(lambda *leaves: 0, tree, *others)
