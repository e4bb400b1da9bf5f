"""The same cell in other people's layouts: PyTorch, Keras and the ONNX operators.

All of them store a cell's gates in one block, each in an order of its own, and count biases
differently. The tables below are all there is to it; chapter 9 shows how far wrong each one goes if ignored.

What each means by a GRU's z, and where r acts, is part of the dialect too. A z that keeps the old
state becomes one that takes the new candidate by the sign of its weights, σ(-a) = 1 - σ(a), exactly.
Where r acts can't be converted; then the error says which cell to use.
"""
import numpy as np

from .cells import GRUCell, LSTMCell, PeepholeLSTMCell, RNNCell
from .checks_of_input import check_params, check_shape, option_of

# The order in which each stores the gates of our names (c and h are the candidates' weights).
GATE_ORDER = {
    "PyTorch": {RNNCell: "h", LSTMCell: "ifco", GRUCell: "rzh"},
    "Keras": {RNNCell: "h", LSTMCell: "ifco", GRUCell: "zrh"},
    "ONNX": {RNNCell: "h", LSTMCell: "iofc", PeepholeLSTMCell: "iofc", GRUCell: "zrh"},
}
PEEPHOLE_ORDER = "iof"      # ONNX; the others have no peepholes


# ---------------------------------------------------------------- PyTorch
def from_torch(cell, state_dict, layer=0, reverse=False):
    """Our parameters from those of torch.nn.RNN, LSTM or GRU.

    state_dict: {"weight_ih_l0": (nH, I), "weight_hh_l0": (nH, H), "bias_ih_l0": (nH,), "bias_hh_l0": (nH,), ...},
    NumPy arrays or CPU tensors, with n gate blocks; with bias=False there are none, and ours are 0.
    layer, reverse: which layer and which direction of it; the input of layer 1 is (..., H), or (..., 2H) of
    two directions. PyTorch's GRU is GRUCell(reset="after"), with either update.

    Raises ValueError where the dialect can't say what the cell computes, or a shape does not fit.
    """
    order = gate_order("PyTorch", cell)
    end = f"_l{layer}{'_reverse' if reverse else ''}"
    if f"weight_hr{end}" in state_dict:
        raise ValueError(f"from_torch: weight_hr{end} is an LSTM's projection (proj_size), which no cell of minigrad has")
    biases = [f"bias_ih{end}", f"bias_hh{end}"]
    for name in [f"weight_ih{end}", f"weight_hh{end}"] + biases * any(name in state_dict for name in biases):
        if name not in state_dict:
            raise ValueError(f"from_torch: state_dict has no {name}; it has {', '.join(state_dict) or 'nothing'}")
    W, U = to_numpy(state_dict[f"weight_ih{end}"]), to_numpy(state_dict[f"weight_hh{end}"])
    nothing = np.zeros(len(order) * cell.hidden_size, W.dtype)
    b, d = (to_numpy(state_dict.get(name, nothing)) for name in biases)
    return unpack(cell, order, "from_torch", W, U, b, d)


def to_numpy(x):
    """An array of an array or a tensor, a torch.nn.Parameter too."""
    return np.asarray(x.detach() if hasattr(x, "detach") else x)


def to_torch(cell, params, layer=0, reverse=False):
    """A state_dict of NumPy arrays for one layer and direction of torch.nn.RNN, LSTM or GRU; see `from_torch`.

    Where PyTorch's two biases only add up, ours is bias_ih and bias_hh is 0. Load it with
    ``module.load_state_dict({name: torch.from_numpy(a) for name, a in ...})``.
    """
    W, U, b, d = pack(cell, gate_order("PyTorch", cell), params)
    end = f"_l{layer}{'_reverse' if reverse else ''}"
    return {f"weight_ih{end}": W, f"weight_hh{end}": U, f"bias_ih{end}": b, f"bias_hh{end}": d}


# ---------------------------------------------------------------- Keras
def from_keras(cell, weights):
    """Our parameters from ``layer.get_weights()`` of Keras's SimpleRNN, LSTM or GRU.

    weights: [kernel (I, nH), recurrent_kernel (H, nH), bias], with n gate blocks; bias is (nH,), of a
    GRU with reset_after=True (2, nH), and absent with use_bias=False. reset_after=True, the default,
    is GRUCell(reset="after"), reset_after=False is GRUCell(reset="before").
    """
    order = gate_order("Keras", cell)
    if len(weights) not in (2, 3):
        raise ValueError(f"from_keras: weights has {len(weights)} arrays, expected kernel, recurrent_kernel and bias")
    W, U = np.asarray(weights[0]), np.asarray(weights[1])
    n = len(order) * cell.hidden_size
    expected = (2, n) if after(cell) else (n,)
    bias = np.asarray(weights[2]) if len(weights) == 3 else np.zeros(expected, W.dtype)
    check_shape("from_keras", "bias", bias, expected, f" for {cell}")
    b, d = bias if after(cell) else (bias, np.zeros_like(bias))
    return unpack(cell, order, "from_keras", W.T, U.T, b, d)


def to_keras(cell, params):
    """[kernel, recurrent_kernel, bias] for ``layer.set_weights``; see `from_keras`."""
    W, U, b, d = pack(cell, gate_order("Keras", cell), params)
    return [W.T.copy(), U.T.copy(), np.stack([b, d]) if after(cell) else b]


# ---------------------------------------------------------------- ONNX
def from_onnx(cell, W, R, B=None, P=None):
    """Our parameters from the inputs of the ONNX operators RNN, LSTM or GRU with num_directions = 1.

    W: (1, nH, I). R: (1, nH, H). B: (1, 2nH), the input biases and then the recurrent ones. P: (1, 3H).
    linear_before_reset=0, the default, is GRUCell(reset="before"); 1 is GRUCell(reset="after").
    ONNX's peepholes are diagonal: for a cell with peephole="full" they become diagonal matrices.
    """
    order, H = gate_order("ONNX", cell), cell.hidden_size
    n = len(order) * H
    W, R = np.asarray(W), np.asarray(R)
    B = np.zeros((1, 2 * n), W.dtype) if B is None else np.asarray(B)
    one = ", of one direction d: pass W[d:d+1], and R, B and P likewise" if W.shape[0] == 2 else f" for {cell}"
    check_shape("from_onnx", "W", W, (1, n, cell.input_size), one)
    check_shape("from_onnx", "R", R, (1, n, H), one)
    check_shape("from_onnx", "B", B, (1, 2 * n), one)
    params = unpack(cell, order, "from_onnx", W[0], R[0], B[0, :n], B[0, n:])
    if isinstance(cell, PeepholeLSTMCell):
        P = np.zeros((1, 3 * H), W.dtype) if P is None else np.asarray(P)
        check_shape("from_onnx", "P", P, (1, 3 * H))
        diagonals = np.split(P[0], 3)
        params |= {f"P_{gate}": np.diag(p) if cell.peephole == "full" else p.copy()
                   for gate, p in zip(PEEPHOLE_ORDER, diagonals)}
    elif P is not None and np.any(P):
        raise ValueError(f"from_onnx: P holds peepholes, which {type(cell).__name__} has not; use PeepholeLSTMCell")
    return {name: params[name] for name in cell.shapes}


def to_onnx(cell, params):
    """``(W, R, B, P)`` for the ONNX operator, P being None for a cell without peepholes; see `from_onnx`.

    Raises ValueError for peephole="full" unless its matrices are diagonal: ONNX has no other.
    """
    W, R, b, d = pack(cell, gate_order("ONNX", cell), params)
    P = None
    if isinstance(cell, PeepholeLSTMCell):
        P = np.concatenate([diagonal_of(cell, f"P_{gate}", params) for gate in PEEPHOLE_ORDER])[None]
    return W[None], R[None], np.concatenate([b, d])[None], P


def diagonal_of(cell, name, params):
    p = np.asarray(params[name])
    if cell.peephole == "full" and np.any(p != np.diag(np.diag(p))):
        raise ValueError(f'to_onnx: {name} is a full matrix, and ONNX\'s peepholes are diagonal: a gate of its LSTM '
                         'sees its own cell only. Train a PeepholeLSTMCell(peephole="diagonal") to export it')
    return np.diag(p) if cell.peephole == "full" else p


# ---------------------------------------------------------------- what they have in common
def gate_order(dialect, cell):
    """The dialect's order of the cell's gates, or the reason why it can't express the cell."""
    orders = GATE_ORDER[dialect]
    if type(cell) not in orders:
        only = " Only ONNX has peepholes." if isinstance(cell, PeepholeLSTMCell) else ""
        raise ValueError(f"{dialect} has no {type(cell).__name__}.{only}")
    if dialect == "PyTorch" and getattr(cell, "reset", "after") == "before":
        raise ValueError("PyTorch's GRU applies the reset gate after the matmul, r * (h U + b), and this cell before it, "
                         '(r * h) U: different functions, which no weights make equal. Use GRUCell(reset="after")')
    return orders[type(cell)]


def after(cell):
    """Whether a recurrent candidate bias of its own, b_U, stands inside the reset."""
    return getattr(cell, "reset", "before") == "after"


def sign(cell, gate):
    """-1 for the z of a cell that takes the new candidate: in all three dialects z keeps the old state."""
    return -1 if gate == "z" and getattr(cell, "update", "old") == "new" else 1


def pack(cell, order, params):
    """Blocks in the dialect's order: W (nH, I), U (nH, H), the input bias (nH,), the recurrent bias (nH,)."""
    def blocks(kind):
        return np.concatenate([sign(cell, gate) * np.asarray(params[f"{kind}_{gate}"]).T for gate in order])

    check_params(type(cell).__name__, params, cell.shapes, option_of(cell))
    b = blocks("b")
    recurrent = np.zeros_like(b)
    if after(cell):
        start = order.index("h") * cell.hidden_size
        recurrent[start:start + cell.hidden_size] = params["b_U"]
    return blocks("W"), blocks("U"), b, recurrent


def unpack(cell, order, who, W, U, b, recurrent):
    """Our parameters, by gate, from blocks in the dialect's order; see `pack`."""
    I, H, n = cell.input_size, cell.hidden_size, len(order)
    for name, x, shape in (("input weights", W, (n * H, I)), ("recurrent weights", U, (n * H, H)),
                           ("input bias", b, (n * H,)), ("recurrent bias", recurrent, (n * H,))):
        check_shape(who, f"the block of {name}", x, shape, f", {n} gates of {cell}")
    params = {}
    for gate, W_g, U_g, b_g, d_g in zip(order, *(np.split(x, n) for x in (W, U, b, recurrent))):
        inside_reset = after(cell) and gate == "h"
        params[f"W_{gate}"] = sign(cell, gate) * W_g.T
        params[f"U_{gate}"] = sign(cell, gate) * U_g.T
        params[f"b_{gate}"] = sign(cell, gate) * (b_g if inside_reset else b_g + d_g)
        if inside_reset:
            params["b_U"] = d_g.copy()
    return {name: np.ascontiguousarray(params[name]) for name in cell.shapes if name in params}
