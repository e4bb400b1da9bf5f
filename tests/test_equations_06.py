"""The numbered equations of chapter 6, each worked out in two ways that share no code; and the runs that it shows.

One side is the package's cells, the other the equation, one number after the other where that is possible. All
weights, biases and states are random and non-zero, T >= 3, B, I and H differ.
"""

import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest
from frameworks import framework

import minigrad as mg
from by_hand import slope

equation = pytest.mark.equation
ROOT = Path(__file__).resolve().parents[1]
T, B, I, H = 4, 3, 2, 5
DIAGONAL, FULL = mg.PeepholeLSTMCell(I, H), mg.PeepholeLSTMCell(I, H, peephole="full")


def sigma(a):
    return 1 / (1 + np.exp(-a))


def random_params(cell, seed=60):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape) for name, shape in cell.shapes.items()}


def random_start(cell, seed=61):
    """xs (T, B, I), and h and c (B, H)."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(T, B, cell.input_size)), rng.uniform(-1, 1, (B, H)), rng.normal(size=(B, H))


@pytest.fixture
def run():
    """A diagonal cell's parameters, inputs and first states, every gate and state by the package, and the states before."""
    p, (xs, h0, c0) = random_params(DIAGONAL), random_start(DIAGONAL)
    values = mg.gate_values(DIAGONAL, p, xs, (h0, c0))
    return {"p": p, "xs": xs, "h0": h0, "c0": c0, "h_old": np.concatenate([h0[None], values["h"][:-1]]),
            "c_old": np.concatenate([c0[None], values["c"][:-1]]), **values}


def affine(p, gate, x, h, j):
    """[x W + h U + b]_j for one sample, summed in plain Python."""
    return (sum(x[k] * p[f"W_{gate}"][k, j] for k in range(len(x)))
            + sum(h[k] * p[f"U_{gate}"][k, j] for k in range(len(h))) + p[f"b_{gate}"][j])


def every_entry(f):
    return np.array([[[f(t, b, j) for j in range(H)] for b in range(B)] for t in range(T)])


def scalar_sigma(a):
    return 1 / (1 + math.exp(-a))


def assert_close(found, wanted):
    assert np.shape(found) == np.shape(wanted) and np.allclose(found, wanted, rtol=1e-11, atol=1e-14)


# ---------------------------------------------------------------- forwards
@equation("eq-peephole-lstm", code="minigrad.cells.LSTMCell.gates")
def test_the_lstm_that_is_recalled():
    cell = mg.LSTMCell(I, H)
    p, (xs, h, c) = random_params(cell), random_start(cell)
    h_new, c_new = cell(p, xs[0], (h, c))
    for b in range(B):
        for j in range(H):
            i, f, o = (scalar_sigma(affine(p, gate, xs[0, b], h[b], j)) for gate in "ifo")
            wanted = f * c[b, j] + i * math.tanh(affine(p, "c", xs[0, b], h[b], j))
            assert math.isclose(c_new[b, j], wanted, rel_tol=1e-11)
            assert math.isclose(h_new[b, j], o * math.tanh(wanted), rel_tol=1e-11)


@equation("eq-peephole-clock", code="minigrad.cells.PeepholeLSTMCell.gates")
def test_the_clock_of_the_first_page():
    cell = mg.PeepholeLSTMCell(1, 1)
    p = {name: np.zeros(shape) for name, shape in cell.shapes.items()}
    p |= {"b_i": np.full(1, 50.0), "b_c": np.full(1, 50.0), "P_f": np.full(1, -10.0), "b_f": np.full(1, 25.0),
          "P_o": np.full(1, 10.0), "b_o": np.full(1, -25.0)}
    hs = mg.gate_values(cell, p, np.zeros((30, 1, 1)))["h"][:, 0, 0]
    c = 0.0
    for t, h in enumerate(hs, 1):
        c = scalar_sigma(10 * (2.5 - c)) * c + 1
        assert math.isclose(h, scalar_sigma(10 * (c - 2.5)) * math.tanh(c), rel_tol=1e-10)
        assert (h > 0.98) == (t % 3 == 0) and (h < 0.01) == (t % 3 != 0)


@equation("eq-peephole-article", code="minigrad.cells.PeepholeLSTMCell.gates")
@equation("eq-peephole-blocks", code="minigrad.cells.PeepholeLSTMCell.gates")
def test_the_articles_matrix_is_three_blocks():
    p, (xs, h, c) = random_params(FULL), random_start(FULL)
    values = FULL.gates(p, xs[0], (h, c))
    for gate in "ifo":
        seen = values["c"] if gate == "o" else c
        W = np.zeros((H, H + I + H))
        for row in range(H):
            W[row, :H], W[row, H:H + I], W[row, H + I:] = p[f"U_{gate}"][:, row], p[f"W_{gate}"][:, row], p[f"P_{gate}"][:, row]
        for b in range(B):
            stacked = [*h[b], *xs[0, b], *seen[b]]
            wanted = [scalar_sigma(sum(w * v for w, v in zip(W[row], stacked)) + p[f"b_{gate}"][row]) for row in range(H)]
            assert_close(values[gate][b], wanted)


@equation("eq-peephole-diagonal", code="minigrad.cells.PeepholeLSTMCell.gates")
@equation("eq-peephole-gates", code="minigrad.cells.PeepholeLSTMCell.gates")
@pytest.mark.parametrize("gate", ["i", "f"])
def test_input_and_forget_gate_look_at_their_own_old_cell(run, gate):
    wanted = every_entry(lambda t, b, j: scalar_sigma(affine(run["p"], gate, run["xs"][t, b], run["h_old"][t, b], j)
                                                      + run["p"][f"P_{gate}"][j] * run["c_old"][t, b, j]))
    assert_close(run[gate], wanted)
    matrices = run["p"] | {f"P_{g}": np.diag(run["p"][f"P_{g}"]) for g in "ifo"}
    assert_close(mg.gate_values(FULL, matrices, run["xs"], (run["h0"], run["c0"]))[gate], wanted)


@equation("eq-peephole-cell", code="minigrad.cells.PeepholeLSTMCell.gates")
def test_the_candidate_has_no_peephole(run):
    def c(t, b, j):
        candidate = math.tanh(affine(run["p"], "c", run["xs"][t, b], run["h_old"][t, b], j))
        return run["f"][t, b, j] * run["c_old"][t, b, j] + run["i"][t, b, j] * candidate

    assert_close(run["c"], every_entry(c))


@equation("eq-peephole-output", code="minigrad.cells.PeepholeLSTMCell.gates")
def test_the_output_gate_looks_at_the_new_cell(run):
    o = every_entry(lambda t, b, j: scalar_sigma(affine(run["p"], "o", run["xs"][t, b], run["h_old"][t, b], j)
                                                 + run["p"]["P_o"][j] * run["c"][t, b, j]))
    assert_close(run["o"], o)
    assert_close(run["h"], every_entry(lambda t, b, j: o[t, b, j] * math.tanh(run["c"][t, b, j])))


@equation("eq-peephole-count", code="minigrad.cells.PeepholeLSTMCell.more_shapes")
@pytest.mark.parametrize("inputs, units", [(1, 1), (2, 5), (8, 128)])
def test_the_number_of_parameters(inputs, units):
    def count(cell):
        return sum(a.size for a in cell.init(np.random.default_rng(0)).values())

    lstm = 4 * (inputs * units + units**2 + units)
    assert count(mg.LSTMCell(inputs, units)) == lstm
    assert count(mg.PeepholeLSTMCell(inputs, units)) == lstm + 3 * units
    assert count(mg.PeepholeLSTMCell(inputs, units, peephole="full")) == lstm + 3 * units**2


# ---------------------------------------------------------------- backwards
@pytest.fixture
def deltas(run):
    """Every δ of the chapter by finite differences, (T, B, H) each; they know nothing of its equations.

    "h" and "c" count every path; "h_old" and "c_old" are what step t alone sends back, without the loss of h_{t-1}.
    """
    p, xs, weights = run["p"], run["xs"], np.random.default_rng(62).normal(size=(T, B, H))

    def loss(at, name, nudge):
        h, c, total = run["h0"], run["c0"], 0.0
        for t in range(T):
            def add(what):
                return nudge if (t, what) == (at, name) else 0.0

            h, c = h + add("h_old"), c + add("c_old")
            inside = {gate: xs[t] @ p[f"W_{gate}"] + h @ p[f"U_{gate}"] + p[f"b_{gate}"] + add(f"a_{gate}") for gate in "ifoc"}
            c = sigma(inside["f"] + c * p["P_f"]) * c + sigma(inside["i"] + c * p["P_i"]) * np.tanh(inside["c"]) + add("c")
            h = sigma(inside["o"] + c * p["P_o"]) * np.tanh(c) + add("h")
            total += np.sum(weights[t] * h)
        return total

    names = ("h", "c", "h_old", "c_old", "a_i", "a_f", "a_o", "a_c")
    return {name: np.stack([slope(loss, t, name, (B, H)) for t in range(T)]) for name in names} | {"weights": weights}


def close(found, wanted):
    return np.allclose(found, wanted, rtol=1e-6, atol=1e-8)


@equation("eq-peephole-back-o")
def test_the_gradient_inside_the_output_gate(run, deltas):
    o, tanh_c = run["o"], np.tanh(run["c"])
    assert close(deltas["a_o"], deltas["h"] * tanh_c * o * (1 - o))


@equation("eq-peephole-back-c")
def test_the_gradient_of_the_new_cell(run, deltas):
    later = np.concatenate([deltas["c_old"][1:], np.zeros((1, B, H))])
    shown = deltas["h"] * run["o"] * (1 - np.tanh(run["c"]) ** 2)
    assert close(deltas["c"], later + shown + deltas["a_o"] * run["p"]["P_o"])
    assert not close(deltas["c"], later + shown)


@equation("eq-peephole-back-gates")
def test_the_gradients_inside_the_other_gates_and_the_candidate(run, deltas):
    i, f, candidate, d_c = run["i"], run["f"], run["c_tilde"], deltas["c"]
    assert close(deltas["a_i"], d_c * candidate * i * (1 - i))
    assert close(deltas["a_f"], d_c * run["c_old"] * f * (1 - f))
    assert close(deltas["a_c"], d_c * i * (1 - candidate**2))


@equation("eq-peephole-back-state")
def test_what_a_step_sends_back(run, deltas):
    p = run["p"]
    assert close(deltas["c_old"], deltas["c"] * run["f"] + deltas["a_i"] * p["P_i"] + deltas["a_f"] * p["P_f"])
    assert close(deltas["h_old"], sum(deltas[f"a_{gate}"] @ p[f"U_{gate}"].T for gate in "ifoc"))


@equation("eq-peephole-back-params", code="minigrad.kernels.DiagonalPeepholeKernel.of_params")
def test_the_gradients_of_the_peepholes(run, deltas):
    arguments = run["p"], run["xs"], run["h0"], run["c0"]

    def loss(p, xs, h, c, fused):
        return (deltas["weights"] * mg.unroll(DIAGONAL, p, xs, (h, c), fused=fused)[0]).sum()

    for fused in (True, False):
        engine = mg.grad(loss)(*arguments, fused)
        for gate, seen in (("i", run["c_old"]), ("f", run["c_old"]), ("o", run["c"])):
            d_a = deltas[f"a_{gate}"]
            assert close(engine[f"P_{gate}"], sum(d_a[t, b] * seen[t, b] for t in range(T) for b in range(B)))
            assert close(engine[f"W_{gate}"], sum(run["xs"][t].T @ d_a[t] for t in range(T)))
            assert close(engine[f"U_{gate}"], sum(run["h_old"][t].T @ d_a[t] for t in range(T)))
            assert close(engine[f"b_{gate}"], d_a.sum(axis=(0, 1)))


@equation("eq-peephole-carousel", code="minigrad.cells.PeepholeLSTMCell.gates")
def test_the_direct_path_from_cell_to_cell(run):
    p, x, h, c = run["p"], run["xs"][0], run["h0"], run["c0"]
    i, f, candidate = run["i"][0], run["f"][0], run["c_tilde"][0]
    diagonal = f + p["P_f"] * f * (1 - f) * c + p["P_i"] * i * (1 - i) * candidate
    width = 1e-6
    for j in range(H):
        e = np.zeros((B, H))
        e[:, j] = width
        column = (DIAGONAL(p, x, (h, c + e))[1] - DIAGONAL(p, x, (h, c - e))[1]) / (2 * width)
        assert np.allclose(column, diagonal * (e > 0), atol=1e-8)
    assert np.any(diagonal < 0) or np.any(diagonal > 1), "the chapter says that peepholes can take it out of 0 to 1"


# ---------------------------------------------------------------- the timer
def timer(F):
    p = {name: np.zeros(shape) for name, shape in mg.PeepholeLSTMCell(1, 1).shapes.items()}
    return p | {"P_f": np.array([-100.0]), "b_f": np.array([100 * (F - 0.5)]), "P_o": np.array([100.0]),
                "b_o": np.array([-100 * (F - 0.5)]), "b_i": np.array([50.0]), "b_c": np.array([50.0])}


@equation("eq-peephole-timer", code="minigrad.cells.PeepholeLSTMCell.gates")
@pytest.mark.parametrize("F", [2, 3, 7, 50, 97])
def test_the_timer_is_exact_for_ever(F):
    cell, silence = mg.PeepholeLSTMCell(1, 1), np.zeros((500, 1, 1))
    values = mg.gate_values(cell, timer(F), silence)
    steps = np.arange(1, 501)
    assert np.array_equal(values["c"][:, 0, 0], (steps - 1) % F + 1)
    assert np.array_equal(values["h"][:, 0, 0], np.where(steps % F == 0, np.tanh(float(F)), 0.0))
    fused, _ = mg.unroll(cell, timer(F), silence)
    assert np.array_equal(fused, values["h"])


def test_why_a_slope_of_10_is_enough_for_3_and_not_for_10():
    said, cell = source_of("### How steep must it be?"), mg.PeepholeLSTMCell(1, 1)

    def after_a_round(F, c):
        for _ in range(F):
            c = scalar_sigma(10 * (F - 0.5 - c)) * c + 1
        return c

    rest = 3.0
    for _ in range(50):
        rest = after_a_round(3, rest)
    slope = (after_a_round(3, rest + 1e-6) - after_a_round(3, rest - 1e-6)) / 2e-6
    assert f"multiplies an error by about {slope:.2f}".replace("-", "−") in said
    p = timer(10) | {"P_f": np.array([-10.0]), "b_f": np.array([95.0]), "P_o": np.array([10.0]), "b_o": np.array([-95.0])}
    ticks = mg.gate_values(cell, p, np.zeros((500, 1, 1)))["h"][:, 0, 0] > 0.5
    first = int(np.argmax(ticks != (np.arange(1, 501) % 10 == 0))) + 1
    assert f"the first wrong step is the {first}th" in said


def test_one_plain_unit_with_recurrent_weights_can_tick_if_it_need_not_be_silent():
    cell = mg.LSTMCell(1, 1)
    p = {name: np.zeros(shape) for name, shape in cell.shapes.items()}
    for gate, u, b in (("i", -53.6, -1.3), ("f", 23.2, -0.1), ("o", -9.6, 0.1), ("c", -24.1, -2.2)):
        p[f"U_{gate}"][:], p[f"b_{gate}"][:] = u, b
    h, due = mg.gate_values(cell, p, np.zeros((500, 1, 1)))["h"][:, 0, 0], np.arange(1, 501) % 10 == 0
    assert h[due].min() > 0.71 and np.abs(h[~due]).max() < 0.31
    assert "even a single unit can then tick, if it need not be silent in between" in source_of("a plain LSTM's gates do see")


@equation("eq-peephole-cut", code="minigrad.cells.LSTMCell.gates")
def test_without_peepholes_input_and_recurrent_weights_a_cell_only_creeps():
    cell, steps = mg.LSTMCell(I, H), 60
    p = random_params(cell)
    for gate in "ifoc":
        p[f"W_{gate}"][:] = p[f"U_{gate}"][:] = 0
    _, h0, c0 = random_start(cell)
    values = mg.gate_values(cell, p, np.zeros((steps, B, I)), (h0, c0))
    i, f, o = (np.array([scalar_sigma(a) for a in p[f"b_{gate}"]]) for gate in "ifo")
    limit = i * np.tanh(p["b_c"]) / (1 - f)
    for t in range(steps):
        c = limit + f ** (t + 1) * (c0 - limit)
        assert np.allclose(values["c"][t], c, rtol=1e-10) and np.allclose(values["h"][t], o * np.tanh(c), rtol=1e-10)
    moves = np.diff(values["h"], axis=0)
    assert not np.any((moves.max(axis=0) > 1e-12) & (moves.min(axis=0) < -1e-12)), "a tick rises and falls"


# ---------------------------------------------------------------- what else the chapter shows
def source_of(text):
    """The source of the cell of chapter 6 in which ``text`` stands."""
    cells = json.loads((ROOT / "notebooks/06-peepholes.ipynb").read_text(encoding="utf-8"))["cells"]
    (source,) = (s for s in ("".join(cell["source"]) for cell in cells) if text in s)
    return source


def test_the_numbers_of_onnxruntime():
    onnx, ort = framework("onnx"), framework("onnxruntime")
    shown = {}
    exec(source_of("from_onnxruntime = {").split("\n\n\n")[0], shown)
    p, n = {}, 0
    for name, shape in mg.PeepholeLSTMCell(2, 3).shapes.items():
        p[name] = np.sin(1 + 1.7 * np.arange(n, n + math.prod(shape))).reshape(shape)
        n += math.prod(shape)

    def packed(kind, gates):                         # by hand, not by minigrad.dialects
        return np.concatenate([p[f"{kind}_{gate}"].T for gate in gates])[None].astype(np.float32)

    start = np.sin(0.5 + 2.3 * np.arange(6)).reshape(1, 2, 3).astype(np.float32)
    inputs = {"X": np.cos(1.3 * np.arange(16)).reshape(4, 2, 2).astype(np.float32), "W": packed("W", "iofc"), "R": packed("U", "iofc"),
              "B": np.concatenate([packed("b", "iofc"), np.zeros((1, 12), np.float32)], axis=1), "h": start, "c": start,
              "P": packed("P", "iof")}
    helper, number = onnx.helper, onnx.TensorProto.FLOAT
    node = helper.make_node("LSTM", ["X", "W", "R", "B", "", "h", "c", "P"], ["", "h_new", "c_new"], hidden_size=3)
    graph = helper.make_graph([node], "peephole", [helper.make_tensor_value_info(k, number, a.shape) for k, a in inputs.items()],
                              [helper.make_tensor_value_info(k, number, None) for k in ("h_new", "c_new")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    h, c = ort.InferenceSession(model.SerializeToString()).run(None, inputs)
    assert np.allclose(h[0], shown["from_onnxruntime"]["h"], rtol=0, atol=1e-6)
    assert np.allclose(c[0], shown["from_onnxruntime"]["c"], rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def experiment():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "experiments")          # where it finds stored_runs
        yield loaded_experiment()


def loaded_experiment():
    spec = importlib.util.spec_from_file_location("counting_and_timing", ROOT / "experiments/counting_and_timing.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tasks_of_the_experiment(experiment):
    xs, labels, lengths = experiment.a_n_b_n([1, 3])
    for row, (string, follows) in enumerate((("ab", "02"), ("aaabbb", "000112"))):
        assert lengths[row] == len(string)
        assert "".join("ab"[k] for k in np.argmax(xs[:lengths[row], row], -1)) == string
        assert "".join(map(str, labels[:lengths[row], row])) == follows and not xs[lengths[row]:, row].any()
    silence, targets = experiment.ticks(25)
    assert not silence.any() and [t + 1 for t in np.flatnonzero(targets)] == [10, 20]
    assert [experiment.before_the_first_wrong(right) for right in ([False, True], [True, True, False, True], [True] * 3)] == [0, 2, 3]


def test_a_step_is_right_only_where_the_model_says_the_label(experiment):
    def says_b_only(params, xs, lengths):
        return np.eye(3)[np.ones(xs.shape[:2], int)]

    right = experiment.steps_right(says_b_only, None, [1, 3])
    assert right[:, 0].tolist() == [False, False, True, True, True, True]        # past its end every step counts as right
    assert right[:, 1].tolist() == [False, False, False, True, True, False]


def test_every_run_of_the_experiment_is_stored(experiment):
    stored = json.loads(experiment.RESULTS.read_text(encoding="utf-8"))
    assert stored["settings"] == experiment.SETTINGS
    assert all(set(run["versions"]) == {"python", "numpy", "minigrad"} for run in stored["runs"])
    keys = [(run["task"], run["cell"], run["seed"]) for run in stored["runs"]]
    assert sorted(keys) == sorted((task, name, seed) for task in ("count", "time") for name in experiment.CELLS for seed in range(16))
    assert all(0 <= run["reached"] <= {"count": 200, "time": 500}[run["task"]] for run in stored["runs"])


IN_WORDS = dict(enumerate("no one two three four five six seven eight nine ten".split()))


def test_the_prose_says_what_the_stored_runs_are(experiment):
    runs = json.loads(experiment.RESULTS.read_text(encoding="utf-8"))["runs"]
    count, time = ({name: [run["reached"] for run in runs if (run["task"], run["cell"]) == (task, name)]
                    for name in experiment.CELLS} for task in ("count", "time"))
    peephole, others = count["peephole LSTM"], [n for name in count if name != "peephole LSTM" for n in count[name]]
    assert [n < 10 for name in count for n in count[name]].count(True) == 1 and min(count["tanh RNN"]) < 10
    perfect = {name: time[name].count(500) for name in time}
    first_mistakes = [last + 1 for name in time for last in time[name] if last < 500]
    assert min(peephole) == 13 and perfect["peephole LSTM"] == perfect["LSTM"], "plain LSTMs learnt it as often"
    said, caption = source_of("All runs but one, of a tanh RNN"), caption_of("fig, axes = plt.subplots(1, 2, sharey=True")
    word = IN_WORDS.__getitem__
    for sentence in (
            f"the GRU gets to {max(count['GRU'])} at most, the tanh RNN to {max(count['tanh RNN'])}, the LSTM to {max(count['LSTM'])}",
            f"{word(peephole.count(min(peephole)))} stop at {min(peephole)}",
            f"{word(sum(n > max(others) for n in peephole))} go further than any other cell",
            f"{word(peephole.count(200))} of these reach the limit of 200",
            f"{word(perfect['LSTM']).capitalize()} of 16 plain LSTMs tick without a mistake to step 500, "
            f"{word(perfect['peephole LSTM'])} of 16 peephole LSTMs, {word(perfect['GRU'])} GRUs and {word(perfect['tanh RNN'])} tanh RNN",
            f"Of the other {len(first_mistakes)}, {sum(step in (10, 20) for step in first_mistakes)} make their first mistake"):
        assert sentence in said, sentence
    assert f"{word(peephole.count(200))} of them to the limit of 200" in caption
    assert f"{perfect['LSTM']} times in 16" in caption


def caption_of(text):
    """The caption of the figure of chapter 6 in whose code ``text`` stands."""
    cells = json.loads((ROOT / "notebooks/06-peepholes.ipynb").read_text(encoding="utf-8"))["cells"]
    (cell,) = (cell for cell in cells if text in "".join(cell["source"]))
    return cell["metadata"]["mystnb"]["figure"]["caption"]


def test_what_is_said_of_chapter_9_is_what_it_prints():
    said = source_of("the official ONNX test of this operator")
    cells = json.loads((ROOT / "notebooks/09-dialects.ipynb").read_text(encoding="utf-8"))["cells"]
    printed = "".join("".join(output.get("text", "")) for cell in cells for output in cell.get("outputs", []))
    assert "of the 57 mistakes" in said and "it notices 12" in said
    assert "c = 0: 12 of 57 noticed" in printed
