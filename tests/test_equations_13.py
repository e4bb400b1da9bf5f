"""The numbered equations of chapter 13: the fused LSTM, what it costs, and checkpointing.

One side is minigrad's kernel, the other the equation on single rows, in row vectors. Weights, biases and states are
random and non-zero, T >= 3, B, I and H differ. Costs are counted on the kernel as it runs.
"""
import hashlib
import json
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad import kernels

equation = pytest.mark.equation
ROOT = Path(__file__).resolve().parents[1]
T, B, I, H = 5, 3, 2, 4


def close(a, b, tolerance=1e-12):
    return np.allclose(a, b, rtol=tolerance, atol=tolerance)


def example(T=T, B=B, I=I, H=H, seed=130):
    """p, xs, h, c and the weights of the loss."""
    rng = np.random.default_rng(seed)
    p = {name: rng.normal(size=shape) for name, shape in mg.LSTMCell(I, H).shapes.items()}
    return p, *(rng.normal(size=shape) for shape in ((T, B, I), (B, H), (B, H), (T, B, H)))


def R_of(p):
    return np.block([[p[f"{kind}_{gate}"] for gate in "oifc"] for kind in "UW"] + [[p[f"b_{gate}"][None] for gate in "oifc"]])


def sigma(a):
    return 1 / (1 + np.exp(-a))


def by_rows(p, xs, h, c):
    """Every quantity of the way forward, by name, (T, B, H) each: the cell's usual equations, gate by gate."""
    found = {name: [] for name in ("o", "i", "f", "c_tilde", "c_old", "c", "h_old", "h")}
    for x in xs:
        a = {g: x @ p[f"W_{g}"] + h @ p[f"U_{g}"] + p[f"b_{g}"] for g in "oifc"}
        o, i, f, c_tilde = sigma(a["o"]), sigma(a["i"]), sigma(a["f"]), np.tanh(a["c"])
        c_new = f * c + i * c_tilde
        h_new = o * np.tanh(c_new)
        for name, value in zip(found, (o, i, f, c_tilde, c, c_new, h, h_new)):
            found[name].append(value)
        h, c = h_new, c_new
    return {name: np.array(values) for name, values in found.items()}


def kernel_gradients(p, xs, h, c, weights):
    cell = mg.LSTMCell(xs.shape[2], h.shape[1])
    return mg.grad(lambda p, xs, h, c: np.sum(mg.unroll(cell, p, xs, (h, c))[0] * weights), (0, 1, 2, 3))(p, xs, h, c)


def slopes_of(v):
    """s_c, s_o, s_i, s_f, s_c_tilde and s_keep, as the chapter's right-hand sides have them."""
    tanh_c = np.tanh(v["c"])
    i_c_tilde, f_c = v["i"] * v["c_tilde"], v["f"] * v["c_old"]
    return (v["o"] - v["h"] * tanh_c, (1 - v["o"]) * v["h"], (1 - v["i"]) * i_c_tilde, (1 - v["f"]) * f_c,
            v["i"] - i_c_tilde * v["c_tilde"], v["f"])


def recurrence(p, v, weights):
    """δa (T, B, 4H), δh_0, δc_0."""
    s_c, s_o, s_i, s_f, s_c_tilde, s_keep = slopes_of(v)
    n, U = len(weights), R_of(p)[:weights.shape[2]]
    d_a, d_h, d_c = [None] * n, np.zeros(weights.shape[1:]), np.zeros(weights.shape[1:])
    for t in reversed(range(n)):
        d_h = weights[t] + d_h
        d_c = d_h * s_c[t] + d_c
        d_a[t] = np.concatenate([d_h * s_o[t], d_c * s_i[t], d_c * s_f[t], d_c * s_c_tilde[t]], axis=1)
        d_h, d_c = d_a[t] @ U.T, d_c * s_keep[t]
    return np.array(d_a), d_h, d_c


# ---------------------------------------------------------------- forward
@equation("eq-fast-one-product", "eq-fast-forward", code="minigrad.kernels.LSTMKernel.step")
def test_one_product_and_the_fused_forward_are_the_kernel():
    p, xs, h, c, _ = example()
    hs, (last_h, last_c) = mg.unroll(mg.LSTMCell(I, H), p, xs, (h, c))
    R = R_of(p)
    for t in range(T):
        a = np.concatenate([h, xs[t], np.ones((B, 1))], axis=1) @ R
        o, i, f = np.split(0.5 + 0.5 * np.tanh(0.5 * a[:, :3 * H]), 3, axis=1)
        c = i * np.tanh(a[:, 3 * H:]) + f * c
        h = o * np.tanh(c)
        assert close(hs[t], h)
    assert close(last_h, h) and close(last_c, c)


@equation("eq-fast-sigma", code="minigrad.functions.sigmoid")
def test_the_sigmoid_is_half_of_one_plus_a_tanh_of_the_half():
    a = np.linspace(-30, 30, 121)
    for form in (1 / (1 + np.exp(-a)), np.exp(a / 2) / (np.exp(a / 2) + np.exp(-a / 2)), (1 + np.tanh(a / 2)) / 2):
        assert close(mg.sigmoid(a), form)
    assert mg.sigmoid(np.array([-1000.0, 1000.0])).tolist() == [0, 1]


# ---------------------------------------------------------------- back
@equation("eq-fast-slopes")
def test_the_slopes_are_the_derivatives_in_both_forms():
    p, xs, h, c, _ = example()
    v = by_rows(p, xs, h, c)
    tanh_c = np.tanh(v["c"])
    first = (v["o"] * (1 - tanh_c**2), v["o"] * (1 - v["o"]) * tanh_c, v["i"] * (1 - v["i"]) * v["c_tilde"],
             v["f"] * (1 - v["f"]) * v["c_old"], v["i"] * (1 - v["c_tilde"] ** 2), v["f"])
    for one, other in zip(first, slopes_of(v)):
        assert close(one, other)


@equation("eq-fast-slopes", code="minigrad.kernels.LSTMKernel.slopes")
@equation("eq-fast-recurrence", code="minigrad.kernels.LSTMKernel.step_back")
@equation("eq-fast-weights", code="minigrad.kernels.Kernel.of_params")
def test_slopes_recurrence_and_the_weights_product_give_the_kernels_gradients():
    p, xs, h, c, weights = example()
    v = by_rows(p, xs, h, c)
    d_a, d_h, d_c = recurrence(p, v, weights)
    d_R = sum(np.concatenate([v["h_old"][t], xs[t], np.ones((B, 1))], axis=1).T @ d_a[t] for t in range(T))
    d_p, d_xs, d_h0, d_c0 = kernel_gradients(p, xs, h, c, weights)
    assert close(R_of(d_p), d_R)
    assert close(d_h0, d_h) and close(d_c0, d_c)
    assert close(d_xs, d_a @ R_of(p)[H:-1].T)


@equation("eq-fast-slopes")
@pytest.mark.parametrize("wrong", range(6))
def test_a_wrong_slope_is_seen_and_that_of_the_old_cell_only_over_several_steps(wrong, monkeypatch):
    """What the chapter's box and its exercise say of tests with one step."""
    right = slopes_of

    def spoilt(v):
        return tuple(s * (0.9 if k == wrong else 1) for k, s in enumerate(right(v)))

    seen = {}
    for steps in (1, 3):
        p, xs, h, c, weights = example(steps)
        v = by_rows(p, xs, h, c)
        monkeypatch.setitem(globals(), "slopes_of", right)
        wanted = recurrence(p, v, weights)
        monkeypatch.setitem(globals(), "slopes_of", spoilt)
        seen[steps] = [not close(one, other) for one, other in zip(recurrence(p, v, weights), wanted)]
    assert seen[1][0] == (wrong != 5) and seen[3][0]
    assert wrong != 5 or seen[1] == [False, False, True]                  # only the gradient of c_0 has it


# ---------------------------------------------------------------- costs
class Watched(np.ndarray):
    """Adds up the arithmetic of its products."""

    FLOP = 0

    def dot(self, other, out=None):
        Watched.FLOP += 2 * self.shape[0] * self.shape[1] * other.shape[1]
        return np.asarray(self).dot(other, out)

    def __matmul__(self, other):
        return self.dot(other)


@equation("eq-fast-flops", "eq-fast-flops-back", code=("minigrad.kernels.LSTMKernel.step", "minigrad.kernels.LSTMKernel.step_back"))
@pytest.mark.parametrize("size", [(T, B, I, H), (3, 5, 4, 2)])
def test_the_kernels_products_are_as_many_as_the_formulas_say(size, monkeypatch):
    T, B, I, H = size
    arguments = example(*size)
    stack_weights = kernels.Kernel.stack_weights

    def watched(self):
        stack_weights(self)
        self.V, self.U = self.V.view(Watched), self.U.view(Watched)

    of_params = kernels.Kernel.of_params
    monkeypatch.setattr(kernels.Kernel, "stack_weights", watched)
    monkeypatch.setattr(kernels.Kernel, "of_params", lambda self, d_a, start, end: of_params(self, d_a.view(Watched), start, end))
    monkeypatch.setattr(Watched, "FLOP", 0)
    mg.unroll(mg.LSTMCell(I, H), *arguments[:2], arguments[2:4])
    forward = 2 * T * B * 4 * H * (H + I + 1)
    assert Watched.FLOP == forward
    Watched.FLOP = 0
    kernel_gradients(*arguments)
    assert Watched.FLOP == forward + 2 * T * B * 4 * H * H + forward


class Passes(np.ndarray):
    """Adds up the numbers that operations other than products read and write."""

    moved = 0

    def __array_ufunc__(self, ufunc, method, *inputs, out=()):
        inputs, out = (tuple(np.asarray(x) for x in arrays) for arrays in (inputs, out))
        Passes.moved += sum(x.size for x in inputs if x.ndim) + out[0].size
        return getattr(ufunc, method)(*inputs, out=out)


@equation("eq-fast-intensity", code="minigrad.kernels.LSTMKernel.step")
@pytest.mark.parametrize("size", [(B, I, H), (2, 5, 3)])
def test_a_step_moves_34_numbers_for_each_unit_and_row(size, monkeypatch):
    B, I, H = size
    step = kernels.LSTMKernel.step
    monkeypatch.setattr(Passes, "moved", 0)

    def watched(self, z, a, *views):
        step(self, z, a, *(view.view(Passes) for view in views))         # the first tanh, on a itself, is counted below

    kernel = kernels.LSTMKernel(mg.LSTMCell(I, H), None, False)
    p, xs, h, c, _ = example(1, *size)
    monkeypatch.setattr(kernels.LSTMKernel, "step", watched)
    kernel.forward(*(p[name] for name in kernel.names), xs, h, c)
    flop = 2 * B * 4 * H * (H + I + 1)
    Passes.moved += 8 * H * B                                            # a is read and written: 4 blocks
    assert Passes.moved == 34 * H * B
    for itemsize in (4, 8):
        assert close(itemsize * Passes.moved / flop, 34 * itemsize / (8 * (H + I + 1)))


def stored():
    return json.loads((ROOT / "experiments/steps_to_a_kernel.json").read_text(encoding="utf-8"))


def timed_cells():
    notebook = json.loads((ROOT / "notebooks/13-making-it-fast.ipynb").read_text(encoding="utf-8"))
    return "\n\n".join("".join(cell["source"]) for cell in notebook["cells"] if "timed" in cell["metadata"].get("tags", []))


def test_the_stored_times_are_those_of_the_chapters_code():
    assert stored()["code"] == hashlib.sha256(timed_cells().encode()).hexdigest()[:12], \
        "the timed cells have changed: run experiments/steps_to_a_kernel.py again"


def amounts(size):
    """Calls, numbers moved and FLOP of the chapter's last rung, in closed form."""
    T, B, I, H = map(int, size.split("×"))
    blocks = -(-T // max(1, (1 << 20) // (6 * H * B * 8)))
    calls = 13 * T + 9 * blocks + 20
    a_row = 34 * H + 3 * H + 18 * H + 27 * H + 8 * H                     # forward, adding δy, the step back, slopes, dA
    moved = T * B * (a_row + 6 * H + 2 * I + 1)                          # and the loss, the inputs and the 1 in Z
    return calls, moved, 2 * T * B * 4 * H * (2 * (H + I + 1) + H)


@equation("eq-fast-cost")
def test_what_the_model_charges_is_what_the_last_rung_asks_for():
    """Against the chapter's own log, so that no price can be paid for another amount."""
    notebook = json.loads((ROOT / "notebooks/13-making-it-fast.ipynb").read_text(encoding="utf-8"))
    logging = next(source for cell in notebook["cells"] if "class Counted" in (source := "".join(cell["source"])))
    of = {"Counter": Counter}
    exec(timed_cells() + "\n\n" + logging, of)

    def log(size):
        rung = partial(of["by_hand"], steps_a_block=of["cached"],
                       allocate=lambda shapes: mg.tree_map(of["counted"], of["cut_from_one"](shapes)))
        asked = of["count"](rung, *example(*map(int, size.split("×"))))
        return np.array([asked[name] for name in ("calls", "moved", "FLOP")])

    for rest in ("16×8×32", "3×5×40", "8×64×128"):                       # what twelve steps more ask for, whatever the first ones do
        asked, charged = (np.subtract(f("24×" + rest), f("12×" + rest)).tolist() for f in (log, amounts))
        assert asked == charged, rest


@equation("eq-fast-cost")
def test_three_prices_explain_the_stored_times_of_a_fused_step():
    """Two sizes are left out of the fit and predicted; without calls or without FLOP the fit is far worse."""
    times = {size: t for size, t in stored()["costs"].items() if not size.startswith("20×1×")}    # one column: another product
    A, t = np.array([amounts(size) for size in times], dtype=float), np.array(list(times.values()))

    def errors(A, rest=slice(None)):
        prices = np.linalg.lstsq((A / t[:, None])[rest], np.ones(len(t))[rest], rcond=None)[0]
        return A @ prices / t - 1

    def rms(error):
        return np.sqrt(np.mean(error**2))

    for left_out in (1, len(t) - 2):
        assert np.all(np.abs(errors(A, np.arange(len(t)) != left_out)) < 0.35)
    for column in (0, 2):
        assert rms(errors(np.delete(A, column, axis=1))) > 1.5 * rms(errors(A))


# ---------------------------------------------------------------- memory
@equation("eq-fast-memory")
@equation("eq-fast-best-k")
@pytest.mark.parametrize("s, m", [(2, 30), (7, 3), (1, 1)])
def test_the_best_k_is_where_states_and_segment_take_the_same(s, m):
    T = 900

    def M(k):
        return T / k * s + k * m

    best = np.sqrt(T * s / m)
    assert close(M(best), 2 * np.sqrt(T * s * m)) and close(T / best * s, best * m)
    ks = np.linspace(1, T, 20_000)
    assert np.all(M(ks) >= M(best) * (1 - 1e-12)) and abs(ks[np.argmin(M(ks))] - best) < 0.1


@equation("eq-fast-memory", code="minigrad.checkpoint.in_segments")
def test_checkpoints_keep_a_state_a_segment(monkeypatch):
    """Counted as unroll runs: how many states are handed on, and the longest stretch that is run at once."""
    from minigrad import checkpoint
    seen = []
    right = checkpoint.Segment.__init__
    monkeypatch.setattr(checkpoint.Segment, "__init__", lambda self, run, arguments, running:
                        seen.append(len(arguments[1])) or right(self, run, arguments, running))
    p, xs, h, c, weights = example(12)
    plain = mg.grad(lambda p: np.sum(mg.unroll(mg.LSTMCell(I, H), p, xs, (h, c))[0] * weights))(p)
    for k in (1, 3, 4, 6, 12):
        seen.clear()
        found = mg.grad(lambda p: np.sum(mg.unroll(mg.LSTMCell(I, H), p, xs, (h, c), checkpoint=k)[0] * weights))(p)
        assert seen == [k] * (12 // k)
        assert all(close(found[name], plain[name]) for name in p)
