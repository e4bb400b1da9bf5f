"""One look for all figures of the book: `use_style` once a notebook, then plain matplotlib.

Colours are those of Okabe & Ito that keep a contrast of 3:1 on white, so that they survive colour
blindness; where several lines share a plot, give them the styles of `LINES` as well.
"""
import inspect

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import FancyBboxPatch

from .engine import Tensor, backward, gradient_of
from .errors import check_scalar
from .watched_tape import WatchedTape, dense

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


SYMBOLS = {"add": "+", "subtract": "−", "multiply": "×", "divide": "/", "matmul": "@", "negative": "−", "square": "( )²",
           "power": "^", "getitem": "[ ]", "sum": "Σ"}


def draw_tape(f, *args, names=()):
    """Draw what ``grad`` records and hands back when it differentiates ``f(*args)``; return the Axes.

    One box for each argument and each operation, numbered as on the tape: above it a name and the
    operation, in it the value, below it the gradient of the result. Arrays show their shape.

    args: floats or float arrays. names: names for the operations, in the order in which they run.
    Raises ValueError where ``f`` returns no scalar.
    """
    leaves, tape, out, gradients = traced(f, args)
    columns, edges = columns_of(leaves, tape)
    row = rows_of(columns, edges)
    place = {node: (x, row[node]) for x, column in enumerate(columns) for node in column}
    width, height = len(columns), max(map(len, columns))
    fig, ax = plt.subplots(figsize=(max(3.2, 1.02 * width), 0.35 + 0.95 * height))
    ax.set(xlim=(-0.5, width - 0.5), ylim=(-height / 2 - 0.12, height / 2))
    ax.axis("off")
    for start, end in edges:
        arrow = dict(arrowstyle="-|>" if type(end) is int else "-", color=GREY, lw=1.2, shrinkA=0, shrinkB=0)
        (x0, y0), (x1, y1) = place[start], place[end]
        x0, x1 = x0 + 0.36 * (type(start) is int), x1 - 0.36 * (type(end) is int)
        ax.annotate("", (x1, y1), (x0, y0), arrowprops=arrow)
    parameters = list(inspect.signature(f).parameters)
    for k, node in enumerate([*leaves, *tape]):
        x, y = place[k]
        number = k - len(leaves) + 1
        if number < 1:
            title = parameters[k] if k < len(parameters) else ""
        else:
            title = "   ".join(filter(None, [*names[number - 1:number], operation_of(node)]))
            ax.text(x - 0.335, y + 0.1, number, size=6.5, color=GREY, ha="left", va="center")
        ax.add_patch(FancyBboxPatch((x - 0.34, y - 0.15), 0.68, 0.3, "round,pad=0.02,rounding_size=0.06", lw=1,
                                    edgecolor=GREY, facecolor="white" if number < 1 else "#EEF3F7"))
        value = entry(node.value)
        ax.text(x, y, value, ha="center", va="center", size=10 if len(value) < 7 else 8.5)
        ax.text(x, y + 0.26, title, ha="center", va="center", size=9, weight="bold")
        ax.text(x, y - 0.27, entry(gradients[k]), ha="center", va="center", size=9, color=VERMILLION)
    ax.text(-0.45, -height / 2 - 0.08, "in the box: value", size=8, color=GREY)
    ax.text(0.75, -height / 2 - 0.08, "below it: gradient", size=8, color=VERMILLION)
    return ax


def traced(f, args):
    """Run ``f`` on a tape and read it backwards: leaves, operations, result, the gradient of each."""
    seen = {}

    def keep(node):
        seen[id(node)] = dense(node.grad)

    tape = WatchedTape(keep)
    leaves = [Tensor(np.asarray(a, dtype=float)[()], tape) for a in args]
    out = f(*leaves)
    check_scalar(f, out)
    operations = list(tape)
    if type(out) is Tensor:
        backward(tape, out)
    seen |= {id(leaf): gradient_of(leaf) for leaf in leaves}
    return leaves, operations, out, [seen[id(node)] for node in [*leaves, *operations]]


def columns_of(leaves, tape):
    """Place each node right of what it was computed from; a long arrow passes the columns between.

    Returns the columns, lists of the nodes' numbers and of (start, end, x) where an arrow passes,
    and the arrows' pieces between neighbouring columns.
    """
    number = {id(node): k for k, node in enumerate([*leaves, *tape])}
    parents = {number[id(node)]: dict.fromkeys(number[id(p)] for _, p in node.parents) for node in tape}
    x = {}
    for k, above in parents.items():
        x[k] = 1 + max(x.get(p, 0) for p in above)
    for k in range(len(leaves)):
        x[k] = min((x[user] - 1 for user, above in parents.items() if k in above), default=0)
    columns, edges = [[] for _ in range(1 + max(x.values()))], []
    for k in sorted(x):
        columns[x[k]].append(k)
    for user, above in parents.items():
        for p in above:
            passing = [(p, user, between) for between in range(x[p] + 1, x[user])]
            for stop in passing:
                columns[stop[2]].append(stop)
            edges += zip([p, *passing], [*passing, user])
    return columns, edges


def rows_of(columns, edges):
    """The height of each node: in every column the order that keeps the arrows short."""
    row = {node: y for column in columns for y, node in enumerate(column)}
    for sweep in range(8):
        for column in columns[::1 if sweep % 2 else -1]:
            wish = {node: [row[b if a == node else a] for a, b in edges if node in (a, b)] for node in column}
            column.sort(key=lambda node: np.mean(wish[node] or [row[node]]))
            row.update((node, y - (len(column) - 1) / 2) for y, node in enumerate(column))
    return row


def operation_of(node):
    """What made a node: '×', or '1 − ·' where an argument is a constant number."""
    name = getattr(node.fun, "__name__", "?")
    symbol = SYMBOLS.get(name, name)
    on_tape = [i for i, _ in node.parents]
    if len(node.args) == 2 and len(on_tape) == 1 and np.ndim(node.args[1 - on_tape[0]]) == 0 and name in SYMBOLS and name != "getitem":
        left, right = ("·" if i in on_tape else entry(a) for i, a in enumerate(node.args))
        return f"{left} {symbol} {right}"
    return symbol


def entry(value):
    """A number at four digits, an array as its shape, nothing where there is no gradient."""
    if value is None:
        return "–"
    if np.ndim(value):
        return str(np.shape(value))
    return f"{float(value) + 0.0:.4g}".replace("-", "−")
