"""The numbered equations of chapter 7, each worked out in two ways that share no code.

One side is the package's cells (what the chapter builds is asserted there to be `mg.GRUCell`), the
other the equation, one number after the other where that is possible. All weights, biases and
states are random and non-zero, T >= 3, B, I and H differ.
"""

import math

import numpy as np
import pytest

import minigrad as mg
from by_hand import held, slope

equation = pytest.mark.equation
T, B, I, H = 4, 3, 2, 5


def sigma(a):
    return 1 / (1 + np.exp(-a))


def random_params(cell, seed=70):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape) for name, shape in cell.shapes.items()}


@pytest.fixture
def run():
    """A GRU's parameters, inputs and first state, and every gate and state by the package's own cell."""
    cell = mg.GRUCell(I, H)
    rng = np.random.default_rng(71)
    p, xs, h0 = random_params(cell), rng.normal(size=(T, B, I)), rng.uniform(-1, 1, (B, H))
    values = mg.gate_values(cell, p, xs, h0)
    before = np.concatenate([h0[None], values["h"][:-1]])          # h_{t-1}
    return {"p": p, "xs": xs, "h0": h0, "before": before, **values}


def affine(p, gate, x, seen, j):
    """[x W + seen U + b]_j for one sample, summed in plain Python."""
    return (sum(x[i] * p[f"W_{gate}"][i, j] for i in range(len(x)))
            + sum(seen[k] * p[f"U_{gate}"][k, j] for k in range(len(seen))) + p[f"b_{gate}"][j])


def every_entry(f):
    return np.array([[[f(t, b, j) for j in range(H)] for b in range(B)] for t in range(T)])


# ---------------------------------------------------------------- from the LSTM
@equation("eq-gru-lstm", code="minigrad.cells.LSTMCell.gates")
def test_the_lstm_that_is_recalled():
    cell = mg.LSTMCell(I, H)
    rng = np.random.default_rng(72)
    p, x = random_params(cell), rng.normal(size=(B, I))
    h, c = rng.uniform(-1, 1, (B, H)), rng.normal(size=(B, H))
    h_new, c_new = cell(p, x, (h, c))
    for b in range(B):
        for j in range(H):
            i, f, o = (1 / (1 + math.exp(-affine(p, gate, x[b], h[b], j))) for gate in "ifo")
            c_j = f * c[b, j] + i * math.tanh(affine(p, "c", x[b], h[b], j))
            assert math.isclose(c_new[b, j], c_j, rel_tol=1e-12)
            assert math.isclose(h_new[b, j], o * math.tanh(c_j), rel_tol=1e-12)


@equation("eq-gru-coupled", code="minigrad.cells.LSTMCell.gates")
def test_an_lstm_whose_forget_weights_are_minus_its_input_weights_is_coupled():
    cell = mg.LSTMCell(I, H)
    rng = np.random.default_rng(73)
    p, xs = random_params(cell), rng.normal(size=(T, B, I))
    p |= {"W_f": -p["W_i"], "U_f": -p["U_i"], "b_f": -p["b_i"]}
    h0, c0 = rng.uniform(-1, 1, (B, H)), rng.uniform(-1, 1, (B, H))
    values = mg.gate_values(cell, p, xs, (h0, c0))
    before, z = np.concatenate([c0[None], values["c"][:-1]]), values["i"]
    assert np.allclose(values["c"], (1 - z) * before + z * values["c_tilde"], rtol=1e-12)
    assert np.all(np.abs(values["c"]) < 1)


@equation("eq-gru-output-moves", code="minigrad.cells.GRUCell.gates")
def test_what_the_candidate_sees_through_the_output_gate_and_through_the_reset_gate(run):
    cell = mg.LSTMCell(I, H)
    p, xs = random_params(cell), run["xs"]
    values = mg.gate_values(cell, p, xs, (run["h0"], 0.5 * run["h0"]))
    for t in range(1, T):
        seen = values["o"][t - 1] * np.tanh(values["c"][t - 1])
        assert np.allclose(values["c_tilde"][t], np.tanh(xs[t] @ p["W_c"] + seen @ p["U_c"] + p["b_c"]), rtol=1e-12)
    q, seen = run["p"], run["r"] * run["before"]
    assert np.allclose(run["h_tilde"], np.tanh(xs @ q["W_h"] + seen @ q["U_h"] + q["b_h"]), rtol=1e-12)


# ---------------------------------------------------------------- the cell
@equation("eq-gru-z", code="minigrad.cells.GRUCell.gates")
@equation("eq-gru-r", code="minigrad.cells.GRUCell.gates")
@pytest.mark.parametrize("gate", ["z", "r"])
def test_the_gates(run, gate):
    wanted = every_entry(lambda t, b, j: 1 / (1 + math.exp(-affine(run["p"], gate, run["xs"][t, b], run["before"][t, b], j))))
    assert np.allclose(run[gate], wanted, rtol=1e-12)


@equation("eq-gru-candidate", code="minigrad.cells.GRUCell.gates")
def test_the_candidate(run):
    def candidate(t, b, j):
        seen = [run["r"][t, b, k] * run["before"][t, b, k] for k in range(H)]
        return math.tanh(affine(run["p"], "h", run["xs"][t, b], seen, j))

    assert np.allclose(run["h_tilde"], every_entry(candidate), rtol=1e-12)


@equation("eq-gru-update", code="minigrad.cells.GRUCell.gates")
@equation("eq-gru-leaky", code="minigrad.cells.GRUCell.gates")
def test_the_update_and_the_same_as_a_leaky_integrator(run):
    z, old, new = run["z"], run["before"], run["h_tilde"]
    states, last = mg.unroll(mg.GRUCell(I, H), run["p"], run["xs"], run["h0"])
    assert np.allclose(states, every_entry(lambda t, b, j: (1 - z[t, b, j]) * old[t, b, j] + z[t, b, j] * new[t, b, j]))
    assert np.allclose(states - old, z * (new - old), atol=1e-14)
    assert np.array_equal(last, states[-1])


@equation("eq-gru-count", code="minigrad.cells.Cell.shapes")
@pytest.mark.parametrize("inputs, units", [(1, 1), (2, 5), (8, 128), (128, 64)])
def test_the_number_of_parameters(inputs, units):
    def count(cell):
        return sum(a.size for a in cell.init(np.random.default_rng(0)).values())

    assert count(mg.GRUCell(inputs, units)) == 3 * (inputs * units + units**2 + units)
    assert 4 * count(mg.GRUCell(inputs, units)) == 3 * count(mg.LSTMCell(inputs, units))


# ---------------------------------------------------------------- the leaky integrator
@equation("eq-gru-bound", code="minigrad.cells.GRUCell.gates")
def test_the_state_is_bounded(run):
    cell, rng = mg.GRUCell(I, H), np.random.default_rng(74)
    wild = {name: 20 * a for name, a in run["p"].items()}
    outside = 3 * rng.choice([-1.0, 1.0], (B, H))
    for start in (np.zeros((B, H)), outside):
        values = mg.gate_values(cell, wild, 10 * rng.normal(size=(50, B, I)), start)
        before = np.concatenate([start[None], values["h"][:-1]])
        tight = np.maximum(np.abs(before), np.abs(values["h_tilde"]))
        assert np.all(np.abs(values["h"]) <= tight * (1 + 1e-15))
        assert np.all(tight <= np.maximum(np.abs(before), 1))
    assert np.any(np.abs(values["h"][0]) > 1)                      # the bound needs its max


@equation("eq-gru-decay", code="minigrad.cells.GRUCell.gates")
def test_the_distance_to_a_constant_candidate_shrinks_by_a_constant_factor(run):
    z = np.array([0.02, 0.1, 0.5, 0.9, 0.99])
    p = held(run["p"], z=np.log(z / (1 - z)))
    p["W_h"][:] = p["U_h"][:] = 0
    states, _ = mg.unroll(mg.GRUCell(I, H), p, run["xs"], run["h0"])
    target = np.tanh(p["b_h"])
    for t in range(T):
        assert np.allclose(states[t] - target, (1 - z) ** (t + 1) * (run["h0"] - target), rtol=1e-9)


@equation("eq-gru-tau", code="minigrad.cells.GRUCell.gates")
@pytest.mark.parametrize("z", [0.5, 0.1, 0.02, 0.004])
def test_the_time_constant(z):
    cell = mg.GRUCell(1, 1)
    p = {name: np.zeros(shape) for name, shape in cell.shapes.items()} | {"b_z": np.full(1, math.log(z / (1 - z)))}
    states, _ = mg.unroll(cell, p, np.zeros((400, 1, 1)), np.ones((1, 1)), fused=False)
    tau = -1 / math.log(1 - z)
    crossing = np.interp(1, -np.log(states[:, 0, 0]), np.arange(1, 401))      # -ln h grows by 1/τ a step
    assert math.isclose(crossing, tau, rel_tol=1e-6)
    assert abs(tau - 1 / z) < 0.6                                             # 1/z - 1/2 - z/12 - ...


# ---------------------------------------------------------------- the conventions
@equation("eq-gru-keep", code="minigrad.cells.GRUCell.gates")
def test_z_that_keeps_the_old(run):
    values = mg.gate_values(mg.GRUCell(I, H, update="old"), run["p"], run["xs"], run["h0"])
    old = run["h0"]
    for t in range(T):
        z, candidate = values["z"][t], values["h_tilde"][t]
        old = np.array([[z[b, j] * old[b, j] + (1 - z[b, j]) * candidate[b, j] for j in range(H)] for b in range(B)])
        assert np.allclose(values["h"][t], old, rtol=1e-12)
    assert not np.allclose(values["h"], run["h"], atol=0.1)


@equation("eq-gru-flip", code="minigrad.cells.GRUCell.gates")
def test_negating_the_update_gate_turns_one_meaning_into_the_other(run):
    a = np.linspace(-30, 30, 601)
    assert np.allclose(1 - mg.sigmoid(a), mg.sigmoid(-a), rtol=0, atol=1e-15)
    assert np.allclose(mg.sigmoid(-a), np.exp(-a) / (1 + np.exp(-a)), rtol=0, atol=1e-15)
    flipped = run["p"] | {name: -run["p"][name] for name in ("W_z", "U_z", "b_z")}
    for reset in ("before", "after"):
        extra = {"b_U": np.arange(1.0, H + 1)} if reset == "after" else {}
        new, _ = mg.unroll(mg.GRUCell(I, H, reset, "new"), run["p"] | extra, run["xs"], run["h0"])
        old, _ = mg.unroll(mg.GRUCell(I, H, reset, "old"), flipped | extra, run["xs"], run["h0"])
        assert np.allclose(new, old, rtol=0, atol=1e-13)


@equation("eq-gru-after", code="minigrad.cells.GRUCell.gates")
def test_the_reset_after_the_product(run):
    cell = mg.GRUCell(I, H, reset="after")
    p = random_params(cell)
    values = mg.gate_values(cell, p, run["xs"], run["h0"])
    before = np.concatenate([run["h0"][None], values["h"][:-1]])

    def candidate(t, b, j):
        heard = sum(before[t, b, k] * p["U_h"][k, j] for k in range(H)) + p["b_U"][j]
        given = sum(run["xs"][t, b, i] * p["W_h"][i, j] for i in range(I)) + p["b_h"][j]
        return math.tanh(given + values["r"][t, b, j] * heard)

    assert np.allclose(values["h_tilde"], every_entry(candidate), rtol=1e-12)


def reset_gap(p, x, h):
    """What stands inside the tanh, before minus after, from the candidates of the package's two cells."""
    one = mg.GRUCell(I, H).gates({name: a for name, a in p.items() if name != "b_U"}, x, h)
    other = mg.GRUCell(I, H, reset="after").gates(p, x, h)
    return np.arctanh(one["h_tilde"]) - np.arctanh(other["h_tilde"])


@equation("eq-gru-gap", code="minigrad.cells.GRUCell.gates")
def test_the_gap_between_the_two_resets(run):
    p = {name: 0.3 * a for name, a in random_params(mg.GRUCell(I, H, reset="after")).items()}
    x, h = run["xs"][0], run["h0"]
    r = sigma(x @ p["W_r"] + h @ p["U_r"] + p["b_r"])
    gap = np.array([[sum((r[b, k] - r[b, j]) * h[b, k] * p["U_h"][k, j] for k in range(H)) - r[b, j] * p["b_U"][j]
                     for j in range(H)] for b in range(B)])
    assert np.allclose(reset_gap(p, x, h), gap, atol=1e-12) and np.abs(gap).min() > 1e-4

    p["b_U"][:] = 0
    diagonal = p | {"U_h": np.diag(np.diag(p["U_h"]))}
    even = held(p, r=0.7)
    assert np.allclose(reset_gap(diagonal, x, h), 0, atol=1e-12)
    assert np.allclose(reset_gap(even, x, h), 0, atol=1e-12)
    assert np.allclose(reset_gap(p, x, 0 * h), 0, atol=1e-12)
    # the two conditions are needed: break one connected pair of gates, or put b_U back
    k, j = 1, 3
    uneven = held(p, r=np.where(np.arange(H) == k, 0.2, 0.7))
    at_k = np.eye(H)[[k] * B]
    assert np.abs(reset_gap(uneven, x, at_k)[:, j]).min() > 1e-3
    assert np.abs(reset_gap(even | {"b_U": np.full(H, 0.1)}, x, 0 * h)).min() > 1e-3


# ---------------------------------------------------------------- backwards
def nudged_loss(run, weights):
    """The loss of a run, as a function of what is added to an inner value at one step. Written out once more."""
    p = run["p"]

    def loss(t_nudged, name, nudge, params=p, xs=run["xs"]):
        def add(t, what):
            return nudge if t == t_nudged and name == what else 0.0

        h, total = run["h0"], 0.0
        for t in range(T):
            h = h + add(t, "h_before")
            a_z = xs[t] @ params["W_z"] + h @ params["U_z"] + params["b_z"] + add(t, "a_z")
            a_r = xs[t] @ params["W_r"] + h @ params["U_r"] + params["b_r"] + add(t, "a_r")
            a_h = xs[t] @ params["W_h"] + (sigma(a_r) * h) @ params["U_h"] + params["b_h"] + add(t, "a_h")
            h = h + sigma(a_z) * (np.tanh(a_h) - h) + add(t, "h_after")
            total += np.sum(weights[t] * h)
        return total

    return loss


@pytest.fixture
def deltas(run):
    """Every δ of the chapter by finite differences, (T, B, H) each; they know nothing of its equations."""
    loss = nudged_loss(run, np.random.default_rng(75).normal(size=(T, B, H)))
    names = ("h_after", "h_before", "a_z", "a_r", "a_h")
    return {name: np.stack([slope(loss, t, name, (B, H)) for t in range(T)]) for name in names}


def close(found, wanted):
    return np.allclose(found, wanted, rtol=1e-6, atol=1e-8)


@equation("eq-gru-jacobian", code="minigrad.cells.GRUCell.gates")
def test_the_four_paths_are_the_jacobian(run):
    p, x, h = run["p"], run["xs"][0], run["h0"]
    cell, width = mg.GRUCell(I, H), 1e-6
    for b in range(B):
        z, r, candidate, old = run["z"][0, b], run["r"][0, b], run["h_tilde"][0, b], h[b]
        inner = np.diag(z * (1 - candidate**2))
        paths = [np.diag(1 - z), p["U_z"] @ np.diag((candidate - old) * z * (1 - z)), np.diag(r) @ p["U_h"] @ inner,
                 p["U_r"] @ np.diag(old * r * (1 - r)) @ p["U_h"] @ inner]
        rows = [(cell(p, x[[b]], h[[b]] + width * e) - cell(p, x[[b]], h[[b]] - width * e))[0] / (2 * width) for e in np.eye(H)]
        assert np.allclose(sum(paths), rows, atol=1e-8)
        assert min(np.abs(path).max() for path in paths) > 1e-3


@equation("eq-gru-back-gates")
def test_the_gradients_inside_the_gates(run, deltas):
    z, r, candidate, old, d_h = run["z"], run["r"], run["h_tilde"], run["before"], deltas["h_after"]
    assert close(deltas["a_z"], d_h * (candidate - old) * z * (1 - z))
    assert close(deltas["a_h"], d_h * z * (1 - candidate**2))
    assert close(deltas["a_r"], (deltas["a_h"] @ run["p"]["U_h"].T) * old * r * (1 - r))


@equation("eq-gru-back-state")
def test_the_gradient_of_the_state_before(run, deltas):
    p = run["p"]
    wanted = (deltas["h_after"] * (1 - run["z"]) + deltas["a_z"] @ p["U_z"].T
              + (deltas["a_h"] @ p["U_h"].T) * run["r"] + deltas["a_r"] @ p["U_r"].T)
    assert close(deltas["h_before"], wanted)


@equation("eq-gru-back-params", code="minigrad.kernels.GRUBeforeKernel.of_params")
def test_the_gradients_of_the_parameters(run, deltas):
    p, xs, h0 = run["p"], run["xs"], run["h0"]
    weights = np.random.default_rng(75).normal(size=(T, B, H))
    engine = mg.grad(lambda p: (weights * mg.unroll(mg.GRUCell(I, H), p, xs, h0)[0]).sum())(p)
    for gate in "zrh":
        d_a = deltas[f"a_{gate}"]
        seen = run["r"] * run["before"] if gate == "h" else run["before"]
        assert close(engine[f"W_{gate}"], sum(xs[t].T @ d_a[t] for t in range(T)))
        assert close(engine[f"U_{gate}"], sum(seen[t].T @ d_a[t] for t in range(T)))
        assert close(engine[f"b_{gate}"], sum(d_a[t, b] for t in range(T) for b in range(B)))


# ---------------------------------------------------------------- the exercise
@equation("eq-gru-mgu", code="minigrad.cells.GRUCell.gates")
def test_the_minimal_gated_unit_is_a_gru_with_one_gate(run):
    p = {name: a for name, a in run["p"].items() if name[-1] != "r"}
    tied = p | {f"{kind}_r": p[f"{kind}_z"] for kind in "WUb"}
    states, _ = mg.unroll(mg.GRUCell(I, H), tied, run["xs"], run["h0"])
    h = run["h0"]
    for t in range(T):
        f = np.array([[1 / (1 + math.exp(-affine(p, "z", run["xs"][t, b], h[b], j))) for j in range(H)] for b in range(B)])
        candidate = [[math.tanh(affine(p, "h", run["xs"][t, b], f[b] * h[b], j)) for j in range(H)] for b in range(B)]
        h = (1 - f) * h + f * np.array(candidate)
        assert np.allclose(states[t], h, rtol=1e-12)
