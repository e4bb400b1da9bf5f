"""Chapter 4's first experiment: does an LSTM learn to hold one bit, by the initial bias of its forget gate?
And does a plain cell?

    python experiments/forget_bias_latch.py            8 seeds, 120 networks: a few minutes on one core
    python experiments/forget_bias_latch.py --seeds 2 --jobs 2

The first number of a sequence is +1 or -1, the bit; all others are normal noise, as large as the bit. After T steps the
network says which it was. Writes forget_bias_latch.json beside this file: of every network the part of 1,000 new
sequences that it gets right. Runs that are there already are kept.
"""
import argparse
from pathlib import Path

import stored_runs  # first of all: it sets the number of threads

import numpy as np

import minigrad as mg

RESULTS = Path(__file__).with_suffix(".json")
LENGTHS, BIASES = (20, 30, 50), (-1, 0, 1, 3)
SETTINGS = {"hidden_size": 4, "steps": 450, "batch_size": 32, "learning_rate": 0.01, "clip_norm": 1.0, "judged_on": 1000}


def draw(rng, T, B):
    """xs (T, B, 1) and the bits (B,), 0 or 1."""
    bits = rng.integers(0, 2, B)
    xs = rng.normal(size=(T, B, 1))
    xs[0, :, 0] = 2 * bits - 1
    return xs, bits


def latch(cell, T, forget_bias, seed, settings=SETTINGS):
    """Train one network; the part of new sequences whose bit it knows at the end.

    cell: "LSTM", or "plain", which has no gate: its forget_bias is 0 and means nothing.
    """
    H = settings["hidden_size"]
    cell = mg.LSTMCell(1, H, forget_bias=forget_bias) if cell == "LSTM" else mg.RNNCell(1, H)
    head = mg.Dense(H, 1)

    def logits(params, xs):
        hs, _ = mg.unroll(cell, params["cell"], xs)
        return head(params["head"], hs[-1])[:, 0]

    def batches(rng):
        return (draw(rng, T, settings["batch_size"]) for _ in range(settings["steps"]))

    rng = np.random.default_rng(seed)
    params, _ = mg.fit(lambda params, xs, bits: mg.binary_cross_entropy(logits(params, xs), bits),
                       {"cell": cell.init(rng), "head": head.init(rng)}, batches, mg.Adam(settings["learning_rate"]),
                       epochs=1, seed=seed, clip_norm=settings["clip_norm"], progress=False)
    xs, bits = draw(np.random.default_rng([seed, 1_000_000]), T, settings["judged_on"])
    return {"accuracy": float(np.mean((logits(params, xs) > 0) == (bits == 1)))}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=8, help="how many networks for each length and bias (default: 8)")
    parser.add_argument("--jobs", type=int, default=1, help="how many processes (default: 1)")
    arguments = parser.parse_args(argv)
    kinds = [("LSTM", bias) for bias in BIASES] + [("plain", 0)]
    asked = [{"cell": cell, "T": T, "forget_bias": bias, "seed": seed}
             for T in LENGTHS for cell, bias in kinds for seed in range(arguments.seeds)]
    runs = stored_runs.complete(RESULTS, SETTINGS, asked, latch, arguments.jobs)
    for T in LENGTHS:
        for cell, bias in kinds:
            found = [run["accuracy"] for run in runs if (run["cell"], run["T"], run["forget_bias"]) == (cell, T, bias)]
            print(f"T = {T}, {cell:5}, forget bias {bias:2}:", *(f"{accuracy:.3f}" for accuracy in found))


if __name__ == "__main__":
    main()
