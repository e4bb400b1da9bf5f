"""The numbered equations of chapter 9, each worked out in two ways that share no code.

One side is `minigrad.dialects` or a cell, the other the equation written out on the framework's own arrays, one
number after another where that is possible. All weights, biases and states are random and non-zero; B, I, H differ.
"""
import math
import re
import types
from pathlib import Path

import numpy as np
import pytest
from frameworks import framework

import minigrad as mg

ROOT = Path(__file__).resolve().parents[1]
CHAPTER = ROOT / "notebooks/09-dialects.ipynb"
equation = pytest.mark.equation
B, I, H, T = 3, 2, 5, 4


def sigma(a):
    return 1 / (1 + np.exp(-a))


@pytest.fixture
def rng():
    return np.random.default_rng(90)


def torch_arrays(rng, n):
    shapes = {"weight_ih_l0": (n * H, I), "weight_hh_l0": (n * H, H), "bias_ih_l0": (n * H,), "bias_hh_l0": (n * H,)}
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def onnx_arrays(rng, n):
    return [rng.normal(size=shape) for shape in ((1, n * H, I), (1, n * H, H), (1, 2 * n * H), (1, 3 * H))]


def rows_dot(weights, x, first, j):
    """What unit j of the block that starts at a row gets from x, summed in plain Python."""
    return sum(weights[first + j][k] * x[k] for k in range(len(x)))


def logit(gate):
    return np.log(gate / (1 - gate))


# ---------------------------------------------------------------- PyTorch
@equation("eq-dialect-torch", code="minigrad.dialects.from_torch")
def test_pytorchs_one_sum_is_all_four_gates(rng):
    theirs, x, h, c = torch_arrays(rng, 4), rng.normal(size=(B, I)), rng.normal(size=(B, H)), rng.normal(size=(B, H))
    cell = mg.LSTMCell(I, H)
    gates = cell.gates(mg.from_torch(cell, theirs), x, (h, c))
    a = np.einsum("bk,nk->bn", x, theirs["weight_ih_l0"]) + theirs["bias_ih_l0"]
    a = a + np.einsum("bk,nk->bn", h, theirs["weight_hh_l0"]) + theirs["bias_hh_l0"]
    for n, (name, back) in enumerate((("i", logit), ("f", logit), ("c_tilde", np.arctanh), ("o", logit))):
        np.testing.assert_allclose(back(gates[name]), a[:, n * H:(n + 1) * H], rtol=1e-8)
    new_c = sigma(a[:, H:2 * H]) * c + sigma(a[:, :H]) * np.tanh(a[:, 2 * H:3 * H])
    np.testing.assert_allclose(gates["c"], new_c, rtol=1e-12)
    np.testing.assert_allclose(gates["h"], sigma(a[:, 3 * H:]) * np.tanh(new_c), rtol=1e-12)


@equation("eq-dialect-blocks", code="minigrad.dialects.unpack")
def test_a_block_is_transposed_and_its_biases_added(rng):
    theirs = torch_arrays(rng, 4)
    ours = mg.from_torch(mg.LSTMCell(I, H), theirs)
    for n, gate in enumerate("ifco"):
        for j in range(H):
            row = n * H + j
            assert [ours[f"W_{gate}"][k, j] for k in range(I)] == list(theirs["weight_ih_l0"][row])
            assert [ours[f"U_{gate}"][k, j] for k in range(H)] == list(theirs["weight_hh_l0"][row])
            assert ours[f"b_{gate}"][j] == theirs["bias_ih_l0"][row] + theirs["bias_hh_l0"][row]


@equation("eq-dialect-inner-bias", code="minigrad.dialects.from_torch")
def test_the_candidates_second_bias_is_inside_the_reset(rng):
    theirs, x, h = torch_arrays(rng, 3), rng.normal(size=(B, I)), rng.normal(size=(B, H))
    cell = mg.GRUCell(I, H, reset="after", update="old")
    gates = cell.gates(mg.from_torch(cell, theirs), x, h)
    W, U, b, d = theirs.values()
    for row in range(B):
        for j in range(H):
            r = sigma(rows_dot(W, x[row], 0, j) + b[j] + rows_dot(U, h[row], 0, j) + d[j])
            heard = rows_dot(U, h[row], 2 * H, j) + d[2 * H + j]
            wanted = math.tanh(rows_dot(W, x[row], 2 * H, j) + b[2 * H + j] + r * heard)
            assert gates["h_tilde"][row, j] == pytest.approx(wanted, rel=1e-12)


# ---------------------------------------------------------------- Keras
@equation("eq-dialect-keras", code="minigrad.dialects.from_keras")
def test_kerass_columns_and_rows_of_biases(rng):
    kernel, recurrent, bias = (rng.normal(size=shape) for shape in ((I, 3 * H), (H, 3 * H), (2, 3 * H)))
    cell = mg.GRUCell(I, H, reset="after", update="old")
    p = mg.from_keras(cell, [kernel, recurrent, bias])
    assert np.array_equal(kernel, np.concatenate([p["W_z"], p["W_r"], p["W_h"]], axis=1))
    assert np.array_equal(recurrent, np.concatenate([p["U_z"], p["U_r"], p["U_h"]], axis=1))
    for n, wanted in enumerate((p["b_z"], p["b_r"])):
        assert np.array_equal(wanted, bias[0, n * H:(n + 1) * H] + bias[1, n * H:(n + 1) * H])
    assert np.array_equal(bias[:, 2 * H:], [p["b_h"], p["b_U"]])


# ---------------------------------------------------------------- ONNX
@equation("eq-dialect-onnx", code="minigrad.dialects.from_onnx")
def test_onnxs_four_arrays(rng):
    W, R, biases, P = onnx_arrays(rng, 4)
    p = mg.from_onnx(mg.PeepholeLSTMCell(I, H), W, R, biases, P)
    for n, gate in enumerate("iofc"):
        rows = slice(n * H, (n + 1) * H)
        assert np.array_equal(p[f"W_{gate}"], np.swapaxes(W[0, rows], 0, 1))
        assert np.array_equal(p[f"U_{gate}"], np.swapaxes(R[0, rows], 0, 1))
        assert np.array_equal(p[f"b_{gate}"], biases[0, rows] + biases[0, 4 * H + n * H:4 * H + (n + 1) * H])
    assert np.array_equal(P[0], [*p["P_i"], *p["P_o"], *p["P_f"]])


@equation("eq-dialect-onnx", code="minigrad.dialects.from_onnx")
@pytest.mark.parametrize("order, cell", [("iofc", mg.LSTMCell(I, H)), ("zrh", mg.GRUCell(I, H, reset="before", update="old")),
                                         ("zrh", mg.GRUCell(I, H, reset="after", update="old"))], ids=repr)
def test_onnxs_arrays_without_peepholes(rng, order, cell):
    n = len(order)
    W, R, biases, _ = onnx_arrays(rng, n)
    p = mg.from_onnx(cell, W, R, biases)
    first, second = biases[0].reshape(2, n, H)
    for k, gate in enumerate(order):
        for j in range(H):
            assert list(p[f"W_{gate}"][:, j]) == list(W[0, k * H + j])
            assert list(p[f"U_{gate}"][:, j]) == list(R[0, k * H + j])
        inside = "b_U" in p and gate == "h"
        assert np.array_equal(p[f"b_{gate}"], first[k] if inside else first[k] + second[k])
    assert set(p) == set(cell.shapes) and ("b_U" not in p or np.array_equal(p["b_U"], second[2]))


@equation("eq-dialect-peepholes", code="minigrad.cells.PeepholeLSTMCell.gates")
def test_who_peeks_at_which_cell(rng):
    cell = mg.PeepholeLSTMCell(I, H)
    p = {name: rng.normal(size=shape) for name, shape in cell.shapes.items()}
    xs, h, c = rng.normal(size=(T, B, I)), rng.normal(size=(B, H)), rng.normal(size=(B, H))
    values = mg.gate_values(cell, p, xs, (h, c))
    for t in range(T):
        def a(gate, seen):
            return np.einsum("bk,kj->bj", xs[t], p[f"W_{gate}"]) + np.einsum("bk,kj->bj", h, p[f"U_{gate}"]) + p[f"P_{gate}"] * seen + p[f"b_{gate}"]

        i, f, old = sigma(a("i", c)), sigma(a("f", c)), c
        candidate = np.tanh(np.einsum("bk,kj->bj", xs[t], p["W_c"]) + np.einsum("bk,kj->bj", h, p["U_c"]) + p["b_c"])
        c = f * old + i * candidate
        o = sigma(a("o", c))
        h = o * np.tanh(c)
        for name, wanted in (("i", i), ("f", f), ("o", o), ("c", c), ("h", h)):
            np.testing.assert_allclose(values[name][t], wanted, rtol=1e-11, err_msg=name)


# ---------------------------------------------------------------- z by its sign
@equation("eq-dialect-sign", code="minigrad.dialects.sign")
def test_a_sign_turns_one_z_into_the_other(rng):
    theirs, x, h = torch_arrays(rng, 3), rng.normal(size=(B, I)), rng.normal(size=(B, H))
    cells = {update: mg.GRUCell(I, H, reset="after", update=update) for update in ("new", "old")}
    p = {update: mg.from_torch(cell, theirs) for update, cell in cells.items()}
    new, old = (cells[update].gates(p[update], x, h) for update in ("new", "old"))
    a = x @ p["new"]["W_z"] + h @ p["new"]["U_z"] + p["new"]["b_z"]         # what stands inside the z that takes the new
    left = (1 - sigma(a)) * h + sigma(a) * new["h_tilde"]
    right = sigma(-a) * h + (1 - sigma(-a)) * new["h_tilde"]
    for state in (left, right, old["h"]):
        np.testing.assert_allclose(new["h"], state, rtol=1e-12)
    np.testing.assert_allclose(old["z"], 1 - new["z"], rtol=1e-12)
    assert np.abs(new["z"] - old["z"]).min() > 1e-3
    assert np.array_equal(p["new"]["U_r"], p["old"]["U_r"]) and np.array_equal(p["new"]["b_U"], p["old"]["b_U"])


# ---------------------------------------------------------------- where r acts can't be converted
def from_zero(cell, p, x):
    return cell(p, x, np.zeros((len(x), cell.hidden_size)))


def every_gru(reset):
    return [mg.GRUCell(I, H, reset=reset, update=update) for update in ("new", "old")]


@equation("eq-dialect-sign-before", code="minigrad.cells.GRUCell.gates")
def test_from_zero_a_reset_before_cell_has_the_sign_of_a_straight_line(rng):
    for cell in every_gru("before"):
        p, x = {name: rng.normal(size=shape) for name, shape in cell.shapes.items()}, rng.normal(size=(50, I))
        line = np.array([[p["b_h"][j] + sum(row[k] * p["W_h"][k, j] for k in range(I)) for j in range(H)] for row in x])
        assert np.array_equal(np.sign(from_zero(cell, p, x)), np.sign(line))
        assert {-1, 1} == set(np.sign(line).ravel())


@equation("eq-dialect-sign-after", code="minigrad.cells.GRUCell.gates")
def test_from_zero_a_reset_after_cell_has_the_sign_of_its_bent_one(rng):
    for cell in every_gru("after"):
        p, x = {name: rng.normal(size=shape) for name, shape in cell.shapes.items()}, rng.normal(size=(50, I))
        r = sigma(np.einsum("bk,kj->bj", x, p["W_r"]) + p["b_r"])
        line = np.einsum("bk,kj->bj", x, p["W_h"]) + p["b_h"]
        states = from_zero(cell, p, x)
        assert np.array_equal(np.sign(states), np.sign(line + r * p["b_U"]))
        assert not np.array_equal(np.sign(states), np.sign(line))


def changes(values):
    return int(np.sum(np.diff(np.sign(values)) != 0))


@equation("eq-dialect-witness")
def test_the_witness_changes_its_sign_three_times():
    cell = mg.GRUCell(1, 1, reset="after")
    p = {name: np.zeros(shape) for name, shape in cell.shapes.items()}
    p["W_h"][:], p["b_h"][:], p["b_U"][:], p["W_r"][:] = -1, -2, 4, 4
    x = np.linspace(-4, 4, 1000)
    s = np.array([4 / (1 + math.exp(-4 * number)) - number - 2 for number in x])
    states = from_zero(cell, p, x[:, None])[:, 0]
    np.testing.assert_allclose(np.arctanh(2 * states), s, rtol=1e-7, atol=1e-9)         # z = 1/2
    assert changes(s) == changes(states) == 3


def three_units(reset):
    cell = mg.GRUCell(1, 3, reset=reset)
    return cell, {name: np.zeros(shape) for name, shape in cell.shapes.items()}


def chooser():
    """The chapter's three units: 1 and 2 speak to 3, and the input says which of them is heard."""
    cell, p = three_units("before")
    p["U_h"][:, 2], p["W_r"][0, :2], p["b_h"][:2] = [1, -1, 0], [1, -1], 1
    return cell, p


@equation("eq-dialect-choose", code="minigrad.cells.GRUCell.gates")
def test_a_reset_before_the_product_chooses_whom_to_hear():
    (cell, p), a = chooser(), math.tanh(1) / 2
    x = np.linspace(-3, 3, 30)[:, None]
    for first in (-2.0, 0.5):                           # whatever the first input is
        h = cell(p, np.full((30, 1), first), np.zeros((30, 3)))
        np.testing.assert_allclose(h, np.tile([a, a, 0], (30, 1)), rtol=1e-12)
        inside = np.arctanh(cell.gates(p, x, h)["h_tilde"][:, 2])
        np.testing.assert_allclose(inside, [a * sigma(number) - a * sigma(-number) for number in x[:, 0]], rtol=1e-10)
        np.testing.assert_allclose(inside, a * np.tanh(x[:, 0] / 2), rtol=1e-10)


def test_the_three_units_tell_inputs_apart_from_a_state_of_zero():
    """The witness is one for a network that starts at zero: what it puts out is not the same for all inputs."""
    cell, p = chooser()
    xs = np.array([[[-1.0], [1.0]], [[1.0], [-1.0]], [[0.3], [0.4]]])                  # (T, B, I)
    hs, _ = mg.unroll(cell, p, xs)
    assert not hs[0, :, 2].any() and list(np.sign(hs[1, :, 2])) == [1, -1]
    assert abs(hs[2, 0, 2] - hs[2, 1, 2]) > 0.05


@equation("eq-dialect-listen", code="minigrad.cells.GRUCell.gates")
def test_what_a_third_unit_hears_with_the_reset_after_the_product(rng):
    """The general form of the proof; and its steps 2 and 3, in which the sign can't depend on x."""
    cell, _ = three_units("after")
    p = {name: rng.normal(size=shape) for name, shape in cell.shapes.items()}
    x, h = rng.normal(size=(B, 1)), rng.uniform(-1, 1, (B, 3)) * [1, 1, 0]

    def heard(p, x, h):
        r = sigma(p["W_r"][0, 2] * x + p["U_r"][0, 2] * h[0] + p["U_r"][1, 2] * h[1] + p["b_r"][2])
        return p["W_h"][0, 2] * x + p["b_h"][2] + r * (p["U_h"][0, 2] * h[0] + p["U_h"][1, 2] * h[1] + p["b_U"][2])

    inside = np.arctanh(cell.gates(p, x, h)["h_tilde"][:, 2])
    np.testing.assert_allclose(inside, [heard(p, x[b, 0], h[b]) for b in range(B)], rtol=1e-9)

    silent = {name: a.copy() for name, a in p.items()}
    silent["W_h"][0, 2] = 0
    no_bias, no_gate = ({name: a.copy() for name, a in silent.items()} for _ in range(2))
    no_bias["b_h"][2] = no_bias["b_U"][2] = 0
    no_gate["W_r"][0, 2] = 0
    a = math.tanh(1) / 2
    for case in (no_bias, no_gate):
        signs = np.sign([heard(case, number, (a, a)) for number in np.linspace(-9, 9, 50)])
        assert np.all(signs == signs[0]) and signs[0]


# ---------------------------------------------------------------- the chapter's exercises and statements
def notebook():
    import json

    return json.loads(CHAPTER.read_text(encoding="utf-8"))["cells"]


def text_of_chapter():
    return "\n".join("".join(cell["source"]) for cell in notebook() if cell["cell_type"] == "markdown")


@pytest.fixture(scope="module")
def chapter(tmp_path_factory):
    """The chapter's exercise cells: every check and solution by its name, checks without the printing around them."""
    class Names(dict):
        pass

    names = Names(mg=mg, np=np, sigmoid=mg.sigmoid, tanh=mg.tanh)
    for cell in notebook():
        source = "".join(cell["source"])
        if re.match(r"@mg\.exercise", source):
            exec(source.replace("@mg.exercise\n", ""), names)
        elif "def same(" in source:
            exec(source[source.index("def same("):], names)
        elif "solution" in cell["metadata"].get("tags", []) and cell["cell_type"] == "code":
            exec(source, names)
    return types.SimpleNamespace(**{name: value for name, value in names.items() if not name.startswith("__")})


def says(check, answer):
    """What a check finds wrong with an answer."""
    with pytest.raises(AssertionError) as found:
        check(answer)
    return str(found.value)


def test_the_check_of_the_stacked_lstm(chapter):
    right = chapter.from_stacked_solution

    def in_place(kernel, bias, I):
        bias[2 * len(bias) // 4:3 * len(bias) // 4] += 1
        blocks = right(kernel, bias, I)
        return blocks | {"b_f": blocks["b_f"] - 1}

    def sizes_of_the_first_test(kernel, bias, I):
        ours = {}
        for gate, first in zip("icfo", (0, 5, 10, 15)):
            columns = slice(first, first + 5)
            ours |= {f"W_{gate}": kernel[:3, columns], f"U_{gate}": kernel[3:, columns], f"b_{gate}": bias[columns] + (gate == "f")}
        return ours

    def rows_of_h_first(kernel, bias, I):
        H = len(bias) // 4
        return right(np.concatenate([kernel[H:], kernel[:H]]), bias, I)

    chapter.check_from_stacked(right)
    assert "have changed" in says(chapter.check_from_stacked, in_place)
    assert "has shape" in says(chapter.check_from_stacked, sizes_of_the_first_test)
    assert "rows of x come first" in says(chapter.check_from_stacked, rows_of_h_first)


def test_the_check_of_the_witness(chapter):
    right = chapter.my_witness_solution
    chapter.check_my_witness(right)
    jump = {"W_r": np.array([[np.inf]])}
    assert "not finite" in says(chapter.check_my_witness, lambda: right() | jump)


def find_dialect(W, U, b_in, b_rec, xs, hs, merged=False, transposed=False, steps=None):
    """A solver of the last exercise, with the mistakes that its check has to notice."""
    from itertools import permutations, product

    def distance(order, reset, update):
        p = {}
        for gate, W_g, U_g, b, d in zip(order, *(np.split(a, 3) for a in (W, U, b_in, b_rec))):
            p |= {f"W_{gate}": W_g.T, f"U_{gate}": U_g if transposed else U_g.T, f"b_{gate}": b + d}
            if gate == "h" and reset == "after":
                p |= {"b_U": 0 * d} if merged else {"b_h": b, "b_U": d}
        cell = mg.GRUCell(xs.shape[2], hs.shape[2], reset=reset, update=update)
        return np.abs(mg.unroll(cell, p, xs)[0] - hs)[:steps].max()

    guesses = product(map("".join, permutations("zrh")), ("before", "after"), ("new", "old"))
    best = min(guesses, key=lambda guess: distance(*guess))
    return *best, distance(*best)


def test_the_check_of_the_file_without_a_label(chapter):
    check = chapter.check_find_dialect
    check(find_dialect)
    check(chapter.find_dialect_solution)
    assert "fits to rounding" in says(check, lambda *file: find_dialect(*file, merged=True))
    assert "fits to rounding" in says(check, lambda *file: find_dialect(*file, transposed=True))
    assert "all steps" in says(check, lambda *file: find_dialect(*file, steps=1))
    for order in ("hrz", "hzr", "rhz", "rzh", "zhr"):               # each is in one of the check's files
        def without(*file, order=order):
            found, *rest = find_dialect(*file)
            return "zrh" if found == order else found, *rest

        assert "the order of the blocks" in says(check, without)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")       # of other operators' cases, which are made with it
def test_onnxs_official_test_is_as_the_chapter_says():
    framework("onnx")
    from onnx.backend.test.case.node import collect_testcases

    (case,) = (case for case in collect_testcases("LSTM") if case.name == "test_lstm_with_peepholes")
    node, ((inputs, _),) = case.model.graph.node[0], case.data_sets
    inputs = dict(zip(node.input, inputs))
    assert np.array_equal(inputs["X"], np.arange(1, 9).reshape(1, 2, 4)) and list(node.output) == ["", "Y_h"]
    assert all(np.all(inputs[name] == np.float32(0.1)) for name in ("W", "R", "P"))
    assert not any(inputs[name].any() for name in ("B", "initial_h", "initial_c"))
    assert inputs["initial_c"].shape == (1, 2, 3)
