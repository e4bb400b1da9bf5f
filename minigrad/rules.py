"""What a Tensor can do, and the derivative of each operation: one line each where it can be.

A rule reads ``defvjp(f, maker for argument 0, maker for argument 1, ...)`` with
``maker = lambda ans, x, y: lambda g: ...``: given the answer, the arguments and the gradient ``g`` of
the answer, the gradient of that argument. Sums over broadcast axes are the engine's business.
Where a function has a kink (``maximum``, ``abs``, ``clip``), the gradient there is autograd's choice.
"""
import operator

import numpy as np

from .engine import CONSTANT, IMPLEMENTATIONS, RULES, ForEveryArgument, Pieces, Tensor, apply, defvjp, primitive

# ---------------------------------------------------------------- arithmetic and elementwise functions
defvjp(np.add, lambda ans, x, y: lambda g: g,
       lambda ans, x, y: lambda g: g)
defvjp(np.subtract, lambda ans, x, y: lambda g: g,
       lambda ans, x, y: lambda g: -g)
defvjp(np.multiply, lambda ans, x, y: lambda g: g * y,
       lambda ans, x, y: lambda g: g * x)
defvjp(np.divide, lambda ans, x, y: lambda g: g / y,
       lambda ans, x, y: lambda g: -g * ans / y)
defvjp(np.power, lambda ans, x, y: lambda g: g * y * x ** (y - 1 + (y == 0)),
       lambda ans, x, y: lambda g: g * ans * np.log(np.where(x, x, 1.0)))
defvjp(np.negative, lambda ans, x: lambda g: -g)
defvjp(np.positive, lambda ans, x: lambda g: g)
defvjp(np.square, lambda ans, x: lambda g: g * 2 * x)
defvjp(np.sqrt, lambda ans, x: lambda g: g * 0.5 / ans)
defvjp(np.exp, lambda ans, x: lambda g: g * ans)
defvjp(np.expm1, lambda ans, x: lambda g: g * (ans + 1))
defvjp(np.log, lambda ans, x: lambda g: g / x)
defvjp(np.log1p, lambda ans, x: lambda g: g / (1 + x))
defvjp(np.sin, lambda ans, x: lambda g: g * np.cos(x))
defvjp(np.cos, lambda ans, x: lambda g: -g * np.sin(x))
defvjp(np.tanh, lambda ans, x: lambda g: g * (1 - ans * ans))
defvjp(np.abs, lambda ans, x: lambda g: g * np.sign(x))
defvjp(np.maximum, lambda ans, x, y: lambda g: share(g, x, ans, y),
       lambda ans, x, y: lambda g: share(g, y, ans, x))
defvjp(np.minimum, lambda ans, x, y: lambda g: share(g, x, ans, y),
       lambda ans, x, y: lambda g: share(g, y, ans, x))
defvjp(np.logaddexp, lambda ans, x, y: lambda g: g * np.exp(x - ans),
       lambda ans, x, y: lambda g: g * np.exp(y - ans))
defvjp(np.clip, lambda ans, x, low, high: lambda g: g * ((ans != low) & (ans != high)))
defvjp(np.where, None,
       lambda ans, condition, x, y: lambda g: np.where(condition, g, 0.0),
       lambda ans, condition, x, y: lambda g: np.where(condition, 0.0, g))


def share(g, x, ans, other):
    """The part of the gradient that goes to ``x``: all where it won, half where the two are equal."""
    return np.where(x == other, 0.5 * g, np.where(x == ans, g, 0.0))


# ---------------------------------------------------------------- matrix products
def transpose_last(x):
    return np.swapaxes(x, -1, -2)


def vjp_matmul_left(ans, a, b):
    """g Bᵀ; a vector operand is a matrix of one row (left) or one column (right)."""
    if np.ndim(a) == 2 == np.ndim(b):        # the step of a cell, without ceremony
        return lambda g: g @ b.T
    if np.ndim(b) == 1:
        return lambda g: np.expand_dims(g, -1) * b
    if np.ndim(a) == 1:
        return lambda g: (np.expand_dims(g, -2) @ transpose_last(b))[..., 0, :]
    return lambda g: g @ transpose_last(b)


def vjp_matmul_right(ans, a, b):
    """Aᵀ g."""
    if np.ndim(a) == 2 == np.ndim(b):
        return lambda g: a.T @ g
    if np.ndim(a) == 1:
        return lambda g: a[:, None] * np.expand_dims(g, -2) if np.ndim(b) > 1 else a * g
    if np.ndim(b) == 1:
        return lambda g: (transpose_last(a) @ np.expand_dims(g, -1))[..., 0]
    return lambda g: transpose_last(a) @ g


defvjp(np.matmul, vjp_matmul_left, vjp_matmul_right)


# ---------------------------------------------------------------- reductions
def stretch(r, x, axis, keepdims):
    """A reduction's result, or its gradient, brought back to a shape that broadcasts against x."""
    return r if keepdims or axis is None else np.expand_dims(r, axis)


def vjp_sum(ans, x, axis=None, *, keepdims=False):
    return lambda g: np.broadcast_to(stretch(g, x, axis, keepdims), x.shape)


def vjp_mean(ans, x, axis=None, *, keepdims=False):
    n = max(1, np.size(x) // max(1, np.size(ans)))
    return lambda g: np.broadcast_to(stretch(g / n, x, axis, keepdims), x.shape)


def vjp_max(ans, x, axis=None, *, keepdims=False):
    """The gradient goes to the largest entry; equal ones share it."""
    hit = x == stretch(ans, x, axis, keepdims)
    return lambda g: stretch(g, x, axis, keepdims) * hit / np.sum(hit, axis=axis, keepdims=True, dtype=ans.dtype)


def vjp_cumsum(ans, x, axis=None):
    if axis is None:
        return lambda g: np.reshape(np.cumsum(g[::-1])[::-1], x.shape)
    return lambda g: np.flip(np.cumsum(np.flip(g, axis), axis=axis), axis)


defvjp(np.sum, vjp_sum)
defvjp(np.mean, vjp_mean)
defvjp(np.max, vjp_max)
defvjp(np.min, vjp_max)
defvjp(np.cumsum, vjp_cumsum)


# ---------------------------------------------------------------- shapes, slices, joints
def inverse(axes):
    return None if axes is None else tuple(np.argsort([a % len(axes) for a in axes]))


defvjp(np.reshape, lambda ans, x, shape: lambda g: np.reshape(g, x.shape))
defvjp(np.expand_dims, lambda ans, x, axis: lambda g: np.reshape(g, x.shape))
defvjp(np.squeeze, lambda ans, x, axis=None: lambda g: np.reshape(g, x.shape))
defvjp(np.broadcast_to, lambda ans, x, shape: lambda g: g)
defvjp(np.full_like, None, lambda ans, x, value: lambda g: g)
defvjp(np.transpose, lambda ans, x, axes=None: lambda g: np.transpose(g, inverse(axes)))
defvjp(np.swapaxes, lambda ans, x, i, j: lambda g: np.swapaxes(g, i, j))
defvjp(np.moveaxis, lambda ans, x, source, target: lambda g: np.moveaxis(g, target, source))
defvjp(np.flip, lambda ans, x, axis=None: lambda g: np.flip(g, axis))
defvjp(operator.getitem, lambda ans, x, index: lambda g: Pieces(x.shape, index, g))


@primitive
def concatenate(*arrays, axis=0):
    return np.concatenate(arrays, axis)


@primitive
def stack(*arrays, axis=0):
    return np.stack(arrays, axis)


def vjp_concatenate(i, ans, *arrays, axis=0):
    start = sum(np.shape(a)[axis] for a in arrays[:i])
    return lambda g: np.moveaxis(np.moveaxis(g, axis, 0)[start:start + arrays[i].shape[axis]], 0, axis)


RULES[concatenate] = ForEveryArgument(vjp_concatenate)
RULES[stack] = ForEveryArgument(lambda i, ans, *arrays, axis=0: lambda g: np.moveaxis(g, axis, 0)[i])
IMPLEMENTATIONS[np.concatenate] = lambda arrays, axis=0: concatenate(*arrays, axis=axis)
IMPLEMENTATIONS[np.stack] = lambda arrays, axis=0: stack(*arrays, axis=axis)

# ---------------------------------------------------------------- functions whose derivative is zero
for fun in (np.greater, np.greater_equal, np.less, np.less_equal, np.equal, np.not_equal, np.sign, np.floor, np.ceil,
            np.isnan, np.isinf, np.isfinite, np.argmax, np.argmin, np.argsort, np.any, np.all, np.shape, np.ndim, np.size,
            np.zeros_like, np.ones_like, np.array_equal, np.allclose):
    RULES[fun] = CONSTANT


# ---------------------------------------------------------------- operators and methods of a Tensor
def binary(fun):
    return lambda self, other: apply(fun, (self, other), {})


def reflected(fun):
    return lambda self, other: apply(fun, (other, self), {})


def unary(fun):
    return lambda self: apply(fun, (self,), {})


def method(fun):
    return lambda self, *args, **kwargs: apply(fun, (self, *args), kwargs)


for name, fun in {"add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.divide, "pow": np.power,
                  "matmul": np.matmul}.items():
    setattr(Tensor, f"__{name}__", binary(fun))
    setattr(Tensor, f"__r{name}__", reflected(fun))
for name, fun in {"gt": np.greater, "ge": np.greater_equal, "lt": np.less, "le": np.less_equal, "eq": np.equal,
                  "ne": np.not_equal, "getitem": operator.getitem}.items():
    setattr(Tensor, f"__{name}__", binary(fun))
for name, fun in {"neg": np.negative, "pos": np.positive, "abs": np.abs}.items():
    setattr(Tensor, f"__{name}__", unary(fun))
for name in ("sum", "mean", "max", "min", "cumsum", "squeeze", "swapaxes", "clip", "argmax"):
    setattr(Tensor, name, method(getattr(np, name)))
for name in ("shape", "ndim", "size", "dtype"):
    setattr(Tensor, name, property(lambda self, name=name: getattr(self.value, name)))


def as_one(sizes):
    """``x.reshape(2, 3)`` and ``x.reshape((2, 3))`` mean the same."""
    return sizes[0] if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes


Tensor.__hash__ = object.__hash__
Tensor.__bool__ = lambda self: bool(self.value)
Tensor.__copy__ = lambda self: self                  # a Tensor never changes: it is its own copy
Tensor.__deepcopy__ = lambda self, memo: self
Tensor.__len__ = lambda self: len(self.value)
Tensor.__iter__ = lambda self: (self[i] for i in range(len(self)))
Tensor.reshape = lambda self, *shape: apply(np.reshape, (self, as_one(shape)), {})
Tensor.transpose = lambda self, *axes: apply(np.transpose, (self, as_one(axes) if axes else None), {})
Tensor.T = property(unary(np.transpose))
