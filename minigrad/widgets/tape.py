"""The tape of a small computation, one node at a time: values on the way there, gradients on the way back."""
import inspect

import numpy as np

from ..engine import Tensor, backward, gradient_of
from ..errors import check_scalar
from ..plots import SYMBOLS, columns_of, entry, operation_of, rows_of
from ..watched_tape import WatchedTape, dense
from . import scenes
from .touchable import steps, touchable

MOST_NODES = 24


def tape(f, *args, names=(), caption=None):
    """Walk the tape that ``mg.grad`` records for ``f(*args)``, forwards and then backwards.

    args: floats or float arrays; arrays are shown by their shape. names: names for the operations, in the order in
    which they run. Raises ValueError where ``f`` returns no scalar or records more than fits on a figure.
    """
    if not callable(f):
        raise TypeError(f"tape: f is a {type(f).__name__}, expected a function of numbers or arrays")
    walk = Walk(f, args, names)
    return touchable("The tape", walk.scene, [steps("step", "step", 2 * len(walk.operations) + 1)], caption or (
        "Try: go forward to the end of the values, and say each gradient before you press Forward again. Notice where a "
        "value that was used twice gets its second part."))


class Walk:
    """All there is to see on a tape: the values, and the gradients as they stand before each step back."""

    def __init__(self, f, args, names):
        before = []                              # the gradients on every step back, as the engine leaves them

        tape = WatchedTape(lambda node: before.append([dense(each.grad) for each in everything]))
        leaves = [Tensor(np.asarray(a, dtype=float)[()], tape) for a in args]
        out = f(*leaves)
        check_scalar(f, out)
        if type(out) is not Tensor or not tape:
            raise ValueError("tape: f recorded no operation of its arguments")
        self.operations = list(tape)
        everything = [*leaves, *self.operations]
        if len(everything) > MOST_NODES:
            raise ValueError(f"tape: f has {len(leaves)} arguments and {len(self.operations)} operations, expected at most "
                             f"{MOST_NODES} together: take a smaller example")
        backward(tape, out)
        before.append([gradient_of(leaf) for leaf in leaves] + [None] * len(self.operations))
        for k in range(len(self.operations)):    # the engine forgets a gradient once it is handed on; the figure keeps it
            for n in range(len(everything) - 1 - k, len(everything)):
                before[k + 1][n] = before[k][n]
        self.gradients, self.leaves, self.everything = before, leaves, everything
        self.arrange(f, names)

    def arrange(self, f, names):
        """Names, places and edges."""
        count, parameters = len(self.leaves), list(inspect.signature(f).parameters)
        self.titles = [parameters[k] if k < len(parameters) else f"argument {k + 1}" for k in range(count)]
        self.titles += [names[k] if k < len(names) else f"v{k + 1}" for k in range(len(self.operations))]
        self.signs = [""] * count + [operation_of(node) for node in self.operations]
        columns, edges = columns_of(self.leaves, self.operations)
        height = rows_of(columns, edges)
        self.columns, self.height = len(columns), max(map(len, columns))
        self.place = {node: [x, float(height[node])] for x, column in enumerate(columns) for node in column}
        self.edges = [(ends(a)[0], ends(b)[1], a, b) for a, b in edges]

    def scene(self, step):
        """step: 0 shows the arguments; then one operation's value a step; then one operation read backwards a step."""
        count = len(self.operations)
        forward = min(step, count)
        back = step - count - 1                  # how many operations have handed their gradient on
        current = len(self.leaves) + step - 1 if step <= count else len(self.everything) - max(back, 1)
        gradients = self.gradients[max(back, 0)]
        way = "there" if step <= count else "back"
        nodes = [{"title": f"{self.titles[k]} {self.signs[k]}".strip(), "at": self.place[k], "value": entry(node.value),
                  "leaf": k < len(self.leaves),
                  "seen": k < len(self.leaves) + forward,
                  "gradient": entry(gradients[k]) if back >= 0 and gradients[k] is not None else "",
                  "now": way if k == current and step > 0 else ""} for k, node in enumerate(self.everything)]
        edges = [{"from": self.place[a], "to": self.place[b], "starts": type(a) is int, "ends": type(b) is int,
                  "now": way if end == current and step > 0 and back != 0 else ""} for _, end, a, b in self.edges]
        graph = {"title": "In the box: value; below it: δ, its gradient", "nodes": nodes, "edges": edges,
                 "columns": self.columns, "height": self.height}
        return scenes.scene([graph], self.words(step, count, back, current, gradients))

    def words(self, step, count, back, current, gradients):
        where = f"Step {step} of {2 * count + 1}"
        if step == 0:
            given = ", ".join(f"{title} = {entry(leaf.value)}" for title, leaf in zip(self.titles, self.leaves))
            return f"{where}: the arguments are {given}."
        if back == 0:
            return f"{where}, turning round: the gradient of the result {self.titles[-1]} is δ = 1."
        node = self.everything[current]
        if step <= count:
            return f"{where}, there: {self.named(current)} = {entry(node.value)}."
        if gradients[current] is None:
            return f"{where}, back: {self.named(current)} has no gradient to hand on: nothing on the way to the result used it."
        parents = dict.fromkeys(self.number(parent) for _, parent in node.parents)
        handed = [f"{self.titles[k]} now has {entry(gradients[k])}" + (
            f" ({entry(gradients[k] - self.gradients[back - 1][k])} more)"
            if self.gradients[back - 1][k] is not None and not np.ndim(gradients[k]) else "") for k in parents]
        return f"{where}, back: {self.named(current)} hands on its gradient {entry(gradients[current])}: {', '.join(handed)}."

    def named(self, k):
        """An operation with its name: 'a1 = u × h0'."""
        node = self.everything[k]
        titles = {i: self.titles[self.number(parent)] for i, parent in node.parents}
        numbers = (float, int, np.generic, np.ndarray)
        operands = [titles.get(i) or entry(a) for i, a in enumerate(node.args) if i in titles or isinstance(a, numbers)]
        name = getattr(node.fun, "__name__", "?")
        sign = SYMBOLS.get(name, "")
        if len(operands) == 2 and len(sign) == 1:
            made = f"{operands[0]} {sign} {operands[1]}"
        elif name == "square":
            made = f"{operands[0]}²"
        else:
            made = f"−{operands[0]}" if name == "negative" else f"{name}({', '.join(operands)})"
        return f"{self.titles[k]} = {made}"

    def number(self, node):
        return next(k for k, each in enumerate(self.everything) if each is node)


def ends(node):
    """A node's number; of a place where a long arrow passes, the operations at the arrow's two ends."""
    return (node, node) if type(node) is int else node[:2]
