"""The engine: what is recorded, how it is read backwards, and what it says when it can't."""
import copy
import functools
import gc
import math
import sys
import threading
import weakref

import autograd
import autograd.numpy as anp
import numpy as np
import pytest

import minigrad as mg
from minigrad import engine

RNG = np.random.default_rng(2)
A, B = RNG.normal(size=(2, 3, 3))
V = RNG.normal(size=3)


def assert_close(found, expected, tolerance=1e-12):
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def counted(f, derivative):
    """``f`` as an operation that counts how often its derivative is asked for."""
    @mg.primitive
    def operation(x):
        return f(x)

    def maker(ans, x):
        operation.calls += 1
        return lambda g: g * derivative(x)
    operation.calls = 0
    mg.defvjp(operation, maker)
    return operation


# ---------------------------------------------------------------- reading the tape backwards
def test_a_shared_node_is_visited_once():
    """Thirty doublings are 2**30 paths, but thirty nodes."""
    same = counted(lambda x: 1.0 * x, np.ones_like)

    def f(x):
        for _ in range(30):
            x = same(x)
            x = x + x
        return x
    assert mg.grad(f)(1.0) == 2.0**30
    assert same.calls == 30


def test_what_the_answer_does_not_depend_on_is_not_differentiated():
    unused = counted(np.exp, lambda x: np.nan * x)

    def f(x):
        unused(x)
        y = 3.0 * x
        unused(y)
        return y
    assert mg.grad(f)(2.0) == 3.0
    assert unused.calls == 0


def test_one_tensor_in_two_places_of_one_call():
    assert_close(mg.grad(lambda x: np.sum(x @ x * B))(A), B @ A.T + A.T @ B)
    assert_close(mg.grad(lambda x: np.sum(np.stack([x, 2 * x, x]) * np.stack([A, B, V * A])))(A), A + 2 * B + V * A)


def test_a_chain_of_50000_operations():
    def f(x):
        for _ in range(25_000):
            x = x * 1.0001 - 1e-5
        return x
    assert_close(mg.grad(f)(1.0), 1.0001**25_000, 1e-9)


def test_a_long_chain_is_dropped_without_recursion():
    """... when f fails half way, and when its answer is another."""
    def f(x, fail):
        y = x
        for _ in range(50_000):
            y = y + 1.0
        if fail:
            raise KeyError("half way")
        return 2.0 * x
    with pytest.raises(KeyError, match="half way"):
        mg.grad(f)(1.0, True)
    gc.collect()
    assert mg.grad(f)(1.0, False) == 2.0


def test_a_finished_call_keeps_no_arrays():
    """A Tensor that someone kept does not keep the operations alive, even where they led nowhere."""
    class Watched(np.ndarray):
        pass
    kept, big = [], RNG.normal(size=5).view(Watched)
    watch = weakref.ref(big)
    mg.grad(lambda x: (0.0, kept.append(x), x * big)[0])(V[0])
    del big
    gc.collect()
    assert len(kept) == 1 and watch() is None


@pytest.mark.parametrize("nested", [False, True], ids=["grad", "grad in grad"])
def test_slices_of_one_array_cost_their_own_size(nested, monkeypatch):
    """T rows of an array of T rows: one full-sized gradient for each tape, not T of them."""
    made, zeros = [], np.zeros
    T, H = 100, 3
    xs = RNG.normal(size=(T, H))

    def f(xs):
        h = xs[0]
        for t in range(1, T):
            h = np.tanh(h + xs[t])
        return np.sum(h * xs[-1])
    f = (lambda g: lambda xs: np.sum(g(xs)[::2] * 2.0))(mg.grad(f)) if nested else f
    monkeypatch.setattr(np, "zeros", lambda shape, *dtype: (made.append(math.prod(shape)), zeros(shape, *dtype))[1])
    mg.grad(f)(xs)
    assert 1 <= len(made) <= (3 if nested else 1) and max(made) == T * H


USES = {
    "row": (lambda x: np.sum(x[1] * V), np.outer([0, 1, 0], V)),
    "whole": (lambda x: np.sum(x * B), B),
    "place": (lambda x: x[0, 2] * 5.0, np.outer([5, 0, 0], [0, 0, 1])),
    "places": (lambda x: np.sum(x[[2, 2]] * B[:2]), np.outer([0, 0, 1], B[0] + B[1])),
    "column": (lambda x: np.sum(x[:, 1] ** 2), 2 * A * [0, 1, 0]),
}


@pytest.mark.parametrize("order", [["row", "place", "column", "places"], ["whole", "row", "places"], ["row", "whole", "place"],
                                   ["place", "row", "whole"], ["places", "whole", "column", "whole", "row", "row"]], ids=" ".join)
def test_gradients_in_pieces_and_whole_ones_add_up_in_any_order(order):
    assert_close(mg.grad(lambda x: sum(USES[name][0](x) for name in order))(A), sum(USES[name][1] for name in order))


# ---------------------------------------------------------------- grad inside grad
def test_grad_of_grad_of_grad():
    x = 0.7
    third = -x**3 * np.cos(x) - 9 * x**2 * np.sin(x) + 18 * x * np.cos(x) + 6 * np.sin(x)
    assert_close(mg.grad(mg.grad(mg.grad(lambda x: x**3 * np.sin(x))))(x), third)


def test_perturbations_are_not_confused():
    assert mg.grad(lambda x: x * mg.grad(lambda y: x + y)(1.0))(1.0) == 1.0
    assert mg.grad(lambda x: x * mg.grad(lambda y: x * y)(2.0))(3.0) == 6.0
    assert mg.grad(lambda x: mg.grad(lambda y: mg.grad(lambda z: x * y * y * z * z * z)(y))(x))(2.0) == 3 * 4 * 4 * 2.0**3


def test_an_inner_gradient_that_ignores_its_own_argument():
    assert mg.grad(lambda x: x * x + mg.grad(lambda y: x * 3.0)(x))(5.0) == 10.0


def test_the_matrix_of_second_derivatives_is_symmetric_and_autograds():
    def hessian(grad, xp):
        gradient = grad(lambda x: xp.sum(xp.tanh(x @ B) * xp.exp(-x[0] * x)))
        return [grad(lambda x: gradient(x)[i])(V) for i in range(3)]
    ours, theirs = hessian(mg.grad, np), hessian(autograd.grad, anp)
    assert_close(ours, theirs)
    assert_close(ours, np.transpose(ours))


def test_value_and_grad_inside_grad():
    def f(x):
        value, gradient = mg.value_and_grad(lambda y: np.sum(y**3))(x)
        return value * np.sum(gradient)
    assert_close(mg.grad(f)(V), 3 * V**2 * np.sum(3 * V**2) + np.sum(V**3) * 6 * V)


# ---------------------------------------------------------------- arguments and gradients
def f3(x, y, z, power=2):
    return np.sum(x * y**power / z)


def test_argnum_names_the_arguments():
    x, y, z = np.abs(RNG.normal(size=(3, 2, 2))) + 0.5
    gx, gy, gz = y**2 / z, 2 * x * y / z, -x * y**2 / z**2
    assert_close(mg.grad(f3)(x, y, z), gx)
    assert_close(mg.grad(f3, 1)(x, y, z), gy)
    assert_close(mg.grad(f3, -1)(x, y, z), gz)
    assert_close(mg.grad(f3, 1)(x, y, z, power=3), 3 * x * y**2 / z)
    for argnum, expected in {(2, 0): (gz, gx), (1,): (gy,), (-2, -1): (gy, gz), (0, 0): (gx, gx), (0, -3): (gx, gx), (): ()}.items():
        gradients = mg.grad(f3, argnum)(x, y, z)
        assert type(gradients) is tuple and len(gradients) == len(expected)
        for found, wanted in zip(gradients, expected):
            assert_close(found, wanted)
    value, (first,) = mg.value_and_grad(f3, [1])(x, y, z)
    assert_close(value, f3(x, y, z))
    assert_close(first, gy)


@pytest.mark.parametrize("argnum", [3, -4, (0, 3)])
def test_argnum_out_of_range(argnum):
    with pytest.raises(TypeError, match=r"f3 was called with 3 positional arguments; there is no argument (3|-4)"):
        mg.grad(f3, argnum)(A, A, A)
    with pytest.raises(TypeError, match="called with 0 positional"):
        mg.grad(lambda x: x)(x=3.0)


def test_nested_arguments_give_nested_gradients():
    params = {"W": A, "more": [V, (2.0, {"b": np.float32(1.5)})], "none": None, "empty": []}

    def f(p):
        return np.sum(p["W"] @ p["more"][0]) * p["more"][1][0] ** 2 + p["more"][1][1]["b"]
    value, gradient = mg.value_and_grad(f)(params)
    assert list(gradient) == list(params) and gradient["none"] is None and gradient["empty"] == []
    assert type(gradient["more"]) is list and type(gradient["more"][1]) is tuple
    assert_close(gradient["W"], 4.0 * np.ones((3, 1)) * V)
    assert_close(gradient["more"][0], 4.0 * A.sum(axis=0))
    assert_close(gradient["more"][1][0], 4.0 * np.sum(A @ V))
    assert gradient["more"][1][1]["b"] == 1.0 and gradient["more"][1][1]["b"].dtype == np.float32
    assert_close(value, 4.0 * np.sum(A @ V) + 1.5)


@pytest.mark.parametrize("x", [2.0, np.float64(2.0), np.array(2.0), np.float32(2.0), A, A.astype(np.float32), np.zeros((0, 3)),
                               A.astype(np.float16), A[::-1, ::2], np.asfortranarray(A)], ids=lambda x: f"{type(x).__name__}{np.shape(x)}")
def test_a_gradient_has_the_shape_and_dtype_of_its_argument(x):
    for f in (lambda x: np.sum(x * 3), lambda x: np.sum(np.float64(3) * x), lambda x: 1.0):
        value, gradient = mg.value_and_grad(f)(x)
        assert gradient.shape == np.shape(x) and gradient.dtype == np.asarray(x).dtype
        assert np.shape(value) == ()
        assert_close(gradient, np.full(np.shape(x), 0.0 if f(x) == 1.0 else 3.0))


def test_what_f_does_not_use_gets_zeros():
    gradient = mg.grad(lambda p: np.sum(p["used"] ** 2))({"used": V, "unused": A, "scalar": 1.0})
    np.testing.assert_array_equal(gradient["unused"], np.zeros((3, 3)))
    assert gradient["scalar"] == 0.0
    assert mg.value_and_grad(lambda x: 7)(1.0) == (7, 0.0)
    assert mg.grad(lambda x: x)(1.0) == 1.0


def test_gradients_own_their_memory():
    """Writing into one gradient changes no other, no argument and no later gradient."""
    x, y = A.copy(), A.copy()
    for f in (lambda x, y: np.sum(x + y), lambda x, y: np.sum((x + y)[0]), lambda x, y: x[0, 0] + y[0, 0], lambda x, y: np.sum(x.T - y.T)):
        gx, gy = mg.grad(f, (0, 1))(x, y)
        expected = gy.copy()
        gx += 1000.0
        np.testing.assert_array_equal(gy, expected)
        np.testing.assert_array_equal(mg.grad(f, (0, 1))(x, y)[1], expected)
    np.testing.assert_array_equal(x, A)


def test_f_may_be_any_callable_and_keeps_its_name():
    class Model:
        def loss(self, x):
            """The loss."""
            return x * x
    assert mg.grad(functools.partial(lambda a, x: a * x, 3.0))(1.0) == 3.0
    assert mg.grad(Model().loss)(4.0) == 8.0
    assert mg.grad(np.tanh)(0.0) == 1.0
    assert (mg.grad(Model().loss).__name__, mg.value_and_grad(Model().loss).__doc__) == ("loss", "The loss.")


def test_f_sees_closures_branches_and_loops():
    def f(x):
        total = 0.0
        while np.abs(x) < 10.0:
            total, x = total + V[0] * x, 2.0 * x if x > 0 else 3.0 * x
        return total
    assert_close([mg.grad(f)(1.0), mg.grad(f)(-1.0)], [V[0] * 15.0, V[0] * 13.0])


# ---------------------------------------------------------------- primitives, in both engines
def both(f, *args):
    """The gradients of f(xp, *args) by both engines, with respect to all arguments."""
    argnums = tuple(range(len(args)))
    return [grad(functools.partial(f, xp), argnums)(*args) for grad, xp in ((mg.grad, np), (autograd.grad, anp))]


@mg.primitive
def scaled(x, y, times=1.0):
    """times · x² y"""
    return times * x * x * y


mg.defvjp(scaled, lambda ans, x, y, times=1.0: lambda g: g * 2 * times * x * y,
          lambda ans, x, y, times=1.0: lambda g: g * times * x * x)


@pytest.mark.parametrize("shapes", [((3,), (2, 3)), ((2, 3), (3,)), ((2, 1), (1, 3)), ((), (2, 3)), ((2, 3), ()), ((), ())], ids=str)
def test_a_primitive_has_its_derivative_in_both_engines(shapes):
    x, y = (np.asarray(RNG.normal(size=s)) for s in shapes)
    np.testing.assert_array_equal(scaled(x, y), x * x * y)
    for ours, theirs, plain in zip(*both(lambda xp, x, y: xp.sum(xp.sin(scaled(x, y, times=3.0))), x, y),
                                   mg.grad(lambda x, y: np.sum(np.sin(3.0 * x * x * y)), (0, 1))(x, y)):
        assert_close(ours, theirs)
        assert_close(ours, plain)

    def second(grad, xp):
        return grad(lambda x, y: sum(xp.sum(xp.cos(g)) for g in grad(lambda x, y: xp.sum(scaled(x, y) ** 2), (0, 1))(x, y)), (0, 1))(x, y)
    for ours, theirs in zip(second(mg.grad, np), second(autograd.grad, anp)):
        assert_close(ours, theirs)


def test_the_declared_rule_is_used_not_the_body():
    """A straight-through estimator: the value is rounded, the gradient is not."""
    @mg.primitive
    def rounded(x):
        """To the nearest integer."""
        return np.round(x)
    mg.defvjp(rounded, lambda ans, x: lambda g: g)
    assert rounded.__name__ == "rounded" and rounded.__doc__ == "To the nearest integer."
    for gradient in both(lambda xp, x: xp.sum(rounded(x) * V), A):
        assert_close(gradient[0], np.tile(V, (3, 1)))


def test_none_stands_for_an_argument_without_gradient():
    @mg.primitive
    def picked(mask, x):
        return mask * x
    mg.defvjp(picked, None, lambda ans, mask, x: lambda g: g * mask)
    for mask_gradient, gradient in both(lambda xp, m, x: xp.sum(picked(m, x) * (m + 1)), A, B):
        assert_close(mask_gradient, A * B)
        assert_close(gradient, A * (A + 1))


def test_a_rule_declared_twice_is_the_last_one():
    @mg.primitive
    def f(x):
        return 2 * x
    mg.defvjp(f, lambda ans, x: lambda g: g * 7)
    mg.defvjp(f, lambda ans, x: lambda g: g * 2)
    assert [g[0] for g in both(lambda xp, x: f(x), 1.0)] == [2.0, 2.0]


def test_defvjp_of_numpys_own_functions_leaves_autograd_alone():
    old = engine.RULES[np.tanh]
    try:
        mg.defvjp(np.tanh, lambda ans, x: lambda g: g * 0 + 5)
        assert [g[0] for g in both(lambda xp, x: xp.tanh(x), 0.0)] == [5.0, 1.0]
    finally:
        engine.RULES[np.tanh] = old


def test_defvjp_wants_functions():
    for makers in ((), (3,), (lambda ans, x: None, "x")):
        with pytest.raises(TypeError, match="expected a maker per argument"):
            mg.defvjp(scaled, *makers)


def with_vjp(vjp):
    @mg.primitive
    def square(x):
        return x * x
    mg.defvjp(square, lambda ans, x: lambda g: vjp(g, x))
    return square


@pytest.mark.parametrize("vjp, found", [
    (lambda g, x: np.outer(g, x)[:2, :2], r"has shape \(2, 2\)"),
    (lambda g, x: (g * x)[:2], r"has shape \(2,\)"),
    (lambda g, x: np.sum(g * x), r"has shape \(\)"),
    (lambda g, x: None, "is a NoneType, no array"),
    (lambda g, x: 2.0, "is a float, no array"),
    (lambda g, x: list(g * x), "is a list, no array"),
], ids=["matrix", "short", "summed", "None", "float", "list"])
def test_a_derivative_of_the_wrong_shape_is_named(vjp, found):
    square = with_vjp(vjp)
    expected = rf"derivative of .*square for argument 0 {found}; expected the argument's own shape \(3,\)"
    for use in (lambda x: np.sum(square(x)), lambda x: np.sum(square(x) + x[0])):
        with pytest.raises(ValueError, match=expected):
            mg.grad(use)(V)


@pytest.mark.parametrize("answer", [float, lambda x: (x, x), lambda x: [x], lambda x: None], ids=["float", "tuple", "list", "None"])
def test_a_primitive_returns_one_array(answer):
    operation = counted(answer, np.ones_like)
    with pytest.raises(TypeError, match="primitive: it must return one array or NumPy number, not a"):
        mg.grad(operation)(2.0)


# ---------------------------------------------------------------- what can't be differentiated says so
@pytest.mark.parametrize("f, name", [
    (lambda x: np.sum(np.fft.fft(x)), "np.fft.fft"), (lambda x: np.linalg.norm(x), "np.linalg.norm"), (lambda x: np.add.reduce(x), "np.add.reduce"),
    (lambda x: np.arctan(x), "np.arctan"), (lambda x: np.modf(x)[0], "np.modf"), (lambda x: np.einsum("i,i", x, x), "np.einsum"),
    (lambda x: np.sum(np.vstack([x, x])), "np.vstack"), (lambda x: V // x, "np.floor_divide"), (lambda x: np.add.at(V.copy(), [0], x[0]), "np.add.at"),
], ids=lambda v: v if isinstance(v, str) else "")
def test_an_operation_without_a_rule(f, name):
    with pytest.raises(NotImplementedError, match=rf"no derivative of {name}\. Write it with .*mg\.defvjp\({name}, lambda ans, x"):
        mg.grad(f)(V)


def test_a_primitive_without_a_rule_and_an_argument_without_one():
    @mg.primitive
    def nameless(x, y):
        return x * y
    with pytest.raises(NotImplementedError, match="no derivative of .*nameless.*mg.defvjp"):
        mg.grad(lambda x: nameless(x, 2.0))(1.0)
    mg.defvjp(nameless, lambda ans, x, y: lambda g: g * y)
    assert mg.grad(lambda x: nameless(x, 2.0))(1.0) == 2.0
    with pytest.raises(NotImplementedError, match="nameless with respect to its argument 1"):
        mg.grad(lambda y: nameless(2.0, y))(1.0)
    with pytest.raises(NotImplementedError, match="np.clip with respect to its argument 2"):
        mg.grad(lambda high: np.sum(np.clip(A, 0.0, high)))(1.0)


def writes_item(x):
    x[0] = 1.0


def writes_into_array(x):
    out = np.zeros(3)
    out += x


def writes_row(x):
    out = np.zeros((2, 3))
    out[0] = x


@pytest.mark.parametrize("f, message", [
    (writes_item, "cannot be written in place.*np.where, np.stack or np.concatenate"),
    (writes_into_array, r"np.add would write.*a = a \+ b"),
    (writes_row, "cannot be turned into an ndarray.*np.stack"),
    (lambda x: np.add(x, 1.0, out=np.zeros(3)), "np.add would write"),
    (lambda x: np.add(x, 1.0, np.zeros(3)), "np.add would write"),
    (lambda x: np.sum(x, out=np.zeros(())), "np.sum would write"),
    (lambda x: np.tanh(V, out=x), "np.tanh would write"),
    (lambda x: np.array([x, x]), "cannot be turned into an ndarray.*np.stack"),
    (lambda x: np.sum([x, x]), "cannot be turned into an ndarray"),
    (lambda x: np.asarray(x[0]), "cannot be turned into an ndarray"),
    (lambda x: float(x[0]), r"cannot be turned into a float.*t\.value"),
    (lambda x: math.exp(x[0]), "cannot be turned into a float"),
    (lambda x: scaled(x, y=x), "scaled: a Tensor came in the keyword y; pass it as a positional"),
    (lambda x: scaled(V, y=x), "scaled: a Tensor came in the keyword y"),
    (lambda x: np.max(x, initial=x[0]), "np.max: a Tensor came in the keyword initial"),
], ids=lambda v: "" if callable(v) else v[:30])
def test_what_would_cut_the_gradient_is_an_error(f, message):
    with pytest.raises(TypeError, match=message):
        mg.grad(f)(V)


def test_a_tensor_inside_a_list():
    """Only np.stack and np.concatenate look for Tensors there, even if another function is given a rule."""
    mg.defvjp(np.hstack, lambda ans, x: lambda g: g)
    try:
        with pytest.raises(TypeError, match="np.hstack: a Tensor came in a keyword or inside a list"):
            mg.grad(lambda x: np.sum(np.hstack([x, x])))(V)
    finally:
        del engine.RULES[np.hstack]


def test_writing_a_number_into_an_array_names_the_reason():
    """NumPy itself speaks first here; our message is the cause it gives."""
    def f(x):
        h = np.zeros(3)
        h[0] = x
    with pytest.raises(ValueError) as raised:
        mg.grad(f)(1.0)
    assert "a Tensor cannot be turned into a float" in str(raised.value.__cause__)


def test_a_refused_write_has_not_written():
    out = np.zeros(3)
    for f in (lambda x: np.sum(A * x, axis=0, out=out), lambda x: np.multiply(x, 2.0, out=out), lambda x: out.__iadd__(x)):
        with pytest.raises(TypeError):
            mg.grad(f)(V)
        np.testing.assert_array_equal(out, np.zeros(3))
    np.testing.assert_array_equal(mg.grad(lambda x: x[np.argmax(x, out=None)])(V), V == V.max())


@pytest.mark.parametrize("x, found", [
    (3, "argument 0 of .*loss is int;"), (True, "is bool"), (1j, "is complex"), ("a", "is str"), (np.arange(3), "is int64"), (V > 0, "is bool"),
    (V + 0j, "is complex128"), (V.astype(object), "is object"), ([1, 2.0], r"argument 0\[0\] of .*loss is int"),
    ({"W": [V, {"b": np.arange(2)}]}, r"argument 0\['W'\]\[1\]\['b'\] of .*loss is int64"), (np.int32(3), "is int32"), ({1.0}, "is set"),
], ids=str)
def test_only_floats_can_be_differentiated(x, found):
    def loss(x):
        raise AssertionError("not reached")
    with pytest.raises(TypeError, match=found + ".*a gradient needs floats"):
        mg.grad(loss)(x)


def test_other_arguments_may_be_anything():
    assert mg.grad(lambda x, mode, n, table: x * n * table["a"] if mode == "times" else x)(2.0, "times", 3, {"a": 4}) == 12.0
    assert mg.grad(lambda xs: xs[0] * xs[1] ** 2)([3.0, 2.0]) == [4.0, 12.0]


@pytest.mark.parametrize("answer, found", [
    (lambda x: None, "which returned None: is a return missing"), (lambda x: (x[0], x[1]), "returned a tuple"), (lambda x: [x[0]], "returned a list"),
    (lambda x: {"loss": x[0]}, "returned a dict"), (lambda x: 2 * x, r"returned shape \(3,\).*np.sum"), (lambda x: x[:1], r"returned shape \(1,\)"),
    (lambda x: np.ones((2, 2)), r"returned shape \(2, 2\)"),
], ids=["None", "tuple", "list", "dict", "vector", "length 1", "constant array"])
def test_f_must_return_one_number(answer, found):
    def loss(x):
        return answer(x)
    for engine_grad in (mg.grad, mg.value_and_grad):
        with pytest.raises(ValueError, match=f"grad needs a scalar from .*loss.*{found}"):
            engine_grad(loss)(V)


def test_a_gradient_taken_for_a_loss_is_called_a_gradient():
    for transform, found in ((mg.grad, r"grad\.<locals>\.gradient, which returned shape \(3,\)"),
                             (mg.value_and_grad, r"value_and_grad\.<locals>\.value_and_gradient, which returned a tuple")):
        with pytest.raises(ValueError, match=f"grad needs a scalar from {found}"):
            mg.grad(transform(lambda x: np.sum(x**2)))(V)
    with pytest.raises(ValueError, match=r"from functools\.partial\(.*\), which returned None"):
        mg.grad(functools.partial(lambda a, x: None, 1))(V)


# ---------------------------------------------------------------- Tensors in the wrong place
def leaked():
    kept = []
    mg.grad(lambda x: (np.sum(x), kept.extend([x, 2.0 * x, x[0]]))[0])(V)
    return kept


@pytest.mark.parametrize("use", [lambda t: t + 1, lambda t: V * t, lambda t: np.tanh(t), lambda t: t > 0, lambda t: t[:1], lambda t: np.stack([t, t]),
                                 lambda t: mg.grad(lambda x: np.sum(x * t))(V), lambda t: mg.grad(lambda x: np.sum(t * x))(V)],
                         ids=["+", "array *", "tanh", ">", "[]", "stack", "x * t in a later grad", "t * x in a later grad"])
def test_a_tensor_of_an_ended_call(use):
    for t in leaked()[:2]:
        with pytest.raises(RuntimeError, match=r"belongs to a grad call that has already ended.*keep t\.value"):
            use(t)
        np.testing.assert_array_equal(np.abs(t.value / V), np.full(3, np.round(t.value[0] / V[0])))


def test_a_tensor_that_leaves_the_inner_call_for_the_outer_one():
    def f(x):
        kept = []
        mg.grad(lambda y: (x * y, kept.append(x * y))[0])(2.0)
        return kept[0] * x if use else kept[0]
    for use, message in ((True, "already ended"), (False, "f returned a Tensor of a grad call that has already ended")):
        with pytest.raises(RuntimeError, match=message):
            mg.grad(f)(3.0)


def test_copies_of_a_tensor_are_the_tensor():
    """A copy off the tape would silently have no gradient."""
    assert mg.grad(lambda x: copy.copy(x) * 2 + np.sum(copy.deepcopy({"a": [x * 3]})["a"][0]))(1.0) == 5.0


def test_an_exception_leaves_nothing_behind():
    def f(x, fail):
        y = mg.grad(lambda z: z**3 * (1 if not fail else np.fft.fft(z)))(x)
        return y * x
    expected = mg.grad(f)(2.0, False)
    for _ in range(3):
        with pytest.raises(NotImplementedError):
            mg.grad(f)(2.0, True)
        assert mg.grad(f)(2.0, False) == expected == 36.0
    bad = with_vjp(lambda g, x: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        mg.grad(lambda x: bad(x) * x)(2.0)
    assert mg.grad(f)(2.0, False) == expected


def test_threads_do_not_meet():
    """Each thread takes gradients in gradients, switching as often as Python can."""
    def work(seed):
        w = np.random.default_rng(seed).normal(size=(3, 3))

        def f(x):
            h = x
            for _ in range(5):
                h = np.tanh(h @ w) + mg.sigmoid(h[0])
            return np.sum(h)
        return [mg.grad(lambda x: np.sum(mg.grad(f)(x) ** 2))(A + k) for k in range(5)]
    alone, results = [work(seed) for seed in range(4)], [None] * 4

    def run(seed):
        results[seed] = work(seed)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    np.testing.assert_array_equal(results, alone)


# ---------------------------------------------------------------- one engine inside the other
def test_minigrad_inside_autograd():
    """A minigrad gradient is a function of numbers like any other, so autograd can differentiate it."""
    for x in (0.3, -1.7):
        ours = mg.grad(lambda x: x * mg.grad(lambda y: mg.sigmoid(y) * np.sin(x * y))(x))(x)
        mixed = autograd.grad(lambda x: x * mg.grad(lambda y: mg.sigmoid(y) * np.sin(x * y))(x))(x)
        assert_close(mixed, ours)


def test_autograd_inside_minigrad():
    """Beside the Tensor it works; through a Tensor it can't, and autograd says so."""
    assert mg.grad(lambda x: x * autograd.grad(lambda y: y**3)(2.0))(5.0) == 12.0
    with pytest.raises(TypeError, match="Tensor"):
        mg.grad(lambda x: autograd.grad(lambda y: y**3)(x))(2.0)
    with pytest.raises(TypeError, match="Tensor"), pytest.warns(UserWarning, match="independent"):
        mg.grad(lambda x: autograd.grad(lambda y: x * y)(2.0))(2.0)
    assert mg.grad(lambda x: x**2)(3.0) == 6.0 and autograd.grad(lambda x: x**2)(3.0) == 6.0
