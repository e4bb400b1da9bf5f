"""The figures to touch: their mathematics, what is stored of them, and what a browser makes of it."""

import itertools
import json
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import nbformat
import numpy as np
import pytest
from browsing import a_chromium, serving
from nbformat.v4 import new_code_cell, new_notebook

import minigrad as mg
import run_notebooks
from minigrad import widgets
from minigrad.widgets.touchable import frames_of, plain, shown, slider, touchable

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "minigrad/widgets/touchable.js"
LOADER = ROOT / "book/_static/touchable_loader.js"
STATE = run_notebooks.WIDGET_STATE
river, timer_file, memory_file = (sys.modules[f"minigrad.widgets.{name}"] for name in ("gradient_river", "timer", "what_it_remembers"))


def two_steps(u, h0, x1, x2):
    h1 = u * h0 + x1
    h2 = u * h1 + x2
    return np.square(h2)


MAKERS = {
    "gate bench": widgets.gate_bench,
    "gate bench of a GRU": lambda: widgets.gate_bench(mg.GRUCell(2, 3), mg.GRUCell(2, 3).init(np.random.default_rng(0)), unit=1),
    "gradient river": widgets.gradient_river,
    "tape": lambda: widgets.tape(two_steps, 2.0, 3.0, 1.0, -9.0, names=["a1", "h1", "a2", "h2", "L"]),
    "timer": widgets.timer,
    "two GRUs": widgets.two_grus,
    "what it remembers": widgets.what_it_remembers,
}


@cache
def made(name):
    """A figure as it starts; a test that moves its controls makes its own."""
    return MAKERS[name]()


@pytest.fixture(params=MAKERS)
def figure(request):
    return made(request.param)


def rows(scene):
    return {row["label"]: row for panel in scene["panels"] for row in panel.get("rows", [])}


def marks(scene, panel):
    return {mark["label"]: mark for mark in scene["panels"][panel]["marks"] if mark.get("label")}


def near(a, b, digits=3):
    """Whether numbers agree up to the rounding of scenes to so many digits."""
    return np.allclose(a, b, rtol=0.6 * 10.0 ** (1 - digits), atol=1e-12)


def sigma(a):
    return 1 / (1 + np.exp(-a))


# ---------------------------------------------------------------- the gate bench
A = {"a_i": 0.35, "a_f": 1.2, "a_o": -0.5, "a_candidate": 0.8, "c": 1.9}


@pytest.mark.parametrize("kind, p", [("LSTM", (0, 0, 0)), ("peephole LSTM", (-1, 1, 1))])
def test_the_bench_steps_an_lstm(kind, p):
    scene = made("gate bench").compute(cell=kind, **A)
    c = A["c"]
    i, f = sigma(A["a_i"] + p[0] * c), sigma(A["a_f"] + p[1] * c)
    new = f * c + i * np.tanh(A["a_candidate"])
    o = sigma(A["a_o"] + p[2] * new)          # the output gate looks at the new c
    found = rows(scene)
    for label, value in {"input gate i": i, "forget gate f": f, "output gate o": o, "old c": c, "kept, f·c": f * c, "new c": new,
                         "written, i·c̃": i * np.tanh(A["a_candidate"]), "read, h = o·tanh(c)": o * np.tanh(new)}.items():
        assert near(found[label]["value"], value), label
    assert near(found["written, i·c̃"]["from"], f * c)
    assert near([scene["say"][name] for name in ("f", "c", "o", "h")], [f, new, o, o * np.tanh(new)])


@pytest.mark.parametrize("update", ["new", "old"])
def test_the_bench_steps_a_gru_with_its_own_weight(update):
    cell = mg.GRUCell(2, 3, update=update)
    params = cell.init(np.random.default_rng(5))
    h, a = -0.7, {"a_z": 0.6, "a_r": -0.4, "a_candidate": 1.1}
    scene = widgets.gate_bench(cell, params, unit=2).compute(h=h, **a)
    z, r = sigma(a["a_z"]), sigma(a["a_r"])
    h_tilde = np.tanh(a["a_candidate"] + params["U_h"][2, 2] * r * h)
    takes = z if update == "new" else 1 - z
    found = rows(scene)
    values = [found[label]["value"] for label in ("update gate z", "reset gate r", "let through, r·h", "candidate h̃", "new h")]
    assert near(values, [z, r, r * h, h_tilde, (1 - takes) * h + takes * h_tilde])
    assert near([scene["say"]["kept"], scene["say"]["taken"]], [1 - takes, takes])


def test_the_bench_steps_a_plain_cell():
    found = rows(made("gate bench").compute(cell="RNN", a_candidate=0.4, h=1.5))
    assert near(found["new h"]["value"], np.tanh(0.4 + 1.5))


def test_a_wrong_gate_is_noticed():
    class Swapped(mg.LSTMCell):
        def gates(self, p, x, state):
            g = super().gates(p, x, state)
            return g | {"c": g["i"] * state[1] + g["f"] * g["c_tilde"]}

    with pytest.raises(ValueError, match="Swapped keeps .* but the cell gives .* don't mean what their names say"):
        widgets.gate_bench(Swapped(1, 1))


# ---------------------------------------------------------------- the gradient river
CELLS = {"RNN": mg.RNNCell(2, 5), "LSTM": mg.LSTMCell(2, 5), "peephole LSTM": mg.PeepholeLSTMCell(2, 5), "GRU": mg.GRUCell(2, 5, reset="after")}


@pytest.mark.parametrize("name", CELLS)
def test_the_river_is_the_gradient_of_every_state(name):
    """Against nudges of the states: everything that follows a state is computed again."""
    cell, rng, T = CELLS[name], np.random.default_rng(8), 4
    params = {key: rng.normal(size=shape) for key, shape in cell.shapes.items()}
    xs, w = rng.normal(size=(T, 3, 2)), rng.normal(size=5)
    found = river.state_gradients(cell, params, xs, w)
    assert set(found) == set(cell.state_names)

    def loss_after(t, h, c_nudge):
        """The loss where h_t is nudged by h, and c_t by c_nudge before h_t is read from it."""
        state = cell.initial_state(3)
        for k, x in enumerate(xs):
            gates = cell.gates(params, x, state)
            state = cell.state_of(gates)
            if k == t and isinstance(state, tuple):
                c = state[1] + c_nudge
                o = gates["o"]
                if "P_o" in params:           # the output gate looks at the nudged c too
                    o = sigma(np.log(o / (1 - o)) + c_nudge * params["P_o"])
                state = (o * np.tanh(c) + h, c)
            elif k == t:
                state = state + h
        return ((state[0] if isinstance(state, tuple) else state) * w).sum()

    for part, gradient in found.items():
        for t in range(T):
            slopes = np.zeros((3, 5))
            for place in np.ndindex(3, 5):
                nudge = np.zeros((3, 5))
                nudge[place] = 1e-5
                arguments = [(sign * nudge, 0 * nudge) if part == "h" else (0 * nudge, sign * nudge) for sign in (1, -1)]
                slopes[place] = (loss_after(t, *arguments[0]) - loss_after(t, *arguments[1])) / 2e-5
            assert np.isclose(gradient[t], np.linalg.norm(slopes, axis=1).mean(), rtol=1e-6), (part, t)


@pytest.mark.parametrize("values", [{"cell": "LSTM", "forget_bias": 0}, {"cell": "RNN", "radius": 0.9}, {"cell": "GRU", "update_bias": -5}])
def test_the_river_says_where_it_dries_up(values):
    figure = made("gradient river")
    scene = figure.compute(T=40, **values)
    lines = marks(scene, 0)
    heights, steps = np.array(lines["∂L/∂h"]["y"]), np.array(lines["∂L/∂h"]["x"])
    assert heights[-1] == 0 and list(steps) == list(range(1, 41))
    below = steps[heights < -3]
    upright = next(mark for mark in scene["panels"][0]["marks"] if mark["kind"] == "upright")
    assert upright["at"] == (below.max() if len(below) else None)
    words = widgets.sentence(scene["say"])
    assert (f"{40 - below.max()} steps before the end, at t = {below.max()}." in words) if len(below) else ("never falls" in words)


def test_the_rivers_controls_change_what_they_name():
    rng = np.random.default_rng(0)
    rnn, lstm, gru = mg.RNNCell(2, 6), mg.LSTMCell(2, 6), mg.GRUCell(2, 6, update="old")
    changed = river.River(rnn, rnn.init(rng), 0, False).changed(0.7)
    assert np.isclose(np.abs(np.linalg.eigvals(changed["U_h"])).max(), 0.7)
    own = lstm.init(rng)
    assert np.array_equal(river.River(lstm, own, 0, True).changed(2)["b_f"], own["b_f"] + 2)
    own = gru.init(rng)
    assert np.array_equal(river.River(gru, own, 0, True).changed(-2)["b_z"], own["b_z"] + 2)      # keeps more, as it says
    assert np.array_equal(river.River(rnn, changed, 0, True).changed(1.0)["U_h"], changed["U_h"])


# ---------------------------------------------------------------- the tape
def test_the_tape_ends_with_the_gradients():
    figure = made("tape")
    nodes = figure.compute(step=11)["panels"][0]["nodes"]
    found = {node["title"]: (node["value"], node["gradient"]) for node in nodes}
    gradients = mg.grad(two_steps, (0, 1, 2, 3))(2.0, 3.0, 1.0, -9.0)
    assert [found[name][1] for name in ("u", "h0", "x1", "x2")] == [f"{g:.4g}" for g in gradients] == ["130", "40", "20", "10"]
    assert found["h2 +"] == ("5", "10") and found["L ( )²"] == ("25", "1")


def test_the_tape_shows_a_sum_in_the_making():
    figure = MAKERS["tape"]()

    def gradient_of_u(step):
        return next(node["gradient"] for node in figure.compute(step=step)["panels"][0]["nodes"] if node["title"] == "u")

    assert [gradient_of_u(step) for step in (5, 6, 8, 9, 10, 11)] == ["", "", "", "70", "70", "130"]
    assert figure.at(step=11).endswith("a1 = u × h0 hands on its gradient 20: u now has 130 (60 more), h0 now has 40.")


def test_the_tape_takes_arrays_and_unused_values():
    def f(x, W):
        mg.sigmoid(x)                        # nothing uses it
        return (mg.tanh(x @ W)[0] - 1.0).sum()

    figure = widgets.tape(f, np.ones((2, 3)), np.ones((3, 2)))
    count = figure.controls[0]["high"]
    sentences = [figure.at(step=step) for step in range(count + 1)]
    assert any("no gradient to hand on" in words for words in sentences) and any("(2, 3)" in words for words in sentences)


# ---------------------------------------------------------------- the timer
@pytest.mark.parametrize("F", [2, 3, 7, 10, 30])
def test_the_timer_is_exact_and_stable(F):
    """Without input and without recurrent weights, along 3,000 steps, by `mg.unroll`."""
    params, T = timer_file.timer_params(F), 3000
    assert not any(params[name].any() for name in params if name[0] in "WU")
    hs, _ = mg.unroll(timer_file.CELL, params, np.zeros((T, 1, 1)))
    h = hs[:, 0, 0]
    spike = np.arange(1, T + 1) % F == 0
    assert np.all(np.abs(h[spike] - np.tanh(1)) < 1e-12) and np.all(np.abs(h[~spike]) < 1e-15)
    assert np.array_equal(h[F:2 * F], h[-(T % F) - F:T - T % F])        # to the last bit


@pytest.mark.parametrize("forget_sees, output_sees", [(True, False), (False, True), (False, False)])
def test_without_a_peephole_a_gate_is_a_constant(forget_sees, output_sees):
    values = timer_file.run(5, forget_sees, output_sees, 300)
    assert (np.ptp(values["f"]) == 0) == (not forget_sees) and (np.ptp(values["o"]) == 0) == (not output_sees)
    words = widgets.timer(5).at(forget_sees=forget_sees, output_sees=output_sees)
    assert ("No spike" in words) == (not output_sees), words


def test_the_timer_counts_what_it_draws():
    scene = made("timer").compute(F=8, forget_sees=True, output_sees=True)
    h = np.array(marks(scene, 2)["h"]["y"])
    assert list(np.flatnonzero(h > 0.5) + 1) == list(range(8, 61, 8))
    assert scene["say"]["count"] == 500 // 8 and scene["say"]["last"] == 496


# ---------------------------------------------------------------- two GRUs
@pytest.mark.parametrize("cell", [mg.GRUCell(2, 3), mg.GRUCell(2, 3, reset="after", update="old")])
def test_two_grus_are_the_two_cells(cell):
    rng = np.random.default_rng(2)
    params, xs = {key: rng.normal(size=shape) for key, shape in cell.shapes.items()}, rng.normal(size=(12, 1, 2))
    figure = widgets.two_grus(cell, params, xs)
    flip = {"before": "after", "after": "before", "new": "old", "old": "new"}
    for other, negate in itertools.product(("reset", "update", "both"), (False, True)):
        twin = mg.GRUCell(2, 3, reset=flip[cell.reset] if other != "update" else cell.reset,
                          update=flip[cell.update] if other != "reset" else cell.update)
        q = {key: 1.5 * params.get(key, np.zeros(3)) for key in twin.shapes}
        q |= {key: -q[key] for key in ("W_z", "U_z", "b_z") if negate}
        hs, others = mg.unroll(cell, {key: 1.5 * a for key, a in params.items()}, xs)[0], mg.unroll(twin, q, xs)[0]
        scene = figure.compute(other=other, scale=1.5, negate=negate, unit="unit 2")
        first, second = (mark["y"] for mark in scene["panels"][0]["marks"])
        assert near(first, hs[:, 0, 1], 2) and near(second, others[:, 0, 1], 2)
        distance = np.abs(hs - others)[:, 0].max(axis=1)
        assert np.allclose(scene["panels"][1]["marks"][0]["y"], distance, rtol=6e-3, atol=1e-4)   # three digits
        assert near(scene["say"]["far"], distance.max()) or distance.max() < 1e-12
        assert ("stay together" in widgets.sentence(scene["say"])) == (other == "update" and negate)


# ---------------------------------------------------------------- what it remembers
def test_the_trained_cell_counts_and_the_figure_shows_its_state():
    stored = mg.load(memory_file.TRAINED)
    cell = mg.LSTMCell(2, 2)
    word = "aaaaabbbb"
    xs = np.eye(2)[["ab".index(letter) for letter in word]][:, None]
    scene = made("what it remembers").compute(word=word)
    c = mg.gate_values(cell, stored["cell"], xs)["c"][:, 0]
    lines = marks(scene, 0)
    for k in range(2):
        assert lines[f"c of unit {k + 1}"]["y"][0] == 0 and near(lines[f"c of unit {k + 1}"]["y"][1:], c[:, k])
    h = mg.unroll(cell, stored["cell"], xs)[0][-1]
    p = mg.softmax(h @ stored["readout"]["W"] + stored["readout"]["b"])[0]
    assert near([rows(scene)[name]["value"] for name in ("a", "b", "the end")], p)
    assert scene["say"]["next"] == "b"


def test_the_stored_cell_is_one_that_the_experiment_trains():
    sys.path.insert(0, str(ROOT / "experiments"))
    try:
        import counting_cell
    finally:
        sys.path.pop(0)
    stored = mg.load(counting_cell.FILE)
    params = [stored["cell"], stored["readout"]]
    assert [n for n in range(1, 20) if counting_cell.counts(params, n)] == list(range(1, 19))
    start, after = (mg.tree_leaves(counting_cell.train(epochs, progress=False)) for epochs in (1, 2))
    assert {a.shape for a in start} == {a.shape for a in mg.tree_leaves(params)}
    xs, ys, lengths = counting_cell.words(range(1, 11))
    assert counting_cell.loss(params, xs, ys, lengths) < 0.5 * counting_cell.loss(counting_cell.train(2, progress=False), xs, ys, lengths)
    assert any(not np.array_equal(a, b) for a, b in zip(start, after))


# ---------------------------------------------------------------- what is stored
def decoded(figure, values):
    """The stored scene of some values; what storedScene in touchable.js does."""
    by = {control["name"]: control["stored"].index(values[control["name"]]) for control in figure.controls}
    chosen = by[figure.controls[0]["name"]] if figure.controls[0].get("layouts") else 0
    frame = json.loads(figure.frames)[chosen]
    scene = frame["scene"]
    for table in frame["tables"]:
        index = 0
        for control in figure.controls:
            if control["name"] in table["on"]:
                index = index * len(control["stored"]) + by[control["name"]]
        value = table["values"][index]
        for path in table["paths"]:
            holder = scene
            for key in path[:-1]:
                holder = holder[key]
            holder[path[-1]] = table["kinds"][value] if "kinds" in table else value
    return scene


def test_stored_frames_are_the_scenes_computed(figure):
    rng = np.random.default_rng(0)
    for _ in range(40):
        values = {control["name"]: control["stored"][rng.integers(len(control["stored"]))] for control in figure.controls}
        assert decoded(figure, values) == json.loads(json.dumps(figure.compute(**values))), values


def test_what_is_stored_is_small(figure):
    size = len(figure.frames.encode()) + len(json.dumps([figure.scene, figure.controls], ensure_ascii=False).encode())
    assert size <= 40_000, size


def test_numbers_are_rounded_to_four_digits(figure):
    for digits in re.findall(r"(?<![\w.])-?\d*\.?\d+", re.sub(r'"[^"]*"', "", figure.frames)):
        assert len(digits.lstrip("-0.").replace(".", "")) <= 4, digits


def test_two_runs_store_the_same(figure):
    name = next(name for name in MAKERS if made(name) is figure)
    again = MAKERS[name]()
    assert (again.frames, again.figure, again.say) == (figure.frames, figure.figure, figure.say)


def test_controls_have_labels_and_stored_values(figure):
    names = [control["name"] for control in figure.controls]
    assert len(set(names)) == len(names)
    for control in figure.controls:
        assert control["label"] and control["value"] in control["stored"]
        if control["kind"] == "range":
            assert control["low"] <= min(control["stored"]) and max(control["stored"]) <= control["high"]


def test_a_moved_control_is_computed_exactly():
    """What a browser sends, between the stored values."""
    figure = widgets.gate_bench()
    figure.set_state({"values": figure.values | {"a_f": 1.35}})
    assert near(rows(figure.scene)["forget gate f"]["value"], sigma(1.35)) and figure.answers == 1
    assert f"keeps {plain(100 * sigma(1.35), 0)}% of c" in figure.say


def test_a_figure_is_a_sentence_where_nothing_draws_it(figure):
    data, _ = figure._repr_mimebundle_()
    assert figure.say in data["text/plain"] and figure.caption.replace("'", "&#x27;") in data["text/html"]
    assert f'data-figure="{figure.figure}"' in data["text/html"] and "application/vnd.jupyter.widget-view+json" in data
    assert figure.model_id not in data["text/html"] + data["text/plain"]


@pytest.mark.parametrize("x, text", [(0.734, "0.73"), (-0.5, "−0.5"), (2, "2"), (0.0123, "0.012"), (1.2e-5, "1.2·10⁻⁵"), (0.125, "0.13"),
                                     (0, "0"), (-0.0, "0"), (137.4, "137"), (10, "10"), (100, "100"), ("b", "b")])  # fmt: skip
def test_numbers_in_words(x, text):
    assert shown(x) == text


def test_a_sentence_has_its_numbers():
    assert widgets.sentence({"text": "keeps {f%} of {c}, a {name}", "f": 0.734, "c": -1.25, "name": "cell"}) == "keeps 73% of −1.25, a cell"


# ---------------------------------------------------------------- errors
ERRORS = {
    "step is 12, expected a number from 0 to 11": lambda: made("tape").at(step=12),
    "cell is 'CNN', expected 'LSTM' or": lambda: made("gate bench").at(cell="CNN"),
    "word is 'abc', expected at most 40 letters of 'ab'": lambda: made("what it remembers").at(word="abc"),
    "no control 'bias', expected one of cell, forget_bias": lambda: made("gradient river").at(bias=1),
    "f is a float, expected a function": lambda: widgets.tape(1.0),
    "expected at most 24 together": lambda: widgets.tape(lambda x: sum([x] * 40, 0.0 * x), 1.0),
    "f recorded no operation": lambda: widgets.tape(lambda x: x, 1.0),
    "cell is a list, expected a cell like mg.LSTMCell": lambda: widgets.gate_bench([]),
    "params came without the cell": lambda: widgets.gate_bench(params={}),
    "params has no U_h, which GRUCell needs": lambda: widgets.gate_bench(mg.GRUCell(1, 1), {"W_z": 0}),
    "U_h has shape (2, 2), expected (1, 1)": lambda: widgets.gate_bench(mg.GRUCell(1, 1), {"U_h": np.eye(2)}),
    "unit is 3, expected an integer from 0 to 1": lambda: widgets.gate_bench(mg.GRUCell(2, 2), mg.GRUCell(2, 2).init(np.random.default_rng(0)), 3),
    "give a cell and its params, or neither": lambda: widgets.gradient_river(mg.GRUCell(1, 1)),
    "units is 0": lambda: widgets.gradient_river(units=0),
    "F is 1, expected an integer from 2": lambda: widgets.timer(1),
    "F is 31, expected at most 30": lambda: widgets.timer(31),
    "cell is a LSTMCell, expected a GRUCell": lambda: widgets.two_grus(mg.LSTMCell(1, 1)),
    "xs has shape (5, 1, 3), expected (T, B, I) with I = 2": lambda: widgets.two_grus(xs=np.zeros((5, 1, 3))),
    "alphabet is 'abc', expected 2 different letters": lambda: widgets.what_it_remembers(alphabet="abc"),
    "words holds 'abz', expected letters of 'ab'": lambda: widgets.what_it_remembers(words=["abz"]),
    "caption is 3, expected a text": lambda: widgets.timer(caption=3),
    "starts at 7, expected one of its stored values": lambda: touchable("t", None, [slider("x", "x", 7, 0, 9, 1, (1, 2))], "c"),
    "scenes to store, expected at most": lambda: frames_of(None, [slider(n, n, 0, 0, 99, 1, range(100)) for n in "abc"]),
}  # fmt: skip


@pytest.mark.parametrize("words", ERRORS)
def test_an_error_says_what_was_expected(words):
    with pytest.raises((TypeError, ValueError), match=re.escape(words)):
        ERRORS[words]()


def test_minigrad_does_without_the_widgets_packages():
    code = ("import sys\nsys.modules['anywidget'] = None\nimport minigrad\ntry:\n    from minigrad import widgets\n"
            "except ImportError as error:\n    print(error)")  # fmt: skip
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert said == 'minigrad.widgets needs anywidget: pip install "minigrad[widgets,plots]"\n'


# ---------------------------------------------------------------- in notebooks
def stored_figures(notebook):
    states = notebook.metadata.get("widgets", {}).get(STATE, {}).get("state", {})
    return [model["state"] for model in states.values() if "figure" in model["state"]]


def test_a_stored_notebook_is_the_same_at_every_run(tmp_path):
    path = tmp_path / "figure.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("from minigrad import widgets\nwidgets.timer(5)")]), path)
    assert run_notebooks.main([str(path)]) == 0
    before = path.read_bytes()
    assert run_notebooks.main([str(path)]) == 0 and path.read_bytes() == before
    notebook = nbformat.read(path, as_version=4)
    (state,) = stored_figures(notebook)
    assert f'data-figure="{state["figure"]}"' in notebook.cells[0].outputs[0].data["text/html"]
    assert re.fullmatch("0+[12]", notebook.cells[0].outputs[0].data["application/vnd.jupyter.widget-view+json"]["model_id"])
    assert not re.search(r"\b(?!0{28})[0-9a-f]{32}\b", path.read_text())
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT), "-n", "0", "-p", "no:cacheprovider", str(path)]
    for _ in range(2):
        run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        assert run.returncode == 0, run.stdout


def test_notebooks_hold_the_script_as_it_is():
    """A notebook opened in JupyterLab, before it is run, draws its figures by the script stored in it."""
    for path in ROOT.glob("notebooks/*.ipynb"):
        for state in stored_figures(nbformat.read(path, as_version=4)):
            assert state["_esm"] == SCRIPT.read_text(encoding="utf-8"), f"{path.name}: {state['figure']}: run `make notebooks NB={path.name}`"


# ---------------------------------------------------------------- in a browser
def luminance(colour):
    digits = colour.lstrip("#")
    digits = digits if len(digits) == 6 else "".join(2 * d for d in digits)
    parts = [int(digits[k:k + 2], 16) / 255 for k in (0, 2, 4)]
    return sum(weight * (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4) for weight, c in zip((0.2126, 0.7152, 0.0722), parts))


def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["LIGHT", "DARK"])
def test_colours_can_be_seen(theme):
    declared = re.search(rf"const {theme} = (.*?);\n", SCRIPT.read_text(encoding="utf-8"), re.DOTALL)[1]
    colours = dict(re.findall(r"--(\w+):(#\w+)", declared))
    for paper in ("paper", "fill"):
        assert min(contrast(colours[text], colours[paper]) for text in ("ink", "soft")) >= 4.5
    assert min(contrast(colours[name], colours["paper"]) for name in ("blue", "vermillion", "green", "purple", "grey")) >= 3


def test_the_script_imports_nothing():
    text = re.sub(r"^\s*//.*$", "", SCRIPT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert not re.search(r"\bimport\b|\bfetch\(|https?://(?!www\.w3\.org/2000/svg)|innerHTML|eval\(", text)


PAGE = """<!doctype html>
<html lang="en" {theme}><head><meta charset="utf-8"><title>Figures</title><meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,"><link rel="stylesheet" href="_static/page.css"><meta http-equiv="Content-Security-Policy" content="default-src 'self'; img-src 'self' data:"></head>
<body>{figures}<script type="application/vnd.jupyter.widget-state+json">{state}</script>
<script type="module" src="_static/touchable_loader.js"></script></body></html>"""


@pytest.fixture(scope="module")
def page_address(tmp_path_factory):
    """A small page with every figure, as a stored notebook would have them, under a strict policy."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "_static").mkdir()
    for file in (SCRIPT, LOADER):
        shutil.copy(file, folder / "_static")
    (folder / "_static/page.css").write_text("body { font-family: 'DejaVu Sans', Verdana, sans-serif }")       # as wide as letters get
    figures = [made(name) for name in MAKERS]
    state = {figure.model_id: {"model_name": "AnyModel", "state": figure.get_state()} for figure in figures}
    text = json.dumps({"state": state}, default=str).replace("</script>", r"<\/script>")
    shown_as = "".join(figure._repr_mimebundle_()[0]["text/html"] for figure in figures)
    (folder / "index.html").write_text(PAGE.format(theme="", figures=shown_as, state=text), encoding="utf-8")
    with serving(folder) as address:
        yield f"{address}/index.html"


@pytest.fixture(scope="module")
def chrome():
    with a_chromium() as running:
        yield running


def opened(chrome, address, width=390, **options):
    heard = []
    page = chrome.new_page(viewport={"width": width, "height": 800}, **options)
    page.on("console", lambda message: message.type in ("error", "warning") and heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(f"exception: {error}"))
    page.on("request", lambda request: request.url.startswith((address.rsplit("/", 1)[0], "data:")) or heard.append(f"asks {request.url}"))
    page.goto(address, wait_until="networkidle")
    return page, heard


def looks(part):
    """What a figure shows: its drawing, what a screen reader is told of it, its sentence."""
    return part.locator("svg").inner_html(), part.locator("svg").get_attribute("aria-label"), part.locator(".touchable-say").inner_text()


@pytest.mark.browser
@pytest.mark.parametrize("name", MAKERS)
def test_every_control_moves_its_figure_and_says_what_python_says(chrome, page_address, name):
    page, heard = opened(chrome, page_address)
    part, figure = page.locator("figure.touchable").nth(list(MAKERS).index(name)), made(name)
    values = {control["name"]: control["value"] for control in figure.controls}
    assert figure.controls and part.locator("svg[role=img]").count() == 1
    for control in figure.controls:
        if control.get("only") and values[figure.controls[0]["name"]] not in control["only"]:
            continue
        widget, before = part.get_by_label(control["label"], exact=True), looks(part)
        stored = control["stored"]
        place = stored.index(values[control["name"]])
        if control["kind"] == "check":
            widget.focus()
            page.keyboard.press("Space")
            values[control["name"]] = not values[control["name"]]
        elif control["kind"] in ("choice", "text"):
            other = (place + 1) % len(stored)
            widget.select_option(str(other))
            values[control["name"]] = stored[other]
        else:
            widget.focus()
            up = place + 1 < len(stored)
            page.keyboard.press("ArrowRight" if up else "ArrowLeft")
            values[control["name"]] = stored[place + (1 if up else -1)]
        after = looks(part)
        assert after != before, control["name"]
        words = widgets.sentence(figure.compute(**values)["say"])
        assert after[2] == words and after[1] == f"{figure.title}. {words}"
        if control.get("layouts"):            # back: the other controls belong to the first layout
            widget.select_option(str(place))
            values[control["name"]] = stored[place]
    page.close()
    assert heard == []


@pytest.mark.browser
def test_every_stored_sentence_is_pythons(chrome, page_address):
    """The browser decodes and words a hundred stored scenes of each figure as this file and touchable.py do."""
    page, heard = opened(chrome, page_address)
    rng = np.random.default_rng(1)
    for name in MAKERS:
        figure = made(name)
        wanted = [{control["name"]: control["stored"][rng.integers(len(control["stored"]))] for control in figure.controls} for _ in range(100)]
        scenes = page.evaluate("""async ([frames, controls, wanted]) => {
            const { storedScene } = await import("./_static/touchable.js");
            return wanted.map(values => storedScene(JSON.parse(frames), controls, values));
        }""", [figure.frames, figure.controls, wanted])
        assert scenes == [decoded(figure, values) for values in wanted], name
    page.close()
    assert heard == []


@pytest.mark.browser
def test_the_tapes_buttons_walk(chrome, page_address):
    page, heard = opened(chrome, page_address)
    part = page.locator("figure.touchable").nth(list(MAKERS).index("tape"))
    forward, back = part.get_by_role("button", name="Forward"), part.get_by_role("button", name="Back")
    assert back.is_disabled()
    for step in range(1, 12):
        forward.click()
        assert looks(part)[2].startswith(f"Step {step} of 11")
    assert forward.is_disabled()
    back.click()
    assert looks(part)[2].startswith("Step 10 of 11")
    page.close()
    assert heard == []


OUTSIDE = """() => [...document.querySelectorAll('.touchable svg')].flatMap(svg => {
    const frame = svg.closest('figure').getBoundingClientRect();
    return [...svg.querySelectorAll('text')].filter(e => { const box = e.getBoundingClientRect();
        return box.left < frame.left || box.right > frame.right; }).map(e => e.textContent);
})"""


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_of_it(chrome, page_address, scheme):
    page, heard = opened(chrome, page_address, 390, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for target in page.locator(".touchable :is(input, select, button):visible").all():
        box = target.bounding_box()
        assert box["width"] >= 24 and box["height"] >= 24, target.evaluate("e => e.outerHTML")
    for control in page.locator(".touchable :is(input, select)").all():
        assert control.evaluate("e => e.labels.length") == 1
    layouts = [(select, k) for select in page.get_by_label("cell", exact=True).all() for k in range(select.locator("option").count())]
    for select, layout in layouts:
        select.select_option(str(layout))
        assert page.evaluate(OUTSIDE) == []
    assert len(layouts) == 7
    paper = page.evaluate("getComputedStyle(document.querySelector('.touchable')).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
    page.close()
    assert heard == []


@pytest.mark.browser
@pytest.mark.parametrize("mark", ["document.documentElement.dataset.theme = 'dark'", "document.body.dataset.jpThemeLight = 'false'"])
def test_the_themes_own_darkness_counts(chrome, page_address, mark):
    page, _ = opened(chrome, page_address, color_scheme="light")
    page.evaluate(mark)
    assert page.evaluate("getComputedStyle(document.querySelector('.touchable')).backgroundColor") == "rgb(20, 24, 30)"
    page.close()


@pytest.mark.browser
def test_a_notebook_does_not_take_the_sliders_keys(chrome, page_address):
    """JupyterLab has shortcuts on the arrow keys, and stops what else they would do."""
    page, _ = opened(chrome, page_address)
    page.evaluate("document.addEventListener('keydown', event => event.preventDefault())")
    slider = page.get_by_label("period F", exact=True)
    before = slider.input_value()
    slider.press("ArrowRight")
    assert slider.input_value() != before
    page.close()


@pytest.mark.browser
def test_without_javascript_there_is_the_sentence(chrome, page_address):
    context = chrome.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(page_address)
    for k, name in enumerate(MAKERS):
        assert made(name).say in page.locator("figure.touchable").nth(k).inner_text()
    context.close()


KERNEL = """async ({ answers, controls, values, scene, frames, after }) => {
    const { default: touchable } = await import("./_static/touchable.js");
    const state = { title: "T", caption: "c", note: "n", controls, values, scene, frames, answers: 0 }, hears = {}, sent = [];
    const model = { get: name => state[name], set: (name, value) => { state[name] = value; }, off() {},
        on: (event, action) => { hears[event] = action; },
        save_changes() { sent.push({ ...state.values }); if (answers) { state.scene = after; hears["change:answers"](); } } };
    const el = document.body.appendChild(document.createElement("div"));
    touchable.render({ model, el });
    const slider = el.querySelector("input[type=range]");
    slider.value = 1.35;
    slider.dispatchEvent(new Event("input"));
    await new Promise(later => setTimeout(later, answers ? 50 : 1800));
    return { sent, words: el.querySelector(".touchable-say").textContent, note: el.querySelector(".touchable-stored").textContent };
}"""


@pytest.mark.browser
@pytest.mark.parametrize("answers", [True, False])
def test_with_a_kernel_the_value_itself_is_sent(chrome, page_address, answers):
    """And the answer is drawn; where none comes, as after a kernel has died, what is stored."""
    figure = widgets.gate_bench(mg.RNNCell(1, 1))
    values = figure.values | {"a_candidate": 1.35}
    page, heard = opened(chrome, page_address)
    found = page.evaluate(KERNEL, {"answers": answers, "controls": figure.controls, "values": figure.values, "scene": figure.scene,
                                   "frames": figure.frames, "after": figure.compute(**values)})  # fmt: skip
    page.close()
    assert found["sent"] == [values] and found["note"] == "" and heard == []
    wanted = values if answers else figure.values | {"a_candidate": 1}
    assert found["words"] == widgets.sentence(figure.compute(**wanted)["say"])
