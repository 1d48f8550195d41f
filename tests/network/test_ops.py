import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.signal import correlate2d

from cnn.network import ops
from tests.network import reference

property_test = settings(max_examples=15, deadline=None)
LECTURE = np.array([[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]], np.float32).reshape(1, 4, 4, 1)


def whole_numbers(seed, *shapes):
    """Small whole numbers: every sum of products is exact in float32 in any order, and windows are full of ties."""
    generator = np.random.default_rng(seed)
    return [generator.integers(-3, 4, shape).astype(np.float32) for shape in shapes]


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
    x, kernel, bias = whole_numbers(seed, x_shape, kernel_shape, kernel_shape[-1:])
    expected = reference.conv2d(x, kernel, bias, strides, sides)
    g = whole_numbers(seed + 1, expected.shape)[0]
    function = functools.partial(ops.conv2d, stride=stride, padding=padding)
    y, gradients = value_and_gradients(function, g, x, kernel, bias)
    assert y.dtype == jnp.float32
    assert_array_equal(y, expected)
    for found, expected in zip(gradients, reference.conv2d_gradients(x, kernel, g, strides, sides), strict=True):
        assert_array_equal(found, expected)


def check_pooling(shape, window, stride, padding, windows, strides, sides, seed=0):
    """The maximum, the mean and the mean of the cells inside, each with its gradient, as one compiled program."""
    x = whole_numbers(seed, shape)[0] - 4  # every number is negative, and padded zeros would win
    witnesses = [
        reference.max_pool2d,
        reference.avg_pool2d,
        functools.partial(reference.avg_pool2d, count_include_pad=False),
    ]
    expected = [witness(x, windows, strides, sides) for witness in witnesses]
    g = whole_numbers(seed + 1, expected[0].shape)[0]

    def pools(a, b, c):
        means = (
            ops.avg_pool2d(b, window, stride, padding),
            ops.avg_pool2d(c, window, stride, padding, count_include_pad=False),
        )
        return ops.max_pool2d(a, window, stride, padding), *means

    values, gradients = value_and_gradients(pools, (g, g, g), x, x, x)
    for name, witness, y, dx, value in zip(
        ("max", "mean", "mean inside"), witnesses, values, gradients, expected, strict=True
    ):
        exactness = {"rtol": 0 if name == "max" else 1e-5, "atol": 0 if name == "max" else 1e-5, "err_msg": name}
        assert_allclose(y, value, **exactness)
        assert_allclose(dx, witness(x, windows, strides, sides, g=g), **exactness)


NONE = ((0, 0), (0, 0))
CONVOLUTIONS = [
    # image, kernel, stride and padding as given, and as they are to be understood
    pytest.param((2, 6, 5, 2), (3, 3, 2, 3), 1, 0, (1, 1), NONE, id="plain"),
    pytest.param((1, 4, 4, 1), (4, 4, 1, 2), 1, "VALID", (1, 1), NONE, id="filter-covers-image"),
    pytest.param((2, 5, 4, 3), (1, 1, 3, 2), 1, 0, (1, 1), NONE, id="1x1"),
    pytest.param((2, 7, 5, 2), (1, 1, 2, 3), 2, 0, (2, 2), NONE, id="1x1-strided"),
    pytest.param((1, 5, 5, 1), (3, 3, 1, 1), 1, "SAME", (1, 1), ((1, 1), (1, 1)), id="same"),
    pytest.param((2, 6, 7, 1), (2, 3, 1, 2), 2, "SAME", (2, 2), ((0, 0), (1, 1)), id="same-strided"),
    pytest.param((1, 6, 6, 1), (4, 2, 1, 1), 1, "SAME", (1, 1), ((1, 2), (0, 1)), id="same-even-filter"),
    pytest.param((1, 7, 8, 2), (3, 2, 2, 2), (2, 3), 0, (2, 3), NONE, id="stride-per-axis"),
    pytest.param((1, 6, 6, 1), (3, 3, 1, 1), 1, (0, 2), (1, 1), ((0, 0), (2, 2)), id="flat-pair-is-height-width"),
    pytest.param((1, 5, 6, 2), (3, 3, 2, 1), 2, ((0, 1), (2, 3)), (2, 2), ((0, 1), (2, 3)), id="padding-per-side"),
    pytest.param((1, 1, 2, 1), (3, 3, 1, 1), 1, 2, (1, 1), ((2, 2), (2, 2)), id="padding-wider-than-image"),
    pytest.param((1, 9, 9, 1), (2, 2, 1, 1), 4, 0, (4, 4), NONE, id="stride-over-filter"),
]


@pytest.mark.parametrize(("x_shape", "kernel_shape", "stride", "padding", "strides", "sides"), CONVOLUTIONS)
def test_conv2d_and_its_gradients(x_shape, kernel_shape, stride, padding, strides, sides):
    check_conv(x_shape, kernel_shape, stride, padding, strides, sides)


@property_test
@given(st.data())
def test_conv2d_and_its_gradients_whatever_the_sizes(data):
    sizes, filters, strides, sides = draw_windows(data, most=4)
    n, c_in, c_out = data.draw(st.tuples(*[st.integers(1, 3)] * 3))
    check_conv((n, *sizes, c_in), (*filters, c_in, c_out), strides, sides, strides, sides, data.draw(st.integers(0, 9)))


def draw_windows(data, most, below_window=False):
    """Sizes, filters, strides and sides of padding of two axes, such that the filter fits."""
    axes = []
    for _ in range(2):
        filter, stride = data.draw(st.integers(1, most)), data.draw(st.integers(1, 3))
        widest = min(filter - 1, 2) if below_window else 2
        before, after = data.draw(st.integers(0, widest)), data.draw(st.integers(0, widest))
        size = data.draw(st.integers(max(filter - before - after, 1), 7))
        axes.append((size, filter, stride, (before, after)))
    return tuple(zip(*axes))


@pytest.mark.parametrize("stride", [(1, 1), (2, 3)])
def test_conv2d_agrees_with_scipy(stride):
    x, kernel = whole_numbers(1, (2, 8, 7, 3), (3, 2, 3, 4))
    y = ops.conv2d(jnp.asarray(x), jnp.asarray(kernel), stride=stride)
    for image, filter in itertools.product(range(2), range(4)):
        maps = [correlate2d(x[image, :, :, c], kernel[:, :, c, filter], mode="valid") for c in range(3)]
        assert_array_equal(y[image, :, :, filter], sum(maps)[:: stride[0], :: stride[1]])


def test_1x1_convolution_is_a_dense_layer_on_every_cell():
    x, kernel, bias = map(jnp.asarray, whole_numbers(2, (2, 5, 4, 3), (1, 1, 3, 6), (6,)))
    y = ops.conv2d(x, kernel, bias)
    assert y.shape == (2, 5, 4, 6)
    assert_array_equal(y, ops.dense(x, kernel[0, 0], bias))
    assert_array_equal(y, np.einsum("nhwc,co->nhwo", x, kernel[0, 0]) + np.asarray(bias))


def test_conv2d_does_not_mirror_the_filter():
    x = jnp.arange(9.0).reshape(1, 3, 3, 1)
    first_cell = jnp.zeros((2, 2, 1, 1)).at[0, 0].set(1)
    assert ops.conv2d(x, first_cell).reshape(-1).tolist() == [0, 1, 3, 4]


@pytest.mark.parametrize("stride", [None, 2, (2, 2)])
@pytest.mark.parametrize("window", [2, (2, 2)])
def test_pooling_of_the_lecture(window, stride):
    x = jnp.asarray(LECTURE)
    assert ops.max_pool2d(x, window, stride).reshape(2, 2).tolist() == [[6, 8], [3, 4]]
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


@property_test
@given(st.data())
def test_pooling_and_its_gradients_whatever_the_sizes(data):
    sizes, windows, strides, sides = draw_windows(data, most=4, below_window=True)
    shape = (data.draw(st.integers(1, 3)), *sizes, data.draw(st.integers(1, 3)))
    check_pooling(shape, windows, strides, sides, windows, strides, sides, data.draw(st.integers(0, 9)))


@property_test
@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 4), st.integers(1, 4), st.integers(0, 9))
def test_touching_windows_whatever_the_sizes(height, width, rows, columns, seed):
    windows = (min(rows, height), min(columns, width))
    check_pooling((2, height, width, 2), windows, None, 0, windows, windows, NONE, seed)


@pytest.mark.parametrize(("window", "stride"), [(2, 2), (3, 2)])
def test_among_equal_values_the_first_in_reading_order_takes_the_gradient(window, stride):
    x = jnp.full((1, 6, 6, 1), 5.0)
    dx = jax.grad(lambda x: ops.max_pool2d(x, window, stride).sum())(x)
    expected = np.zeros((6, 6))
    starts = range(0, 6 - window + 1, stride)
    expected[np.ix_(starts, starts)] = 1
    assert_array_equal(dx[0, :, :, 0], expected)


@pytest.mark.parametrize(("window", "stride"), [(2, 2), (3, 1), (3, 3)])
def test_padded_cells_never_win(window, stride):
    x = jnp.full((1, 5, 5, 2), -1e30)
    assert (ops.max_pool2d(x, window, stride, 1) == -1e30).all()
    assert_allclose(ops.avg_pool2d(x, window, stride, 1, count_include_pad=False), -1e30, rtol=1e-6)
    assert ops.avg_pool2d(x, window, stride, 1)[0, 0, 0, 0] > -0.9e30


@pytest.mark.parametrize(
    ("batch", "size", "c_in", "c_out", "filter", "stride", "padding"),
    [
        pytest.param(1, 28, 1, 32, 3, 1, 1, id="one-image"),
        pytest.param(7, 32, 3, 16, 5, 1, 2, id="odd-batch-colour"),
        pytest.param(64, 8, 1, 16, 3, 1, 1, id="digits-first-block"),
        pytest.param(64, 5, 16, 32, 3, 1, 1, id="small-image"),
        pytest.param(130, 14, 16, 32, 3, 1, 1, id="large-batch"),
        pytest.param(130, 28, 1, 3, 3, 1, 1, id="large-batch-one-channel"),
        pytest.param(130, 7, 32, 16, 3, 2, ((0, 1), (0, 1)), id="large-batch-strided"),
        pytest.param(64, 32, 3, 32, 3, 1, 1, id="large-image"),
        pytest.param(130, 5, 32, 32, 1, 1, 0, id="large-batch-1x1"),
        pytest.param(64, 14, 6, 16, 5, 1, 0, id="lenet-second"),
        pytest.param(64, 2, 16, 32, 3, 1, 1, id="map-of-2x2"),
        pytest.param(130, 3, 32, 16, 3, 2, 0, id="map-of-1x1"),
    ],
)
def test_conv2d_at_the_sizes_of_training(batch, size, c_in, c_out, filter, stride, padding):
    sides = padding if isinstance(padding, tuple) else ((padding, padding), (padding, padding))
    check_conv((batch, size, size, c_in), (filter, filter, c_in, c_out), stride, padding, (stride, stride), sides)


@pytest.mark.parametrize(
    ("batch", "size", "channels", "window", "stride"),
    [
        (1, 28, 32, 2, 2),
        (7, 32, 16, 3, 2),
        (64, 5, 3, 2, 2),
        (64, 28, 1, 2, 2),
        (130, 14, 16, 2, 2),
        (130, 8, 32, 3, 1),
    ],
)
def test_pooling_at_the_sizes_of_training(batch, size, channels, window, stride):
    check_pooling((batch, size, size, channels), window, stride, 0, (window, window), (stride, stride), NONE)


DIFFERENTIATED = pytest.mark.parametrize(
    ("window", "stride", "sides"),
    [
        pytest.param((2, 2), (2, 2), NONE, id="touching"),
        pytest.param((3, 3), (2, 2), NONE, id="overlapping"),
        pytest.param((2, 3), (1, 2), ((1, 0), (1, 1)), id="overlapping-padded"),
    ],
)


@DIFFERENTIATED
def test_forward_mode_of_pooling(window, stride, sides):
    x, tangent = whole_numbers(3, (2, 7, 7, 2), (2, 7, 7, 2))
    for function, backward in [(ops.max_pool2d, reference.max_pool2d), (ops.avg_pool2d, reference.avg_pool2d)]:
        pool = functools.partial(function, window=window, stride=stride, padding=sides)
        y, moved = jax.jit(functools.partial(jax.jvp, pool))((jnp.asarray(x),), (jnp.asarray(tangent),))
        assert_allclose(y, backward(x, window, stride, sides), rtol=1e-6, atol=1e-6)
        for index in np.ndindex(y.shape):  # each output's tangent is its gradient's product with the input's tangent
            if sum(index) % 5 == 0:
                g = np.zeros(y.shape)
                g[index] = 1
                assert_allclose(
                    moved[index], (backward(x, window, stride, sides, g=g) * tangent).sum(), rtol=1e-6, atol=1e-6
                )


@DIFFERENTIATED
@pytest.mark.parametrize("pool", ["max_pool2d", "avg_pool2d"])
def test_second_derivatives_through_pooling(window, stride, sides, pool):
    """Of `sum(pool(x)**3)` along a direction, against a finite difference of the reference's gradient."""
    x, direction = distinct(4, (1, 7, 7, 2)), distinct(5, (1, 7, 7, 2))

    def value(x):
        return (getattr(ops, pool)(x, window, stride, sides) ** 3).sum()

    def reference_gradient(x):
        apply = functools.partial(getattr(reference, pool), x, window, stride, sides)
        return apply(g=3 * apply() ** 2)

    step = 1e-5
    wide, v = x.astype(np.float64), direction.astype(np.float64)
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


@pytest.mark.parametrize("stride", [1, 2])
def test_second_derivatives_through_conv2d(stride):
    """The image's gradient is linear in the kernel: the mixed derivative along `v` is the kernel's gradient at `v`."""
    x, kernel, v = whole_numbers(6, (2, 6, 5, 2), (3, 3, 2, 3), (2, 6, 5, 2))
    sides = ((1, 1), (1, 1))
    g = np.ones(reference.conv2d(x, kernel, 0, (stride, stride), sides).shape, np.float32)

    def along_v(kernel):
        return (
            jax.grad(lambda x: (ops.conv2d(x, kernel, stride=stride, padding=1) * g).sum())(jnp.asarray(x)) * v
        ).sum()

    expected = reference.conv2d_gradients(v, kernel, g, (stride, stride), sides)[1]
    assert_array_equal(jax.jit(jax.grad(along_v))(jnp.asarray(kernel)), expected)
    assert_array_equal(jax.jit(jax.jacfwd(along_v))(jnp.asarray(kernel)), expected)


FUNCTIONS = {
    "conv2d": (lambda x, k, b: ops.conv2d(x, k, b, stride=2, padding=1), [(2, 5, 4, 2), (3, 3, 2, 3), (3,)]),
    "max-touching": (lambda x: ops.max_pool2d(x, 2), [(2, 5, 4, 2)]),
    "max-overlapping": (lambda x: ops.max_pool2d(x, 3, 2, 1), [(2, 5, 4, 2)]),
    "avg-touching": (lambda x: ops.avg_pool2d(x, 2), [(2, 5, 4, 2)]),
    "avg-overlapping": (lambda x: ops.avg_pool2d(x, 3, 2, 1, count_include_pad=False), [(2, 5, 4, 2)]),
    "dense": (ops.dense, [(2, 3), (3, 4), (4,)]),
    "flatten": (ops.flatten, [(2, 3, 2, 2)]),
}
EVERY_FUNCTION = pytest.mark.parametrize(("function", "shapes"), FUNCTIONS.values(), ids=FUNCTIONS.keys())


def squares_and_gradients(function, *arguments):
    every = tuple(range(len(arguments)))
    return function(*arguments), jax.grad(lambda *each: (function(*each) ** 2).sum(), every)(*arguments)


@EVERY_FUNCTION
def test_vmap_is_a_loop(function, shapes):
    """Over replicas: each has its own image, kernel and bias."""
    both = functools.partial(squares_and_gradients, function)
    stacked = [jnp.asarray(array) for array in whole_numbers(7, *((3, *shape) for shape in shapes))]
    found = jax.jit(jax.vmap(both))(*stacked)
    single = jax.jit(both)
    looped = [single(*(array[replica] for array in stacked)) for replica in range(3)]
    jax.tree.map(lambda a, *b: assert_allclose(a, np.stack(b), rtol=1e-6, atol=1e-6), found, *looped)


def test_vmap_over_kernels_of_one_image():
    x, kernels = map(jnp.asarray, whole_numbers(8, (2, 5, 4, 2), (3, 3, 3, 2, 3)))
    found = jax.vmap(ops.conv2d, in_axes=(None, 0))(x, kernels)
    assert_array_equal(
        found, np.stack([reference.conv2d(x, kernel, 0, (1, 1), NONE) for kernel in np.asarray(kernels)])
    )


@EVERY_FUNCTION
def test_jit_is_eager(function, shapes):
    arguments = [jnp.asarray(array) for array in whole_numbers(9, *shapes)]
    assert_allclose(jax.jit(function)(*arguments), function(*arguments), rtol=1e-6, atol=1e-6)


@EVERY_FUNCTION
def test_bfloat16_stays_bfloat16(function, shapes):
    generator = np.random.default_rng(10)
    arguments = [jnp.asarray(generator.normal(size=shape), jnp.bfloat16) for shape in shapes]
    found = jax.jit(functools.partial(squares_and_gradients, function))(*arguments)
    expected = jax.jit(functools.partial(squares_and_gradients, function))(
        *(argument.astype(jnp.float32) for argument in arguments)
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype(jnp.bfloat16)}
    assert {leaf.dtype for leaf in jax.tree.leaves(expected)} == {jnp.dtype(jnp.float32)}
    jax.tree.map(lambda a, b: assert_allclose(a.astype(jnp.float32), b, rtol=0.03, atol=0.06), found, expected)


def test_a_bfloat16_mean_keeps_its_small_addends():
    x = jnp.full((1, 32, 32, 1), 1.0, jnp.bfloat16)
    assert ops.avg_pool2d(x, 32).item() == 1.0
    assert ops.avg_pool2d(x, 32, 1).item() == 1.0


def test_a_wide_image_decides_the_type_of_a_narrow_kernel():
    y = ops.conv2d(jnp.ones((1, 3, 3, 1)), jnp.ones((2, 2, 1, 1), jnp.bfloat16))
    assert y.dtype == jnp.float32 and (y == 4).all()
    assert ops.conv2d(jnp.full((1, 3, 3, 1), 200, jnp.uint8), jnp.full((3, 3, 1, 1), 0.5)).item() == 900


@EVERY_FUNCTION
def test_nan_reaches_exactly_the_outputs_that_see_it(function, shapes):
    arguments = [jnp.asarray(array) for array in whole_numbers(11, *shapes)]
    x = arguments[0]
    for index in [(0,) * x.ndim, (1,) * x.ndim, (1, *(n - 1 for n in x.shape[1:]))]:
        sees = np.asarray(function(x.at[index].set(jnp.nan), *arguments[1:]))
        ones = [jnp.ones_like(argument) for argument in arguments[1:]]
        moves = np.asarray(function(jnp.zeros_like(x).at[index].set(1.0), *ones)) != np.asarray(
            function(jnp.zeros_like(x), *ones)
        )
        assert_array_equal(np.isnan(sees), moves)


def test_a_nan_that_wins_a_window_that_touches_takes_the_gradient():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1).at[0, 1, 0, 0].set(jnp.nan)
    dx = jax.jit(jax.grad(lambda x: ops.max_pool2d(x, 2)[0, 0, 0, 0]))(x)
    assert dx[0, :, :, 0].tolist() == [[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize(("window", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (2, 2, 1)])
@pytest.mark.parametrize("dtype", [jnp.int8, jnp.int32, jnp.uint8])
def test_pooling_of_integers(dtype, window, stride, padding):
    x = np.random.default_rng(12).integers(*((1, 200) if dtype == jnp.uint8 else (-100, -1)), (2, 6, 6, 2))
    arguments = ((window, window), (stride, stride), ((padding, padding), (padding, padding)))
    largest = ops.max_pool2d(jnp.asarray(x, dtype), window, stride, padding)
    mean = ops.avg_pool2d(jnp.asarray(x, dtype), window, stride, padding)
    assert largest.dtype == dtype and mean.dtype == jnp.float32
    assert_array_equal(largest, reference.max_pool2d(x, *arguments))
    assert_allclose(mean, reference.avg_pool2d(x, *arguments), rtol=1e-6)


@pytest.mark.parametrize("lead", [(), (5,), (2, 3), (2, 3, 4)], ids=str)
def test_dense(lead):
    x, kernel, bias = whole_numbers(13, (*lead, 3), (3, 4), (4,))
    g = whole_numbers(14, (*lead, 4))[0]
    y, (dx, dk, db) = value_and_gradients(ops.dense, g, x, kernel, bias)
    rows = x.reshape(-1, 3)
    assert_array_equal(y, (rows @ kernel + bias).reshape(*lead, 4))
    assert_array_equal(dx, (g.reshape(-1, 4) @ kernel.T).reshape(*lead, 3))
    assert_array_equal(dk, rows.T @ g.reshape(-1, 4))
    assert_array_equal(db, g.reshape(-1, 4).sum(0))
    assert_array_equal(ops.dense(jnp.asarray(x), jnp.asarray(kernel)), np.asarray(y) - bias)


@pytest.mark.parametrize("shape", [(2, 3, 2, 4), (2, 5), (3,), (0, 7, 5, 3), (2, 0, 3)], ids=str)
def test_flatten_keeps_rows_and_reading_order(shape):
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    y = ops.flatten(jnp.asarray(x))
    assert y.shape == (shape[0], np.prod(shape[1:], dtype=int))
    assert y.tolist() == [list(row.ravel()) for row in x]


def test_no_images():
    x = jnp.ones((0, 6, 6, 2))
    assert ops.conv2d(x, jnp.ones((3, 3, 2, 5))).shape == (0, 4, 4, 5)
    assert ops.max_pool2d(x, 2).shape == ops.avg_pool2d(x, 2).shape == (0, 3, 3, 2)
    assert ops.max_pool2d(x, 3, 1).shape == ops.avg_pool2d(x, 3, 1).shape == (0, 4, 4, 2)


IMAGE, KERNEL = jnp.ones((1, 5, 4, 2)), jnp.ones((3, 3, 2, 3))


@pytest.mark.parametrize(
    ("call", "named"),
    [
        pytest.param(lambda: ops.conv2d(IMAGE[0], KERNEL), r"conv2d: .*\(5, 4, 2\)", id="conv-image-rank"),
        pytest.param(lambda: ops.conv2d(IMAGE, KERNEL[0]), r"conv2d: kernel .*\(3, 2, 3\)", id="conv-kernel-rank"),
        pytest.param(lambda: ops.conv2d(IMAGE[..., :1], KERNEL), "conv2d: kernel", id="conv-channels"),
        pytest.param(lambda: ops.conv2d(IMAGE, KERNEL, jnp.ones(1)), r"conv2d: bias .*\(1,\)", id="conv-bias-channels"),
        pytest.param(lambda: ops.conv2d(IMAGE, KERNEL, jnp.ones((3, 1))), "conv2d: bias", id="conv-bias-rank"),
        pytest.param(lambda: ops.conv2d(IMAGE, KERNEL, stride=0), "stride=0", id="conv-stride-0"),
        pytest.param(lambda: ops.conv2d(IMAGE, KERNEL, stride=1.0), "stride=1.0", id="conv-stride-float"),
        pytest.param(lambda: ops.conv2d(IMAGE, KERNEL, padding="SAM"), "padding='SAM'", id="conv-padding-misspelt"),
        pytest.param(lambda: ops.conv2d(IMAGE, KERNEL, padding=-1), "padding=-1", id="conv-padding-negative"),
        pytest.param(lambda: ops.conv2d(IMAGE, KERNEL, padding=(1, 1, 1, 1)), "padding=", id="conv-padding-flat"),
        pytest.param(lambda: ops.conv2d(IMAGE, jnp.ones((5, 5, 2, 3))), "size 4, filter 5", id="conv-filter-too-large"),
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
        pytest.param(
            lambda: ops.dense(jnp.ones((2, 3)), jnp.ones((4, 3))), r"dense: kernel .*\(4, 3\)", id="dense-inputs"
        ),
        pytest.param(lambda: ops.dense(jnp.ones((2, 3)), jnp.ones(3)), "dense: kernel", id="dense-kernel-rank"),
        pytest.param(lambda: ops.dense(jnp.ones(()), jnp.ones((1, 1))), "dense: kernel", id="dense-number"),
        pytest.param(
            lambda: ops.dense(jnp.ones((2, 3)), jnp.ones((3, 4)), jnp.ones(1)), "dense: bias", id="dense-bias"
        ),
        pytest.param(lambda: ops.flatten(jnp.ones(())), "flatten: ", id="flatten-number"),
    ],
)
def test_refused(call, named, unchecked):
    with pytest.raises(ValueError, match=named):
        call()


def test_the_maximum_in_bfloat16_is_that_in_float32():
    x = whole_numbers(3, (2, 6, 6, 3))[0]
    g = whole_numbers(4, (2, 3, 3, 3))[0]
    pool = functools.partial(ops.max_pool2d, window=2)
    y, (gradient,) = value_and_gradients(pool, g, x)
    low, (low_gradient,) = value_and_gradients(pool, jnp.asarray(g, jnp.bfloat16), jnp.asarray(x, jnp.bfloat16))
    assert low.dtype == low_gradient.dtype == jnp.bfloat16
    assert_array_equal(low.astype(jnp.float32), y)
    assert_array_equal(low_gradient.astype(jnp.float32), gradient)
