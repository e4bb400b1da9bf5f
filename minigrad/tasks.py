"""Data to learn from: what ships with the package, and tasks that are drawn at random."""
import hashlib
import io
from pathlib import Path

import numpy as np

from .checks_of_input import check_rng, check_size

DIGITS = Path(__file__).parent / "data" / "digits.npz"
DIGITS_SHA256 = "b2dab7b501728c22e9119ad76740b2e17c77a231e42d1e592380d90886f1a05e"

REBER_SYMBOLS = "BTPSXVE"
REBER_GRAMMAR = ({"T": 1, "P": 2}, {"S": 1, "X": 3}, {"T": 2, "V": 4}, {"X": 2, "S": 5}, {"P": 3, "V": 5}, {"E": None})


def load_digits(path=DIGITS):
    """1,797 handwritten digits as sequences: ``(xs, labels)``.

    xs: (8, 1797, 8) floats of 0 to 1, one image row a step, ink is 1. labels: (1797,) integers 0-9.
    From the test part of *Optical Recognition of Handwritten Digits* (E. Alpaydin and C. Kaynak, UCI
    Machine Learning Repository, doi 10.24432/C50P49, CC BY 4.0); see data/README.md.

    Raises FileNotFoundError or ValueError when the file is missing or not the one that was shipped.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"load_digits: {path} is missing; it is part of minigrad, so reinstall the package")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != DIGITS_SHA256:
        raise ValueError(f"load_digits: {path} is damaged (sha256 {found[:12]}…, expected {DIGITS_SHA256[:12]}…); "
                         "reinstall the package")
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        images, labels = file["images"], file["labels"]
    return images.transpose(1, 0, 2) / 16.0, labels.astype(np.int64)


def split(count, held_out, rng):
    """Two random, disjoint arrays of indices into ``count`` rows: the rest, and a part of ``held_out`` (0 to 1)."""
    check_rng("split", rng)
    held = round(count * held_out)
    if not 0 < held < count:
        raise ValueError(f"split: held_out = {held_out} of {count} rows leaves one side empty")
    order = rng.permutation(count)
    return np.sort(order[held:]), np.sort(order[:held])


def embedded_reber(rng):
    """A string of the embedded Reber grammar, such as "BTBPVVETE": its second and its last but one symbol agree.

    Between them stands a string of the Reber grammar: B, and then a walk from place 0 of `REBER_GRAMMAR`, which says
    for each place the symbols that may come, equally likely, and where each leads.
    """
    check_rng("embedded_reber", rng)
    inner, place = "B", 0
    while place is not None:
        symbols = REBER_GRAMMAR[place]
        symbol = list(symbols)[rng.integers(len(symbols))]
        inner, place = inner + symbol, symbols[symbol]
    outer = "TP"[rng.integers(2)]
    return f"B{outer}{inner}{outer}E"


def continual_reber(rng, T, B):
    """B streams of T symbols of embedded Reber strings, one after the other: ``(symbols, starts, outer)``, (T, B) each.

    symbols: integers, places in `REBER_SYMBOLS`. starts: true at the first symbol of a string. outer: true at its last
    but one, the T or P that only a memory of the second symbol can tell. Gers, Schmidhuber & Cummins 2000.
    """
    check_rng("continual_reber", rng)
    check_size("continual_reber", "T", T)
    check_size("continual_reber", "B", B)
    streams = [[], [], []]
    for _ in range(B):
        text, starts, outer = "", np.zeros(T, bool), np.zeros(T, bool)
        while len(text) < T:
            string = embedded_reber(rng)
            starts[len(text)] = True
            outer[len(text) + len(string) - 2:][:1] = True
            text += string
        for stream, row in zip(streams, ([REBER_SYMBOLS.index(symbol) for symbol in text[:T]], starts, outer)):
            stream.append(row)
    return tuple(np.stack(rows, axis=1) for rows in streams)
