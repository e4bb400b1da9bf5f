"""Every rule of minigrad, against HIPS autograd and against finite differences.

A rule's *case* is a hypothesis strategy that draws a function ``f(xp, *arrays)`` that uses the rule,
and arrays for it: ``xp`` is NumPy, which meets minigrad's Tensors, or ``autograd.numpy``. The cases
are looked up in the registry of rules itself, so a rule without a case is a failing test.
"""
import operator

import autograd
import autograd.numpy as anp
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad import rules
from minigrad.engine import CONSTANT, RULES, scatter
from minigrad.errors import name_of
from minigrad.functions import log_softmax, logsumexp_kept, sigmoid

HOMES = ("numpy", "_operator", "minigrad.engine", "minigrad.rules", "minigrad.functions")
REGISTERED = [fun for fun in RULES if fun.__module__ in HOMES]  # other modules test their primitives themselves
DIFFERENTIABLE = [fun for fun in REGISTERED if RULES[fun] is not CONSTANT]
CONSTANTS = [fun for fun in REGISTERED if RULES[fun] is CONSTANT]
CASES = {}


def case(*funs):
    """The decorated ``build(draw, fun, numbers)`` draws ``(f, arrays)`` for each of the functions."""
    def register(build):
        CASES.update({fun: (build, fun) for fun in funs})
        return build
    return register


@st.composite
def cases(draw, fun, numbers=None):
    assert fun in CASES, f"the rule of {name_of(fun)} has no test: add a case to {__file__}"
    build, fun = CASES[fun]
    return build(draw, fun, numbers or uniform)


# ---------------------------------------------------------------- arrays: any values, any memory layout
def uniform(rng, shape, low=-2.0, high=2.0):
    return rng.uniform(low, high, shape)


def ties(rng, shape, *_):
    return rng.integers(-1, 2, shape).astype(float)


GENERATOR = st.shared(st.integers(0, 2**32 - 1).map(np.random.default_rng), key="generator")  # one for all arrays of an example


def array(draw, shape, numbers, *limits):
    rng = draw(GENERATOR)
    layout = draw(st.sampled_from(["contiguous", "transposed", "strided", "reversed"]))
    if layout == "transposed":
        return numbers(rng, shape[::-1], *limits).T
    if layout == "strided" and shape:
        return numbers(rng, (*shape[:-1], 2 * shape[-1]), *limits)[..., ::2]
    if layout == "reversed" and shape:
        return numbers(rng, shape, *limits)[::-1]
    return np.asarray(numbers(rng, shape, *limits))


def shapes(min_dims=0, max_dims=3, min_side=1):
    return hnp.array_shapes(min_dims=min_dims, max_dims=max_dims, min_side=min_side, max_side=3)


def broadcastable(n, **options):
    return hnp.mutually_broadcastable_shapes(num_shapes=n, min_side=0, max_side=3, max_dims=3, **options)


def axis_of(draw, ndim):
    return draw(st.integers(-ndim, ndim - 1))


def axes_of(draw, ndim):
    """None, one axis or several, counted from either end."""
    kind = draw(st.sampled_from(["none", "one", "several"]))
    if kind == "none" or ndim == 0:
        return None
    if kind == "one":
        return axis_of(draw, ndim)
    return signed(draw, draw(st.permutations(range(ndim)))[:draw(st.integers(1, ndim))], ndim)


def signed(draw, axes, ndim):
    return tuple(a - ndim * draw(st.booleans()) for a in axes)


@st.composite
def indices(draw, shape):
    """Anything that NumPy takes as an index: integers, slices, None, Ellipsis, masks, arrays with repeats."""
    basic = hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True)
    if not shape:
        return draw(basic)
    rows = st.lists(st.integers(-shape[0], shape[0] - 1), min_size=1, max_size=4)
    return draw(st.one_of(
        basic,
        hnp.integer_array_indices(shape, result_shape=hnp.array_shapes(max_dims=2, max_side=4)),
        hnp.arrays(bool, shape), hnp.arrays(bool, shape[:1]),
        rows, st.tuples(rows.map(np.array), st.just(...)), st.tuples(rows, st.none(), st.just(slice(None, None, -1))),
    ).filter(lambda index: not isinstance(index, tuple) or sum(i is not None and i is not ... for i in index) <= len(shape)))


# ---------------------------------------------------------------- the cases
POSITIVE, ANY = (0.3, 3.0), (-2.0, 2.0)
UNARY = {np.negative: ANY, np.positive: ANY, np.square: ANY, np.sqrt: POSITIVE, np.exp: ANY, np.expm1: ANY, np.log: POSITIVE,
         np.log1p: (-0.7, 2.0), np.sin: ANY, np.cos: ANY, np.tanh: ANY, np.abs: ANY}
BINARY = {np.add: (ANY, ANY), np.subtract: (ANY, ANY), np.multiply: (ANY, ANY), np.divide: (ANY, POSITIVE),
          np.power: (POSITIVE, ANY), np.maximum: (ANY, ANY), np.minimum: (ANY, ANY), np.logaddexp: (ANY, ANY)}


@case(*UNARY)
def unary(draw, fun, numbers):
    def f(xp, x):
        return fun(x) if xp is np else (x if fun is np.positive else getattr(anp, fun.__name__)(x))
    return f, [array(draw, draw(shapes(min_side=0)), numbers, *UNARY[fun])]


@case(*BINARY)
def binary(draw, fun, numbers):
    operands = zip(draw(broadcastable(2)).input_shapes, BINARY[fun])
    return lambda xp, x, y: getattr(xp, fun.__name__)(x, y), [array(draw, shape, numbers, *limits) for shape, limits in operands]


@case(np.clip)
def clip(draw, fun, numbers):
    low, high = draw(st.sampled_from([(-1.0, 1.0), (None, 0.0), (0.0, None), (-1.0, -1.0)]))
    return lambda xp, x: xp.clip(x, low, high), [array(draw, draw(shapes()), numbers)]


@case(np.where)
def where(draw, fun, numbers):
    mask, *operands = draw(broadcastable(3)).input_shapes
    condition = array(draw, mask, uniform) > 0
    zeros = np.zeros(np.broadcast_shapes(mask, *operands))  # autograd's own rule does not broadcast
    return (lambda xp, x, y: np.where(condition, x, y) if xp is np else anp.where(condition, x + zeros, y + zeros)), \
        [array(draw, shape, numbers) for shape in operands]


@case(np.matmul)
def matmul(draw, fun, numbers):
    """Vectors, matrices and batches of matrices on either side, the batches broadcast."""
    n, k, m = (draw(st.integers(0, 3)) for _ in range(3))
    left, right = draw(broadcastable(2)).input_shapes
    operands = (k,) if draw(st.booleans()) else (*left, n, k), (k,) if draw(st.booleans()) else (*right, k, m)
    return lambda xp, a, b: xp.matmul(a, b), [array(draw, shape, numbers) for shape in operands]


@case(np.sum, np.mean, np.max, np.min)
def reduction(draw, fun, numbers):
    shape = draw(shapes(min_side=0 if fun is np.sum else 1))
    options = {"axis": axes_of(draw, len(shape)), "keepdims": draw(st.booleans())}
    return lambda xp, x: getattr(xp, fun.__name__)(x, **options), [array(draw, shape, numbers)]


@case(np.cumsum)
def cumsum(draw, fun, numbers):
    shape = draw(shapes(min_dims=1))
    axis = draw(st.none() | st.integers(-len(shape), len(shape) - 1))
    return lambda xp, x: xp.cumsum(x, axis=axis), [array(draw, shape, numbers)]


@case(np.reshape)
def reshape(draw, fun, numbers):
    shape = draw(shapes(min_dims=1))
    new = draw(st.sampled_from([-1, (-1,), shape[::-1], (1, *shape), (*shape, 1), (shape[0], -1), (-1, shape[-1])]))
    return lambda xp, x: xp.reshape(x, new), [array(draw, shape, numbers)]


@case(np.expand_dims)
def expand_dims(draw, fun, numbers):
    shape = draw(shapes())
    axis = axis_of(draw, len(shape) + 1)
    return lambda xp, x: xp.expand_dims(x, axis), [array(draw, shape, numbers)]


@case(np.squeeze)
def squeeze(draw, fun, numbers):
    shape = draw(st.lists(st.sampled_from([1, 1, 2, 3]), max_size=4).map(tuple))
    ones = [a for a, n in enumerate(shape) if n == 1]
    axis = draw(st.none() | st.just(signed(draw, ones, len(shape)))) if ones else None
    return lambda xp, x: xp.squeeze(x, axis=axis), [array(draw, shape, numbers)]


@case(np.broadcast_to)
def broadcast_to(draw, fun, numbers):
    """autograd's own rule takes no new leading axes."""
    small, = (drawn := draw(broadcastable(1, base_shape=draw(shapes())))).input_shapes
    shape = drawn.result_shape
    return lambda xp, x: np.broadcast_to(x, shape) if xp is np else x + np.zeros(shape), [array(draw, small, numbers)]


@case(np.full_like)
def full_like(draw, fun, numbers):
    """autograd takes this function for a constant: its answer comes from x + 0."""
    small, = (drawn := draw(broadcastable(1, base_shape=draw(shapes())))).input_shapes
    zeros = np.zeros(drawn.result_shape)
    return (lambda xp, x: np.full_like(x + zeros.astype(x.dtype), x) if xp is np else x + zeros), [array(draw, small, numbers)]


@case(np.transpose)
def transpose(draw, fun, numbers):
    """autograd takes negative axes wrongly: it is given their positive names."""
    shape = draw(shapes())
    order = draw(st.permutations(range(len(shape))))
    axes = draw(st.none() | st.just(signed(draw, order, len(shape))))
    return lambda xp, x: xp.transpose(x, axes if axes is None or xp is np else order), [array(draw, shape, numbers)]


@case(np.swapaxes)
def swapaxes(draw, fun, numbers):
    shape = draw(shapes(min_dims=1))
    i, j = axis_of(draw, len(shape)), axis_of(draw, len(shape))
    return lambda xp, x: xp.swapaxes(x, i, j), [array(draw, shape, numbers)]


@case(np.moveaxis)
def moveaxis(draw, fun, numbers):
    shape = draw(shapes(min_dims=1))
    source, target = (signed(draw, draw(st.permutations(range(len(shape)))), len(shape)) for _ in range(2))
    n = draw(st.integers(1, len(shape)))
    source, target = (source[0], target[0]) if n == 1 else (source[:n], target[:n])
    return lambda xp, x: xp.moveaxis(x, source, target), [array(draw, shape, numbers)]


@case(np.flip)
def flip(draw, fun, numbers):
    shape = draw(shapes(min_dims=1))
    axis = axes_of(draw, len(shape))
    turned = range(len(shape)) if axis is None else np.ravel(axis) % len(shape)
    backwards = tuple(slice(None, None, -1 if a in turned else 1) for a in range(len(shape)))
    return lambda xp, x: np.flip(x, axis) if xp is np else x[backwards], [array(draw, shape, numbers)]


@case(operator.getitem)
def getitem(draw, fun, numbers):
    shape = draw(shapes())
    index = draw(indices(shape))
    return lambda xp, x: x[index], [array(draw, shape, numbers)]


@case(scatter)
def scatters(draw, fun, numbers):
    """The rule of the rule of getitem. For autograd: each index as a matrix of zeros and ones."""
    shape = draw(shapes())
    places = draw(st.lists(indices(shape), min_size=1, max_size=3))
    numbered = np.arange(np.prod(shape, dtype=int)).reshape(shape)

    def f(xp, *gs):
        if xp is np:
            return scatter(*gs, indices=places, shape=shape)
        flat = sum(anp.reshape(g, (-1,)) @ np.eye(numbered.size)[np.ravel(numbered[i])] for g, i in zip(gs, places))
        return anp.reshape(flat, shape)
    return f, [array(draw, np.shape(numbered[i]), numbers) for i in places]


@case(rules.concatenate)
def concatenate(draw, fun, numbers):
    shape = draw(shapes(min_dims=1))
    axis = axis_of(draw, len(shape))
    lengths = draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    parts = [(*shape[:axis % len(shape)], n, *shape[axis % len(shape) + 1:]) for n in lengths]
    return lambda xp, *arrays: xp.concatenate(arrays, axis=axis), [array(draw, part, numbers) for part in parts]


@case(rules.stack)
def stack(draw, fun, numbers):
    shape, n = draw(shapes()), draw(st.integers(1, 3))
    axis = axis_of(draw, len(shape) + 1)
    return lambda xp, *arrays: xp.stack(arrays, axis=axis), [array(draw, shape, numbers) for _ in range(n)]


@case(sigmoid)
def sigmoids(draw, fun, numbers):
    return lambda xp, x: sigmoid(x) if xp is np else 1 / (1 + anp.exp(-x)), [array(draw, draw(shapes()), numbers)]


@case(logsumexp_kept)
def logsumexps(draw, fun, numbers):
    shape = draw(shapes(min_dims=1))
    options = {"axis": axes_of(draw, len(shape)), "keepdims": draw(st.booleans())}
    return (lambda xp, x: mg.logsumexp(x, **options) if xp is np else anp.log(anp.sum(anp.exp(x), **options))), \
        [array(draw, shape, numbers)]


@case(log_softmax)
def log_softmaxes(draw, fun, numbers):
    shape = draw(shapes(min_dims=1))
    axis = axes_of(draw, len(shape))
    return (lambda xp, x: log_softmax(x, axis=axis) if xp is np else x - anp.log(anp.sum(anp.exp(x), axis=axis, keepdims=True))), \
        [array(draw, shape, numbers)]


# ---------------------------------------------------------------- what is checked
def assert_close(found, expected, tolerance):
    assert np.shape(found) == np.shape(expected)
    assert np.all(np.abs(found - expected) <= tolerance * max(1.0, np.abs(expected).max(initial=0)))


def loss(f, xp, weights):
    """A scalar whose first and second derivatives reach the rule with gradients that are all different."""
    return lambda *arrays: xp.sum(xp.sin(f(xp, *arrays)) * weights)


def projected_gradient(grad, f, xp, weights, argnums, directions):
    def projection(*arrays):
        gradients = grad(loss(f, xp, weights), argnums)(*arrays)
        return sum(xp.sum(g * d) for g, d in zip(gradients, directions))
    return projection


def draw_arguments(draw, f, arrays):
    """Which of the arrays to differentiate, and random weights and directions for them."""
    argnums = tuple(draw(st.lists(st.sampled_from(range(len(arrays))), min_size=1, unique=True)))
    rng = draw(GENERATOR)
    return argnums, rng.normal(size=np.shape(f(np, *arrays))), [rng.normal(size=arrays[n].shape) for n in argnums]


@pytest.mark.parametrize("fun", DIFFERENTIABLE, ids=name_of)
@given(data=st.data())
@settings(max_examples=60)
def test_rule_agrees_with_autograd_and_finite_differences(fun, data):
    f, arrays = data.draw(cases(fun))
    argnums, weights, directions = draw_arguments(data.draw, f, arrays)
    ours = mg.grad(loss(f, np, weights), argnums)(*arrays)
    theirs = autograd.grad(loss(f, anp, weights), argnums)(*arrays)
    slope = 0.0
    for n, found, expected, direction in zip(argnums, ours, theirs, directions):
        assert found.dtype == arrays[n].dtype
        assert_close(found, expected, 1e-12)
        slope += np.sum(found * direction)

    def along(step):
        moved = dict(zip(argnums, directions))
        return loss(f, np, weights)(*(a + step * moved[n] if n in moved else a for n, a in enumerate(arrays)))
    assert_close((along(1e-5) - along(-1e-5)) / 2e-5, slope, 1e-6)


@pytest.mark.parametrize("fun", DIFFERENTIABLE, ids=name_of)
@given(data=st.data())
@settings(max_examples=40)
@pytest.mark.filterwarnings("ignore:Output seems independent of input")
def test_rule_of_the_gradient_agrees_with_autograd(fun, data):
    f, arrays = data.draw(cases(fun))
    argnums, weights, directions = draw_arguments(data.draw, f, arrays)
    ours = mg.grad(projected_gradient(mg.grad, f, np, weights, argnums, directions), argnums)(*arrays)
    theirs = autograd.grad(projected_gradient(autograd.grad, f, anp, weights, argnums, directions), argnums)(*arrays)
    for found, expected in zip(ours, theirs):
        assert_close(found, expected, 1e-12)


@pytest.mark.parametrize("fun", [np.abs, np.maximum, np.minimum, np.clip, np.max, np.min], ids=name_of)
@given(data=st.data())
@settings(max_examples=60)
def test_at_a_kink_the_gradient_is_autograds(fun, data):
    f, arrays = data.draw(cases(fun, numbers=ties))
    argnums, weights, _ = draw_arguments(data.draw, f, arrays)
    for found, expected in zip(mg.grad(loss(f, np, weights), argnums)(*arrays), autograd.grad(loss(f, anp, weights), argnums)(*arrays)):
        assert_close(found, expected, 1e-12)


@pytest.mark.parametrize("fun", DIFFERENTIABLE, ids=name_of)
@given(data=st.data())
@settings(max_examples=10)
def test_float32_stays_float32(fun, data):
    """Value, gradient, and the gradients on the way: one float64 in between would slow everything below it."""
    seen = []

    @mg.primitive
    def listen(x):
        return 1 * x
    mg.defvjp(listen, lambda ans, x: lambda g: (seen.append(g.dtype), g)[1])

    f, arrays = data.draw(cases(fun))
    argnums, weights, _ = draw_arguments(data.draw, f, arrays)
    single = [a.astype(np.float32) for a in arrays]
    value, gradients = mg.value_and_grad(lambda *xs: loss(f, np, weights.astype(np.float32))(*map(listen, xs)), argnums)(*single)
    assert value.dtype == np.float32 and all(g.dtype == np.float32 for g in gradients)
    assert set(seen) == {np.dtype(np.float32)}
    for found, expected in zip(gradients, mg.grad(loss(f, np, weights), argnums)(*arrays)):
        assert_close(found, expected, 1e-4)


# ---------------------------------------------------------------- functions whose derivative is zero
X, Y = np.random.default_rng(7).normal(size=(2, 3, 4))
OF_TWO = {np.greater, np.greater_equal, np.less, np.less_equal, np.equal, np.not_equal, np.array_equal, np.allclose}
OF_ONE = {np.sign, np.floor, np.ceil, np.isnan, np.isinf, np.isfinite, np.argmax, np.argmin, np.argsort, np.any, np.all,
          np.shape, np.ndim, np.size, np.zeros_like, np.ones_like}


def test_the_registry_is_what_these_tests_test():
    assert set(DIFFERENTIABLE) == set(CASES) and set(CONSTANTS) == OF_ONE | OF_TWO


@pytest.mark.parametrize("fun", CONSTANTS, ids=name_of)
def test_constant_functions_give_plain_values_and_no_gradient(fun):
    others = [Y] if fun in OF_TWO else []
    expected = fun(X, *others)

    def inner(x, outer):
        for t in (x, outer, x * outer):
            assert type(fun(t, *others)) is type(expected)
        np.testing.assert_array_equal(fun(x, *others), expected)
        return np.sum(x * (np.sum(fun(x, *others)) + 1.0))
    gradient = mg.grad(lambda outer: np.sum(mg.grad(inner)(X, outer) * outer))(X)
    np.testing.assert_allclose(gradient, np.full_like(X, np.sum(expected) + 1.0), rtol=1e-12)


# ---------------------------------------------------------------- particular places
def both_engines(f, *arrays):
    """The gradients of the sum of ``f(xp, *arrays)`` by both engines."""
    argnums = tuple(range(len(arrays)))
    return zip(*(grad(lambda *xs: xp.sum(f(xp, *xs)), argnums)(*arrays) for grad, xp in ((mg.grad, np), (autograd.grad, anp))))


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, -1, 0.5, np.array([0, 1, 2, 3]), np.array([0.0, 1.0, 2.0, 3.0])], ids=str)
def test_powers_of_zero_and_of_negative_numbers(exponent):
    for base in (np.array([0.0, -1.5, 2.0, -0.3]), np.zeros(4)):
        if np.any(np.asarray(exponent) != np.abs(np.round(exponent))):
            base = np.abs(base) + 0.1
        for ours, theirs in both_engines(lambda xp, x: x**exponent, base):
            assert_close(ours, theirs, 1e-12)
            assert np.all(np.isfinite(ours))
    for ours, theirs in both_engines(lambda xp, y: np.array([0.0, 1.0, 2.0, 0.0]) ** y, np.array([1.0, 2.0, 3.0, 0.0])):
        assert_close(ours, theirs, 1e-12)


@pytest.mark.parametrize("left", [(3,), (2, 3), (0, 3), (5, 2, 3), (1, 2, 3), (4, 1, 2, 3)], ids=str)
@pytest.mark.parametrize("right", [(3,), (3, 4), (3, 0), (5, 3, 4), (1, 3, 4), (4, 5, 3, 1)], ids=str)
def test_products_of_every_rank(left, right):
    rng = np.random.default_rng(9)
    a, b = rng.normal(size=left), rng.normal(size=right)
    direction = rng.normal(size=left)
    for ours, theirs in both_engines(lambda xp, a, b: xp.sin(a @ b), a, b):
        assert_close(ours, theirs, 1e-12)

    def second(grad, xp):
        return grad(lambda b: xp.sum(grad(lambda a: xp.sum(xp.sin(a @ b)))(a) * direction))(b)
    assert_close(second(mg.grad, np), second(autograd.grad, anp), 1e-12)


X3, V = (np.random.default_rng(8).normal(size=shape) for shape in ((2, 3, 4), (4,)))
SPELLINGS = {
    "x + y": "np.add(x, y)", "1 + x": "np.add(1, x)", "a + x": "np.add(a, x)",
    "x - y": "np.subtract(x, y)", "1 - x": "np.subtract(1, x)", "a - x": "np.subtract(a, x)",
    "x * y": "np.multiply(x, y)", "2 * x": "np.multiply(2, x)", "a * x": "np.multiply(a, x)", "a[0] * x": "np.multiply(a[0], x)",
    "x / y": "np.divide(x, y)", "2 / y": "np.divide(2, y)", "a / y": "np.divide(a, y)",
    "y ** x": "np.power(y, x)", "y ** 3": "np.power(y, 3)", "2 ** x": "np.power(2, x)",
    "x @ y": "np.matmul(x, y)", "x @ a": "np.matmul(x, a)", "a[1:] @ x.T": "np.matmul(a[1:], np.transpose(x))",
    "-x": "np.negative(x)", "+x": "np.positive(x)", "abs(x)": "np.abs(x)",
    "x > 0": "np.greater(x, 0)", "x >= y": "np.greater_equal(x, y)", "x < a": "np.less(x, a)", "0 < x": "np.less(0, x)",
    "x <= y": "np.less_equal(x, y)", "x == x * 1": "np.equal(x, x)", "x != a": "np.not_equal(x, a)",
    "x.T": "np.transpose(x)", "x.transpose()": "np.transpose(x)", "x.transpose(2, 0, 1)": "np.transpose(x, (2, 0, 1))",
    "x.transpose((-1, 0, 1))": "np.transpose(x, (2, 0, 1))", "x.swapaxes(0, 2)": "np.swapaxes(x, 0, 2)",
    "x.reshape(4, 6)": "np.reshape(x, (4, 6))", "x.reshape((6, -1))": "np.reshape(x, (6, 4))",
    "x.reshape(-1)": "np.reshape(x, 24)", "x.reshape(np.int64(4), 6)": "np.reshape(x, (4, 6))",
    "x.sum()": "np.sum(x)", "x.sum(0)": "np.sum(x, axis=0)", "x.sum(axis=1, keepdims=True)": "np.sum(x, axis=1, keepdims=True)",
    "x.mean((0, 2))": "np.mean(x, axis=(0, 2))", "x.max(-1)": "np.max(x, axis=2)", "x.min()": "np.min(x)", "x.argmax(1)": "np.argmax(x, axis=1)",
    "x.cumsum(1)": "np.cumsum(x, axis=1)", "x.clip(-1, 1)": "np.clip(x, -1, 1)", "x[:1].squeeze()": "np.squeeze(x[0])",
    "sum(row * 2**k for k, row in enumerate(x))": "x[0] + 2 * x[1]",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_operators_and_methods(spelling):
    """The signs and methods of a Tensor mean what they mean for an array, in either order of operands."""
    y, weights = np.abs(V) + 0.5, np.random.default_rng(9)
    weights = weights.normal(size=np.shape(eval(spelling, {"np": np, "x": X3, "y": y, "a": V})))

    def value_and_gradients(code):
        def f(x, y):
            return np.sum(eval(code, {"np": np, "x": x, "y": y, "a": V}) * weights)
        return mg.value_and_grad(f, (0, 1))(X3, y)
    (value, gradients), (expected, expected_gradients) = map(value_and_gradients, (spelling, SPELLINGS[spelling]))
    assert value == expected == np.sum(eval(spelling, {"np": np, "x": X3, "y": y, "a": V}) * weights)
    np.testing.assert_array_equal(gradients[0], expected_gradients[0])
    np.testing.assert_array_equal(gradients[1], expected_gradients[1])


def test_a_tensor_looks_like_its_array():
    def f(x):
        assert (x.shape, x.ndim, x.size, x.dtype, len(x)) == (X3.shape, X3.ndim, X3.size, X3.dtype, len(X3))
        assert repr(x) == f"Tensor({X3!r})"
        assert len({x, x, x[0]}) == 2
        assert np.shape(x) == X3.shape and np.ndim(x[0]) == 2 and np.size(x) == 24
        assert bool(x[0, 0, 0]) is True and bool(0 * x[0, 0, 0]) is False
        with pytest.raises(ValueError, match="ambiguous"):
            bool(x)
        return 0.0
    mg.grad(f)(X3)


def test_places_named_twice_by_an_index_add_up():
    """... which ``out[index] += g`` would miss."""
    gradient = mg.grad(lambda x: np.sum(x[[0, 0, 0, 2]] * np.array([1.0, 2.0, 3.0, 4.0])))(np.zeros(3))
    np.testing.assert_array_equal(gradient, [6.0, 0.0, 4.0])
    gradient = mg.grad(lambda x: np.sum(x[np.array([[0, 1], [1, -1]]), [1, 0]] * np.array([[1.0, 2.0], [3.0, 4.0]])))(np.zeros((3, 2)))
    np.testing.assert_array_equal(gradient, [[0.0, 1.0], [2.0, 3.0], [4.0, 0.0]])


def test_plain_lists_are_joined_with_tensors():
    gradient = mg.grad(lambda x: np.sum(np.concatenate([[1.0, 2.0], x]) * np.arange(5.0)))(np.ones(3))
    np.testing.assert_array_equal(gradient, [2.0, 3.0, 4.0])
    gradient = mg.grad(lambda x: np.sum(np.stack([[1.0, 2.0, 3.0], x], axis=1) * np.arange(6.0).reshape(3, 2)))(np.ones(3))
    np.testing.assert_array_equal(gradient, [1.0, 3.0, 5.0])
    np.testing.assert_array_equal(mg.grad(lambda x: np.sum([1.0, 2.0] * x))(np.ones(2)), [1.0, 2.0])


@pytest.mark.parametrize("f, word", [
    (lambda x: np.sum(x, 1, np.float64), "vjp_sum"),
    (lambda x: np.sum(x, dtype=np.float64), "dtype"),
    (lambda x: np.mean(x, 1, None), "vjp_mean"),
    (lambda x: np.max(x, 1, None), "vjp_max"),
    (lambda x: np.reshape(x, (4, 6), order="F"), "order"),
    (lambda x: np.add(x, 1.0, where=X3 > 0), "np.add.*keyword where"),
    (lambda x: np.add(x, 1.0, dtype=np.float32), "np.add.*keyword dtype"),
    (lambda x: np.clip(x, 0.0, a_max=x), "np.clip.*keyword a_max"),
    (lambda x: np.full_like(x, fill_value=x[0, 0, 0]), "np.full_like.*keyword fill_value"),
], ids=lambda v: v if isinstance(v, str) else "")
def test_an_option_that_a_rule_does_not_know_is_an_error_not_a_wrong_gradient(f, word):
    with pytest.raises(TypeError, match=word):
        mg.grad(lambda x: np.sum(f(x)))(X3)
