"""Parameters, states and gradients are *trees*: arrays inside nested dicts, lists and tuples.

Three helpers are all the package needs to treat a tree as one thing. `None` and an empty
container hold no array; anything that is not a dict, list, tuple or `None` is a leaf.
"""


def tree_map(f, tree, *others, path=""):
    """Apply ``f(leaf, *other_leaves)`` at every leaf; return a tree of the same structure.

    Raises ValueError, naming the place, when ``others`` do not have the structure of ``tree``.
    """
    if isinstance(tree, dict):
        for other in others:
            if not isinstance(other, dict) or set(other) != set(tree):
                found = sorted(other, key=str) if isinstance(other, dict) else type(other).__name__
                raise ValueError(f"{path or 'tree'}: expected a dict with the keys {sorted(tree, key=str)}, got {found}")
        return {k: tree_map(f, tree[k], *(o[k] for o in others), path=f"{path}[{k!r}]") for k in tree}
    if isinstance(tree, (list, tuple)):
        for other in others:
            if type(other) is not type(tree) or len(other) != len(tree):
                raise ValueError(f"{path or 'tree'}: expected a {type(tree).__name__} of {len(tree)}, "
                                 f"got {type(other).__name__}{'' if not hasattr(other, '__len__') else f' of {len(other)}'}")
        mapped = [tree_map(f, *leaves, path=f"{path}[{i}]") for i, leaves in enumerate(zip(tree, *others))]
        return type(tree)(*mapped) if hasattr(tree, "_fields") else type(tree)(mapped)
    for other in others:
        if isinstance(other, (dict, list, tuple)) or (other is None) != (tree is None):
            raise ValueError(f"{path or 'tree'}: expected {'None' if tree is None else 'an array'}, got {type(other).__name__}")
    return None if tree is None else f(tree, *others)


def tree_items(tree, path=""):
    """Yield ``(path, leaf)`` for every leaf, the path written as Python indexing: ``[0]['W_z']``."""
    if isinstance(tree, dict):
        for k in tree:
            yield from tree_items(tree[k], f"{path}[{k!r}]")
    elif isinstance(tree, (list, tuple)):
        for i, branch in enumerate(tree):
            yield from tree_items(branch, f"{path}[{i}]")
    elif tree is not None:
        yield path, tree


def tree_leaves(tree):
    """All leaves of a tree, in order."""
    return [leaf for _, leaf in tree_items(tree)]
