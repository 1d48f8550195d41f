"""The fast forms: they equal the plain ones and the reference at the sizes of training, and stand where they should."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from cnn.network import forms
from cnn.network.forms import PLAIN, Forms, fast
from tests.network.helpers import (
    FORMS,
    NONE,
    check_conv,
    check_pooling,
    normal_numbers,
    value_and_gradients,
    whole_numbers,
)

pytestmark = pytest.mark.thorough

EVERY_FORM = pytest.mark.parametrize("form", FORMS)


@pytest.mark.slow
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
        pytest.param(17, 32, 8, 32, 3, 1, 1, id="kernel-gradient-in-parts"),
        pytest.param(20, 32, 8, 32, 3, 2, 1, id="kernel-gradient-in-parts-strided"),
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


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_a_nan_that_wins_a_window_that_touches_takes_the_gradient(backend):
    x = jnp.arange(16.0).reshape(1, 4, 4, 1).at[0, 1, 0, 0].set(jnp.nan)
    dx = jax.jit(jax.grad(lambda x: fast(backend).max_pool2d(x, 2)[0, 0, 0, 0]))(x)
    assert dx[0, :, :, 0].tolist() == [[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


@EVERY_FORM
def test_the_maximum_in_bfloat16_is_that_in_float32(form):
    x = whole_numbers(3, (2, 6, 6, 3))[0]
    g = whole_numbers(4, (2, 3, 3, 3))[0]
    pool = functools.partial(FORMS[form].max_pool2d, window=2)
    y, (gradient,) = value_and_gradients(pool, g, x)
    low, (low_gradient,) = value_and_gradients(pool, jnp.asarray(g, jnp.bfloat16), jnp.asarray(x, jnp.bfloat16))
    assert low.dtype == low_gradient.dtype == jnp.bfloat16
    assert_array_equal(low.astype(jnp.float32), y)
    assert_array_equal(low_gradient.astype(jnp.float32), gradient)


def primitives(function, *arguments):
    """Which of the operations that a form chooses among a function is traced to."""
    traced = str(jax.make_jaxpr(function)(*arguments))
    return {name for name in ("dot_general", "conv_general_dilated", "reduce_window_max") if f"{name}[" in traced}


@pytest.mark.parametrize(
    ("image", "kernel", "stride", "product"),
    [
        pytest.param((28, 28, 1), (3, 3, 1, 16), 1, True, id="first-layer"),
        pytest.param((9, 9, 3), (4, 4, 3, 8), 1, True, id="48-weights"),
        pytest.param((9, 9, 3), (4, 4, 3, 64), 1, True, id="48-weights-of-64-filters"),
        pytest.param((9, 9, 1), (7, 7, 1, 8), 1, False, id="49-weights"),
        pytest.param((14, 14, 16), (3, 3, 16, 32), 1, False, id="later-layer"),
        pytest.param((2, 2, 32), (3, 3, 32, 64), 1, True, id="map-of-2x2"),
        pytest.param((3, 2, 32), (3, 3, 32, 64), 1, False, id="map-of-3x2"),
        pytest.param((4, 4, 32), (3, 3, 32, 64), 2, True, id="strided-to-2x2"),
        pytest.param((9, 9, 64), (1, 1, 64, 96), 1, True, id="1x1"),
        pytest.param((9, 9, 64), (1, 1, 64, 96), 2, True, id="strided-1x1"),
    ],
)
def test_a_cpu_takes_a_product_for_small_filters_and_small_maps(image, kernel, stride, product):
    arguments = jnp.ones((2, *image)), jnp.ones(kernel)
    for name, form in FORMS.items():
        found = primitives(functools.partial(form.conv2d, stride=stride, padding=kernel[0] // 2), *arguments)
        expected = "dot_general" if product and name == "cpu" else "conv_general_dilated"
        assert found == {expected}, name


@pytest.mark.parametrize(
    ("image", "kernel", "stride", "padding", "dtype", "wide"),
    [
        pytest.param((16, 16, 64), (3, 3, 64, 64), 1, 1, jnp.float32, True, id="64-to-64"),
        pytest.param((4, 8, 128), (3, 3, 128, 256), 1, 1, jnp.float32, True, id="oblong"),
        pytest.param((16, 16, 63), (3, 3, 63, 64), 1, 1, jnp.float32, False, id="few-channels"),
        pytest.param((16, 16, 64), (3, 3, 64, 63), 1, 1, jnp.float32, False, id="few-filters"),
        pytest.param((7, 8, 64), (3, 3, 64, 64), 1, 1, jnp.float32, False, id="odd-height"),
        pytest.param((8, 7, 64), (3, 3, 64, 64), 1, 1, jnp.float32, False, id="odd-width"),
        pytest.param((2, 2, 64), (3, 3, 64, 64), 1, 1, jnp.float32, False, id="map-of-2x2"),
        pytest.param((16, 16, 64), (3, 3, 64, 64), 2, 1, jnp.float32, False, id="strided"),
        pytest.param((16, 16, 64), (3, 3, 64, 64), 1, 0, jnp.float32, False, id="not-padded"),
        pytest.param((16, 16, 64), (5, 5, 64, 64), 1, 2, jnp.float32, False, id="5x5"),
        pytest.param((16, 16, 64), (3, 3, 64, 64), 1, 1, jnp.bfloat16, False, id="bfloat16"),
    ],
)
def test_a_cpu_takes_winograds_form_for_many_channels(image, kernel, stride, padding, dtype, wide):
    arguments = jnp.ones((2, *image), dtype), jnp.ones(kernel, dtype)
    for name, form in FORMS.items():
        convolve = functools.partial(form.conv2d, stride=stride, padding=padding)
        products = str(jax.make_jaxpr(convolve)(*arguments)).count("dot_general[")
        assert (products == 16) == (wide and name == "cpu"), name
    y = fast("cpu").conv2d(*arguments, stride=stride, padding=padding)
    assert_array_equal(y, PLAIN.conv2d(*arguments, stride=stride, padding=padding))


@pytest.mark.parametrize(
    ("image", "kernel", "stride", "dtype", "tile"),
    [
        pytest.param((28, 28, 1), (3, 3, 1, 16), 1, jnp.float32, 2, id="first-layer"),
        pytest.param((28, 28, 1), (5, 5, 1, 6), 1, jnp.float32, 4, id="lenet-first"),
        pytest.param((14, 14, 6), (5, 5, 6, 16), 1, jnp.float32, 2, id="lenet-second"),
        pytest.param((14, 14, 8), (3, 3, 8, 8), 1, jnp.float32, 2, id="few-channels"),
        pytest.param((32, 32, 3), (3, 3, 3, 16), 2, jnp.float32, 1, id="strided-first-layer"),
        pytest.param((32, 32, 3), (3, 3, 3, 32), 1, jnp.float32, 0, id="first-layer-of-more-filters"),
        pytest.param((14, 14, 8), (3, 3, 8, 16), 2, jnp.float32, 0, id="strided-few-channels"),
        pytest.param((14, 14, 9), (3, 3, 9, 16), 1, jnp.float32, 0, id="more-channels"),
        pytest.param((14, 14, 8), (3, 3, 8, 17), 1, jnp.float32, 0, id="more-filters"),
        pytest.param((8, 8, 1), (3, 3, 1, 16), 1, jnp.float32, 0, id="digits"),
        pytest.param((28, 28, 1), (4, 4, 1, 16), 1, jnp.float32, 0, id="even-filter"),
        pytest.param((28, 28, 1), (3, 1, 1, 16), 1, jnp.float32, 0, id="one-column"),
        pytest.param((28, 28, 3), (1, 1, 3, 16), 1, jnp.float32, 0, id="1x1"),
        pytest.param((28, 28, 1), (3, 3, 1, 16), 1, jnp.bfloat16, 0, id="bfloat16"),
    ],
)
def test_a_cpu_folds_columns_for_few_channels_and_filters(image, kernel, stride, dtype, tile, monkeypatch):
    tiles = []
    convolve = forms.folding.convolve
    monkeypatch.setattr(forms.folding, "convolve", lambda *given: tiles.append(given[4]) or convolve(*given))
    arguments = jnp.ones((2, *image), dtype), jnp.ones(kernel, dtype)
    padding = kernel[0] // 2, kernel[1] // 2
    for form in (PLAIN, fast("gpu")):
        form.conv2d(*arguments, stride=stride, padding=padding)
    assert tiles == []
    y = fast("cpu").conv2d(*arguments, stride=stride, padding=padding)
    assert tiles == [tile] * bool(tile)
    assert_array_equal(y, PLAIN.conv2d(*arguments, stride=stride, padding=padding))


@pytest.mark.parametrize(("c_in", "convolutions"), [(6, 0), (9, 1)])
def test_the_input_gradient_of_folded_columns_is_a_product(c_in, convolutions):
    x, kernel = jnp.ones((2, 14, 14, c_in)), jnp.ones((5, 5, c_in, 16))
    y, pullback = jax.vjp(lambda x: fast("cpu").conv2d(x, kernel), x)
    found = str(jax.make_jaxpr(pullback)(y))
    assert found.count("conv_general_dilated[") == convolutions
    assert ("dot_general[" in found) != bool(convolutions)
    assert_array_equal(pullback(y)[0], jax.vjp(lambda x: PLAIN.conv2d(x, kernel), x)[1](y)[0])


def test_what_each_window_took_is_computed_once_on_a_cpu():
    x, g = jnp.ones((2, 8, 8, 4)), jnp.ones((2, 4, 4, 4))
    gradient = jax.jit(lambda x, g: jax.vjp(lambda x: fast("cpu").max_pool2d(jax.nn.relu(x), 2), x)[1](g)[0])
    found = gradient.lower(x, g).compile().as_text()
    entry = found[found.index("ENTRY") :]
    assert entry.count(" fusion(") == 2  # the first winner of each window, and what reads it
    assert "f32[2,4,4,4]" in entry.split(" fusion(")[0].rsplit("=", 1)[-1]


@pytest.mark.parametrize(("c_in", "c_out", "channels"), [(7, 17, 8), (7, 32, 8), (7, 33, 7), (9, 32, 10), (8, 32, 8)])
def test_a_cpu_takes_an_even_number_of_channels_where_filters_are_few(c_in, c_out, channels):
    convolve = functools.partial(fast("cpu").conv2d, padding=1)
    traced = str(jax.make_jaxpr(convolve)(jnp.ones((2, 8, 8, c_in)), jnp.ones((3, 3, c_in, c_out))))
    assert f"rhs_shape=(3, 3, {channels}, {c_out})" in traced or f":f32[3,3,{channels},{c_out}]" in traced


@pytest.mark.parametrize(
    ("batch", "size", "c_in", "c_out", "filter", "parts"),
    [
        pytest.param(16, 32, 32, 32, 3, 8, id="eight-parts"),
        pytest.param(16, 16, 32, 64, 3, 4, id="four-parts"),
        pytest.param(15, 16, 32, 64, 3, 4, id="a-shorter-last-part"),
        pytest.param(16, 8, 48, 128, 3, 2, id="two-parts"),
        pytest.param(16, 8, 32, 32, 3, 1, id="fits-whole"),
        pytest.param(256, 32, 32, 32, 3, 8, id="no-more-than-eight"),
        pytest.param(2, 128, 32, 32, 3, 2, id="no-more-than-images"),
        pytest.param(16, 32, 32, 16, 3, 1, id="few-filters"),
        pytest.param(16, 32, 32, 32, 1, 0, id="1x1"),
        pytest.param(16, 32, 3, 32, 3, 1, id="first-layer"),
    ],
)
def test_a_kernel_gradient_is_added_up_over_parts_that_fit_into_the_cache(batch, size, c_in, c_out, filter, parts):
    x, kernel = jnp.ones((batch, size, size, c_in)), jnp.ones((filter, filter, c_in, c_out))

    def convolve(kernel):
        return fast("cpu").conv2d(x, kernel, padding=filter // 2)

    y, pullback = jax.vjp(convolve, kernel)
    assert str(jax.make_jaxpr(pullback)(y)).count("conv_general_dilated[") == parts


@pytest.mark.parametrize(("c_in", "c_out"), [(1, 16), (1, 32), (3, 32)])
def test_no_gradient_with_respect_to_the_images_is_computed(c_in, c_out):
    x, kernel = jnp.ones((4, 8, 8, c_in)), jnp.ones((3, 3, c_in, c_out))
    gradient = jax.jit(jax.grad(lambda kernel: (fast("cpu").conv2d(x, kernel, padding=1) ** 2).sum()))
    products = gradient.lower(kernel).compile().as_text()
    assert sum(f" {name}(" in line for line in products.splitlines() for name in ("convolution", "dot")) == 2


@pytest.mark.parametrize(
    ("image", "kernel", "padding", "tile"),
    [
        pytest.param((28, 28, 1), (5, 5, 1, 6), 2, 4, id="folded"),
        pytest.param((14, 14, 6), (5, 5, 6, 16), 0, 2, id="folded-convolution"),
        pytest.param((8, 8, 64), (3, 3, 64, 64), 1, 1, id="winograd"),
    ],
)
def test_a_nan_spreads_within_the_tiles_that_see_it(image, kernel, padding, tile):
    x = jnp.ones((2, *image)).at[1, 6, 6, 0].set(jnp.nan)
    y, plain = (np.isnan(form.conv2d(x, jnp.ones(kernel), padding=padding)) for form in (fast("cpu"), PLAIN))
    n, rows, columns, c = plain.shape
    tiles = plain.reshape(n, rows, columns // tile, tile, c).any(3)
    assert_array_equal(y, tiles.repeat(tile, 2))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("batch", "size", "c_in", "c_out", "filter"),
    [
        (16, 16, 4, 64, 3),
        (5, 33, 4, 32, 3),
        (4, 8, 1, 16, 3),
        (4, 6, 3, 20, 3),
        (4, 2, 3, 5, 3),
        (4, 28, 1, 6, 5),  # folded columns, a product
        (4, 14, 6, 16, 5),  # folded columns, a convolution
        (4, 9, 16, 24, 1),
    ],
)
def test_forward_and_second_derivatives_and_replicas_agree_with_the_plain_form(batch, size, c_in, c_out, filter):
    image, weights = (batch, size, size, c_in), (filter, filter, c_in, c_out)
    shapes = image, weights, image, weights
    x, kernel, x_tangent, kernel_tangent = map(normal_numbers, range(4), shapes)

    def results(form):
        def convolve(x, kernel):
            return form.conv2d(x, kernel, padding=filter // 2)

        def loss(x, kernel):
            return (jnp.sin(convolve(x, kernel) / 8) ** 2).mean()

        gradient = jax.grad(loss, (0, 1))
        forward = jax.jvp(convolve, (x, kernel), (x_tangent, kernel_tangent))
        second = jax.jvp(gradient, (x, kernel), (x_tangent, kernel_tangent))
        replicas = jax.vmap(gradient)(jnp.stack([x, 2 * x]), jnp.stack([kernel, -kernel]))
        return forward, second, replicas

    found, expected = (jax.jit(functools.partial(results, form))() for form in (fast("cpu"), PLAIN))
    jax.tree.map(functools.partial(assert_allclose, rtol=1e-3, atol=1e-4), found, expected)


@pytest.mark.parametrize(
    ("window", "stride", "padding", "ours"),
    [
        pytest.param(2, None, 0, True, id="touching"),
        pytest.param((4, 4), None, 0, True, id="16-cells"),
        pytest.param((17, 1), None, 0, False, id="17-cells"),
        pytest.param(3, 2, 0, False, id="overlapping"),
        pytest.param(2, 2, 1, False, id="padded"),
    ],
)
def test_windows_that_touch_are_compared_cell_by_cell(window, stride, padding, ours):
    x = jnp.ones((1, 20, 20, 2))
    for name, form in FORMS.items():
        found = primitives(functools.partial(form.max_pool2d, window=window, stride=stride, padding=padding), x)
        assert ("reduce_window_max" in found) != (ours and name != "plain"), name


@pytest.mark.parametrize("backend", ["cpu", "gpu", "tpu"])
def test_forms_are_static_arguments_of_a_compiled_function(backend):
    traced = []

    @functools.partial(jax.jit, static_argnums=0)
    def pool(form, x):
        traced.append(form)
        return form.max_pool2d(x, 2)

    for form in (fast(backend), fast(backend), PLAIN):
        assert isinstance(form, Forms)
        assert pool(form, jnp.arange(4.0).reshape(1, 2, 2, 1)).item() == 3
    assert traced == list(dict.fromkeys([fast(backend), PLAIN]))  # a backend's forms may be the plain ones


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_real_numbers_agree_with_the_plain_forms(backend):
    """Values and gradients of a block's operations; sums are added in another order, so they differ by rounding."""
    x, kernel, bias = map(normal_numbers, range(3), ((8, 12, 12, 4), (3, 3, 4, 6), (6,)))

    def block(form, x, kernel, bias):
        return form.avg_pool2d(form.max_pool2d(form.conv2d(x, kernel, bias, padding=1), 2), 3)

    g = normal_numbers(3, (8, 2, 2, 6))
    found, expected = (
        value_and_gradients(functools.partial(block, form), g, x, kernel, bias) for form in (fast(backend), PLAIN)
    )
    jax.tree.map(functools.partial(assert_allclose, rtol=1e-4, atol=1e-5), found, expected)
