"""minigrad: gated recurrent cells that are their equations, and the engine that differentiates them.

The small library of the book *Gates: LSTM, peepholes and GRU from the equations up*.
Shapes everywhere: a sequence is time-major (T, B, I), a step (B, I), a state (B, H); ``x @ W``.
"""
from . import variants
from .cells import GRUCell, LSTMCell, PeepholeLSTMCell, RNNCell
from .checks import check_grads, exercise
from .diagnosis import diagnose
from .dialects import from_keras, from_onnx, from_torch, to_keras, to_onnx, to_torch
from .engine import Tensor, defvjp, grad, primitive, value_and_grad
from .functions import concatenate, exp, log, log_softmax, logsumexp, relu, sigmoid, softmax, stack, tanh, where
from .layers import Bidirectional, Dense, Dropout, Embedding, Recurrent, Sequential
from .losses import accuracy, binary_cross_entropy, cross_entropy, mse
from .onnx_export import export_onnx
from .optim import SGD, Adam, CosineDecay, RMSprop, clip_by_global_norm, global_norm
from .tasks import load_digits, split
from .train import Batches, TrainingDiverged, fit, load, save
from .trees import tree_items, tree_leaves, tree_map
from .unroll import gate_values, unroll

__version__ = "0.1.0"

__all__ = [name for name in dir() if not name.startswith("_")]
