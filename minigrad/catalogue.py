"""The catalogue of `minigrad.diagnose`: the cells once more, as text, and what people write instead.

A family's cell is a dict of lines, run in order by `step` on the arrays of any engine. A known variant
or mistake is an edit of those lines, most often one word of one line; so an entry is as short as the
mistake, and a report can print the line as it is beside the line as it should be. Only text in this
file is ever run. It is a second writing of `minigrad.cells`, and the tests hold one against the other.

Names in the lines: x (B, I); the old h and c, the new h_new and c_new (B, H); the cells' parameters.
"""
import re
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import combinations, permutations

from .functions import relu, sigmoid, tanh

# ---------------------------------------------------------------- the equations
RNN = {
    "h": "state",
    "h_new": "tanh(x @ W_h + h @ U_h + b_h)",
    "state_new": "h_new",
}
LSTM = {
    "h": "state[0]",
    "c": "state[1]",
    "i": "sigmoid(x @ W_i + h @ U_i + b_i)",
    "f": "sigmoid(x @ W_f + h @ U_f + b_f)",
    "c_tilde": "tanh(x @ W_c + h @ U_c + b_c)",
    "c_new": "f * c + i * c_tilde",
    "o": "sigmoid(x @ W_o + h @ U_o + b_o)",
    "h_new": "o * tanh(c_new)",
    "state_new": "(h_new, c_new)",
}
PEEPHOLE = LSTM | {
    "i": "sigmoid(x @ W_i + h @ U_i + b_i + c * P_i)",
    "f": "sigmoid(x @ W_f + h @ U_f + b_f + c * P_f)",
    "o": "sigmoid(x @ W_o + h @ U_o + b_o + c_new * P_o)",
}
FULL_PEEPHOLE = {name: text.replace("* P", "@ P") for name, text in PEEPHOLE.items()}
GRU = {
    "h": "state",
    "z": "sigmoid(x @ W_z + h @ U_z + b_z)",
    "r": "sigmoid(x @ W_r + h @ U_r + b_r)",
    "h_tilde": "tanh(x @ W_h + (r * h) @ U_h + b_h)",
    "h_new": "(1 - z) * h + z * h_tilde",
    "state_new": "h_new",
}
AFTER = {"h_tilde": "tanh(x @ W_h + r * (h @ U_h + b_U) + b_h)"}
OLD = {"h_new": "z * h + (1 - z) * h_tilde"}

FUNCTIONS = {"tanh": tanh, "sigmoid": sigmoid, "relu": relu, "sigmoid_of_twice": lambda a: sigmoid(2 * a)}


def step(equations, params, x, state):
    """Run the lines; return every value by name, the new state as "state_new"."""
    values = params | FUNCTIONS | {"x": x, "state": state}
    for name, text in equations.items():
        values[name] = eval(compiled(text), {"__builtins__": {}}, values)
    return values


@lru_cache(maxsize=None)
def compiled(text):
    return compile(text, "<equation>", "eval")


# ---------------------------------------------------------------- edits
def line(name, old, new):
    """The edit that writes ``new`` for ``old`` in one line."""
    return lambda equations: equations | {name: equations[name].replace(old, new)}


def everywhere(pattern, new):
    """The edit that writes ``new`` for a regular expression, in every line."""
    return lambda equations: {name: re.sub(pattern, new, text) for name, text in equations.items()}


def rename(kinds, gates):
    """The edit after which a gate uses the parameters of ``gates[gate]``, as far as they are of these kinds."""
    return everywhere(rf"\b([{kinds}])_([{''.join(gates)}])\b", lambda found: f"{found[1]}_{gates[found[2]]}")


def chain(*edits):
    """The edit that makes several, one after another."""
    def edit(equations):
        for each in edits:
            equations = each(equations)
        return equations
    return edit


def without(names):
    """The edit that takes out the terms of biases and peepholes."""
    return chain(*(everywhere(rf" \+ (\w+ [*@] )?{name}\b", "") for name in names))


def candidate_peeks(P):
    """The edit that lets the candidate look at the old cell through P, as i does through P_i."""
    def edit(equations):
        how = "@" if "@ P" in equations["i"] else "*"
        return line("c_tilde", "b_c)", f"b_c + c {how} {P})")(equations)
    return edit


# ---------------------------------------------------------------- entries
@dataclass(frozen=True)
class Entry:
    """A known variant, which computes something sensible, or a known mistake.

    edit: what turns the right equations into it; where it changes nothing the entry has no place.
    reason: one plain sentence. source: who did or measured it. chapter: None for the family's own.
    """

    name: str
    edit: object
    reason: str
    kind: str = "mistake"
    source: str = ""
    chapter: int | None = None


def entries_of_blocks(lines):
    """A bias missing or doubled, U transposed, h not looked at: in the line of one block, or in all."""
    for group in (*lines, "".join(lines)) if len(lines) > 1 else lines:
        where = f"in {lines[group]}" if group in lines else "in every line"
        yield Entry(f"bias missing {where}", without([f"b_[{group}]"]),
                    "Without its bias a gate can't learn to stay open or shut.")
        yield Entry(f"bias doubled {where}", everywhere(rf"\b(b_[{group}])\b", r"2 * \1"),
                    "An input bias and a recurrent bias add up: setting both to 1 gives 2.",
                    source="PyTorch and ONNX carry two biases", chapter=9)
        yield Entry(f"U transposed {where}", everywhere(rf"\b(U_[{group}])\b", r"\1.T"),
                    "U is square, so that no shape gives its transpose away; this book multiplies from the right, h @ U.",
                    chapter=9)
        U = rf"U_[{group}]\b(\.T)?"
        yield Entry(f"h not used {where}", everywhere(rf" \+ (h|\(r \* h\)) @ {U}| \+ r \* \(h @ {U}\)|h @ {U} \+ ", ""),
                    "The line sees the input and nothing that the cell remembers; minGRU does so on purpose.", chapter=14)


def entries_of_pairs(lines, gates):
    """Blocks cut from a packed matrix in a wrong order, and gates that share their weights."""
    for a, b in combinations(lines, 2):
        kinds = "WUbP" if a in gates and b in gates else "WUb"
        yield Entry(f"weights of {lines[a]} and {lines[b]} swapped", rename(kinds, {a: b, b: a}),
                    "The blocks of a packed matrix were cut in another order, or the two change places.",
                    source="each framework has an order of its own: PyTorch i,f,g,o and r,z,n; ONNX i,o,f,c and z,r,h",
                    chapter=9)
    for a, b in permutations(gates, 2):
        mgu = ": a minimal gated unit" if {a, b} == {"z", "r"} else ""
        yield Entry(f"{a} uses the weights of {b}", rename("WUbP", {a: b}),
                    f"The two gates are always equal{mgu}, and the weights of {a} are never used.", chapter=8)


def entries_of_sigmoids(gates):
    for group in (*gates, gates) if gates else ():
        where = f"in {group}" if len(group) == 1 else "in every gate"
        yield Entry(f"sigmoid of 2x {where}", chain(*(line(gate, "sigmoid(", "sigmoid_of_twice(") for gate in group)),
                    "σ(2x) is twice as steep: 0.881 at x = 1, where σ(1) = 0.731.",
                    source="the example of HIPS autograd has it, under the name of sigmoid", chapter=2)


# What init and the shapes show, before any equation is run; the edits are what the lines would be.
FORGET_BIAS_ABSENT = Entry(
    "forget bias absent", chain(), "The equations are right, but init leaves b_f at 0: the forget gate starts at σ(0) = 0.5 "
    "and keeps 0.5 ** T of the cell over T steps, where b_f = 1 keeps 0.731 ** T.",
    "variant", "d2l starts at 0, Keras and this book at 1", 4)
ALL_UNITS_ALIKE = Entry(
    "init makes all units alike", chain(), "Every column of every W is the same, so that every unit computes the same and gets "
    "the same gradient for ever; draw the weights at random.", chapter=1)
AXES_SWAPPED = Entry(
    "batch and feature axes swapped", everywhere(r"\bx @", "x.T @"),
    "It takes columns, x (I, B), where this book, unroll and fit give rows, x (B, I).", chapter=1)
STORED_TRANSPOSED = Entry(
    "weights stored as (H, I)", everywhere(r"\b([WU]_\w)\b", r"\1.T"),
    "PyTorch stores them so and multiplies by the transpose; here W is (I, H) and stands to the right, x @ W.",
    "variant", "PyTorch, ONNX", 9)
OF_EVERY_CELL = (AXES_SWAPPED, STORED_TRANSPOSED)
OF_RNN = (
    Entry("tanh missing", line("h_new", "tanh(", "("), "The state is linear in the past, and nothing bounds it."),
    Entry("a sigmoid for the tanh", line("h_new", "tanh(", "sigmoid("),
          "The state can't be negative, and the slope is at most 1/4, so that gradients vanish sooner.", chapter=3),
)
OF_LSTM = (
    Entry("i coupled to f", line("c_new", "i *", "(1 - f) *"),
          "CIFG, i = 1 - f: what is forgotten makes room for what comes in.", "variant",
          "TensorFlow and TFLite", 8),
    Entry("f coupled to i", line("c_new", "f *", "(1 - i) *"), "Coupled gates the other way round, f = 1 - i.",
          "variant", "ONNX, input_forget", 8),
    Entry("no forget gate", line("c_new", "f * ", ""), "The LSTM of 1997: c only adds up, and grows on an endless stream.",
          "variant", "Gers, Schmidhuber & Cummins 2000 added the gate; Greff et al. 2017 call it NFG"),
    Entry("no input gate", line("c_new", "i * ", ""), "Every candidate is written in full.",
          "variant", "Greff et al. 2017, NIG", 8),
    Entry("no output gate", line("h_new", "o * ", ""), "The whole cell is shown at every step.",
          "variant", "Greff et al. 2017, NOG", 8),
    Entry("forget bias added in the forward pass", line("f", "b_f", "b_f + 1"),
          "Sensible where init leaves b_f at 0; on top of a b_f of 1 it makes 2.", "variant", "TensorFlow 1"),
    Entry("tanh missing on the candidate", line("c_tilde", "tanh(", "("), "Nothing bounds what one step writes.",
          source="Greff et al. 2017 tried it on purpose, as NIAF", chapter=8),
    Entry("tanh missing on the output", line("h_new", "tanh(c_new)", "c_new"),
          "h leaves the range of -1 to 1 and grows with c.",
          source="Greff et al. 2017, NOAF: output activation and forget gate matter most", chapter=8),
    Entry("candidate through a sigmoid", line("c_tilde", "tanh(", "sigmoid("),
          "The candidate can't be negative, so that nothing negative can be written."),
    Entry("h computed from the old c", line("h_new", "c_new", "c"),
          "h is updated before c is, and shows the cell one step late."),
    Entry("state in the order (c, h)",
          chain(line("h", "0", "1"), line("c", "1", "0"), line("state_new", "(h_new, c_new)", "(c_new, h_new)")),
          "Right in itself, but unroll takes the first part as the output, and would hand on c.",
          "variant", "Flax, Lasagne and TensorFlow; PyTorch, Keras and this book have (h, c)", 9),
    Entry("state taken in as (c, h)", chain(line("h", "0", "1"), line("c", "1", "0")),
          "It is returned as (h, c), so that the two change places at every step.", chapter=9),
    Entry("state returned as (c, h)", line("state_new", "(h_new, c_new)", "(c_new, h_new)"),
          "It is taken in as (h, c), so that the two change places at every step.", chapter=9),
)
OF_PEEPHOLE = (
    Entry("o peeks at the old cell", line("o", "c_new", "c"),
          "The output gate decides what to show of the new cell, so that is what it looks at.",
          source="RecurrentLayers.jl; LuxRecurrentLayers.jl, pull request 29"),
    *(Entry(f"the candidate peeks through {P}", candidate_peeks(P), "Only the gates have peepholes.",
            source="subclasses of Keras's LSTM that append c to the inputs, if they run at all") for P in ("P_c", "P_i", "P_f", "P_o")),
    *(Entry(f"peephole after the sigmoid in {gate}", everywhere(rf" \+ (\w+ [*@] P_{gate})\)", r") + \1"),
            "The gate can leave the range of 0 to 1.", source="Lasagne, issue 448") for gate in "ifo"),
    Entry("peephole after the sigmoid in every gate", everywhere(r" \+ (\w+ [*@] P_.)\)", r") + \1"),
          "The gates can leave the range of 0 to 1.", source="Lasagne, issue 448"),
    *(Entry(f"P cut in the order {''.join(order)}", rename("P", dict(zip("iof", order))),
            "P is packed i,o,f in ONNX, whatever the order of the other blocks.",
            source="opencv, pull request 29931", chapter=9)
      for order in permutations("iof") if order != tuple("iof")),
    Entry("peepholes not used", without(["P_."]), "An LSTM without peepholes: P_i, P_f and P_o change nothing.", chapter=6),
    *(Entry(f"P transposed in {gate}", everywhere(rf"@ P_{gate}\b", f"@ P_{gate}.T"),
            "A full P is square, so that no shape gives its transpose away.", chapter=6) for gate in "ifo"),
)
OF_GRU = (
    Entry("candidate through a sigmoid", line("h_tilde", "tanh(", "sigmoid("),
          "The candidate can't be negative, and so in the end neither can h."),
    Entry("tanh missing on the candidate", line("h_tilde", "tanh(", "("), "Nothing bounds the state."),
    Entry("r not used", chain(line("h_tilde", "(r * h)", "h"), line("h_tilde", "r * ", "")),
          "Without a reset the candidate always sees all of the old state."),
    Entry("b_U outside the reset", line("h_tilde", " + b_U)", ") + b_U"),
          "The candidate's recurrent bias is inside the reset; outside it only adds to b_h.", chapter=9),
    Entry("the old state is added whole", chain(line("h_new", "(1 - z) * h +", "h +"), line("h_new", "z * h +", "h +")),
          "Keeping and taking must add up to 1, or the state grows."),
)


# ---------------------------------------------------------------- families
@dataclass(frozen=True, eq=False)
class Convention:
    """One right way to write a family's cell, and the options of the built-in cell that writes it so."""

    name: str
    equations: dict
    options: dict = field(default_factory=dict)
    who: str = ""


@dataclass(frozen=True)
class Family:
    """A kind of cell, name with article: its right forms, the line in which each block of weights is used, its entries."""

    name: str
    chapter: int
    conventions: tuple
    lines: dict
    own: tuple

    @property
    def gates(self):
        """The blocks that are gates and no candidates: their line has their name."""
        return "".join(block for block, name in self.lines.items() if block == name)

    @property
    def has_cell(self):
        """Whether the state is (h, c)."""
        return "c" in self.lines

    @property
    def has_peepholes(self):
        return "P_i" in self.conventions[0].equations.get("i", "")

    @property
    def needs(self):
        """The parameters without which a cell is not of this family."""
        return [f"{kind}_{block}" for block in self.lines for kind in "WU"] + ["P_i"] * self.has_peepholes

    @cached_property
    def entries(self):
        return (*self.own, *OF_EVERY_CELL, *entries_of_blocks(self.lines), *entries_of_pairs(self.lines, self.gates),
                *entries_of_sigmoids(self.gates))


IFOC = {"i": "i", "f": "f", "o": "o", "c": "c_tilde"}
FAMILIES = {
    "rnn": Family("a plain recurrent cell", 1, (
        Convention("with tanh", RNN, {"nonlinearity": "tanh"}),
        Convention("with relu", RNN | {"h_new": "relu(x @ W_h + h @ U_h + b_h)"}, {"nonlinearity": "relu"},
                   "Le, Jaitly & Hinton 2015"),
    ), {"h": "h_new"}, OF_RNN),
    "lstm": Family("an LSTM", 4, (Convention("with a forget gate", LSTM),), IFOC, OF_LSTM),
    "peephole": Family("a peephole LSTM", 6, (
        Convention("with diagonal peepholes", PEEPHOLE, {"peephole": "diagonal"}, "Gers et al. 2002, ONNX"),
        Convention("with full peepholes", FULL_PEEPHOLE, {"peephole": "full"}, "Chainer"),
    ), IFOC, OF_LSTM + OF_PEEPHOLE),
    "gru": Family("a GRU", 7, (
        Convention("with the reset before the matmul and a z that takes the new candidate",
                   GRU, {"reset": "before", "update": "new"}, "Chung et al. 2014, Haiku"),
        Convention("with the reset before the matmul and a z that keeps the old state",
                   GRU | OLD, {"reset": "before", "update": "old"},
                   "Cho et al. 2014 in its third version, ONNX by default, d2l's formula"),
        Convention("with the reset after the matmul and a z that takes the new candidate",
                   GRU | AFTER, {"reset": "after", "update": "new"}),
        Convention("with the reset after the matmul and a z that keeps the old state",
                   GRU | AFTER | OLD, {"reset": "after", "update": "old"}, "PyTorch, Keras by default"),
    ), {"z": "z", "r": "r", "h": "h_tilde"}, OF_GRU),
}


def family_of(names):
    """The largest family whose weights are all among these names, or None."""
    families = [family for family in FAMILIES.values() if set(family.needs) <= set(names)]
    return max(families, key=lambda family: len(family.needs), default=None)
