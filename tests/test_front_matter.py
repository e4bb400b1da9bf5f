"""The pages around the chapters agree with the files they speak of, and with each other."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import minigrad as mg

ROOT = Path(__file__).resolve().parents[1]
LANDING = (ROOT / "book/index.md").read_text(encoding="utf-8")
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def documents(node):
    """Every page that _toc.yml names, without suffix."""
    if isinstance(node, dict):
        yield from (str(Path(node[key]).with_suffix("")) for key in ("root", "file") if key in node)
        node = list(node.values())
    for part in node if isinstance(node, list) else ():
        yield from documents(part)


CONTENTS = set(documents(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))))


# ---------------------------------------------------------------- versions
def test_versions_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    newest = re.search(r"^## \[(\d[^]]*)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)[1]
    readme = re.search(r"Version ([\d.]+)\.", (ROOT / "README.md").read_text(encoding="utf-8"))[1]
    found = {
        "minigrad.__version__": mg.__version__,
        "pyproject.toml": project["version"],
        "CITATION.cff": CITATION["version"],
        "CITATION.cff, preferred-citation": CITATION["preferred-citation"]["version"],
        "CHANGELOG.md": newest,
        "README.md": readme,
    }
    assert len(set(map(str, found.values()))) == 1, found


def test_citation_says_what_the_licences_say():
    assert CITATION["cff-version"] == "1.2.0"
    assert CITATION["license"] == "MIT" and (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("MIT License")
    assert CITATION["preferred-citation"]["license"] == "CC-BY-4.0"
    assert "Attribution 4.0 International" in (ROOT / "LICENSE-TEXT").read_text(encoding="utf-8")
    holder = CITATION["authors"][0]["name"]
    for name in ("LICENSE", "LICENSE-TEXT", "README.md"):
        assert holder in (ROOT / name).read_text(encoding="utf-8"), name
    assert CITATION["title"] == yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["title"]


# ---------------------------------------------------------------- chapters
def section(heading):
    return re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", LANDING, re.MULTILINE | re.DOTALL)[1]


def chapters_here():
    """The chapters that the landing page says are here, as _toc.yml names them."""
    return re.findall(r"{doc}`\.\./(notebooks/\d[\w-]+)`", section("What is here now"))


def test_chapters_on_the_landing_page_are_the_chapters_there_are():
    stored = {f"notebooks/{path.stem}" for path in (ROOT / "notebooks").glob("[0-9]*.ipynb")}
    here = chapters_here()
    assert here == sorted(set(here))
    assert set(here) == stored
    assert set(here) == {name for name in CONTENTS if re.match(r"notebooks/\d", name)}


def test_no_chapter_is_both_here_and_planned():
    here = {int(re.match(r"notebooks/(\d+)-", name)[1]) for name in chapters_here()}
    rows = [line for line in section("What is here now").splitlines() if line.startswith("|")][2:]
    planned = [int(number) for row in rows for number in re.findall(r"(?:[|;] )(\d+) ", row)]
    assert len(planned) == len(set(planned)) and not here & set(planned)
    assert here | set(planned) == set(range(1, 16))


def test_readme_and_changelog_name_the_chapters_that_are_here():
    numbers = {int(re.match(r"notebooks/(\d+)-", name)[1]) for name in chapters_here()}
    for page in ("README.md", "CHANGELOG.md"):
        listed = re.search(r"chapters (?:[^()]*?\d+ \([^()]*\))+", (ROOT / page).read_text(encoding="utf-8"))[0]
        assert set(map(int, re.findall(r"(\d+) \(", listed))) == numbers, page


# ---------------------------------------------------------------- notation
def test_notation_names_every_parameter_and_gate():
    """By letter: a W_… and U_… for each subscript that a cell uses, and every name that `gates` returns."""
    notation = (ROOT / "book/notation.md").read_text(encoding="utf-8")
    cells = [mg.RNNCell(2, 3), mg.LSTMCell(2, 3), mg.PeepholeLSTMCell(2, 3), mg.GRUCell(2, 3), mg.GRUCell(2, 3, reset="after")]
    subscripts = {name[2:] for cell in cells for name in cell.shapes}
    assert subscripts == set("ifozrchU")
    for subscript in subscripts - {"U"}:
        assert re.search(rf"[`, {{]{subscript}[`, _}}]", notation), subscript
    kinds = {name[0] for cell in cells for name in cell.shapes}
    assert all(re.search(rf'p\["{kind}_', notation) for kind in kinds)
    assert 'p["b_U"]' in notation and "`c_tilde`" in notation and "`h_tilde`" in notation


# ---------------------------------------------------------------- the picture
@pytest.fixture(scope="module")
def cover():
    """What book/tools/draw_cover.py --check says, run as a person runs it."""
    script = ROOT / "book/tools/draw_cover.py"
    return subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True)


def test_stored_picture_is_what_the_script_draws(cover):
    assert cover.returncode == 0, cover.stdout + cover.stderr


def test_what_is_said_of_the_picture_holds(cover):
    """Of every seed: about half is left at 0.99; a hundredth at 0.94; a millionth at 0.72; tanh and 0.50, below 1e-12."""
    ends = {name: (float(low), float(high)) for name, low, high in re.findall(r"^ +(.*?) +\d+ steps back: (\S+) to (\S+)$", cover.stdout, re.MULTILINE)}
    assert set(ends) == {"GRU, keeps 0.99", "GRU, keeps 0.94", "LSTM, keeps 0.72", "tanh cell", "GRU, keeps 0.50"}
    assert 0.4 < ends["GRU, keeps 0.99"][0] and ends["GRU, keeps 0.99"][1] < 0.6
    assert 0.005 < ends["GRU, keeps 0.94"][0] and ends["GRU, keeps 0.94"][1] < 0.02
    assert 1e-7 < ends["LSTM, keeps 0.72"][0] and ends["LSTM, keeps 0.72"][1] < 1e-5
    assert 1e-15 < ends["tanh cell"][0] and ends["tanh cell"][1] < 1e-12
    assert ends["GRU, keeps 0.50"][1] < min(1e-16, ends["tanh cell"][0])
