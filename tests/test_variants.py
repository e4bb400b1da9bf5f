"""The variants as cells of one's own: engines, dtypes, init, lengths, training, and as corners of their parents."""
import json
import sys
from pathlib import Path

import autograd
import numpy as np
import pytest

import minigrad as mg
from minigrad import variants

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
T, B, I, H = 4, 3, 2, 5
KINDS = {name: kind for name, kind in variants.FAMILY.items() if kind.__module__ == "minigrad.variants"}
KINDS |= {"Vanilla": variants.Vanilla, "CIFGByInput": variants.CIFGByInput}


@pytest.fixture(params=KINDS)
def problem(request):
    """(cell, params, xs, state, weights), everything random and non-zero."""
    cell, rng = KINDS[request.param](I, H), np.random.default_rng(90)
    params = {name: rng.normal(size=shape) for name, shape in cell.shapes.items()}
    state = mg.tree_map(lambda s: rng.normal(size=s.shape), cell.initial_state(B))
    return cell, params, rng.normal(size=(T, B, I)), state, rng.normal(size=(T, B, H))


def test_gradients_of_both_engines_and_finite_differences(problem):
    cell, params, xs, state, weights = problem

    def loss(params, xs, state):
        return np.sum(weights * mg.unroll(cell, params, xs, state)[0])

    mg.check_grads(loss, params, xs, state)
    for ours, theirs in zip(mg.tree_leaves(mg.grad(loss, (0, 1, 2))(params, xs, state)),
                            mg.tree_leaves(autograd.grad(loss, (0, 1, 2))(params, xs, state))):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_its_parent_computes_the_same_values_and_gradients(problem):
    cell, params, xs, state, weights = problem

    def loss(params, xs, state, in_parent):
        run = variants.in_parent(cell, params) if in_parent else (cell, params)
        return np.sum(weights * mg.unroll(*run, xs, state, fused=in_parent)[0])

    for a, b in zip(*(mg.tree_leaves(mg.value_and_grad(loss, (0, 1, 2))(params, xs, state, way)) for way in (False, True))):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    known = type(cell) in (variants.NIAF, variants.NOAF, variants.FGR)
    assert (variants.in_parent(cell, params)[0] is cell) == known


@pytest.mark.parametrize("kind", [mg.LSTMCell, mg.PeepholeLSTMCell, mg.GRUCell])
def test_a_cell_with_a_kernel_is_its_own_parent(kind):
    cell = kind(I, H)
    params = cell.init(np.random.default_rng(0))
    parent, same = variants.in_parent(cell, params)
    assert parent is cell and same is params


def test_its_parent_keeps_float32(problem):
    cell, params, *_ = problem
    _, q = variants.in_parent(cell, {name: a.astype(np.float32) for name, a in params.items()})
    assert {a.dtype for a in q.values()} == {np.dtype(np.float32)}


def test_init_and_float32(problem):
    cell, _, xs, *_ = problem
    params = cell.init(np.random.default_rng(0), dtype="float32")
    assert {name: a.shape for name, a in params.items()} == cell.shapes
    hs, last = mg.unroll(cell, params, xs.astype(np.float32), cell.initial_state(B, "float32"))
    assert hs.dtype == np.float32 and np.isfinite(hs).all()
    assert {a.dtype for a in mg.tree_leaves(last)} == {np.dtype(np.float32)}


@pytest.mark.parametrize("name", ["vanilla", "NIG", "NOG", "NIAF", "NOAF", "CIFG", "FGR"])
@pytest.mark.parametrize("bias", [1.0, -0.5])
def test_a_new_cell_has_its_forget_bias(name, bias):
    params = variants.FAMILY[name](I, H, forget_bias=bias).init(np.random.default_rng(0))
    assert np.all(params["b_f"] == bias) and not np.any(params["b_c"])


def test_a_new_coupled_cell_remembers_alike_in_both_conventions():
    for bias in (1.0, -0.5):
        by_forget = variants.CIFG(I, H, forget_bias=bias).init(np.random.default_rng(0))
        by_input = variants.CIFGByInput(I, H, forget_bias=bias).init(np.random.default_rng(0))
        assert np.all(by_input["b_i"] == -by_forget["b_f"]) and np.all(by_forget["b_f"] == bias)
    assert not np.any(variants.MGU(I, H).init(np.random.default_rng(0))["b_f"])     # where f takes the new


def test_a_gate_that_is_gone_has_no_value_and_no_weights():
    for name, gone in (("NIG", "i"), ("NFG", "f"), ("NOG", "o")):
        cell = variants.FAMILY[name](I, H)
        params = cell.init(np.random.default_rng(0))
        values = mg.gate_values(cell, params, np.ones((T, B, I)))
        assert set(values) == {"i", "f", "o", "c_tilde", "c", "h"} - {gone}
        assert not any(param.endswith(f"_{gone}") for param in params)
    coupled = mg.gate_values(variants.CIFG(I, H), variants.CIFG(I, H).init(np.random.default_rng(0)), np.ones((T, B, I)))
    np.testing.assert_allclose(coupled["i"] + coupled["f"], 1)


def test_lengths_and_directions(problem):
    cell, params, xs, state, _ = problem
    lengths = np.array([1, T, 2])
    hs, last = mg.unroll(cell, params, xs, state, lengths=lengths, reverse=True)
    for b, n in enumerate(lengths):
        alone = slice(b, b + 1)
        wanted, end = mg.unroll(cell, params, xs[:n, alone][::-1], mg.tree_map(lambda s: s[alone], state))
        np.testing.assert_allclose(hs[:n, alone], wanted[::-1], rtol=1e-12)
        for got, expected in zip(mg.tree_leaves(last), mg.tree_leaves(end)):
            np.testing.assert_allclose(got[alone], expected, rtol=1e-12)


def test_it_learns(problem):
    cell, _, xs, *_ = problem
    target = np.random.default_rng(91).uniform(-0.5, 0.5, (B, H))
    params, history = mg.fit(lambda p, xs: mg.mse(mg.unroll(cell, p, xs)[0][-1], target), cell.init(np.random.default_rng(0)),
                             lambda rng: [(xs,)], mg.Adam(0.03), epochs=60, progress=False)
    assert history["loss"][-1] < 0.2 * history["loss"][0]


def test_errors_name_the_variant():
    cell = variants.NFG(I, H)
    params = cell.init(np.random.default_rng(0))
    with pytest.raises(ValueError, match="NFG: params has W_f, which it does not use"):
        cell(params | {"W_f": np.zeros((I, H))}, np.ones((B, I)), cell.initial_state(B))
    with pytest.raises(ValueError, match=r"FGR: state is a tuple of 2, expected the tuple \(h, c, i, f, o\)"):
        fgr = variants.FGR(I, H)
        fgr(fgr.init(np.random.default_rng(0)), np.ones((B, I)), cell.initial_state(B))


@pytest.mark.parametrize("coupled, like, found", [
    (variants.CIFG, "i", "i coupled to f"), (variants.CIFGByInput, "f", "f coupled to i"),
    (variants.NFG, "f", "no forget gate"), (variants.NIG, "i", "no input gate"), (variants.NOG, "o", "no output gate")])
def test_diagnose_knows_it_once_it_has_the_unused_weights(coupled, like, found):
    cell, parent = coupled(I, H), mg.PeepholeLSTMCell(I, H)

    class WithUnused:
        init, initial_state = staticmethod(parent.init), staticmethod(parent.initial_state)

        def __call__(self, params, x, state):
            return cell({name: params[name] for name in cell.shapes}, x, state)

    assert like not in cell.gate_names
    report = mg.diagnose(WithUnused(), like="peephole")
    assert (report.kind, report.name) == ("variant", found)
    assert mg.diagnose(cell, like="peephole").kind == "interface"


# ---------------------------------------------------------------- chapter 8's experiment
@pytest.fixture
def odyssey(monkeypatch):
    monkeypatch.syspath_prepend(EXPERIMENTS)
    monkeypatch.delitem(sys.modules, "small_odyssey", raising=False)
    import small_odyssey
    return small_odyssey


def test_the_stored_odyssey_is_what_the_script_would_run(odyssey):
    stored = json.loads(odyssey.RESULTS.read_text())
    assert stored["settings"] == odyssey.SETTINGS
    asked = {(task, number, cell) for task in odyssey.RUNS for number in range(odyssey.RUNS[task]) for cell in odyssey.CELLS[task]}
    assert {(run["task"], run["number"], run["cell"]) for run in stored["runs"]} == asked and len(stored["runs"]) == len(asked)
    for run in stored["runs"]:
        assert (run["learning_rate"], run["hidden_size"]) == odyssey.setting(run["number"])


def ranks(numbers):
    return [sum(other < number for other in numbers) + sum(other == number for other in numbers) / 2 for number in numbers]


def test_the_chapter_counts_the_stored_runs_right(odyssey):
    """Each sentence of chapter 8 that counts them, made from the runs anew."""
    runs = json.loads(odyssey.RESULTS.read_text())["runs"]
    score = {(run["task"], run["cell"], run["number"]): run["score"] for run in runs}
    rates, widths = zip(*(odyssey.setting(number) for number in range(12)))
    high = [number for number in range(12) if rates[number] > 0.009]
    error = {cell: [score["adding", cell, n] for n in range(12)] for cell in odyssey.CELLS["adding"]}
    accuracy = {cell: [score["reber", cell, n] for n in range(8)] for cell in odyssey.CELLS["reber"]}
    medians = {cell: np.median(error[cell]) for cell in error}
    against = {cell: np.divide(error[cell], error["vanilla"]) for cell in error}
    by_rate, by_width = ({cell: np.corrcoef(ranks(of), ranks(error[cell]))[0, 1] for cell in error if cell != "NIG"}
                         for of in (rates, widths))
    poor = {cell: sum(a < 0.9 for a in accuracy[cell]) for cell in accuracy}
    low = [error[cell][n] for cell in error for n in range(12) if n not in high]
    poor_widths = [widths[n] for cell in accuracy if cell not in ("NFG", "NIG") for n in range(8) if accuracy[cell][n] < 0.9]
    wide = [w for w in widths[:8] if w > 7]
    words = "none one two three four five six seven eight nine ten eleven twelve".split()

    def times(names):
        table = np.log([error[cell] for cell in names])
        return round(table.mean(axis=0).var() / table.mean(axis=1).var())

    assert times(error) == 2                                                            # 'twice as much'
    assert {cell for cell in error if all(error[cell][n] < 0.004 for n in high)} == set(error) - {"NIG"}
    assert max(medians, key=medians.get) == "NIG" and set(sorted(medians, key=medians.get)[:3]) == {"GRU", "CIFG", "MGU"}
    assert all(0.4 < a < 0.6 for a in accuracy["NFG"])
    assert all(max(accuracy[cell]) > 0.99 for cell in accuracy if cell != "NFG")
    assert all(min(accuracy[cell]) < 0.5 for cell in ("GRU", "NIG", "NOG"))
    assert poor["NP"] == 0 and {poor[cell] for cell in ("vanilla", "CIFG", "MGU")} == {1}
    assert all(np.all(against[cell] < 1) for cell in ("CIFG", "GRU"))
    assert abs(np.log(against["NOAF"]).mean()) < np.log(1.2)                            # 'adds as well as vanilla'
    cells = json.loads((EXPERIMENTS.parent / "notebooks" / "08-the-family.ipynb").read_text(encoding="utf-8"))["cells"]
    prose = " ".join("".join(cell["source"]) for cell in cells).replace("−", "-")
    alt = " ".join(cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "") for cell in cells)
    for sentence in (
            f"({words[times(set(error) - {'NIG'})]} times, without NIG)",
            f"below 0.004 in all {words[len(high)]} runs; at low ones {sum(e < 0.004 for e in low)} of {len(low)} runs do",
            f"(rank correlation {max(by_rate.values()):.2f} to {min(by_rate.values()):.2f})",
            f"the width ({min(by_width.values()):.2f} to {max(by_width.values()):.2f})",
            f"in {np.sum(against['NFG'] > 1)} of {len(rates)} settings and {np.exp(np.log(against['NFG']).mean()):.1f} times",
            f"a median {words[round(medians['NIG'] / medians['vanilla'])]} times vanilla's",
            "vanilla, CIFG and MGU have one poor run each of eight, and NP none",
            f"all {words[len(poor_widths)]} poor runs fall on the four settings with {min(poor_widths)} or {max(poor_widths)} units, "
            f"none on the {words[len(wide)]} with {min(wide)} to {max(wide)}",
            f"CIFG and GRU beat vanilla on adding in all {len(rates)}"):
        assert sentence in prose, sentence
    assert min(accuracy["NP"]) > 0.97 and "NP is above 0.97 throughout" in alt
    few = [poor[cell] for cell in ("NOG", "GRU", "NIG")]
    assert f"NOG, GRU and NIG have {words[min(few)]} to {words[max(few)]} low points" in alt


def test_a_sequence_to_add_up(odyssey):
    xs, sums = odyssey.draw(np.random.default_rng(0), 9, 200)
    marks = xs[..., 1] == 1
    assert np.all(marks[:4].sum(axis=0) == 1) and np.all(marks[4:].sum(axis=0) == 1)
    np.testing.assert_allclose(np.sum(xs[..., 0] * marks, axis=0), sums)


@pytest.mark.parametrize("task, chance", [("adding", 1 / 6), ("reber", 0.5)])
@pytest.mark.parametrize("cell", ["NP", "NFG", "MGU", "NOAF"])
def test_a_short_voyage_stays_near_chance_and_repeats(odyssey, monkeypatch, task, chance, cell):
    monkeypatch.setitem(odyssey.SETTINGS, "adding", odyssey.SETTINGS["adding"] | {"steps": 60, "judged_on": 500})
    monkeypatch.setitem(odyssey.SETTINGS, "reber", odyssey.SETTINGS["reber"] | {"steps": 2, "judged_on": [200, 20]})
    first, second = odyssey.run(cell, task, 0), odyssey.run(cell, task, 0)
    assert first == second and abs(first["score"] - chance) < 0.15
