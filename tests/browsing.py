"""What the tests that look at pages in a browser share: the built site, a server of it under a sub-path, a Chromium."""

import atexit
import contextlib
import functools
import os
import shutil
import tempfile
import threading
from pathlib import Path

import pytest

import build_site
import serve
from print_book import CHROMIUM_FLAGS, chromium

SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
SUB_PATH = "some/where"  # a project's page has one; what asks the host for "/file" is found by it


@functools.cache
def build_once():
    """(the folder, what is wrong) of the site, built from scratch with warnings as errors."""
    folder = Path(tempfile.mkdtemp(prefix="site-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder, build_site.build(folder / "build")


@pytest.fixture(scope="session")
def site():
    """The site; built once, whichever files of tests look at it."""
    folder, wrong = build_once()
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)
    return folder / "build/html"


@contextlib.contextmanager
def serving(folder, sub_path=SUB_PATH):
    """The address of a folder that is served under a sub-path of this machine."""
    with tempfile.TemporaryDirectory() as root:
        place = Path(root, sub_path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(folder)
        server = serve.server(root, 8000)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/{sub_path}"
        finally:
            server.shutdown()
            server.server_close()


@contextlib.contextmanager
def a_chromium():
    """A browser; the tests are skipped without one. .ci/run says BROWSER_TESTS=required, so that it cannot skip them."""
    if not chromium():
        missing = "no Chromium or Chrome on PATH (CHROMIUM=/path/to/it names one): the pages were not looked at in a browser"
        (pytest.fail if os.environ.get("BROWSER_TESTS") == "required" else pytest.skip)(missing)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def browser(site):
    """(a browser, the site's address)"""
    with a_chromium() as running, serving(site) as address:
        yield running, address


# MathJax comes after the page; a page's policy forbids wait_for_function, which evaluates text.
TYPESET = """async () => {
    if (!document.querySelector('.math')) return;
    for (let i = 0; i < 600 && !window.MathJax?.startup?.promise; i++) await new Promise(later => setTimeout(later, 50));
    await MathJax.startup.promise;
}"""


def opened(browser, name, scheme="light", size="desktop", **options):
    """A page of the site, its equations set."""
    running, address = browser
    page = running.new_page(color_scheme=scheme, viewport=SIZES[size], **options)
    page.goto(f"{address}/{name}")
    page.evaluate(TYPESET)
    return page
