"""The recurrent cells. Each is its equations and nothing else.

A cell is a pure function of ``(params, x, state)``: it works on NumPy arrays, on the Tensors of
either engine and on JAX arrays, because it only uses operators and `minigrad.functions`.

Shapes, everywhere: x (B, I), h and c (B, H), W_* (I, H), U_* (H, H), b_* (H,).
Gates are i (input), f (forget), o (output); z (update), r (reset); a candidate wears a tilde.
"""
from dataclasses import dataclass
from functools import cached_property

from . import initializers
from .checks_of_input import check_cell_input, check_choice, check_number, check_rng, check_size
from .functions import relu, sigmoid, tanh


class Cell:
    """What the cells share. A cell of your own needs none of it: only init, initial_state, __call__.

    A subclass gives ``gates(params, x, state)``, its equations: every gate, candidate and new
    state by name. ``state_names`` says which of them are the state.
    """

    state_names = ("h",)
    gate_names = ()

    def __post_init__(self):
        check_size(self, "input_size", self.input_size)
        check_size(self, "hidden_size", self.hidden_size)
        if hasattr(self, "forget_bias"):
            check_number(self, "forget_bias", self.forget_bias)

    @cached_property
    def shapes(self):
        """The shape of every parameter, by name, in the order of the equations."""
        I, H = self.input_size, self.hidden_size
        return {f"{kind}_{gate}": shape for gate in self.gate_names
                for kind, shape in (("W", (I, H)), ("U", (H, H)), ("b", (H,)))} | self.more_shapes()

    def more_shapes(self):
        """The parameters that a cell has besides W, U and b of each gate."""
        return {}

    def init(self, rng, dtype="float64"):
        """New parameters, a dict of arrays: W and P Glorot-uniform, U orthogonal, biases zero but b_f.

        rng: numpy.random.Generator.
        """
        check_rng(type(self).__name__, rng)
        draw = {"W": initializers.glorot_uniform, "U": initializers.orthogonal,
                "P": initializers.glorot_uniform, "b": initializers.zeros}
        params = {name: draw[name[0]](rng, shape).astype(dtype) for name, shape in self.shapes.items()}
        if "b_f" in params:
            params["b_f"] += self.forget_bias
        return params

    def initial_state(self, batch_size, dtype="float64"):
        """A state of zeros, (B, H) each: h alone, or the tuple (h, c)."""
        check_size(self, "batch_size", batch_size)
        zeros = tuple(initializers.zeros(None, (batch_size, self.hidden_size)).astype(dtype) for _ in self.state_names)
        return zeros if len(zeros) > 1 else zeros[0]

    def __call__(self, params, x, state):
        """One step: the new state from x (B, I) and the old state.

        Raises ValueError or TypeError naming the argument whose shape or dtype is wrong.
        """
        check_cell_input(self, params, x, state)
        return self.state_of(self.gates(params, x, state))

    def state_of(self, gates):
        """The state among the values that ``gates`` returned."""
        state = tuple(gates[name] for name in self.state_names)
        return state if len(state) > 1 else state[0]


@dataclass(frozen=True)
class RNNCell(Cell):
    """The plain recurrent cell: h = tanh(x W_h + h U_h + b_h). Elman 1990.

    nonlinearity: "tanh" or "relu" (with U the identity: the IRNN of Le, Jaitly, Hinton 2015).
    """

    input_size: int
    hidden_size: int
    nonlinearity: str = "tanh"
    gate_names = ("h",)

    def __post_init__(self):
        super().__post_init__()
        check_choice(self, "nonlinearity", self.nonlinearity, ("tanh", "relu"))

    def gates(self, p, x, h):
        nonlinearity = tanh if self.nonlinearity == "tanh" else relu
        h = nonlinearity(x @ p["W_h"] + h @ p["U_h"] + p["b_h"])
        return {"h": h}


@dataclass(frozen=True)
class LSTMCell(Cell):
    """Long short-term memory with a forget gate: Hochreiter & Schmidhuber 1997; Gers et al. 2000.

    The state is (h, c). forget_bias is the initial b_f: σ(1) = 0.73 of c is kept at first.
    """

    input_size: int
    hidden_size: int
    forget_bias: float = 1.0
    state_names = ("h", "c")
    gate_names = ("i", "f", "o", "c")

    def gates(self, p, x, state):
        h, c = state
        i = sigmoid(x @ p["W_i"] + h @ p["U_i"] + p["b_i"])
        f = sigmoid(x @ p["W_f"] + h @ p["U_f"] + p["b_f"])
        o = sigmoid(x @ p["W_o"] + h @ p["U_o"] + p["b_o"])
        c_tilde = tanh(x @ p["W_c"] + h @ p["U_c"] + p["b_c"])
        c = f * c + i * c_tilde
        h = o * tanh(c)
        return {"i": i, "f": f, "o": o, "c_tilde": c_tilde, "c": c, "h": h}


@dataclass(frozen=True)
class PeepholeLSTMCell(Cell):
    """LSTM whose gates also look at the cell: Gers & Schmidhuber 2000; Gers et al. 2002.

    i and f look at the old c, o looks at the **new** c. With peephole="diagonal" each gate sees its
    own cell, P_* (H,); with "full" it sees all of them, P_* (H, H), which is W [h, x, c] + b.
    """

    input_size: int
    hidden_size: int
    peephole: str = "diagonal"
    forget_bias: float = 1.0
    state_names = ("h", "c")
    gate_names = ("i", "f", "o", "c")

    def __post_init__(self):
        super().__post_init__()
        check_choice(self, "peephole", self.peephole, ("diagonal", "full"))

    def more_shapes(self):
        H = self.hidden_size
        return {f"P_{gate}": (H,) if self.peephole == "diagonal" else (H, H) for gate in "ifo"}

    def gates(self, p, x, state):
        h, c = state
        i = sigmoid(x @ p["W_i"] + h @ p["U_i"] + self.look(c, p["P_i"]) + p["b_i"])
        f = sigmoid(x @ p["W_f"] + h @ p["U_f"] + self.look(c, p["P_f"]) + p["b_f"])
        c_tilde = tanh(x @ p["W_c"] + h @ p["U_c"] + p["b_c"])
        c = f * c + i * c_tilde
        o = sigmoid(x @ p["W_o"] + h @ p["U_o"] + self.look(c, p["P_o"]) + p["b_o"])
        h = o * tanh(c)
        return {"i": i, "f": f, "o": o, "c_tilde": c_tilde, "c": c, "h": h}

    def look(self, c, P):
        """What a gate sees of the cell."""
        return c * P if self.peephole == "diagonal" else c @ P


@dataclass(frozen=True)
class GRUCell(Cell):
    """Gated recurrent unit: Cho et al. 2014; Chung et al. 2014.

    reset: "before" the matmul, (r * h) U_h, or "after" it, r * (h U_h + b_U), as PyTorch, cuDNN and
    Keras have it; only then is there a second candidate bias, b_U.
    update: z takes the "new" candidate, h = (1-z) h + z h̃ (Chung 2014), or keeps the "old" state,
    h = z h + (1-z) h̃ (Cho 2014, PyTorch, Keras, ONNX).
    """

    input_size: int
    hidden_size: int
    reset: str = "before"
    update: str = "new"
    gate_names = ("z", "r", "h")

    def __post_init__(self):
        super().__post_init__()
        check_choice(self, "reset", self.reset, ("before", "after"))
        check_choice(self, "update", self.update, ("new", "old"))

    def more_shapes(self):
        return {"b_U": (self.hidden_size,)} if self.reset == "after" else {}

    def gates(self, p, x, h):
        z = sigmoid(x @ p["W_z"] + h @ p["U_z"] + p["b_z"])
        r = sigmoid(x @ p["W_r"] + h @ p["U_r"] + p["b_r"])
        if self.reset == "before":
            h_tilde = tanh(x @ p["W_h"] + (r * h) @ p["U_h"] + p["b_h"])
        else:
            h_tilde = tanh(x @ p["W_h"] + r * (h @ p["U_h"] + p["b_U"]) + p["b_h"])
        if self.update == "new":
            h = (1 - z) * h + z * h_tilde
        else:
            h = z * h + (1 - z) * h_tilde
        return {"z": z, "r": r, "h_tilde": h_tilde, "h": h}
