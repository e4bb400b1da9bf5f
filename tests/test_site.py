"""The built site: its pages, links, pictures and words, and what a browser makes of it."""

import functools
import http.server
import re
import shutil
import subprocess
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest

import build_site
import finish_pages
from browsing import SIZES, TYPESET, browser, opened, serving, site  # noqa: F401

ROOT = Path(__file__).resolve().parents[1]
PAGES = build_site.pages()
LOADING_TAGS = ("script", "link", "img", "iframe", "source", "video", "audio", "embed", "object")
MOST = 1_000_000  # bytes that a page may load before its reader asks for more, as they are without any compression


class Page(HTMLParser):
    """What a page links to, loads, shows and can be linked at."""

    def __init__(self, path):
        super().__init__()
        self.targets, self.links, self.loads, self.images = set(), [], [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.targets |= {attributes[key] for key in ("id", "name") if attributes.get(key)}
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])
        if tag in LOADING_TAGS:
            self.loads += [attributes[key] for key in ("src", "href", "data") if attributes.get(key)]
        if tag == "img":
            self.images.append(attributes)


@functools.cache
def read(path):
    return Page(path)


def html_pages(site):
    """Every page; below _static there are a theme's templates, which are none."""
    return sorted(path for path in site.rglob("*.html") if "_static" not in path.relative_to(site).parts)


def broken(site, path, link):
    """Why a link on the page at `path` leads nowhere; None when it leads somewhere, or to another site."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target.is_dir():
        target /= "index.html"
    if not target.is_file() or site.resolve() not in target.resolve().parents:
        return "no such file"
    if parts.fragment and target.suffix == ".html" and unquote(parts.fragment) not in read(target).targets:
        return "no such place on the page"
    return None


def broken_links(site):
    """Every link and every loaded file of every page that is not there."""
    for path in html_pages(site):
        page = read(path)
        for link in dict.fromkeys(page.links + page.loads):
            why = broken(site, path, link)
            if why:
                yield f"{path.relative_to(site)}: {link}: {why}"


def third_parties(site):
    """Everything that a page or a style sheet loads from another machine."""
    for path in html_pages(site):
        for link in read(path).loads:
            if urlsplit(link).netloc:
                yield f"{path.relative_to(site)} loads {link}"
    for path in sorted(site.rglob("*.css")):
        for link in re.findall(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')\s]+)", path.read_text(encoding="utf-8")):
            yield f"{path.relative_to(site)} loads {link}"


def test_every_page_exists(site):
    assert [page for page in PAGES if not (site / page).is_file()] == []
    assert (site / "index.html").is_file() and (site / "search.html").is_file()


def test_every_source_is_a_page():
    sources = [*ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("book/*.md")]
    assert {str(path.relative_to(ROOT).with_suffix(".html")) for path in sources} == set(PAGES)


def test_a_chapter_has_the_number_of_its_file_once(site):
    for page in PAGES:
        number = re.match(r"notebooks/0*(\d+)-", page)
        title = re.search(r"<title>(.*?)</title>", (site / page).read_text(encoding="utf-8"), re.DOTALL)[1].strip()
        assert re.match(r"\d*", title)[0] == (number[1] if number else ""), title
        assert not re.match(r"\d+\.\s*\d+\.", title), title


def test_links_lead_somewhere(site):
    assert list(broken_links(site)) == []


def test_pages_load_nothing_from_elsewhere(site):
    assert list(third_parties(site)) == []


def test_pictures_are_described(site):
    """Sphinx gives a picture without words its file name as words."""
    for page in PAGES:
        for image in read(site / page).images:
            alt = (image.get("alt") or "").strip()
            assert alt and not re.search(r"\.(png|svg|jpe?g|gif)$", alt), f"{page}: {image.get('src')} has no alt text"


def test_pages_do_not_name_this_machine(site):
    for path in [*html_pages(site), site / "searchindex.js"]:
        text = path.read_text(encoding="utf-8")
        assert str(ROOT) not in text and str(Path.home()) + "/" not in text, path


@pytest.mark.parametrize(
    "text, finds",
    [
        ('<a href="b.html">b</a>', "b.html: no such file"),
        ('<a href="a.html#there">a</a>', "a.html#there: no such place on the page"),
        ('<a href="#there">a</a>', "#there: no such place on the page"),
        ('<a href="../outside.html">a</a>', "../outside.html: no such file"),
        ('<img src="a.png">', "a.png: no such file"),
        ('<script src="https://cdn.example/x.js"></script>', "loads https://cdn.example/x.js"),
        ('<link rel="stylesheet" href="//fonts.example/x.css">', "loads //fonts.example/x.css"),
        ('<a href="https://example.org/#x">out</a><a href="#here">a</a><p id="here">', None),
    ],
)
def test_the_checkers_find_what_they_are_for(tmp_path, text, finds):
    folder = tmp_path / "site"
    folder.mkdir()
    (tmp_path / "outside.html").write_text("outside")
    (folder / "a.html").write_text(text)
    found = [*broken_links(folder), *third_parties(folder)]
    assert len(found) == (finds is not None) and all(line.endswith(finds) for line in found), found


@pytest.fixture
def tiny_book(tmp_path):
    """A book of one page, with the project's own configuration."""
    for name in ("_config.yml", "book/_static", "book/tools", "book/references.bib", "minigrad/widgets/touchable.js"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tmp_path / name)
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/index\n")
    return tmp_path


def test_a_reference_to_nothing_fails_the_build_every_time(tiny_book):
    nothing = {"eq-gone": "{eq}`eq-gone`", "ref-gone": "{ref}`ref-gone`", "gone.md": "[it](gone.md)", "gone1999": "{cite}`gone1999`"}
    (tiny_book / "book/index.md").write_text("# Title\n\n" + "\n\n".join(nothing.values()) + "\n")
    for attempt in ("first", "second"):
        wrong = "\n".join(build_site.build(tiny_book / "_build", tiny_book))
        assert [label for label in nothing if label not in wrong] == [], (attempt, wrong)


def spelling_errors(*paths):
    """What codespell finds in files and folders; the settings are in pyproject.toml."""
    command = [sys.executable, "-m", "codespell_lib", "--toml", str(ROOT / "pyproject.toml"), *map(str, paths)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout


def test_spelling(tmp_path):
    """Of everything a reader sees: pages, the text and code of notebooks, the package, the files at the top."""
    for path in ROOT.glob("notebooks/*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        (tmp_path / f"{path.stem}.md").write_text("\n".join(cell.source for cell in cells), encoding="utf-8")
    found = spelling_errors(tmp_path, ROOT / "book", ROOT / "minigrad", *ROOT.glob("*.md"), ROOT / "tests")
    assert found == "", found


def test_the_spelling_checker_finds_an_error(tmp_path):
    (tmp_path / "page.md").write_text("A wierd sentence" + ".")  # codespell:ignore
    assert "==> weird" in spelling_errors(tmp_path)


def listen(page, address):
    """Collect what a page complains about, misses, or asks for outside the site's own address."""
    heard = []
    page.on("console", lambda message: message.type in ("error", "warning") and heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(f"exception: {error}"))
    # The front door leads on before all of it has come, which aborts the rest.
    page.on("requestfailed", lambda request: "ERR_ABORTED" in request.failure or heard.append(f"failed: {request.url}"))
    page.on("response", lambda response: response.status >= 400 and heard.append(f"{response.status}: {response.url}"))
    page.on(
        "request",
        lambda request: request.url.startswith((f"{address}/", "data:", "blob:")) or heard.append(f"asks {request.url}"),
    )
    return heard


# An unknown command is no error to MathJax: it prints its name in red.
EQUATIONS_NOT_SET = """() => {
    const wrong = 'mjx-merror, [style*="color: red"], [mathcolor="red"]';
    return [...document.querySelectorAll('.math')]
        .filter(e => !e.querySelector('mjx-container') || e.querySelector(wrong))
        .map(e => e.textContent.trim().slice(0, 80));
}"""
# A reader scrolls; what was left out until then comes.
PICTURES_MISSING = """async () => {
    const pictures = [...document.querySelectorAll('.bd-article img')];
    for (const picture of pictures) {
        picture.scrollIntoView();
        await Promise.race([picture.decode(), new Promise(later => setTimeout(later, 5000))]).catch(() => {});
    }
    return pictures.filter(picture => !picture.naturalWidth).map(picture => picture.src);
}"""
# An element that scrolls by itself may hold anything; one that does not must end at the page's edge.
TOO_WIDE = """() => {
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width) return [];
    return [...document.querySelectorAll('.bd-main *')].filter(e => e.getBoundingClientRect().right > width + 1)
        .slice(0, 5).map(e => e.outerHTML.slice(0, 120)).concat(['the page is ' + document.documentElement.scrollWidth]);
}"""


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", [*PAGES, "index.html", "search.html"])
def test_page_in_a_browser(browser, name, scheme):  # noqa: F811
    """No complaint, no request outside the site's address, little to load, all equations and pictures, nothing too wide."""
    running, address = browser
    # Each scheme comes up at one size and is then drawn out or in to the other.
    sizes = list(SIZES) if scheme == "light" else list(SIZES)[::-1]
    page = running.new_page(color_scheme=scheme, viewport=SIZES[sizes[0]])
    heard, loaded = listen(page, address), []
    page.on("response", lambda response: loaded.append(response))
    page.goto(f"{address}/{name}", wait_until="networkidle")
    page.evaluate(TYPESET)
    page.wait_for_load_state("networkidle")
    if name in PAGES:  # what the front door sent is gone when it has led on
        sent = [(len(response.body()), response.url) for response in list(loaded) if response.status == 200]
        assert sum(size for size, _ in sent) < MOST, sorted(sent, reverse=True)[:8]
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    assert page.evaluate(EQUATIONS_NOT_SET) == []
    assert page.evaluate(PICTURES_MISSING) == []
    for size in sizes:
        page.set_viewport_size(SIZES[size])
        assert page.evaluate(TOO_WIDE) == [], size
    page.close()
    assert heard == []


CHAPTER = "notebooks/07-the-gru-cell.html"


@pytest.mark.browser
def test_equations_are_set_in_a_browser_that_inflates_nothing(browser):  # noqa: F811
    """An older one gets MathJax as it is."""
    running, address = browser
    page = running.new_page()
    heard = listen(page, address)
    page.add_init_script("delete window.DecompressionStream")
    page.goto(f"{address}/{CHAPTER}")
    page.evaluate(TYPESET)
    assert page.locator("mjx-container").count() > 100 and page.evaluate(EQUATIONS_NOT_SET) == []
    page.close()
    assert heard == []


@pytest.mark.browser
@pytest.mark.parametrize("hand", ["mouse", "keyboard"])
@pytest.mark.parametrize("kind", ["div.solution.dropdown", "details.hide"])
def test_what_is_folded_opens(browser, kind, hand):  # noqa: F811
    page = opened(browser, CHAPTER)
    fold = page.locator(kind).first
    inside, handle = fold.locator("pre, p:not(.admonition-title)").first, fold.locator("summary, .admonition-title, button").first
    assert not inside.is_visible()
    for visible in (True, False):
        if hand == "mouse":
            handle.click()
        else:
            button = fold.locator("summary, button").first
            button.focus()
            assert button.evaluate("e => e === document.activeElement")
            page.keyboard.press("Enter")
        inside.wait_for(state="visible" if visible else "hidden", timeout=5000)
    page.close()


@pytest.mark.browser
def test_the_search_finds_a_word_and_leads_there(browser):  # noqa: F811
    """From a chapter, by the keyboard alone: Ctrl+K, a word, Enter; then the first result."""
    page = opened(browser, CHAPTER)
    heard = listen(page, browser[1])
    page.keyboard.press("Control+K")
    page.keyboard.type("peephole")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=peephole")
    result = page.locator("#search-results li a").first
    result.wait_for(timeout=20000)
    result.click()
    page.wait_for_url(lambda url: "search.html" not in url)
    assert "peephole" in page.locator(".bd-article").inner_text().lower()
    page.close()
    assert heard == []


# --- the policy -----------------------------------------------------------------------------------


def policy_of(html):
    """A page's policy, {directive: [sources]}; it has to stand before all that it could forbid."""
    found = re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', html)
    first = re.search(r"<(?:script|link|style|img|base|body)\b", html)
    assert found and found.start() < first.start()
    return {part.split()[0]: part.split()[1:] for part in found[1].split("; ")}


def test_every_page_forbids_what_is_from_elsewhere(site):  # noqa: F811
    for path in html_pages(site):
        policy = policy_of(path.read_text(encoding="utf-8"))
        assert policy["default-src"] == ["'self'"] and policy["object-src"] == ["'none'"], path
        for name in ("connect-src", "font-src", "form-action", "base-uri"):
            assert policy[name] == ["'self'"], (path, name)
        sources = {source for name in policy for source in policy[name] if not source.startswith("'sha256-")}
        assert sources <= {"'self'", "'none'", "'unsafe-inline'", "data:"}, path
        assert not {"'unsafe-inline'", "data:"} & set(policy["script-src"]), path


@pytest.mark.parametrize(
    "html, counted",
    [
        ("<script>a()</script>", ["a()"]),
        ('<script type="module">a()</script>', ["a()"]),
        ('<script src="a.js"></script>', []),
        ('<script type="application/json">{"a": 1}</script>', []),
        ('<script\nid="b">a()\n</script><script>b()</script>', ["a()\n", "b()"]),
    ],
)
def test_inline_scripts_are_found(html, counted):
    assert list(finish_pages.inline_scripts(html)) == counted


FOREIGN = """<img src="{0}/img.png"><script src="{0}/script.js"></script><link rel="stylesheet" href="{0}/style.css">
<iframe src="{0}/frame.html"></iframe><script>fetch("{0}/fetched"); new Image().src = "{0}/inline.png"</script>
<button type="button" id="inline" onclick="document.title = 'ran'">press</button>
<style>@font-face {{ font-family: F; src: url({0}/font.woff) }} #inline {{ font-family: F }}</style>"""


@pytest.fixture
def elsewhere():
    """(another machine, as a browser sees one: another port; what it was asked for)"""
    asked = []

    class Listener(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Access-Control-Allow-Origin", "*")
            self.end_headers()

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


@pytest.mark.browser
@pytest.mark.parametrize("guarded", [True, False])
def test_what_is_put_into_a_page_asks_no_other_machine(browser, site, elsewhere, tmp_path, guarded):  # noqa: F811
    """With the policy nothing of it is asked for or runs; without, all of it: so it is the policy that does it."""
    running, _ = browser
    other, asked = elsewhere
    html = (site / "book/conventions.html").read_text(encoding="utf-8")
    if not guarded:
        html = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    shutil.copytree(site / "_static", tmp_path / "_static", ignore=shutil.ignore_patterns("mathjax"))
    (tmp_path / "book").mkdir()
    (tmp_path / "book/page.html").write_text(html.replace('<section id="', FOREIGN.format(other) + '<section id="', 1), encoding="utf-8")
    with serving(tmp_path) as address:
        page = running.new_page()
        page.goto(f"{address}/book/page.html", wait_until="networkidle")
        page.locator("#inline").click()
        title = page.title()
        page.close()
    wanted = {"/img.png", "/script.js", "/style.css", "/frame.html", "/fetched", "/inline.png", "/font.woff"}
    assert set(asked) & wanted == (set() if guarded else wanted)
    assert (title == "ran") == (not guarded)
