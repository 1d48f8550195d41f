"""Folded columns give the convolution written out, to the last bit in whole numbers, with its gradients."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from cnn.network import folding, forms, ops
from tests.network import reference
from tests.network.helpers import NONE, value_and_gradients, whole_numbers

pytestmark = pytest.mark.thorough
ONE = ((1, 1), (1, 1))


@pytest.mark.parametrize("convolution", [ops.correlate, forms.product])
@pytest.mark.parametrize(
    ("image", "kernel", "strides", "sides", "tile"),
    [
        pytest.param((2, 6, 8, 1), (3, 3, 1, 4), (1, 1), ONE, 2, id="first-layer"),
        pytest.param((2, 9, 12, 2), (5, 5, 2, 3), (1, 1), ((2, 2), (2, 2)), 4, id="four-cells"),
        pytest.param((1, 5, 7, 3), (3, 3, 3, 2), (1, 1), NONE, 2, id="columns-that-no-tile-divides"),
        pytest.param((1, 4, 5, 2), (3, 3, 2, 2), (1, 1), NONE, 4, id="fewer-columns-than-a-tile"),
        pytest.param((2, 7, 9, 2), (3, 3, 2, 3), (2, 2), ONE, 1, id="strided"),
        pytest.param((2, 7, 11, 2), (3, 3, 2, 3), (2, 2), ONE, 2, id="strided-tiles"),
        pytest.param((1, 5, 8, 2), (2, 4, 2, 3), (1, 2), ((0, 1), (2, 0)), 2, id="even-and-uneven"),
        pytest.param((1, 3, 10, 2), (1, 3, 2, 3), (3, 1), NONE, 2, id="rows-left-out"),
        pytest.param((1, 3, 10, 2), (1, 1, 2, 3), (1, 4), NONE, 1, id="columns-left-out"),
    ],
)
def test_whole_numbers_are_exact(image, kernel, strides, sides, tile, convolution):
    x, weights = whole_numbers(0, image, kernel)
    expected = reference.conv2d(x, weights, np.zeros(kernel[-1], np.float32), strides, sides)
    (g,) = whole_numbers(1, expected.shape)
    convolve = functools.partial(folding.convolve, strides=strides, sides=sides, tile=tile, convolution=convolution)
    y, (dx, dkernel) = value_and_gradients(convolve, g, x, weights)
    wanted = reference.conv2d_gradients(x, weights, g, strides, sides)
    assert_array_equal(y, expected)
    assert_array_equal(dx, wanted[0])
    assert_array_equal(dkernel, wanted[1])


def test_a_filter_stands_once_for_each_cell_and_is_zero_elsewhere():
    kernel = jnp.arange(1.0, 13.0).reshape(2, 3, 1, 2)
    folded = folding.band(kernel, 3, 2, 2).reshape(2, 12, 3, 2)
    assert folded.shape[1] == 2 * 3 * 2
    for cell in range(3):
        assert_array_equal(folded[:, 2 * cell : 2 * cell + 3, cell], kernel[:, :, 0])
    assert jnp.count_nonzero(folded) == 3 * kernel.size
