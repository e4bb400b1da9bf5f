"""check_grads must catch what it is for, exercise must say what is wrong."""
import numpy as np
import pytest

import minigrad as mg

RNG = np.random.default_rng(6)
X, W, B = RNG.normal(size=(4, 3)), RNG.normal(size=(3, 3)), RNG.normal(size=3)


def with_rules(*makers):
    """x @ w + b as one operation, with the derivatives given."""
    @mg.primitive
    def affine(x, w, b):
        return x @ w + b
    mg.defvjp(affine, *makers)
    return lambda x, w, b: np.sum(np.tanh(affine(x, w, b)))


RIGHT = (lambda ans, x, w, b: lambda g: g @ w.T, lambda ans, x, w, b: lambda g: x.T @ g, lambda ans, x, w, b: lambda g: np.sum(g, axis=0))


def test_the_right_rules_pass():
    assert mg.check_grads(with_rules(*RIGHT), X, W, B) is None
    assert mg.check_grads(with_rules(*RIGHT[:2], lambda ans, x, w, b: lambda g: g), X, W, B) is None  # the engine sums


MISTAKES = {
    "sign": (0, lambda ans, x, w, b: lambda g: -g @ w.T),
    "factor": (1, lambda ans, x, w, b: lambda g: 1.001 * x.T @ g),
    "not transposed": (0, lambda ans, x, w, b: lambda g: g @ w),
    "transposed": (1, lambda ans, x, w, b: lambda g: (x.T @ g).T),
    "mean for sum": (2, lambda ans, x, w, b: lambda g: np.mean(g, axis=0)),
    "one row for the sum": (2, lambda ans, x, w, b: lambda g: g[0]),
    "no gradient": (2, None),
    "not a number": (1, lambda ans, x, w, b: lambda g: x.T @ g * np.nan),
    "infinite": (0, lambda ans, x, w, b: lambda g: g @ w.T + np.inf),
    "one entry": (1, lambda ans, x, w, b: lambda g: x.T @ g + 1e-4 * np.eye(3)[1] * np.eye(3)[2][:, None]),
}


@pytest.mark.parametrize("argument, mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_wrong_rule_is_caught_and_its_argument_named(argument, mistake):
    rules = list(RIGHT)
    rules[argument] = mistake
    with pytest.raises(AssertionError, match=f"the gradient of argument {argument} is wrong in"):
        mg.check_grads(with_rules(*rules), X, W, B)


def test_the_worst_entry_is_named_with_both_values():
    """In the third place of a nested argument, at a known index, by a known amount."""
    @mg.primitive
    def square(x):
        return x * x

    def maker(ans, x):
        error = np.zeros((2, 3))
        error[1, 2], error[0, 1], error[0, 0] = 0.5, -0.25, 5e-6  # the last is within a millionth of the largest, 12
        return lambda g: g * 2 * x + error
    mg.defvjp(square, maker)
    x = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    with pytest.raises(AssertionError) as raised:
        mg.check_grads(lambda a, p: np.sum(a) + np.sum(square(p["cell"][0]) + p["b"]), B, {"b": 1.0, "cell": [x]})
    assert str(raised.value) == ("the gradient of argument 1['cell'][0] is wrong in 2 of 6 entries. Worst at index (1, 2): "
                                 "the engine says 12.5, finite differences say 12")


def test_arguments_of_any_kind_pass():
    mg.check_grads(lambda x: x**3, 2.0)
    mg.check_grads(lambda x: x**3, np.array(2.0))
    mg.check_grads(lambda x: x**3, 2)
    mg.check_grads(lambda x: np.sum(x**2), X.astype(np.float32))
    mg.check_grads(lambda x: np.sum(x**2), X.T[::-1])
    mg.check_grads(lambda x, y: np.sum(x) + y, np.zeros((0, 3)), 1.0)
    mg.check_grads(lambda p: p[0] * p[1]["a"][0], (2.0, {"a": [3.0], "b": None}))
    mg.check_grads(lambda x: np.sum(x**2) + np.sum(np.sqrt(x)), np.array([1e-2, 1.0, 1e3]))
    with pytest.raises(AssertionError, match=r"argument 0 is wrong in 1 of 1 entries. Worst at index \(\)"):
        mg.check_grads(lambda x: mg.where(x > 0, x, x) * (1.0 if type(x) is not np.ndarray else 2.0), 2.0)


def test_arguments_are_left_as_they_were():
    x, tree = X.copy(), {"W": W.copy(), "b": [B.copy()]}
    mg.check_grads(lambda x, p: np.sum(np.tanh(x @ p["W"] + p["b"][0])), x, tree)
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(tree["W"], W)
    np.testing.assert_array_equal(tree["b"][0], B)
    with pytest.raises(ZeroDivisionError):
        mg.check_grads(lambda x: np.sum(x) if not isinstance(x, np.ndarray) else 1 / 0, x)
    np.testing.assert_array_equal(x, X)


@pytest.mark.parametrize("largest, error, fails", [(0.1, 0.5e-6, False), (0.1, 1.5e-6, True), (1000.0, 0.5e-3, False), (1000.0, 1.5e-3, True)])
def test_an_error_counts_relative_to_the_largest_derivative_or_to_one(largest, error, fails):
    @mg.primitive
    def line(x):
        return np.sum(x * [largest, 0.0])
    mg.defvjp(line, lambda ans, x: lambda g: g * np.array([largest, error]))
    try:
        mg.check_grads(line, np.array([0.3, -0.2]))
    except AssertionError as wrong:
        assert fails and "in 1 of 2 entries" in str(wrong)
    else:
        assert not fails


def test_steps_grow_with_large_arguments():
    mg.check_grads(lambda x: np.sum(x * x), 1e8 * X)


def test_tolerance_and_step_are_used():
    loss = with_rules(lambda ans, x, w, b: lambda g: 1.001 * g @ w.T, *RIGHT[1:])
    mg.check_grads(loss, X, W, B, tolerance=1e-2)
    mg.check_grads(lambda x: np.sum(x**3), X, step=1e-3, tolerance=1e-5)
    with pytest.raises(AssertionError):
        mg.check_grads(lambda x: np.sum(x**3), X, step=1e-1)


def test_where_there_is_no_derivative_to_compare_with():
    with np.errstate(all="ignore"):
        with pytest.raises(ValueError, match="the function's value is inf here"):
            mg.check_grads(lambda x: np.sum(1 / x), np.zeros(2))
        with pytest.raises(ValueError, match="the function's value is nan here"):
            mg.check_grads(lambda x: np.sum(np.log(x)), -np.ones(2))
        with pytest.raises(ValueError, match=r"next to argument 1\['b'\] the function is not finite"):
            mg.check_grads(lambda x, p: np.sum(x) + np.sum(np.sqrt(p["b"])), X, {"b": np.array([0.0, 1.0])})
    with pytest.raises(ValueError, match="grad needs a scalar"):
        mg.check_grads(lambda x: x * 2, X)


def test_three_steps_see_what_one_step_hides():
    """The mistake of a deleted NumPy tutorial: a gradient overwritten before it is used, exact at T = 1."""
    def loss(T):
        @mg.primitive
        def run(u, h):
            for _ in range(T):
                h = np.tanh(u @ h)
            return h

        def wrong(ans, u, h):
            def vjp(g):
                hs = [h]
                for _ in range(T):
                    hs.append(np.tanh(u @ hs[-1]))
                du = 0.0
                for before, after in zip(hs[-2::-1], hs[:0:-1]):
                    du = du + np.outer(g * (1 - after**2), before)
                    g = u.T @ g * (1 - after**2)  # the order of the two factors is wrong
                return du
            return vjp
        mg.defvjp(run, wrong, None)
        return lambda u: np.sum(run(u, B) * X[0])
    mg.check_grads(loss(1), W)
    with pytest.raises(AssertionError, match="the gradient of argument 0 is wrong"):
        mg.check_grads(loss(3), W)


# ---------------------------------------------------------------- exercise
@mg.exercise
def check_double(attempt):
    """Your double(x) must be 2x."""
    if attempt(3.0) != 6.0:  # not assert, to which pytest would add
        raise AssertionError(f"double(3) is {attempt(3.0)}, expected 6")


def stub(x):
    raise NotImplementedError


def stub_with_advice(x):
    raise NotImplementedError("your code here")


@pytest.mark.parametrize("attempt, said", [
    (lambda x: 2 * x, "Correct.\n"), (lambda x: x * x, "Not yet: double(3) is 9.0, expected 6\n"),
    (stub, "Not attempted yet.\n"), (stub_with_advice, "Not attempted yet.\n"),
], ids=["right", "wrong", "stub", "stub with advice"])
def test_an_exercise_reports(attempt, said, capsys):
    assert check_double(attempt) is None
    assert capsys.readouterr().out == said


def test_an_exercise_keeps_its_question_and_lets_errors_through(capsys):
    assert check_double.__doc__ == "Your double(x) must be 2x."
    with pytest.raises(TypeError, match="unsupported operand"):
        check_double(lambda x: x + "2")
    assert capsys.readouterr().out == ""


def test_an_operation_without_a_derivative_is_an_attempt(capsys):
    """The engine's own NotImplementedError must not be taken for the stub's."""
    mg.exercise(lambda f: mg.grad(f)(X[0]))(lambda x: np.linalg.norm(x))
    assert capsys.readouterr().out.startswith("Not yet: minigrad has no derivative of np.linalg.norm")


def test_an_exercise_may_take_several_answers_or_none(capsys):
    mg.exercise(lambda a, b: None)(1, 2)
    mg.exercise(lambda: None)()
    assert capsys.readouterr().out == "Correct.\nCorrect.\n"
