"""Whether everyone can read the pages: the rules of axe-core, the tab key, and words for what is only seen."""

import re
from pathlib import Path

import pytest

import build_site
from browsing import SIZES, browser, opened, site  # noqa: F401

PAGES = [*build_site.pages(), "search.html", "genindex.html"]
RULES = """async options => {
    const found = await axe.run(document, {resultTypes: ['violations'], ...options});
    return found.violations.flatMap(rule => rule.nodes.map(node => `${rule.id}: ${node.target} ${node.html.slice(0, 120)}`));
}"""
NO_CONTRAST = {"rules": {"color-contrast": {"enabled": False}}}
CONTRAST = {"runOnly": ["color-contrast"]}
# Contrast is slow to measure. Code and equations repeat a few colours thousands of times: of those that show no colour
# which was not there before, a letter remains.
ONE_OF_EACH_COLOUR = """() => {
    const seen = new Set();
    for (const box of document.querySelectorAll('.highlight pre, mjx-container')) {
        const parts = [box, ...box.querySelectorAll('span, mjx-math, mjx-math *')];
        const looks = parts.map(part => {
            const style = getComputedStyle(part), behind = getComputedStyle(box.parentElement);
            return [style.color, style.backgroundColor, style.fontWeight, style.fontSize, behind.backgroundColor].join();
        });
        if (looks.every(look => seen.has(look))) box.textContent = 'x';
        looks.forEach(look => seen.add(look));
    }
}"""


def axe():
    """The script of axe-core."""
    import axe_playwright_python

    return Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text(encoding="utf-8")


def at_size(page, size):
    """Draw the page out or in. The theme looks only 300 ms later which parts have become scrollable."""
    page.set_viewport_size(SIZES[size])
    page.wait_for_timeout(450)


def violations(page):
    """All rules at both sizes; the contrast at both, in the light and in the dark."""
    for size in SIZES:
        at_size(page, size)
        yield from (f"{size}: {found}" for found in page.evaluate(RULES, NO_CONTRAST))
    page.evaluate(ONE_OF_EACH_COLOUR)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for size in SIZES:
            at_size(page, size)
            assert page.evaluate("document.documentElement.dataset.theme") == scheme
            yield from (f"{scheme}, {size}: {found}" for found in page.evaluate(RULES, CONTRAST))


@pytest.mark.browser
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(browser, name):  # noqa: F811
    page = opened(browser, name, bypass_csp=True)  # axe is no script of the site
    page.add_script_tag(content=axe())
    found = list(violations(page))
    page.close()
    assert found == []


@pytest.mark.browser
@pytest.mark.parametrize(
    "spoil, finds",
    [
        ("document.querySelector('.bd-article img').removeAttribute('alt')", ["desktop: image-alt", "phone: image-alt"]),
        ("document.querySelector('.bd-article p').style.color = '#bbb'", ["light, desktop: color-contrast", "light, phone: color-contrast"]),
        ("document.querySelector('html').classList.add('dim')", ["dark, desktop: color-contrast", "dark, phone: color-contrast"]),
        ("document.querySelectorAll('.highlight span').forEach(e => e.style.color = '#ccc')", ["light, desktop: color-contrast"]),
    ],
)
def test_axe_finds_what_it_is_for(browser, spoil, finds):  # noqa: F811
    page = opened(browser, "book/index.html", bypass_csp=True)
    page.add_script_tag(content=axe())
    page.add_style_tag(content="html[data-theme=dark].dim .bd-article p { color: #444 }")
    page.evaluate(spoil)
    found = list(violations(page))
    page.close()
    for start in finds:
        assert any(line.startswith(start) for line in found), found
    assert {line.split(": ")[1] for line in found} == {finds[0].split(": ")[1]}


# --- the keyboard ---------------------------------------------------------------------------------

# What a hand with a mouse could press, or scroll sideways.
WITHIN_REACH = """() => {
    const within = 'a[href], button, summary, input, select, textarea, [tabindex="0"]';
    return [...document.querySelectorAll(within)]
        .filter(e => e.checkVisibility({visibilityProperty: true, opacityProperty: false}) && !e.disabled && e.getClientRects().length)
        .map((e, i) => { e.dataset.stop = i; return e.outerHTML.slice(0, 100); });
}"""
STOP = """() => {
    const e = document.activeElement, style = getComputedStyle(e);
    const shown = (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2) || style.boxShadow !== 'none';
    return e === document.body ? null : {stop: Number(e.dataset.stop ?? -1), shown, html: e.outerHTML.slice(0, 100)};
}"""


@pytest.mark.browser
@pytest.mark.parametrize("size", SIZES)
def test_the_tab_key_reaches_everything_in_order_and_shows_where_it_is(browser, size):  # noqa: F811
    page = opened(browser, "notebooks/02-gradients-for-free.html", size=size)
    page.wait_for_timeout(450)
    wanted = page.evaluate(WITHIN_REACH)
    stops = []
    for _ in range(len(wanted) + 5):
        page.keyboard.press("Tab")
        here = page.evaluate(STOP)
        if here is None:
            break
        stops.append(here)
    assert "skip" in wanted[stops[0]["stop"]].lower() or "main-content" in wanted[stops[0]["stop"]], stops[0]
    assert [wanted[i] for i in range(len(wanted)) if i not in {stop["stop"] for stop in stops}] == []
    assert [stop["stop"] for stop in stops] == sorted(stop["stop"] for stop in stops)
    assert [stop["html"] for stop in stops if not stop["shown"]] == []
    page.close()


@pytest.mark.browser
def test_the_first_link_skips_to_the_text(browser):  # noqa: F811
    page = opened(browser, "book/notation.html")
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Skip to main content" and page.locator(":focus").is_visible()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.querySelector('main').contains(document.activeElement)")
    page.close()


@pytest.mark.browser
def test_a_wide_equation_scrolls_with_the_arrow_keys(browser):  # noqa: F811
    """On a phone; where it fits, the tab key passes over it."""
    page = opened(browser, "notebooks/07-the-gru-cell.html", size="phone")
    page.wait_for_timeout(450)
    wide = page.locator("mjx-container[tabindex='0']").first
    wide.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(400)
    assert wide.evaluate("e => e.scrollLeft") > 0
    narrow = page.locator("div.math > mjx-container:not([tabindex])").first
    assert narrow.evaluate("e => e.scrollWidth <= e.clientWidth")
    page.close()


# --- words for what is only seen ------------------------------------------------------------------


def test_figures_are_described_in_words(site):  # noqa: F811
    """In whole words, not in a file's name or one that says no more than that it is a figure."""
    for name in build_site.pages():
        for image in re.findall(r"<img\s[^>]*>", (site / name).read_text(encoding="utf-8")):
            alt = (re.search(r'\salt="([^"]*)"', image) or ["", ""])[1]
            assert len(alt.split()) >= 8 and not re.search(r"\.(svg|png)\b|[0-9a-f]{16}", alt), f"{name}: {image[:200]}"
