"""Draw the picture of the landing page: how far back a gradient reaches, for five cells.

    python book/tools/draw_cover.py            compute, print the numbers, store book/_static/cover.svg
    python book/tools/draw_cover.py --check    store nothing, fail if the picture would change

The cells are untrained. All that differs between the three GRUs is the bias of the update gate.
"""

import argparse
import io
import sys
from pathlib import Path

import reproducible

reproducible.apply()  # before NumPy is imported, which reads these settings once

import matplotlib  # noqa: E402
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402

import minigrad as mg  # noqa: E402
from minigrad import plots  # noqa: E402
from run_notebooks import round_svg  # noqa: E402

PICTURE = Path(__file__).resolve().parents[1] / "_static" / "cover.svg"
T, I, H = 100, 8, 32
SEEDS = range(5)
# name, cell, bias of the gate that keeps, how much of the old state that gate keeps, colour, line
CELLS = (
    ("GRU", mg.GRUCell(I, H), {"b_z": -5.0}, lambda gates: 1 - gates["z"], plots.BLUE, "-"),
    ("GRU", mg.GRUCell(I, H), {"b_z": -3.0}, lambda gates: 1 - gates["z"], plots.BLUE, "-"),
    ("LSTM", mg.LSTMCell(I, H), {"b_f": 1.0}, lambda gates: gates["f"], plots.VERMILLION, "--"),
    ("tanh cell", mg.RNNCell(I, H), {}, None, plots.GREY, ":"),
    ("GRU", mg.GRUCell(I, H), {"b_z": 0.0}, lambda gates: 1 - gates["z"], plots.BLUE, "-"),
)


def draw_cell(cell, biases, seed):
    """Random parameters and a random sequence (T, 1, I): what one line of the picture is made of."""
    rng = np.random.default_rng(seed)
    params = cell.init(rng) | {name: np.full(H, bias) for name, bias in biases.items()}
    return params, rng.standard_normal((T, 1, I))


def reach(cell, params, xs):
    """The size of ∂s_T/∂s_t, s being h (c for an LSTM), for t = T, T-1, …, 1; its first entry is 1.

    Size: the Frobenius norm over √H, which is the root mean square of what a random direction keeps.
    To each state a zero is added; the gradient of the last state with respect to that zero is
    the Jacobian. Row k of the batch, the same sequence in every row, gives row k of it.
    """
    xs = np.repeat(xs, H, axis=1)

    def last_state(zeros):
        state = cell.initial_state(H)
        for x, zero in zip(xs, zeros):
            state = cell(params, x, state)
            state = (state[0], state[1] + zero) if isinstance(state, tuple) else state + zero
        kept = state[1] if isinstance(state, tuple) else state
        return np.sum(kept * np.eye(H))

    jacobians = mg.grad(last_state)(np.zeros((T, H, H)))
    return np.linalg.norm(jacobians, axis=(1, 2))[::-1] / np.sqrt(H)


def measure():
    """For each of CELLS: its curves, one a seed, (seeds, T), and the mean of what its gate keeps (None without one)."""
    found = []
    for _, cell, biases, keeps, _, _ in CELLS:
        drawn = [draw_cell(cell, biases, seed) for seed in SEEDS]
        curves = np.array([reach(cell, params, xs) for params, xs in drawn])
        kept = keeps and np.mean([keeps(mg.gate_values(cell, params, xs)) for params, xs in drawn])
        found.append((curves, kept))
    return found


def label(name, kept):
    return name if kept is None else f"{name}, keeps {kept:.2f}"


def draw(found):
    """The picture, as the text of an SVG."""
    plots.use_style()
    figure, axes = plt.subplots(figsize=(5.4, 3.4))
    for (name, _, _, _, color, line), (curves, kept) in zip(CELLS, found):
        axes.plot(plots.rounded(curves.T), color=color, linestyle=line, linewidth=1.1)
        end = float(plots.rounded(np.exp(np.log(curves[:, -1]).mean())))
        axes.annotate(label(name, kept), (T - 1, end), (7, 0), textcoords="offset points", color=color, va="center",
                      fontweight="bold", annotation_clip=False)
    axes.set_yscale("log")
    axes.set_ylim(1e-18, 10)
    axes.set_yticks([1e0, 1e-4, 1e-8, 1e-12, 1e-16])
    axes.minorticks_off()
    axes.set_xlim(0, T - 1)
    axes.set_xlabel("steps back in time")
    axes.set_ylabel("size of the gradient")
    figure.suptitle("What a gate keeps decides how far back a gradient reaches", x=0.01, ha="left", fontsize=11,
                    fontweight="bold")
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    return round_svg(stream.getvalue())


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="store nothing; fail if the picture would change")
    args = parser.parse_args(argv)
    matplotlib.use("svg")
    found = measure()
    for (name, *_), (curves, kept) in zip(CELLS, found):
        print(f"  {label(name, kept):<18} {T - 1} steps back: {curves[:, -1].min():.1e} to {curves[:, -1].max():.1e}")
    text = draw(found)
    same = PICTURE.is_file() and PICTURE.read_text(encoding="utf-8") == text
    if args.check:
        print("The stored picture is this one." if same else f"{PICTURE} is not what is drawn now: run this without --check.")
        return 0 if same else 1
    PICTURE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
