"""`diagnose` names every variant and mistake of its catalogue, in cells written independently of it.

The cells here are a learner's: NumPy formulas, their own σ, one part of them spoilt. What is expected of
each is written down by name; no equation of the catalogue is run to make one.
"""
import itertools
from dataclasses import replace

import numpy as np
import pytest

import minigrad as mg
from minigrad.catalogue import (ALL_UNITS_ALIKE, AXES_SWAPPED, FAMILIES, FORGET_BIAS_ABSENT, OF_EVERY_CELL,
                                STORED_TRANSPOSED, step)
from minigrad.diagnosis import diagnose

I, H = 3, 4


# ---------------------------------------------------------------- a learner's cells
def logistic(a):
    return 1 / (1 + np.exp(-a))


class Own:
    """What the learner's cells share: the affine part of a gate, with everything that can go wrong in it."""

    I, H = I, H
    blocks = ""
    reads = {}                # block -> the block whose W, U and b it uses
    bias = {}                 # block -> factor of its bias
    turned = deaf = steep = ""     # blocks with U transposed, blocks that don't see h, gates with σ(2x)

    def __init__(self, **twist):
        for name, value in twist.items():
            assert hasattr(self, name)
            setattr(self, name, value)

    def init(self, rng):
        shapes = {"W": (self.I, self.H), "U": (self.H, self.H), "b": (self.H,)}
        params = {f"{kind}_{block}": rng.standard_normal(shape) for block in self.blocks for kind, shape in shapes.items()}
        return params | self.more(rng)

    def more(self, rng):
        return {}

    def initial_state(self, batch_size):
        return np.zeros((batch_size, self.H))

    def affine(self, p, x, h, block):
        name = self.reads.get(block, block)
        a = x @ p[f"W_{name}"] + self.bias.get(block, 1) * p[f"b_{name}"]
        U = p[f"U_{name}"]
        return a if block in self.deaf else a + h @ (U.T if block in self.turned else U)

    def gate(self, p, x, h, block, peep=0.0):
        a = self.affine(p, x, h, block) + peep
        return logistic(a + a if block in self.steep else a)


class OwnRNN(Own):
    blocks = "h"
    squash = staticmethod(np.tanh)

    def __call__(self, p, x, h):
        return self.squash(self.affine(p, x, h, "h"))


class OwnGRU(Own):
    blocks = "zrh"
    reset, update = "before", "new"
    squash = staticmethod(np.tanh)
    resets = True
    inside = True             # b_U is inside the reset
    keeps = staticmethod(lambda share: 1 - share)

    def more(self, rng):
        return {"b_U": rng.standard_normal(self.H)} if self.reset == "after" else {}

    def __call__(self, p, x, h):
        z, r = self.gate(p, x, h, "z"), self.gate(p, x, h, "r")
        r = r if self.resets else np.ones((len(x), self.H))
        if self.reset == "before":
            a = self.affine(p, x, r * h, "h")
        else:
            alone = self.affine(p, x, np.zeros((len(x), self.H)), "h")
            matmul = self.affine(p, x, h, "h") - alone
            a = alone + (r * (matmul + p["b_U"]) if self.inside else r * matmul + p["b_U"])
        share = z if self.update == "new" else 1 - z
        return self.keeps(share) * h + share * self.squash(a)


class OwnLSTM(Own):
    blocks = "ifoc"
    forward_bias = 0.0
    squash = staticmethod(np.tanh)
    write = staticmethod(lambda i, f, c, new: f * c + i * new)
    show = staticmethod(lambda o, c_new, c: o * np.tanh(c_new))
    takes_ch = gives_ch = False

    def initial_state(self, batch_size):
        return np.zeros((batch_size, self.H)), np.zeros((batch_size, self.H))

    def peep(self, p, gate, c):
        return 0.0

    def candidate(self, p, x, h, c):
        return self.affine(p, x, h, "c")

    def __call__(self, p, x, state):
        h, c = (state[1], state[0]) if self.takes_ch else state
        f = self.full_gate(p, x, h, "f", c, self.forward_bias)
        i = self.full_gate(p, x, h, "i", c)
        c_new = self.write(i, f, c, self.squash(self.candidate(p, x, h, c)))
        o = self.full_gate(p, x, h, "o", self.o_looks_at(c, c_new))
        shown = self.show(o, c_new, c)
        return (c_new, shown) if self.gives_ch else (shown, c_new)

    def full_gate(self, p, x, h, gate, c, more=0.0):
        return self.gate(p, x, h, gate, self.peep(p, gate, c) + more)

    def o_looks_at(self, c, c_new):
        return c_new


class OwnPeephole(OwnLSTM):
    peephole = "diagonal"
    peeps = {}                # gate -> the gate whose P it uses, None for none
    outside = ""              # gates whose peephole comes after the sigmoid
    turned_P = ""
    candidate_peep = None
    o_looks = "new"

    def more(self, rng):
        names = {"P_i", "P_f", "P_o", self.candidate_peep} - {None}
        return {P: rng.standard_normal(self.H if self.peephole == "diagonal" else (self.H, self.H)) for P in sorted(names)}

    def look(self, c, P):
        return c * P if self.peephole == "diagonal" else c @ P

    def peep(self, p, gate, c):
        name = self.peeps.get(gate, self.reads.get(gate, gate))
        if name is None:
            return 0.0
        P = p[f"P_{name if name in 'ifo' else gate}"]
        return self.look(c, P.T if gate in self.turned_P else P)

    def full_gate(self, p, x, h, gate, c, more=0.0):
        if gate in self.outside:
            return self.gate(p, x, h, gate, more) + self.peep(p, gate, c)
        return super().full_gate(p, x, h, gate, c, more)

    def o_looks_at(self, c, c_new):
        return c_new if self.o_looks == "new" else c

    def candidate(self, p, x, h, c):
        a = self.affine(p, x, h, "c")
        return a if self.candidate_peep is None else a + self.look(c, p[self.candidate_peep])


# ---------------------------------------------------------------- what each is called
def twists_of_blocks(lines):
    twists = {}
    for group in (*lines, "".join(lines)) if len(lines) > 1 else lines:
        where = f"in {lines[group]}" if group in lines else "in every line"
        twists |= {f"bias missing {where}": {"bias": dict.fromkeys(group, 0)}, f"bias doubled {where}": {"bias": dict.fromkeys(group, 2)},
                   f"U transposed {where}": {"turned": group}, f"h not used {where}": {"deaf": group}}
    for a, b in itertools.combinations(lines, 2):
        twists[f"weights of {lines[a]} and {lines[b]} swapped"] = {"reads": {a: b, b: a}}
    return twists


def twists_of_gates(gates):
    twists = {f"{a} uses the weights of {b}": {"reads": {a: b}} for a, b in itertools.permutations(gates, 2)}
    return twists | {f"sigmoid of 2x in {gate}": {"steep": gate} for gate in gates} | {"sigmoid of 2x in every gate": {"steep": gates}}


def linear(a):
    return a


IFOC = {"i": "i", "f": "f", "o": "o", "c": "c_tilde"}
RNN = twists_of_blocks({"h": "h_new"}) | {"tanh missing": {"squash": linear}, "a sigmoid for the tanh": {"squash": logistic}}
GRU = twists_of_blocks({"z": "z", "r": "r", "h": "h_tilde"}) | twists_of_gates("zr") | {
    "candidate through a sigmoid": {"squash": logistic}, "tanh missing on the candidate": {"squash": linear},
    "r not used": {"resets": False}, "b_U outside the reset": {"inside": False},
    "the old state is added whole": {"keeps": lambda share: 1.0},
}
LSTM = twists_of_blocks(IFOC) | twists_of_gates("ifo") | {
    "i coupled to f": {"write": lambda i, f, c, new: f * c + (1 - f) * new},
    "f coupled to i": {"write": lambda i, f, c, new: c - i * c + i * new},
    "no forget gate": {"write": lambda i, f, c, new: c + i * new},
    "no input gate": {"write": lambda i, f, c, new: f * c + new},
    "no output gate": {"show": lambda o, c_new, c: np.tanh(c_new)},
    "forget bias added in the forward pass": {"forward_bias": 1.0},
    "tanh missing on the candidate": {"squash": linear}, "candidate through a sigmoid": {"squash": logistic},
    "tanh missing on the output": {"show": lambda o, c_new, c: o * c_new},
    "h computed from the old c": {"show": lambda o, c_new, c: o * np.tanh(c)},
    "state in the order (c, h)": {"takes_ch": True, "gives_ch": True},
    "state taken in as (c, h)": {"takes_ch": True}, "state returned as (c, h)": {"gives_ch": True},
}
PEEPHOLE = LSTM | {
    "o peeks at the old cell": {"o_looks": "old"},
    **{f"the candidate peeks through {P}": {"candidate_peep": P} for P in ("P_c", "P_i", "P_f", "P_o")},
    **{f"peephole after the sigmoid in {gate}": {"outside": gate} for gate in "ifo"},
    "peephole after the sigmoid in every gate": {"outside": "ifo"},
    **{f"P cut in the order {''.join(order)}": {"peeps": dict(zip("iof", order))}
       for order in itertools.permutations("iof") if order != ("i", "o", "f")},
    "peepholes not used": {"peeps": dict.fromkeys("ifo")},
    **{f"P transposed in {gate}": {"turned_P": gate} for gate in "ifo"},
}
# Where the twist changes nothing: a relu is not spoilt like a tanh, only a full P can be transposed.
NO_PLACE = {"with relu": ("tanh missing", "a sigmoid for the tanh"),
            "with diagonal peepholes": tuple(name for name in PEEPHOLE if name.startswith("P transposed")),
            "with the reset before the matmul and a z that takes the new candidate": ("b_U outside the reset",),
            "with the reset before the matmul and a z that keeps the old state": ("b_U outside the reset",)}
OWN = {"rnn": (OwnRNN, RNN), "gru": (OwnGRU, GRU), "lstm": (OwnLSTM, LSTM), "peephole": (OwnPeephole, PEEPHOLE)}
CONVENTIONS = [(like, convention) for like, family in FAMILIES.items() for convention in family.conventions]
every_convention = pytest.mark.parametrize("like, convention", CONVENTIONS, ids=[f"{like} {c.name}" for like, c in CONVENTIONS])


def own_cell(like, convention, **twist):
    """The learner's cell of that convention."""
    options = dict(convention.options)
    if options.get("nonlinearity"):
        twist = {"squash": {"tanh": np.tanh, "relu": lambda a: np.maximum(a, 0)}[options.pop("nonlinearity")]} | twist
    return OWN[like][0](**options, **twist)


def builtin(like, convention):
    return {"rnn": mg.RNNCell, "gru": mg.GRUCell, "lstm": mg.LSTMCell, "peephole": mg.PeepholeLSTMCell}[like](I, H, **convention.options)


# ---------------------------------------------------------------- right cells
@every_convention
@pytest.mark.parametrize("sizes", [(3, 4), (1, 3), (4, 4), (7, 2), (20, 30)], ids=str)
def test_right_cells_are_right(like, convention, sizes):
    for seed in range(3):
        cell = own_cell(like, convention, I=sizes[0], H=sizes[1])
        report = diagnose(cell, like, np.random.default_rng(seed))
        assert (report.kind, report.name, report.also) == ("right", f"{FAMILIES[like].name} {convention.name}", ())
        assert report.ok and repr(report) == str(report) and str(report).startswith("Right: ")


@every_convention
def test_built_in_cells_are_right(like, convention):
    cell = builtin(like, convention)
    for wanted in (like, cell):
        report = diagnose(cell, wanted)
        assert (report.kind, report.name, report.also) == ("right", f"{FAMILIES[like].name} {convention.name}", ())


@every_convention
def test_the_catalogues_right_lines_are_the_shipped_cells(like, convention):
    cell, rng = builtin(like, convention), np.random.default_rng(0)
    params = {name: rng.standard_normal(shape) for name, shape in cell.shapes.items()}
    x, state = rng.standard_normal((5, I)), tuple(rng.standard_normal((5, H)) for _ in cell.state_names)
    state = state if len(state) > 1 else state[0]
    gates, values = cell.gates(params, x, state), step(convention.equations, params, x, state)
    for name, value in gates.items():
        np.testing.assert_allclose(values[f"{name}_new" if name in "hc" else name], value, rtol=1e-13, atol=1e-15)


@every_convention
def test_trained_like_parameters_and_other_dtypes_are_no_mistake(like, convention):
    class Trained(type(own_cell(like, convention))):
        """Large float32 weights come from init, and every step is computed in float32."""

        def init(self, rng):
            return {name: (4 * p).astype("float32") for name, p in super().init(rng).items()}

        def __call__(self, p, x, state):
            p, x, state = mg.tree_map(lambda a: a.astype("float32") if isinstance(a, np.ndarray) else a, (p, x, state))
            return super().__call__(p, x, state)

    twist = {k: v for k, v in vars(own_cell(like, convention)).items()}
    report = diagnose(Trained(**twist), like)
    assert (report.kind, report.also) == ("right", ()), str(report)


# ---------------------------------------------------------------- every entry
def test_every_entry_of_the_catalogue_is_tried():
    for like, family in FAMILIES.items():
        names = {entry.name for entry in family.entries} - {entry.name for entry in OF_EVERY_CELL}
        assert names == set(OWN[like][1])
        assert len({entry.name for entry in family.entries}) == len(family.entries)


ENTRIES = [(like, convention, name) for like, convention in CONVENTIONS for name in OWN[like][1]
           if name not in NO_PLACE.get(convention.name, ())]


@pytest.mark.parametrize("like, convention, name", ENTRIES, ids=[f"{a}, {b.name}: {c}" for a, b, c in ENTRIES])
def test_an_entry_is_recognised_as_itself(like, convention, name):
    report = diagnose(own_cell(like, convention, **OWN[like][1][name]), like)
    entry = next(entry for entry in FAMILIES[like].entries if entry.name == name)
    assert (report.name, report.kind, report.also) == (name, entry.kind, ())
    assert report.what == f"{FAMILIES[like].name} {convention.name}"
    assert report.chapter == (entry.chapter or FAMILIES[like].chapter)
    assert entry.reason in str(report) and entry.source in str(report)
    assert report.lines and all(is_ != should for is_, should in report.lines)
    if entry.kind == "mistake":
        assert report.where in report.lines[0][1] or "state" in name or report.where == "state_new"
        assert report.difference > 1e-4 and report.gradients


@pytest.mark.parametrize("like, a, b", [(like, a, b) for like, a in CONVENTIONS for other, b in CONVENTIONS if like == other and a != b],
                         ids=lambda value: getattr(value, "name", value))
def test_another_convention_than_the_one_asked_for_is_a_variant(like, a, b):
    report = diagnose(own_cell(like, a), builtin(like, b))
    assert (report.kind, report.name, report.what) == ("variant", f"{FAMILIES[like].name} {a.name}", f"{FAMILIES[like].name} {b.name}")


def test_a_mistake_in_another_convention_than_the_one_asked_for():
    """A full P has no place in a diagonal form, so that there the cell is held against its own convention."""
    for like, a in CONVENTIONS:
        for other, b in CONVENTIONS:
            if like == other and a is not b:
                name = next(name for name in OWN[like][1] if name not in NO_PLACE.get(a.name, ()))
                report = diagnose(own_cell(like, a, **OWN[like][1][name]), builtin(like, b))
                assert name in report.name and a.name in report.name and report.where, str(report)


def test_pairs_of_mistakes_are_named_or_at_least_given_as_an_alternative():
    rng = np.random.default_rng(0)
    for like, convention in CONVENTIONS[2:]:
        twists = {name: twist for name, twist in OWN[like][1].items() if name not in NO_PLACE.get(convention.name, ())}
        for _ in range(5):
            one, other = (str(name) for name in rng.choice(list(twists), 2, replace=False))
            if set(twists[one]) & set(twists[other]):            # the learner's cell here can't have both
                continue
            both = own_cell(like, convention, **twists[one], **twists[other])
            report = diagnose(both, like)
            names = (report.name, *report.also)
            alone = [own_cell(like, convention, **twists[name]) for name in (one, other) if name in names]
            if alone:                                            # one hides the other: without o, nothing about o shows
                assert any(same_values(both, cell) for cell in alone), (one, other, names)
            else:
                assert any(one in name and other in name for name in names), (one, other, names)
                assert report.kind in ("mistakes", "variant")


def same_values(a, b):
    params, rng = a.init(np.random.default_rng(0)), np.random.default_rng(1)
    x, state = rng.standard_normal((5, I)), mg.tree_map(lambda s: rng.standard_normal(s.shape), a.initial_state(5))
    return all(np.allclose(u, v) for u, v in zip(mg.tree_leaves(a(params, x, state)), mg.tree_leaves(b(params, x, state))))


# ---------------------------------------------------------------- what init, names and shapes show
class WithInit(OwnLSTM):
    def __init__(self, change):
        self.change = change

    def init(self, rng):
        return self.change(super().init(rng))


def test_forget_bias_absent():
    report = diagnose(WithInit(lambda p: p | {"b_f": np.zeros(H)}), "lstm")
    assert (report.kind, report.name, report.chapter) == ("variant", FORGET_BIAS_ABSENT.name, 4)
    assert diagnose(mg.LSTMCell(I, H), "lstm").kind == diagnose(mg.PeepholeLSTMCell(I, H), "peephole").kind == "right"
    assert diagnose(mg.LSTMCell(I, H, forget_bias=0), "lstm").name == FORGET_BIAS_ABSENT.name


def test_weights_that_are_all_alike():
    report = diagnose(WithInit(lambda p: {k: np.ones_like(v) for k, v in p.items()}), "lstm")
    assert (report.kind, report.name) == ("mistake", ALL_UNITS_ALIKE.name)
    assert diagnose(OwnLSTM(H=1), "lstm").name != ALL_UNITS_ALIKE.name


def test_a_cell_without_biases_and_one_without_peepholes():
    class NoBias(OwnGRU):
        def init(self, rng):
            return {k: v for k, v in super().init(rng).items() if k[0] != "b"}

        def affine(self, p, x, h, block):
            return x @ p[f"W_{block}"] + h @ p[f"U_{block}"]

    report = diagnose(NoBias(), "gru")
    assert (report.kind, report.name) == ("variant", "a GRU without b_z, b_r, b_h")
    report = diagnose(mg.LSTMCell(I, H), "peephole")
    assert (report.kind, report.name) == ("variant", "a peephole LSTM without P_i, P_f, P_o")
    report = diagnose(NoBias(turned="z"), "gru")                  # affine above knows nothing of turned
    assert report.kind == "variant"


def test_a_reset_after_without_a_bias_of_its_own_is_right():
    class NoInnerBias(OwnGRU):
        reset = "after"

        def init(self, rng):
            return {k: v for k, v in super().init(rng).items() if k != "b_U"}

        def __call__(self, p, x, h):
            return super().__call__(p | {"b_U": np.zeros(H)}, x, h)

    report = diagnose(NoInnerBias(), "gru")
    assert (report.kind, report.name) == ("right", "a GRU with the reset after the matmul and a z that takes the new candidate")


class Transposed:
    """A cell whose weights are (H, I), and if ``columns`` whose x and state are (I, B) and (H, B), as papers write W x."""

    def __init__(self, cell, columns, weights=True):
        self.cell, self.columns, self.weights = cell, columns, weights

    def init(self, rng):
        p = self.cell.init(rng)
        return {k: v[:, None] if v.ndim == 1 and self.columns else v.T if self.weights else v for k, v in p.items()}

    def initial_state(self, batch_size):
        state = self.cell.initial_state(batch_size)
        return mg.tree_map(np.transpose, state) if self.columns else state

    def __call__(self, p, x, state):
        p = {k: v.T if k[0] in "WU" and self.weights else v.reshape(-1) if k[0] == "b" else v for k, v in p.items()}
        if not self.columns:
            return self.cell(p, x, state)
        return mg.tree_map(lambda s: s.T, self.cell(p, x.T, mg.tree_map(lambda s: s.T, state)))


@pytest.mark.parametrize("make, like", [(OwnGRU, "gru"), (OwnLSTM, "lstm"), (OwnRNN, "rnn")])
@pytest.mark.parametrize("size", [2, H])
def test_columns_and_stored_transposes(make, like, size):
    stored, columns = STORED_TRANSPOSED.name, AXES_SWAPPED.name
    report = diagnose(Transposed(make(I=size), columns=False), like)
    assert (report.kind, report.name) == ("variant", stored)
    report = diagnose(Transposed(make(I=size), columns=True), like)
    assert (report.kind, report.name) == ("mistakes", f"{columns} and {stored}")
    report = diagnose(Transposed(make(I=size), columns=True, weights=False), like)
    assert (report.kind, report.name) == ("mistake", columns)


def test_x_alone_in_columns():
    class X(OwnGRU):
        def __call__(self, p, x, h):
            return super().__call__(p, x.T, h)

    assert diagnose(X(), "gru").name == AXES_SWAPPED.name


def test_a_cell_of_another_family():
    report = diagnose(OwnPeephole(), "lstm")
    assert (report.kind, report.name, report.chapter) == ("variant", "a peephole LSTM, not an LSTM", 6)
    report = diagnose(OwnGRU(), "rnn")
    assert (report.kind, report.name) == ("variant", "a GRU, not a plain recurrent cell")
    report = diagnose(OwnGRU(), "lstm")
    assert report.kind == "interface" and "those of a GRU" in str(report)


def test_sizes_too_small_to_tell_are_said_so():
    report = diagnose(OwnGRU(I=1, H=1), "gru")
    assert report.kind == "right"
    assert "U transposed in z" in report.also and "can't be told apart" in str(report)
    assert "with the reset after the matmul and a z that takes the new candidate" not in diagnose(OwnGRU(H=2), "gru").also
    report = diagnose(OwnGRU(H=1, bias={"z": 0}), "gru")
    assert report.name == "bias missing in z" and report.also == ()


# ---------------------------------------------------------------- what is in no catalogue
def test_an_unknown_mistake_is_located():
    class Odd(OwnGRU):
        def affine(self, p, x, h, block):
            return super().affine(p, x, h, block) + (0.5 * h @ p["U_z"] if block == "z" else 0.0)

    report = diagnose(Odd(), "gru")
    assert (report.kind, report.right, report.where, report.step) == ("unknown", ("r", "h_tilde"), "h_new", 1)
    assert report.name == "it differs in the line of z"
    assert "with U_z set to 0" in report.reason and "U_z" in report.gradients
    assert "would not notice" in str(report) and "taken alone with the other weights at 0: r, h_tilde." in str(report)


def test_gates_of_the_learners_own_locate_the_first_difference():
    class Odd(mg.LSTMCell):
        def gates(self, p, x, state):
            h, c = state
            return super().gates(p | {"b_o": p["b_o"] ** 2}, x, state)

    report = diagnose(Odd(I, H), "lstm")
    assert (report.kind, report.where, report.step, report.right) == ("unknown", "o", 0, ("i", "f", "c_tilde"))
    assert "with b_o set to 0" in report.reason


def test_two_unknown_mistakes_in_two_lines():
    class Odd(OwnLSTM):
        def affine(self, p, x, h, block):
            return super().affine(p, x, h, block) + (h @ p[f"U_{block}"] ** 2 if block in "io" else 0.0)

    report = diagnose(Odd(), "lstm")
    assert (report.kind, report.right) == ("unknown", ("f", "c_tilde"))
    assert "with U_i and U_o set to 0" in report.reason


def test_a_known_mistake_beside_an_unknown_one():
    class Odd(OwnLSTM):
        def affine(self, p, x, h, block):
            return super().affine(p, x, h, block) + (h @ p[f"U_{block}"] ** 2 if block == "o" else 0.0)

    report = diagnose(Odd(squash=logistic), "lstm")
    assert report.kind == "unknown" and report.right == ("i", "f")
    assert report.name == "candidate through a sigmoid (a known mistake, as far as can be seen) and it differs in the line of o"
    assert "with U_o set to 0" in report.reason


def test_three_mistakes_at_once_still_show_something():
    report = diagnose(OwnGRU(squash=logistic, turned="r", bias={"z": 2}), "gru")
    assert report.kind == "unknown" and "a known mistake" in report.name and report.chapter == 7


def test_nothing_in_common():
    class Other(OwnGRU):
        def __call__(self, p, x, h):
            return np.sin(h + x @ p["W_z"])

    report = diagnose(Other(), "gru")
    assert (report.kind, report.name, report.right) == ("unknown", "no single line explains it", ())


def test_right_values_with_a_wrong_gradient():
    def numbers(a):
        return getattr(a, "value", a)

    class Cut(OwnPeephole):                      # Gers et al. 2002 let no error flow back through the peepholes
        def look(self, c, P):
            return numbers(c) * P

    report = diagnose(Cut(), "peephole")
    assert (report.kind, report.what, report.ok) == ("gradient", "a peephole LSTM with diagonal peepholes", False)

    class Stuck(OwnGRU):
        def gate(self, p, x, h, block, peep=0.0):
            return np.array(super().gate(p, x, h, block))

    report = diagnose(Stuck(), "gru")
    assert report.kind == "gradient" and "cannot be turned into an ndarray" in str(report)


# ---------------------------------------------------------------- cells that stop
def reading(call=None, init=None, start=None):
    class Cell(OwnGRU):
        pass
    for name, f in (("__call__", call), ("init", init), ("initial_state", start)):
        if f is not None:
            setattr(Cell, name, f)
    return Cell()


def not_written(self, p, x, h):
    raise NotImplementedError


def keeps_count(self, p, x, h):
    self.H, count = H, getattr(self, "count", 0)
    self.count = count + 1
    return np.tanh(h + self.count * (x @ p["W_h"]))


def in_place(self, p, x, h):
    h += x @ p["W_h"]
    return h


def into_params(self, p, x, h):
    p["W_h"] *= 2
    return np.tanh(x @ p["W_h"])


STOPS = {
    "not written": (reading(not_written), "error", "cell(params, x, state) is not written yet"),
    "unknown parameter": (reading(lambda self, p, x, h: x @ p["W_q"]), "error", "reads a parameter 'W_q' that its init does not make"),
    "shapes": (reading(lambda self, p, x, h: p["W_z"] @ x), "error", "Two arrays don't fit together"),
    "state": (reading(lambda self, p, x, state: state[0] + len([h for h, c in [state]])), "error", "The state is h alone"),
    "call": (reading(lambda self, p, x: x), "error", "The calls are init(rng)"),
    "forgot return": (reading(lambda self, p, x, h: None), "interface", "is a return missing?"),
    "returns two": (reading(lambda self, p, x, h: (h, h)), "interface", "It gave a tuple of float64 (7, 4), float64 (7, 4)"),
    "wrong shape": (reading(lambda self, p, x, h: h[:, :2]), "interface", "expected h, floats of shape (7, 4)"),
    "integers": (reading(lambda self, p, x, h: h.astype(int)), "interface", "It gave int64 (7, 4)"),
    "objects": (reading(lambda self, p, x, h: h.astype(object)), "interface", "It gave object (7, 4)"),
    "nested lists": (reading(lambda self, p, x, h: h.tolist()), "interface", "It gave a tuple; expected h"),
    "a number": (reading(lambda self, p, x, h: 3.0), "interface", "It gave a float; expected h"),
    "only for some numbers": (reading(lambda self, p, x, h: h + 1 // int(np.all(p["U_z"]))), "error", "ZeroDivisionError"),
    "NaN": (reading(lambda self, p, x, h: h * np.nan), "error", "NaN"),
    "counts": (reading(keeps_count), "error", "two equal calls give two different states"),
    "in place": (reading(in_place), "error", "it writes into its arguments"),
    "into params": (reading(into_params), "error", "it writes into its arguments"),
    "init raises": (reading(init=lambda self, rng: {}["x"]), "error", "init(rng) raised KeyError"),
    "init list": (reading(init=lambda self, rng: [np.ones(3)]), "interface", "init returns no dict of arrays"),
    "names": (reading(init=lambda self, rng: {"Wz": np.ones((I, H))}), "interface", "Its parameters are Wz"),
    "U not square": (reading(init=lambda self, rng: OwnGRU().init(rng) | {"U_z": np.ones((H, I))}), "interface", "expected (I, H) and (H, H)"),
    "b": (reading(init=lambda self, rng: OwnGRU().init(rng) | {"b_r": np.ones(H + 1)}), "interface", "b_r has shape (5,)"),
    "keys": (reading(init=lambda self, rng: {1: np.ones(3)}), "interface", "init returns no dict of arrays"),
    "nested": (reading(init=lambda self, rng: {"z": OwnGRU().init(rng)}), "interface", "init returns no dict of arrays"),
    "W": (reading(init=lambda self, rng: OwnGRU().init(rng) | {"W_h": np.ones((I + 1, H))}), "interface", "W_h has shape (4, 4)"),
    "start": (reading(start=lambda self, B: np.zeros(H)), "interface", "initial_state(7) gives no state of a GRU"),
    "start pair": (reading(start=lambda self, B: (np.zeros((B, H)), np.zeros((B, H)))), "interface", "initial_state(7) gives no state"),
    "a class": (OwnGRU, "interface", "make one first"),
    "nothing": (None, "interface", "A cell is an object with init(rng)"),
    "a function": (np.tanh, "interface", "A cell is an object with init(rng)"),
}


@pytest.mark.parametrize("cell, kind, words", STOPS.values(), ids=STOPS)
def test_a_cell_that_stops_is_reported_and_raises_nothing(cell, kind, words):
    report = diagnose(cell, "gru")
    assert report.kind == kind and not report.ok, str(report)
    assert words in str(report)
    assert "Traceback" not in str(report)


def test_an_error_shows_the_learners_line():
    class Cell(OwnGRU):
        def __call__(self, p, x, h):
            z = logistic(x @ p["W_z"] + h @ p["W_z"])      # the mistake
            return z

    assert "in the line `z = logistic(x @ p[\"W_z\"] + h @ p[\"W_z\"])" in str(diagnose(Cell(), "gru"))


def test_a_list_for_the_state_and_other_parameters_are_fine():
    class Cell(OwnLSTM):
        def more(self, rng):
            return {"W_y": rng.standard_normal((H, 2)), "scale": rng.standard_normal(()), "tanh": np.ones(2), "x": np.ones(1)}

        def initial_state(self, batch_size):
            return list(super().initial_state(batch_size))

        def __call__(self, p, x, state):
            return list(super().__call__(p, x, state))

    assert diagnose(Cell(), "lstm").kind == "right"


@pytest.mark.parametrize("like", ["GRU", None, mg.GRUCell, OwnGRU(), 3])
def test_like_must_be_a_family_or_a_built_in_cell(like):
    with pytest.raises(ValueError, match="diagnose: like is .*, expected one of rnn, lstm, peephole, gru, or a built-in cell"):
        diagnose(mg.GRUCell(I, H), like)


def test_every_pair_of_entries_is_an_equation_that_parses():
    """No two edits may leave a line that is no expression, in any order of the two."""
    for _, convention in CONVENTIONS:
        family = next(family for family in FAMILIES.values() if convention in family.conventions)
        for first, second in itertools.permutations(family.entries, 2):
            for text in second.edit(first.edit(convention.equations)).values():
                compile(text, "an equation", "eval")
