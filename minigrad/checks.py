"""Is my gradient right? Is my exercise? Both answers name what is wrong."""
import numpy as np

from .engine import value_and_grad
from .errors import NoDerivative
from .trees import tree_items, tree_leaves, tree_map


def check_grads(f, *args, step=1e-5, tolerance=1e-6):
    """Compare minigrad's gradients of ``f`` with central differences, entry by entry; raise if they differ.

    f: a function of float arrays, or nested dicts, lists and tuples of them, that returns a scalar.
    Every argument is checked. ``step`` is the width of the differences, relative to each entry's
    size where that is above 1. An entry fails when it is off by more than ``tolerance`` of the
    largest derivative of its array (or of 1, if that is larger).

    Random, non-zero arguments and at least three time steps: constants hide most mistakes.

    Raises AssertionError with the worst entry: its argument, index, both values.
    Raises ValueError when f or its gradient is not finite there.
    """
    args = tuple(tree_map(lambda x: np.array(x, dtype=np.float64), tree) for tree in args)
    value, gradients = value_and_grad(f, tuple(range(len(args))))(*args)
    if not np.isfinite(value):
        raise ValueError(f"check_grads: the function's value is {value} here; choose arguments where it is finite")
    for (path, _), x, gradient in zip(tree_items(args), tree_leaves(args), tree_leaves(gradients)):
        check_one_gradient(f, args, argument_name(path), x, gradient, step, tolerance)


def check_one_gradient(f, args, name, x, gradient, step, tolerance):
    """Compare one array's gradient; x is changed and restored entry by entry, inside ``args``."""
    numeric = np.empty_like(x)
    for index in np.ndindex(x.shape):
        kept, h = x[index], step * max(1.0, abs(x[index]))
        x[index] = kept + h
        above = f(*args)
        x[index] = kept - h
        below = f(*args)
        x[index] = kept
        numeric[index] = (above - below) / (2 * h)
    if x.size == 0:
        return
    if not np.isfinite(numeric).all():
        raise ValueError(f"check_grads: next to {name} the function is not finite, so it has no derivative to compare with")
    error = np.abs(gradient - numeric)
    error = np.where(np.isfinite(error), error, np.inf)
    worst = np.unravel_index(np.argmax(error), x.shape)
    if error[worst] > tolerance * max(1.0, np.abs(numeric).max()):
        wrong = int(np.sum(error > tolerance * max(1.0, np.abs(numeric).max())))
        raise AssertionError(
            f"the gradient of {name} is wrong in {wrong} of {x.size} entries. Worst at index "
            f"{tuple(map(int, worst))}: the engine says {gradient[worst]:.6g}, finite differences say {numeric[worst]:.6g}")


def argument_name(path):
    """'[0]['W_z']' as 'argument 0['W_z']'."""
    number, _, rest = path[1:].partition("]")
    return f"argument {number}{rest}"


def exercise(check):
    """Turn ``check(attempt)``, which asserts, into one that reports: not attempted yet, not yet, or correct.

    A stub that raises NotImplementedError counts as not attempted. An assertion's message is the hint.
    """
    def report(*attempt):
        try:
            check(*attempt)
        except NoDerivative as missing:
            print(f"Not yet: {missing}")
        except NotImplementedError:
            print("Not attempted yet.")
        except AssertionError as hint:
            print(f"Not yet: {hint}")
        else:
            print("Correct.")
    report.__doc__ = check.__doc__
    return report
