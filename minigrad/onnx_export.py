"""`export_onnx`: a cell or layers as an ONNX model, which onnxruntime and many others run without Python.

ONNX has operators RNN, LSTM and GRU of its own; `minigrad.dialects` turns our parameters into theirs, and
the code here draws the few lines around them. Needs the package onnx: pip install "minigrad[onnx]".
"""
import numpy as np

from .cells import GRUCell, LSTMCell, PeepholeLSTMCell, RNNCell
from .dialects import to_onnx
from .files import replace_file
from .layers import Bidirectional, Dense, Dropout, Embedding, Recurrent, Sequential

OPERATORS = {RNNCell: "RNN", LSTMCell: "LSTM", PeepholeLSTMCell: "LSTM", GRUCell: "GRU"}
OPSET, IR_VERSION = 17, 8       # of 2022: old enough for every runtime in use


def export_onnx(layer_or_cell, params, path, lengths=False):
    """Write a cell, Recurrent, Bidirectional, Dense, Embedding or a Sequential of them to ``path`` as an ONNX model.

    Of a cell the model is one step: inputs x (B, I) and h, or h and c, (B, H); outputs h_new, or h_new and c_new.
    Of layers, inputs x (T, B, I), or tokens (T, B) int64 where the first layer is an Embedding, and with
    lengths=True also lengths (B,) int32; output y. T and B are free. Dropout is left out: it is for training.
    All numbers are float32, which is what onnxruntime's recurrent operators compute in.

    Raises ImportError without the package onnx; ValueError or TypeError, before anything is written, where
    params do not fit or ONNX has no such cell. The file is complete or the old one stays.
    """
    graph = Graph()
    if hasattr(layer_or_cell, "initial_state"):
        if lengths:
            raise ValueError("export_onnx: lengths=True is for layers; a cell is exported as a single step")
        step(graph, layer_or_cell, params)
    else:
        name, axes, features = input_of(layer_or_cell)
        outputs = try_out(layer_or_cell, params, axes, features)
        kinds = graph.onnx.TensorProto
        x = graph.input(name, kinds.INT64, axes) if features is None else graph.input(name, kinds.FLOAT, [*axes, features])
        lengths = graph.input("lengths", kinds.INT32, ["B"]) if lengths else ""
        graph.output("y", layers(graph, layer_or_cell, params, x, lengths), outputs)
    content = graph.model(repr(layer_or_cell)).SerializeToString()
    replace_file(path, lambda file: file.write(content))


class Graph:
    """An ONNX graph under construction: its nodes, weights, inputs and outputs."""

    def __init__(self):
        try:
            import onnx
        except ImportError:
            raise ImportError('export_onnx needs the package onnx: pip install "minigrad[onnx]"') from None
        self.onnx, self.nodes, self.weights, self.inputs, self.outputs = onnx, [], [], [], []

    def input(self, name, kind, shape):
        self.inputs.append(self.onnx.helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, name, value, shape):
        self.nodes.append(self.onnx.helper.make_node("Identity", [value], [name]))
        self.outputs.append(self.onnx.helper.make_tensor_value_info(name, self.onnx.TensorProto.FLOAT, shape))

    def weight(self, array, dtype="float32"):
        name = f"weight_{len(self.weights)}"
        self.weights.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(array, dtype), name))
        return name

    def node(self, operator, *inputs, outputs=1, **attributes):
        """Add a node; returns the name of its output, or the list of their names."""
        names = [f"{operator}_{len(self.nodes)}_{k}" for k in range(outputs)]
        self.nodes.append(self.onnx.helper.make_node(operator, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def squeeze(self, value, axis):
        return self.node("Squeeze", value, self.weight([axis], "int64"))

    def unsqueeze(self, value, axis):
        return self.node("Unsqueeze", value, self.weight([axis], "int64"))

    def model(self, description):
        """The finished model, checked by onnx itself."""
        helper = self.onnx.helper
        graph = helper.make_graph(self.nodes, "minigrad", self.inputs, self.outputs, self.weights, doc_string=description)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
                                  producer_name="minigrad")
        self.onnx.checker.check_model(model, full_check=True)
        return model


def recurrent(graph, cell, params, x, lengths="", reverse=False, state=()):
    """The cell's operator along x (T, B, I), from ``state`` or zeros; returns the names of hs and of each last state."""
    W, R, B, P = to_onnx(cell, params)
    options = {"hidden_size": cell.hidden_size, "direction": "reverse" if reverse else "forward"}
    if isinstance(cell, RNNCell):
        options["activations"] = ["Tanh" if cell.nonlinearity == "tanh" else "Relu"]
    if isinstance(cell, GRUCell):
        options["linear_before_reset"] = int(cell.reset == "after")
    states = [graph.unsqueeze(part, 0) for part in state] or [""] * len(cell.state_names)
    peepholes = [] if P is None else [graph.weight(P)]
    hs, *last = graph.node(OPERATORS[type(cell)], x, graph.weight(W), graph.weight(R), graph.weight(B), lengths, *states,
                           *peepholes, outputs=1 + len(cell.state_names), **options)
    return graph.squeeze(hs, 1), [graph.squeeze(part, 0) for part in last]       # away with num_directions


def step(graph, cell, params):
    """One step of a cell: a sequence of length 1."""
    to_onnx(cell, params)                        # says what ONNX can't express, before cell.input_size is asked for
    number = graph.onnx.TensorProto.FLOAT
    x = graph.unsqueeze(graph.input("x", number, ["B", cell.input_size]), 0)
    state = [graph.input(name, number, ["B", cell.hidden_size]) for name in cell.state_names]
    _, last = recurrent(graph, cell, params, x, state=state)
    for name, part in zip(cell.state_names, last):
        graph.output(f"{name}_new", part, ["B", cell.hidden_size])


def layers(graph, layer, params, x, lengths):
    """A layer, or a Sequential of them, on x; returns the name of what comes out."""
    if isinstance(layer, Sequential):
        for one, its_params in zip(layer.layers, params):
            x = layers(graph, one, its_params, x, lengths)
        return x
    if isinstance(layer, Dropout):
        return x
    if isinstance(layer, Embedding):
        return graph.node("Gather", graph.weight(params["E"]), x)
    if isinstance(layer, Dense):
        return graph.node("Add", graph.node("MatMul", x, graph.weight(params["W"])), graph.weight(params["b"]))
    if isinstance(layer, Bidirectional):
        there = layers(graph, layer.layer, params["forward"], x, lengths)
        back = layers(graph, layer.opposite, params["backward"], x, lengths)
        return graph.node("Concat", there, back, axis=-1)
    hs, last = recurrent(graph, layer.cell, params, x, lengths, layer.reverse)
    return hs if layer.return_sequences else last[0]


def flat(layer):
    """All the layers of a Sequential, of the Sequentials in it too, and of a Bidirectional, in order."""
    inner = layer.layers if isinstance(layer, Sequential) else [layer.layer] if isinstance(layer, Bidirectional) else None
    return [layer] if inner is None else [one for part in inner for one in flat(part)]


def input_of(layer):
    """(name, free axes, features) of a layer's input, features being None of tokens; refuses what can't be exported."""
    parts = [one for one in flat(layer) if not isinstance(one, Dropout)]
    for one in parts:
        if not isinstance(one, (Recurrent, Dense, Embedding)):
            raise TypeError(f"export_onnx: {one!r} can't be exported; only cells, Recurrent, Bidirectional, Dense, "
                            "Embedding, Dropout, and Sequential of them")
        if isinstance(one, Recurrent) and type(one.cell) not in OPERATORS:
            raise ValueError(f"export_onnx: ONNX has no {type(one.cell).__name__}")
    if not parts:
        raise ValueError("export_onnx: there is nothing to export but Dropout")
    axes, first = ["T", "B"] if any(isinstance(one, Recurrent) for one in parts) else ["B"], parts[0]
    if isinstance(first, Embedding):
        return "tokens", axes, None
    return "x", axes, first.in_size if isinstance(first, Dense) else first.cell.input_size


def try_out(layer, params, axes, features):
    """The shape of what comes out, from a run on zeros; params that do not fit are reported by the layer itself."""
    ones = [1] * len(axes)
    y = layer(params, np.zeros(ones, int) if features is None else np.zeros([*ones, features]))
    return [*axes[len(axes) - y.ndim + 1:], y.shape[-1]]
