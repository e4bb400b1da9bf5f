"""What the site needs and no setting gives: chapter numbers, MathJax from this machine, a front door, live chapters,
and pages that are finished (finish_pages).

A Sphinx extension, listed in _config.yml.
"""

import gzip
import importlib.util
import os
import re
import shutil
from pathlib import Path

from docutils import nodes
from sphinx_external_toc.collectors import TocTreeCollectorWithStyles as Collector  # the one that _toc.yml is read with

from finish_pages import finish

# What equations need of MathJax, in one file; its menu, the larger half of the usual one, would make each a stop of the
# tab key. What follows it lies beside that file, and comes when an equation asks for it.
MATHJAX = ("startup", "core", "input/tex", "output/chtml", "output/chtml/fonts/tex", "a11y/assistive-mml")
MATHJAX_BESIDE = ("input/tex/extensions", "output/chtml/fonts/woff-v2")


def chapter_number(docname):
    """7 for notebooks/07-gru-cell, None for a page that is no chapter."""
    found = re.match(r"0*(\d+)-", docname.rsplit("/", 1)[-1])
    return int(found[1]) if found else None


def number_title_once(app, doctree):
    """Drop the number that a chapter's title begins with, as in "7. The GRU cell".

    In a notebook the title needs it; here it gets one anyway.
    """
    number = chapter_number(app.env.docname)
    title = next(doctree.findall(nodes.title), None)
    text = next(title.findall(nodes.Text), None) if number and title else None
    if text is not None:
        text.parent.replace(text, nodes.Text(re.sub(rf"^0*{number}\.\s+", "", text)))


def renumber(env, docname, number):
    """Give a page's sections, and so its equations and figures, the chapter's number."""
    numbers = env.toc_secnumbers[docname]
    for anchor, parts in numbers.items():
        if parts:
            numbers[anchor] = (number, *parts[1:])
    for node in [env.titles[docname], *env.tocs[docname].findall(nodes.reference)]:
        if node.get("secnumber"):
            node["secnumber"] = [number, *node["secnumber"][1:]]


def number_by_file_name(assign):
    """The usual numbering of sections, then the chapter's number from its file's name.

    The usual one counts the chapters that are there; while some are yet to come, chapter 7 would be
    called 2, and its equations too.
    """

    def assign_section_numbers(self, env):
        rewrite = assign(self, env)
        for docname in env.toc_secnumbers:
            if chapter_number(docname):
                renumber(env, docname, chapter_number(docname))
        return rewrite

    return assign_section_numbers


RUN_THIS_PAGE = """<p class="run-this-page"><a href="{root}lite/notebooks/index.html?path={docname}.ipynb">Run this page</a>
<span>in your browser; nothing to install, about 25 MB the first time</span></p>"""


def add_run_button(app, doctree, docname):
    """A link below a chapter's title to its live copy, on a site that is built with the live chapters (live_site)."""
    title = next(doctree.findall(nodes.title), None)
    if os.environ.get("LIVE_CHAPTERS") and app.builder.format == "html" and title and app.env.doc2path(docname).endswith(".ipynb"):
        button = nodes.raw("", RUN_THIS_PAGE.format(root="../" * docname.count("/"), docname=docname), format="html")
        title.parent.insert(title.parent.index(title) + 1, button)


def mathjax_source():
    return Path(importlib.util.find_spec("sphinx-mathjax-offline").origin).parent / "static/mathjax"


def mathjax_script():
    """MathJax as one script: its parts, and after the first of them the word that the others are there."""
    first, *others = [(mathjax_source() / f"{part}.js").read_text(encoding="utf-8") for part in MATHJAX]
    return "\n".join([first, f"MathJax.loader.preLoad({', '.join(map(repr, MATHJAX[1:]))});", *others])


def copy_mathjax(app, failure):
    """Put MathJax beside the pages, so that they ask no other machine for it; as it is, and compressed (equations.js)."""
    if failure or app.builder.format != "html":
        return
    target = Path(app.outdir, "_static/mathjax")
    for part in MATHJAX_BESIDE:
        shutil.copytree(mathjax_source() / part, target / part, dirs_exist_ok=True)
    script = mathjax_script().encode()
    (target / "mathjax.js").write_bytes(script)
    (target / "mathjax.bin").write_bytes(gzip.compress(script, 9, mtime=0))


FRONT_DOOR = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title><link rel="icon" href="_static/{icon}">
<meta http-equiv="refresh" content="0; url={page}.html"></head>
<body><p><a href="{page}.html">{title}</a></p></body>
</html>
"""


def write_front_door(app, failure):
    """Lead from the site's address to its first page; the usual redirect has no title and no icon."""
    if failure or app.builder.format != "html" or app.config.root_doc == "index":
        return
    icon = Path(app.config.html_favicon).name
    text = FRONT_DOOR.format(title=app.config.html_title, icon=icon, page=app.config.root_doc)
    Path(app.outdir, "index.html").write_text(text, encoding="utf-8")


def finish_site(app, failure):
    if not failure and app.builder.format == "html":
        finish(Path(app.outdir), scripts=[mathjax_script()])


def setup(app):
    if not hasattr(Collector, "numbered_by_file_name"):  # one process may build twice
        Collector.assign_section_numbers = number_by_file_name(Collector.assign_section_numbers)
        Collector.numbered_by_file_name = True
    app.add_js_file("page.js")
    app.connect("doctree-read", number_title_once, priority=100)  # before titles are collected
    app.connect("doctree-resolved", add_run_button)
    app.connect("build-finished", copy_mathjax)
    app.connect("build-finished", write_front_door, priority=900)  # after the usual one
    app.connect("build-finished", finish_site, priority=950)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
