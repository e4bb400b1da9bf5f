"""Figures to touch: move a control, and see what the equations make of it.

    from minigrad import widgets
    widgets.gate_bench()

With a kernel a moved control is computed exactly, on the reader's own cell where the figure takes one. On the
static page of the book the same script draws scenes that were stored before.
Needs ipywidgets, anywidget and matplotlib: ``pip install "minigrad[widgets,plots]"``.
"""
from importlib.util import find_spec

_missing = [name for name in ("ipywidgets", "anywidget", "matplotlib") if find_spec(name) is None]
if _missing:
    raise ImportError(f"minigrad.widgets needs {', '.join(_missing)}: pip install \"minigrad[widgets,plots]\"")

from .gate_bench import gate_bench  # noqa: E402  (after the error that says what to install)
from .gradient_river import gradient_river  # noqa: E402
from .tape import tape  # noqa: E402
from .timer import timer  # noqa: E402
from .touchable import Touchable, sentence, touchable  # noqa: E402
from .two_grus import two_grus  # noqa: E402
from .what_it_remembers import what_it_remembers  # noqa: E402

__all__ = ["Touchable", "gate_bench", "gradient_river", "sentence", "tape", "timer", "touchable", "two_grus",
           "what_it_remembers"]
