"""Pooling against NumPy and finite differences, in the plain form and in a CPU's."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from cnn.errors import RequestError
from cnn.network import ops
from tests.network import reference
from tests.network.helpers import FORMS, NONE, check_pooling, distinct, draw_windows, property_test, whole_numbers

pytestmark = pytest.mark.thorough

LECTURE = np.array([[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]], np.float32).reshape(1, 4, 4, 1)
EACH_FORM = pytest.mark.parametrize("form", ["plain", "cpu"])


@EACH_FORM
@pytest.mark.parametrize("stride", [None, 2, (2, 2)])
@pytest.mark.parametrize("window", [2, (2, 2)])
def test_pooling_of_the_lecture(window, stride, form):
    x = jnp.asarray(LECTURE)
    assert FORMS[form].max_pool2d(x, window, stride).reshape(2, 2).tolist() == [[6, 8], [3, 4]]
    assert ops.avg_pool2d(x, window, stride).reshape(2, 2).tolist() == [[3.25, 5.25], [2, 2]]


POOLINGS = [
    # image, window, stride and padding as given, and as they are to be understood
    pytest.param((2, 6, 4, 3), 2, None, 0, (2, 2), (2, 2), NONE, id="touching"),
    pytest.param((2, 7, 5, 2), 2, 2, 0, (2, 2), (2, 2), NONE, id="touching-odd-size"),
    pytest.param((1, 8, 7, 1), (3, 2), None, "VALID", (3, 2), (3, 2), NONE, id="touching-not-square"),
    pytest.param((2, 5, 4, 2), (5, 4), None, 0, (5, 4), (5, 4), NONE, id="global"),
    pytest.param((1, 12, 11, 2), (12, 11), None, 0, (12, 11), (12, 11), NONE, id="global-of-132-cells"),
    pytest.param((2, 4, 3, 2), 1, None, 0, (1, 1), (1, 1), NONE, id="window-of-one-cell"),
    pytest.param((2, 7, 6, 2), 3, 2, 0, (3, 3), (2, 2), NONE, id="overlapping"),
    pytest.param((2, 5, 6, 2), 2, 1, 0, (2, 2), (1, 1), NONE, id="overlapping-by-one"),
    pytest.param((1, 6, 6, 2), (3, 2), (1, 2), 0, (3, 2), (1, 2), NONE, id="overlapping-on-one-axis"),
    pytest.param((1, 8, 7, 2), 2, 3, 0, (2, 2), (3, 3), NONE, id="skipping"),
    pytest.param((1, 6, 6, 1), 3, 3, 1, (3, 3), (3, 3), ((1, 1), (1, 1)), id="touching-padded"),
    pytest.param((1, 5, 7, 1), 3, 2, "SAME", (3, 3), (2, 2), ((1, 1), (1, 1)), id="same"),
    pytest.param((1, 5, 5, 1), 2, 2, "SAME", (2, 2), (2, 2), ((0, 1), (0, 1)), id="same-at-the-end"),
    pytest.param((2, 5, 5, 2), 3, 2, (0, 1), (3, 3), (2, 2), ((0, 0), (1, 1)), id="flat-pair-is-height-width"),
    pytest.param((1, 4, 5, 2), 3, 1, ((2, 0), (1, 2)), (3, 3), (1, 1), ((2, 0), (1, 2)), id="padding-per-side"),
    pytest.param((1, 1, 1, 1), 3, 1, 1, (3, 3), (1, 1), ((1, 1), (1, 1)), id="one-cell"),
]
POOL_NAMES = ("shape", "window", "stride", "padding", "windows", "strides", "sides")


@pytest.mark.parametrize(POOL_NAMES, POOLINGS)
def test_pooling_and_its_gradients(shape, window, stride, padding, windows, strides, sides):
    check_pooling(shape, window, stride, padding, windows, strides, sides)


@pytest.mark.slow
@property_test
@given(st.data())
def test_pooling_and_its_gradients_whatever_the_sizes(data):
    sizes, windows, strides, sides = draw_windows(data, most=4, below_window=True)
    shape = (data.draw(st.integers(1, 3)), *sizes, data.draw(st.integers(1, 3)))
    check_pooling(shape, windows, strides, sides, windows, strides, sides, data.draw(st.integers(0, 9)))


@pytest.mark.slow
@property_test
@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 4), st.integers(1, 4), st.integers(0, 9))
def test_touching_windows_whatever_the_sizes(height, width, rows, columns, seed):
    windows = (min(rows, height), min(columns, width))
    check_pooling((2, height, width, 2), windows, None, 0, windows, windows, NONE, seed)


@EACH_FORM
@pytest.mark.parametrize(("window", "stride"), [(2, 2), (3, 2)])
def test_among_equal_values_the_first_in_reading_order_takes_the_gradient(window, stride, form):
    x = jnp.full((1, 6, 6, 1), 5.0)
    dx = jax.grad(lambda x: FORMS[form].max_pool2d(x, window, stride).sum())(x)
    expected = np.zeros((6, 6))
    starts = range(0, 6 - window + 1, stride)
    expected[np.ix_(starts, starts)] = 1
    assert_array_equal(dx[0, :, :, 0], expected)


@EACH_FORM
@pytest.mark.parametrize(("window", "stride"), [(2, 2), (3, 1), (3, 3)])
def test_padded_cells_never_win(window, stride, form):
    x = jnp.full((1, 5, 5, 2), -1e30)
    assert (FORMS[form].max_pool2d(x, window, stride, 1) == -1e30).all()
    assert_allclose(ops.avg_pool2d(x, window, stride, 1, count_include_pad=False), -1e30, rtol=1e-6)
    assert ops.avg_pool2d(x, window, stride, 1)[0, 0, 0, 0] > -0.9e30


DIFFERENTIATED = pytest.mark.parametrize(
    ("window", "stride", "sides"),
    [
        pytest.param((2, 2), (2, 2), NONE, id="touching"),
        pytest.param((3, 3), (2, 2), NONE, id="overlapping"),
        pytest.param((2, 3), (1, 2), ((1, 0), (1, 1)), id="overlapping-padded"),
    ],
)


@EACH_FORM
@DIFFERENTIATED
def test_forward_mode_of_pooling(window, stride, sides, form):
    x, tangent = whole_numbers(3, (2, 7, 7, 2), (2, 7, 7, 2))
    for name in ("max_pool2d", "avg_pool2d"):
        backward = getattr(reference, name)
        pool = functools.partial(getattr(FORMS[form], name), window=window, stride=stride, padding=sides)
        y, moved = jax.jit(functools.partial(jax.jvp, pool))((jnp.asarray(x),), (jnp.asarray(tangent),))
        assert_allclose(y, backward(x, window, stride, sides), rtol=1e-6, atol=1e-6)
        for index in np.ndindex(y.shape):  # each output's tangent is its gradient's product with the input's tangent
            if sum(index) % 5 == 0:
                g = np.zeros(y.shape)
                g[index] = 1
                assert_allclose(
                    moved[index], (backward(x, window, stride, sides, g=g) * tangent).sum(), rtol=1e-6, atol=1e-6
                )


@pytest.mark.slow
@EACH_FORM
@DIFFERENTIATED
@pytest.mark.parametrize("pool", ["max_pool2d", "avg_pool2d"])
def test_second_derivatives_through_pooling(window, stride, sides, pool, form):
    """Of `sum(pool(x)**3)` along a direction, against a finite difference of the reference's gradient."""
    x = distinct(4, (1, 7, 7, 2))
    direction = distinct(5, (1, 7, 7, 2))

    def value(x):
        return (getattr(FORMS[form], pool)(x, window, stride, sides) ** 3).sum()

    def reference_gradient(x):
        apply = functools.partial(getattr(reference, pool), x, window, stride, sides)
        return apply(g=3 * apply() ** 2)

    step = 1e-5
    wide = x.astype(np.float64)
    v = direction.astype(np.float64)
    expected = (reference_gradient(wide + step * v) - reference_gradient(wide - step * v)) / (2 * step)
    assert abs(expected).max() > 100 * 2e-5
    gradient = jax.grad(value)
    second = {
        "reverse over reverse": jax.grad(lambda x: (gradient(x) * direction).sum()),
        "forward over reverse": lambda x: jax.jvp(gradient, (x,), (direction,))[1],
        "reverse over forward": jax.grad(lambda x: jax.jvp(value, (x,), (direction,))[1]),
    }
    for order, function in second.items():
        assert_allclose(jax.jit(function)(jnp.asarray(x)), expected, rtol=1e-4, atol=2e-5, err_msg=order)


def test_a_bfloat16_mean_keeps_its_small_addends():
    x = jnp.full((1, 32, 32, 1), 1.0, jnp.bfloat16)
    assert ops.avg_pool2d(x, 32).item() == 1.0
    assert ops.avg_pool2d(x, 32, 1).item() == 1.0


@EACH_FORM
@pytest.mark.parametrize(("window", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (2, 2, 1)])
@pytest.mark.parametrize("dtype", [jnp.int8, jnp.int32, jnp.uint8])
def test_pooling_of_integers(dtype, window, stride, padding, form):
    x = np.random.default_rng(12).integers(*((1, 200) if dtype == jnp.uint8 else (-100, -1)), (2, 6, 6, 2))
    arguments = ((window, window), (stride, stride), ((padding, padding), (padding, padding)))
    largest = FORMS[form].max_pool2d(jnp.asarray(x, dtype), window, stride, padding)
    mean = ops.avg_pool2d(jnp.asarray(x, dtype), window, stride, padding)
    assert largest.dtype == dtype and mean.dtype == jnp.float32
    assert_array_equal(largest, reference.max_pool2d(x, *arguments))
    assert_allclose(mean, reference.avg_pool2d(x, *arguments), rtol=1e-6)


@EACH_FORM
def test_no_images(form):
    x = jnp.ones((0, 6, 6, 2))
    assert FORMS[form].max_pool2d(x, 2).shape == FORMS[form].avg_pool2d(x, 2).shape == (0, 3, 3, 2)
    assert FORMS[form].max_pool2d(x, 3, 1).shape == FORMS[form].avg_pool2d(x, 3, 1).shape == (0, 4, 4, 2)


IMAGE = jnp.ones((1, 5, 4, 2))


@pytest.mark.parametrize(
    ("call", "named"),
    [
        pytest.param(lambda: ops.max_pool2d(IMAGE[0], 2), "max_pool2d: input", id="max-rank"),
        pytest.param(lambda: ops.avg_pool2d(IMAGE[0], 2), "avg_pool2d: input", id="avg-rank"),
        pytest.param(lambda: ops.max_pool2d(IMAGE, 0), "window=0", id="max-window-0"),
        pytest.param(lambda: ops.max_pool2d(IMAGE, 2.0), "window=2.0", id="max-window-float"),
        pytest.param(lambda: ops.max_pool2d(IMAGE, (2, 2, 1)), "window=", id="max-window-of-three"),
        pytest.param(lambda: ops.max_pool2d(IMAGE, 2, 0), "stride=0", id="max-stride-0"),
        pytest.param(lambda: ops.avg_pool2d(IMAGE, 2, (2, -1)), "stride=", id="avg-stride-negative"),
        pytest.param(lambda: ops.max_pool2d(IMAGE, 5), "size 4, filter 5", id="max-window-too-large"),
        pytest.param(lambda: ops.max_pool2d(IMAGE, 2, 2, 2), "padding=2: must be below the window", id="max-padding"),
        pytest.param(
            lambda: ops.avg_pool2d(IMAGE, (3, 1), 1, 1), "padding=1: must be below", id="avg-padding-on-one-axis"
        ),
        pytest.param(
            lambda: ops.avg_pool2d(IMAGE, 2, 1, ((0, 2), (0, 0))), "must be below", id="avg-padding-on-one-side"
        ),
        pytest.param(lambda: ops.max_pool2d(IMAGE, 2, 1, "SAM"), "padding='SAM'", id="max-padding-misspelt"),
    ],
)
def test_refused(call, named, unchecked):
    with pytest.raises(RequestError, match=named):
        call()
