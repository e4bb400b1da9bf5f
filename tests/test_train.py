"""Training: what fit computes, that an interrupted run goes on to the same bits, and files that lose nothing."""
import math
import os
import pickle
import stat
import zipfile
from collections import namedtuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

import minigrad as mg

T, N, I, H = 3, 10, 2, 4
MODEL = mg.Sequential(mg.Recurrent(mg.GRUCell(I, H)), mg.Dropout(0.3), mg.Dense(H, 2))
OPTIMIZERS = [mg.SGD(0.1, momentum=0.9), mg.RMSprop(0.01), mg.Adam(0.03)]


def data(seed=0):
    """Which of the two inputs has the larger sum?"""
    xs = np.random.default_rng(seed).standard_normal((T, N, I))
    return xs, np.argmax(xs.sum(axis=0), axis=-1)


def start(dtype="float64"):
    return MODEL.init(np.random.default_rng(1), dtype)


def loss(params, xs, ys, rng):
    return mg.cross_entropy(MODEL(params, xs, rng=rng), ys)


def validate(params):
    xs, ys = data(seed=1)
    return float(mg.cross_entropy(MODEL(params, xs), ys))


def train(loss=loss, params=None, batches=None, **options):
    options = {"optimizer": mg.Adam(0.03), "epochs": 4, "clip_norm": 0.8, "validate": validate, "progress": False} | options
    return mg.fit(loss, params or start(), batches or mg.Batches(*data(), batch_size=4), **options)


def assert_identical(a, b):
    """The same structure, types, dtypes, shapes and bits; NaN equals NaN."""
    assert type(a) is type(b), (a, b)
    if isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_identical(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b):
            assert_identical(x, y)
    elif isinstance(a, np.ndarray):
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    else:
        assert a == b or (a != a and b != b)


def message(error, call):
    with pytest.raises(error) as raised:
        call()
    return str(raised.value)


# ---------------------------------------------------------------- what fit computes
def test_fit_learns():
    xs, labels = mg.load_digits()
    rows = np.flatnonzero(labels < 3)[:120]
    model = mg.Sequential(mg.Recurrent(mg.LSTMCell(8, 12)), mg.Dense(12, 3))
    params, history = mg.fit(lambda params, xs, ys: mg.cross_entropy(model(params, xs), ys),
                             model.init(np.random.default_rng(0)), mg.Batches(xs[:, rows], labels[rows], batch_size=20),
                             mg.Adam(0.02), epochs=12, clip_norm=1.0, progress=False)
    assert history["loss"][-1] < 0.1 * history["loss"][0]
    assert mg.accuracy(model(params, xs[:, rows]), labels[rows]) > 0.97
    assert list(history) == ["loss", "gradient_norm"] and {len(values) for values in history.values()} == {12}


@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_fit_is_the_loop_one_would_write(clip_norm):
    """Seeds included: the batches of epoch e from [seed, e], the dropout of its step k from [seed, e, k], k = 1, 2, ..."""
    xs, ys = data()
    optimizer, params, expected = mg.SGD(0.2, momentum=0.5), start(), {"loss": [], "gradient_norm": [], "validation": []}
    state, after, clipped = optimizer.init(params), [], 0
    for epoch in range(3):
        order = np.random.default_rng([7, epoch]).permutation(N)
        values, norms = [], []
        for k in (0, 1, 2):
            rows, rng = order[4 * k:4 * k + 4], np.random.default_rng([7, epoch, k + 1])
            value, gradients = mg.value_and_grad(lambda p: loss(p, xs[:, rows], ys[rows], rng))(params)
            values.append(value)
            norms.append(math.sqrt(sum((g**2).sum() for g in mg.tree_leaves(gradients))))
            if clip_norm and norms[-1] > clip_norm:
                gradients, clipped = mg.tree_map(lambda g: g * clip_norm / norms[-1], gradients), clipped + 1
            params, state = optimizer.step(params, gradients, state)
        for name, mean in (("loss", np.mean(values)), ("gradient_norm", np.mean(norms)), ("validation", validate(params))):
            expected[name].append(float(mean))
        after.append(params)
    assert clipped > 2 or clip_norm is None
    found, history = train(optimizer=optimizer, epochs=3, seed=7, clip_norm=clip_norm)
    best = after[np.argmin(expected["validation"])]
    mg.tree_map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11), found, best)
    assert {name: pytest.approx(values, rel=1e-12) for name, values in expected.items()} == history


def test_a_seed_gives_the_same_bits_and_numpys_own_generator_is_left_alone():
    np.random.seed(0)
    before = np.random.get_state()[1].tobytes()
    assert_identical(train(seed=3), train(seed=3))
    assert np.random.get_state()[1].tobytes() == before
    assert train(seed=3)[1]["loss"] != train(seed=4)[1]["loss"]


def test_fit_changes_neither_params_nor_data():
    params, (xs, ys) = start(), data()
    for leaf in (*mg.tree_leaves(params), xs, ys):
        leaf.flags.writeable = False
    before = pickle.dumps((params, xs, ys))
    new, _ = train(params=params, batches=mg.Batches(xs, ys, batch_size=4))
    assert pickle.dumps((params, xs, ys)) == before
    assert not any(np.array_equal(a, b) for a, b in zip(mg.tree_leaves(new), mg.tree_leaves(params)))


def test_float32_stays_float32_and_the_history_holds_plain_numbers(tmp_path):
    for optimizer in (mg.SGD(np.float64(0.1), np.float64(0.5)), mg.RMSprop(np.float64(0.01)), mg.Adam(np.float64(0.01))):
        path = tmp_path / type(optimizer).__name__
        xs, ys = data()
        params, history = train(params=start("float32"), batches=mg.Batches(xs.astype("float32"), ys, 4), optimizer=optimizer,
                                clip_norm=np.float64(0.5), checkpoint=path)
        assert {leaf.dtype for leaf in mg.tree_leaves(params)} == {np.dtype("float32")}
        assert {leaf.dtype for leaf in mg.tree_leaves(mg.load(path)["params"])} == {np.dtype("float32")}
        assert {type(value) for values in history.values() for value in values} == {float}


def test_the_progress_bar(capsys):
    train(progress=True, epochs=2)
    shown = capsys.readouterr()
    assert "epochs: 100%" in shown.err and "validation=" in shown.err and not shown.out
    train(progress=False)
    assert capsys.readouterr() == ("", "")


def test_a_loss_gets_an_rng_only_if_it_asks_for_one():
    seen = []
    train(loss=lambda params, xs, ys: (seen.append(None), mg.cross_entropy(MODEL(params, xs), ys))[1], epochs=1)
    train(loss=lambda params, xs, ys, rng=None: (seen.append(rng), loss(params, xs, ys, rng))[1], epochs=1)
    assert seen[:3] == [None] * 3 and len({rng.random() for rng in seen[3:]}) == 3


def test_no_epochs_give_back_the_params():
    params, history = train(epochs=0)
    assert_identical(params, start())
    assert history == {"loss": [], "gradient_norm": [], "validation": []}


# ---------------------------------------------------------------- early stopping
def scripted(values):
    values = iter(values)
    return lambda params: next(values)


@pytest.mark.parametrize("values, patience, best, stop", [
    ([5, 4, 6, 7, 1], 2, 2, 4),             # stops after two epochs without a better one; the 1 is never seen
    ([5, 4, 4, 4, 1], 2, 2, 4),             # equal is not better
    ([5, 4, 6, 3, 9, 8], 2, 4, 6),          # a better one starts the count again
    ([5, 6, 7, 8], 1, 1, 2),
    ([5, 4, 3, 2], 1, 4, 4),                # always better: ends with the epochs
    ([5, 2, 3, 4], None, 2, 4),             # no patience: the best of all epochs
    ([np.inf, np.inf, 3, 4], 3, 3, 4)])
def test_early_stopping_returns_the_parameters_of_the_best_epoch(values, patience, best, stop, tmp_path):
    options = {"patience": patience, "epochs": len(values)}
    params, history = train(validate=scripted(values), **options)
    assert history["validation"] == values[:stop] and len(history["loss"]) == stop
    assert_identical(params, train(validate=None, epochs=best)[0])
    for cut in range(1, stop):              # interrupted after any epoch, it stops at the same place
        path = tmp_path / f"{cut}.npz"
        train(validate=scripted(values), checkpoint=path, **options | {"epochs": cut})
        assert_identical(train(validate=scripted(values[cut:]), checkpoint=path, **options), (params, history))
        again = train(validate=scripted([]), checkpoint=path, **options)          # and has nothing left to do
        assert_identical(again, (params, history))


def test_without_validate_the_last_parameters_are_returned():
    assert_identical(train(validate=None)[0], train(validate=scripted([4, 3, 2, 1]))[0])


# ---------------------------------------------------------------- interrupted and resumed
class Interruption:
    """Wraps a function; its ``at``-th call raises."""

    def __init__(self, f, at, error):
        self.f, self.at, self.error, self.calls = f, at, error, 0

    def __call__(self, *args, **kwargs):
        self.calls += 1
        if self.calls == self.at:
            raise self.error
        return self.f(*args, **kwargs)


def in_loss(at, error):
    calls = Interruption(loss, at, error)
    return {"loss": lambda params, xs, ys, rng: calls(params, xs, ys, rng)}


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
@pytest.mark.parametrize("at", [1, 2, 3, 4, 8, 9, 10, 12], ids=lambda at: f"step{at}")
@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("crash")], ids=repr)
def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path, optimizer, at, error):
    """Three steps an epoch: interruptions at the first, a middle and the last step of an epoch."""
    path = tmp_path / "run.npz"
    with pytest.raises(type(error)):
        train(**in_loss(at, error), optimizer=optimizer, checkpoint=path)
    assert path.exists() == (at > 3)
    assert not path.exists() or mg.load(path)["epoch"] == (at - 1) // 3
    assert_identical(train(optimizer=optimizer, checkpoint=path), train(optimizer=optimizer))
    assert os.listdir(tmp_path) == ["run.npz"]


def test_an_interruption_in_validate_in_the_batches_or_while_saving(tmp_path, monkeypatch):
    uninterrupted, path = train(), tmp_path / "run.npz"
    with pytest.raises(KeyboardInterrupt):
        train(validate=Interruption(validate, 2, KeyboardInterrupt()), checkpoint=path)
    assert mg.load(path)["epoch"] == 1
    with pytest.raises(OSError, match="data server"):
        train(batches=Interruption(mg.Batches(*data(), batch_size=4), 2, OSError("data server")), checkpoint=path)
    assert mg.load(path)["epoch"] == 2
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", Interruption(os.replace, 1, KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            train(checkpoint=path)
    assert mg.load(path)["epoch"] == 2
    assert_identical(train(checkpoint=path), uninterrupted)
    assert os.listdir(tmp_path) == ["run.npz"]


def test_more_epochs_later_are_the_same_as_all_at_once(tmp_path):
    path = str(tmp_path / "run.npz")
    for epochs in (1, 3, 5):
        assert_identical(train(epochs=epochs, checkpoint=path), train(epochs=epochs))
    assert_identical(train(epochs=2, checkpoint=path), train(epochs=5))           # it has come further already


class SignDescent:
    """A learner's optimiser, the least there is; its repr holds an address."""

    def init(self, params):
        return None

    def step(self, params, gradients, state):
        return mg.tree_map(lambda p, g: p - 0.01 * np.sign(g), params, gradients), state


@pytest.mark.parametrize("make", [SignDescent, lambda: mg.Adam(lambda t: 0.05 / (1 + t)), lambda: mg.SGD(mg.CosineDecay(0.3, 9))])
def test_an_optimiser_or_a_learning_rate_of_ones_own_can_be_resumed(tmp_path, make):
    """With an equal object: the one before is gone, with the process it lived in."""
    path, kept = tmp_path / "run.npz", [make(), make()]
    train(optimizer=kept[0], epochs=2, checkpoint=path)
    assert_identical(train(optimizer=kept[1], checkpoint=path), train(optimizer=kept[1]))


@pytest.mark.parametrize("change", [{"seed": 1}, {"optimizer": mg.Adam(0.02)}, {"optimizer": mg.SGD(0.03)}, {"clip_norm": None},
                                    {"clip_norm": 0.7}, {"validate": None}], ids=str)
def test_a_checkpoint_of_other_settings_is_refused(tmp_path, change):
    path = tmp_path / "run.npz"
    train(checkpoint=path, epochs=1)
    before = path.read_bytes()
    found = message(ValueError, lambda: train(checkpoint=path, **change))
    assert found.startswith(f"fit: the checkpoint {path} was made with {{") and "Adam(learning_rate=0.03" in found
    assert found.endswith("delete it or name another file") and path.read_bytes() == before


def test_a_checkpoint_of_other_parameters_is_refused(tmp_path):
    path = tmp_path / "run.npz"
    train(checkpoint=path, epochs=1)
    wider = mg.Sequential(mg.Recurrent(mg.GRUCell(I, H + 1)), mg.Dropout(0.3), mg.Dense(H + 1, 2)).init(np.random.default_rng(0))
    renamed = [start()[0], {}, {"W": start()[2]["W"], "bias": start()[2]["b"]}]
    for other, reason in ((wider, "float64 of shape (2, 4), expected float64 of shape (2, 5)"),
                          (start("float32"), "float64 of shape (2, 4), expected float32 of shape (2, 4)"),
                          (renamed, "[2]: expected a dict with the keys ['W', 'bias'], got ['W', 'b']"),
                          (start()[:2], "expected a list of 2, got list of 3")):
        found = message(ValueError, lambda: train(params=other, checkpoint=path))
        assert found.startswith(f"fit: the checkpoint {path} holds other parameters (") and reason in found


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    path = tmp_path / "run.npz"
    for content in ([1.0], {"params": start()}, np.ones(3), None):
        mg.save(path, content)
        assert message(ValueError, lambda: train(checkpoint=path)) == (
            f"fit: {path} is not a checkpoint of fit; name another file")
    path.write_bytes(b"something else")
    assert message(ValueError, lambda: train(checkpoint=path)).startswith(f"load: {path} is damaged or not written by")
    found = message(FileNotFoundError, lambda: train(checkpoint=tmp_path / "no" / "run.npz"))
    assert found == f"fit: there is no folder {tmp_path / 'no'} for the checkpoint {tmp_path / 'no' / 'run.npz'}"


# ---------------------------------------------------------------- NaN
def scaled(bad, epoch, step, steps=4):
    """Batches of one number that scales the loss: ``bad`` at one place, random elsewhere."""
    calls = []

    def batches(rng):
        calls.append(None)
        for k in range(steps):
            yield (bad if (len(calls), k + 1) == (epoch, step) else rng.uniform(0.5, 2.0),)
    return batches


def scaled_loss(params, factor):
    return ((params["w"] - 1) ** 2).sum() * factor + (params["v"][0] ** 2).sum()


@pytest.mark.parametrize("epoch, step", [(1, 1), (1, 3), (2, 1), (2, 2), (3, 4)])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_stops_with_the_step_the_norms_and_the_last_good_parameters(tmp_path, bad, epoch, step):
    path = tmp_path / "run.npz"
    params = {"w": np.array([2.0, 3.0]), "v": [np.array([0.5, -1.5])]}
    good, optimizer = params, mg.SGD(0.1)
    visited = [params]
    for e in range(epoch):                                 # what a plain loop visits up to the bad step
        for k, (factor,) in enumerate(scaled(1.0, 0, 0)(np.random.default_rng([0, e]))):
            if (e + 1, k + 1) < (epoch, step):
                good, _ = optimizer.step(good, mg.grad(scaled_loss)(good, factor), optimizer.init(good))
                visited.append(good)
    with pytest.raises(mg.TrainingDiverged) as raised, np.errstate(invalid="ignore"):
        mg.fit(scaled_loss, params, scaled(bad, epoch, step), optimizer, epochs=4, checkpoint=path, progress=False)
    error = raised.value
    # the parameters at which the loss came out bad are suspect: the last good ones are those one step before
    assert_identical(error.params, visited[max(0, len(visited) - 2)])
    v_norm = 2 * np.linalg.norm(visited[-1]["v"][0])
    assert str(error) == (f"fit: the loss is {bad} at epoch {epoch}, step {step}. Gradient norms: ['w'] {bad}, "
                          f"['v'][0] {v_norm:.3g}. The last good parameters are in this error's .params; "
                          "a smaller learning rate or clip_norm may help")
    assert len(error.history["loss"]) == epoch - 1
    assert path.exists() == (epoch > 1)
    assert isinstance(error, FloatingPointError)
    again = pickle.loads(pickle.dumps(error))              # as a worker process hands it back
    assert str(again) == str(error)
    assert_identical((again.params, again.history), (error.params, error.history))


def test_a_loss_or_a_gradient_alone_that_is_not_finite_stops_too():
    with pytest.raises(mg.TrainingDiverged, match=r"the loss is inf at epoch 1, step 1. Gradient norms: \['w'\] 4"):
        mg.fit(lambda params: (params["w"] ** 2).sum() + np.inf, {"w": np.array([2.0])}, lambda rng: [()], progress=False)
    with pytest.raises(mg.TrainingDiverged, match=r"the loss is 0 at epoch 1, step 1. Gradient norms: \['w'\] inf"), \
            np.errstate(divide="ignore", invalid="ignore"):
        mg.fit(lambda params: np.sqrt(params["w"]).sum(), {"w": np.zeros(2)}, lambda rng: [()], progress=False)


def test_a_step_that_ruins_the_parameters_is_noticed():
    """Too long a step: the loss before it was finite. Neither the first nor the last step of a run may hide it."""
    params = {"w": np.array([2.0, 3.0]), "v": [np.array([0.5])]}
    for epochs, learning_rate, found in ((1, 1e308, "the parameters are no longer finite at epoch 1, step 1"),
                                         (2, 1e200, "the loss is inf at epoch 2, step 1")):
        with pytest.raises(mg.TrainingDiverged, match=found) as raised, np.errstate(over="ignore"):
            mg.fit(scaled_loss, params, lambda rng: [(1.0,)], mg.SGD(learning_rate), epochs=epochs, progress=False)
        assert_identical(raised.value.params, params)


def test_a_validation_of_nan_stops():
    with pytest.raises(mg.TrainingDiverged, match="fit: validate returned nan after epoch 2"):
        train(validate=scripted([3.0, math.nan, 1.0]))


# ---------------------------------------------------------------- bad arguments
def test_bad_arguments_of_fit():
    xs, ys = data()
    for call, error, found in (
            (lambda: train(batches=[(xs, ys)]), TypeError,
             "fit: batches is a list, expected a function of rng that gives the batches of an epoch, such as mg.Batches(xs, ys)"),
            (lambda: train(batches=lambda rng: [xs]), TypeError,
             "fit: a batch is a ndarray, expected a tuple, what loss takes after params"),
            (lambda: train(batches=lambda rng: []), ValueError, "fit: batches gave no batch"),
            (lambda: train(patience=2, validate=None), ValueError,
             "fit: patience is 2, expected at least 1 and a function validate to judge by"),
            (lambda: train(patience=0), ValueError,
             "fit: patience is 0, expected at least 1 and a function validate to judge by"),
            (lambda: train(clip_norm=0), ValueError, "clip_by_global_norm: max_norm is 0, expected more than 0")):
        assert message(error, call) == found
    assert "which returned None: is a return missing?" in message(ValueError, lambda: train(loss=lambda params, xs, ys: None))


# ---------------------------------------------------------------- batches
@pytest.mark.parametrize("batch_size, sizes", [(4, [4, 4, 2]), (10, [10]), (99, [10]), (1, [1] * 10)])
def test_batches_show_each_sequence_once_an_epoch_with_its_target_and_length(batch_size, sizes):
    xs = np.arange(T * N * I, dtype=float).reshape(T, N, I)
    lengths = np.arange(N) % T + 1
    batches = mg.Batches(xs, xs[0, :, 0] * 2, batch_size, lengths=lengths)
    assert len(batches) == len(sizes)
    orders = []
    for seed in (0, 0, 1):
        epoch = list(batches(np.random.default_rng(seed)))
        assert [len(y) for _, y, _ in epoch] == sizes
        rows = np.concatenate([x[0, :, 0] for x, _, _ in epoch]) / I
        for x, y, n in epoch:
            np.testing.assert_array_equal(y, 2 * x[0, :, 0])
            np.testing.assert_array_equal(x, xs[:, (x[0, :, 0] / I).astype(int)])
            np.testing.assert_array_equal(n, lengths[(x[0, :, 0] / I).astype(int)])
        assert sorted(rows) == list(range(N))
        orders.append(rows.tolist())
    assert orders[0] == orders[1] != orders[2]


def test_batches_with_a_target_for_each_step():
    xs = np.random.default_rng(0).standard_normal((T, N, I))
    for x, y in mg.Batches(xs, xs[..., 0], 3, per_step=True)(np.random.default_rng(0)):
        np.testing.assert_array_equal(y, x[..., 0])
    tokens = np.arange(T * N).reshape(T, N)                # integers, for an Embedding
    assert next(iter(mg.Batches(tokens, tokens[0])(np.random.default_rng(0))))[0].shape == (T, N)


def test_bad_arguments_of_batches():
    xs, ys = data()
    for call, error, found in (
            (lambda: mg.Batches(xs, ys[:5]), ValueError, "ys has shape (5,), expected (10, ...) for xs of shape (3, 10, 2)"),
            (lambda: mg.Batches(xs, ys, per_step=True), ValueError,
             "ys has shape (10,), expected (3, 10, ...) for xs of shape (3, 10, 2)"),
            (lambda: mg.Batches(xs[:, :0], ys[:0]), ValueError,
             "xs has shape (3, 0, 2), expected (T, N, ...) with at least one sequence"),
            (lambda: mg.Batches(ys, ys), ValueError, "xs has shape (10,), expected (T, N, ...) with at least one sequence"),
            (lambda: mg.Batches(xs, ys, batch_size=0), ValueError, "batch_size is 0, expected an integer of at least 1"),
            (lambda: mg.Batches(xs, ys, batch_size=2.5), ValueError, "batch_size is 2.5, expected an integer of at least 1"),
            (lambda: mg.Batches(xs, ys, lengths=[T] * 9), ValueError, "lengths has shape (9,), expected (10,) = (B,)"),
            (lambda: mg.Batches(xs, ys, lengths=[T + 1] * N), ValueError, "lengths[0] is 4, expected 1 to T = 3")):
        assert message(error, call) == f"Batches: {found}"


# ---------------------------------------------------------------- trees in files
DTYPES = ["float16", "float32", ">f8", "float64", "complex128", "bool", "int8", "uint64", "<U3", "S2", "datetime64[s]"]
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4),
    arrays_of.arrays(st.sampled_from(DTYPES).map(np.dtype),
                     arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)))
trees = st.recursive(leaves, lambda inner: st.one_of(
    st.dictionaries(st.text(max_size=4), inner, max_size=3), st.lists(inner, max_size=3), st.lists(inner, max_size=3).map(tuple)),
    max_leaves=8)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(tree=trees)
def test_what_is_saved_is_loaded(tmp_path_factory, tree):
    path = tmp_path_factory.getbasetemp() / "tree.npz"
    mg.save(path, tree)
    assert_identical(mg.load(path), tree)


def test_a_numpy_scalar_comes_back_as_an_array_of_no_axes(tmp_path):
    mg.save(tmp_path / "x", {"a": np.float32(0.1), "b": np.float64(np.pi), "c": np.bool_(True)})
    assert_identical(mg.load(tmp_path / "x"), {"a": np.array(0.1, "float32"), "b": np.array(np.pi), "c": np.array(True)})


def test_a_file_is_plain_numpy_without_pickles(tmp_path):
    path = tmp_path / "run.npz"
    train(checkpoint=path)
    with zipfile.ZipFile(path) as file:
        for name in file.namelist():
            with file.open(name) as member:
                assert np.lib.format.read_array(member, allow_pickle=False).dtype.kind != "O"
    if os.name == "posix":                                 # readable for whom a new file of this user is
        mask = os.umask(0)
        os.umask(mask)
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_what_cannot_be_saved_is_refused_and_leaves_no_file(tmp_path):
    pair = namedtuple("Pair", "a b")
    for tree, found in (
            ({"a": np.array([None])}, "cannot store a ndarray"), ({1, 2}, "cannot store a set"), (1j, "cannot store a complex"),
            (b"bytes", "cannot store a bytes"), ([pair(1, 2)], "cannot store a Pair"), (len, "cannot store a builtin_"),
            ({"a": {0: 1}}, "dict keys must be strings, got [0]")):
        assert message(TypeError, lambda: mg.save(tmp_path / "x", tree)).startswith(f"save: {found}")
    with pytest.raises(TypeError, match="save: cannot store a Tensor"):
        mg.grad(lambda x: mg.save(tmp_path / "x", [x]))(1.0)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), MemoryError()], ids=repr)
@pytest.mark.parametrize("where", ["savez", "fsync", "replace"])
def test_a_failure_while_writing_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, where, error):
    path = tmp_path / "x.npz"
    mg.save(path, {"a": np.arange(5)})
    before = path.read_bytes()

    def half_written(file, **arrays):
        file.write(b"PK half a file")
        raise error

    monkeypatch.setattr(*{"savez": (np, "savez", half_written), "fsync": (os, "fsync", Interruption(os.fsync, 1, error)),
                          "replace": (os, "replace", Interruption(os.replace, 1, error))}[where])
    with pytest.raises(type(error)):
        mg.save(path, {"a": np.arange(9)})
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["x.npz"]
    monkeypatch.undo()
    mg.save(path, {"a": np.arange(9)})
    assert len(mg.load(path)["a"]) == 9


class Exploit:
    """A pickle of this would run code when it is read."""

    def __reduce__(self):
        return exec, ("raise SystemExit('a pickle was executed')",)


@pytest.mark.parametrize("kind", ["empty", "text", "npy", "other npz", "zip", "pickle", "pickle in npz", "wrong json",
                                  "missing array"])
def test_a_foreign_file_is_named(tmp_path, kind):
    path = tmp_path / "x.npz"
    structure = {"wrong json": "[1, 2]", "missing array": '{"array": 3}', "pickle in npz": '{"array": 0}'}
    with open(path, "wb") as file:
        if kind == "npy":
            np.save(file, np.arange(3))
        elif kind == "other npz":
            np.savez(file, weights=np.arange(3))
        elif kind == "zip":
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr("structure.npy", "no array")
        elif kind in structure:
            np.savez(file, structure=np.array(structure[kind]), array_0=np.array([Exploit()], dtype=object))
        else:
            file.write({"empty": b"", "text": b"hello", "pickle": pickle.dumps(Exploit())}[kind])
    assert message(ValueError, lambda: mg.load(path)).startswith(f"load: {path} is damaged or not written by minigrad.save (")


def test_a_missing_or_forbidden_file_is_not_called_damaged(tmp_path):
    with pytest.raises(FileNotFoundError):
        mg.load(tmp_path / "none.npz")
    with pytest.raises((IsADirectoryError, PermissionError)):
        mg.load(tmp_path)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "run.npz"
    train(checkpoint=path, epochs=1)
    return path.read_bytes(), mg.load(path)


def test_a_truncated_file_is_called_damaged_wherever_it_ends(tmp_path, saved):
    content, _ = saved
    path = tmp_path / "run.npz"
    for end in [*range(0, len(content), len(content) // 150), *range(len(content) - 30, len(content))]:
        path.write_bytes(content[:end])
        assert "is damaged or not written by minigrad.save" in message(ValueError, lambda: mg.load(path)), end


def test_a_flipped_bit_is_noticed_or_harmless(tmp_path, saved):
    """Everywhere: in the zip's headers, in the arrays, in the structure. Never a wrong number, never another error."""
    content, tree = saved
    path, rng, damaged = tmp_path / "run.npz", np.random.default_rng(0), 0
    ends = [*range(80), *range(len(content) - 120, len(content))]       # headers at both ends, and 250 places between
    for place in [*ends, *rng.integers(0, len(content), 250)]:
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        try:
            found = mg.load(path)
        except ValueError as error:
            assert f"load: {path} is damaged or not written by minigrad.save" in str(error)
            damaged += 1
        else:
            assert_identical(found, tree)
    assert damaged > 250
