"""Chapter 4's second experiment: the same LSTM with a forget gate, and without one: alone, told where strings start, or
told and reset by hand.

    python experiments/continual_reber.py            4 seeds, 16 networks: about three minutes on one core
    python experiments/continual_reber.py --seeds 1 --jobs 2

The networks predict the next symbol of endless streams of embedded Reber strings (minigrad.tasks.continual_reber), by
backpropagation through windows of 50 symbols; the state is carried from window to window and never set to zero. Judged
on new streams, from a state of zeros: the part of the last but one symbols where the right one of T and P is the likelier,
and the mean |c|; and that part once more from the state in which training ended. Writes continual_reber.json beside this
file. Runs that are there already are kept.
"""
import argparse
from pathlib import Path

import stored_runs  # first of all: it sets the number of threads

import numpy as np

import minigrad as mg
from minigrad.tasks import REBER_SYMBOLS, continual_reber

RESULTS = Path(__file__).with_suffix(".json")
CELLS = ("forget gate", "no forget gate", "no forget gate, told", "no forget gate, reset by hand")
SETTINGS = {"hidden_size": 8, "windows": 3000, "window": 50, "streams": 10, "learning_rate": 0.01, "clip_norm": 1.0,
            "judged_on": [5000, 10], "c_after": [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]}
OPEN, SHUT = 50.0, -1050.0        # σ(50) is 1 and σ(50 - 1050) is 0, to the last bit, and so are their slopes 0
T_P = [REBER_SYMBOLS.index(symbol) for symbol in "TP"]


def initial(cell, kind, rng):
    """Parameters of an LSTM whose forget gate is learnt, or is 1 for ever, or is 1 but where input 7 is 1 and resets it.

    A gate that is 1 or 0 to the last bit has no slope, so training leaves W_f, U_f and b_f as they are: without a
    forget gate this is the cell of 1997, and has the package's fast way back.
    """
    params = cell.init(rng)
    if kind != "forget gate":
        params["W_f"][:], params["U_f"][:], params["b_f"][:] = 0, 0, OPEN
    if kind == "no forget gate, reset by hand":
        params["W_f"][7] = SHUT
    return params


def encode(symbols, starts, kind):
    """(T, B, 8): the symbols one-hot, and whether a string starts, which only the last two kinds of network are told."""
    told = starts & (kind in CELLS[2:])
    return np.concatenate([np.eye(7)[symbols], told[..., None]], axis=-1)


def reber(kind, seed, settings=SETTINGS):
    """Train one network on streams without an end and judge it on new ones."""
    T, B, H = settings["window"], settings["streams"], settings["hidden_size"]
    cell, head, rng = mg.LSTMCell(8, H), mg.Dense(H, 7), np.random.default_rng(seed)
    params = {"cell": initial(cell, kind, rng), "head": head.init(rng)}
    symbols, starts, _ = continual_reber(rng, T * settings["windows"] + 1, B)
    xs = encode(symbols, starts, kind)
    carried = []

    def loss(params, xs, following, state):
        hs, last = mg.unroll(cell, params["cell"], xs, state)
        carried[:] = [part.value for part in last]           # off the tape: no gradient goes back into the window before
        return mg.cross_entropy(head(params["head"], hs), following)

    optimizer = mg.Adam(mg.CosineDecay(settings["learning_rate"], settings["windows"]))
    gradient, slots, state = mg.grad(loss), optimizer.init(params), cell.initial_state(B)
    for start in range(0, T * settings["windows"], T):
        window = slice(start, start + T)
        gradients = gradient(params, xs[window], symbols[start + 1:start + T + 1], state)
        gradients, _ = mg.clip_by_global_norm(gradients, settings["clip_norm"])
        params, slots = optimizer.step(params, gradients, slots)
        state = tuple(carried)
    found = judged(cell, head, params, kind, np.random.default_rng([seed, 1_000_000]), settings)
    carried_on = judged(cell, head, params, kind, np.random.default_rng([seed, 1_000_000]), settings, state)
    return found | {"accuracy_carried_on": carried_on["accuracy"]}


def judged(cell, head, params, kind, rng, settings, state=None):
    """{"accuracy", "cross_entropy", "c": mean |c| after some numbers of symbols} on new streams, from a state or zeros."""
    symbols, starts, outer = continual_reber(rng, settings["judged_on"][0] + 1, settings["judged_on"][1])
    xs, following = encode(symbols, starts, kind)[:-1], symbols[1:]
    cs = mg.gate_values(cell, params["cell"], xs, state)["c"]
    logits = head(params["head"], mg.unroll(cell, params["cell"], xs, state)[0])
    asked = outer[1:]
    likelier = np.array(T_P)[np.argmax(logits[asked][:, T_P], axis=-1)]
    return {"accuracy": float(np.mean(likelier == following[asked])),
            "cross_entropy": float(mg.cross_entropy(logits, following)),
            "c": [float(f"{np.abs(cs[t - 1]).mean():.4g}") for t in settings["c_after"]]}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=4, help="how many networks of each kind (default: 4)")
    parser.add_argument("--jobs", type=int, default=1, help="how many processes (default: 1)")
    arguments = parser.parse_args(argv)
    asked = [{"kind": kind, "seed": seed} for kind in CELLS for seed in range(arguments.seeds)]
    runs = stored_runs.complete(RESULTS, SETTINGS, asked, reber, arguments.jobs)
    for run in runs:
        print(f"{run['kind']:30} seed {run['seed']}: accuracy {run['accuracy']:.3f}, mean |c| {run['c'][-1]}")


if __name__ == "__main__":
    main()
