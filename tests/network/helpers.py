"""Inputs and comparisons that the tests of the operations share."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from cnn.network.forms import PLAIN, fast
from tests.network import reference

property_test = settings(max_examples=15, deadline=None)
NONE = ((0, 0), (0, 0))
FORMS = {"plain": PLAIN, "cpu": fast("cpu"), "gpu": fast("gpu")}


def whole_numbers(seed, *shapes):
    """Small whole numbers: every sum of products is exact in float32 in any order, and windows are full of ties."""
    generator = np.random.default_rng(seed)
    return [generator.integers(-3, 4, shape).astype(np.float32) for shape in shapes]


def normal_numbers(seed, shape):
    """Drawn by NumPy: JAX would compile a program for each shape."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def distinct(seed, shape):
    """Numbers of which no two are near each other: a small step changes no winner."""
    cells = int(np.prod(shape))
    return (np.random.default_rng(seed).permutation(cells).reshape(shape) / cells - 0.5).astype(np.float32)


@functools.partial(jax.jit, static_argnums=0)
def value_and_gradients(function, g, *arguments):
    """A function's value, and the gradients of `sum(g * value)`, as one compiled program."""
    y, backward = jax.vjp(function, *arguments)
    return y, backward(g)


def check_conv(x_shape, kernel_shape, stride, padding, strides, sides, seed=0):
    """The plain form and a CPU's, each with its gradients, as one compiled program."""
    x, kernel, bias = whole_numbers(seed, x_shape, kernel_shape, kernel_shape[-1:])
    expected = reference.conv2d(x, kernel, bias, strides, sides)
    g = whole_numbers(seed + 1, expected.shape)[0]
    by_hand = reference.conv2d_gradients(x, kernel, g, strides, sides)
    functions = [functools.partial(FORMS[name].conv2d, stride=stride, padding=padding) for name in ("plain", "cpu")]

    def convolutions(plain, cpu):
        return tuple(function(*arguments) for function, arguments in zip(functions, (plain, cpu), strict=True))

    values, gradients = value_and_gradients(convolutions, (g, g), (x, kernel, bias), (x, kernel, bias))
    for name, y, found in zip(("plain", "cpu"), values, gradients, strict=True):
        assert y.dtype == jnp.float32
        assert_array_equal(y, expected, err_msg=name)
        for gradient, wanted in zip(found, by_hand, strict=True):
            assert_array_equal(gradient, wanted, err_msg=name)


def check_pooling(shape, window, stride, padding, windows, strides, sides, seed=0):
    """The maximum in two forms, the mean and the mean of the cells inside, each with its gradient, as one program."""
    x = whole_numbers(seed, shape)[0] - 4  # every number is negative, and padded zeros would win
    inside = functools.partial(reference.avg_pool2d, count_include_pad=False)
    witnesses = {"max": reference.max_pool2d, "max of a CPU": reference.max_pool2d}
    witnesses |= {"mean": reference.avg_pool2d, "mean inside": inside}
    expected = [witness(x, windows, strides, sides) for witness in witnesses.values()]
    g = whole_numbers(seed + 1, expected[0].shape)[0]

    def pools(a, b, c, d):
        return (
            PLAIN.max_pool2d(a, window, stride, padding),
            FORMS["cpu"].max_pool2d(b, window, stride, padding),
            PLAIN.avg_pool2d(c, window, stride, padding),
            PLAIN.avg_pool2d(d, window, stride, padding, count_include_pad=False),
        )

    values, gradients = value_and_gradients(pools, (g, g, g, g), x, x, x, x)
    for name, y, dx, value in zip(witnesses, values, gradients, expected, strict=True):
        tolerance = 0 if name.startswith("max") else 1e-5
        exactness = {"rtol": tolerance, "atol": tolerance, "err_msg": name}
        assert_allclose(y, value, **exactness)
        assert_allclose(dx, witnesses[name](x, windows, strides, sides, g=g), **exactness)


def draw_windows(data, most, below_window=False):
    """Sizes, filters, strides and sides of padding of two axes, such that the filter fits."""
    axes = []
    for _ in range(2):
        filter = data.draw(st.integers(1, most))
        stride = data.draw(st.integers(1, 3))
        widest = min(filter - 1, 2) if below_window else 2
        before = data.draw(st.integers(0, widest))
        after = data.draw(st.integers(0, widest))
        size = data.draw(st.integers(max(filter - before - after, 1), 7))
        axes.append((size, filter, stride, (before, after)))
    return tuple(zip(*axes, strict=True))
