"""What comes out on paper: a page's text and figures alone and whole, and the book as one PDF."""

import re

import pytest

import build_site
import print_book
from browsing import browser, opened, site  # noqa: F401

CHAPTER = "notebooks/07-the-gru-cell.html"
SHEET = {"width": 673, "height": 985}  # an A4 sheet without its margins, in CSS pixels
# What is no text of the book: navigation, buttons, and marks that only a hand can use.
CONTROLS = "nav, header, footer, button, .headerlink, .run-this-page, .bd-sidebar-primary, .bd-sidebar-secondary, #jb-print-docs-body"
SEEN = """found => [...document.querySelectorAll(found)]
    .filter(e => e.checkVisibility() && e.getClientRects().length).map(e => e.outerHTML.slice(0, 100))"""
# Code and figures must end at the edge of the sheet: nothing scrolls there.
CUT_OFF = """() => [...document.querySelectorAll('.bd-article pre, .bd-article img, .bd-article table, .bd-article mjx-container[display]')]
    .filter(e => e.checkVisibility() && (e.getBoundingClientRect().right > innerWidth + 1 || e.scrollWidth > e.clientWidth + 1))
    .map(e => e.outerHTML.slice(0, 100))"""


@pytest.fixture
def paper(browser):  # noqa: F811
    """Opens a page as it is printed on an A4 sheet."""
    pages = []

    def open_page(name):
        pages.append(opened(browser, name))
        pages[0].emulate_media(media="print")
        pages[0].set_viewport_size(SHEET)
        return pages[0]

    yield open_page
    pages[0].close()


@pytest.mark.browser
@pytest.mark.parametrize("name", [CHAPTER, "book/notation.html"])
def test_only_the_text_is_printed(paper, name):
    page = paper(name)
    assert page.evaluate(SEEN, CONTROLS) == []
    assert len(page.evaluate(SEEN, ".bd-article h1")) == 1
    assert page.evaluate(CUT_OFF) == []


@pytest.mark.browser
def test_on_paper_what_is_folded_stays_folded_and_says_so(paper):
    page = paper(CHAPTER)
    assert page.evaluate(SEEN, ".bd-article details.hide pre, .solution.dropdown > .section") == []
    note = "e => getComputedStyle(e, '::after').content"
    assert "folded on paper" in page.locator("details.hide > summary").first.evaluate(note)
    assert "folded on paper" in page.locator(".solution.dropdown").first.evaluate(note)
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")  # the theme would open them now
    assert page.evaluate(SEEN, ".solution.dropdown > .section") == []


@pytest.mark.browser
def test_figures_and_code_are_not_torn(paper):
    page = paper(CHAPTER)
    for part in ("figure", ".cell_output img", "div.math", "div.cell_input"):
        assert page.locator(f".bd-article {part}").first.evaluate("e => getComputedStyle(e).breakInside") == "avoid", part
    assert page.locator(".bd-article pre").first.evaluate("e => getComputedStyle(e).whiteSpace") == "pre-wrap"


@pytest.mark.browser
def test_the_book_is_one_pdf(site, browser, tmp_path, capsys):  # noqa: F811
    """Titles, equations and figures are in it, its outline leads to the pages, and no link leads to this machine."""
    from pypdf import PdfReader

    names = ["book/index.html", CHAPTER, "book/notation.html"]
    print_book.print_book(browser[0], site, tmp_path / "book.pdf", names)
    pdf = PdfReader(tmp_path / "book.pdf")
    titles = [print_book.title_of(site / name) for name in names]
    entries = [entry for entry in pdf.outline if not isinstance(entry, list)]
    assert [entry.title for entry in entries] == titles and titles[1] == "7. The GRU cell"
    starts = [pdf.get_destination_page_number(entry) for entry in entries]
    texts = [page.extract_text() for page in pdf.pages]
    for start, title in zip(starts, titles, strict=True):
        assert title in " ".join(texts[start].split()), texts[start][:200]
    sections = [entry.title for part in pdf.outline if isinstance(part, list) for entry in part]
    assert any(title.startswith("7.1. One number") for title in sections) and "Shapes" in sections
    assert all(not re.fullmatch(r"(.+)\1", title) for title in sections)
    chapter = "\n".join(texts[starts[1] : starts[2]])
    assert "(7.1)" in chapter and "Figure 7.1" in chapter
    assert "ht=(1−zt)ht−1+zt" in "".join(chapter.split())  # set, as its source it has underscores
    goals, outward = links(pdf)
    assert set(starts) & goals and not [url for url in outward if "127.0.0.1" in url]
    assert any(url.startswith("https://") for url in outward)
    assert {round(float(page.mediabox.width)) for page in pdf.pages} == {595}
    assert "2/3 7. The GRU cell" in capsys.readouterr().out


def links(pdf):
    """(the numbers of the pages that links lead to, the addresses that others lead to)"""
    goals, outward = set(), set()
    for page in pdf.pages:
        for link in page.get("/Annots") or []:
            action = link.get_object().get("/A") or {}
            if action.get("/S") == "/GoTo":
                goals.add(pdf.get_page_number(action["/D"][0].get_object()))
            elif "/URI" in action:
                outward.add(str(action["/URI"]))
    return goals, outward


def test_without_a_browser_it_says_so(site, monkeypatch, tmp_path):  # noqa: F811
    monkeypatch.setattr(print_book, "chromium", lambda: None)
    with pytest.raises(SystemExit, match="The PDF was not made: no Chromium"):
        print_book.main(["--site", str(site), "--output", str(tmp_path / "book.pdf")])
    with pytest.raises(SystemExit, match="build the book first"):
        print_book.main(["--site", str(tmp_path)])


def test_the_pdf_has_all_pages_of_the_book(site):  # noqa: F811
    """Each page has a title that its outline can show, and no two have the same."""
    titles = [print_book.title_of(site / name) for name in build_site.pages()]
    assert all(titles) and len(set(titles)) == len(titles)
