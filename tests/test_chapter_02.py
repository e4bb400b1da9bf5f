"""Chapter 2 builds exactly minigrad/engine.py: every definition, compared as syntax, docstrings apart."""
import ast
import json
from pathlib import Path

import matplotlib
import numpy as np
import pytest

import minigrad as mg

ROOT = Path(__file__).resolve().parents[1]
ENGINE = (ROOT / "minigrad/engine.py").read_text(encoding="utf-8")


def notebook_source():
    cells = json.loads((ROOT / "notebooks/02-gradients-for-free.ipynb").read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def statements(source):
    """{name: its last definition}, and the other statements of a module, as syntax without docstrings and imports."""
    definitions, others = {}, []
    for node in ast.parse(source).body:
        for part in ast.walk(node):
            if isinstance(part, (ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(part) is not None:
                part.body = part.body[1:] or [ast.Pass()]
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            definitions[node.name] = ast.dump(node)
        elif isinstance(node, ast.Assign):
            others.append(ast.dump(node))
    return definitions, others


def differences(engine, notebook):
    """What of the engine the notebook does not end up with."""
    (wanted, wanted_others), (found, found_others) = statements(engine), statements(notebook)
    different = [name for name in wanted if found.get(name) != wanted[name]]
    return different + [text for text in wanted_others if text not in found_others]


def test_the_chapter_builds_exactly_the_engine():
    different = differences(ENGINE, notebook_source())
    assert not different, f"chapter 2 and minigrad/engine.py differ in: {', '.join(different)}"


def test_the_engine_has_the_pieces_that_the_chapter_names():
    names = {"Tape", "Tensor", "apply", "backward", "unbroadcast", "Pieces", "accumulate", "primitive", "defvjp",
             "value_and_grad", "grad"}
    assert names <= set(statements(ENGINE)[0])


@pytest.mark.parametrize("old, new", [
    ("out.grad = np.ones_like(out.value)", "out.grad = np.zeros_like(out.value)"),
    ("a.tape.level > tape.level", "a.tape.level < tape.level"),
    ("IMPLEMENTATIONS = {}", "IMPLEMENTATIONS = []"),
    ("g[indices[i]]", "g[indices[0]]"),
    ("def gradient_of(", "def gradient_at("),
])
def test_a_drift_is_noticed(old, new):
    assert ENGINE.count(old) == 1
    assert differences(ENGINE.replace(old, new), ENGINE)


def test_docstrings_and_comments_may_differ():
    assert not differences(ENGINE.replace('"""Run ``fun`` on', '"""Another word on').replace("# newest first", "# from the end"), ENGINE)


def drawn(ax):
    return [text.get_text() for text in ax.texts]


@pytest.fixture
def plots():
    matplotlib.use("Agg")
    from minigrad import plots
    yield plots
    plots.plt.close("all")


def test_the_drawn_tape_shows_values_and_gradients(plots):
    def two_steps(u, h0, x1, x2):
        h1 = u * h0 + x1
        return np.square(u * h1 + x2)

    words = drawn(plots.draw_tape(two_steps, 2.0, 3.0, 1.0, -9.0, names=["a1", "h1", "a2", "h2", "L"]))
    for name, value, gradient in [("u", "2", "130"), ("h0", "3", "40"), ("x1", "1", "20"), ("x2", "−9", "10"), ("a1   ×", "6", "20"),
                                  ("h1   +", "7", "20"), ("a2   ×", "14", "10"), ("h2   +", "5", "10"), ("L   ( )²", "25", "1")]:
        place = words.index(name)
        assert words[place - 1:place + 2] == [value, name, gradient]


def test_the_drawn_tape_takes_arrays_slices_and_unused_values(plots):
    def f(x, W, unused):
        y = np.tanh(x @ W)
        np.exp(y)                       # leads nowhere: no gradient
        return np.sum(y[0] * y[1]) - 1.0

    words = drawn(plots.draw_tape(f, np.ones((2, 3)), np.ones((3, 4)), 2.0))
    place = words.index("unused")
    assert words[place - 1:place + 2] == ["2", "unused", "0"]
    assert words[words.index("exp") + 1] == "–"
    assert {"(2, 3)", "(3, 4)", "(4,)", "@", "[ ]", "Σ", "· − 1"} <= set(words)


def test_the_drawn_tape_wants_a_scalar(plots):
    with pytest.raises(ValueError, match="grad needs a scalar from tanh"):
        plots.draw_tape(mg.tanh, np.ones(2))
