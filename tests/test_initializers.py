"""Initial weights: their bounds, their spread, and that orthogonal matrices are drawn evenly."""
import math

import numpy as np
import pytest

from minigrad import initializers


@pytest.mark.parametrize("shape", [(30, 200), (200, 30), (100, 100), (500,)])
def test_glorot_uniform(shape):
    w = initializers.glorot_uniform(np.random.default_rng(0), shape)
    variance = 2 / (shape[0] + shape[-1])
    assert w.shape == shape and w.dtype == np.float64
    assert np.abs(w).max() <= math.sqrt(3 * variance) and np.abs(w).max() > 0.98 * math.sqrt(3 * variance)
    assert w.var() == pytest.approx(variance, rel=0.1)
    assert abs(w.mean()) < 5 * math.sqrt(variance / w.size)
    assert np.mean(np.abs(w) < math.sqrt(3 * variance) / 2) == pytest.approx(0.5, abs=0.07)       # uniform, not normal


@pytest.mark.parametrize("shape", [(6, 6), (7, 4), (4, 7), (1, 5), (1, 1)])
def test_orthogonal_keeps_lengths(shape):
    q = initializers.orthogonal(np.random.default_rng(1), shape)
    assert q.shape == shape and q.dtype == np.float64
    small = q @ q.T if shape[0] <= shape[1] else q.T @ q
    np.testing.assert_allclose(small, np.eye(min(shape)), atol=1e-12)


def test_repeated_products_with_an_orthogonal_matrix_neither_grow_nor_shrink():
    rng = np.random.default_rng(2)
    u, h = initializers.orthogonal(rng, (8, 8)), rng.standard_normal((3, 8))
    np.testing.assert_allclose(np.linalg.norm(h @ np.linalg.matrix_power(u, 500), axis=1), np.linalg.norm(h, axis=1), rtol=1e-9)


@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (2, 4)])
def test_orthogonal_matrices_are_drawn_evenly(shape):
    """Every entry is as often positive as negative, of variance 1/max(shape): a bare QR has a negative diagonal."""
    rng = np.random.default_rng(3)
    drawn = np.array([initializers.orthogonal(rng, shape) for _ in range(3000)])
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=0.05)
    np.testing.assert_allclose(drawn.var(axis=0), 1 / max(shape), rtol=0.1)


def test_zeros_draw_nothing():
    rng = np.random.default_rng(4)
    before = rng.bit_generator.state
    zeros = initializers.zeros(rng, (2, 3))
    assert zeros.shape == (2, 3) and zeros.dtype == np.float64 and not zeros.any()
    assert rng.bit_generator.state == before


@pytest.mark.parametrize("draw", [initializers.glorot_uniform, initializers.orthogonal])
def test_a_seed_gives_the_same_numbers(draw):
    one, same, other = (draw(np.random.default_rng(seed), (4, 4)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, same)
    assert not np.isclose(one, other).any()
