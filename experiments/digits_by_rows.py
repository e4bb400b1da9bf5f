"""Chapter 10's comparison: GRU, LSTM and plain RNN on the digits read row by row.

    python experiments/digits_by_rows.py              everything, 120 networks: about ten minutes on one core
    python experiments/digits_by_rows.py --splits 1   the first split of each part

Writes digits_by_rows.json beside this file: numbers of misread digits, one for each random split.

choose: a network is trained on four fifths of the training part and judged on the rest, for each
learning rate, falling to 0 or constant; the held-out part is not looked at.
report: with the setting that misread fewest there, trained on the whole training part and judged
on the held-out fifth.
"""
import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np  # noqa: E402  (after the number of threads is set)
from tqdm import tqdm  # noqa: E402

import minigrad as mg  # noqa: E402

RESULTS = Path(__file__).with_suffix(".json")
EPOCHS, BATCH_SIZE, CLIP_NORM = 12, 32, 1.0
RATES = {"0.001, falling": 0.001, "0.003, falling": 0.003, "0.01, falling": 0.01, "0.03, falling": 0.03,
         "0.003, constant": 0.003, "0.01, constant": 0.01}
CELLS = {"GRU": lambda I, H: mg.GRUCell(I, H, reset="after", update="old"), "LSTM": mg.LSTMCell, "RNN": mg.RNNCell}


def network(cell):
    """The source article's model, with any cell."""
    return mg.Sequential(mg.Recurrent(cell(8, 128), return_sequences=True), mg.Recurrent(cell(128, 64)), mg.Dense(64, 10))


def train(model, xs, labels, seed, setting):
    """Parameters after all epochs, at one of the learning rates."""
    batches, rate = mg.Batches(xs, labels, BATCH_SIZE), RATES[setting]
    if setting.endswith("falling"):
        rate = mg.CosineDecay(rate, EPOCHS * len(batches))
    params, _ = mg.fit(lambda params, xs, labels: mg.cross_entropy(model(params, xs), labels),
                       model.init(np.random.default_rng(seed)), batches,
                       mg.Adam(rate), epochs=EPOCHS, seed=seed, clip_norm=CLIP_NORM, progress=False)
    return params


def misread(model, xs, labels, seed, setting, rows, judged):
    params = train(model, xs[:, rows], labels[rows], seed, setting)
    return int(np.sum(np.argmax(model(params, xs[:, judged]), axis=-1) != labels[judged]))


def parts(count, seed):
    """The training part and the held-out fifth of a split; then the training part's own two parts."""
    rng = np.random.default_rng(seed)
    training, held_out = mg.split(count, 0.2, rng)
    fitted, validation = mg.split(len(training), 0.2, rng)
    return training, held_out, training[fitted], training[validation]


def run(choosing, reporting):
    xs, labels = mg.load_digits()
    results = {"settings": {"epochs": EPOCHS, "batch_size": BATCH_SIZE, "clip_norm": CLIP_NORM},
               "choose": {}, "chosen": {}, "report": {}}
    with tqdm(total=len(CELLS) * (choosing * len(RATES) + reporting), desc="networks") as bar:
        for name, cell in CELLS.items():
            model, errors = network(cell), {}
            for setting in RATES:
                errors[setting] = []
                for seed in range(choosing):
                    _, _, fitted, validation = parts(len(labels), seed)
                    errors[setting].append(misread(model, xs, labels, seed, setting, fitted, validation))
                    bar.update()
            best = min(RATES, key=lambda setting: sum(errors[setting]))
            results["choose"][name], results["chosen"][name], results["report"][name] = errors, best, []
            for seed in range(reporting):
                training, held_out, _, _ = parts(len(labels), seed)
                results["report"][name].append(misread(model, xs, labels, seed, best, training, held_out))
                bar.update()
    return results


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--splits", type=int, help="how many of each part's splits to run (default: 5 and 10); stores nothing")
    splits = parser.parse_args(argv).splits
    results = run(min(5, splits or 5), min(10, splits or 10))
    text = json.dumps(results, indent=1)
    if splits is None:
        RESULTS.write_text(text + "\n", encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
