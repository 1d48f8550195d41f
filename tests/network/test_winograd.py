"""Winograd's form equals the convolution written out, to the last bit in whole numbers, with every derivative."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from cnn.network import ops, winograd
from tests.network import reference
from tests.network.helpers import normal_numbers, value_and_gradients, whole_numbers

pytestmark = pytest.mark.thorough
SIDES = ((1, 1), (1, 1))


def plain(x, kernel):
    return ops.correlate(x, kernel, (1, 1), SIDES)


@pytest.mark.parametrize(
    ("n", "height", "width", "c_in", "c_out"),
    [(1, 2, 2, 1, 1), (3, 4, 4, 2, 5), (2, 6, 4, 3, 2), (1, 2, 10, 4, 4), (5, 16, 16, 8, 3), (2, 4, 4, 64, 64)],
)
def test_whole_numbers_are_exact(n, height, width, c_in, c_out):
    x, kernel = whole_numbers(0, (n, height, width, c_in), (3, 3, c_in, c_out))
    expected = reference.conv2d(x, kernel, np.zeros(c_out, np.float32), (1, 1), SIDES)
    (g,) = whole_numbers(1, expected.shape)
    y, (dx, dkernel) = value_and_gradients(winograd.convolve, g, x, kernel)
    wanted = reference.conv2d_gradients(x, kernel, g, (1, 1), SIDES)
    assert_array_equal(y, expected)
    assert_array_equal(dx, wanted[0])
    assert_array_equal(dkernel, wanted[1])


@pytest.mark.parametrize(("size", "c_in", "c_out"), [(16, 64, 64), (4, 128, 256)])
def test_its_rounding_is_as_small_as_that_of_the_plain_form(size, c_in, c_out):
    x, kernel, g = map(normal_numbers, range(3), ((8, size, size, c_in), (3, 3, c_in, c_out), (8, size, size, c_out)))
    x64, kernel64, g64 = (np.asarray(each, np.float64) for each in (x, kernel, g))
    exact = [
        reference.conv2d(x64, kernel64, np.zeros(c_out), (1, 1), SIDES),
        *reference.conv2d_gradients(x64, kernel64, g64, (1, 1), SIDES)[:2],
    ]
    errors = [
        [_error(found, true) for found, true in zip(jax.tree.leaves(form), exact, strict=True)]
        for form in (value_and_gradients(winograd.convolve, g, x, kernel), value_and_gradients(plain, g, x, kernel))
    ]
    assert all(own < 4 * usual for own, usual in zip(*errors, strict=True))
    assert max(errors[0]) < 2e-6


def _error(found, exact):
    """The root mean square of the error, over that of the numbers."""
    return np.sqrt(np.mean((np.asarray(found, np.float64) - exact) ** 2) / np.mean(exact**2))


def test_second_derivatives_and_replicas_agree_with_the_plain_form():
    shapes = (3, 4, 6, 5), (3, 3, 5, 7), (3, 4, 6, 5), (3, 3, 5, 7)
    x, kernel, x_tangent, kernel_tangent = map(normal_numbers, range(4), shapes)

    def results(convolve):
        def loss(x, kernel):
            return (jnp.sin(convolve(x, kernel) / 8) ** 2).mean()

        gradient = jax.grad(loss, (0, 1))
        forward_over_reverse = jax.jvp(gradient, (x, kernel), (x_tangent, kernel_tangent))
        reverse_over_reverse = jax.grad(lambda x: sum((part**2).sum() for part in gradient(x, kernel)))(x)
        replicas = jax.vmap(gradient)(jnp.stack([x, 2 * x]), jnp.stack([kernel, -kernel]))
        return forward_over_reverse, reverse_over_reverse, replicas

    found, expected = (jax.jit(functools.partial(results, form))() for form in (winograd.convolve, plain))
    jax.tree.map(functools.partial(assert_allclose, rtol=1e-4, atol=1e-6), found, expected)
