"""The numbered equations of chapter 4, each worked out in two ways that share no code, and its stored experiments.

One side is the package's cell (what the chapter builds is asserted there to be `mg.LSTMCell`), the other the equation,
one number after the other where that is possible. Weights, biases and states are random and non-zero, T >= 3, B, I and
H differ.
"""

import importlib.util
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from by_hand import held

ROOT = Path(__file__).resolve().parents[1]
equation = pytest.mark.equation
T, B, I, H = 4, 3, 2, 5
OPEN, SHUT = 50.0, -1000.0


def random_params(cell, seed=40):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape) for name, shape in cell.shapes.items()}


@pytest.fixture
def run():
    """An LSTM's parameters, inputs and first state, and every gate and state by the package's own cell."""
    cell, rng = mg.LSTMCell(I, H), np.random.default_rng(41)
    p, xs = random_params(cell), rng.normal(size=(T, B, I))
    h0, c0 = rng.uniform(-1, 1, (B, H)), rng.normal(size=(B, H))
    values = mg.gate_values(cell, p, xs, (h0, c0))
    before = {"h_old": np.concatenate([h0[None], values["h"][:-1]]), "c_old": np.concatenate([c0[None], values["c"][:-1]])}
    return {"p": p, "xs": xs, "h0": h0, "c0": c0, **before, **values}


def inside(run, gate, t, b, j):
    """[x W + h U + b]_j at one step for one sample, summed in plain Python."""
    p, x, h = run["p"], run["xs"][t, b], run["h_old"][t, b]
    return (sum(x[i] * p[f"W_{gate}"][i, j] for i in range(I)) + sum(h[k] * p[f"U_{gate}"][k, j] for k in range(H))
            + p[f"b_{gate}"][j])


def logistic(a):
    return 1 / (1 + math.exp(-a))


def every_entry(f):
    return np.array([[[f(t, b, j) for j in range(H)] for b in range(B)] for t in range(T)])


def gate(run, name):
    return every_entry(lambda t, b, j: logistic(inside(run, name, t, b, j)))


# ---------------------------------------------------------------- the carousel
@equation("eq-lstm-product", code="minigrad.cells.RNNCell.gates")
@pytest.mark.parametrize("w", [0.5, 1.0, 1.5, -2.0])
def test_the_derivative_of_a_plain_unit_is_a_product_of_slopes(w):
    cell, xs = mg.RNNCell(1, 1), np.random.default_rng(42).normal(size=(6, 1, 1))
    p = {"W_h": np.ones((1, 1)), "U_h": np.full((1, 1), w), "b_h": np.zeros(1)}

    def last(m0):
        return mg.unroll(cell, p, xs, m0, fused=False)[0][-1, 0, 0]

    m, product = 0.3, 1.0
    for x in xs[:, 0, 0]:
        a = x + w * m
        m, product = math.tanh(a), product * w / math.cosh(a) ** 2
    assert math.isclose(mg.grad(last)(np.full((1, 1), 0.3))[0, 0], product, rel_tol=1e-10)


@equation("eq-lstm-cec", code="minigrad.cells.LSTMCell.gates")
def test_with_gates_held_open_the_memory_adds_its_candidates(run):
    p = held(run["p"], i=OPEN, f=OPEN)
    values = mg.gate_values(mg.LSTMCell(I, H), p, run["xs"], (run["h0"], run["c0"]))
    found = {**run, "p": p, "h_old": np.concatenate([run["h0"][None], values["h"][:-1]])}
    candidates = every_entry(lambda t, b, j: math.tanh(inside(found, "c", t, b, j)))
    assert np.allclose(values["c"], run["c0"] + np.cumsum(candidates, axis=0), rtol=1e-12)


@equation("eq-lstm-conflict")
@pytest.mark.parametrize("steps", [2, 5, 10])
def test_the_best_single_weight_and_what_it_leaves(steps):
    """Least squares over all cases of values of ±1 and all places of the mark: exact, without a sample."""
    values = np.array(np.meshgrid(*[[-1.0, 1.0]] * steps)).reshape(steps, -1)
    offered = np.concatenate([values.sum(axis=0)] * steps)
    wanted = values.reshape(-1)
    (w,), (left,), *_ = np.linalg.lstsq(offered[:, None], wanted, rcond=None)
    assert math.isclose(w, 1 / steps) and math.isclose(left / np.sum(wanted**2), 1 - 1 / steps)


# ---------------------------------------------------------------- the gates
@equation("eq-lstm-input", code="minigrad.cells.LSTMCell.gates")
def test_the_input_gate(run):
    assert np.allclose(run["i"], gate(run, "i"), rtol=1e-12)
    p = held(run["p"], f=OPEN)
    values = mg.gate_values(mg.LSTMCell(I, H), p, run["xs"], (run["h0"], run["c0"]))
    found = {**run, "p": p, "h_old": np.concatenate([run["h0"][None], values["h"][:-1]])}
    written = every_entry(lambda t, b, j: logistic(inside(found, "i", t, b, j)) * math.tanh(inside(found, "c", t, b, j)))
    assert np.allclose(values["c"], run["c0"] + np.cumsum(written, axis=0), rtol=1e-12)


@equation("eq-lstm-output", code="minigrad.cells.LSTMCell.gates")
def test_the_output_gate(run):
    assert np.allclose(run["o"], gate(run, "o"), rtol=1e-12)
    assert np.allclose(run["h"], every_entry(lambda t, b, j: run["o"][t, b, j] * math.tanh(run["c"][t, b, j])), rtol=1e-12)


@equation("eq-lstm-forget", code="minigrad.cells.LSTMCell.gates")
@equation("eq-lstm-cell", code="minigrad.cells.LSTMCell.gates")
def test_the_forget_gate_and_the_memory(run):
    f = gate(run, "f")
    assert np.allclose(run["f"], f, rtol=1e-12)
    candidates = every_entry(lambda t, b, j: math.tanh(inside(run, "c", t, b, j)))
    assert np.allclose(run["c_tilde"], candidates, rtol=1e-12)
    assert np.allclose(run["c"], f * run["c_old"] + gate(run, "i") * candidates, rtol=1e-12)


@equation("eq-lstm-count", code="minigrad.cells.Cell.shapes")
@pytest.mark.parametrize("inputs, units", [(1, 1), (2, 5), (8, 128), (128, 64)])
def test_the_number_of_parameters(inputs, units):
    def count(cell):
        return sum(a.size for a in cell.init(np.random.default_rng(0)).values())

    assert count(mg.LSTMCell(inputs, units)) == 4 * (units * (inputs + units) + units) == 4 * count(mg.RNNCell(inputs, units))


# ---------------------------------------------------------------- the Jacobian of the memory
def jacobian(f, c, width=1e-5):
    """∂f/∂c for one row c, (entries of f, entries of c), by central differences."""
    columns = [(f(c + width * e) - f(c - width * e)) / (2 * width) for e in np.eye(c.size)]
    return np.stack(columns, axis=1)


@equation("eq-lstm-jacobian", code="minigrad.cells.LSTMCell.gates")
def test_along_its_own_line_the_jacobian_is_the_forget_gate(run):
    cell = mg.LSTMCell(I, H)
    for t in range(T):
        x, h, c = run["xs"][t, [0]], run["h_old"][t, [0]], run["c_old"][t, 0]
        found = jacobian(lambda c: cell(run["p"], x, (h, c[None]))[1][0], c)
        assert np.allclose(found, np.diag(run["f"][t, 0]), atol=1e-9)


@equation("eq-lstm-straight", code="minigrad.cells.LSTMCell.gates")
def test_along_the_straight_line_gradients_meet_all_forget_gates(run):
    """With every U at 0 nothing else is left; with U the ways through h come in, and the product is not the Jacobian."""
    cell, xs, h0, c0 = mg.LSTMCell(I, H), run["xs"][:, [0]], run["h0"][[0]], run["c0"][0]

    def whole(p):
        found = jacobian(lambda c: mg.unroll(cell, p, xs, (h0, c[None]), fused=False)[1][1][0], c0)
        gates = mg.gate_values(cell, p, xs, (h0, c0[None]))["f"][:, 0]
        return found, np.diag([math.prod(gates[:, j]) for j in range(H)])

    without = {name: 0 * a if name[0] == "U" else a for name, a in run["p"].items()}
    found, product = whole(without)
    assert np.allclose(found, product, atol=1e-9) and product.max() > 1e-3
    found, product = whole(run["p"])
    assert np.abs(found - product).max() > 1e-2


@equation("eq-lstm-init", code=("minigrad.cells.LSTMCell.gates", "minigrad.cells.Cell.init"))
@pytest.mark.parametrize("bias", [-1.0, 0.0, 1.0, 3.0])
def test_at_the_start_the_product_is_about_a_power_of_the_gate(bias):
    """About: no step is off by more than a tenth on average; and exactly, where inputs and outputs are 0."""
    steps, cell = 50, mg.LSTMCell(3, 16, forget_bias=bias)
    logs = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        p = cell.init(rng)
        gates = mg.gate_values(cell, p, rng.normal(size=(steps, 1, 3)))["f"]
        logs.append(np.mean(np.log(gates)))
        silent = mg.gate_values(cell, held(p, o=SHUT), np.zeros((steps, 1, 3)))["f"]
        assert np.allclose(np.prod(silent, axis=0), logistic(bias) ** steps, rtol=1e-10)
    assert abs(np.mean(logs) - math.log(logistic(bias))) < 0.1


# ---------------------------------------------------------------- the stored experiments
def script(name):
    """A script of experiments/, loaded as a module."""
    folder = str(ROOT / "experiments")
    sys.path.insert(0, folder)
    try:
        spec = importlib.util.spec_from_file_location(name, f"{folder}/{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(folder)
    return module


def stored(name):
    return json.loads(script(name).RESULTS.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name, count", [("forget_bias_latch", 120), ("continual_reber", 16)])
def test_the_stored_runs_are_all_there(name, count):
    experiment = script(name)
    found = stored(name)
    assert found["settings"] == experiment.SETTINGS, "the settings have changed: run the script again"
    keys = ("cell", "T", "forget_bias", "kind", "seed")
    asked = [tuple(run[key] for key in run if key in keys) for run in found["runs"]]
    assert len(asked) == len(set(asked)) == count
    assert all(0 <= run["accuracy"] <= 1 and set(run["versions"]) == {"python", "numpy", "minigrad"} for run in found["runs"])


def test_what_the_chapter_says_of_the_stored_latches():
    latch, runs = script("forget_bias_latch"), stored("forget_bias_latch")["runs"]

    def solved(cell, T, bias, level=0.95):
        return sum(run["accuracy"] >= level for run in runs
                   if (run["cell"], run["T"], run["forget_bias"]) == (cell, T, bias))

    counts = [[solved("LSTM", T, bias) for bias in latch.BIASES] for T in latch.LENGTHS]
    assert counts == [[0, 1, 7, 8], [0, 0, 2, 8], [0, 0, 0, 5]] and 96 - sum(map(sum, counts)) == 65
    assert [solved("plain", T, 0) for T in latch.LENGTHS] == [2, 1, 0]
    assert solved("LSTM", 50, 3, 0.9) == 6


def test_what_the_chapter_says_of_the_stored_streams():
    reber, runs = script("continual_reber"), stored("continual_reber")["runs"]
    by_kind = [[run for run in runs if run["kind"] == kind] for kind in reber.CELLS]
    assert [sum(run["accuracy"] >= 0.95 for run in kind) for kind in by_kind] == [4, 1, 2, 4]
    assert [sum(run["accuracy_carried_on"] >= 0.95 for run in kind) for kind in by_kind] == [4, 1, 2, 4]
    last = [[run["c"][-1] for run in kind] for kind in by_kind]
    assert max(last[0] + last[3]) < 3.5 and min(last[1] + last[2]) > 600


@pytest.mark.parametrize("cell, forget_bias, seed, low, high", [
    ("LSTM", 3, 0, 0.95, 1), ("LSTM", -1, 0, 0, 0.6)])
def test_two_stored_latches_come_out_again(cell, forget_bias, seed, low, high):
    """One that learns and one that doesn't; rounding may differ from machine to machine, the story may not."""
    (kept,) = [run["accuracy"] for run in stored("forget_bias_latch")["runs"]
               if (run["cell"], run["T"], run["forget_bias"], run["seed"]) == (cell, 20, forget_bias, seed)]
    again = script("forget_bias_latch").latch(cell, 20, forget_bias, seed)["accuracy"]
    assert low <= kept <= high and low <= again <= high and abs(again - kept) < 0.05


def short_settings(reber, windows):
    return reber.SETTINGS | {"windows": windows, "judged_on": [500, 10], "c_after": [1, 500]}


def test_a_short_training_on_streams_learns_the_grammar_and_lets_the_memory_grow():
    """Guessing costs ln 7 = 1.95; a fair guess among the two symbols that may come costs about ln 2 = 0.69."""
    reber = script("continual_reber")
    gated, open_ = (reber.reber(kind, 0, short_settings(reber, 300)) for kind in ("forget gate", "no forget gate"))
    assert gated["cross_entropy"] < 0.8 and gated["c"][-1] < 5
    assert open_["c"][-1] > 10


def test_the_state_is_carried_from_window_to_window(monkeypatch):
    """Each window starts from the memory with which the one before it ended, and is to predict the symbol after each."""
    reber, seen = script("continual_reber"), []
    unroll, cross_entropy = reber.mg.unroll, reber.mg.cross_entropy

    def watched_unroll(cell, params, xs, state):
        hs, last = unroll(cell, params, xs, state)
        seen.append({"xs": xs, "first": None if state is None else state[1], "last": np.array(getattr(last[1], "value", last[1]))})
        return hs, last

    def watched_loss(logits, following):
        seen[-1]["following"] = following
        return cross_entropy(logits, following)

    monkeypatch.setattr(reber.mg, "unroll", watched_unroll)
    monkeypatch.setattr(reber.mg, "cross_entropy", watched_loss)
    reber.reber("forget gate", 0, short_settings(reber, 4))
    windows = seen[:4]
    assert all(window["xs"].shape == (50, 10, 8) for window in windows) and np.all(windows[0]["first"] == 0)
    for before, after in zip(windows[:-1], windows[1:]):
        assert np.array_equal(after["first"], before["last"]) and np.abs(after["first"]).max() > 0.01
        assert np.array_equal(before["following"][:-1], before["xs"][1:, :, :7].argmax(axis=-1))
        assert np.array_equal(before["following"][-1], after["xs"][0, :, :7].argmax(axis=-1))


def test_judging_hand_made_logits(monkeypatch):
    """A head that knows the stream is right on all outer symbols, its opposite on none, and one that always says T on some."""
    reber = script("continual_reber")
    settings = reber.SETTINGS | {"judged_on": [300, 4], "c_after": [1, 300]}
    cell = mg.LSTMCell(8, 4)
    params = {"cell": cell.init(np.random.default_rng(46)), "head": None}
    symbols, _, outer = reber.continual_reber(np.random.default_rng(47), 301, 4)
    following = np.eye(7)[symbols[1:]]
    P, T_ = (reber.REBER_SYMBOLS.index(symbol) for symbol in "PT")

    def judged(logits, state=None):
        return reber.judged(cell, lambda params, hs: logits, params, "forget gate", np.random.default_rng(47), settings, state)

    knows, always = judged(following), np.zeros(following.shape)
    always[..., T_] = 1
    assert knows["accuracy"] == 1 and judged(-following)["accuracy"] == 0
    assert judged(always)["accuracy"] == np.mean(symbols[outer] == T_) and 0.3 < np.mean(symbols[outer] == T_) < 0.7
    assert P in symbols[outer] and math.isclose(knows["cross_entropy"], math.log(math.e + 6) - 1)
    state = np.zeros((4, 4)), np.full((4, 4), 100.0)
    assert judged(following, state)["c"][0] > 10 * knows["c"][0]


@pytest.mark.parametrize("kind, gate", [("forget gate", False), ("no forget gate", True), ("no forget gate, told", True),
                                        ("no forget gate, reset by hand", True)])
def test_a_gate_that_is_held_stays_held(kind, gate):
    """In training W_f, U_f and b_f get no gradient at all without a forget gate; and the reset empties the memory."""
    reber = script("continual_reber")
    cell, rng = mg.LSTMCell(8, 4), np.random.default_rng(45)
    params = reber.initial(cell, kind, rng)
    symbols, starts, _ = reber.continual_reber(rng, 40, 2)
    xs, c0 = reber.encode(symbols, starts, kind), rng.normal(size=(2, 4))
    state = np.zeros((2, 4)), c0
    gradients = mg.grad(lambda p: (mg.unroll(cell, p, xs, state)[0] ** 2).sum())(params)
    still = all(np.all(gradients[f"{name}_f"] == 0) for name in "WUb")
    assert still == gate
    values = mg.gate_values(cell, params, xs, state)
    written = values["c"][0] - values["i"][0] * values["c_tilde"][0]
    kept = {"forget gate": values["f"][0], "no forget gate, reset by hand": 0}.get(kind, 1)
    assert np.allclose(written, kept * c0, atol=1e-12)
    told = kind in ("no forget gate, told", "no forget gate, reset by hand")
    assert np.array_equal(xs[..., 7], starts * told) and starts[0].all()


def test_only_missing_runs_are_computed(tmp_path, capsys):
    stored_runs = script("stored_runs")
    path, settings = tmp_path / "runs.json", {"n": 1}
    stored_runs.store(path, settings, [{"seed": 1, "result": "kept"}])
    runs = stored_runs.complete(path, settings, [{"seed": seed} for seed in (0, 1)], abs_of)
    assert [run["result"] for run in runs] == [0, "kept"] == [run["result"] for run in stored_runs.load(path, settings)]
    with pytest.raises(ValueError, match="was made with the settings"):
        stored_runs.complete(path, {"n": 2}, [{"seed": 0}], abs_of)


def abs_of(seed):
    return {"result": abs(seed)}
