"""Chapter 6's two Keras cells: the article's, which stops at its first call, and the one written in full, which is ours."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from frameworks import framework

import minigrad as mg

ROOT = Path(__file__).resolve().parents[1]
T, B, I, H = 5, 2, 3, 4


@pytest.fixture(scope="module")
def keras():
    return framework("keras")


def code_of(marker):
    """The block of Python in the text of chapter 6 in which ``marker`` stands."""
    cells = json.loads((ROOT / "notebooks/06-peepholes.ipynb").read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", text, flags=re.S) if marker in block)
    return code


class TensorFlowsNames:
    """`tf`, as far as the article's code uses it: Keras under its other name, and tf.concat."""

    def __init__(self, keras):
        self.keras = keras

    def concat(self, values, axis):
        return self.keras.ops.concatenate(values, axis=axis)


@pytest.fixture(scope="module")
def article_cell(keras):
    names = {"tf": TensorFlowsNames(keras)}
    exec(code_of("tf.keras.layers.LSTMCell"), names)
    return names["PeepholeLSTMCell"]


@pytest.fixture(scope="module")
def layer(keras):
    """`layer` of the chapter, built."""
    names = {"keras": keras}
    exec(code_of("keras.layers.RNN(PeepholeLSTMCell"), names)
    names["layer"](np.zeros((B, T, I), "float32"))
    return names["layer"]


def test_the_articles_cell_stops_at_its_first_call(article_cell):
    cell = article_cell(H)
    state = np.zeros((B, H), "float32")
    with pytest.raises(Exception) as stopped:
        cell(np.ones((B, I), "float32"), [state, state])
    message = str(stopped.value)
    assert re.search(r"2x7 and 3x16|got \(7,\) and \(3,\)", message), message          # PyTorch, JAX
    assert tuple(cell.kernel.shape) == (I, 4 * H)


def test_it_stops_in_a_layer_too(keras, article_cell):
    with pytest.raises(Exception, match=r"2x7 and 3x16|got \(7,\) and \(3,\)"):
        keras.layers.RNN(article_cell(H))(np.ones((B, T, I), "float32"))


def test_the_cell_in_full_is_ours(keras, layer):
    cell, rng = mg.PeepholeLSTMCell(I, H), np.random.default_rng(64)
    p = {name: rng.normal(size=shape).astype("float32") for name, shape in cell.shapes.items()}
    ours = {"kernel": np.concatenate([p[f"W_{gate}"] for gate in "ifco"], axis=1),
            "recurrent_kernel": np.concatenate([p[f"U_{gate}"] for gate in "ifco"], axis=1),
            "peephole": np.stack([p[f"P_{gate}"] for gate in "ifo"]), "bias": np.stack([p[f"b_{gate}"] for gate in "ifco"])}
    assert {weight.name: tuple(weight.shape) for weight in layer.weights} == {name: a.shape for name, a in ours.items()}
    layer.set_weights([ours[weight.name] for weight in layer.weights])
    xs = rng.normal(size=(B, T, I)).astype("float32")
    h, c = rng.uniform(-1, 1, (2, B, H)).astype("float32")
    theirs = keras.ops.convert_to_numpy(layer(xs, initial_state=[h, c]))
    hs, _ = mg.unroll(cell, p, xs.transpose(1, 0, 2), (h, c), fused=False)
    assert np.allclose(theirs, hs.transpose(1, 0, 2), rtol=0, atol=1e-6)


def test_it_starts_with_a_forget_bias_of_one(keras):
    names = {"keras": keras}
    exec(code_of("keras.layers.RNN(PeepholeLSTMCell"), names)
    names["layer"](np.zeros((B, T, I), "float32"))
    (bias,) = (weight for weight in names["layer"].weights if weight.name == "bias")
    assert np.array_equal(keras.ops.convert_to_numpy(bias), np.eye(4)[[1]].T * np.ones(H))


def test_it_trains(keras):
    names = {"keras": keras}
    exec(code_of("keras.layers.RNN(PeepholeLSTMCell"), names)
    model = keras.Sequential([names["layer"], keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.Adam(0.05), loss="mse")
    rng = np.random.default_rng(65)
    xs = rng.normal(size=(16, T, I)).astype("float32")
    ys = np.cumsum(xs[:, :, :1], axis=1)
    losses = model.fit(xs, ys, epochs=15, batch_size=16, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]
    before = [keras.ops.convert_to_numpy(w) for w in names["layer"].weights if w.name == "peephole"][0]
    model.fit(xs, ys, epochs=1, batch_size=16, verbose=0)
    after = [keras.ops.convert_to_numpy(w) for w in names["layer"].weights if w.name == "peephole"][0]
    assert np.all(before != after)
