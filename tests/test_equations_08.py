"""The numbered equations of chapter 8, each worked out in two ways that share no code.

One side is minigrad.variants (what the chapter builds is asserted there to be the same), the other the equation, one
number after the other in plain Python. All weights, biases and states are random and non-zero, T >= 3, B, I, H differ.
"""

import math

import numpy as np
import pytest

import minigrad as mg
from minigrad import variants

equation = pytest.mark.equation
T, B, I, H = 4, 3, 2, 5


def random_params(cell, seed=80):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape) for name, shape in cell.shapes.items()}


def random_state(cell, seed=81):
    rng = np.random.default_rng(seed)
    return mg.tree_map(lambda s: rng.normal(size=s.shape), cell.initial_state(B))


XS = np.random.default_rng(82).normal(size=(T, B, I))


def sigma(a):
    return 1 / (1 + math.exp(-a))


def affine(p, gate, x, h, j):
    """[x W + h U + b]_j for one sample, summed in plain Python."""
    return (sum(x[i] * p[f"W_{gate}"][i, j] for i in range(I)) + sum(h[k] * p[f"U_{gate}"][k, j] for k in range(H))
            + p[f"b_{gate}"][j])


def by_hand(p, x, h, c, i=None, f=None, o=None, g=math.tanh, out=math.tanh, coupled=None, peepholes=True):
    """One sample's step, unit by unit: the new h and c. A gate given as a number is that; coupled: "i" or "f" follows the other."""
    new_h, new_c = [], []

    def gate(name, j, seen):
        return sigma(affine(p, name, x, h, j) + (seen * p[f"P_{name}"][j] if peepholes else 0))

    for j in range(H):
        f_j = f if f is not None else None if coupled == "f" else gate("f", j, c[j])
        i_j = i if i is not None else 1 - f_j if coupled == "i" else gate("i", j, c[j])
        f_j = 1 - i_j if coupled == "f" else f_j
        new_c.append(f_j * c[j] + i_j * g(affine(p, "c", x, h, j)))
        new_h.append((o if o is not None else gate("o", j, new_c[j])) * out(new_c[j]))
    return new_h, new_c


def check(cell, **changes):
    """Every step of the cell from the package's own last state, against ``by_hand`` with these changes."""
    p, state = random_params(cell), random_state(cell)
    for x in XS:
        new = cell(p, x, state)
        for b in range(B):
            h, c = by_hand(p, x[b], state[0][b], state[1][b], **changes)
            np.testing.assert_allclose(new[0][b], h, rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(new[1][b], c, rtol=1e-12, atol=1e-14)
        state = new


@equation("eq-family-vanilla", code=("minigrad.variants.Vanilla.gates", "minigrad.cells.PeepholeLSTMCell.gates"))
@pytest.mark.parametrize("kinds", [(variants.Vanilla, mg.PeepholeLSTMCell)])
def test_vanilla(kinds):
    for kind in kinds:
        check(kind(I, H))


@equation("eq-family-nig", code="minigrad.variants.NIG.i_and_f")
def test_no_input_gate():
    check(variants.NIG(I, H), i=1)


@equation("eq-family-nfg", code="minigrad.variants.NFG.i_and_f")
def test_no_forget_gate():
    check(variants.NFG(I, H), f=1)


@equation("eq-family-nog", code="minigrad.variants.NOG.o")
def test_no_output_gate():
    check(variants.NOG(I, H), o=1)


@equation("eq-family-niaf", code="minigrad.variants.Vanilla.gates")
def test_no_input_activation():
    check(variants.NIAF(I, H), g=lambda a: a)


@equation("eq-family-noaf", code="minigrad.variants.Vanilla.gates")
def test_no_output_activation():
    check(variants.NOAF(I, H), out=lambda c: c)


@equation("eq-family-np", code="minigrad.cells.LSTMCell.gates")
def test_no_peepholes():
    check(mg.LSTMCell(I, H), peepholes=False)
    plain, vanilla = mg.LSTMCell(I, H), variants.Vanilla(I, H)
    p, state = random_params(plain), random_state(plain)
    zero = {f"P_{gate}": np.zeros(H) for gate in "ifo"}
    np.testing.assert_allclose(mg.unroll(vanilla, p | zero, XS, state)[0], mg.unroll(plain, p, XS, state, fused=False)[0], rtol=1e-12, atol=1e-14)
    assert variants.FAMILY["NP"] is mg.LSTMCell


@equation("eq-family-cifg", code="minigrad.variants.CIFG.i_and_f")
def test_coupled_by_the_forget_gate():
    check(variants.CIFG(I, H), coupled="i")


@equation("eq-family-cifg-by-input", code="minigrad.variants.CIFGByInput.i_and_f")
def test_coupled_by_the_input_gate():
    check(variants.CIFGByInput(I, H), coupled="f")


@equation("eq-family-cifg-flip", code=("minigrad.variants.CIFG.i_and_f", "minigrad.variants.CIFGByInput.i_and_f"))
def test_negated_weights_take_one_coupling_to_the_other():
    theirs, ours = variants.CIFG(I, H), variants.CIFGByInput(I, H)
    p, state = random_params(theirs), random_state(theirs)
    rest = {name: a for name, a in p.items() if name[-1] != "f"}
    flipped = rest | {"W_i": -p["W_f"], "U_i": -p["U_f"], "P_i": -p["P_f"], "b_i": -p["b_f"]}
    wanted, _ = mg.unroll(theirs, p, XS, state)
    np.testing.assert_allclose(mg.unroll(ours, flipped, XS, state)[0], wanted, rtol=1e-12, atol=1e-14)
    for name in ("W_i", "U_i", "P_i", "b_i"):
        assert not np.allclose(mg.unroll(ours, flipped | {name: -flipped[name]}, XS, state)[0], wanted, atol=1e-3), name


@equation("eq-family-bound", code="minigrad.variants.CIFG.i_and_f")
@pytest.mark.parametrize("kind", [variants.CIFG, variants.CIFGByInput])
def test_a_coupled_cell_is_bounded(kind):
    cell = kind(I, H)
    p, state = random_params(cell), mg.tree_map(lambda s: 3 * s, random_state(cell))
    values = mg.gate_values(cell, p, XS, state)
    before = np.concatenate([state[1][None], values["c"][:-1]])
    bound = np.maximum(np.abs(before), np.abs(values["c_tilde"]))
    assert np.all(np.abs(values["c"]) <= bound) and np.all(bound <= np.maximum(np.abs(before), 1))
    assert np.any(np.abs(values["c"]) > np.abs(values["c_tilde"])) and np.any(np.abs(before) > 1)
    free = mg.gate_values(variants.NFG(I, H), random_params(variants.NFG(I, H)), np.ones((50, B, I)))["c"]
    assert np.abs(free).max() > 1                                            # without the coupling there is no bound
    if kind is variants.CIFGByInput:                                         # the mark's code
        mg.unroll(variants.CIFG(I, H), random_params(variants.CIFG(I, H)), XS)


@equation("eq-family-fgr", code="minigrad.variants.FGR.gates")
def test_full_gate_recurrence():
    cell = variants.FGR(I, H)
    p, state = random_params(cell), random_state(cell)
    assert sum(name in p for name in (f"U_{old}{new}" for old in "ifo" for new in "ifo")) == 9
    for x in XS:
        new = cell(p, x, state)
        h, c, *old = state
        for b in range(B):
            for j in range(H):
                def gate(name, seen):
                    more = sum(old[n][b, k] * p[f"U_{was}{name}"][k, j] for n, was in enumerate("ifo") for k in range(H))
                    return sigma(affine(p, name, x[b], h[b], j) + seen * p[f"P_{name}"][j] + more)

                i, f = gate("i", c[b, j]), gate("f", c[b, j])
                c_j = f * c[b, j] + i * math.tanh(affine(p, "c", x[b], h[b], j))
                o = gate("o", c_j)
                np.testing.assert_allclose([part[b, j] for part in new], [o * math.tanh(c_j), c_j, i, f, o], rtol=1e-12, atol=1e-14)
        state = new


@equation("eq-family-gru", code="minigrad.cells.GRUCell.gates")
@equation("eq-family-mgu", code="minigrad.variants.MGU.gates")
@equation("eq-family-shared", code="minigrad.variants.in_parent")
def test_the_gru_and_the_mgu():
    gru, mgu = mg.GRUCell(I, H), variants.MGU(I, H)
    for cell, z, r in ((gru, "z", "r"), (mgu, "f", "f")):
        p, h = random_params(cell), random_state(cell)
        for x in XS:
            new = cell(p, x, h)
            for b in range(B):
                gate_r = [sigma(affine(p, r, x[b], h[b], j)) for j in range(H)]
                seen = [gate_r[j] * h[b, j] for j in range(H)]
                for j in range(H):
                    gate_z = sigma(affine(p, z, x[b], h[b], j))
                    wanted = (1 - gate_z) * h[b, j] + gate_z * math.tanh(affine(p, "h", x[b], seen, j))
                    assert math.isclose(new[b, j], wanted, rel_tol=1e-11)
            h = new
    p, h = random_params(mgu), random_state(mgu)
    parent, q = variants.in_parent(mgu, p)
    assert parent == gru
    values = mg.gate_values(gru, q, XS, h)
    np.testing.assert_array_equal(values["z"], values["r"])
    np.testing.assert_allclose(values["h"], mg.unroll(mgu, p, XS, h)[0], rtol=1e-12, atol=1e-14)


@equation("eq-family-open", code="minigrad.variants.in_parent")
@pytest.mark.parametrize("gate, name", [("i", "NIG"), ("f", "NFG"), ("o", "NOG")])
def test_a_gate_held_open_by_its_bias(gate, name):
    cell = variants.FAMILY[name](I, H)
    p, state = random_params(cell), random_state(cell)
    parent, q = variants.in_parent(cell, p)
    assert parent == mg.PeepholeLSTMCell(I, H) and np.all(q[f"b_{gate}"] == 50)
    assert not any(np.any(q[f"{kind}_{gate}"]) for kind in "WUP")
    values = mg.gate_values(parent, q, XS, state)
    assert np.all(values[gate] == 1)
    np.testing.assert_allclose(values["h"], mg.unroll(cell, p, XS, state)[0], rtol=1e-12, atol=1e-14)


@equation("eq-family-count", code="minigrad.cells.Cell.shapes")
@equation("eq-family-madds", code="minigrad.cells.Cell.shapes")
@pytest.mark.parametrize("name, n, k, m", [
    ("vanilla", 4, 3, 0), ("NIG", 3, 2, 0), ("NFG", 3, 2, 0), ("NOG", 3, 2, 0), ("NIAF", 4, 3, 0), ("NOAF", 4, 3, 0),
    ("CIFG", 3, 2, 0), ("NP", 4, 0, 0), ("FGR", 4, 3, 9), ("GRU", 3, 0, 0), ("MGU", 2, 0, 0)])
def test_counts(name, n, k, m):
    cell = variants.FAMILY[name](I, H)
    params = cell.init(np.random.default_rng(0))
    assert sum(a.size for a in params.values()) == n * (I * H + H * H + H) + k * H + m * H * H
    products = []

    class Spy(np.ndarray):
        def __array_ufunc__(self, ufunc, method, *inputs, **options):
            plain = [np.asarray(a) for a in inputs]
            if ufunc is np.matmul:
                products.append(plain[0].shape[-1] * plain[1].shape[-1])
            return getattr(ufunc, method)(*plain, **options).view(Spy)

    cell.gates(*mg.tree_map(lambda a: a.view(Spy), (params, XS[0], random_state(cell))))
    assert sum(products) == n * (I * H + H * H) + m * H * H
