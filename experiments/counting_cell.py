"""The trained cell of the figure `widgets.what_it_remembers`: an LSTM that has learnt aⁿbⁿ.

    python experiments/counting_cell.py              about ten seconds on one core

Writes minigrad/data/counting_lstm.npz. The network reads one letter a step and says which comes next: a, b or the end.
After an a both letters may come, so there it is right half of the time at best; after the first b all is decided by
the number of a's. It is trained on n = 1 to 10 and then asked how far it counts. Of eight trial runs, seeds 0 to 3 with 2
and with 3 units, all counted to 10 at least and the furthest, this one, to 18.
"""
import argparse
import os
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np  # noqa: E402  (after the number of threads is set)

import minigrad as mg  # noqa: E402

FILE = Path(mg.__file__).parent / "data" / "counting_lstm.npz"
LONGEST, UNITS, BATCH_SIZE, EPOCHS, SEED = 10, 2, 50, 150, 2
MODEL = mg.Sequential(mg.Recurrent(mg.LSTMCell(2, UNITS), return_sequences=True), mg.Dense(UNITS, 3))


def word(n):
    """aⁿbⁿ: its letters one-hot (2n, 2), and at each step the letter that comes next, 2 for the end."""
    letters = np.array([0] * n + [1] * n)
    return np.eye(2)[letters], np.append(letters[1:], 2)


def words(ns):
    """Words of several lengths as one batch: xs (T, B, 2), ys (T, B), lengths (B,)."""
    lengths = 2 * np.asarray(ns)
    xs, ys = np.zeros((lengths.max(), len(ns), 2)), np.zeros((lengths.max(), len(ns)), int)
    for b, n in enumerate(ns):
        xs[:2 * n, b], ys[:2 * n, b] = word(n)
    return xs, ys, lengths


def loss(params, xs, ys, lengths):
    mask = np.arange(len(xs))[:, None] < lengths
    return mg.cross_entropy(MODEL(params, xs, lengths=lengths), ys, mask)


def train(epochs=EPOCHS, progress=True):
    """Parameters after training from a seeded start."""
    rng = np.random.default_rng(SEED)
    xs, ys, lengths = words(rng.integers(1, LONGEST + 1, size=1000))
    batches = mg.Batches(xs, ys, BATCH_SIZE, lengths, per_step=True)
    params, _ = mg.fit(loss, MODEL.init(rng), batches, mg.Adam(mg.CosineDecay(0.02, epochs * len(batches))), epochs=epochs,
                       seed=SEED, clip_norm=1.0, progress=progress)
    return params


def counts(params, n):
    """Whether every letter from the first b to the end is foretold in aⁿbⁿ."""
    xs, ys = word(n)
    answers = np.argmax(MODEL(params, xs[:, None])[:, 0], axis=-1)
    return bool(np.all(answers[n:] == ys[n:]))


def main():
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    params = train()
    right = next(n for n in range(1, 200) if not counts(params, n + 1))
    print(f"counts without a gap to n = {right}; trained to n = {LONGEST}")
    mg.save(FILE, dict(zip(("cell", "readout"), params)))
    print(f"{FILE.name}: {FILE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
