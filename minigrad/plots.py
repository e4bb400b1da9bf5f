"""One look for all figures of the book: `use_style` once a notebook, then plain matplotlib.

Colours are those of Okabe & Ito that keep a contrast of 3:1 on white, so that they survive colour
blindness; where several lines share a plot, give them the styles of `LINES` as well.
"""
import matplotlib.pyplot as plt
import numpy as np

BLUE, VERMILLION, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#00845F", "#8A3B8F", "#5A5A5A"
COLORS = (BLUE, VERMILLION, GREEN, PURPLE, GREY)
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
GATE_COLORS = {"i": GREEN, "f": BLUE, "o": VERMILLION, "z": BLUE, "r": VERMILLION, "c": PURPLE, "c_tilde": GREY,
               "h": PURPLE, "h_tilde": GREY}


def use_style():
    """Set the book's figure style, and SVG output that is the same bytes at every run."""
    plt.rcParams.update({
        "figure.figsize": (6.4, 3.2), "figure.constrained_layout.use": True, "figure.facecolor": "white",
        "savefig.facecolor": "white", "font.size": 10, "font.family": "DejaVu Sans", "axes.titlesize": 10.5,
        "axes.titlelocation": "left", "axes.titleweight": "bold", "axes.spines.top": False, "axes.spines.right": False,
        "axes.grid": True, "grid.color": "#E3E3E3", "grid.linewidth": 0.7, "axes.axisbelow": True,
        "axes.edgecolor": GREY, "lines.linewidth": 1.8, "legend.frameon": False, "image.cmap": "cividis",
        "axes.prop_cycle": plt.cycler(color=COLORS) + plt.cycler(linestyle=LINES),
        "svg.hashsalt": "minigrad", "svg.fonttype": "path",
    })
    try:
        from matplotlib_inline.backend_inline import set_matplotlib_formats
        set_matplotlib_formats("svg", metadata={"Date": None})
    except ImportError:      # outside a notebook there is no inline backend to set
        pass


def rounded(values, digits=4):
    """Values to ``digits`` significant digits: plot these, and the last bits of a machine's
    arithmetic do not reach the stored figure."""
    values = np.asarray(values, dtype=float)
    magnitude = np.floor(np.log10(np.where(values == 0, 1.0, np.abs(values))))
    scale = 10.0 ** (digits - 1 - magnitude)
    return np.round(values * scale) / scale
