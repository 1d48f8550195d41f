"""Convolution against NumPy, SciPy and finite arithmetic, in the plain form and in a CPU's."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy.signal import correlate2d

from cnn.errors import RequestError
from cnn.network import ops
from tests.network import reference
from tests.network.helpers import FORMS, NONE, check_conv, draw_windows, property_test, whole_numbers

pytestmark = pytest.mark.thorough

EACH_FORM = pytest.mark.parametrize("form", ["plain", "cpu"])

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


@pytest.mark.slow
@property_test
@given(st.data())
def test_conv2d_and_its_gradients_whatever_the_sizes(data):
    sizes, filters, strides, sides = draw_windows(data, most=4)
    n, c_in, c_out = data.draw(st.tuples(*[st.integers(1, 3)] * 3))
    check_conv((n, *sizes, c_in), (*filters, c_in, c_out), strides, sides, strides, sides, data.draw(st.integers(0, 9)))


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


@EACH_FORM
@pytest.mark.parametrize("stride", [1, 2])
def test_second_derivatives_through_conv2d(stride, form):
    """The image's gradient is linear in the kernel: the mixed derivative along `v` is the kernel's gradient at `v`."""
    x, kernel, v = whole_numbers(6, (2, 6, 5, 2), (3, 3, 2, 3), (2, 6, 5, 2))
    sides = ((1, 1), (1, 1))
    g = np.ones(reference.conv2d(x, kernel, 0, (stride, stride), sides).shape, np.float32)

    def along_v(kernel):
        return (
            jax.grad(lambda x: (FORMS[form].conv2d(x, kernel, stride=stride, padding=1) * g).sum())(jnp.asarray(x)) * v
        ).sum()

    expected = reference.conv2d_gradients(v, kernel, g, (stride, stride), sides)[1]
    assert_array_equal(jax.jit(jax.grad(along_v))(jnp.asarray(kernel)), expected)
    assert_array_equal(jax.jit(jax.jacfwd(along_v))(jnp.asarray(kernel)), expected)


@EACH_FORM
def test_vmap_over_kernels_of_one_image(form):
    x, kernels = map(jnp.asarray, whole_numbers(8, (2, 5, 4, 2), (3, 3, 3, 2, 3)))
    found = jax.vmap(FORMS[form].conv2d, in_axes=(None, 0))(x, kernels)
    assert_array_equal(
        found, np.stack([reference.conv2d(x, kernel, 0, (1, 1), NONE) for kernel in np.asarray(kernels)])
    )


def test_a_wide_image_decides_the_type_of_a_narrow_kernel():
    y = ops.conv2d(jnp.ones((1, 3, 3, 1)), jnp.ones((2, 2, 1, 1), jnp.bfloat16))
    assert y.dtype == jnp.float32 and (y == 4).all()
    assert ops.conv2d(jnp.full((1, 3, 3, 1), 200, jnp.uint8), jnp.full((3, 3, 1, 1), 0.5)).item() == 900


def test_no_images():
    assert ops.conv2d(jnp.ones((0, 6, 6, 2)), jnp.ones((3, 3, 2, 5))).shape == (0, 4, 4, 5)


IMAGE = jnp.ones((1, 5, 4, 2))
KERNEL = jnp.ones((3, 3, 2, 3))


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
    ],
)
def test_refused(call, named, unchecked):
    with pytest.raises(RequestError, match=named):
        call()
