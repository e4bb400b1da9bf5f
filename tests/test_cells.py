"""The cells against the papers' equations, both engines and finite differences; and what they say to bad input.

Everything is random and non-zero (weights, biases, peepholes, states), T >= 3 and B, I, H differ:
constants and single steps hide most mistakes.
"""
import math
import pickle
from dataclasses import FrozenInstanceError

import autograd
import numpy as np
import pytest

import minigrad as mg

T, B, I, H = 4, 3, 2, 5


# ---------------------------------------------------------------- the papers, one example at a time
def sigma(a):
    return 1 / (1 + np.exp(-a))


def affine(p, gate, vector, blocks="UW"):
    """W_gate · [h, x, ...] + b_gate, as the papers write it: one matrix times one stacked column."""
    return np.concatenate([p[f"{block}_{gate}"] for block in blocks]).T @ np.concatenate(vector) + p[f"b_{gate}"]


def rnn(p, x, h):
    return np.tanh(affine(p, "h", [h, x]))


def rnn_relu(p, x, h):
    a = affine(p, "h", [h, x])
    return np.array([v if v > 0 else 0.0 for v in a])


def lstm(p, x, state):
    h, c = state
    i, f, o = (sigma(affine(p, gate, [h, x])) for gate in "ifo")
    c_new = f * c + i * np.tanh(affine(p, "c", [h, x]))
    return o * np.tanh(c_new), c_new


def full_peephole(p, x, state):
    """The source article's form, W_f · [h, x, c] + b_f; its c block is P_f."""
    h, c = state
    f, i = (sigma(affine(p, gate, [h, x, c], "UWP")) for gate in "fi")
    c_new = f * c + i * np.tanh(affine(p, "c", [h, x]))
    return sigma(affine(p, "o", [h, x, c_new], "UWP")) * np.tanh(c_new), c_new


def diagonal_peephole(p, x, state):
    """Gers et al. 2002, unit by unit, in plain Python numbers."""
    h, c = state
    h_new, c_new = np.empty(H), np.empty(H)
    for j in range(H):
        net = {g: p[f"b_{g}"][j] + sum(w * v for w, v in zip(p[f"W_{g}"][:, j], x))
               + sum(u * v for u, v in zip(p[f"U_{g}"][:, j], h)) for g in "ifoc"}
        y_in = 1 / (1 + math.exp(-net["i"] - p["P_i"][j] * c[j]))
        y_forget = 1 / (1 + math.exp(-net["f"] - p["P_f"][j] * c[j]))
        c_new[j] = y_forget * c[j] + y_in * math.tanh(net["c"])
        y_out = 1 / (1 + math.exp(-net["o"] - p["P_o"][j] * c_new[j]))
        h_new[j] = y_out * math.tanh(c_new[j])
    return h_new, c_new


def gru(p, x, h, reset, update):
    z, r = sigma(affine(p, "z", [h, x])), sigma(affine(p, "r", [h, x]))
    if reset == "before":                                   # W · [r * h, x] + b
        candidate = np.tanh(affine(p, "h", [r * h, x]))
    else:                                                   # the reset scales what comes out of the matrix and its bias
        candidate = np.tanh(affine(p, "h", [0 * h, x]) + np.diag(r) @ (p["U_h"].T @ h + p["b_U"]))
    takes = z if update == "new" else 1 - z
    return h + takes * (candidate - h)


CASES = {
    "rnn-tanh": (mg.RNNCell(I, H), rnn),
    "rnn-relu": (mg.RNNCell(I, H, nonlinearity="relu"), rnn_relu),
    "lstm": (mg.LSTMCell(I, H), lstm),
    "peephole-diagonal": (mg.PeepholeLSTMCell(I, H), diagonal_peephole),
    "peephole-full": (mg.PeepholeLSTMCell(I, H, peephole="full"), full_peephole),
    **{f"gru-{reset}-{update}": (mg.GRUCell(I, H, reset=reset, update=update),
                                 lambda p, x, h, reset=reset, update=update: gru(p, x, h, reset, update))
       for reset in ("before", "after") for update in ("new", "old")},
}
CELLS = {name: cell for name, (cell, _) in CASES.items()}
every_case = pytest.mark.parametrize("cell, paper", CASES.values(), ids=CASES)
every_cell = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)


def example(cell, seed=0, dtype="float64"):
    """Random params, xs, state; and weights (for each h_t, for each part of the last state) that make a loss."""
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return rng.uniform(0.2, 0.9, shape) * rng.choice([-1.0, 1.0], shape)

    xs, weights = draw(T, B, I), (draw(T, B, H), draw(len(cell.state_names), B, H))
    state = tuple(draw(B, H) for _ in cell.state_names)
    params = {name: draw(*shape) for name, shape in cell.shapes.items()}
    return mg.tree_map(lambda a: a.astype(dtype), (params, xs, state if len(state) > 1 else state[0], weights))


def parts(state):
    return state if isinstance(state, tuple) else (state,)


def run(cell, params, xs, state):
    """All the states that follow ``state``."""
    states = []
    for x in xs:
        state = cell(params, x, state)
        states.append(state)
    return states


def weighted(states, weights):
    """A scalar in which every output and every part of the last state has a weight of its own."""
    total = sum((w * parts(s)[0]).sum() for w, s in zip(weights[0], states))
    return total + sum((w * s).sum() for w, s in zip(weights[1], parts(states[-1])))


def paper_run(paper, params, xs, state):
    """As ``run``, by the paper's equations, one row of the batch after the other."""
    states = []
    for x in xs:
        rows = [parts(paper(params, x[b], tuple(s[b] for s in state) if isinstance(state, tuple) else state[b]))
                for b in range(B)]
        state = tuple(np.array(part) for part in zip(*rows))
        state = state if len(state) > 1 else state[0]
        states.append(state)
    return states


def assert_trees_close(a, b, rtol, atol=1e-15):
    assert [path for path, _ in mg.tree_items(a)] == [path for path, _ in mg.tree_items(b)]
    for (path, left), right in zip(mg.tree_items(a), mg.tree_leaves(b)):
        np.testing.assert_allclose(left, right, rtol=rtol, atol=atol * max(1.0, np.abs(right).max()), err_msg=path)


# ---------------------------------------------------------------- values and gradients
@every_case
def test_states_are_those_of_the_papers_equations(cell, paper):
    for seed in range(3):
        params, xs, state, _ = example(cell, seed)
        assert_trees_close(run(cell, params, xs, state), paper_run(paper, params, xs, state), rtol=1e-12)


@every_case
def test_gradients_are_those_of_autograd_and_of_the_paper_by_finite_differences(cell, paper):
    """For every parameter, every input and the initial state."""
    params, xs, state, weights = example(cell)

    def loss(params, xs, state):
        return weighted(run(cell, params, xs, state), weights)

    ours = mg.grad(loss, (0, 1, 2))(params, xs, state)
    assert_trees_close(ours, autograd.grad(lambda args: loss(*args))((params, xs, state)), rtol=1e-12, atol=1e-14)

    def paper_loss(params, xs, state):
        return weighted(paper_run(paper, params, xs, state), weights)

    args = mg.tree_map(np.copy, (params, xs, state))
    for (path, gradient), x in zip(mg.tree_items(ours), mg.tree_leaves(args)):
        for index in np.ndindex(x.shape):
            kept = x[index]
            x[index] = kept + 1e-5
            above = paper_loss(*args)
            x[index] = kept - 1e-5
            below = paper_loss(*args)
            x[index] = kept
            assert gradient[index] == pytest.approx((above - below) / 2e-5, rel=1e-6, abs=1e-7), (path, index)


@every_cell
def test_every_gradient_is_at_work(cell):
    """No entry of any gradient is zero here, so the comparisons above compare something (relu switches units off)."""
    params, xs, state, weights = example(cell)
    gradients = mg.grad(lambda *args: weighted(run(cell, *args), weights), (0, 1, 2))(params, xs, state)
    if getattr(cell, "nonlinearity", "tanh") == "relu":
        assert all(np.any(g != 0) for g in mg.tree_leaves(gradients))
    else:
        assert all(np.all(np.abs(g) > 1e-6) for g in mg.tree_leaves(gradients))


@every_cell
def test_one_cell_object_gives_the_same_bits_on_numpy_and_in_both_engines(cell):
    params, xs, state, weights = example(cell)

    def loss(params):
        return weighted(run(cell, params, xs, state), weights)

    plain = loss(params)
    assert mg.value_and_grad(loss)(params)[0] == plain
    assert autograd.value_and_grad(loss)(params)[0] == plain


@every_cell
def test_second_derivatives_agree_between_the_engines(cell):
    params, xs, state, weights = example(cell)

    def slope(grad):
        first = grad(lambda params: weighted(run(cell, params, xs, state), weights))
        return grad(lambda params: (first(params)["U_" + cell.gate_names[0]] ** 2).sum())(params)

    ours = slope(mg.grad)
    assert all(np.any(g) for name, g in ours.items()) or getattr(cell, "nonlinearity", "") == "relu"
    assert_trees_close(ours, slope(autograd.grad), rtol=1e-10, atol=1e-12)


# ---------------------------------------------------------------- what a cell becomes in a special case
def numbers_of(cell, params, seed=7):
    """States and gradients of the parameters from random xs and state."""
    _, xs, state, weights = example(cell, seed)
    gradients = mg.grad(lambda p: weighted(run(cell, p, xs, state), weights))(params)
    return run(cell, params, xs, state), gradients


def test_full_peephole_with_a_diagonal_matrix_is_the_diagonal_peephole():
    diagonal, full = CELLS["peephole-diagonal"], CELLS["peephole-full"]
    params = example(diagonal)[0]
    states, gradients = numbers_of(diagonal, params)
    full_states, full_gradients = numbers_of(full, {k: np.diag(p) if k[0] == "P" else p for k, p in params.items()})
    assert_trees_close(full_states, states, rtol=1e-12)
    assert_trees_close({k: np.diag(g) if k[0] == "P" else g for k, g in full_gradients.items()}, gradients, 1e-12, 1e-14)


@pytest.mark.parametrize("name", ["peephole-diagonal", "peephole-full"])
def test_peephole_of_zero_is_the_lstm(name):
    cell, params = CELLS[name], example(CELLS[name])[0]
    states, gradients = numbers_of(cell, {k: 0 * p if k[0] == "P" else p for k, p in params.items()})
    lstm_states, lstm_gradients = numbers_of(CELLS["lstm"], {k: p for k, p in params.items() if k[0] != "P"})
    assert_trees_close(states, lstm_states, rtol=1e-13)
    assert_trees_close({k: gradients[k] for k in lstm_gradients}, lstm_gradients, rtol=1e-11, atol=1e-14)
    assert all(np.all(gradients[k] != 0) for k in gradients if k[0] == "P")


@pytest.mark.parametrize("reset", ["before", "after"])
def test_the_two_meanings_of_z_differ_by_the_sign_of_its_weights(reset):
    new, old = CELLS[f"gru-{reset}-new"], CELLS[f"gru-{reset}-old"]
    params = example(new)[0]
    flipped = {k: -p if k in ("W_z", "U_z", "b_z") else p for k, p in params.items()}
    states, gradients = numbers_of(new, params)
    old_states, old_gradients = numbers_of(old, flipped)
    assert_trees_close(old_states, states, rtol=1e-12)
    assert_trees_close({k: -g if k[-1] == "z" else g for k, g in old_gradients.items()}, gradients, 1e-11, 1e-14)
    assert np.abs(numbers_of(old, params)[0][-1] - states[-1]).max() > 0.1


@pytest.mark.parametrize("update", ["new", "old"])
def test_resetting_before_and_after_the_matmul_agree_where_all_units_reset_alike(update):
    before, after = CELLS[f"gru-before-{update}"], CELLS[f"gru-after-{update}"]
    params = example(before)[0]
    alike = {k: p if k[-1] != "r" else np.repeat(p[..., :1], H, axis=-1) for k, p in params.items()}
    assert_trees_close(numbers_of(after, alike | {"b_U": np.zeros(H)})[0], numbers_of(before, alike)[0], rtol=1e-12)
    different = numbers_of(after, params | {"b_U": np.zeros(H)})[0][-1] - numbers_of(before, params)[0][-1]
    assert np.abs(different).max() > 0.01


@pytest.mark.parametrize("reset", ["before", "after"])
def test_a_gru_is_a_plain_rnn_only_where_it_also_takes_all_of_the_candidate(reset):
    cell, plain = CELLS[f"gru-{reset}-new"], CELLS["rnn-tanh"]
    params = example(cell)[0] | {"b_r": np.full(H, 100.0)} | ({"b_U": np.zeros(H)} if reset == "after" else {})
    candidate = {k: params[k] for k in ("W_h", "U_h", "b_h")}
    assert_trees_close(numbers_of(cell, params | {"b_z": np.full(H, 100.0)})[0], numbers_of(plain, candidate)[0], 1e-13)
    assert np.abs(numbers_of(cell, params)[0][-1] - numbers_of(plain, candidate)[0][-1]).max() > 0.1


@pytest.mark.parametrize("name", ["lstm", "peephole-diagonal", "peephole-full"])
def test_the_error_carousel_keeps_c_and_its_gradient_for_ever(name):
    """Forget gate open, input gate shut: c stays, bit for bit, and dc_T/dc_0 is the identity."""
    cell = CELLS[name]
    params, xs, (h, c), _ = example(cell)
    params |= {"b_f": np.full(H, 500.0), "b_i": np.full(H, -500.0)}
    np.testing.assert_array_equal(run(cell, params, xs, (h, c))[-1][1], c)
    gradient = mg.grad(lambda c: (run(cell, params, xs, (h, c))[-1][1] * xs[0, :, :1]).sum())(c)
    np.testing.assert_array_equal(gradient, np.broadcast_to(xs[0, :, :1], (B, H)))


# ---------------------------------------------------------------- what kind of thing a cell is
@every_cell
def test_float32_stays_float32(cell):
    params, xs, state, weights = example(cell, dtype="float32")
    states = run(cell, params, xs, state)
    assert {leaf.dtype for leaf in mg.tree_leaves(states)} == {np.dtype("float32")}
    value, gradients = mg.value_and_grad(lambda *args: weighted(run(cell, *args), weights), (0, 1, 2))(params, xs, state)
    assert {leaf.dtype for leaf in mg.tree_leaves((value, gradients))} == {np.dtype("float32")}
    assert_trees_close(states, run(cell, *example(cell)[:3]), rtol=1e-4, atol=1e-5)


@every_cell
def test_a_step_changes_none_of_its_arguments_and_shares_no_memory_with_them(cell):
    args = example(cell)[:3]
    before = pickle.dumps(args)
    for leaf in mg.tree_leaves(args):
        leaf.flags.writeable = False            # an in-place write would raise
    params, xs, state = args
    new = cell(params, xs[0], state)
    mg.grad(lambda *args: (parts(run(cell, *args)[-1])[0] ** 2).sum(), (0, 1, 2))(*args)
    assert pickle.dumps(args) == before
    assert not any(np.shares_memory(a, b) for a in mg.tree_leaves(new) for b in mg.tree_leaves(args))


@every_cell
def test_rows_of_a_batch_do_not_touch_each_other(cell):
    params, xs, state, _ = example(cell)
    alone = mg.tree_map(lambda s: s[1:2], state)
    together = [mg.tree_map(lambda s: s[1:2], s) for s in run(cell, params, xs, state)]
    assert_trees_close(run(cell, params, xs[:, 1:2], alone), together, rtol=1e-13)


@every_cell
def test_a_cell_is_a_value(cell):
    cell.shapes                                  # computed once and kept: must not enter what follows
    again = pickle.loads(pickle.dumps(cell))
    assert again == cell and hash(again) == hash(cell) and again.shapes == cell.shapes
    assert eval(repr(cell), vars(mg)) == cell
    assert sum(cell == other for other in CELLS.values()) == 1
    with pytest.raises(FrozenInstanceError):
        cell.hidden_size = 7


@every_cell
def test_the_table_of_shapes_is_made_in_one_place(cell):
    """Made in a subclass from super().shapes, it is kept half made for a moment, where another thread can catch it."""
    assert sum("shapes" in vars(c) for c in type(cell).__mro__) == 1


@every_cell
def test_huge_inputs_saturate_without_a_warning(cell):
    params, xs, state, _ = example(cell)
    with np.errstate(all="raise", under="ignore"):
        new = cell(params, 1e4 * xs[0], state)
        gradients = mg.grad(lambda p: parts(cell(p, 1e4 * xs[0], state))[0].sum())(params)
    assert all(np.all(np.isfinite(leaf)) for leaf in mg.tree_leaves((new, gradients)))


def test_relu_of_minus_infinity_is_0_and_nan_stays_nan():
    np.testing.assert_array_equal(mg.relu(np.array([-np.inf, -1.0, 0.0, 2.0, np.inf, np.nan])),
                                  [0, 0, 0, 2, np.inf, np.nan])
    assert mg.grad(mg.relu)(0.0) == 0 and mg.grad(mg.relu)(-np.inf) == 0


# ---------------------------------------------------------------- gate values
EQUATIONS = {           # the new state once more, from the gate values that the cell reports
    "rnn": lambda g, old: {"h": g["h"]},
    "lstm": lambda g, old: {"c": g["f"] * old["c"] + g["i"] * g["c_tilde"], "h": g["o"] * np.tanh(g["c"])},
    "new": lambda g, old: {"h": (1 - g["z"]) * old["h"] + g["z"] * g["h_tilde"]},
    "old": lambda g, old: {"h": g["z"] * old["h"] + (1 - g["z"]) * g["h_tilde"]},
}
GATES = {"rnn": {"h"}, "lstm": {"i", "f", "o", "c_tilde", "c", "h"}, "gru": {"z", "r", "h_tilde", "h"}}


@pytest.mark.parametrize("name", CELLS)
def test_gate_values_are_those_that_make_the_states(name):
    cell = CELLS[name]
    params, xs, state, _ = example(cell)
    gates = mg.gate_values(cell, params, xs, state)
    assert set(gates) == GATES["lstm" if "peephole" in name else name.split("-")[0]]
    assert {g.shape for g in gates.values()} == {(T, B, H)}
    kind = "lstm" if "lstm" in name or "peephole" in name else "rnn" if "rnn" in name else name.split("-")[-1]
    for t, new in enumerate(run(cell, params, xs, state)):
        now = {gate: values[t] for gate, values in gates.items()}
        for part, values in zip(cell.state_names, parts(new)):
            np.testing.assert_array_equal(now[part], values)
        for part, values in EQUATIONS[kind](now, dict(zip(cell.state_names, parts(state)))).items():
            np.testing.assert_allclose(now[part], values, rtol=1e-12)
        state = new


def test_gates_are_told_apart_by_their_biases():
    """Each bias, raised far, opens the gate of its own name and no other."""
    for name, gate_names in (("lstm", "ifo"), ("peephole-diagonal", "ifo"), ("peephole-full", "ifo"), ("gru-after-old", "zr")):
        params, xs, state, _ = example(CELLS[name])
        for gate in gate_names:
            gates = CELLS[name].gates(params | {f"b_{gate}": np.full(H, 100.0)}, xs[0], state)
            assert [g for g in gate_names if np.all(gates[g] == 1)] == [gate]


# ---------------------------------------------------------------- new parameters
@every_cell
def test_new_parameters(cell):
    params = cell.init(np.random.default_rng(3))
    assert {name: p.shape for name, p in params.items()} == cell.shapes
    for name, p in params.items():
        if name[0] == "U":
            np.testing.assert_allclose(p.T @ p, np.eye(H), atol=1e-12)
        elif name[0] == "b":
            np.testing.assert_array_equal(p, getattr(cell, "forget_bias", 0) if name == "b_f" else 0)
        else:
            bound = math.sqrt(6 / (p.shape[0] + p.shape[-1]))
            assert 0 < np.abs(p).min() and 0.3 * bound < np.abs(p).max() <= bound
    drawn = [p for name, p in params.items() if name[0] != "b"]
    assert not any(np.array_equal(p, q) for k, p in enumerate(drawn) for q in drawn[:k])


SHAPES = {
    "rnn-tanh": {"W_h": (I, H), "U_h": (H, H), "b_h": (H,)},
    "lstm": {f"{k}_{g}": s for g in "ifoc" for k, s in (("W", (I, H)), ("U", (H, H)), ("b", (H,)))},
    "gru-before-new": {f"{k}_{g}": s for g in "zrh" for k, s in (("W", (I, H)), ("U", (H, H)), ("b", (H,)))},
}
SHAPES["rnn-relu"] = SHAPES["rnn-tanh"]
SHAPES["gru-before-old"] = SHAPES["gru-before-new"]
SHAPES["gru-after-new"] = SHAPES["gru-after-old"] = SHAPES["gru-before-new"] | {"b_U": (H,)}
SHAPES["peephole-diagonal"] = SHAPES["lstm"] | {f"P_{g}": (H,) for g in "ifo"}
SHAPES["peephole-full"] = SHAPES["lstm"] | {f"P_{g}": (H, H) for g in "ifo"}


@pytest.mark.parametrize("name", CELLS)
def test_names_and_shapes_of_the_parameters(name):
    assert CELLS[name].shapes == SHAPES[name]


@every_cell
def test_a_seed_gives_the_same_parameters_and_dtype_is_kept(cell):
    one, same, other = (cell.init(np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert all(np.array_equal(one[k], same[k]) for k in one)
    assert not any(np.array_equal(one[k], other[k]) for k in one if k[0] != "b")
    assert {p.dtype for p in cell.init(np.random.default_rng(5), dtype="float32").values()} == {np.dtype("float32")}


@pytest.mark.parametrize("make", [mg.LSTMCell, mg.PeepholeLSTMCell])
def test_forget_bias(make):
    assert np.all(make(I, H).init(np.random.default_rng(0))["b_f"] == 1)
    assert np.all(make(I, H, forget_bias=-2.5).init(np.random.default_rng(0))["b_f"] == -2.5)


@every_cell
def test_initial_state(cell):
    state = cell.initial_state(B)
    assert isinstance(state, tuple) == (len(cell.state_names) > 1)
    assert [(s.shape, s.dtype, s.any()) for s in parts(state)] == [((B, H), np.float64, False)] * len(cell.state_names)
    assert {s.dtype for s in parts(cell.initial_state(B, dtype="float32"))} == {np.dtype("float32")}
    assert cell.state_names == (("h", "c") if "LSTM" in type(cell).__name__ else ("h",))


# ---------------------------------------------------------------- bad input
def message(error, call):
    with pytest.raises(error) as raised:
        call()
    return str(raised.value)


@pytest.mark.parametrize("name, parameter", [(name, p) for name in CELLS for p in SHAPES[name]])
def test_each_bad_parameter_is_named(name, parameter):
    cell, shape = CELLS[name], SHAPES[name][parameter]
    params, xs, state, _ = example(cell)
    who = type(cell).__name__

    def with_this(value):
        return lambda: cell(params | {parameter: value}, xs[0], state)

    for wrong in ((*shape, 1), shape[:-1], (*shape[:-1], shape[-1] + 1), (shape[0] + 1, *shape[1:]), (1,) * len(shape)):
        found = message(ValueError, with_this(np.ones(wrong)))
        option = {"P_": f' for peephole="{getattr(cell, "peephole", "")}"', "b_U": ' for reset="after"'}
        named = option.get(parameter if parameter == "b_U" else parameter[:2], "")       # only where it decides the shape
        assert found == f"{who}: {parameter} has shape {wrong}, expected {shape}{named}"
    for dtype in ("int64", "bool", "complex128", "object"):
        found = message(TypeError, with_this(np.ones(shape).astype(dtype)))
        assert found == f"{who}: {parameter} has dtype {dtype}, expected floats"
    assert message(TypeError, with_this(params[parameter].tolist())) == f"{who}: {parameter} is a list, expected an array"
    assert message(TypeError, with_this(0.5)) == f"{who}: {parameter} is a float, expected an array"
    without = {k: p for k, p in params.items() if k != parameter}
    found = message(ValueError, lambda: cell(without, xs[0], state))
    assert found.startswith(f"{who}: params has no {parameter}") and ", ".join(without) in found


@every_cell
def test_bad_params_as_a_whole(cell):
    params, xs, state, _ = example(cell)
    who = type(cell).__name__
    found = message(ValueError, lambda: cell(params | {"W_extra": np.ones(3)}, xs[0], state))
    assert found.startswith(f"{who}: params has W_extra, which it does not use")
    for wrong, kind in ((list(params.values()), "list"), (None, "NoneType"), (params["b_" + cell.gate_names[0]], "ndarray")):
        assert message(TypeError, lambda: cell(wrong, xs[0], state)) == (
            f"{who}: params is a {kind}, expected the dict that init returns")
    assert "it has nothing" in message(ValueError, lambda: cell({}, xs[0], state))


@every_cell
def test_bad_x(cell):
    params, xs, state, _ = example(cell)
    x, who = xs[0], type(cell).__name__
    assert message(ValueError, lambda: cell(params, xs, state)) == (
        f"{who}: x has shape (4, 3, 2), expected (B, I) = (B, 2); a whole sequence (T, B, I) goes through mg.unroll")
    assert "x has shape (2,), expected (B, I) = (B, 2)" in message(ValueError, lambda: cell(params, x[0], state))
    assert message(ValueError, lambda: cell(params, x[:, :1], state)) == f"{who}: x has shape (3, 1), expected (3, 2) = (B, I)"
    assert message(ValueError, lambda: cell(params, x.T, state)) == f"{who}: x has shape (2, 3), expected (2, 2) = (B, I)"
    for dtype in ("int64", "bool", "complex128"):
        assert message(TypeError, lambda: cell(params, x.astype(dtype), state)) == (
            f"{who}: x has dtype {dtype}, expected floats: one-hot encode or embed token ids first")
    assert message(TypeError, lambda: cell(params, x.tolist(), state)) == f"{who}: x is a list, expected an array"


@every_cell
def test_bad_parts_of_the_state(cell):
    params, xs, state, _ = example(cell)
    who = type(cell).__name__
    for k, name in enumerate(cell.state_names):
        def with_this(value):
            new = tuple(value if j == k else s for j, s in enumerate(parts(state)))
            return lambda: cell(params, xs[0], new if len(new) > 1 else new[0])

        for wrong in ((B, H + 1), (B + 1, H), (1, H), (H,), (T, B, H), ()):
            found = message(ValueError, with_this(np.ones(wrong)))
            assert found == f"{who}: {name} has shape {wrong}, expected (3, 5) = (B, H)"
        for dtype in ("int32", "bool", "complex64"):
            found = message(TypeError, with_this(np.ones((B, H), dtype)))
            assert found == f"{who}: {name} has dtype {dtype}, expected floats"
        assert message(TypeError, with_this(None)) == f"{who}: {name} is a NoneType, expected an array"


@every_cell
def test_bad_structure_of_the_state(cell):
    params, xs, state, _ = example(cell)
    h, who = parts(state)[0], type(cell).__name__
    if len(cell.state_names) == 1:
        assert message(TypeError, lambda: cell(params, xs[0], (h, h))) == f"{who}: h is a tuple, expected an array"
        return
    for wrong, found in ((h, "an array of shape (3, 5)"), (np.stack([h, h]), "an array of shape (2, 3, 5)"),
                         ((h,), "a tuple of 1"), ([h, h, h], "a list of 3"), ((), "a tuple of 0"), (None, "a NoneType"),
                         (0.0, "a float"), ({"h": h, "c": h}, "a dict")):
        assert message(ValueError, lambda: cell(params, xs[0], wrong)) == f"{who}: state is {found}, expected the tuple (h, c)"


def test_the_wrong_kind_of_peephole_or_reset_is_named():
    rng = np.random.default_rng(0)
    diagonal, full = mg.PeepholeLSTMCell(3, 4), mg.PeepholeLSTMCell(3, 4, peephole="full")
    x, state = rng.standard_normal((2, 3)), diagonal.initial_state(2)
    mixed = diagonal.init(rng) | {"P_o": np.ones((4, 4))}
    assert message(ValueError, lambda: diagonal(mixed, x, state)) == (
        'PeepholeLSTMCell: P_o has shape (4, 4), expected (4,) for peephole="diagonal"')
    assert message(ValueError, lambda: full(diagonal.init(rng), x, state)) == (
        'PeepholeLSTMCell: P_i has shape (4,), expected (4, 4) for peephole="full"')
    before, after = mg.GRUCell(3, 4), mg.GRUCell(3, 4, reset="after")
    assert message(ValueError, lambda: after(before.init(rng), x, state[0])) == (
        'GRUCell: params has no b_U for reset="after"; it has W_z, U_z, b_z, W_r, U_r, b_r, W_h, U_h, b_h')
    assert message(ValueError, lambda: before(after.init(rng), x, state[0])) == (
        'GRUCell: params has b_U, which it does not use for reset="before"')
    assert message(ValueError, lambda: mg.LSTMCell(3, 4)(diagonal.init(rng), x, state)) == (
        "LSTMCell: params has P_i, P_f, P_o, which it does not use")


def test_bad_input_is_named_inside_a_gradient_too():
    cell = mg.LSTMCell(I, H)
    params, xs, state, _ = example(cell)
    for grad in (mg.grad, autograd.grad):
        found = message(ValueError, lambda: grad(lambda p: cell(p, xs[0], state)[0].sum())(params | {"b_i": np.ones(2)}))
        assert found == "LSTMCell: b_i has shape (2,), expected (5,)"


@pytest.mark.parametrize("make", [mg.RNNCell, mg.LSTMCell, mg.PeepholeLSTMCell, mg.GRUCell])
def test_bad_sizes(make):
    for wrong in (0, -1, 2.0, "3", None, True, (3,)):
        end = f"is {wrong!r}, expected an integer of at least 1"
        assert message(ValueError, lambda: make(wrong, H)) == f"{make.__name__}: input_size {end}"
        assert message(ValueError, lambda: make(I, wrong)) == f"{make.__name__}: hidden_size {end}"
        assert message(ValueError, lambda: make(I, H).initial_state(wrong)) == f"{make.__name__}: batch_size {end}"
    assert make(np.int64(I), H) == make(I, H)


@pytest.mark.parametrize("make, option, wrong, found", [
    (mg.RNNCell, "nonlinearity", "sigmoid", "nonlinearity is 'sigmoid', expected 'tanh' or 'relu'"),
    (mg.PeepholeLSTMCell, "peephole", "none", "peephole is 'none', expected 'diagonal' or 'full'"),
    (mg.PeepholeLSTMCell, "peephole", None, "peephole is None, expected 'diagonal' or 'full'"),
    (mg.GRUCell, "reset", True, "reset is True, expected 'before' or 'after'"),
    (mg.GRUCell, "update", "z", "update is 'z', expected 'new' or 'old'"),
    (mg.LSTMCell, "forget_bias", None, "forget_bias is None, expected a finite number"),
    (mg.PeepholeLSTMCell, "forget_bias", math.nan, "forget_bias is nan, expected a finite number"),
    (mg.LSTMCell, "forget_bias", "1", "forget_bias is '1', expected a finite number"),
])
def test_bad_options(make, option, wrong, found):
    assert message(ValueError, lambda: make(I, H, **{option: wrong})) == f"{make.__name__}: {found}"


@pytest.mark.parametrize("wrong", [0, None, np.random, np.random.RandomState(0)], ids=lambda r: type(r).__name__)
def test_init_wants_a_generator(wrong):
    found = message(TypeError, lambda: mg.GRUCell(I, H).init(wrong))
    assert found.startswith("GRUCell: rng is ") and "np.random.default_rng(0)" in found
