"""The student notebooks: they run by themselves, give nothing away, are enough for the solutions, and can be regraded."""

import copy
import json
import os
import re
import subprocess
import sys
import zipfile
from types import SimpleNamespace

import nbformat
import needed_code
import pytest
import regrade
import student_notebooks as student
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from run_notebooks import execute

ROOT = student.ROOT
CHAPTERS = student.chapters()


@pytest.fixture(scope="module")
def reader():
    return student.Reader()


@pytest.fixture(scope="module")
def written(reader):
    """{chapter: (student's notebook, exercises)}"""
    return {path.stem: student.student_notebook(path, reader, "minigrad.whl") for path in CHAPTERS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("class") / "student"
    student.build(found, progress=False)
    return found


def argument(call):
    """`f` of the call `check(f)`."""
    return re.fullmatch(r"\w+\((\w+)\)", call)[1]


def solved(exercise):
    """The solution under the stub's name."""
    solution = "\n\n\n".join(cell.source for cell in student.code(exercise.solution))
    call, = student.calls_of_check(exercise)
    own_call = solution.rstrip().splitlines()[-1]
    assert own_call.startswith(call.partition("(")[0]), f"{exercise.label}: the solution doesn't end with a call of the check"
    return f"{solution}\n{argument(call)} = {argument(own_call)}\n"


# ---------------------------------------------------------------- what a student gets
@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_it_runs_alone_and_the_solutions_fit_in(path, written, tmp_path):
    """From the first cell to the last in an empty folder; then with each solution below its stub."""
    notebook, exercises = copy.deepcopy(written[path.stem])
    programmed = [exercise for exercise in exercises if exercise.stub]
    for exercise in programmed:
        call, = student.calls_of_check(exercise)
        place = next(n for n, cell in enumerate(notebook.cells) if cell.id == f"{exercise.label}-attempt")
        notebook.cells.insert(place + 1, new_code_cell(f"{solved(exercise)}{call}", id=f"{exercise.label}-solved"))
    file = tmp_path / path.name
    nbformat.write(notebook, file)
    printed = {cell.id: "".join(output.get("text", output.output_type) for output in cell.outputs)
               for cell in execute(file, on_cell=None).cells if cell.cell_type == "code"}
    assert {printed[f"{e.label}-attempt"] for e in programmed} <= {"Not attempted yet.\n"}
    # A solution prints what its chapter shows: the verdict of its own call, and once more that of the stub's.
    assert {e.label: printed[f"{e.label}-solved"].splitlines()[-2:] for e in programmed} == {e.label: ["Correct."] * 2 for e in programmed}
    others = {name: text for name, text in printed.items() if text and not name.endswith(("-attempt", "-solved"))}
    assert not others, f"the chapter's code prints: {others}"


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_it_gives_no_solution_away(path, written):
    chapter = nbformat.read(path, as_version=4)
    open_to_all = "\n".join(cell.source for cell in chapter.cells if "solution" not in cell.metadata.get("tags", []))
    secret = {line.strip() for cell in chapter.cells if "solution" in cell.metadata.get("tags", []) for line in cell.source.splitlines()}
    secret = {line for line in secret if len(line) > 8 and line not in open_to_all} - {":class: dropdown"}
    notebook, exercises = written[path.stem]
    assert len(secret) > len(exercises)
    text = "\n".join(part for cell in notebook.cells for part in (cell.source, json.dumps(cell.metadata)))
    assert not [line for line in secret if line in text]
    assert "solution" not in json.dumps([cell.metadata for cell in notebook.cells])
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_every_exercise_is_there_in_plain_markdown(path, written):
    notebook, exercises = written[path.stem]
    assert len(exercises) == path.read_text(encoding="utf-8").count("{exercise}")
    ids = [cell.id for cell in notebook.cells]
    for exercise in exercises:
        number = ".".join(str(int(part)) for part in exercise.label.split("-")[1:])
        assert exercise.number == number, "labels and numbers on the site differ"
        assert exercise.label in ids
        assert exercise.kind == "conceptual" or f"{exercise.label}-attempt" in ids
        assert exercise.kind != "conceptual" or f"{exercise.label}-answer" in ids
        assert bool(exercise.stub) == bool(exercise.check) and len(student.calls_of_check(exercise)) == bool(exercise.stub)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            assert not re.search(r":::|\{[\w:]+\}`|^:\w+:|\$\$ *\(|\]\((?!https?:)", cell.source, re.MULTILINE), cell.source
        else:
            assert "../" not in cell.source, "it would need a file of the repository"


def test_what_markdown_becomes(tmp_path):
    """References of a book of two chapters, in words."""
    (tmp_path / "book").mkdir()
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "book/references.bib").write_text("@article{a, author={Ag, B. and De Haan, C. and Ef, G.}, title={T}, year={2001}, doi={1/2}}\n")
    for name, title in (("03-one", "One"), ("04-two", "Two")):
        cells = [new_markdown_cell(f"# {title}"), new_markdown_cell(f"$$\na\n$$ (eq-{title.lower()}-a)\n\n$$\nb\n$$ (eq-{title.lower()}-b)\n")]
        nbformat.write(new_notebook(cells=cells), tmp_path / f"notebooks/{name}.ipynb")
    reader = student.Reader(tmp_path)
    assert reader.plain("By {eq}`eq-two-b`, {cite:t}`a` and {doc}`04-two` {cite:p}`a`.") == (
        "By (4.2), [Ag et al. (2001)](https://doi.org/1/2) and chapter 4, *Two* ([Ag et al., 2001](https://doi.org/1/2)).")
    assert reader.plain("$$\na\n$$ (eq-one-a)") == "$$\na\n\\tag{3.1}\n$$"
    assert reader.plain("::::{admonition} Hint\n:class: tip\nLook\n::::") == "> **Hint**\n>\n> Look"
    assert reader.plain("[here](../x.md), [there](https://x.y)") == "here, [there](https://x.y)"
    exercise = student.Exercise("ex-03-1", "3.1", "conceptual", "Why", "See {eq}`eq-two-b`.")
    assert reader.statement(exercise).endswith("From the chapter:\n\n$$\nb \\tag{4.2}\n$$")
    with pytest.raises(ValueError, match="no way to say"):
        reader.plain("{numref}`fig-x`")


def install_cell(found, there, folder):
    """What the first code cell of a notebook asks of pip, if minigrad is found or not and its wheel is there or not."""
    asked = []

    def importer(name, *args):
        if name == "minigrad" and not found:
            raise ImportError(name)
        return __import__(name, *args)

    shell = SimpleNamespace(run_line_magic=lambda name, line: asked.append(f"{name} {line}"))
    source = student.INSTALL.format(wheel="minigrad-1-py3-none-any.whl")
    if there:
        (folder / "minigrad-1-py3-none-any.whl").touch()
    exec(source, {"__builtins__": {**vars(__import__("builtins")), "__import__": importer}, "get_ipython": lambda: shell})
    return asked


def test_the_first_cell_installs_only_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert install_cell(True, False, tmp_path) == []
    with pytest.raises(AssertionError, match="put minigrad-1-py3-none-any.whl, which is in the zip, into the folder"):
        install_cell(False, False, tmp_path)
    assert install_cell(False, True, tmp_path) == ['pip install -q "./minigrad-1-py3-none-any.whl[plots]"']


def test_the_zip_has_the_same_bytes_each_time_and_its_wheel_works(folder, tmp_path):
    again = tmp_path / "again"
    student.build(again, progress=False)
    assert (again / "gates-exercises.zip").read_bytes() == (folder / "gates-exercises.zip").read_bytes()
    with zipfile.ZipFile(folder / "gates-exercises.zip") as archive:
        archive.extractall(tmp_path)
    inside = tmp_path / "gates-exercises"
    wheel, = inside.glob("*.whl")
    assert wheel.name == student.wheel_name()
    assert {path.name for path in inside.iterdir()} == {"README.txt", "LICENSE", "LICENSE-TEXT", wheel.name, *(p.name for p in CHAPTERS)}
    assert all(f'wheel = "{wheel.name}"' in nbformat.read(inside / p.name, as_version=4).cells[1].source for p in CHAPTERS)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(tmp_path / "lib"), str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    code = "import minigrad as mg; print(mg.__file__, mg.load_digits()[0].shape)"
    said = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path / "lib")},
                          check=True, capture_output=True, text=True).stdout
    assert said.startswith(str(tmp_path / "lib")) and "(8, 1797, 8)" in said


def test_a_folder_of_somebody_elses_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(FileExistsError, match="was not written by this program"):
        student.build(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_the_teachers_page_lists_every_exercise():
    page = student.PAGE.read_text(encoding="utf-8")
    assert student.with_table(page) == page, "book/teaching.md is out of date: run `make student`"


def test_the_teachers_page_shows_what_its_code_prints(capsys):
    blocks = re.findall(r"^```(python|text)\n(.*?)^```$", student.PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert [kind for kind, _ in blocks] == ["python", "text"] * 2
    names = {}
    for (_, code), (_, shown) in zip(blocks[::2], blocks[1::2]):
        exec(compile(code, "book/teaching.md", "exec"), names)
        assert capsys.readouterr().out == shown


# ---------------------------------------------------------------- which code is needed
@pytest.mark.parametrize(("source", "wanted", "kept"), [
    ("a = 1\nb = 2\nc = a + 1", "c", "a = 1\nc = a + 1"),
    ("a = 1\na = 2\nb = a", "b", "a = 2\nb = a"),  # the first is replaced before anybody uses it
    ("a = 1\nb = a\na = 2", "a b", "a = 1\nb = a\na = 2"),
    ("def f():\n    return g()\ng = 1\ndef g():\n    return 2", "f", "def f():\n    return g()\ndef g():\n    return 2"),
    ("d = {}\nd['x'] = 1\nd['x'] = 2\nd['y'] = 3\nprint(d)", "d", "d = {}\nd['x'] = 2\nd['y'] = 3"),
    ("d = {}\ndef put(k):\n    d[k] = 1\nput('x')\nn = len(d)", "d", "d = {}\ndef put(k):\n    d[k] = 1\nput('x')"),
    ("class A: pass\nfor n in 'ab':\n    setattr(A, n, 1)\nx = A()", "A", "class A: pass\nfor n in 'ab':\n    setattr(A, n, 1)"),
    ("import numpy as np\nnp.random.seed(0)\nx = np.ones(3)\nx *= 2\ny = 3", "x", "import numpy as np\nx = np.ones(3)\nx *= 2"),
    ("x = [1]\ndef show(y):\n    print(y)\nshow(x)", "x", "x = [1]"),  # a demonstration
    ("x = 1\n# why\nf = lambda: x", "f", "x = 1\n# why\nf = lambda: x"),
    ("n = 0\ndef step():\n    global n\n    n += 1\nstep()", "n", "n = 0\ndef step():\n    global n\n    n += 1\nstep()"),
])
def test_needed_code(source, wanted, kept):
    assert needed_code.source(needed_code.needed([new_code_cell(source)], wanted.split())) == kept


# ---------------------------------------------------------------- regrading
GRU = next(path for path in CHAPTERS if path.name.startswith("07-"))


@pytest.fixture
def hand_in(written, tmp_path):
    """hand_in(name, label=answer, ...): writes a student's notebook of chapter 7; "ex_07_3" is an attempt, words end in _words."""
    def hand_in(name, change=lambda notebook: None, **given):
        notebook = copy.deepcopy(written[GRU.stem][0])
        cells = {cell.id.replace("-", "_"): cell for cell in notebook.cells}
        for key, source in given.items():
            cell = cells[key.replace("_words", "_answer") if key.endswith("_words") else f"{key}_attempt"]
            cell.source = cell.source.splitlines()[0] + "\n" + source
        change(notebook)
        path = tmp_path / f"{name}-{GRU.name}"
        path.write_text(nbformat.writes(notebook), encoding="utf-8")
        return path
    return hand_in


def results(paths, **settings):
    """{(student, exercise): (result, text)} and what was not read."""
    marks, unreadable = regrade.regrade(paths, **settings)
    return {(m.student, m.exercise): (m.result, m.text) for m in marks}, unreadable


def test_regrade_right_wrong_and_empty(hand_in, written):
    exercises = {e.label: e for e in written[GRU.stem][1]}
    right = {label.replace("-", "_"): solved(e) for label, e in exercises.items() if e.stub}
    paths = [hand_in("Ada", **right, ex_07_1_words="It is 0.4."), hand_in("Ben", ex_07_3="def to_keep(params):\n    return dict(params)"),
             hand_in("Cleo", ex_07_3="# no idea\n\ndef to_keep(params):\n    raise NotImplementedError\n\ncheck_to_keep(to_keep)")]
    found, unreadable = results(paths)
    assert not unreadable
    assert {found["Ada", e.number] for e in exercises.values() if e.stub} == {("correct", "")}
    assert found["Ada", "7.1"] == ("to read", "") and found["Ada", "7.2"] == ("not attempted", "")
    result, hint = found["Ben", "7.3"]
    assert result == "not yet" and hint.startswith("W_z is unchanged")
    assert {found[name, e.number] for name in ("Ben", "Cleo") for e in exercises.values()} == {("not attempted", ""), (result, hint)}
    assert found["Cleo", "7.3"] == ("not attempted", "")


def test_regrade_uses_its_own_checks(hand_in):
    def spoil(notebook):
        for cell in notebook.cells:
            if "-check-" in cell.id:
                cell.source = "check_to_keep = lambda attempt: print('Correct.')"

    cheat = "def to_keep(params):\n    print('Correct.')\n    return params\n\ncheck_to_keep = lambda attempt: print('Correct.')\n"
    found, _ = results([hand_in("Eve", change=spoil, ex_07_3=f"{cheat}check_to_keep(to_keep)")])
    assert found["Eve", "7.3"][0] == "not yet"


def test_regrade_survives_everything(hand_in, tmp_path, capsys):
    endless = "def to_keep(params):\n    while True:\n        try:\n            while True:\n                pass\n        except BaseException:\n            pass"
    paths = [hand_in("Crash", ex_07_3="import os\nos._exit(0)", ex_07_4="exit()", ex_07_5="def mgu_step(p, x, h)\n    pass",
                     ex_07_6="%timeit 1\ndef step_back(p, h, gates, d_h):\n    return helper(p)"),
             hand_in("Loop", ex_07_3=endless, ex_07_5="def mgu_step(p, x, h):\n    return 'a\\x1b[2J'"), tmp_path / "broken.ipynb", tmp_path / "other.ipynb"]
    paths[2].write_text("{")
    nbformat.write(new_notebook(cells=[new_code_cell("1")]), paths[3])
    out = tmp_path / "out.csv"
    assert regrade.main([*map(str, paths), "--csv", str(out), "--seconds", "5", "--jobs", "1"]) == 1
    said = capsys.readouterr()
    table = {line.split()[0]: re.split(r"  +", line)[1:] for line in said.out.splitlines() if line.startswith(("Crash  ", "Loop  "))}
    no = "not attempted"
    assert table["Crash"] == [no, no, "error", "error", "error", "error", no]
    assert table["Loop"] == [no, no, "time limit", no, "not yet", no, no]
    for words in ("Crash, 7.3: error: the process ended with exit code 0", "7.4: error: SystemExit", "7.5: error: SyntaxError: expected ':' (line 2",
                  "7.6: error: NameError: name 'helper' is not defined (line 4", "longer than 5 s"):
        assert words in said.out
    assert "broken.ipynb: not readable" in said.err and "other.ipynb: holds no exercise" in said.err
    assert len(out.read_text(encoding="utf-8-sig").splitlines()) == 1 + 2 * 7


def test_regrade_finds_answers_without_ids_and_metadata(hand_in):
    """Colab drops ids; people split cells, and add their own."""
    def as_colab(notebook):
        split = next(n for n, cell in enumerate(notebook.cells) if cell.id == "ex-07-3-attempt")
        head, tail = notebook.cells[split].source.split("\n---\n")
        notebook.cells[split].source = head
        notebook.cells.insert(split + 1, copy.deepcopy(notebook.cells[split]))
        notebook.cells[split + 1].source = tail
        for n, cell in enumerate(notebook.cells):
            if n != split + 1:
                cell.metadata = nbformat.from_dict({})
            del cell["id"]
        notebook.nbformat_minor = 0

    halves = "minus = lambda a: -a\n---\ndef to_keep(p):\n    return {name: minus(a) if name[-1] == 'z' else a for name, a in p.items()}"
    again = "def merge(b_in, b_rec):\n    minus(1)\n    return {'b_z': b_in['z'] + b_rec['z'], 'b_r': b_in['r'] + b_rec['r'], 'b_h': b_in['h'], 'b_U': b_rec['h']}"
    found, _ = results([hand_in("Fay", change=as_colab, ex_07_3=halves, ex_07_4=again, ex_07_2_words="No.")])
    assert found["Fay", "7.3"] == ("correct", "")
    assert found["Fay", "7.2"] == ("to read", "")
    assert found["Fay", "7.4"] == ("correct", "")  # it uses what the answer before it defines


def test_regrade_csv_holds_no_formula(tmp_path):
    regrade.write_csv(tmp_path / "a.csv", [regrade.Mark("Gus", "f", "07", "7.1", "conceptual", "to read", "", "=1+1")])
    assert "'=1+1" in (tmp_path / "a.csv").read_text(encoding="utf-8-sig")
