"""Chapter 6's training runs: do peepholes help to count, and to keep time? Every cell, every seed.

    python experiments/counting_and_timing.py            16 seeds, 128 networks: eleven minutes on one core
    python experiments/counting_and_timing.py --seeds 2 --jobs 2

Writes counting_and_timing.json beside this file: of every network the loss after training, and what it reached.
Runs that are there already are kept.

count: after every symbol of aⁿbⁿ say what may follow: a or b, only b, or the end. Trained on n = 1..10 together.
  reached: the largest N, up to 200, for which every step of every n = 1..N is right.
time: no input; say at every step whether it is a multiple of 10. Trained on steps 1..60.
  reached: the last step, up to 500, before the first wrong one.
The learning rates and numbers of updates were chosen on seeds 100 to 102, none of which is among the runs.
"""
import argparse
from pathlib import Path

import stored_runs  # first of all: it sets the number of threads

import numpy as np

import minigrad as mg

RESULTS = Path(__file__).with_suffix(".json")
H, LONGEST, PERIOD, STEPS = 4, 10, 10, 60
CELLS = {"LSTM": mg.LSTMCell, "peephole LSTM": mg.PeepholeLSTMCell, "GRU": mg.GRUCell, "tanh RNN": mg.RNNCell}
TASKS = {"count": (2, 3), "time": (1, 1)}          # numbers per step of input and output
SETTINGS = {"hidden size": H, "count: trained on n up to": LONGEST, "time: period": PERIOD, "time: trained on steps": STEPS,
            "updates": {"count": 3000, "time": 6000}, "learning rate, falling to 0": {"count": 0.01, "time": 0.03}, "clip norm": 1.0}


# ---------------------------------------------------------------- the tasks
def a_n_b_n(ns):
    """xs (T, N, 2), labels (T, N), lengths (N,): the strings aⁿbⁿ, and what may follow each symbol.

    a is (1, 0), b is (0, 1); the labels: 0 for a or b, 1 for b only, 2 for the end.
    """
    lengths = 2 * np.asarray(ns)
    xs, labels = np.zeros((lengths.max(), len(lengths), 2)), np.zeros((lengths.max(), len(lengths)), int)
    for row, n in enumerate(ns):
        xs[:n, row, 0] = xs[n:2 * n, row, 1] = 1
        labels[n:2 * n - 1, row], labels[2 * n - 1, row] = 1, 2
    return xs, labels, lengths


def ticks(steps):
    """xs (T, 1, 1) of zeros and targets (T, 1, 1): 1 at steps PERIOD, 2 PERIOD, ..., counted from 1."""
    t = np.arange(1, steps + 1)
    return np.zeros((steps, 1, 1)), (t % PERIOD == 0).astype(float)[:, None, None]


def steps_right(model, params, ns):
    """(T, N), whether the model is right at each step of aⁿbⁿ, or past its end."""
    xs, labels, lengths = a_n_b_n(ns)
    said = np.argmax(model(params, xs, lengths=lengths), axis=-1)
    return (said == labels) | (np.arange(len(xs))[:, None] >= lengths)


def before_the_first_wrong(right):
    """How many entries are true before the first that is not."""
    return int(np.argmin(np.append(right, False)))


# ---------------------------------------------------------------- a run
def network(task, name):
    inputs, outputs = TASKS[task]
    return mg.Sequential(mg.Recurrent(CELLS[name](inputs, H), return_sequences=True), mg.Dense(H, outputs))


def train(task, name, seed):
    """(model, params, loss) after all updates; each is on the whole training set."""
    model, updates = network(task, name), SETTINGS["updates"][task]
    if task == "count":
        xs, labels, lengths = a_n_b_n(range(1, LONGEST + 1))
        mask = np.arange(len(xs))[:, None] < lengths

        def loss(params):
            return mg.cross_entropy(model(params, xs, lengths=lengths), labels, mask)
    else:
        xs, targets = ticks(STEPS)

        def loss(params):
            return mg.binary_cross_entropy(model(params, xs), targets)
    params, history = mg.fit(loss, model.init(np.random.default_rng(seed)), lambda rng: [()] * 100,
                             mg.Adam(mg.CosineDecay(SETTINGS["learning rate, falling to 0"][task], updates)),
                             epochs=updates // 100, seed=seed, clip_norm=SETTINGS["clip norm"], progress=False)
    return model, params, float(loss(params))


def one_run(task, cell, seed):
    model, params, loss = train(task, cell, seed)
    if task == "count":
        reached = before_the_first_wrong(steps_right(model, params, range(1, 201)).all(axis=0))
    else:
        xs, targets = ticks(500)
        reached = before_the_first_wrong((model(params, xs) > 0)[:, 0, 0] == targets[:, 0, 0])
    return {"loss": float(f"{loss:.4g}"), "reached": reached}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=16, help="how many networks for each task and cell (default: 16)")
    parser.add_argument("--jobs", type=int, default=1, help="how many processes (default: 1)")
    arguments = parser.parse_args(argv)
    asked = [{"task": task, "cell": cell, "seed": seed} for task in TASKS for cell in CELLS for seed in range(arguments.seeds)]
    runs = stored_runs.complete(RESULTS, SETTINGS, asked, one_run, arguments.jobs)
    for task in TASKS:
        for cell in CELLS:
            print(f"{task}, {cell}:", *sorted(run["reached"] for run in runs if (run["task"], run["cell"]) == (task, cell)))


if __name__ == "__main__":
    main()
