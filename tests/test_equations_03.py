"""The numbered equations of chapter 3, each worked out in two ways that share no code.

One side is the package's plain cell or its engine, the other the equation, written out here. All
weights, biases and states are random and non-zero, T >= 3, B, I and H differ. And the checks of its
exercises, with wrong answers.
"""

import ast
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg

NOTEBOOK = Path(__file__).resolve().parents[1] / "notebooks/03-vanishing-and-exploding.ipynb"
equation = pytest.mark.equation
T, B, I, H = 4, 3, 2, 5


@pytest.fixture
def run():
    """A plain cell's parameters, inputs, and all states h_0, ..., h_T, stepped by the package."""
    rng = np.random.default_rng(301)
    cell = mg.RNNCell(I, H)
    p = {name: rng.normal(size=shape) for name, shape in cell.shapes.items()}
    xs, h0 = rng.normal(size=(T, B, I)), rng.uniform(-1, 1, (B, H))
    hs, _ = mg.unroll(cell, p, xs, h0, fused=False)
    return {"cell": cell, "p": p, "xs": xs, "hs": np.concatenate([h0[None], hs])}


def numeric_jacobian(f, h, width=1e-6):
    """∂f(h)/∂h for rows, entry (i, j) = ∂f_i/∂h_j, by central differences."""
    return np.stack([(f(h + width * e) - f(h - width * e)) / (2 * width) for e in np.eye(len(h))], axis=1)


def onwards(run, t, b):
    """h_T as a function of the row h_t of sequence b."""
    return lambda h: mg.unroll(run["cell"], run["p"], run["xs"][t:, [b]], h[None], fused=False)[1][0]


@equation("eq-vanish-unit", code="minigrad.cells.RNNCell.gates")
@pytest.mark.parametrize("w, h_0", [(0.5, 0.5), (2.0, 0.5), (2.0, -0.3), (-1.3, 0.4)])
def test_the_factors_of_one_unit(w, h_0):
    cell = mg.RNNCell(1, 1)
    p = {"W_h": np.zeros((1, 1)), "U_h": np.full((1, 1), w), "b_h": np.zeros(1)}
    xs = np.zeros((6, 1, 1))
    d_h0 = mg.grad(lambda h: mg.unroll(cell, p, xs, h, fused=False)[1][0, 0])(np.full((1, 1), h_0))[0, 0]
    h, product = h_0, 1.0
    for _ in xs:
        h = math.tanh(w * h)
        product *= w * (1 - h * h)
    assert math.isclose(d_h0, product, rel_tol=1e-12)


@equation("eq-vanish-cell", code="minigrad.cells.RNNCell.gates")
def test_the_cell(run):
    p, xs, hs = run["p"], run["xs"], run["hs"]
    for t in range(T):
        for b in range(B):
            for j in range(H):
                a = (sum(xs[t, b, i] * p["W_h"][i, j] for i in range(I))
                     + sum(hs[t, b, k] * p["U_h"][k, j] for k in range(H)) + p["b_h"][j])
                assert math.isclose(hs[t + 1, b, j], math.tanh(a), rel_tol=1e-12)


@equation("eq-vanish-jacobian", code="minigrad.cells.RNNCell.gates")
def test_the_jacobian_of_one_step(run):
    p, xs, hs = run["p"], run["xs"], run["hs"]
    for t in range(T):
        for b in range(B):
            numeric = numeric_jacobian(lambda h: run["cell"](p, xs[t, [b]], h[None])[0], hs[t, b])
            assert np.allclose(np.diag(1 - hs[t + 1, b] ** 2) @ p["U_h"].T, numeric, atol=1e-8)


@equation("eq-vanish-product", code="minigrad.cells.RNNCell.gates")
def test_the_jacobian_of_many_steps_is_the_product(run):
    U, hs = run["p"]["U_h"], run["hs"]
    for b in range(B):
        for t in range(T):
            product = np.eye(H)
            for k in range(T, t, -1):                       # J_T first, to its right the earlier ones
                product = product @ np.diag(1 - hs[k, b] ** 2) @ U.T
            assert np.allclose(product, numeric_jacobian(onwards(run, t, b), hs[t, b]), atol=1e-7)


def walk_back(run, wanted):
    """δh_0, ..., δh_T and δa_1, ..., δa_T by the chapter's equations, one number at a time."""
    U, hs = run["p"]["U_h"], run["hs"]
    d_hs, d_as = np.zeros_like(hs), np.zeros((T, B, H))
    d_hs[T] = wanted[T]
    for t in range(T, 0, -1):
        for b in range(B):
            for j in range(H):
                d_as[t - 1, b, j] = d_hs[t, b, j] * (1 - hs[t, b, j] ** 2)
            for k in range(H):
                d_hs[t - 1, b, k] = wanted[t - 1, b, k] + sum(d_as[t - 1, b, j] * U[k, j] for j in range(H))
    return d_hs, d_as


@pytest.fixture
def wanted():
    """ℓ_0, ..., ℓ_T: gradients of the states through the loss's direct use of them."""
    return np.random.default_rng(302).normal(size=(T + 1, B, H))


@equation("eq-vanish-back", code="minigrad.cells.RNNCell.gates")
def test_the_way_back(run, wanted):
    d_hs, d_as = walk_back(run, wanted)
    p, xs = run["p"], run["xs"]
    for t in range(T + 1):
        def rest(h):
            total = (wanted[t] * h).sum()
            for k in range(t, T):
                h = run["cell"](p, xs[k], h)
                total = total + (wanted[k + 1] * h).sum()
            return total
        assert np.allclose(d_hs[t], mg.grad(rest)(run["hs"][t]), rtol=1e-10, atol=1e-12)
    # δa: nudge what stands inside the tanh of one step, through a bias that only that step has
    for t in range(T):
        def nudged(b_t):
            h, total = run["hs"][t], 0.0
            for k in range(t, T):
                a = xs[k] @ p["W_h"] + h @ p["U_h"] + (b_t if k == t else p["b_h"])
                h = mg.tanh(a)
                total = total + (wanted[k + 1] * h).sum()
            return total
        assert np.allclose(d_as[t], mg.grad(nudged)(np.tile(p["b_h"], (B, 1))), rtol=1e-10, atol=1e-12)


@equation("eq-vanish-params", code=("minigrad.cells.RNNCell.gates", "minigrad.kernels.RNNKernel"))
def test_the_gradients_of_the_parameters_are_sums_over_the_steps(run, wanted):
    _, d_as = walk_back(run, wanted)
    xs, hs = run["xs"], run["hs"]
    steps = [(t, b) for t in range(T) for b in range(B)]
    for fused in (False, True):                             # the engine over the stepped cell, and the hand-written kernel
        d_p = mg.grad(lambda p: (wanted[1:] * mg.unroll(run["cell"], p, xs, hs[0], fused=fused)[0]).sum())(run["p"])
        assert np.allclose(d_p["W_h"], sum(np.outer(xs[t, b], d_as[t, b]) for t, b in steps), rtol=1e-10)
        assert np.allclose(d_p["U_h"], sum(np.outer(hs[t, b], d_as[t, b]) for t, b in steps), rtol=1e-10)
        assert np.allclose(d_p["b_h"], sum(d_as[t, b] for t, b in steps), rtol=1e-10)


def bounds(U, hs):
    """The three products of the chapter's bounds along one sequence of states hs, its first state first."""
    sigma, slopes = np.linalg.svd(U, compute_uv=False), 1 - hs[1:] ** 2
    return (np.prod(sigma[0] * slopes.max(axis=1)), sigma[0] ** len(slopes), np.prod(sigma[-1] * slopes.min(axis=1)))


@equation("eq-vanish-bound", code="minigrad.cells.RNNCell.gates")
@pytest.mark.parametrize("size", [0.2, 1.0, 3.0])
def test_the_bounds_hold(run, size):
    scaled = run | {"p": run["p"] | {"U_h": size * run["p"]["U_h"]}}
    hs, _ = mg.unroll(run["cell"], scaled["p"], run["xs"], run["hs"][0], fused=False)
    hs = np.concatenate([run["hs"][:1], hs])
    for b in range(B):
        for t in range(T):
            across = np.linalg.svd(numeric_jacobian(onwards(scaled, t, b), hs[t, b]), compute_uv=False)
            with_slopes, without, below = bounds(scaled["p"]["U_h"], hs[t:, b])
            assert across[0] <= with_slopes + 1e-8 and with_slopes <= without * (1 + 1e-12)
            assert across[-1] >= below - 1e-8


@equation("eq-vanish-bound", code="minigrad.cells.RNNCell.gates")
@pytest.mark.parametrize("w", [0.7, -1.8])
def test_the_bounds_are_reached(run, w):
    # one unit has one singular value and one slope, and leaves no room between the bounds
    rng, cell = np.random.default_rng(304), mg.RNNCell(I, 1)
    p = {"W_h": rng.normal(size=(I, 1)), "U_h": np.full((1, 1), w), "b_h": rng.normal(size=1)}
    h0, xs = np.full((1, 1), 0.4), run["xs"][:, :1]
    hs, _ = mg.unroll(cell, p, xs, h0, fused=False)
    size = abs(mg.grad(lambda h: mg.unroll(cell, p, xs, h, fused=False)[1][0, 0])(h0)[0, 0])
    with_slopes, without, below = bounds(p["U_h"], np.concatenate([h0[None], hs])[:, 0])
    assert math.isclose(with_slopes, size, rel_tol=1e-12) and math.isclose(below, size, rel_tol=1e-12)
    assert size < without and math.isclose(without, abs(w) ** T, rel_tol=1e-12)
    # nor does an orthogonal U at states of zero, where every slope is 1
    still = run | {"p": {"W_h": run["p"]["W_h"], "U_h": np.linalg.qr(run["p"]["U_h"])[0], "b_h": np.zeros(H)}, "xs": 0 * run["xs"]}
    values = np.linalg.svd(numeric_jacobian(onwards(still, 0, 0), np.zeros(H)), compute_uv=False)
    assert np.allclose(values, bounds(still["p"]["U_h"], np.zeros((T + 1, H)))[0], atol=1e-8)


@equation("eq-vanish-clip", code="minigrad.optim.clip_by_global_norm")
@pytest.mark.parametrize("limit", [0.01, 1.0, 1e6])
def test_clipping_by_global_norm(limit):
    rng = np.random.default_rng(303)
    g = {"W": 3 * rng.normal(size=(I, H)), "b": rng.normal(size=H)}
    length = math.sqrt(sum(float(entry) ** 2 for a in g.values() for entry in a.ravel()))
    clipped, before = mg.clip_by_global_norm(g, limit)
    assert math.isclose(before, length, rel_tol=1e-12)
    for name in g:
        assert np.allclose(clipped[name], g[name] * min(1, limit / length), rtol=1e-12)


@equation("eq-vanish-leaky", code="minigrad.cells.GRUCell.gates")
def test_a_leaky_unit_is_a_gru_with_a_constant_update_gate_and_an_open_reset_gate(run):
    alpha, p, hs = 0.3, run["p"], run["hs"][:1]
    gates = {f"{kind}_{gate}": np.zeros(shape) for gate in "zr" for kind, shape in (("W", (I, H)), ("U", (H, H)), ("b", (H,)))}
    gates["b_z"] += math.log(alpha / (1 - alpha))
    gates["b_r"] += 50.0
    states, _ = mg.unroll(mg.GRUCell(I, H), p | gates, run["xs"], hs[0], fused=False)
    h = hs[0]
    for t in range(T):
        h = (1 - alpha) * h + alpha * np.tanh(run["xs"][t] @ p["W_h"] + h @ p["U_h"] + p["b_h"])
        assert np.allclose(states[t], h, rtol=1e-12)


@pytest.fixture(scope="module")
def chapter():
    """The functions of the notebook that an exercise needs: its checks, its solutions, and `same`."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    source = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    kept = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)
            and re.fullmatch("same|check_.*|.*_solution", node.name)]
    names = {"mg": mg, "np": np}
    exec(compile(ast.Module(kept, []), NOTEBOOK.name, "exec"), names)
    return names


def said(capsys, check, attempt):
    check(attempt)
    return capsys.readouterr().out.strip()


@pytest.mark.parametrize("name", ["across", "clip", "states", "leaky"])
def test_the_solution_passes(chapter, capsys, name):
    solution = {"states": "gradients_of_states", "leaky": "leaky_jacobian"}.get(name, name) + "_solution"
    assert said(capsys, chapter[f"check_{name}"], chapter[solution]) == "Correct."


def product_of(hs, U):
    result = np.eye(len(U))
    for h in hs:
        result = np.diag(1 - h**2) @ U.T @ result
    return result


def scaled(gradients, factor):
    return {name: a * factor for name, a in gradients.items()}


def norm(gradients):
    return math.sqrt(sum(float(np.sum(a**2)) for a in gradients.values()))


def only_where_an_entry_exceeds(gradients, limit):
    exceeds = any(np.abs(a).max() > limit for a in gradients.values())
    return scaled(gradients, limit / norm(gradients) if exceeds and norm(gradients) > limit else 1.0)


def only_where_an_array_exceeds(gradients, limit):
    exceeds = any(np.linalg.norm(a) > limit for a in gradients.values())
    return scaled(gradients, limit / norm(gradients) if exceeds else 1.0)


def in_place_where_short(gradients, limit):
    if norm(gradients) > limit:
        return scaled(gradients, limit / norm(gradients))
    for a in gradients.values():
        a *= 0.5
    return scaled(gradients, 2.0)


def flattened(gradients, limit):
    return {name: a.ravel() for name, a in scaled(gradients, min(1.0, limit / max(norm(gradients), 1e-300))).items()}


def nearly(gradients, limit):
    return scaled(gradients, min(1.0, limit / (norm(gradients) + 1e-6)))


def divides_by_zero(gradients, limit):
    return scaled(gradients, min(1.0, limit / norm(gradients)))


def slope_after(U, hs, d_h):
    d_hs = [d_h]
    for h in hs[:0:-1]:
        d_hs.append((d_hs[-1] @ U.T) * (1 - h**2))
    return np.stack(d_hs[::-1])


def leaky(keep, take, transposed=True):
    """A wrong Jacobian of the leaky unit, of what it keeps and takes as functions of alpha."""
    return lambda U, alpha, h: keep(alpha) * np.eye(len(U)) + take(alpha) * np.diag(1 - h**2) @ (U.T if transposed else U)


@pytest.mark.parametrize("name, attempt, hint", [
    ("across", lambda U, hs: product_of(hs[1:len(U)], U), "5 are not"),
    ("across", lambda U, hs: product_of(hs[:0:-1], U), "order is reversed"),
    ("across", lambda U, hs: product_of(hs[1:], U)[None], "has shape"),
    ("clip", only_where_an_entry_exceeds, "no entry and no array"),
    ("clip", only_where_an_array_exceeds, "no entry and no array"),
    ("clip", in_place_where_short, "have changed"),
    ("clip", flattened, "W has shape"),
    ("clip", nearly, "has length 1.999999"),
    ("clip", divides_by_zero, "limit / 0"),
    ("states", slope_after, "the slope of h_t comes first"),
    ("leaky", leaky(lambda a: 1 - a, lambda a: a, transposed=False), "U_h transposed"),
    ("leaky", leaky(lambda a: a, lambda a: 1 - a), "swapped"),
    ("leaky", leaky(lambda a: 0.7, lambda a: 0.3), "not the Jacobian"),
])
def test_the_checks_name_what_is_wrong(chapter, capsys, name, attempt, hint):
    found = said(capsys, chapter[f"check_{name}"], attempt)
    assert found.startswith("Not yet: ") and hint in found, found
