"""Initial weights. All take a numpy.random.Generator and a shape; the cells say which goes where."""
import math

import numpy as np


def glorot_uniform(rng, shape):
    """Uniform with variance 2 / (fan_in + fan_out), for weights ``x @ W`` with W of (fan_in, fan_out).

    Keeps the size of activations and gradients about equal on both sides (Glorot & Bengio 2010).
    A vector, such as a diagonal peephole, counts as (n, n).
    """
    limit = math.sqrt(6 / (shape[0] + shape[-1]))
    return rng.uniform(-limit, limit, shape)


def orthogonal(rng, shape):
    """A random matrix with orthonormal rows or columns: repeated products neither grow nor shrink.

    Drawn uniformly: the Q of a Gaussian matrix's QR, with R's diagonal made positive (Saxe et al. 2014).
    """
    rows, columns = shape
    q, r = np.linalg.qr(rng.standard_normal((max(shape), min(shape))))
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)
    return q if rows >= columns else q.T


def zeros(rng, shape):
    return np.zeros(shape)
