"""That a notebook whose stored outputs are not what it computes fails, whatever was changed.

A small notebook is stored by the real runner in a copy of the project's settings, and tampered
with in copies of it; the pytest command of `make test` runs once over all of them.
"""

import base64
import copy
import io
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

import notebook_rules
import run_notebooks

ROOT = Path(__file__).resolve().parents[1]
ALT = {"mystnb": {"image": {"alt": "A line that rises"}}}
DRAW = "plt.figure(figsize=(2, 1))\nplt.plot([0, 1, 4])\nplt.show()"


def sample():
    """A notebook with one cell of each kind: text, numbers, both picture formats, an error, a widget."""
    return new_notebook(
        cells=[
            new_markdown_cell("# A sample"),
            new_code_cell("import matplotlib.pyplot as plt\nprint(round(2 ** 0.5, 4))"),
            new_code_cell("1 / 3 > 0.3, 12.25"),
            new_code_cell(DRAW, metadata=ALT),
            new_code_cell("%config InlineBackend.figure_formats = ['svg']\n" + DRAW, metadata=ALT),
            new_code_cell("[].pop()", metadata={"tags": ["raises-exception"]}),
            new_code_cell("import ipywidgets\nipywidgets.IntSlider(3)"),
            new_code_cell("quiet = 1"),
        ]
    )


NUMBER, RESULT, PNG, SVG, ERROR, WIDGET, QUIET = range(1, 8)  # the cells, as indices into notebook.cells


def untouched(notebook):
    pass


def changed_number(notebook):
    stream = notebook.cells[NUMBER].outputs[0]
    assert stream.text == "1.4142\n"
    stream.text = "1.4143\n"


def changed_result(notebook):
    data = notebook.cells[RESULT].outputs[0].data
    data["text/plain"] = data["text/plain"].replace("12.25", "12.24")


def changed_png(notebook):
    data = notebook.cells[PNG].outputs[0].data
    picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    picture.putpixel((30, 30), (0, 0, 0, 255))
    changed = io.BytesIO()
    picture.save(changed, "png")
    data["image/png"] = base64.b64encode(changed.getvalue()).decode() + "\n"


def changed_svg(notebook):
    data = notebook.cells[SVG].outputs[0].data
    line = re.search(r"L (\d+)(\.\d+)? ", data["image/svg+xml"])
    data["image/svg+xml"] = data["image/svg+xml"].replace(line[0], f"L {int(line[1]) + 1}{line[2] or ''} ")


def changed_error(notebook):
    error = notebook.cells[ERROR].outputs[0]
    error.evalue = "pop from an empty list"
    error.traceback = [f"{error.ename}: {error.evalue}"]


def changed_source(notebook):
    notebook.cells[NUMBER].source = notebook.cells[NUMBER].source.replace("0.5", "0.51")


def missing_output(notebook):
    notebook.cells[RESULT].outputs = []


def missing_picture(notebook):
    notebook.cells[PNG].outputs = []


def missing_widget(notebook):
    notebook.cells[WIDGET].outputs = []


def extra_text(notebook):
    notebook.cells[QUIET].outputs = [new_output("stream", name="stdout", text="all is well\n")]


def extra_picture(notebook):
    notebook.cells[PNG].outputs.append(copy.deepcopy(notebook.cells[PNG].outputs[0]))


def extra_widget(notebook):
    notebook.cells[WIDGET].outputs.append(copy.deepcopy(notebook.cells[WIDGET].outputs[0]))


def stripped(notebook):
    for cell in notebook.cells[1:]:
        cell.outputs, cell.execution_count = [], None


def ignored(notebook):
    notebook.cells[NUMBER].source += "\n# NBVAL_IGNORE_OUTPUT"
    changed_number(notebook)


def skipped(notebook):
    notebook.cells[RESULT].metadata.tags = ["nbval-skip"]
    changed_result(notebook)


# Tampered notebooks: what was done to each, and the test that has to fail for it: a cell's, counted
# from 0, or the rules'. Cells are compared one by one, so a notebook can carry several changes.
TAMPERED = {
    "changed": {
        changed_number: "Cell 0",
        changed_result: "Cell 1",
        changed_png: "Cell 2",
        changed_svg: "Cell 3",
        changed_error: "Cell 4",
        missing_widget: "Cell 5",
        extra_text: "Cell 6",
    },
    "missing": {
        changed_source: "Cell 0",
        missing_output: "Cell 1",
        missing_picture: "Cell 2",
        extra_widget: "Cell 5",
    },
    "extra": {extra_picture: "Cell 2"},
    "stripped": {stripped: "rules"},
    "ignored": {ignored: "rules"},
    "skipped": {skipped: "rules"},
}
CASES = [(name, change, test) for name, changes in TAMPERED.items() for change, test in changes.items()]


def clean_environment():
    """This process's environment without what make and pytest put there for themselves."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "MAKE", "MFLAGS", "COV_"))}


def pytest_of_make_test():
    """The pytest command that `make test` runs, asked of make itself, without this project's own tests."""
    if not shutil.which("make"):
        pytest.skip("make is not installed, so its command is not known")
    plan = subprocess.run(["make", "-n", "test"], cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=True)
    options = re.search(r"-m pytest(.*)", plan.stdout)[1].split()
    return [sys.executable, "-m", "pytest", *options, "notebooks"]


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A folder with the project's settings and the sample as the runner stores it."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("pyproject.toml", "conftest.py"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "book/tools", folder / "book/tools")
    (folder / "notebooks").mkdir()
    path = folder / "notebooks/untouched.ipynb"
    nbformat.write(sample(), path)
    assert run_notebooks.main([str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def outcome(stored):
    """{notebook: {test: passed}} and pytest's output, of one run over the sample and its tampered copies."""
    for name, changes in TAMPERED.items():
        notebook = nbformat.read(stored, as_version=4)
        for change in changes:
            change(notebook)
        stored.with_name(f"{name}.ipynb").write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    folder = stored.parents[1]
    command = [*pytest_of_make_test(), "--junitxml=report.xml"]
    run = subprocess.run(command, cwd=folder, env=clean_environment(), capture_output=True, text=True)
    found = {}
    for case in xml.etree.ElementTree.parse(folder / "report.xml").iter("testcase"):
        notebook = case.get("classname").removesuffix(".ipynb").split(".")[-1].split("/")[-1]
        found.setdefault(notebook, {})[case.get("name")] = case.find("failure") is None and case.find("error") is None
    return found, run.stdout


def test_the_untouched_notebook_passes(outcome):
    found, output = outcome
    assert len(found["untouched"]) == len(sample().cells), output  # a test for each code cell, and the rules
    assert all(found["untouched"].values()), output


@pytest.mark.parametrize("name, change, test", CASES, ids=lambda part: getattr(part, "__name__", None))
def test_a_tampered_notebook_fails(outcome, name, change, test):
    found, output = outcome
    assert found[name][test] is False, output


@pytest.mark.parametrize("name", TAMPERED)
def test_cells_that_were_left_alone_pass(outcome, name):
    """Else a notebook that cannot run at all would pass for one whose tampering was found."""
    found, output = outcome
    cells = {test for test in found[name] if test.startswith("Cell")}
    assert all(found[name][test] for test in cells - set(TAMPERED[name].values())), output


def test_rerun_gives_the_same_bytes(stored):
    before = stored.read_bytes()
    assert run_notebooks.main([str(stored)]) == 0
    assert stored.read_bytes() == before


def test_check_says_which_notebook_differs_and_stores_nothing(stored, tmp_path, capsys):
    path = tmp_path / "changed.ipynb"
    notebook = nbformat.read(stored, as_version=4)
    changed_number(notebook)
    nbformat.write(notebook, path)
    before = path.read_bytes()
    assert run_notebooks.main(["--check", str(path)]) == 1
    assert "changed.ipynb" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_a_failing_cell_is_shown_and_the_file_kept(tmp_path, capsys):
    path = tmp_path / "failing.ipynb"
    nbformat.write(new_notebook(cells=[new_markdown_cell("text"), new_code_cell("x = 1"), new_code_cell("x / 0")]), path)
    before = path.read_bytes()
    assert run_notebooks.main([str(path)]) == 1
    said = capsys.readouterr().err
    assert "failing.ipynb, code cell 2 (cell 3 of 3)" in said
    assert "x / 0" in said and "ZeroDivisionError" in said
    assert path.read_bytes() == before


def test_a_notebook_that_is_edited_while_it_runs_is_left_alone(tmp_path, capsys):
    path = tmp_path / "edited.ipynb"
    edit = "import pathlib\nfile = pathlib.Path('edited.ipynb')\nfile.write_text(file.read_text().replace('before', 'after'))"
    nbformat.write(new_notebook(cells=[new_markdown_cell("before"), new_code_cell(edit)]), path)
    assert run_notebooks.main([str(path)]) == 1
    assert "changed the file while it ran" in capsys.readouterr().err
    assert "after" in path.read_text()


def test_a_measured_time_alone_changes_nothing(tmp_path):
    path = tmp_path / "timed.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("import time\nprint(f'took {time.perf_counter():.4f} s')")]), path)
    run_notebooks.main([str(path)])
    before = path.read_bytes()
    assert run_notebooks.main([str(path)]) == 0
    assert path.read_bytes() == before


def test_cell_ids_are_kept_or_made_from_the_source():
    cells = [new_code_cell("a", id="mine"), new_code_cell("b", id="mine"), new_code_cell("b", id="mine"), new_code_cell("c")]
    cells[3]["id"] = ""
    ids = list(run_notebooks.cell_ids(cells))
    assert ids[0] == "mine" and len(set(ids)) == 4
    assert ids == list(run_notebooks.cell_ids(cells))
    assert ids[3] == run_notebooks.hashlib.sha256(b"c").hexdigest()[:8]


@pytest.mark.parametrize(
    "before, after",
    [
        ('<path d="M 12.345678 -0.000012 L 1e-07 3"/>', '<path d="M 12.35 0 L 0 3"/>'),
        ('<g transform="translate(3.14159 2) scale(0.015625 -0.015625)"/>', '<g transform="translate(3.14 2) scale(0.015625 -0.015625)"/>'),
        ('<?xml version="1.0"?><use style="fill: #1f77b4" id="m12e345"/>', None),
        ("344.999999", "345"),
    ],
)
def test_an_svg_s_coordinates_are_rounded_and_nothing_else(before, after):
    assert run_notebooks.round_svg(before) == (before if after is None else after)


def ran(*cells):
    """The cells as a stored notebook, numbered, in normal form, as text."""
    return nbformat.writes(run_notebooks.normalise(new_notebook(cells=list(cells)))) + "\n"


def printed(text, source="print(x)", **more):
    return new_code_cell(source, outputs=[new_output("stream", name="stdout", text=text)], **more)


def picture(**metadata):
    return new_code_cell("plt.show()", outputs=[new_output("display_data", {"image/png": "iVBORw0KGgo="})], metadata=metadata)


BROKEN = {
    "shows an absolute path": printed("read /home/ada/digits.npz\n"),
    "shows a host": printed("see https://example.org/page\n"),
    "shows a memory address": printed("<object at 0x7f3a9c0d1e50>\n"),
    "more than six decimals": printed("0.1234567\n"),
    "writes to stderr": new_code_cell("x", outputs=[new_output("stream", name="stderr", text="Warning\n")]),
    "calls interact": new_code_cell("ipywidgets.interact(f, x=3)"),
    "calls Output": new_code_cell("out = widgets.Output()"),
    "calls clear_output": new_code_cell("%matplotlib inline\nclear_output(wait=True)"),
    "display_id": new_code_cell("handle = display(1, display_id='a')"),
    "display(...).update": new_code_cell("display(1).update(2)"),
    "has the tag nbval-ignore-output": new_code_cell("x", metadata={"tags": ["nbval-ignore-output"]}),
    "has the tag NBVAL_SKIP": new_code_cell("x = 1\n# NBVAL_SKIP"),
    "no printed output is stored": new_code_cell("print(1)"),
    "no image is stored": new_code_cell("plt.plot(x)\nplt.show()"),
    "without alt text": picture(),
    "is empty": new_code_cell("  "),
}


@pytest.mark.parametrize("expected", BROKEN)
def test_each_rule_finds_its_breach(expected):
    found = notebook_rules.problems(ran(BROKEN[expected]), "sample.ipynb")
    assert len(found) == 1 and expected in found[0], found


@pytest.mark.parametrize(
    "cell",
    [printed("4.0 in 1.2 s, ratio 3/4, 1e-12\n"), picture(**ALT), new_code_cell("params.update(new)\nshow_text()")],
    ids=["text", "picture", "code"],
)
def test_the_rules_let_ordinary_cells_pass(cell):
    assert notebook_rules.problems(ran(cell), "sample.ipynb") == []


def test_cells_run_out_of_order_are_found():
    notebook = nbformat.reads(ran(new_code_cell("a = 1"), new_code_cell("b = 2")), as_version=4)
    notebook.cells[0].execution_count, notebook.cells[1].execution_count = 2, 1
    found = notebook_rules.problems(nbformat.writes(notebook) + "\n", "sample.ipynb")
    assert any("code cell 1 has execution count 2" in problem for problem in found)


def test_a_notebook_saved_by_an_editor_is_sent_through_the_runner():
    notebook = nbformat.reads(ran(new_code_cell("a = 1")), as_version=4)
    notebook.metadata.language_info.version = "3.12.1"
    assert any("not in the stored form" in problem for problem in notebook_rules.problems(nbformat.writes(notebook), "x.ipynb"))


def test_the_list_of_uncompared_cells_names_cells_that_exist():
    for name, cell_id in notebook_rules.UNCOMPARED:
        notebook = nbformat.read(ROOT / "notebooks" / name, as_version=4)
        assert cell_id in {cell.id for cell in notebook.cells}, f"{name} has no cell {cell_id}"
