"""What is done to the pages once Sphinx has written them: privacy, accessibility and weight.

    finish(folder)     the site in a folder: its pages, its style sheets and its icon font

Each page gets a Content-Security-Policy, with which a browser refuses whatever would come from another machine. The
marks of the theme that a screen reader stumbles over are mended. What no page uses is left out: of 4 MB that a chapter
would load, most were icons, styles and the search's index.
"""

import base64
import hashlib
import re
import struct

import tinycss2
from fontTools import subset

# --- a policy: nothing from another machine ---------------------------------------------------------

POLICY = {
    "default-src": "'self'",
    "script-src": "'self'",  # and the page's own inline scripts, each by its hash
    "style-src": "'self' 'unsafe-inline'",  # equations are set with style attributes
    "img-src": "'self' data:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "frame-src": "'none'",
    "object-src": "'none'",
    "base-uri": "'self'",
    "form-action": "'self'",
}
# Python in the browser: WebAssembly, workers, widgets whose scripts come out of a notebook. Nothing from elsewhere here either.
LIVE_POLICY = POLICY | {
    "script-src": "'self' blob: 'unsafe-eval' 'wasm-unsafe-eval'",  # JupyterLab checks its settings with eval
    "img-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "connect-src": "'self' data: blob:",
    "worker-src": "'self' blob:",
    "frame-src": "'self' blob:",
}
SCRIPT = re.compile(r"<script((?:\s[^>]*)?)>(.*?)</script>", re.DOTALL)


def fingerprint(text):
    """A script's hash, as a policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def inline_scripts(html):
    """The scripts that stand in the page itself; data in a script element, which has a type, is none."""
    for attributes, text in SCRIPT.findall(html):
        if not re.search(r'\s(src=|type="(?!module|text/javascript))', attributes):
            yield text


def with_policy(html, policy=POLICY, scripts=()):
    """The page with the policy before all that it could forbid. scripts: further ones that it will insert."""
    hashes = dict.fromkeys(map(fingerprint, [*inline_scripts(html), *scripts]))
    policy = policy | {"script-src": " ".join([policy["script-src"], *hashes])}
    text = "; ".join(f"{name} {value}" for name, value in policy.items())
    metas = f'<meta http-equiv="Content-Security-Policy" content="{text}"><meta name="referrer" content="same-origin">'
    place = re.search(r"<meta charset=[^>]*>", html) or re.search(r"<head\b[^>]*>", html)
    return html[: place.end()] + metas + html[place.end() :]


# --- what a screen reader or a keyboard needs -------------------------------------------------------


def named_head(found):
    """The head of a column that is an equation alone, with its source as words that are heard instead."""
    words = re.sub(r"[\\{}]", "", found[3])
    return f'{found[1]}<span class="visually-hidden">{words}</span><span aria-hidden="true" {found[2]}'


MENDED = [
    # Pictures of buttons have their words beside them.
    (r'<(i|span) class="((?:theme-switch )?fa[srb]? |(?:theme-switch )?fa-)', r'<\1 aria-hidden="true" class="\2'),
    # The sidebar's title and search lie in no part of the page that a reader could jump to.
    (r'<div id="pst-primary-sidebar" ', '<div id="pst-primary-sidebar" role="region" aria-label="The book" '),
    # Roles that are withdrawn, or that ask for other ones inside.
    (r' role="doc-biblioentry"', ""),
    (r'<div role="list" class="citation-list"', '<div class="citation-list"'),
    # A corner of a table that heads nothing.
    (r'<th class="([^"]*)">\s*(?:<p>\s*</p>)?\s*</th>', r'<td class="\1"></td>'),
    (r'(<th class="[^"]*">\s*<p>\s*)<span (class="math[^"]*">\\\((.*?)\\\)</span>\s*</p>\s*</th>)', named_head),
    # The mark of a fold, as a letter: the ledger has hundreds, 400 bytes each as a drawing.
    (r'(<span class="sd-summary-state-marker[^"]*")><svg.*?</svg>', r'\1 aria-hidden="true">›'),
    # Calls in attributes would need a policy that lets any page do so; page.js makes them.
    (r' onclick="[^"]*"', ""),
]

# --- what a page does not need ----------------------------------------------------------------------

NEEDLESS = [
    r'<script defer src="[^"]*scripts/fontawesome\.js[^"]*"></script>',  # 1.5 MB: the font has the icons too
    r'<div id="ethical-ad-placement".*?</div>',
]
FOR_SEARCH = r'<script src="[^"]*(?:searchtools|language_data|searchindex)\.js[^"]*"></script>'
FOR_TABS = r'<script [^>]*src="[^"]*design-tabs\.js[^"]*"></script>'
VIEWPORT = re.compile(r'<meta name="viewport"[^>]*>')


def plain_tokens(css):
    """The classes of Pygments that look like the text around them, in the light and in the dark: names, brackets."""
    colours = [(theme, name, colour) for theme, name, colour in
               re.findall(r'data-theme="(\w+)"\] \.highlight(?: \.(\w+))? \{[^}]*?(?<!-)\bcolor: (#\w+) *\}', css)]  # fmt: skip
    base = {theme: colour for theme, name, colour in colours if not name}
    coloured = {name for theme, name, colour in colours if name and colour != base[theme]}
    return {name for _, name, _ in colours if name} - coloured


def lighter_code(html, plain):
    """Code with a span only where its colour changes. plain: the classes that have the colour of the text."""
    html = re.sub(r'<span class="o">\.</span>', ".", html)  # the dot in a.b is no operator to a reader
    if plain:
        html = re.sub(rf'<span class="(?:{"|".join(sorted(plain))})">([^<]*)</span>', r"\1", html)
    runs = r'(<span class="(\w+)">[^<]*)</span><span class="\2">'
    while (joined := re.sub(runs, r"\1", html)) != html:
        html = joined
    return html


HEAVY = 300_000  # characters of a page; of one that has more, as the ledger with all its tests, folded code is uncoloured


def without_folded_colours(html):
    """The page with code of one colour in what it folds: there the colours weigh more than the code."""

    def plain_code(fold):
        return re.sub(r"<pre>.*?</pre>", lambda code: re.sub(r"</?span[^>]*>", "", code[0]), fold[0], flags=re.DOTALL)

    return re.sub(r"<details\b.*?</details>", plain_code, html, flags=re.DOTALL)


def without_needless(html, name, plain):
    """The page without what it does not use. plain: the classes of code that no style sheet tells from others."""
    for pattern in NEEDLESS + [FOR_SEARCH] * (name != "search.html") + [FOR_TABS] * ("sd-tab-set" not in html):
        html = re.sub(pattern, "", html, flags=re.DOTALL)
    first = VIEWPORT.search(html)
    if first:
        html = html[: first.end()] + VIEWPORT.sub("", html[first.end() :])
    html = lighter_code(html, plain)
    return without_folded_colours(html) if len(html) > HEAVY else html


def picture_size(path):
    """(width, height) in pixels that a picture asks for; None where it can't be told."""
    if path.suffix == ".png":
        return struct.unpack(">II", path.read_bytes()[16:24])
    head = path.read_text(encoding="utf-8")[:2000] if path.suffix == ".svg" else ""
    sizes = [re.search(rf'<svg[^>]*\s{side}="([\d.]+)(pt|px|)"', head) for side in ("width", "height")]
    return [round(float(size[1]) * (4 / 3 if size[2] == "pt" else 1)) for size in sizes] if all(sizes) else None


def lazy_pictures(html, folder):
    """Pictures come when a reader gets near them; their place is kept, so that nothing jumps."""

    def mend(found):
        source = re.search(r'src="([^":]+)"', found[0])
        size = picture_size(folder / source[1]) if source and "loading=" not in found[0] else None
        own = "width" in found[0] or "height" in found[0]  # a size of the page's own stays
        keep = f' width="{size[0]}" height="{size[1]}"' if size and not own else ""
        return found[0].replace("<img", f'<img loading="lazy"{keep}', 1) if source else found[0]

    return re.sub(r"<img\s[^>]*>", mend, html)


# --- style sheets and icons -------------------------------------------------------------------------


def simple(selector):
    """A selector without its :not(...), :is(...) and the like, which may name what is not there."""
    while (shorter := re.sub(r":[\w-]+\([^()]*\)", "", selector)) != selector:
        selector = shorter
    return re.sub(r"\[[^\]]*\]", "", selector)


def used(selector, words):
    """Whether all the classes and ids of a selector are among the words of the site."""
    return all(name in words for name in re.findall(r"[.#](-?[A-Za-z_][\w-]*)", simple(selector)))


def split_selectors(text):
    """The parts of a selector between its commas, but not those inside brackets."""
    return re.findall(r"(?:[^,(\[]|\([^()]*(?:\([^()]*\)[^()]*)*\)|\[[^\]]*\])+", text)


def purged(css, words):
    """The rules of a style sheet that can apply to a page made of these words."""

    def keep(rules):
        for rule in rules:
            if rule.type == "qualified-rule":
                selectors = [part for part in split_selectors(tinycss2.serialize(rule.prelude)) if used(part, words)]
                if selectors:
                    yield f"{','.join(selectors).strip()}{{{tinycss2.serialize(rule.content).strip()}}}"
            elif rule.type == "at-rule" and rule.content is not None and rule.lower_at_keyword in ("media", "supports"):
                inner = "".join(keep(tinycss2.parse_rule_list(rule.content, skip_comments=True, skip_whitespace=True)))
                if inner:
                    yield f"@{rule.at_keyword}{tinycss2.serialize(rule.prelude)}{{{inner}}}"
            elif rule.type == "at-rule" and not (rule.lower_at_keyword == "font-face" and not used_font(rule)):
                yield rule.serialize()
            elif rule.type == "error":
                raise ValueError(f"a style sheet can't be read: {rule.message}")

    return "\n".join(keep(tinycss2.parse_stylesheet(css, skip_comments=True, skip_whitespace=True)))


def used_font(rule):
    """The theme's icons come in three fonts, of which pages use the solid one."""
    return not re.search(r"fa-(?:brands|regular)|v4compatibility|Font Awesome 5|FontAwesome\b", rule.serialize())


def icons(folder, css):
    """Cut the icon font down to what the style sheets name, in a format that needs no further package to write."""
    fonts = folder / "_static/vendor/fontawesome/webfonts"
    source, target = fonts / "fa-solid-900.ttf", fonts / "fa-solid-900.woff"
    points = {int(code, 16) for code in re.findall(r"\\([0-9a-f]{4})\b", css)} | {ord(c) for c in css if "\ue000" <= c <= "\uf8ff"}
    options = subset.Options(flavor="woff", layout_features=[], notdef_outline=True, recalc_timestamp=False)
    font = subset.load_font(str(source), options)
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=points)
    cutter.subset(font)
    subset.save_font(font, str(target), options)
    for path in fonts.iterdir():
        if path != target:
            path.unlink()


def lighten(folder, pages):
    """Rewrite the site's style sheets without the rules that no page and no script of it could use."""
    texts = [*pages, *(path.read_text(encoding="utf-8") for path in folder.glob("_static/**/*.js") if "mathjax" not in path.parts)]
    words = {word for text in texts for word in re.findall(r"[\w-]+", text)}
    for path in folder.glob("_static/**/*.css"):
        css = purged(path.read_text(encoding="utf-8"), words)
        if "fa-solid-900" in css:
            icons(folder, css)
            css = re.sub(r"src:url\([^)]*fa-solid-900[^;}]*", 'src:url(../vendor/fontawesome/webfonts/fa-solid-900.woff) format("woff")', css)
        path.write_text(css, encoding="utf-8")
    for path in folder.glob("_static/**/*"):
        if path.suffix == ".map" or path.name.startswith("fontawesome.js"):
            path.unlink()


# --- all of it --------------------------------------------------------------------------------------


def finish(folder, scripts=()):
    """Finish every page of the site. scripts: those that a page of equations inserts into itself."""
    plain = plain_tokens((folder / "_static/pygments.css").read_text(encoding="utf-8"))
    pages = {}
    for path in sorted(folder.rglob("*.html")):
        if "_static" in path.relative_to(folder).parts:
            continue  # a theme's templates
        html = without_needless(path.read_text(encoding="utf-8"), path.name, plain)
        for pattern, instead in MENDED:
            html = re.sub(pattern, instead, html)
        html = lazy_pictures(html, path.parent)
        pages[path] = with_policy(html, scripts=scripts if "mathjax" in html else ())
    lighten(folder, pages.values())
    for path, html in pages.items():
        path.write_text(html, encoding="utf-8")
