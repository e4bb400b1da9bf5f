"""What the touchable figures share: a function from control values to a scene, and the widget that shows it.

A **scene** is what there is to see, in plot coordinates, as JSON: ``{"panels": [...], "say": {...}}``. A panel has a
title and holds rows (bars, one below the other), marks (lines and dots in axes) or nodes and edges (a tape);
`minigrad.widgets.scenes` makes them. ``say`` is the sentence that says what is to be seen: a text with names in
braces, and the numbers for them. `touchable.js` draws all that.

**Frames** are the scenes of all combinations of the controls' stored values, for a page without a kernel. Each part
of a scene is stored for the controls on which it depends, and what never changes only once.
"""
import html
import itertools
import json
import re
from decimal import ROUND_HALF_UP, Decimal
from hashlib import sha256
from numbers import Real
from pathlib import Path

import anywidget
import numpy as np
import traitlets

MOST = 60_000                  # combinations: more take too long to compute, and too much room on a page


# ---------------------------------------------------------------- controls
def slider(name, label, value, low, high, step, stored, only=None):
    """A number from low to high. stored: those that a page without a kernel offers; only: see `choice`."""
    return {"kind": "range", "name": name, "label": label, "value": value, "low": low, "high": high, "step": step,
            "stored": list(stored)} | ({"only": list(only)} if only else {})


def steps(name, label, count):
    """A place in a sequence of steps 0 to count, with buttons to go back and forward."""
    return {"kind": "steps", "name": name, "label": label, "value": 0, "low": 0, "high": count, "step": 1,
            "stored": list(range(count + 1))}


def choice(name, label, value, options, layouts=False):
    """One of some texts. layouts: each has scenes of its own form, and controls that are shown ``only`` for it.

    A choice with layouts comes first.
    """
    return {"kind": "choice", "name": name, "label": label, "value": value, "stored": list(options), "layouts": layouts}


def check(name, label, value):
    return {"kind": "check", "name": name, "label": label, "value": value, "stored": [False, True]}


def text(name, label, value, alphabet, stored, longest=40):
    """Letters of an alphabet, as the reader types them."""
    return {"kind": "text", "name": name, "label": label, "value": value, "alphabet": alphabet, "stored": list(stored),
            "longest": longest}


def check_controls(who, controls):
    for control in controls:
        if control["value"] not in control["stored"]:
            raise ValueError(f"{who}: the control {control['name']} starts at {control['value']!r}, "
                             f"expected one of its stored values {control['stored']}")
    if any(control.get("layouts") for control in controls[1:]):
        raise ValueError(f"{who}: a choice with layouts comes first among the controls")


def check_value(who, control, value):
    """A value as a control may have it, or an error that names the control."""
    name, kind = control["name"], control["kind"]
    if kind in ("range", "steps"):
        if isinstance(value, bool) or not isinstance(value, Real) or not control["low"] <= value <= control["high"]:
            raise ValueError(f"{who}: {name} is {value!r}, expected a number from {control['low']} to {control['high']}")
        if isinstance(control["step"], int) and value != int(value):
            raise ValueError(f"{who}: {name} is {value!r}, expected an integer")
        return int(value) if isinstance(control["step"], int) else float(value)
    if kind == "text":
        if not isinstance(value, str) or not set(value) <= set(control["alphabet"]) or len(value) > control["longest"]:
            raise ValueError(f"{who}: {name} is {value!r}, expected at most {control['longest']} letters "
                             f"of {control['alphabet']!r}")
        return value
    if value not in control["stored"]:
        raise ValueError(f"{who}: {name} is {value!r}, expected " + " or ".join(map(repr, control["stored"])))
    return value


# ---------------------------------------------------------------- frames
def frames_of(scene, controls):
    """The stored scenes as JSON, one set for each layout: what the default shows, and a table for each part that differs."""
    first = controls[0]
    chosen = first["stored"] if first.get("layouts") else [None]
    return as_json([frame_set(scene, controls, layout) for layout in chosen])


def frame_set(scene, controls, layout):
    fixed = {controls[0]["name"]: layout} if layout is not None else {}
    fixed |= {control["name"]: control["value"] for control in controls if "only" in control and layout not in control["only"]}
    axes = [control for control in controls if control["name"] not in fixed]
    size = tuple(len(control["stored"]) for control in axes)
    if np.prod(size, dtype=int) > MOST:
        raise ValueError(f"{' × '.join(map(str, size))} scenes to store, expected at most {MOST}: "
                         "give the controls fewer stored values")
    scenes = [scene(**fixed, **{control["name"]: value for control, value in zip(axes, values)})
              for values in itertools.product(*(control["stored"] for control in axes))]
    default = int(np.ravel_multi_index([control["stored"].index(control["value"]) for control in axes], size)) if axes else 0
    return {"scene": scenes[default], "tables": tables_of(scenes, axes, size)}


def tables_of(scenes, axes, size):
    """A table for each part that differs; parts that are always equal share one."""
    tables = {}
    for path, parts in what_differs(scenes):
        table = table_of(parts, axes, size)
        tables.setdefault(json.dumps(table), table | {"paths": []})["paths"].append(list(path))
    return list(tables.values())


def what_differs(parts, path=()):
    """(path, the part there in each scene) of the smallest parts that aren't the same in all scenes."""
    first = parts[0]
    if all(part == first for part in parts):
        return
    if all(isinstance(part, dict) and part.keys() == first.keys() for part in parts):
        keys = list(first)
    elif all(isinstance(part, list) and len(part) == len(first) for part in parts) and isinstance(first[0], dict):
        keys = range(len(first))
    else:
        yield path, parts
        return
    for key in keys:
        yield from what_differs([part[key] for part in parts], (*path, key))


def table_of(parts, axes, size):
    """One part's values over those controls on which it depends."""
    written = [json.dumps(part) for part in parts]
    number = {text: k for k, text in enumerate(dict.fromkeys(written))}
    which = np.array([number[text] for text in written]).reshape(size)
    on = [bool((which != which.take([0], axis=k)).any()) for k in range(len(size))]
    which = which[tuple(slice(None) if depends else 0 for depends in on)].ravel().tolist()
    kinds = [json.loads(text) for text in number]
    table = {"on": [control["name"] for control, depends in zip(axes, on) if depends]}
    plain = table | {"values": [kinds[k] for k in which]}
    shared = table | {"kinds": kinds, "values": which}
    return min(plain, shared, key=lambda table: len(as_json(table)))


def as_json(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


# ---------------------------------------------------------------- numbers and words
def shown(x):
    """A number as the figures write it: two decimals, three where it is small, 1.2·10⁻⁵ where it is tiny."""
    if isinstance(x, str):
        return x
    size = abs(x)
    if size and (size < 0.001 or size >= 1e6):
        digits, power = f"{x:.1e}".split("e")
        return f"{digits.replace('-', '−')}·10{str(int(power)).translate(RAISED)}"
    return plain(x, 0 if size >= 100 else 2 if size >= 0.1 or size == 0 else 3)


RAISED = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def plain(x, digits):
    """``digits`` decimals without needless zeros; halves go up, as a browser rounds them."""
    number = str(Decimal(x).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP))
    number = number.rstrip("0").rstrip(".") if digits else number
    return "0" if number in ("-0", "") else number.replace("-", "−")


def sentence(say):
    """The sentence of a scene, its numbers filled in: {c} as a number, {c%} in percent."""
    return re.sub(r"\{(\w+)(%?)\}", lambda found: plain(100 * say[found[1]], 0) + "%" if found[2] else shown(say[found[1]]),
                  say["text"])


# ---------------------------------------------------------------- the widget
class Touchable(anywidget.AnyWidget):
    """A figure to touch; `touchable` makes one. Without a kernel its script needs all the traits but ``answers``."""

    _esm = Path(__file__).with_name("touchable.js")
    title = traitlets.Unicode().tag(sync=True)
    caption = traitlets.Unicode().tag(sync=True)
    note = traitlets.Unicode().tag(sync=True)          # said where the stored scenes are shown
    figure = traitlets.Unicode().tag(sync=True)        # its name on a page, the same in every run
    controls = traitlets.List().tag(sync=True)
    values = traitlets.Dict().tag(sync=True)
    scene = traitlets.Dict().tag(sync=True)
    frames = traitlets.Unicode().tag(sync=True)        # JSON as text: in a notebook's file, a list has a line for each number
    answers = traitlets.Int().tag(sync=True)           # counts the scenes that were asked for and computed

    def __init__(self, compute, **traits):
        super().__init__(**traits)
        self.compute = compute
        self.observe(self.answer, "values")

    def answer(self, change):
        """Compute the scene of the values that the reader has set."""
        values = {control["name"]: check_value(self.title, control, change.new[control["name"]]) for control in self.controls}
        with self.hold_sync():
            self.scene = self.compute(**values)
            self.answers += 1

    def at(self, **values):
        """Set controls by name, as a reader would; returns the sentence."""
        known = [control["name"] for control in self.controls]
        for name in values:
            if name not in known:
                raise TypeError(f"{self.title}: there is no control {name!r}, expected one of {', '.join(known)}")
        self.values = self.values | {control["name"]: check_value(self.title, control, values[control["name"]])
                                     for control in self.controls if control["name"] in values}
        return self.say

    @property
    def say(self):
        """The sentence under the figure."""
        return sentence(self.scene["say"])

    def __repr__(self):
        return f"{self.title}: {self.say}"

    def _repr_mimebundle_(self, **kwargs):
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        words = [html.escape(part) for part in (self.figure, self.title, self.say, self.caption)]
        data["text/html"] = ('<figure class="touchable" data-figure="{}"><p><strong>{}.</strong> {}</p>'
                             "<figcaption>{}</figcaption></figure>").format(*words)
        return data, metadata


def touchable(title, compute, controls, caption):
    """A figure to touch, from a function of the controls' values that returns a scene.

    compute: takes the value of each control by its name. controls: a list of `slider`, `choice`, `check`, `steps`,
    `text`. caption: one thing to try, and what to notice. Raises ValueError where a control starts at a value that
    it doesn't store, or where there are too many scenes to store.
    """
    if not isinstance(caption, str) or not caption:
        raise TypeError(f"{title}: caption is {caption!r}, expected a text")
    check_controls(title, controls)
    values = {control["name"]: control["value"] for control in controls}
    scene, frames = compute(**values), frames_of(compute, controls)
    described = as_json([title, caption, controls])     # no computed numbers, whose last digit may differ between machines
    figure = f"{title.lower().replace(' ', '-')}-{sha256(described.encode()).hexdigest()[:8]}"
    note = "On this page the controls move between stored values; in a running notebook they move freely."
    coarse = any(control["kind"] in ("range", "text") for control in controls)
    return Touchable(compute, title=title, caption=caption, note=note if coarse else "", figure=figure, controls=controls,
                     values=values, scene=scene, frames=frames)
