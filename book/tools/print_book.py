"""The whole book as one PDF: each page printed by a Chromium, joined in the order of the table of contents.

    python book/tools/print_book.py [--site _build/html] [--output _build/gates.pdf]

The headings become its outline, and links between pages lead to their places in it.
"""

import argparse
import html
import io
import os
import re
import shutil
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, DictionaryObject, Fit, NameObject, NullObject

import build_site
import serve

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CHROMIUM_FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
# Equations are set, and pictures that wait for a reader to come near are fetched.
READY = """async () => {
    if (document.querySelector('.math')) {
        for (let i = 0; i < 1200 && !window.MathJax?.startup?.promise; i++) await new Promise(later => setTimeout(later, 50));
        await MathJax.startup.promise;
    }
    for (const picture of document.images) {
        picture.loading = 'eager';
        await picture.decode();
    }
    await document.fonts.ready;
}"""
FOOTER = """<div style="width: 100%; margin: 0 16mm; font: 7.5pt sans-serif; color: #555; display: flex; justify-content: space-between">
<span>{}</span><span><span class="pageNumber"></span> of <span class="totalPages"></span></span></div>"""


def chromium():
    """The path of a Chromium: the environment's CHROMIUM, or one on PATH; None if there is none."""
    mac = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, [*CHROMIUM_NAMES, mac])), None)


def title_of(page):
    """A page's title without the book's."""
    found = re.search(r"<title>(.*?)</title>", page.read_text(encoding="utf-8"), re.DOTALL)
    return html.unescape(found[1]).split(" \N{EM DASH} ")[0].strip()


def printed(browser, address, title):
    """One page as a PDF, its headings as an outline."""
    page = browser.new_page(color_scheme="light")
    page.goto(address)
    page.evaluate(READY)
    pdf = page.pdf(
        format="A4", print_background=True, prefer_css_page_size=True, tagged=True, outline=True,
        display_header_footer=True, header_template="<span></span>", footer_template=FOOTER.format(html.escape(title)),
    )  # fmt: skip
    page.close()
    return pdf


def lead_inside(writer, starts, address):
    """Let links from one page to another lead inside the PDF. starts: the number of each page's first sheet."""
    for sheet in writer.pages:
        for link in sheet.get("/Annots") or []:
            action = link.get_object().get("/A") or {}
            url = urlsplit(str(action.get_object().get("/URI", "")) if action else "")
            if f"{url.scheme}://{url.netloc}" == address:
                start = starts.get(url.path.lstrip("/"))
                goal = NullObject() if start is None else ArrayObject([writer.pages[start].indirect_reference, NameObject("/Fit")])
                del link.get_object()["/A"]
                if start is not None:
                    link.get_object()[NameObject("/A")] = DictionaryObject({NameObject("/S"): NameObject("/GoTo"), NameObject("/D"): goal})


def join(pdfs, target, address, metadata):
    """Write the PDFs, {page: (title, bytes)}, as one file with an outline."""
    writer, starts = PdfWriter(), {}
    for name, (title, pdf) in pdfs.items():
        starts[name] = len(writer.pages)
        writer.append(io.BytesIO(pdf), outline_item=title, import_outline=False)
        add_headings(writer, PdfReader(io.BytesIO(pdf)), starts[name])
    lead_inside(writer, starts, address)
    writer.add_metadata(metadata)
    writer.compress_identical_objects()
    with target.open("wb") as file:
        writer.write(file)


def add_headings(writer, reader, start):
    """A page's sections, the headings right below its title, as entries below the outline's last one."""
    parent = writer.get_outline_root().get_object()["/Last"]
    sections = next((part for part in reader.outline if isinstance(part, list)), [])
    for entry in sections:
        if not isinstance(entry, list):
            sheet = start + reader.get_destination_page_number(entry)
            title = re.sub(r"^(.+)\1$", r"\1", entry.title)  # a heading that was moved to the next sheet is there twice
            writer.add_outline_item(title=title, page_number=sheet, parent=parent, fit=Fit.xyz(top=entry.top))


def print_book(browser, site, target, pages, say=print):
    """Print these pages of the site, in this order, to the target."""
    server = serve.server(site, 8000)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address, pdfs = f"http://127.0.0.1:{server.server_port}", {}
    for number, name in enumerate(pages, 1):
        title = title_of(site / name)
        say(f"  {number}/{len(pages)} {title}", flush=True)
        pdfs[name] = title, printed(browser, f"{address}/{name}", title)
    server.shutdown()
    server.server_close()
    join(pdfs, target, address, {"/Title": title_of(site / pages[0])})


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--site", type=Path, default=ROOT / "_build/html")
    parser.add_argument("--output", type=Path, default=ROOT / "_build/gates.pdf")
    args = parser.parse_args(argv)
    if not (args.site / "index.html").is_file():
        sys.exit(f"{args.site} holds no index.html: build the book first with `make site`.")
    if not chromium():
        sys.exit("The PDF was not made: no Chromium or Chrome on PATH. CHROMIUM=/path/to/it names one.")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_FLAGS)
        print_book(browser, args.site.resolve(), args.output, build_site.pages())
        browser.close()
    sheets = len(PdfReader(args.output).pages)
    print(f"  {os.path.relpath(args.output)}: {sheets} sheets, {args.output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nInterrupted.")
