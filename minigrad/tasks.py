"""Data to learn from: what ships with the package, and tasks that are drawn at random."""
import hashlib
import io
from pathlib import Path

import numpy as np

from .checks_of_input import check_rng

DIGITS = Path(__file__).parent / "data" / "digits.npz"
DIGITS_SHA256 = "b2dab7b501728c22e9119ad76740b2e17c77a231e42d1e592380d90886f1a05e"


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
