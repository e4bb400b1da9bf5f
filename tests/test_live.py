"""The live chapters: what goes into them, where Pyodide comes from, and that one runs in a browser, from this machine only.

Without a Pyodide or a Chromium here they are skipped and say so; .ci/run says LIVE_TESTS=required.
"""

import hashlib
import http.server
import io
import json
import os
import re
import shutil
import tarfile
import threading
import zipfile
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import nbformat
import pytest
from nbformat.v4 import new_markdown_cell, new_notebook

import build_site
import live_site
import serve
from browsing import CHROMIUM_FLAGS, chromium
from test_site import Page, policy_of, tiny_book  # noqa: F401

ROOT = Path(__file__).resolve().parents[1]
CHAPTER_2 = "notebooks/02-gradients-for-free.ipynb"
LIMIT = 240  # seconds for all cells of chapter 2 in a browser; twenty where nothing else runs
# What matplotlib says once in each new browser session, since it can keep no cache there.
FONT_CACHE = "Matplotlib is building the font cache; this may take a moment.\n"


def missing(why):
    """Skip, or fail where these tests are required."""
    (pytest.fail if os.environ.get("LIVE_TESTS") == "required" else pytest.skip)(f"no live chapters were tested: {why}")


@pytest.fixture(scope="module")
def lite():
    """The folder of the live chapters, as `make site` copies it."""
    try:
        return live_site.live(may_download=False)
    except live_site.NoLive as why:
        missing(why)


def settings(lite, app):
    """What the kernel of an app is set to: the site's settings, and over them the app's."""
    found = {}
    for folder in (lite, lite / app):
        config = json.loads((folder / "jupyter-lite.json").read_text(encoding="utf-8"))["jupyter-config-data"]
        found |= config.get("litePluginSettings", {}).get("@jupyterlite/pyodide-kernel-extension:kernel", {})
    return found


@pytest.mark.parametrize("app", ["notebooks", "tree"])
def test_settings_name_files_of_the_site_only(lite, app):
    kernel = settings(lite, app)
    assert kernel["disablePyPIFallback"] is True
    for url in [kernel["pyodideUrl"], *kernel["pipliteUrls"]]:
        assert url.startswith("./") and (lite / urlsplit(url).path).is_file(), url
    for path in (lite / "jupyter-lite.json", lite / app / "jupyter-lite.json"):
        assert re.findall(r'"(?:https?:)?//[^"]*"', path.read_text(encoding="utf-8")) == [], path


def test_no_page_may_load_from_elsewhere(lite):
    """A policy of its own on each page: Python needs more than the book does, but no other machine."""
    pages = list(lite.rglob("index.html"))
    assert lite / "notebooks/index.html" in pages
    for path in pages:
        policy = policy_of(path.read_text(encoding="utf-8"))
        sources = {source for name in policy for source in policy[name] if not source.startswith("'")}
        assert policy["default-src"] == ["'self'"] and sources <= {"data:", "blob:"}, path
        assert "'unsafe-inline'" not in policy["script-src"] and "data:" not in policy["script-src"], path


def test_every_package_that_minigrad_needs_is_there(lite):
    folder = lite / "static/pyodide"
    packages = json.loads((folder / live_site.PYODIDE_LOCK).read_text(encoding="utf-8"))["packages"]
    assert live_site.closure(packages, ["minigrad"]) <= set(packages)
    assert {"numpy", "autograd", "matplotlib", "anywidget"} <= live_site.closure(packages, ["minigrad"])
    named = {entry["file_name"]: entry["sha256"] for entry in packages.values()} | live_site.CORE
    assert {name: live_site.sha256(folder / name) for name in named} == named
    assert {path.name for path in folder.iterdir()} == {*named, live_site.PYODIDE_LOCK}


def test_minigrad_comes_with_its_data(lite):
    (wheel,) = (lite / "static/pyodide").glob("minigrad-*.whl")
    assert live_site.sha256(wheel)[:8] in wheel.name  # or browsers would keep an older one of this name
    with zipfile.ZipFile(wheel) as file:
        for name in ("minigrad/cells.py", "minigrad/data/digits.npz"):
            assert file.read(name) == (ROOT / name).read_bytes(), name


def test_every_chapter_is_there_with_its_outputs(lite):
    for path in ROOT.glob("notebooks/*.ipynb"):
        stored, live = nbformat.read(path, as_version=4), nbformat.read(lite / "files/notebooks" / path.name, as_version=4)
        for ours, theirs in zip(stored.cells, live.cells, strict=True):
            assert ours.source == theirs.source and ours.get("outputs") == theirs.get("outputs"), (path.name, ours.id)


def test_files_that_a_chapter_reads_are_there(lite):
    read = [path.relative_to(ROOT) for path in live_site.read_files(live_site.notebooks())]
    assert {"keras_gru.npz", "digits_by_rows.json"} <= {path.name for path in read}  # chapters 9 and 10
    assert [path for path in read if (lite / "files" / path).read_bytes() != (ROOT / path).read_bytes()] == []


def test_a_site_that_is_up_to_date_is_not_built_again(lite, monkeypatch):
    monkeypatch.setattr(live_site, "lite", lambda *args: pytest.fail("it was built again"))
    assert live_site.live(may_download=False) == lite


def test_what_the_browser_gets_is_what_the_book_uses():
    """ipywidgets and its widgets for the page are older: they go with the JupyterLite of requirements-live.lock."""
    pins = dict(re.findall(r"(?m)^([\w-]+)==([\w.]+)", (ROOT / "requirements.lock").read_text(encoding="utf-8")))
    live = dict(re.findall(r"(?m)^([\w-]+)==([\w.]+)", live_site.LOCK.read_text(encoding="utf-8")))
    for name, entry in live_site.EXTRAS.items():
        assert entry["version"] == (live if name in ("ipywidgets", "jupyterlab-widgets") else pins)[name], name
    assert [pin for pin in live_site.TOOLS if "==" in pin and live[pin.split("==")[0]] != pin.split("==")[1]] == []


# --- the button -----------------------------------------------------------------------------------


@pytest.mark.parametrize("live", [True, False])
def test_the_button_leads_to_the_live_chapter(lite, tiny_book, live):  # noqa: F811
    """On a chapter, not on other pages; and nowhere on a site without live chapters."""
    (tiny_book / "_toc.yml").write_text(f"format: jb-book\nroot: book/index\nchapters:\n  - file: {CHAPTER_2[:-6]}\n")
    (tiny_book / "book/index.md").write_text("# Title\n\nText.\n")
    (tiny_book / "notebooks").mkdir()
    nbformat.write(new_notebook(cells=[new_markdown_cell("# A chapter\n\nText.")]), tiny_book / CHAPTER_2)
    assert build_site.build(tiny_book / "_build", tiny_book, live=lite if live else None) == []
    html = tiny_book / "_build/html"
    page = (html / CHAPTER_2).with_suffix(".html")
    assert "Run this page" not in (html / "book/index.html").read_text(encoding="utf-8")
    buttons = [urlsplit(link) for link in Page(page).links if "lite/" in link]
    assert len(buttons) == live and (html / "lite").exists() == live
    for button in buttons:
        assert (page.parent / button.path).resolve() == (html / "lite/notebooks/index.html").resolve()
        assert (html / "lite/notebooks/index.html").is_file()
        assert parse_qs(button.query)["path"] == [CHAPTER_2] and (html / "lite/files" / CHAPTER_2).is_file()


# --- where Pyodide comes from ---------------------------------------------------------------------


def digest(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def distribution(tmp_path, monkeypatch):
    """A small folder with all that makes a Pyodide distribution, and a project that asks for nothing else."""
    folder = tmp_path / "named"
    folder.mkdir()
    files = {"pyodide.js": b"core", "micropip.whl": b"a package" * 9999, "unused.whl": b"unused"}
    packages = {name: {"file_name": f"{name}.whl", "sha256": digest(files[f"{name}.whl"]), "depends": []} for name in ("micropip", "unused")}
    files[live_site.PYODIDE_LOCK] = json.dumps({"info": {"version": live_site.VERSION}, "packages": packages}).encode()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    project = tmp_path / "place/project"
    project.mkdir(parents=True)
    nothing = live_site.minigrad_entry() | {"depends": [], "file_name": "minigrad.whl", "sha256": "0"}
    for name, value in {
        "CORE": {"pyodide.js": digest(b"core")}, "KERNEL": ("micropip",), "EXTRAS": {}, "ROOT": project,
        "FOLDER": project / ".venv-live", "DOWNLOADED": project / ".venv-live/pyodide", "LITE": project / ".venv-live/lite",
        "RELEASED_LOCK": digest(files[live_site.PYODIDE_LOCK]),
        "minigrad_entry": lambda: nothing, "add_minigrad": lambda folder: nothing,
    }.items():  # fmt: skip
        monkeypatch.setattr(live_site, name, value)
    monkeypatch.delenv("PYODIDE_DIST", raising=False)
    return folder


def test_pyodide_is_taken_from_where_it_is(distribution, monkeypatch):
    monkeypatch.setattr(live_site, "download", lambda: "downloaded")
    assert live_site.pyodide() == "downloaded"
    beside = live_site.ROOT.parent / "shared/pyodide"
    shutil.copytree(distribution, beside)
    assert live_site.pyodide() == beside
    monkeypatch.setenv("PYODIDE_DIST", str(distribution))
    assert live_site.pyodide() == distribution


def test_only_needed_files_are_copied(distribution, tmp_path):
    live_site.add_pyodide(distribution, tmp_path / "target")
    assert {path.name for path in (tmp_path / "target").iterdir()} == {"pyodide.js", "micropip.whl", live_site.PYODIDE_LOCK}


@pytest.mark.parametrize("name", ["pyodide.js", "micropip.whl"])
def test_a_file_that_was_tampered_with_is_refused(distribution, tmp_path, name):
    content = bytearray((distribution / name).read_bytes())
    content[-1] ^= 1
    (distribution / name).write_bytes(content)
    with pytest.raises(live_site.NoLive, match=f"{name} is damaged"):
        live_site.add_pyodide(distribution, tmp_path / "target")


def test_what_is_no_distribution_of_this_version_is_refused(distribution, monkeypatch):
    monkeypatch.setenv("PYODIDE_DIST", str(distribution))
    lock = distribution / live_site.PYODIDE_LOCK
    for text, says in [
        (lock.read_text().replace(live_site.VERSION, "0.1.0"), "holds Pyodide 0.1.0; the live chapters are made for"),
        ("{}", "is no Pyodide distribution"),
        (None, "is no Pyodide distribution"),
    ]:
        lock.unlink() if text is None else lock.write_text(text)
        with pytest.raises(live_site.NoLive, match=says):
            live_site.live()


def test_a_site_without_live_chapters_says_so(distribution, monkeypatch, capsys):
    monkeypatch.setattr(live_site, "RELEASE", "http://127.0.0.1:9/pyodide.tar.bz2")  # nothing listens there
    assert live_site.live_or_not("auto") is None
    assert "The site is built without live chapters: Pyodide could not be downloaded (" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="The live chapters can't be built: Pyodide could not be downloaded"):
        live_site.live_or_not("required")
    monkeypatch.setattr(live_site, "live", lambda: pytest.fail("LIVE=no built them"))
    assert live_site.live_or_not("no") is None


class Release(http.server.BaseHTTPRequestHandler):
    """One file, with ranges; each answer ends after `most` bytes, as one over a bad line does."""

    content, most, asked = b"", 0, []

    def do_GET(self):
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        begin = int(found[1]) if found else 0
        type(self).asked.append(begin)
        self.send_response(206 if found else 200)
        self.send_header("Content-Length", str(len(self.content) - begin))
        self.end_headers()
        self.wfile.write(self.content[begin : begin + self.most])

    def log_message(self, *args):
        pass


@pytest.fixture
def release(distribution, monkeypatch):
    """A server of the distribution as a release."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:bz2") as archive:
        for path in sorted(distribution.iterdir(), reverse=True):
            archive.add(path, f"pyodide/{path.name}")
    handler = type("Handler", (Release,), {"content": packed.getvalue(), "most": 10**9, "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(live_site, "RELEASE", f"http://127.0.0.1:{server.server_port}/pyodide.tar.bz2")
    yield handler
    server.shutdown()
    server.server_close()


def test_a_download_that_stopped_goes_on(release, distribution):
    release.most = len(release.content) // 2 + 1
    with pytest.raises(live_site.NoLive, match="could not be downloaded"):
        live_site.pyodide()
    assert not live_site.DOWNLOADED.exists()
    folder = live_site.pyodide()
    assert release.asked == [0, release.most]
    names = {path.name for path in folder.iterdir()}
    assert names == {"pyodide.js", "micropip.whl", live_site.PYODIDE_LOCK}  # what the book needs
    assert all((folder / name).read_bytes() == (distribution / name).read_bytes() for name in names)
    assert live_site.pyodide() == folder and len(release.asked) == 2  # the second time it is there
    assert [path.name for path in live_site.FOLDER.iterdir()] == ["pyodide"]


@pytest.mark.parametrize("name", ["pyodide.js", "micropip.whl", live_site.PYODIDE_LOCK])
def test_a_release_that_was_tampered_with_is_refused(distribution, request, name):
    (distribution / name).write_bytes((distribution / name).read_bytes() + b" ")
    request.getfixturevalue("release")
    with pytest.raises(live_site.NoLive, match=f"damaged: its {name if name.endswith('.json') else 'sha256'}"):
        live_site.pyodide()
    assert not live_site.DOWNLOADED.exists() and list(live_site.FOLDER.iterdir()) == []


# --- in a browser ---------------------------------------------------------------------------------

OPENED = "window.jupyterapp?.shell?.currentWidget?.content?.model?.cells?.length > 1"
RUN_ALL = """() => {
    const notebook = jupyterapp.shell.currentWidget;
    for (const cell of notebook.content.model.cells) if (cell.type === 'code') cell.clearExecution();
    notebook.sessionContext.ready.then(() => jupyterapp.commands.execute('notebook:run-all-cells'))
        .finally(() => { window.finished = true; });
}"""
RESULT = "jupyterapp.shell.currentWidget.content.model.toJSON()"
RUN_TAPE = """async ([old, new_]) => {
    const notebook = jupyterapp.shell.currentWidget.content, cells = [...notebook.model.cells];
    const k = cells.findIndex(cell => cell.sharedModel.source.includes('widgets.tape('));
    cells[k].sharedModel.setSource(cells[k].sharedModel.source.replace(old, new_));
    notebook.activeCellIndex = k;
    await notebook.scrollToItem(k, 'center');
    await jupyterapp.commands.execute('notebook:run-cell');
}"""


def texts(cell):
    """What a cell printed; a browser's Python has 32 bits, and so its integers."""
    return "".join("".join(output["text"]) for output in cell["outputs"] if output.get("name") == "stdout").replace("int64", "int32")


def complaints(cell):
    """What a cell wrote to stderr, or the error that stopped it."""
    for output in cell["outputs"]:
        text = "".join(output.get("text", "")) or output.get("evalue", "")
        if (output.get("name") == "stderr" or output["output_type"] == "error") and text != FONT_CACHE:
            yield text


def tape_at_its_end(page, *change):
    """What the tape says at its last step, after this change of its cell; and what it said before it was moved."""
    page.evaluate(RUN_TAPE, change)
    slider = page.locator(".touchable input[type=range]").last
    slider.wait_for(timeout=LIMIT * 1000)
    said = page.locator(".touchable-say").last.inner_text()
    slider.press("End")
    page.wait_for_function("said => [...document.querySelectorAll('.touchable-say')].at(-1).innerText !== said", arg=said)
    return said, page.locator(".touchable-say").last.inner_text()


@pytest.mark.browser
@pytest.mark.slow
def test_chapter_2_runs_in_a_browser(lite, tmp_path):
    """Under a sub-path, as on a project's page; every cell prints what is stored, and no other machine is asked."""
    if not chromium():
        missing("no Chromium or Chrome on PATH (CHROMIUM=/path/to/it names one)")
    from playwright.sync_api import sync_playwright

    (tmp_path / "some/book").mkdir(parents=True)
    (tmp_path / "some/book/lite").symlink_to(lite)
    server = serve.server(tmp_path, 8000)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/"
    asked, failed = [], []
    with sync_playwright() as playwright:
        alone = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
        running = playwright.chromium.launch(executable_path=chromium(), args=[*CHROMIUM_FLAGS, alone])
        context = running.new_context()
        context.on("request", lambda request: asked.append(request.url))
        context.on("response", lambda response: response.status >= 400 and failed.append(response.url))
        page = context.new_page()
        page.on("pageerror", lambda error: failed.append(str(error)))
        page.goto(f"{address}some/book/lite/notebooks/index.html?path={CHAPTER_2}")
        page.wait_for_function(OPENED, timeout=LIMIT * 1000)
        page.evaluate(RUN_ALL)
        page.wait_for_function("window.finished", timeout=LIMIT * 1000)
        live = page.evaluate(RESULT)
        first, last = tape_at_its_end(page, "-9.0", "-9.0")
        _, other = tape_at_its_end(page, "-9.0", "-5.0")
        running.close()
    server.shutdown()
    stored = json.loads((ROOT / CHAPTER_2).read_text(encoding="utf-8"))
    code = [pair for pair in zip(stored["cells"], live["cells"], strict=True) if pair[0]["cell_type"] == "code"]
    for ours, theirs in code:
        assert list(complaints(theirs)) == [], theirs["source"]
        assert theirs["execution_count"], f"never run: {theirs['source']}"
        assert texts(theirs) == texts(ours), theirs["source"]
        assert [set(o.get("data", ())) for o in ours["outputs"] if "data" in o] == [set(o["data"]) for o in theirs["outputs"] if "data" in o]
    assert any("/static/pyodide/numpy-" in url for url in asked), "the log does not see what the kernel asks for"
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
    assert failed == []
    assert len({first, last, other}) == 3, "the tape's slider, or a change of its cell, made no difference"
