"""Chapter 8's experiment: a random search over learning rate and width, for the members of the family, on two tasks.

    python experiments/small_odyssey.py               172 networks: about nine minutes on one idle core
    python experiments/small_odyssey.py --runs 2 --jobs 2

A setting is a learning rate, log-uniform, and a width; both are drawn from its number, so that every cell is tried with
the same settings and judged on the same data. adding: two of the numbers of a sequence are marked; the answer is their sum; judged
by the mean squared error on new sequences. reber: continual embedded Reber strings (minigrad.tasks), the state carried
along and never reset; judged on new streams by the part of the last but one symbols where the right one of T and P is
the likelier. NOAF, which has no kernel and would take half as long as all the others together, is left out there.

Writes small_odyssey.json beside this file. Runs that are there already are kept.
"""
import argparse
from pathlib import Path

import stored_runs

import numpy as np

import minigrad as mg
from minigrad import variants
from minigrad.tasks import REBER_SYMBOLS, continual_reber

RESULTS = Path(__file__).with_suffix(".json")
CELLS = {"adding": ("vanilla", "NP", "CIFG", "NIG", "NFG", "NOG", "NOAF", "GRU", "MGU"),
         "reber": ("vanilla", "NP", "CIFG", "NIG", "NFG", "NOG", "GRU", "MGU")}
SETTINGS = {"learning_rate": [0.001, 0.1], "hidden_size": [4, 16], "clip_norm": 1.0,
            "adding": {"T": 30, "batch_size": 32, "steps": 800, "judged_on": 2000},
            "reber": {"window": 40, "streams": 10, "steps": 2000, "judged_on": [1000, 20]}}
RUNS = {"adding": 12, "reber": 8}
T_P = [REBER_SYMBOLS.index(symbol) for symbol in "TP"]


def setting(number):
    """(learning rate, width) of a number; the learning rate to three digits."""
    rng = np.random.default_rng([8, number])
    low, high = SETTINGS["learning_rate"]
    rate = float(f"{low * (high / low) ** rng.random():.3g}")
    return rate, int(rng.integers(SETTINGS["hidden_size"][0], SETTINGS["hidden_size"][1] + 1))


def run(cell, task, number):
    """Train and judge one network: {"learning_rate", "hidden_size", "score"}; a score of None has diverged."""
    rate, H = setting(number)
    I, outputs = (2, 1) if task == "adding" else (7, 7)
    rng = np.random.default_rng(number)
    network = Network(variants.FAMILY[cell](I, H), mg.Dense(H, outputs))
    with np.errstate(all="ignore"):                     # what diverges says so by its score
        score = {"adding": adding, "reber": reber}[task](network, network.init(rng), rate, rng)
    return {"learning_rate": rate, "hidden_size": H, "score": round(score, 6) if np.isfinite(score) else None}


class Network:
    """A cell and a dense layer on its output."""

    def __init__(self, cell, head):
        self.cell, self.head = cell, head

    def init(self, rng):
        return {"cell": self.cell.init(rng), "head": self.head.init(rng)}

    def __call__(self, params, xs, state=None):
        """(outputs, last state); by the parent's kernel where the cell is a corner of one that has a kernel."""
        hs, state = mg.unroll(*variants.in_parent(self.cell, params["cell"]), xs, state)
        return self.head(params["head"], hs), state


def train(params, loss, data, rate, steps):
    """Adam with a clipped gradient; the loss is a function of (params, *the next of data)."""
    optimizer, gradient = mg.Adam(rate), mg.grad(loss)
    slots = optimizer.init(params)
    for _, batch in zip(range(steps), data):
        gradients, _ = mg.clip_by_global_norm(gradient(params, *batch), SETTINGS["clip_norm"])
        params, slots = optimizer.step(params, gradients, slots)
    return params


# ---------------------------------------------------------------- adding
def draw(rng, T, B):
    """xs (T, B, 2), numbers of 0 to 1 and two marks, one in each half; the sums of the marked numbers (B,)."""
    xs = np.stack([rng.random((T, B)), np.zeros((T, B))], axis=-1)
    rows = np.arange(B)
    first, second = rng.integers(0, T // 2, B), rng.integers(T // 2, T, B)
    xs[first, rows, 1] = xs[second, rows, 1] = 1
    return xs, xs[first, rows, 0] + xs[second, rows, 0]


def adding(network, params, rate, rng):
    of = SETTINGS["adding"]

    def loss(params, xs, sums):
        return mg.mse(network(params, xs)[0][-1, :, 0], sums)

    batches = (draw(rng, of["T"], of["batch_size"]) for _ in range(of["steps"]))
    params = train(params, loss, batches, rate, of["steps"])
    return float(loss(params, *draw(np.random.default_rng(1_000_000), of["T"], of["judged_on"])))


# ---------------------------------------------------------------- continual embedded Reber
def reber(network, params, rate, rng):
    of = SETTINGS["reber"]
    T, B = of["window"], of["streams"]
    symbols, _, _ = continual_reber(rng, T * of["steps"] + 1, B)
    carried = [network.cell.initial_state(B)]

    def loss(params, xs, following):
        logits, last = network(params, xs, carried[0])
        carried[0] = mg.tree_map(lambda part: part.value, last)      # off the tape, for the next window
        return mg.cross_entropy(logits, following)

    windows = ((np.eye(7)[symbols[t:t + T]], symbols[t + 1:t + T + 1]) for t in range(0, T * of["steps"], T))
    params = train(params, loss, windows, rate, of["steps"])
    symbols, _, outer = continual_reber(np.random.default_rng(1_000_000), of["judged_on"][0] + 1, of["judged_on"][1])
    logits, _ = network(params, np.eye(7)[symbols[:-1]])
    if not np.isfinite(logits).all():
        return np.nan
    likelier = np.array(T_P)[np.argmax(logits[outer[1:]][:, T_P], axis=-1)]
    return float(np.mean(likelier == symbols[1:][outer[1:]]))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, help="how many settings for each cell (default: 12 for adding, 8 for reber)")
    parser.add_argument("--jobs", type=int, default=1, help="how many processes (default: 1)")
    arguments = parser.parse_args(argv)
    asked = [{"task": task, "number": number, "cell": cell} for task in RUNS
             for number in range(arguments.runs or RUNS[task]) for cell in CELLS[task]]
    runs = stored_runs.complete(RESULTS, SETTINGS, asked, run, arguments.jobs)
    for task in RUNS:
        for cell in CELLS[task]:
            found = [kept["score"] for kept in runs if (kept["cell"], kept["task"]) == (cell, task)]
            print(f"{task:7} {cell:8}", *("diverged" if score is None else f"{score:8.4f}" for score in found))


if __name__ == "__main__":
    main()
