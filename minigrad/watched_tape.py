"""A tape that shows each node on the way back, for the figures that draw gradients."""
from .engine import Pieces, Tape


class WatchedTape(Tape):
    """A tape that calls ``seen(node)`` when a node's gradient is complete and not yet handed on."""

    __slots__ = ("seen",)

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def pop(self):
        node = super().pop()
        self.seen(node)
        return node


def dense(g):
    """A gradient as an array, also where the engine keeps it in pieces; None where there is none."""
    return g.dense() if type(g) is Pieces else g
