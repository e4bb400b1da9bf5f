"""The numbered equations of chapter 1, each worked out in two ways that share no code.

One side is the package's plain cell, the other the equation in plain Python. All weights, biases and states are
random and non-zero, T >= 3, B, I and H differ.
"""

import math

import numpy as np
import pytest

import minigrad as mg

equation = pytest.mark.equation
T, B, I, H = 4, 3, 2, 5


@pytest.fixture
def run():
    """Parameters, inputs and first state of a plain cell, and its states by the package, stepped."""
    cell = mg.RNNCell(I, H)
    rng = np.random.default_rng(10)
    p = {name: rng.normal(size=shape) for name, shape in cell.shapes.items()}
    xs, h0 = rng.normal(size=(T, B, I)), rng.uniform(-1, 1, (B, H))
    hs, _ = mg.unroll(cell, p, xs, h0, fused=False)
    return {"cell": cell, "p": p, "xs": xs, "h0": h0, "hs": hs, "before": np.concatenate([h0[None], hs[:-1]])}


def pre_activation(p, x, h, j):
    """a_j of one row, summed in plain Python."""
    return (sum(x[i] * p["W_h"][i, j] for i in range(I)) + sum(h[k] * p["U_h"][k, j] for k in range(H)) + p["b_h"][j])


@equation("eq-state-recursion", code="minigrad.stepping.step_along")
def test_the_state_before_is_all_of_the_past_that_a_step_uses(run):
    cell, p, xs, hs = run["cell"], run["p"], run["xs"], run["hs"]
    for t in range(1, T):
        np.testing.assert_allclose(mg.unroll(cell, p, xs[t:], hs[t - 1], fused=False)[0], hs[t:], rtol=1e-12)
        with pytest.raises(AssertionError):            # from another state it is not
            np.testing.assert_allclose(mg.unroll(cell, p, xs[t:], hs[t - 1] + 0.1, fused=False)[0], hs[t:], rtol=1e-12)


@equation("eq-rnn-a", code="minigrad.cells.RNNCell.gates")
def test_the_pre_activation(run):
    for t in range(T):
        a = run["xs"][t] @ run["p"]["W_h"] + run["before"][t] @ run["p"]["U_h"] + run["p"]["b_h"]
        np.testing.assert_allclose(a, np.arctanh(run["hs"][t]), rtol=1e-7)


@equation("eq-rnn-h", code="minigrad.cells.RNNCell.gates")
@equation("eq-rnn-entry", code="minigrad.cells.RNNCell.gates")
def test_each_unit_one_number_after_the_other(run):
    h = [[math.tanh(pre_activation(run["p"], run["xs"][t, b], run["before"][t, b], j)) for j in range(H)]
         for t in range(T) for b in range(B)]
    np.testing.assert_allclose(np.reshape(h, (T, B, H)), run["hs"], rtol=1e-12)


@equation("eq-rnn-count", code="minigrad.cells.RNNCell.init")
@pytest.mark.parametrize(("I", "H"), [(1, 2), (20, 50), (3, 7)])
def test_number_of_parameters(I, H):
    params = mg.RNNCell(I, H).init(np.random.default_rng(0))
    assert sum(a.size for a in params.values()) == I * H + H**2 + H


@equation("eq-rnn-concatenated", code="minigrad.cells.RNNCell.gates")
def test_one_matrix_on_the_long_vector(run):
    p = run["p"]
    stacked = np.concatenate([p["U_h"], p["W_h"]])
    for t in range(T):
        long = np.concatenate([run["before"][t], run["xs"][t]], axis=1)
        np.testing.assert_allclose(np.tanh(long @ stacked + p["b_h"]), run["hs"][t], rtol=1e-12)
        other = np.concatenate([run["xs"][t], run["before"][t]], axis=1)
        assert np.abs(np.tanh(other @ stacked + p["b_h"]) - run["hs"][t]).max() > 0.1


@equation("eq-rnn-unrolled", code="minigrad.cells.Cell.__call__")
def test_three_steps_are_a_function_of_a_function_of_a_function(run):
    def f(x, h):
        return run["cell"](run["p"], x, h)

    x1, x2, x3 = run["xs"][:3]
    np.testing.assert_allclose(f(x3, f(x2, f(x1, run["h0"]))), run["hs"][2], rtol=1e-12)


@equation("eq-rnn-linear", code="minigrad.cells.RNNCell.gates")
def test_without_squashing_the_state_is_a_sum_of_powers():
    """A relu cell whose numbers are all positive squashes nothing."""
    cell = mg.RNNCell(I, H, nonlinearity="relu")
    rng = np.random.default_rng(11)
    W, U = rng.uniform(0.1, 1, (I, H)), rng.uniform(0.1, 0.5, (H, H))
    xs, h0 = rng.uniform(0.1, 1, (T, B, I)), rng.uniform(0.1, 1, (B, H))
    hs, _ = mg.unroll(cell, {"W_h": W, "U_h": U, "b_h": np.zeros(H)}, xs, h0, fused=False)
    for t in range(1, T + 1):
        power = np.linalg.matrix_power
        summed = h0 @ power(U, t) + sum(xs[s - 1] @ W @ power(U, t - s) for s in range(1, t + 1))
        np.testing.assert_allclose(summed, hs[t - 1], rtol=1e-12)


@equation("eq-rnn-bound", code="minigrad.cells.RNNCell.gates")
def test_no_unit_reaches_one(run):
    assert np.abs(run["hs"]).max() < 1
    assert np.abs(run["hs"]).max() > 0.9                     # near it, so the bound is not met for lack of trying
    relu, _ = mg.unroll(mg.RNNCell(I, H, nonlinearity="relu"), run["p"], run["xs"], run["h0"], fused=False)
    assert np.abs(relu).max() > 1


@equation("eq-rnn-distance", code="minigrad.kernels.RNNKernel.step")
def test_distance_of_two_runs_shrinks_by_the_scale_of_orthogonal_weights(run):
    """Small states hardly meet the tanh, so d_k is g^k times d_0: up to the relative size of the tanh's bend, h²."""
    g, rng = 0.7, np.random.default_rng(12)
    U = g * np.linalg.qr(rng.normal(size=(H, H)))[0]
    p = {"W_h": 1e-4 * rng.normal(size=(I, H)), "U_h": U, "b_h": np.zeros(H)}
    xs = rng.normal(size=(T, 1, I))
    pulse = xs + np.eye(T)[0][:, None, None]
    gap = mg.unroll(run["cell"], p, pulse)[0] - mg.unroll(run["cell"], p, xs)[0]
    d = [math.sqrt(sum(float(v) ** 2 for v in row[0])) for row in gap]
    np.testing.assert_allclose(d, [d[0] * g**k for k in range(T)], rtol=1e-6)
