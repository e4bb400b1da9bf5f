"""The timer: one peephole LSTM unit that fires every F steps, with no input and no recurrent weights."""
import numpy as np

from ..cells import PeepholeLSTMCell
from ..unroll import gate_values
from . import scenes
from .touchable import check, slider, touchable

CELL = PeepholeLSTMCell(1, 1)
SHOWN, COUNTED = 60, 500
SURE = 40.0                          # σ(40) rounds to 1, and σ(−40) = 4·10⁻¹⁸ is lost when it is added to 1/F


def timer_params(F):
    """Parameters of a PeepholeLSTMCell(1, 1) whose h is tanh(1) at the steps F, 2F, 3F, … and 0 at all others.

    c counts up by 1/F a step, as i = 1 and c̃ = tanh(b_c) = 1/F. Half-way between its last two values both other gates
    turn over, 2·SURE·F·(c − (F − ½)/F) being ±SURE on either side: o opens when the **new** c is 1, f shuts when the
    **old** c was. So the step after a spike starts at 1/F again, exactly, whatever rounding did before: it runs for ever.
    """
    if isinstance(F, bool) or not isinstance(F, (int, np.integer)) or not 2 <= F <= 100:
        raise ValueError(f"timer: F is {F!r}, expected an integer from 2 to 100")
    steep, turn = 2 * SURE * F, (F - 0.5) / F
    params = {name: np.zeros(shape) for name, shape in CELL.shapes.items()}
    params["b_i"][:], params["b_c"][:] = SURE, np.arctanh(1 / F)
    params["P_f"][:], params["b_f"][:] = -steep, steep * turn
    params["P_o"][:], params["b_o"][:] = steep, -steep * turn
    return params


def run(F, forget_sees, output_sees, T):
    """Every gate and state (T,) of the timer, with its peepholes or without."""
    params = timer_params(F)
    for name, sees in (("P_f", forget_sees), ("P_o", output_sees)):
        params[name] = params[name] * sees
    return {name: values[:, 0, 0] for name, values in gate_values(CELL, params, np.zeros((T, 1, 1))).items()}


def timer(F=10, caption=None):
    """A spike every F steps from one unit without input; cut a peephole, and it stops.

    F: 2 to 30, the period at the start. The weights are derived, not learnt: see `timer_params`.
    """
    stored = (2, 3, 5, 8, 10, 15, 20)
    timer_params(F)
    if F > 30:
        raise ValueError(f"timer: F is {F}, expected at most 30: the figure shows {SHOWN} steps")
    controls = [slider("F", "period F", int(F), 2, 30, 1, sorted({*stored, int(F)})),
                check("output_sees", "the output gate sees c", True), check("forget_sees", "the forget gate sees c", True)]
    return touchable("The timer", scene, controls, caption or (
        "Try: cut each peephole in turn. Notice that without them the gates are constants, whatever the cell holds: "
        "it still counts, but nothing can tell when it has counted far enough."))


def scene(F, output_sees, forget_sees):
    values = run(F, forget_sees, output_sees, COUNTED)
    spikes = np.flatnonzero(values["h"] > 0.5) + 1
    regular = len(spikes) > 0 and np.array_equal(spikes, F * np.arange(1, COUNTED // F + 1))
    c, h, o, f = (values[name][:SHOWN] for name in ("c", "h", "o", "f"))
    top = 1.1 if forget_sees else max(1.1, SHOWN / F)
    time = scenes.axis(1, SHOWN, "step t")
    counted, out = scenes.line(c, "purple", label="c", start=1, digits=3), scenes.line(h, "green", label="h", start=1, digits=3)
    panels = [scenes.plot("The cell c counts", time, scenes.axis(0, top), counted, height=110),
              scenes.plot("Its gates", time, scenes.axis(0, 1.05), scenes.line(o, "vermillion", label="o, output", start=1, digits=3),
                          scenes.line(f, "blue", "dashed", label="f, forget", start=1, digits=3), height=90),
              scenes.plot("What comes out, h", time, scenes.axis(0, 1.05), out, height=90)]
    if regular:
        text = "It fires every {F} steps: {count} spikes in {T} steps, the last at step {last}, none missing and none too many."
    elif not len(spikes):
        text = "No spike in {T} steps. The output gate doesn't see c and stays at {o}"
        text += "; the cell still starts over every {F} steps, and nobody hears it." if forget_sees else ", and c counts on for ever."
    else:
        text = ("From step {first} on it fires at every step, {count} times in {T}: the forget gate doesn't see c, "
                "stays at {f}, and c never starts over.")
    first, last = (spikes[0], spikes[-1]) if len(spikes) else (0, 0)
    return scenes.scene(panels, text, F=F, T=COUNTED, count=len(spikes), o=o[-1], f=f[-1], first=first, last=last)
