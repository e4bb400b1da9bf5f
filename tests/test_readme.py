"""The code on the pages that are no notebooks: it runs as it stands and prints what the page shows."""

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "book/index.md", "CONTRIBUTING.md")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def read(page):
    return (ROOT / page).read_text(encoding="utf-8")


def examples(page):
    """[(code, what it should print)] of a page: each python block, and the text block that follows it, if one does."""
    blocks = BLOCK.findall(read(page))
    following = blocks[1:] + [("", "")]
    return [(code, shown if kind == "text" else "") for (language, code), (kind, shown) in zip(blocks, following) if language == "python"]


def run(page):
    """Run a page's examples one after the other, as a reader would; return what they define."""
    names = {}
    for number, (code, shown) in enumerate(examples(page), start=1):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, f"{page}, example {number}", "exec"), names)
        assert printed.getvalue() == shown, f"{page}, example {number}"
    return names


@pytest.mark.parametrize("page", (*PAGES, "book/prologue.md"))
def test_examples_run_and_print_what_the_page_shows(page):
    assert examples(page)
    run(page)


def test_readme_reuses_a_cell_in_ten_lines():
    (code, _), = examples("README.md")
    assert sum(1 for line in code.splitlines() if line.strip() and "import" not in line) <= 10


@pytest.mark.parametrize("page", PAGES)
def test_every_make_command_exists(page):
    """In running text as `make …`, in a shell block at the start of a line."""
    known = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    asked = set(re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)", read(page), re.MULTILINE))
    asked = {first or second for first, second in asked}
    assert asked and asked <= known


@pytest.mark.parametrize("page", ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"))
def test_every_file_named_exists(page):
    """Links into the repository, and names of files and folders in code type. NN and <…> stand for something else."""
    text = BLOCK.sub("", read(page))
    linked = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text)
    named = re.findall(r"`((?:[\w.-]+/)+[\w.-]*|[\w-]+\.(?:md|toml|lock|cff))`", text)
    for name in linked + [name for name in named if "NN" not in name]:
        assert (ROOT / name).exists() or (ROOT / "minigrad" / name).exists(), f"{page} names {name}"


# ---------------------------------------------------------------- the GRU of the landing page
def drawn(I=5, H=3, B=4):
    rng = np.random.default_rng(7)
    cell = mg.GRUCell(I, H)
    params = {name: rng.standard_normal(shape) for name, shape in cell.shapes.items()}
    return cell, params, rng.standard_normal((B, I)), rng.standard_normal((B, H))


def as_python(equation):
    """One line of the landing page's TeX as Python: `z_t &= \\sigma(x_t W_z + h_{t-1} U_z + b_z)`."""
    left, right = equation.replace(r"\tilde{h}_t", "h_tilde").split("&=")
    right = right.replace("h_{t-1}", "h").replace(r"\sigma", "sigmoid").replace(r"\tanh", "tanh").replace(r"\odot", "*")
    right = re.sub(r"\b([a-z])_t\b", r"\1", right)
    right = re.sub(r"(?<=[\w)]) (?=[WU]_)", " @ ", right)
    return left.strip().removesuffix("_t"), right.strip()


def test_equations_of_the_landing_page_are_the_cell():
    cell, params, x, h = drawn()
    names = {**params, "sigmoid": mg.sigmoid, "tanh": mg.tanh, "x": x, "h": h}
    lines = re.search(r"\\begin{aligned}\n(.*?)\\end{aligned}", read("book/index.md"), re.DOTALL)[1].split("\\\\\n")
    assert len(lines) == 4
    for line in lines:
        left, right = as_python(line)
        names[left] = eval(right, names)
    gates = cell.gates(params, x, h)
    for name in ("z", "r", "h_tilde", "h"):
        np.testing.assert_allclose(names[name], gates[name], rtol=1e-12)


def test_code_of_the_landing_page_is_the_cell():
    cell, params, x, h = drawn()
    gru = run("book/index.md")["gru"]
    np.testing.assert_array_equal(gru(params, x, h), cell(params, x, h))
    weights = np.random.default_rng(8).standard_normal(h.shape)
    ours = mg.grad(lambda p, x, h: np.sum(gru(p, x, h) * weights), (0, 1, 2))(params, x, h)
    cells = mg.grad(lambda p, x, h: np.sum(cell(p, x, h) * weights), (0, 1, 2))(params, x, h)
    for (path, a), (_, b) in zip(mg.tree_items(ours), mg.tree_items(cells)):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14, err_msg=path)
