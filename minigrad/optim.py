"""Optimisers: ``state = opt.init(params)``, then ``params, state = opt.step(params, gradients, state)``.

Pure: nothing is changed in place. Parameters, gradients and the state's slots are trees of one shape;
``t`` in the state counts the steps taken. A ``learning_rate`` is a number or a function of that count,
0 at the first step, such as `CosineDecay`.
"""
import math
from dataclasses import dataclass
from numbers import Real

import numpy as np

from .checks_of_input import check_size
from .trees import tree_items, tree_leaves, tree_map


def global_norm(tree):
    """The Euclidean norm of all entries of a tree together."""
    squares = [float(np.sum(np.square(leaf, dtype=np.float64))) for leaf in tree_leaves(tree)]
    try:
        return math.sqrt(math.fsum(squares))     # exact, while the built-in sum rounds by the version of Python
    except OverflowError:
        return math.hypot(*map(math.sqrt, squares))


def clip_by_global_norm(gradients, max_norm):
    """Scale the whole gradient down to ``max_norm`` where it is longer; return (gradients, norm before).

    One factor for all entries, so the direction stays (Pascanu, Mikolov, Bengio 2013).
    """
    if not max_norm > 0:
        raise ValueError(f"clip_by_global_norm: max_norm is {max_norm}, expected more than 0")
    norm = global_norm(gradients)
    factor = float(max_norm / norm) if norm > max_norm else 1.0
    return tree_map(lambda g: g * factor, gradients), norm


def zeros_like(params):
    return tree_map(np.zeros_like, params)


def check_positive(owner, **settings):
    check_settings(owner, settings, "more than 0, finite", lambda value: 0 < value < math.inf)


def check_rate(owner):
    """The learning rate must be a number, or a function of the number of steps taken."""
    if not callable(owner.learning_rate):
        check_positive(owner, learning_rate=owner.learning_rate)


def check_fraction(owner, **settings):
    check_settings(owner, settings, "at least 0, less than 1", lambda value: 0 <= value < 1)


def check_settings(owner, settings, expected, holds):
    """Also makes each a Python float: an np.float64 would turn float32 parameters into float64."""
    for name, value in settings.items():
        if not isinstance(value, Real) or not holds(value):
            raise ValueError(f"{type(owner).__name__}: {name} is {value!r}, expected a number {expected}")
        object.__setattr__(owner, name, float(value))


def check_gradients(owner, params, gradients):
    """Each gradient must have its parameter's shape; broadcasting would turn b (H,) into (B, H) without a word."""
    for (path, p), g in zip(tree_items(params), tree_leaves(tree_map(lambda p, g: g, params, gradients))):
        if np.shape(p) != np.shape(g):
            raise ValueError(f"{type(owner).__name__}: the gradient of params{path} has shape {np.shape(g)}, "
                             f"expected {np.shape(p)}")


@dataclass(frozen=True)
class CosineDecay:
    """A learning rate that falls from ``start`` to 0 along half a cosine, over ``steps`` steps.

    start (1 + cos(π t / steps)) / 2 after t steps, 0 from ``steps`` on. Loshchilov & Hutter 2017.
    """

    start: float
    steps: int

    def __post_init__(self):
        check_positive(self, start=self.start)
        check_size(self, "steps", self.steps)

    def __call__(self, t):
        return self.start * (1 + math.cos(math.pi * min(t / self.steps, 1))) / 2


def rate_at(learning_rate, t):
    """The learning rate after ``t`` steps."""
    return float(learning_rate(t)) if callable(learning_rate) else learning_rate


@dataclass(frozen=True)
class SGD:
    """v = momentum v + g; p = p - learning_rate v."""

    learning_rate: float = 0.1
    momentum: float = 0.0

    def __post_init__(self):
        check_rate(self)
        check_fraction(self, momentum=self.momentum)

    def init(self, params):
        return {"t": 0, "v": zeros_like(params)}

    def step(self, params, gradients, state):
        check_gradients(self, params, gradients)
        rate = rate_at(self.learning_rate, state["t"])
        v = tree_map(lambda v, g: self.momentum * v + g, state["v"], gradients)
        return tree_map(lambda p, v: p - rate * v, params, v), {"t": state["t"] + 1, "v": v}


@dataclass(frozen=True)
class RMSprop:
    """s = decay s + (1 - decay) g²; p = p - learning_rate g / (√s + epsilon). Tieleman & Hinton 2012."""

    learning_rate: float = 1e-3
    decay: float = 0.9
    epsilon: float = 1e-8

    def __post_init__(self):
        check_rate(self)
        check_positive(self, epsilon=self.epsilon)
        check_fraction(self, decay=self.decay)

    def init(self, params):
        return {"t": 0, "s": zeros_like(params)}

    def step(self, params, gradients, state):
        check_gradients(self, params, gradients)
        rate = rate_at(self.learning_rate, state["t"])
        s = tree_map(lambda s, g: self.decay * s + (1 - self.decay) * g * g, state["s"], gradients)
        new = tree_map(lambda p, g, s: p - rate * g / (np.sqrt(s) + self.epsilon), params, gradients, s)
        return new, {"t": state["t"] + 1, "s": s}


@dataclass(frozen=True)
class Adam:
    """Means of g and g², corrected for their start at zero. Kingma & Ba 2015.

    m = β₁ m + (1-β₁) g; v = β₂ v + (1-β₂) g²; p = p - α m̂ / (√v̂ + ε), m̂ = m/(1-β₁ᵗ), v̂ = v/(1-β₂ᵗ).
    """

    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self):
        check_rate(self)
        check_positive(self, epsilon=self.epsilon)
        check_fraction(self, beta1=self.beta1, beta2=self.beta2)

    def init(self, params):
        return {"t": 0, "m": zeros_like(params), "v": zeros_like(params)}

    def step(self, params, gradients, state):
        check_gradients(self, params, gradients)
        rate, t = rate_at(self.learning_rate, state["t"]), state["t"] + 1
        m = tree_map(lambda m, g: self.beta1 * m + (1 - self.beta1) * g, state["m"], gradients)
        v = tree_map(lambda v, g: self.beta2 * v + (1 - self.beta2) * g * g, state["v"], gradients)
        m_scale, v_scale = 1 / (1 - self.beta1**t), 1 / (1 - self.beta2**t)
        new = tree_map(lambda p, m, v: p - rate * m_scale * m / (np.sqrt(v_scale * v) + self.epsilon),
                       params, m, v)
        return new, {"t": t, "m": m, "v": v}
