"""Optimisers: ``state = opt.init(params)``, then ``params, state = opt.step(params, gradients, state)``.

Pure: nothing is changed in place. Parameters, gradients and the state's slots are trees of one shape.
"""
import math
from dataclasses import dataclass

import numpy as np

from .trees import tree_leaves, tree_map


def global_norm(tree):
    """The Euclidean norm of all entries of a tree together."""
    return math.sqrt(sum(float(np.sum(np.square(leaf, dtype=np.float64))) for leaf in tree_leaves(tree)))


def clip_by_global_norm(gradients, max_norm):
    """Scale the whole gradient down to ``max_norm`` where it is longer; return (gradients, norm before).

    One factor for all entries, so the direction stays (Pascanu, Mikolov, Bengio 2013).
    """
    if not max_norm > 0:
        raise ValueError(f"clip_by_global_norm: max_norm is {max_norm}, expected more than 0")
    norm = global_norm(gradients)
    factor = max_norm / norm if norm > max_norm else 1.0
    return tree_map(lambda g: g * factor, gradients), norm


def zeros_like(params):
    return tree_map(np.zeros_like, params)


def check_positive(owner, **settings):
    for name, value in settings.items():
        if not value > 0:
            raise ValueError(f"{type(owner).__name__}: {name} is {value}, expected more than 0")


def check_fraction(owner, **settings):
    for name, value in settings.items():
        if not 0 <= value < 1:
            raise ValueError(f"{type(owner).__name__}: {name} is {value}, expected 0 <= {name} < 1")


@dataclass(frozen=True)
class SGD:
    """v = momentum v + g; p = p - learning_rate v."""

    learning_rate: float = 0.1
    momentum: float = 0.0

    def __post_init__(self):
        check_positive(self, learning_rate=self.learning_rate)
        check_fraction(self, momentum=self.momentum)

    def init(self, params):
        return {"v": zeros_like(params)}

    def step(self, params, gradients, state):
        v = tree_map(lambda v, g: self.momentum * v + g, state["v"], gradients)
        return tree_map(lambda p, v: p - self.learning_rate * v, params, v), {"v": v}


@dataclass(frozen=True)
class RMSprop:
    """s = decay s + (1 - decay) g²; p = p - learning_rate g / (√s + epsilon). Tieleman & Hinton 2012."""

    learning_rate: float = 1e-3
    decay: float = 0.9
    epsilon: float = 1e-8

    def __post_init__(self):
        check_positive(self, learning_rate=self.learning_rate, epsilon=self.epsilon)
        check_fraction(self, decay=self.decay)

    def init(self, params):
        return {"s": zeros_like(params)}

    def step(self, params, gradients, state):
        s = tree_map(lambda s, g: self.decay * s + (1 - self.decay) * g * g, state["s"], gradients)
        new = tree_map(lambda p, g, s: p - self.learning_rate * g / (np.sqrt(s) + self.epsilon), params, gradients, s)
        return new, {"s": s}


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
        check_positive(self, learning_rate=self.learning_rate, epsilon=self.epsilon)
        check_fraction(self, beta1=self.beta1, beta2=self.beta2)

    def init(self, params):
        return {"t": 0, "m": zeros_like(params), "v": zeros_like(params)}

    def step(self, params, gradients, state):
        t = state["t"] + 1
        m = tree_map(lambda m, g: self.beta1 * m + (1 - self.beta1) * g, state["m"], gradients)
        v = tree_map(lambda v, g: self.beta2 * v + (1 - self.beta2) * g * g, state["v"], gradients)
        m_scale, v_scale = 1 / (1 - self.beta1**t), 1 / (1 - self.beta2**t)
        new = tree_map(lambda p, m, v: p - self.learning_rate * m_scale * m / (np.sqrt(v_scale * v) + self.epsilon),
                       params, m, v)
        return new, {"t": t, "m": m, "v": v}
