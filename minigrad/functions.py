"""The functions that equations are written with, on the arrays of any engine.

Each takes its namespace from the arrays it is given (the ``__array_namespace__`` of the Python array
API standard), so one equation runs on NumPy arrays, minigrad Tensors, autograd's boxes and JAX arrays.
All keep float32 as float32.
"""
import numpy as np

from . import rules  # noqa: F401  (importing the rules makes the functions below differentiable)
from .engine import defvjp, primitive


def namespace(*arrays):
    """The module that computes with these arrays: that of the first one that is not plain NumPy."""
    for a in arrays:
        if not isinstance(a, (np.ndarray, np.generic)) and hasattr(a, "__array_namespace__"):
            return a.__array_namespace__()
    return np


def tanh(x):
    return namespace(x).tanh(x)


def exp(x):
    return namespace(x).exp(x)


def log(x):
    return namespace(x).log(x)


def relu(x):
    """max(x, 0), with derivative 0 at 0."""
    return where(x <= 0, 0.0, x)


def where(condition, x, y):
    return namespace(condition, x, y).where(condition, x, y)


def stack(arrays, axis=0):
    return namespace(*arrays).stack(arrays, axis=axis)


def concatenate(arrays, axis=0):
    return namespace(*arrays).concatenate(arrays, axis=axis)


@primitive
def sigmoid(x):
    """σ(x) = 1 / (1 + e^-x), written as (1 + tanh(x/2)) / 2, which overflows nowhere."""
    return 0.5 * (1 + namespace(x).tanh(0.5 * x))


def largest(x, axis):
    """The largest x along ``axis``, which is taken out of e^x so that nothing overflows; 0 where it is infinite."""
    xp = namespace(x)
    found = xp.max(x, axis=axis, keepdims=True)
    return xp.where(xp.isfinite(found), found, xp.zeros_like(found))


def log_of_sum(x, axis):
    xp = namespace(x)
    return xp.log(xp.sum(xp.exp(x), axis=axis, keepdims=True))


@primitive
def logsumexp_kept(x, axis):
    """log Σ e^x along ``axis``, which keeps its place with length 1."""
    top = largest(x, axis)
    return log_of_sum(x - top, axis) + top


@primitive
def log_softmax(x, axis=-1):
    """x - logsumexp(x): logarithms of probabilities that sum to 1 along ``axis``."""
    x = x - largest(x, axis)
    return x - log_of_sum(x, axis)


defvjp(sigmoid, lambda ans, x: lambda g: g * ans * (1 - ans))
defvjp(logsumexp_kept, lambda ans, x, axis: lambda g: g * exp(x - ans))
defvjp(log_softmax, lambda ans, x, axis=-1: lambda g: g - exp(ans) * namespace(g).sum(g, axis=axis, keepdims=True))


def logsumexp(x, axis=-1, keepdims=False):
    """log Σ e^x along ``axis``, with the largest x taken out first so that nothing overflows."""
    total = logsumexp_kept(x, axis)
    return total if keepdims else namespace(total).squeeze(total, axis=axis)


def softmax(x, axis=-1):
    """e^x / Σ e^x along ``axis``."""
    return exp(log_softmax(x, axis))
