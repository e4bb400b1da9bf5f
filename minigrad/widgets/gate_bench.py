"""The gate bench: one step of one unit of a cell, with its pre-activations set by hand."""
import dataclasses

import numpy as np

from ..cells import GRUCell, LSTMCell, PeepholeLSTMCell, RNNCell
from ..functions import sigmoid
from . import scenes
from .touchable import choice, slider, touchable

# For each control: its lowest and highest value, and what a page without a kernel offers.
GATE = (-6, 6, (-4, -2, 0, 2, 4))    # σ is 0.02, 0.12, 0.5, 0.88, 0.98
OUTPUT = (-6, 6, (-4, 0, 4))
CANDIDATE = (-3, 3, (-1, 0, 1))
STATE = (-2, 2, (-1, -0.5, 0, 0.5, 1))
MEMORY = (-2, 2, (-1, 0, 0.5, 1))    # c: with two more gates, an LSTM has more scenes to store
ORDER = ("a_i", "a_f", "a_o", "a_z", "a_r", "a_candidate", "c", "h")
PEEPHOLES = {"P_i": -1.0, "P_f": 1.0, "P_o": 1.0}
GATE_LABELS = {"i": "input gate i", "f": "forget gate f", "o": "output gate o", "z": "update gate z", "r": "reset gate r"}
GATE_COLORS = {"i": "green", "f": "blue", "o": "vermillion", "z": "blue", "r": "vermillion"}

CAPTIONS = {
    "LSTM": "Try: open the forget gate (4) and shut the input gate (−4). Notice that c goes through the step nearly unchanged, "
            "whatever the candidate says.",
    "GRU": "Try: move what the update gate z is given from one end to the other. Notice that the new state moves all the way "
           "between the old one and the candidate.",
    "RNN": "Try: raise what the candidate is given. Notice how the tanh bends the new state, and that nothing can keep the old one.",
}


def gate_bench(cell=None, params=None, unit=0, caption=None):
    """One step of one unit: move what each gate is given, and see what is kept, written and read.

    cell: an RNNCell, LSTMCell, PeepholeLSTMCell or GRUCell, or one of your own with the same gates; all four to choose
    from if None. params: the cell's parameters, of which the bench takes the weight from ``unit`` to itself (U_h of an
    RNN or GRU) and its peepholes; without them these weights are fixed and shown.
    Raises TypeError or ValueError that names the argument.
    """
    if cell is None:
        if params is not None:
            raise TypeError("gate_bench: params came without the cell that they belong to")
        cells = {"LSTM": LSTMCell(1, 1), "peephole LSTM": PeepholeLSTMCell(1, 1), "GRU": GRUCell(1, 1), "RNN": RNNCell(1, 1)}
    else:
        cells = {type(cell).__name__: cell}
    benches = {name: Bench(name, cell, params, unit) for name, cell in cells.items()}
    names = list(benches)
    controls = [choice("cell", "cell", names[0], names, layouts=True)] if len(benches) > 1 else []
    wanted = {}
    for name, bench in benches.items():
        for control, label in bench.inputs.items():
            wanted.setdefault((control, label), []).append(name)
    for (control, label), having in sorted(wanted.items(), key=lambda item: ORDER.index(item[0][0])):
        low, high, stored = {"h": STATE, "c": MEMORY, "a_candidate": CANDIDATE, "a_o": OUTPUT}.get(control, GATE)
        value = {"h": 0.5, "c": 1, "a_f": 2, "a_candidate": 1}.get(control, 0)
        controls.append(slider(control, label, value, low, high, 0.05, stored, only=having if len(names) > 1 else None))

    def compute(cell=names[0], **values):
        return benches[cell].scene(values)

    words = CAPTIONS[benches[names[0]].kind]
    if len(names) > 1:
        words = words.replace("Try:", "Try, with the LSTM:")
    return touchable("Gate bench", compute, controls, caption or words)


class Bench:
    """One unit of a cell, whose input x holds the pre-activations themselves: W is a unit matrix, U and b are zero."""

    def __init__(self, name, cell, params, unit):
        names = getattr(cell, "gate_names", None)
        if names is None or not hasattr(cell, "gates") or not dataclasses.is_dataclass(cell):
            raise TypeError(f"gate_bench: cell is a {type(cell).__name__}, expected a cell like mg.LSTMCell, "
                            "with gate_names and gates(params, x, state)")
        kinds = {"LSTM": "ifoc", "GRU": "zrh", "RNN": "h"}
        self.kind = next((kind for kind, needs in kinds.items() if set(names) == set(needs)), None)
        if self.kind is None:
            raise TypeError(f"gate_bench: {type(cell).__name__} has the gates {', '.join(names)}, expected those of an RNN (h), "
                            "an LSTM (i, f, o, c) or a GRU (z, r, h)")
        self.name, self.cell, self.names = name, dataclasses.replace(cell, input_size=len(names), hidden_size=1), names
        self.params = {key: np.zeros(shape) for key, shape in self.cell.shapes.items()}
        for k, gate in enumerate(names):
            self.params[f"W_{gate}"][k] = 1.0
        for key, value in (PEEPHOLES | {"U_h": 1.0}).items():
            if key in self.params:
                self.params[key][...] = value if params is None else own_weight(cell, params, key, unit)
        self.inputs = {"a_candidate" if gate in "ch" else f"a_{gate}": f"given to the {GATE_LABELS.get(gate, 'candidate')}"
                       for gate in names}
        self.inputs["c" if self.kind == "LSTM" else "h"] = "old cell state c" if self.kind == "LSTM" else "old state h"

    def scene(self, values):
        """The bars of one step."""
        old = values["c"] if self.kind == "LSTM" else values["h"]
        x = np.array([[values["a_candidate" if gate in "ch" else f"a_{gate}"] for gate in self.names]], dtype=float)
        state = np.array([[old]], dtype=float)
        gates = self.cell.gates(self.params, x, (np.zeros((1, 1)), state) if self.kind == "LSTM" else state)
        return getattr(self, f"scene_of_{self.kind}")(float(old), {name: value.item() for name, value in gates.items()}, values)

    def scene_of_LSTM(self, c, g, values):
        kept, written = g["f"] * c, g["i"] * g["c_tilde"]
        self.check_sum(kept, written, g["c"], "c")
        look = "peephole" in self.name.lower()
        weights = [f"p_{gate} = {scenes.number(self.params[f'P_{gate}'].item())}".replace("-", "−") for gate in "ifo" if look]
        text = ("The cell keeps {f%} of c = {old} and writes {written}: the new c is {c}. "
                "The output gate shows {o%} of tanh(c): h is {h}.")
        if look:
            seen = {gate: sigmoid(values[f"a_{gate}"]) for gate in "ifo"}
            text += " Without its peepholes it would have i = {i0}, f = {f0}, o = {o0}."
        return scenes.scene([
            scenes.rows(f"Gates, 0 shut and 1 open{'; with ' * look}{', '.join(weights)}", (0, 1), *gate_rows("ifo", g)),
            scenes.rows("The state", (-3, 3), scenes.row("old c", c, "purple"), scenes.row("kept, f·c", kept, "blue"),
                        scenes.row("written, i·c̃", written, "green", start=kept),
                        scenes.row("new c", g["c"], "purple"), scenes.row("candidate c̃", g["c_tilde"], "grey", outline=True),
                        scenes.row("read, h = o·tanh(c)", g["h"], "vermillion")),
        ], text, old=c, f=g["f"], written=written, c=g["c"], o=g["o"], h=g["h"],
            **({f"{gate}0": value for gate, value in seen.items()} if look else {}))

    def scene_of_GRU(self, h, g, values):
        new = g["z"] if getattr(self.cell, "update", "new") == "new" else 1 - g["z"]
        kept, written = (1 - new) * h, new * g["h_tilde"]
        self.check_sum(kept, written, g["h"], "h")
        u = scenes.number(self.params["U_h"].item())
        keeps = ("(1−z)·h", "z·h̃") if new == g["z"] else ("z·h", "(1−z)·h̃")
        return scenes.scene([
            scenes.rows("Gates, 0 shut and 1 open", (0, 1), *gate_rows("zr", g)),
            scenes.rows(f"The state; the weight from h to its candidate is u = {u}".replace("-", "−"), (-2, 2),
                        scenes.row("old h", h, "purple"), scenes.row("let through, r·h", g["r"] * h, "vermillion", outline=True),
                        scenes.row("candidate h̃", g["h_tilde"], "grey", outline=True),
                        scenes.row(f"kept, {keeps[0]}", kept, "blue"),
                        scenes.row(f"written, {keeps[1]}", written, "green", start=kept),
                        scenes.row("new h", g["h"], "purple")),
        ], "The unit keeps {kept%} of h = {old} and takes {taken%} of the candidate {h_tilde}, "
           "which heard {r%} of h: the new h is {h}.",
            kept=1 - new, old=h, taken=new, h_tilde=g["h_tilde"], r=g["r"], h=g["h"])

    def scene_of_RNN(self, h, g, values):
        u, a = self.params["U_h"].item(), values["a_candidate"]
        title = f"The state; the weight from h to itself is u = {scenes.number(u)}".replace("-", "−")
        panel = scenes.rows(title, (-5, 5), scenes.row("old h", h, "purple"), scenes.row("given by the input, a", a, "grey"),
                            scenes.row("given by the state, u·h", u * h, "blue", start=a), scenes.row("new h", g["h"], "purple"))
        return scenes.scene([panel], "A plain cell has no gate: the input gives {a}, the state gives {uh}, and the new h is {h}; "
                                     "nothing of the old h = {old} is kept as it was.",
                            a=a, uh=u * h, h=g["h"], old=h)

    def check_sum(self, kept, written, new, name):
        if abs(kept + written - new) > 1e-9:
            raise ValueError(f"gate_bench: {type(self.cell).__name__} keeps {kept:.4g} and writes {written:.4g}, so its new {name} "
                             f"should be {kept + written:.4g}, but the cell gives {new:.4g}: "
                             "its gates don't mean what their names say")


def gate_rows(names, values):
    return [scenes.row(GATE_LABELS[name], values[name], GATE_COLORS[name]) for name in names]


def own_weight(cell, params, key, unit):
    """A unit's weight to itself among the parameters of a whole cell."""
    if not isinstance(unit, int) or not 0 <= unit < cell.hidden_size:
        raise ValueError(f"gate_bench: unit is {unit!r}, expected an integer from 0 to {cell.hidden_size - 1}")
    if not hasattr(params, "keys") or key not in params:
        found = ", ".join(map(str, params)) if hasattr(params, "keys") else f"a {type(params).__name__}"
        raise ValueError(f"gate_bench: params has no {key}, which {type(cell).__name__} needs; it is {found}")
    weight = np.asarray(params[key])
    if weight.shape != cell.shapes[key]:
        raise ValueError(f"gate_bench: {key} has shape {weight.shape}, expected {cell.shapes[key]}")
    return weight[unit] if weight.ndim == 1 else weight[unit, unit]
