"""The parts of a scene, as `touchable.js` draws them; numbers are rounded to three or four digits here.

Colours are those of `minigrad.plots` by name: blue, vermillion, green, purple, grey. A line also has a dash and a bar
its label, so that nothing is said by colour alone.
"""
import numpy as np


def number(x, digits=4):
    """A plain number of ``digits`` significant digits."""
    rounded = float(f"{float(x):.{digits}g}")
    return int(rounded) if rounded == int(rounded) and abs(rounded) < 1e15 else rounded


def numbers(values, digits=4):
    return [number(x, digits) for x in np.ravel(values)]


def scene(panels, text, **said):
    """said: the numbers (or words) for the names in braces in the text, to three digits."""
    return {"panels": panels, "say": {"text": text} | {name: x if isinstance(x, str) else number(x, 3) for name, x in said.items()}}


def rows(title, domain, *bars):
    """Bars one below the other; domain: the ends of their axis."""
    return {"title": title, "x": {"domain": list(domain)}, "rows": list(bars)}


def row(label, value, color, start=0.0, outline=False):
    """A bar from ``start`` to ``start + value``, with the value written at its end."""
    return {"label": label, "from": number(start, 3), "value": number(value, 3), "color": color,
            "outline": outline}


def plot(title, x, y, *marks, height=150):
    """Marks in axes; x and y are made by `axis`."""
    return {"title": title, "x": x, "y": y, "marks": list(marks), "height": height}


def axis(low, high, label="", log=False, ticks=None):
    """log: positions are powers of ten. ticks: [position, text] pairs where they aren't round numbers."""
    return {"domain": [low, high], "label": label, "log": log} | ({"ticks": ticks} if ticks is not None else {})


def line(y, color, dash="solid", label="", start=0, x=None, digits=4, width=2):
    """A line through the y at start, start + 1, …, or at the places x."""
    return {"kind": "line", "y": numbers(y, digits), "color": color, "dash": dash, "label": label, "start": start,
            "width": width} | ({"x": numbers(x)} if x is not None else {})


def dots(x, y, color, label=""):
    return {"kind": "dots", "x": numbers(x), "y": numbers(y), "color": color, "label": label}


def across(at, color="grey", dash="dotted", label=""):
    return {"kind": "across", "at": number(at), "color": color, "dash": dash, "label": label, "width": 1.5}


def upright(at, text, color="vermillion", dash="dashed"):
    """An upright line with a text; ``at=None`` draws nothing."""
    return {"kind": "upright", "at": None if at is None else number(at), "text": text, "color": color, "dash": dash}
