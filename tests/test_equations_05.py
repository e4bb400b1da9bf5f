"""The numbered equations of chapter 5, each worked out in two ways that share no code.

One side is the package's cell, its kernel or its engine, or finite differences of a loss that is written out
here once more and into which any inner value of any step can be nudged: they know nothing of the equations.
The other side is the equation. All weights, biases and states are random and non-zero, T >= 3, B, I and H differ.
"""

import inspect
import json
import math
import re
from pathlib import Path

import autograd
import matplotlib.pyplot as plt
import numpy as np
import pytest

import minigrad as mg
from by_hand import slope
from frameworks import framework
from minigrad import kernels

equation = pytest.mark.equation
T, B, I, H = 4, 3, 2, 5
GATES = "ifoc"


def sigma(a):
    return 1 / (1 + np.exp(-a))


class Run:
    """One run of an LSTM: its numbers, a loss with its own part in every h_t and in c_T, and the kernel's way back."""

    def __init__(self):
        rng = np.random.default_rng(50)
        self.cell = mg.LSTMCell(I, H)
        self.p = {name: rng.normal(size=shape) for name, shape in self.cell.shapes.items()}
        self.xs, self.h0, self.c0 = rng.normal(size=(T, B, I)), rng.normal(size=(B, H)), rng.normal(size=(B, H))
        self.own, self.own_c = rng.normal(size=(T, B, H)), rng.normal(size=(B, H))
        values = mg.gate_values(self.cell, self.p, self.xs, (self.h0, self.c0))
        self.i, self.f, self.o, self.c_tilde, self.c, self.h = (values[name] for name in ("i", "f", "o", "c_tilde", "c", "h"))
        self.h_old = np.concatenate([self.h0[None], self.h[:-1]])
        self.c_old = np.concatenate([self.c0[None], self.c[:-1]])

    def loss(self, t_nudged=None, name=None, nudge=0.0):
        """The loss when ``nudge`` is added to an inner value of a step, or to h_0 or c_0. In plain NumPy."""
        def add(t, what):
            return nudge if (t, what) == (t_nudged, name) else 0.0

        p, h, c, total = self.p, self.h0 + add(-1, "h"), self.c0 + add(-1, "c"), 0.0
        for t in range(T):
            x = self.xs[t] + add(t, "x")
            a = {g: x @ p[f"W_{g}"] + h @ p[f"U_{g}"] + p[f"b_{g}"] + add(t, f"a_{g}") for g in GATES}
            i, f, o = (sigma(a[g]) + add(t, g) for g in "ifo")
            c = f * c + i * (np.tanh(a["c"]) + add(t, "c_tilde")) + add(t, "c")
            h = o * np.tanh(c) + add(t, "h")
            total += np.sum(self.own[t] * h)
        return total + np.sum(self.own_c * c)

    def slope(self, t, name, width=1e-5):
        """δ of an inner value at step t, by central differences."""
        return slope(self.loss, t, name, (B, I if name == "x" else H), width)

    def kernel(self):
        """The package's kernel after its way back along this run."""
        kernel = kernels.LSTMKernel(self.cell, None, False)
        kernel.forward(*(self.p[name] for name in kernel.names), self.xs, self.h0, self.c0)
        kernel.gradient(0, np.concatenate([self.own, np.zeros((1, B, H)), self.own_c[None]]))
        return kernel

    def by_engine(self, engine=mg.grad):
        def loss(p, xs, h, c):
            hs, (_, last) = mg.unroll(self.cell, p, xs, (h, c))
            return (self.own * hs).sum() + (self.own_c * last).sum()

        return engine(loss, (0, 1, 2, 3))(self.p, self.xs, self.h0, self.c0)


@pytest.fixture(scope="module")
def run():
    return Run()


@pytest.fixture(scope="module")
def delta(run):
    """Every δ of the chapter by finite differences, (T, B, H) each, those of h_0 and c_0 (B, H)."""
    names = ["x", "h", "c", "i", "f", "o", "c_tilde", *(f"a_{g}" for g in GATES)]
    found = {name: np.stack([run.slope(t, name) for t in range(T)]) for name in names}
    return found | {"h_0": run.slope(-1, "h"), "c_0": run.slope(-1, "c")}


def close(found, wanted):
    return np.shape(found) == np.shape(wanted) and np.allclose(found, wanted, rtol=1e-6, atol=1e-8)


def later(x):
    """x of step t + 1, and 0 after the last step."""
    return np.concatenate([x[1:], np.zeros_like(x[:1])])


# ---------------------------------------------------------------- the cell and its Jacobian
@equation("eq-bptt-cell", code="minigrad.cells.LSTMCell.gates")
def test_the_cell_number_by_number(run):
    p, (x, h, c) = run.p, (run.xs[0], run.h0, run.c0)
    h_new, c_new = run.cell(p, x, (h, c))
    for b in range(B):
        for j in range(H):
            a = {g: sum(x[b, k] * p[f"W_{g}"][k, j] for k in range(I)) + sum(h[b, k] * p[f"U_{g}"][k, j] for k in range(H))
                 + p[f"b_{g}"][j] for g in GATES}
            i, f, o = (1 / (1 + math.exp(-a[g])) for g in "ifo")
            c_j = f * c[b, j] + i * math.tanh(a["c"])
            assert math.isclose(c_new[b, j], c_j, rel_tol=1e-12)
            assert math.isclose(h_new[b, j], o * math.tanh(c_j), rel_tol=1e-12)


@equation("eq-bptt-jacobian", code="minigrad.cells.LSTMCell.gates")
def test_the_four_blocks_of_the_jacobian(run):
    width = 1e-6
    for b in range(B):
        p, x = run.p, run.xs[0, [b]]
        i, f, o, c_tilde, c, c_old = (a[0, b] for a in (run.i, run.f, run.o, run.c_tilde, run.c, run.c_old))
        D = np.diag(o * (1 - np.tanh(c)**2))
        paths = [np.diag(c_tilde * i * (1 - i)) @ p["U_i"].T, np.diag(c_old * f * (1 - f)) @ p["U_f"].T,
                 np.diag(i * (1 - c_tilde**2)) @ p["U_c"].T]
        K, through_o = sum(paths), np.diag(np.tanh(c) * o * (1 - o)) @ p["U_o"].T

        def state(old):
            return np.concatenate(run.cell(p, x, (old[None, :H], old[None, H:])), axis=1)[0]

        old = np.concatenate([run.h0[b], run.c0[b]])
        columns = [(state(old + width * e) - state(old - width * e)) / (2 * width) for e in np.eye(2 * H)]
        found = np.stack(columns, axis=1)               # a row for each result, a column for each argument
        assert np.allclose(found[H:, H:], np.diag(f), atol=1e-8) and np.allclose(found[H:, :H], K, atol=1e-8)
        assert np.allclose(found[:H, H:], D @ np.diag(f), atol=1e-8) and np.allclose(found[:H, :H], D @ K + through_o, atol=1e-8)
        assert min(np.abs(path).max() for path in (*paths, through_o)) > 1e-3


# ---------------------------------------------------------------- the way back, against finite differences
@equation("eq-bptt-h", code=("minigrad.kernels.LSTMKernel.step_back", "minigrad.kernels.Kernel.back_through"))
def test_what_arrives_at_h(run, delta):
    assert close(delta["h"], run.own + sum(later(delta[f"a_{g}"]) @ run.p[f"U_{g}"].T for g in GATES))
    kernel = run.kernel()
    d_a = kernel.dA.reshape(4, H, T, B).transpose(0, 2, 3, 1)
    assert all(close(found, delta[f"a_{g}"]) for found, g in zip(d_a, "oifc"))


@equation("eq-bptt-c", code="minigrad.kernels.LSTMKernel.step_back")
def test_what_arrives_at_c(run, delta):
    wanted = delta["h"] * run.o * (1 - np.tanh(run.c)**2) + later(delta["c"] * run.f)
    wanted[-1] += run.own_c                             # the loss looks at c_T itself
    assert close(delta["c"], wanted)
    kernel = run.kernel()
    assert close(kernel.D[:, 0].transpose(0, 2, 1), delta["c"])


@equation("eq-bptt-gates", code="minigrad.kernels.LSTMKernel.step_back")
def test_what_arrives_at_the_gates_and_the_candidate(run, delta):
    assert close(delta["o"], delta["h"] * np.tanh(run.c))
    assert close(delta["i"], delta["c"] * run.c_tilde)
    assert close(delta["f"], delta["c"] * run.c_old)
    assert close(delta["c_tilde"], delta["c"] * run.i)
    kernel = run.kernel()                               # keeps them times the slopes inside
    d_a = kernel.dA.reshape(4, H, T, B).transpose(0, 2, 3, 1)
    slopes = [run.o * (1 - run.o), run.i * (1 - run.i), run.f * (1 - run.f), 1 - run.c_tilde**2]
    assert all(close(found / slope, delta[name]) for found, slope, name in zip(d_a, slopes, ("o", "i", "f", "c_tilde")))


@equation("eq-bptt-inside", code="minigrad.kernels.LSTMKernel.slopes")
def test_what_arrives_inside_them(run, delta):
    kernel = run.kernel()
    by_kernel = dict(zip("oifc", kernel.dA.reshape(4, H, T, B).transpose(0, 2, 3, 1)))
    wanted = {g: delta[g] * getattr(run, g) * (1 - getattr(run, g)) for g in "ifo"} | {"c": delta["c_tilde"] * (1 - run.c_tilde**2)}
    for g in GATES:
        assert close(delta[f"a_{g}"], wanted[g]) and close(by_kernel[g], wanted[g])


@equation("eq-bptt-x", code="minigrad.kernels.Kernel.of_xs")
def test_what_arrives_at_x(run, delta):
    wanted = sum(delta[f"a_{g}"] @ run.p[f"W_{g}"].T for g in GATES)
    assert close(delta["x"], wanted) and close(run.by_engine()[1], wanted)


@equation("eq-bptt-params", code="minigrad.kernels.Kernel.of_params")
@pytest.mark.parametrize("engine", [mg.grad, autograd.grad], ids=["minigrad", "autograd"])
def test_what_arrives_at_the_parameters(run, delta, engine):
    found = run.by_engine(engine)[0]
    for g in GATES:
        d_a = delta[f"a_{g}"]
        assert close(found[f"W_{g}"], sum(run.xs[t].T @ d_a[t] for t in range(T)))
        assert close(found[f"U_{g}"], sum(run.h_old[t].T @ d_a[t] for t in range(T)))
        assert close(found[f"b_{g}"], sum(d_a[t, b] for t in range(T) for b in range(B)))


@equation("eq-bptt-start", code="minigrad.kernels.Kernel.back_through")
def test_what_leaves_at_the_left_end(run, delta):
    _, _, d_h0, d_c0 = run.by_engine()
    wanted_h, wanted_c = sum(delta[f"a_{g}"][0] @ run.p[f"U_{g}"].T for g in GATES), delta["c"][0] * run.f[0]
    assert close(delta["h_0"], wanted_h) and close(d_h0, wanted_h)
    assert close(delta["c_0"], wanted_c) and close(d_c0, wanted_c)


@equation("eq-bptt-slopes", code="minigrad.kernels.LSTMKernel.slopes")
def test_the_slopes_in_fewer_operations(run, delta):
    i_c_tilde, f_c, d_c = run.i * run.c_tilde, run.f * run.c_old, delta["c"]
    assert close(delta["a_o"], delta["h"] * run.h * (1 - run.o))
    from_h = delta["h"] * (run.o - run.h * np.tanh(run.c))
    assert close(d_c[:-1], from_h[:-1] + d_c[1:] * run.f[1:])
    assert close(delta["a_i"], d_c * i_c_tilde * (1 - run.i))
    assert close(delta["a_f"], d_c * f_c * (1 - run.f))
    assert close(delta["a_c"], d_c * (run.i - i_c_tilde * run.c_tilde))
    kernel = run.kernel()
    kernel.slopes(kernel.D, 0, T)                       # the way back has turned them into gradients
    c, o, i, f, c_tilde, keep = kernel.D.transpose(1, 0, 3, 2)
    assert np.allclose(c, run.o - run.h * np.tanh(run.c)) and np.allclose(o, run.h * (1 - run.o))
    assert np.allclose(i, i_c_tilde * (1 - run.i)) and np.allclose(f, f_c * (1 - run.f))
    assert np.allclose(c_tilde, run.i - i_c_tilde * run.c_tilde) and np.allclose(keep, run.f)


# ---------------------------------------------------------------- the mistake and the cost
@equation("eq-bptt-order")
def test_what_the_wrong_order_sends(run, delta):
    """The tutorial's two lines, h before c, at each step with everything else right."""
    for t in range(T):
        to_c, from_later = run.o[t] * (1 - np.tanh(run.c[t])**2), later(delta["c"] * run.f)[t] + (run.own_c if t == T - 1 else 0)
        dh_prev = delta["h"][t]
        assert close(from_later + dh_prev * to_c, delta["c"][t])
        dh_prev = sum(delta[f"a_{g}"][t] @ run.p[f"U_{g}"].T for g in GATES)
        dc_prev = from_later * run.f[t] + to_c * run.f[t] * dh_prev
        sent = sum(delta[f"a_{g}"][t] @ run.p[f"U_{g}"].T for g in GATES)
        wanted = run.f[t] * run.o[t] * (1 - np.tanh(run.c[t])**2) * (sent - delta["h"][t])
        assert close(dc_prev - delta["c"][t] * run.f[t], wanted) and np.abs(wanted).min() > 1e-6


class Counted(np.ndarray):
    """An array that counts the multiplications of its matrix products."""

    count = 0

    def dot(self, other, out=None):
        Counted.count += self.shape[0] * self.shape[1] * other.shape[1]
        return np.dot(np.asarray(self), np.asarray(other), **({} if out is None else {"out": out}))

    __matmul__ = dot

    def __rmatmul__(self, other):
        return Counted.dot(other, self)


@equation("eq-bptt-cost", code="minigrad.kernels.Kernel.of_params")
def test_the_number_of_multiplications(run):
    """Counted in the kernel. It adds the biases by a row of ones, and so has one row more than the equation."""
    class Counting(kernels.LSTMKernel):
        def stack_weights(self):
            super().stack_weights()
            self.V, self.U = self.V.view(Counted), self.U.view(Counted)

        def flat(self, x):
            return super().flat(x).view(Counted)

    kernel = Counting(run.cell, None, False)
    of_biases, by_the_equation = 4 * T * B * H, 4 * T * B * H * (I + H)
    Counted.count = 0
    kernel.forward(*(run.p[name] for name in kernel.names), run.xs, run.h0, run.c0)
    assert Counted.count == by_the_equation + of_biases
    kernel.gradient(0, np.ones((T + 2, B, H)))
    assert Counted.count == 3 * by_the_equation + 2 * of_biases


# ---------------------------------------------------------------- what the chapter shows of other code
@pytest.fixture(scope="module")
def notebook():
    """[(cell_type, source)] of the chapter."""
    path = Path(__file__).parents[1] / "notebooks/05-backwards-by-hand.ipynb"
    return [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]


def test_each_line_of_the_table_is_in_the_kernel(notebook):
    text = "\n".join(source for kind, source in notebook if kind == "markdown")
    seen = set()
    for line in re.findall(r"^\| .*\| (.+) \|$", text[text.index("| equation | term | line |"):], re.MULTILINE):
        if found := re.fullmatch(r"\*\*in\*\* `(\w+)\.(\w+)`", line):
            name = found.group(0)
            source = inspect.getsource(getattr(getattr(kernels, found[1]), found[2]))
            lines = [part.split("  #")[0].strip() for part in source.splitlines()]
        elif line.startswith("`"):
            assert line.strip("`") in lines, f"no line {line} {name}"
            seen.add(line)
    assert len(seen) == 8


def test_the_numbers_ascribed_to_pytorch_are_pytorchs(notebook):
    torch = framework("torch")
    cell = next(source for _, source in notebook if "from_torch = {" in source)
    names = {"np": np, "mg": mg}
    exec(cell.split("run = forward")[0], names)
    net = torch.nn.LSTM(2, 3).double()
    net.load_state_dict({name: torch.tensor(a) for name, a in mg.to_torch(mg.LSTMCell(2, 3), names["witness"]).items()})
    h0, c0 = (torch.tensor(names[f"witness_{name}"], requires_grad=True) for name in ("h0", "c0"))
    hs, _ = net(torch.tensor(names["witness_xs"]), (h0[None], c0[None]))
    (hs * torch.tensor(names["witness_d_hs"])).sum().backward()
    i, f, c, o = net.bias_ih_l0.grad.numpy().reshape(4, 3)
    found = {"b_i": i, "b_f": f, "b_o": o, "b_c": c, "h_0": h0.grad.numpy(), "c_0": c0.grad.numpy()}
    assert set(found) == set(names["from_torch"])
    for name, numbers in names["from_torch"].items():
        assert np.allclose(found[name], numbers, rtol=0, atol=5.1e-7), name


# ---------------------------------------------------------------- the checks of the exercises
@pytest.fixture(scope="module")
def chapter(notebook):
    """The chapter's names that its exercises need: its backward pass, the checks, the solutions and the buggy pass."""
    names, needed = {}, r"^def (same|step|step_back|backward|buggy_backward|check_\w+|\w+_solution)\("
    with plt.rc_context():
        for kind, source in notebook:
            if kind == "code" and re.search(needed, source, re.MULTILINE):
                exec(source, names)
    return names


EXERCISES = {"check_coupled": "step_back_coupled_solution", "check_backward_all": "backward_all_solution",
             "check_running": "step_back_running_solution", "check_peephole": "backward_peephole_solution"}


@pytest.mark.parametrize("check", EXERCISES)
def test_an_answer_of_a_shape_that_broadcasts_is_refused(chapter, capsys, check):
    solution = chapter[EXERCISES[check]]

    def spoilt(k):
        def attempt(*args):
            answer = solution(*args)
            leaves = iter([a[None] if n == k else a for n, a in enumerate(mg.tree_leaves(answer))])
            return mg.tree_map(lambda _: next(leaves), answer)
        return attempt

    results = {"check_coupled": 5, "check_backward_all": 13, "check_running": 6, "check_peephole": 18}[check]
    for k in range(results):
        chapter[check](spoilt(k))
        assert capsys.readouterr().out.startswith("Not yet: "), k
    chapter[check](spoilt(results))
    assert capsys.readouterr().out == "Correct.\n"


def test_the_checks_name_these_mistakes(chapter, capsys):
    def extra_key(*args):
        d_a, *others = chapter["step_back_running_solution"](*args)
        return d_a | {"g": d_a["i"]}, *others

    chapter["check_running"](extra_key)
    assert "keys i, f, o and c" in capsys.readouterr().out

    def new_h_for_U(p, xs, run, *d):
        d_p, _ = chapter["backward_all_solution"](p, xs, (run[0][1:] + run[0][:1], *run[1:]), *d)
        right, d_h0 = chapter["backward_all_solution"](p, xs, run, *d)
        return {name: d_p[name] if name[0] == "U" else right[name] for name in p}, d_h0

    chapter["check_backward_all"](new_h_for_U)
    assert "gradient of U_i is wrong, those of the biases are right" in capsys.readouterr().out
    chapter["check_backward_all"](chapter["buggy_backward"])
    assert "gradient of b_i is wrong with a loss at the first of two outputs" in capsys.readouterr().out
