"""CONV-RELU-POOL and the residual block: sizes and costs by hand, and the residual block against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from numpy.testing import assert_allclose, assert_array_equal

from cnn.config import NetworkConfig
from cnn.network.blocks import ConvReluPool, Residual
from cnn.network.forms import PLAIN, fast
from cnn.network.geometry import receptive_field
from cnn.network.layers import Signal
from tests.network import reference
from tests.network.helpers import normal_numbers

pytestmark = pytest.mark.thorough

IMAGE = normal_numbers(1, (3, 7, 6, 4))


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def conv_relu_pool(features, reduce=0, **settings):
    return ConvReluPool(features, NetworkConfig(**settings), reduce)


def residual(features, stride=1, **settings):
    return Residual(features, stride, NetworkConfig(**settings))


BLOCKS = {
    # the block, and (by hand) what it makes of 7x6x4: shape, parameters, multiply-accumulates
    "max": (conv_relu_pool(8), (3, 3, 8), 296, 7 * 6 * 8 * 36),
    "stride": (conv_relu_pool(8, pooling="stride"), (3, 3, 8), 296, 3 * 3 * 8 * 36),
    "convolution": (conv_relu_pool(8, pooling="convolution"), (3, 3, 8), 296 + 584, 12096 + 5184),
    "reduced": (conv_relu_pool(8, reduce=2), (3, 3, 8), 10 + 152, 7 * 6 * (4 * 2 + 18 * 8)),
    "of-two": (
        conv_relu_pool(2, filter_size=1, convolutions=2, pooling="average"),
        (3, 3, 2),
        10 + 6,
        42 * 2 * 4 + 42 * 2 * 2,
    ),
    "residual": (residual(4), (7, 6, 4), 2 * (36 * 4 + 4), 2 * 42 * 36 * 4),
    "residual-normalised": (residual(4, normalization="batch"), (7, 6, 4), 2 * (36 * 4 + 4) + 2 * 8, 2 * 42 * 36 * 4),
    "residual-wider": (
        residual(6),
        (7, 6, 6),
        (36 * 6 + 6) + (54 * 6 + 6) + (4 * 6 + 6),
        42 * (36 * 6 + 54 * 6 + 4 * 6),
    ),
    "residual-halving": (
        residual(6, 2, normalization="layer"),
        (4, 3, 6),
        (36 * 6 + 6) + (54 * 6 + 6) + (4 * 6 + 6) + 3 * 12,
        12 * (36 * 6 + 54 * 6 + 4 * 6),
    ),
    "residual-halving-as-wide": (residual(4, 2), (4, 3, 4), 2 * (36 * 4 + 4) + (4 * 4 + 4), 12 * (2 * 36 * 4 + 4 * 4)),
    "residual-5x5": (residual(4, filter_size=5), (7, 6, 4), 2 * (100 * 4 + 4), 2 * 42 * 100 * 4),
    "residual-even-filter": (residual(4, 2, filter_size=2), (4, 3, 4), 2 * (16 * 4 + 4) + 20, 12 * (2 * 16 * 4 + 16)),
}


@pytest.mark.parametrize(("block", "shape", "parameters", "macs"), BLOCKS.values(), ids=BLOCKS.keys())
def test_what_a_block_says_is_what_it_does(block, shape, parameters, macs):
    y, variables = jax.eval_shape(lambda: block.init_with_output(jax.random.key(0), jnp.ones((3, 7, 6, 4))))
    assert block.output_shape((7, 6, 4)) == shape == y.shape[1:]
    assert block.parameters((7, 6, 4)) == parameters == count(variables.get("params", {}))
    assert block.multiply_accumulates((7, 6, 4)) == macs


@pytest.mark.parametrize("make", [conv_relu_pool, residual])
@pytest.mark.parametrize("normalization", ["none", "batch", "layer"])
def test_a_bfloat16_image_stays_bfloat16(normalization, make):
    block = make(4, normalization=normalization)
    variables = block.init(jax.random.key(0), IMAGE)
    y = block.apply(variables, IMAGE.astype(jnp.bfloat16))
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    assert_allclose(y.astype(jnp.float32), block.apply(variables, IMAGE), atol=0.05)


@pytest.mark.parametrize("size", [2, 3, 7, 8])
@pytest.mark.parametrize("filter_size", [2, 3, 4, 5])
def test_a_strided_block_halves_as_a_pooled_one(size, filter_size):
    pooled, strided = (conv_relu_pool(2, filter_size=filter_size, pooling=kind) for kind in ("max", "stride"))
    assert pooled.output_shape((size, 9, 1)) == strided.output_shape((size, 9, 1)) == (size // 2, 4, 2)


def window(block):
    """How many cells of its input an output cell of the block sees, and the cells from one output cell to the next."""
    windows = block.after(Signal((20, 20, 2))).windows
    strides = np.prod([stride for _, stride, _ in windows], axis=0)
    return receptive_field([(filter, stride) for filter, stride, _ in windows]), tuple(strides)


def test_a_block_sees_what_its_layers_see():
    assert window(conv_relu_pool(2)) == ((4, 4), (2, 2))
    assert window(conv_relu_pool(2, filter_size=5, convolutions=2, pooling="stride")) == ((9, 9), (2, 2))
    assert window(residual(2, 2)) == ((7, 7), (2, 2))


def reference_residual(p, x, stride, normalize=lambda y, p: y):
    """The block once more, in NumPy and float64: every convolution as loops over positions."""
    size = p["conv1"]["kernel"].shape[0]
    sides = (((size - 1) // 2, size // 2),) * 2

    def conv(name, x, stride, sides):
        y = reference.conv2d(x, p[name]["kernel"], p[name]["bias"], (stride, stride), sides)
        return normalize(y, p.get(name.replace("conv", "norm") if name != "skip" else "norm_skip"))

    y = np.maximum(conv("conv1", x, stride, sides), 0)
    y = conv("conv2", y, 1, sides)
    skip = conv("skip", x, stride, ((0, 0), (0, 0))) if "skip" in p else x
    return np.maximum(y + skip, 0)


def layer_norm(y, p):
    center = y - y.mean((1, 2, 3), keepdims=True)
    return center / np.sqrt((center**2).mean((1, 2, 3), keepdims=True) + 1e-6) * p["norm"]["scale"] + p["norm"]["bias"]


def some_params(block, x):
    """Every parameter drawn, biases and scales included, so that none can be left out unseen."""
    generator = np.random.default_rng(0)
    shapes = jax.eval_shape(block.init, jax.random.key(0), x)["params"]
    return jax.tree.map(lambda leaf: jnp.asarray(generator.normal(0, 0.5, leaf.shape), jnp.float32), shapes)


@pytest.mark.parametrize("form", [PLAIN, fast("cpu")], ids=["plain", "cpu"])
@pytest.mark.parametrize(
    ("features", "stride", "settings"),
    [
        pytest.param(4, 1, {}, id="identity"),
        pytest.param(6, 1, {}, id="wider"),
        pytest.param(5, 2, {}, id="halving"),
        pytest.param(4, 2, {}, id="halving-as-wide"),
        pytest.param(3, 2, {"filter_size": 2}, id="even-filter"),
        pytest.param(3, 1, {"filter_size": 5}, id="5x5"),
        pytest.param(5, 2, {"normalization": "layer"}, id="normalised"),
        pytest.param(4, 1, {"normalization": "layer"}, id="identity-normalised"),
    ],
)
def test_a_residual_block_is_the_papers(features, stride, settings, form):
    block = residual(features, stride, **settings)
    params = some_params(block, IMAGE)
    wide = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    normalize = layer_norm if "normalization" in settings else lambda y, p: y
    expected = reference_residual(wide, np.asarray(IMAGE, np.float64), stride, normalize)
    y = jax.jit(lambda p: block.apply({"params": p}, IMAGE, forms=form))(params)
    assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    assert (np.asarray(y) > 0).any() and (np.asarray(y) == 0).any()


@pytest.mark.parametrize(("features", "stride"), [(4, 1), (3, 2)])
def test_gradients_of_a_residual_block(features, stride):
    """Against finite differences of a smooth function of the block's output."""
    block = residual(features, stride, normalization="layer")
    x = IMAGE[:1, :4, :3]
    apply = jax.jit(lambda params, x: jnp.tanh(block.apply({"params": params}, x)))
    check_grads(apply, (some_params(block, x), x), order=1, modes=["rev"], atol=0.02, rtol=0.02, eps=1e-3)


def test_a_residual_block_of_zeros_is_the_identity():
    """After ReLU, that is; He et al. 2016, section 3.1, give this as the reason for the skip."""
    block = residual(4)
    zeros = jax.tree.map(jnp.zeros_like, some_params(block, IMAGE))
    assert_array_equal(block.apply({"params": zeros}, IMAGE), jnp.maximum(IMAGE, 0))


def test_intermediates_of_a_residual_block_are_named_in_order():
    block = residual(6, 2, normalization="layer")
    names = ["skip", "norm_skip", "conv1", "norm1", "relu1", "conv2", "norm2", "sum", "relu2"]
    assert [visit.name for visit in block.visits(Signal((7, 6, 4)))] == names
    y, seen = block.apply({"params": some_params(block, IMAGE)}, IMAGE, intermediates=True)
    assert list(seen) == names
    assert_array_equal(seen["sum"], seen["norm2"] + seen["norm_skip"])
    assert_array_equal(seen["relu2"], y)
