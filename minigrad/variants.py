"""The family: variants of the LSTM and the GRU, each of them what it changes in one or two lines.

The eight variants of Greff et al. 2017 (LSTM: A Search Space Odyssey) change one thing each in their
`Vanilla`, an LSTM with diagonal peepholes. The minimal gated unit stands beside the GRU.
Shapes as in `minigrad.cells`; a gate that is gone has no weights, and no value among the ``gates``.
"""
from dataclasses import dataclass

import numpy as np

from .cells import Cell, GRUCell, LSTMCell, PeepholeLSTMCell
from .functions import sigmoid, tanh

OPEN = 1.0      # what stands for a gate that is gone


@dataclass(frozen=True)
class Vanilla(Cell):
    """The LSTM with diagonal peepholes, in parts that a variant can replace; it computes what `PeepholeLSTMCell` does."""

    input_size: int
    hidden_size: int
    forget_bias: float = 1.0
    state_names = ("h", "c")
    gate_names = ("i", "f", "o", "c")
    on_candidate = on_output = staticmethod(tanh)

    def more_shapes(self):
        return {f"P_{gate}": (self.hidden_size,) for gate in self.gate_names if gate != "c"}

    def gates(self, p, x, state):
        h, c = state
        i, f = self.i_and_f(p, x, h, c)
        c_tilde = self.on_candidate(x @ p["W_c"] + h @ p["U_c"] + p["b_c"])
        c = f * c + i * c_tilde
        o = self.o(p, x, h, c)
        h = o * self.on_output(c)
        values = {"i": i, "f": f, "o": o, "c_tilde": c_tilde, "c": c, "h": h}
        return {name: value for name, value in values.items() if value is not OPEN}

    def gate(self, name, p, x, h, c):
        return sigmoid(x @ p[f"W_{name}"] + h @ p[f"U_{name}"] + c * p[f"P_{name}"] + p[f"b_{name}"])

    def i_and_f(self, p, x, h, c):
        return self.gate("i", p, x, h, c), self.gate("f", p, x, h, c)

    def o(self, p, x, h, c):
        return self.gate("o", p, x, h, c)       # of the new c


class NIG(Vanilla):
    """No input gate, i = 1: every candidate is written in full."""

    gate_names = ("f", "o", "c")

    def i_and_f(self, p, x, h, c):
        return OPEN, self.gate("f", p, x, h, c)


class NFG(Vanilla):
    """No forget gate, f = 1: the cell only adds up, as in Hochreiter & Schmidhuber 1997."""

    gate_names = ("i", "o", "c")

    def i_and_f(self, p, x, h, c):
        return self.gate("i", p, x, h, c), OPEN


class NOG(Vanilla):
    """No output gate, o = 1: the whole cell is shown at every step."""

    gate_names = ("i", "f", "c")

    def o(self, p, x, h, c):
        return OPEN


class NIAF(Vanilla):
    """No input activation function: the candidate is linear."""

    on_candidate = staticmethod(lambda a: a)


class NOAF(Vanilla):
    """No output activation function, h = o c: the output is as large as the cell."""

    on_output = staticmethod(lambda c: c)


class CIFG(Vanilla):
    """Coupled input and forget gate, i = 1 - f, as TensorFlow and TFLite have it."""

    gate_names = ("f", "o", "c")

    def i_and_f(self, p, x, h, c):
        f = self.gate("f", p, x, h, c)
        return 1 - f, f


class CIFGByInput(Vanilla):
    """Coupled input and forget gate, f = 1 - i, as ONNX has it (input_forget); forget_bias makes b_i = -forget_bias."""

    gate_names = ("i", "o", "c")

    def init(self, rng, dtype="float64"):
        params = super().init(rng, dtype)
        return params | {"b_i": params["b_i"] - self.forget_bias}

    def i_and_f(self, p, x, h, c):
        i = self.gate("i", p, x, h, c)
        return i, 1 - i


class FGR(Vanilla):
    """Full gate recurrence: each gate also sees the three gates of the step before, through nine matrices.

    U_fi (H, H) leads from f to i. The state is (h, c, i, f, o); all of it starts at 0.
    """

    state_names = ("h", "c", "i", "f", "o")

    def more_shapes(self):
        H = self.hidden_size
        return super().more_shapes() | {f"U_{old}{new}": (H, H) for old in "ifo" for new in "ifo"}

    def gates(self, p, x, state):
        h, c, *old = state
        seen = {new: sum(gate @ p[f"U_{name}{new}"] for name, gate in zip("ifo", old)) for new in "ifo"}
        i = sigmoid(x @ p["W_i"] + h @ p["U_i"] + c * p["P_i"] + seen["i"] + p["b_i"])
        f = sigmoid(x @ p["W_f"] + h @ p["U_f"] + c * p["P_f"] + seen["f"] + p["b_f"])
        c_tilde = tanh(x @ p["W_c"] + h @ p["U_c"] + p["b_c"])
        c = f * c + i * c_tilde
        o = sigmoid(x @ p["W_o"] + h @ p["U_o"] + c * p["P_o"] + seen["o"] + p["b_o"])
        h = o * tanh(c)
        return {"i": i, "f": f, "o": o, "c_tilde": c_tilde, "c": c, "h": h}


@dataclass(frozen=True)
class MGU(Cell):
    """Minimal gated unit, Zhou et al. 2016: a GRU whose one gate f is update and reset; f takes the **new**, in spite of its name."""

    input_size: int
    hidden_size: int
    forget_bias: float = 0.0
    gate_names = ("f", "h")

    def gates(self, p, x, h):
        f = sigmoid(x @ p["W_f"] + h @ p["U_f"] + p["b_f"])
        h_tilde = tanh(x @ p["W_h"] + (f * h) @ p["U_h"] + p["b_h"])
        h = (1 - f) * h + f * h_tilde
        return {"f": f, "h_tilde": h_tilde, "h": h}


# By the names of Greff et al. 2017; vanilla and NP, no peepholes, are cells that minigrad has already.
FAMILY = {"vanilla": PeepholeLSTMCell, "NIG": NIG, "NFG": NFG, "NOG": NOG, "NIAF": NIAF, "NOAF": NOAF, "CIFG": CIFG,
          "NP": LSTMCell, "FGR": FGR, "GRU": GRUCell, "MGU": MGU}


def in_parent(cell, params):
    """``(parent, parameters)``: the cell of which ``cell`` is a corner, and parameters with which it computes the same.

    A gate that is gone is held open by its bias, σ(50) = 1 in floats; a coupled gate has the other's weights negated,
    σ(-a) = 1 - σ(a); an MGU is a GRU whose two gates share their weights. The parent has a kernel, so that this is the
    fast way to run or train a variant. All other cells come back as they are: NP because it has a kernel of its own,
    the others because they are no such corner.
    """
    I, H = cell.input_size, cell.hidden_size
    if type(cell) is MGU:
        names = {"z": "f", "r": "f", "h": "h"}
        return GRUCell(I, H), {f"{kind}_{gate}": params[f"{kind}_{names[gate]}"] for gate in "zrh" for kind in "WUb"}
    if type(cell) not in (Vanilla, NIG, NFG, NOG, CIFG, CIFGByInput):
        return cell, params
    parent = PeepholeLSTMCell(I, H)
    if isinstance(cell, CIFG):
        params = params | {f"{kind}_i": -params[f"{kind}_f"] for kind in "WUbP"}
    if isinstance(cell, CIFGByInput):
        params = params | {f"{kind}_f": -params[f"{kind}_i"] for kind in "WUbP"}
    dtype = params["b_c"].dtype
    held_open = {name: np.full(shape, 50.0 * (name[0] == "b"), dtype)
                 for name, shape in parent.shapes.items() if name not in params}
    return parent, params | held_open
