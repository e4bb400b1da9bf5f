"""The live chapters: JupyterLite, with a Pyodide of the site's own, in a folder to put beside the pages.

    from live_site import live; live()     the folder, made again only when something that goes into it has changed

`make site` copies it to _build/html/lite. A reader's browser runs the notebooks there: nothing is installed, and
nothing comes from another machine. The tools for it live in .venv-live/env, so that they never bend the book's.

Pyodide is searched for in $PYODIDE_DIST, ../shared/pyodide and .venv-live/pyodide, else downloaded from its release.
"""

import hashlib
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import urllib.request
import venv
from pathlib import Path

from finish_pages import LIVE_POLICY, with_policy
from install import bar

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements-live.lock"
FOLDER = ROOT / ".venv-live"
ENV, DOWNLOADED, LITE = FOLDER / "env", FOLDER / "pyodide", FOLDER / "lite"
# What `make lock` resolves to LOCK; jupyter-server lists the files of the site for JupyterLite.
TOOLS = ("jupyterlite-core==0.6.4", "jupyterlite-pyodide-kernel==0.6.1", "jupyter-server>=2",
         "ipywidgets==8.1.7", "jupyterlab-widgets==3.0.15", "anywidget==0.11.0")  # fmt: skip

VERSION = "0.27.7"
RELEASE = f"https://github.com/pyodide/pyodide/releases/download/{VERSION}/pyodide-{VERSION}.tar.bz2"
PYODIDE_LOCK = "pyodide-lock.json"
RELEASED_LOCK = "9c45b916001a750f4102fc287494f3eab215909c7535c626a20db80fd6333e2c"  # the sha256 of the release's own
# The files that a lock doesn't name, with the sha256 they have in that release. All others are checked by the lock.
CORE = {
    "pyodide.js": "b4cb23a53aba19c221659b9fb40a2f18281d685691dc06647fb0afd0681baf98",
    "pyodide.mjs": "04c052c815abb0bf2981fa38c2dfa58e3120ee5288c956df2b2a15e301782c5f",
    "pyodide.asm.js": "6b4c90de5b7172873f04f21884d0e9d2274e305fe32116558fe3e4fbe3618d51",
    "pyodide.asm.wasm": "a50dd1843f805a0b7c45b61037ee0d7b26dfe85efe0e18ef95a34ad24e401f5f",
    "python_stdlib.zip": "16611534726e5d8ac2bd8f926410b2dcb8d6f49aa24913463533b457a2115c16",
}
# What the kernel asks for when it starts. minigrad's own needs come on top.
KERNEL = ("micropip", "ssl", "sqlite3", "ipython", "jedi", "comm")
# Pure Python that the release lacks or has in an older version, as entries of its lock; they come from PyPI.
EXTRAS = json.loads(Path(__file__).with_name("pyodide_extras.json").read_text(encoding="utf-8"))


class NoLive(Exception):
    """Why there can be no live chapters, in a sentence for the person who builds the site."""


def sha256(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def take(source, target, expected):
    """Copy a file of which the sha256 is known; NoLive when it isn't that file."""
    if not source.is_file():
        raise NoLive(f"{source.parent} lacks {source.name}, which the book's notebooks need.")
    if sha256(source) != expected:
        raise NoLive(f"{source} is damaged: its sha256 is {sha256(source)[:12]}…, {expected[:12]}… was expected.")
    shutil.copyfile(source, target)


def read_lock(folder):
    """Pyodide's lock in a distribution: which file is which package, and its sha256."""
    try:
        lock = json.loads((folder / PYODIDE_LOCK).read_text(encoding="utf-8"))
        found = lock["info"]["version"]
    except (OSError, ValueError, KeyError) as error:
        raise NoLive(f"{folder} is no Pyodide distribution: it holds no {PYODIDE_LOCK} that can be read.") from error
    if found != VERSION:
        raise NoLive(f"{folder} holds Pyodide {found}; the live chapters are made for {VERSION}.")
    return lock


def closure(packages, names):
    """The names, and all that they depend on."""
    found, todo = set(), list(names)
    while todo:
        name = todo.pop().lower().replace("_", "-")
        if name not in packages:
            raise NoLive(f"the Pyodide distribution lacks the package {name}.")
        if name not in found:
            found.add(name)
            todo += packages[name]["depends"]
    return found


# --- a Pyodide distribution -----------------------------------------------------------------------


def fetch(url, target):
    """Download a file with a bar. One that was interrupted goes on where it stopped; a whole one has its name."""
    part = target.with_name(f".{target.name}.partial")
    target.parent.mkdir(parents=True, exist_ok=True)
    done, began = (part.stat().st_size if part.exists() else 0), time.time()
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    with urllib.request.urlopen(request, timeout=15) as answer:
        done = done if answer.status == 206 else 0  # a server may begin again from the beginning
        total = done + int(answer.headers.get("Content-Length") or 0)
        with part.open("ab" if done else "wb") as file:
            while block := answer.read(1 << 18):
                file.write(block)
                done += len(block)
                bar(done >> 20, total >> 20, "Pyodide, MB", began)
    if done < total:
        raise OSError(f"{done} of {total} bytes came")
    bar(done >> 20, total >> 20, "Pyodide, MB", began, last=True)
    part.replace(target)


def members(tarball):
    """(file name, opener) of the files in a release, which lie in one folder."""
    with tarfile.open(tarball, "r|bz2") as archive:
        for member in archive:
            if member.isfile():
                yield Path(member.name).name, lambda member=member: archive.extractfile(member)


def unpack(tarball, folder):
    """The files that the book needs, out of the whole release; each is checked."""
    text = next((opened().read() for name, opened in members(tarball) if name == PYODIDE_LOCK), b"")
    if hashlib.sha256(text).hexdigest() != RELEASED_LOCK:
        raise NoLive(f"{tarball.name} is damaged: its {PYODIDE_LOCK} is not the one of the release.")
    packages = json.loads(text)["packages"]
    asked = set(KERNEL) | {name for entry in (minigrad_entry(), *EXTRAS.values()) for name in entry["depends"]}
    wanted = {packages[name]["file_name"]: packages[name]["sha256"] for name in closure(packages, asked - set(EXTRAS))} | CORE
    with tempfile.TemporaryDirectory(dir=FOLDER) as scratch:
        whole, checked = Path(scratch, "whole"), Path(scratch, "checked")
        whole.mkdir()
        checked.mkdir()
        for name, opened in members(tarball):
            if name in wanted:
                with (whole / name).open("wb") as file:
                    shutil.copyfileobj(opened(), file)
        for name, expected in wanted.items():
            take(whole / name, checked / name, expected)
        (checked / PYODIDE_LOCK).write_bytes(text)
        checked.rename(folder)


def download():
    """Pyodide's own release; of its hundreds of megabytes the 30 that the book needs are kept."""
    tarball = FOLDER / Path(RELEASE).name
    try:
        if not tarball.exists():
            print(f"  Downloading Pyodide {VERSION}, once, for the live chapters (LIVE=no builds the site without)", flush=True)
            fetch(RELEASE, tarball)
        print("  unpacking it", flush=True)
        unpack(tarball, DOWNLOADED)
    except (OSError, http.client.HTTPException) as error:
        raise NoLive(f"Pyodide could not be downloaded ({getattr(error, 'reason', error)}). The next time goes on from here.") from error
    except (tarfile.TarError, EOFError) as error:
        raise NoLive(f"{tarball.name} could not be unpacked ({error}).") from error
    finally:
        tarball.unlink(missing_ok=True)  # unpacked, or damaged; a part of it has another name
    return DOWNLOADED


def pyodide(may_download=True):
    """The folder of a Pyodide distribution: $PYODIDE_DIST, ../shared/pyodide, or a download."""
    if named := os.environ.get("PYODIDE_DIST"):
        return Path(named).resolve()
    for folder in (ROOT.parent / "shared/pyodide", DOWNLOADED):
        if (folder / PYODIDE_LOCK).is_file():
            return folder
    if not may_download:
        raise NoLive("there is no Pyodide here: `make live` downloads it, PYODIDE_DIST=/path/to/it names one.")
    return download()


# --- what goes into the site ----------------------------------------------------------------------


def minigrad_entry():
    """minigrad in the form of Pyodide's lock: `import minigrad` in a cell then loads it, and what it needs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    needs = [re.match(r"[\w.-]+", line)[0] for line in project["dependencies"] + extras["plots"] + extras["widgets"]]
    return {"name": "minigrad", "version": project["version"], "depends": needs, "imports": ["minigrad"],
            "install_dir": "site", "package_type": "package", "unvendored_tests": False}  # fmt: skip


def add_minigrad(folder):
    """Build minigrad's wheel into the folder; return its entry in the lock."""
    with tempfile.TemporaryDirectory() as scratch:
        build = [sys.executable, "-c", "import sys, flit_core.buildapi as flit; flit.build_wheel(sys.argv[1])", scratch]
        subprocess.run(build, cwd=ROOT, check=True, env={**os.environ, "SOURCE_DATE_EPOCH": "315532800"})  # 1980: the same bytes every time
        wheel = next(Path(scratch).glob("*.whl"))
        found = sha256(wheel)
        # A browser keeps files by name, so another content needs another one: a build number, in a wheel's terms.
        name = re.sub(r"-(?=py3-)", f"-0{found[:8]}-", wheel.name)
        shutil.move(wheel, folder / name)
    return minigrad_entry() | {"file_name": name, "sha256": found}


def add_pyodide(distribution, folder):
    """Fill the folder with the files of a distribution that the book needs, the extras and minigrad; each is checked."""
    lock = read_lock(distribution)
    packages = lock["packages"] | EXTRAS
    folder.mkdir(parents=True)
    packages["minigrad"] = add_minigrad(folder)
    needed = closure(packages, (*KERNEL, "minigrad"))
    absent = [EXTRAS[name] for name in needed & set(EXTRAS) if not (distribution / EXTRAS[name]["file_name"]).is_file()]
    downloaded = get_extras(absent) if absent else None
    for name in needed - {"minigrad"}:
        source = downloaded if packages[name] in absent else distribution
        take(source / packages[name]["file_name"], folder / packages[name]["file_name"], packages[name]["sha256"])
    for name, expected in CORE.items():
        take(distribution / name, folder / name, expected)
    lock["packages"] = {name: packages[name] for name in sorted(needed)}
    (folder / PYODIDE_LOCK).write_text(json.dumps(lock), encoding="utf-8")


def get_extras(entries):
    """The folder with the wheels of these extras, fetched by pip."""
    folder = FOLDER / "wheels"
    command = [ENV / "bin/python", "-m", "pip", "--disable-pip-version-check", "--quiet", "download", "--no-deps"]
    command += ["--only-binary=:all:", "--platform=any", f"--dest={folder}", *(f"{e['name']}=={e['version']}" for e in entries)]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        raise NoLive(f"pip could not fetch packages for the browser: {(ran.stderr.strip().splitlines() or ['?'])[-1]}")
    return folder


def live_copy(path):
    """A notebook's text for the browser: its kernel's name there, and cells that the page folds, folded."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    notebook["metadata"]["kernelspec"] = {"display_name": "Python (Pyodide)", "language": "python", "name": "python"}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code" and {"hide-cell", "hide-input"} & set(cell["metadata"].get("tags", [])):
            cell["metadata"].setdefault("jupyter", {})["source_hidden"] = True
    return json.dumps(notebook, ensure_ascii=False, indent=1)


def read_files(notebooks):
    """The files that notebooks read, sorted: named "../folder/file" or by their folder, or a package beside minigrad."""
    named = set()
    for path in notebooks:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        named |= set(re.findall(r"[\"']\.\./([\w./-]+)[\"']", code))
        imported = set(re.findall(r"^(?:from|import) (\w+)", code, re.MULTILINE)) - {"minigrad"}
        named |= {name for name in imported if (ROOT / name / "__init__.py").is_file()}
    files = {file for name in named for file in ((ROOT / name).rglob("*") if (ROOT / name).is_dir() else [ROOT / name])}
    return sorted(file for file in files if file.is_file() and file.suffix in (".py", ".json", ".npz", ".csv", ".txt"))


def notebooks():
    return sorted((ROOT / "notebooks").glob("*.ipynb"))


def add_contents(folder):
    """The notebooks and what they read, where they are in the repository."""
    (folder / "notebooks").mkdir(parents=True)
    for path in notebooks():
        (folder / "notebooks" / path.name).write_text(live_copy(path), encoding="utf-8")
    for path in read_files(notebooks()):
        (folder / path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / path.relative_to(ROOT))


# Both settings are needed: without the first the kernel asks a CDN for Pyodide, without the second PyPI for packages.
SETTINGS = {
    "jupyter-lite-schema-version": 0,
    "jupyter-config-data": {
        "appName": "Gates, live",
        "appUrl": "./tree",
        "exposeAppInBrowser": True,  # as window.jupyterapp, where the tests read a notebook's outputs
        "faviconUrl": "./tree/favicon.ico",
        "litePluginSettings": {
            "@jupyterlite/pyodide-kernel-extension:kernel": {
                "pyodideUrl": "./static/pyodide/pyodide.js",
                "disablePyPIFallback": True,
                # A browser's Python has no threads, and tqdm warns that its monitor, which needs one, is off.
                "loadPyodideOptions": {"env": {"PYTHONWARNINGS": "ignore:tqdm"}},
            }
        },
        "fileTypes": {"npz": {"name": "npz", "extensions": [".npz"], "fileFormat": "base64", "mimeTypes": ["application/x-npz"]}},
        "disabledExtensions": ["@jupyter-notebook/lab-extension:interface-switcher"],  # there is no JupyterLab here
    },
}


# --- building -------------------------------------------------------------------------------------


def make_environment():
    """.venv-live/env, from requirements-live.lock."""
    stamp, wanted = ENV / ".complete", LOCK.read_text(encoding="utf-8") + str(ROOT)
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return
    print("  The tools of the live chapters, once:", flush=True)
    venv.create(ENV, with_pip=True, clear=True)
    if subprocess.run([ENV / "bin/python", ROOT / "book/tools/install.py", "packages", LOCK], cwd=ROOT).returncode:
        raise NoLive("their tools could not be installed.")
    stamp.write_text(wanted, encoding="utf-8")


def inputs(distribution):
    """A hash of everything that the live site is made from."""
    files = [LOCK, ROOT / "pyproject.toml", *Path(__file__).parent.glob("pyodide_extras.json"), Path(__file__)]
    files += [Path(__file__).with_name("finish_pages.py")]
    files += [path for path in sorted((ROOT / "minigrad").rglob("*")) if path.is_file() and path.suffix != ".pyc"]
    files += [*notebooks(), *read_files(notebooks()), distribution / PYODIDE_LOCK]
    return hashlib.sha256("\n".join(f"{path} {sha256(path)}" for path in files).encode()).hexdigest()


def lite(folder, scratch):
    """Run `jupyter lite build`; what it says is shown only when it fails."""
    command = [ENV / "bin/jupyter", "lite", "build", "--contents", "contents", "--output-dir", folder]
    command += ["--no-sourcemaps", "--apps", "notebooks", "--apps", "tree"]
    path = f"{ENV / 'bin'}{os.pathsep}{os.environ['PATH']}"
    env = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "SOURCE_DATE"))} | {"PATH": path}
    ran = subprocess.run(command, cwd=scratch, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if ran.returncode:
        raise RuntimeError("jupyter lite failed:\n" + "\n".join(ran.stdout.splitlines()[-20:]))


def live(may_download=True):
    """The folder of the live site, built where it is not up to date; NoLive says what is missing for it."""
    distribution = pyodide(may_download)
    read_lock(distribution)
    stamp, wanted = LITE / ".inputs", inputs(distribution)
    if stamp.is_file() and stamp.read_text() == wanted:
        return LITE
    FOLDER.mkdir(exist_ok=True)
    make_environment()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=FOLDER) as scratch:  # what is interrupted leaves nothing half made
        scratch = Path(scratch)
        add_pyodide(distribution, scratch / "static/pyodide")
        add_contents(scratch / "contents")
        (scratch / "jupyter-lite.json").write_text(json.dumps(SETTINGS), encoding="utf-8")
        lite(scratch / "out", scratch)
        for page in (scratch / "out").glob("**/index.html"):
            # A page that names no icon at once makes the browser ask the whole host for one.
            icon = '<link rel="icon" href="data:,"></head>'
            html = page.read_text(encoding="utf-8").replace("</head>", icon, 1)
            page.write_text(with_policy(html, LIVE_POLICY), encoding="utf-8")
        (scratch / "out/.inputs").write_text(wanted)
        shutil.rmtree(LITE, ignore_errors=True)
        (scratch / "out").rename(LITE)
    size = sum(path.stat().st_size for path in LITE.rglob("*") if path.is_file()) >> 20
    print(f"  {len(notebooks())} live chapters, {size} MB, built in {time.perf_counter() - began:.0f} s", flush=True)
    return LITE


def live_or_not(wanted):
    """The folder of the live site, or None with a sentence. wanted: "auto"; "no"; "required", which fails instead."""
    if wanted == "no":
        return None
    try:
        return live()
    except RuntimeError as failure:
        sys.exit(str(failure))
    except NoLive as why:
        if wanted == "required":
            sys.exit(f"The live chapters can't be built: {why}")
        print(f"  The site is built without live chapters: {why}", flush=True)
        return None


if __name__ == "__main__":
    live_or_not("required")
