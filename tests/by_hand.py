"""What the tests of the chapters' equations share: derivatives by finite differences, and gates that are held."""
import numpy as np


def slope(loss, t, name, shape, width=1e-5):
    """δ of an inner value of this shape at step t, by central differences of loss(t, name, nudge)."""
    result = np.empty(shape)
    for index in np.ndindex(shape):
        nudge = np.zeros(shape)
        nudge[index] = width
        result[index] = (loss(t, name, nudge) - loss(t, name, -nudge)) / (2 * width)
    return result


def held(p, **logits):
    """Parameters whose gates are held, each at σ of the given number or numbers."""
    p = {name: a.copy() for name, a in p.items()}
    for gate, a in logits.items():
        p[f"W_{gate}"][:] = p[f"U_{gate}"][:] = 0
        p[f"b_{gate}"][:] = a
    return p
