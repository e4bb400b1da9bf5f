"""Two GRUs: the same weights read in two ways, and how far apart their states drift."""
import dataclasses

import numpy as np

from ..cells import GRUCell
from ..checks_of_input import check_params, check_sequence
from ..unroll import unroll
from . import scenes
from .touchable import check, choice, slider, touchable

READINGS = {"reset": "the other reset", "update": "the other meaning of z", "both": "both differ"}
SCALES = (0.5, 1, 2, 4)


def two_grus(cell=None, params=None, xs=None, seed=0, caption=None):
    """The states of one set of GRU weights in two cells that differ in their conventions.

    cell: the GRUCell the weights were made for, GRUCell(2, 3) if None. params: its weights, drawn with ``seed`` if None.
    xs: (T, B, I) inputs, of which the first row is shown; Gaussian if None. The other cell applies the reset on the
    other side of the matmul, or takes z for the other share, or both; the weights can be scaled, and W_z, U_z, b_z
    negated, which is how weights are converted from one meaning of z to the other.
    Raises TypeError or ValueError that names the argument.
    """
    cell, start = GRUCell(2, 3) if cell is None else cell, 2 if params is None else 1     # fresh weights are small
    if not isinstance(cell, GRUCell):
        raise TypeError(f"two_grus: cell is a {type(cell).__name__}, expected a GRUCell")
    rng = np.random.default_rng(seed)
    params = cell.init(rng) if params is None else params
    check_params("two_grus", params, cell.shapes, f' for reset="{cell.reset}"')
    xs = rng.normal(size=(32, 1, cell.input_size)) if xs is None else np.asarray(xs)
    check_sequence("two_grus", xs)
    if xs.shape[2] != cell.input_size:
        raise ValueError(f"two_grus: xs has shape {xs.shape}, expected (T, B, I) with I = {cell.input_size}")
    xs = xs[:, :1]
    units = [f"unit {k + 1}" for k in range(min(cell.hidden_size, 4))]

    def compute(other, scale, negate, unit):
        return scene(*run(cell, params, xs, other, scale, negate), units.index(unit), cell, other, negate)

    controls = [choice("other", "the second cell", "reset", list(READINGS)),
                slider("scale", "all weights times", start, 0.25, 6, 0.05, SCALES),
                check("negate", "negate W_z, U_z, b_z for it", False), choice("unit", "draw", units[0], units)]
    controls[0]["words"] = READINGS
    return touchable("Two GRUs", compute, controls, caption or (
        "Try: the other meaning of z, and then negate its weights. Notice that the distance falls to zero: that "
        "difference is a matter of names. No such change of sign undoes the other reset."))


def run(cell, params, xs, other, scale, negate):
    """The states (T, H) of both cells."""
    first = {name: scale * a for name, a in params.items()}
    second = {name: -a if negate and name.endswith("_z") else a for name, a in first.items()}
    twin = cell
    if other in ("reset", "both"):
        twin = dataclasses.replace(twin, reset="after" if cell.reset == "before" else "before")
        second = {name: a for name, a in second.items() if name != "b_U"}
        if twin.reset == "after":
            second["b_U"] = np.zeros(cell.hidden_size)
    if other in ("update", "both"):
        twin = dataclasses.replace(twin, update="old" if cell.update == "new" else "new")
    return unroll(cell, first, xs)[0][:, 0], unroll(twin, second, xs)[0][:, 0]


def scene(hs, others, unit, cell, other, negate):
    T, distance = len(hs), np.abs(hs - others).max(axis=1)
    names = {"reset": (f"reset {cell.reset}", "reset " + ("after" if cell.reset == "before" else "before")),
             "update": (f"z {TAKES[cell.update]}", f"z {TAKES['old' if cell.update == 'new' else 'new']}"),
             "both": ("as made", "both differ")}[other]
    far = int(np.argmax(distance))
    time = scenes.axis(1, T, "step t")
    lines = (scenes.line(hs[:, unit], "blue", label=names[0], start=1, digits=3),
             scenes.line(others[:, unit], "vermillion", "dashed", label=names[1], start=1, digits=3))
    apart = scenes.line(distance.round(4), "purple", start=1, digits=3)
    panels = [scenes.plot(f"Unit {unit + 1} in both cells", time, scenes.axis(-1, 1), *lines, height=130),
              scenes.plot("Distance: the largest difference in any unit", time, scenes.axis(0, 2), apart, height=100)]
    if distance.max() < 1e-12:
        return scenes.scene(panels, "The two stay together for all {T} steps, to twelve decimals: "
                                    "with W_z, U_z and b_z negated they are one cell.",
                            T=T, mean=0, far=0, step=0)
    text = "Over {T} steps the states are {mean} apart on average, at most {far} (step {step}); a state lies between −1 and 1."
    if negate and other == "reset":
        text += " Both cells mean the same by z, so there is nothing to convert by negating its weights."
    return scenes.scene(panels, text, T=T, mean=distance.mean(), far=distance[far], step=far + 1)


TAKES = {"new": "takes the new", "old": "keeps the old"}
