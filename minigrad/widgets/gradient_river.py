"""The gradient river: how much of the gradient of the last state reaches the earlier ones."""
import numpy as np

from ..cells import GRUCell, LSTMCell, RNNCell
from ..checks_of_input import check_size
from ..engine import Tensor, backward
from ..watched_tape import WatchedTape, dense
from . import scenes
from .touchable import choice, slider, touchable

LOWEST = -12                         # powers of ten: below, there is nothing to see
DRY = -3                             # a thousandth of what it was at the last step
MOST_POINTS = 40
STEPS = (20, 50, 100)
KEEP = (-2, -1, 0, 1, 2, 3, 4, 5)
RADIUS = (0.5, 0.7, 0.9, 1.0, 1.1, 1.3, 1.6)
LABELS = {"forget_bias": "forget bias b_f", "update_bias": "update bias b_z: smaller keeps more", "radius": "spectral radius of U"}


def gradient_river(cell=None, params=None, units=16, seed=0, caption=None):
    """|∂L/∂h_t| and |∂L/∂c_t| along a sequence, for a loss L = h_T · w that asks for the last state only.

    Without a cell: an LSTM, a GRU and an RNN of ``units`` units with freshly drawn weights, whose forget bias, update
    bias and spectral radius can be moved. With a cell (RNNCell, LSTMCell, PeepholeLSTMCell, GRUCell) and its params:
    that cell's river alone, and the control adds to the bias or multiplies the radius that its weights have.
    Four sequences of Gaussian inputs; the figure shows the mean. seed: of inputs, weights and w.
    Raises TypeError or ValueError that names the argument.
    """
    check_size("gradient_river", "units", units)
    if (cell is None) != (params is None):
        raise TypeError("gradient_river: give a cell and its params, or neither")
    if cell is None:
        rng = np.random.default_rng(seed)
        rivers = {name: River(cell, cell.init(rng), seed, False) for name, cell in
                  {"LSTM": LSTMCell(2, units, 0.0), "GRU": GRUCell(2, units), "RNN": RNNCell(2, units)}.items()}
    else:
        rivers = {type(cell).__name__: River(cell, params, seed, True)}
    names = list(rivers)
    controls = [choice("cell", "cell", names[0], names, layouts=True)] if len(names) > 1 else []
    for control in dict.fromkeys(river.control for river in rivers.values()):
        having = [name for name, river in rivers.items() if river.control == control]
        own = rivers[having[0]].own
        stored = {"radius": RADIUS, "forget_bias": KEEP, "update_bias": tuple(-b for b in KEEP[::-1])}[control]
        value = 1.0 if control == "radius" else 1 if control == "forget_bias" and not own else 0
        label = LABELS[control]
        if own:
            label = f"{label}, times" if control == "radius" else f"add to the {label}"
        only = having if len(names) > 1 else None
        controls.append(slider(control, label, value, stored[0], stored[-1], 0.05, stored, only=only))
    controls.append(slider("T", "steps T", 50, 2, 200, 1, STEPS))

    def compute(cell=names[0], T=50, **values):
        river = rivers[cell]
        return river.scene(values[river.control], T)

    return touchable("Gradient river", compute, controls, caption or (
        "Try: raise the bias (or the radius) until the river no longer dries up at T = 100. Notice that the curve is "
        "nearly straight on this scale: each step back multiplies the gradient by about the same factor."))


class River:
    """One cell with its weights, and the gradients of its states."""

    def __init__(self, cell, params, seed, own):
        names = getattr(cell, "gate_names", ())
        kinds = {"f": "forget_bias", "z": "update_bias", "h": "radius"}       # by the first of these gates that it has
        self.control = next((control for gate, control in kinds.items() if gate in names), None)
        if self.control is None:
            raise TypeError(f"gradient_river: cell is a {type(cell).__name__}, expected an RNN, an LSTM or a GRU with gate_names")
        self.cell, self.params, self.own, self.seed = cell, params, own, seed
        cell(params, np.zeros((1, cell.input_size)), cell.initial_state(1))        # its own errors say what is wrong with params

    def changed(self, value):
        """The parameters with the control's value in them."""
        p = dict(self.params)
        if self.control == "radius":
            U = p["U_h"]
            p["U_h"] = U * (value / (1.0 if self.own else np.abs(np.linalg.eigvals(U)).max()))
        else:
            name = "b_f" if self.control == "forget_bias" else "b_z"
            old = self.control == "update_bias" and getattr(self.cell, "update", "new") == "old"
            p[name] = p[name] + (-value if old else value)        # where z keeps the old state, the sign is the other one
        return p

    def gradients(self, value, T):
        """{"h": (T,), "c": (T,)}: the norm of the loss's gradient at each state, mean over the sequences."""
        rng = np.random.default_rng([self.seed, 1])
        xs, w = rng.normal(size=(200, 4, self.cell.input_size))[:T], rng.normal(size=self.cell.hidden_size)
        return state_gradients(self.cell, self.changed(value), xs, w / np.linalg.norm(w))

    def scene(self, value, T):
        norms = self.gradients(value, T)
        start = norms["h"][-1]
        log = {name: np.log10(np.maximum(g / start, 10.0**(LOWEST - 1))) for name, g in norms.items()}
        dry = np.flatnonzero(log["h"] < DRY)
        dry = int(dry[-1]) + 1 if len(dry) else None                # the step nearest to the end, counted from 1
        shown = np.unique(np.linspace(0, T - 1, min(T, MOST_POINTS)).round().astype(int))
        top = max(1.0, np.ceil(max(values.max() for values in log.values())))
        marks = [scenes.line(log["h"][shown].round(2), "blue", label="∂L/∂h", x=shown + 1)]
        if "c" in log:
            marks.append(scenes.line(log["c"][shown].round(2), "purple", "dashed", label="∂L/∂c", x=shown + 1))
        marks += [scenes.across(DRY, label="a thousandth"), scenes.upright(dry, "dry from here back")]
        time, size = scenes.axis(1, T, "step t; the loss is at the right"), scenes.axis(LOWEST, top, log=True)
        panel = scenes.plot("Size of the gradient, in terms of that of the last state h_T", time, size, *marks, height=210)
        left = 10.0**log["h"][0]
        arrives = "{left} times as much" if left >= 10.0**LOWEST else "less than 10⁻¹²"
        text = f"{{name}} {{value}}: of the gradient at step {{T}}, {arrives} reaches step 1. "
        if dry:
            text += "It falls below a thousandth {back} steps before the end, at t = {dry}."
        elif left <= 10:
            text += "It never falls below a thousandth: the river reaches its source."
        else:
            text += "It grows on the way back: it floods."
        name = LABELS[self.control].split(":")[0]
        name = "Control at" if self.own else name[0].upper() + name[1:]
        return scenes.scene([panel], text, name=name, value=value, T=T, left=left, back=T - (dry or T), dry=dry or 0)


def state_gradients(cell, params, xs, w):
    """Norms (T,) of the gradient of L = Σ h_T · w at each part of each state, mean over the batch: {"h": …, "c": …}.

    The states are nodes on a tape, and the engine hands each its full gradient: what flows through h_t counts in ∂L/∂c_t.
    """
    kept = {}

    def keep(node):
        kept[id(node)] = dense(node.grad)

    tape, states, names = WatchedTape(keep), [], getattr(cell, "state_names", ("h",))
    state = cell.initial_state(xs.shape[1])
    state = tuple(Tensor(part, tape) for part in state) if isinstance(state, tuple) else Tensor(state, tape)
    for x in xs:
        state = cell(params, x, state)
        states.append(state if isinstance(state, tuple) else (state,))
    everything = list(tape)                                # holds the nodes, so that their ids stay theirs
    backward(tape, np.sum(states[-1][0] @ w))
    norms = {}
    for k, name in enumerate(names):
        gs = [kept.get(id(parts[k])) for parts in states]
        gs = [np.zeros_like(parts[k].value) if g is None else g for g, parts in zip(gs, states)]
        norms[name] = np.linalg.norm(gs, axis=2).mean(axis=1)
    del everything
    return norms
