import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from cnn.network import layers, normalization, ops, pooling
from cnn.network.layers import Signal
from tests.network.helpers import normal_numbers

IMAGE = normal_numbers(1, (3, 7, 6, 4))


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


LAYERS = {
    # the layer, and (by hand) what it makes of 7x6x4: shape, parameters, multiply-accumulates
    "conv": (layers.Conv(8), (7, 6, 8), 3 * 3 * 4 * 8 + 8, 7 * 6 * 8 * 3 * 3 * 4),
    "conv-1x1": (layers.Conv(5, 1, padding="VALID"), (7, 6, 5), 4 * 5 + 5, 7 * 6 * 5 * 4),
    "conv-strided": (layers.Conv(2, (3, 2), (2, 1), 0), (3, 5, 2), 3 * 2 * 4 * 2 + 2, 3 * 5 * 2 * 3 * 2 * 4),
    "max-pool": (pooling.MaxPool(), (3, 3, 4), 0, 0),
    "max-pool-not-square": (pooling.MaxPool((7, 2)), (1, 3, 4), 0, 0),
    "avg-pool": (pooling.AvgPool(3), (2, 2, 4), 0, 0),
    "global-avg-pool": (pooling.GlobalAvgPool(), (4,), 0, 0),
    "relu": (layers.Relu(), (7, 6, 4), 0, 0),
    "pad": (layers.ZeroPad(9), (9, 9, 4), 0, 0),
    "pad-one-axis": (layers.ZeroPad(7), (7, 7, 4), 0, 0),
    "flatten": (layers.Flatten(), (168,), 0, 0),
    "dense": (layers.Dense(5), (7, 6, 5), 4 * 5 + 5, 7 * 6 * 4 * 5),
    "batch": (normalization.BatchNorm(), (7, 6, 4), 8, 0),
    "layer": (normalization.LayerNorm(), (7, 6, 4), 8, 0),
    "dropout": (layers.Dropout(0.5), (7, 6, 4), 0, 0),
    "permute": (layers.Permute(), (7, 6, 4), 0, 0),
}


@pytest.mark.parametrize(("layer", "shape", "parameters", "macs"), LAYERS.values(), ids=LAYERS.keys())
def test_what_a_layer_says_is_what_it_does(layer, shape, parameters, macs):
    y, variables = jax.eval_shape(lambda: layer.init_with_output(jax.random.key(0), jnp.ones((3, 7, 6, 4))))
    assert layer.output_shape((7, 6, 4)) == shape == y.shape[1:]
    assert layer.parameters((7, 6, 4)) == parameters == count(variables.get("params", {}))
    assert layer.multiply_accumulates((7, 6, 4)) == macs


@pytest.mark.parametrize("pool", [pooling.MaxPool(3), pooling.AvgPool(3)], ids=["max", "average"])
def test_pooling_has_no_parameters(pool):
    assert pool.init(jax.random.key(0), IMAGE) == {}
    function = {"MaxPool": ops.max_pool2d, "AvgPool": ops.avg_pool2d}[type(pool).__name__]
    assert_array_equal(pool.apply({}, IMAGE), function(IMAGE, 3))


@pytest.mark.parametrize(
    ("layer", "x", "fan_in", "gain"),
    [
        pytest.param(layers.Conv(64, 5), jnp.ones((1, 5, 5, 16)), 400, 2, id="conv"),
        pytest.param(layers.Dense(64), jnp.ones((1, 400)), 400, 2, id="dense"),
        pytest.param(layers.Dense(64, gain=1.0), jnp.ones((1, 400)), 400, 1, id="logits"),
    ],
)
def test_kernels_start_with_the_variance_that_keeps_the_signal(layer, x, fan_in, gain):
    params = jax.tree.map(np.asarray, jax.jit(layer.init)(jax.random.key(0), x)["params"])
    assert not params["bias"].any()
    assert params["kernel"].var() * fan_in == pytest.approx(gain, rel=0.05)
    assert abs(params["kernel"].mean()) < 0.002


def test_zero_padding_puts_the_odd_cell_last():
    y = layers.ZeroPad(6).apply({}, jnp.ones((1, 3, 8, 1)))
    assert y.shape == (1, 6, 8, 1)
    assert y[0, :, 0, 0].tolist() == [0, 1, 1, 1, 0, 0]


def test_global_average_pooling_is_the_mean_of_each_channel():
    y = pooling.GlobalAvgPool().apply({}, IMAGE)
    assert_allclose(y, np.asarray(IMAGE).mean((1, 2)), rtol=1e-5, atol=1e-6)
    assert pooling.GlobalAvgPool().after(Signal((7, 6, 4))) == Signal((4,), None)


def test_a_sum_sees_what_its_wider_branch_sees():
    narrow = layers.Conv(4, 1).after(Signal((7, 6, 4)))
    wide = layers.Conv(4, 3).after(Signal((7, 6, 4)))
    assert layers.Add().after(wide, narrow) == layers.Add().after(narrow, wide) == wide
    assert layers.Add().after(wide, Signal((7, 6, 4), None)).windows is None
    assert_array_equal(layers.Add().apply({}, IMAGE, 2 * IMAGE), 3 * IMAGE)


def test_relu_cuts_at_zero():
    assert layers.Relu().apply({}, jnp.array([[-1.0, 0.0, 2.0]])).tolist() == [[0, 0, 2]]


def test_batch_normalisation_learns_statistics_in_training_and_uses_them_after():
    layer = normalization.BatchNorm()
    x = 3 * IMAGE + 5
    variables = layer.init(jax.random.key(0), x)
    y, changed = layer.apply(variables, x, train=True, mutable=["batch_stats"])
    assert_allclose(y.mean((0, 1, 2)), 0, atol=1e-5)
    assert_allclose(y.std((0, 1, 2)), 1, atol=1e-3)
    assert_allclose(changed["batch_stats"]["norm"]["mean"], 0.1 * x.mean((0, 1, 2)), rtol=1e-5)
    assert_allclose(changed["batch_stats"]["norm"]["var"], 0.9 + 0.1 * x.var((0, 1, 2)), rtol=1e-4)
    still, unchanged = layer.apply(variables, x, mutable=["batch_stats"])
    assert_allclose(still, x, rtol=1e-4)  # the statistics it starts with are mean 0 and variance 1
    jax.tree.map(assert_array_equal, unchanged, {"batch_stats": variables["batch_stats"]})


def test_layer_normalisation_is_of_one_image():
    layer = normalization.LayerNorm()
    variables = layer.init(jax.random.key(0), IMAGE)
    y = layer.apply(variables, 3 * IMAGE + 5, train=True)
    assert_allclose(y.mean((1, 2, 3)), 0, atol=1e-5)
    assert_allclose(y.std((1, 2, 3)), 1, atol=1e-3)
    assert_allclose(y[:1], layer.apply(variables, 3 * IMAGE[:1] + 5), rtol=1e-5, atol=1e-5)


def test_dropout_draws_in_training_only():
    layer = layers.Dropout(0.25)
    x = jnp.ones((100, 100))
    first, again, second = (layer.apply({}, x, True, rngs={"dropout": jax.random.key(seed)}) for seed in (0, 0, 1))
    assert_array_equal(first, again)
    assert 0.3 < (first != second).mean() < 0.45  # 2 * 0.25 * 0.75
    assert (first == 0).mean() == pytest.approx(0.25, abs=0.02)
    assert_allclose(np.unique(first), [0, 1 / 0.75], rtol=1e-6)
    assert_array_equal(layer.apply({}, x), x)


@pytest.mark.parametrize("layer", [layers.Conv(4), layers.Dense(4)], ids=["conv", "dense"])
def test_integer_pixels_meet_the_kernel_as_numbers(layer):
    """A kernel rounded to uint8 would be all 0."""
    pixels = jax.random.randint(jax.random.key(0), (1, 5, 5, 2), 0, 256).astype(jnp.uint8)
    variables = jax.jit(layer.init)(jax.random.key(0), pixels)
    apply = jax.jit(layer.apply)
    assert_allclose(apply(variables, pixels), apply(variables, pixels.astype(jnp.float32)), rtol=1e-5, atol=1e-4)


def test_permute_keeps_every_cell_and_moves_nearly_all_always_alike():
    x = jnp.arange(2 * 9 * 7 * 3.0).reshape(2, 9, 7, 3)
    y = layers.Permute().apply({}, x)
    cells, moved = (np.asarray(image).reshape(2, 63, 3) for image in (x, y))
    order = [cells[0].tolist().index(cell) for cell in moved[0].tolist()]
    assert sorted(order) == list(range(63)) and order != list(range(63))
    assert_array_equal(moved, cells[:, order])
    assert_array_equal(layers.Permute().apply({}, x), y)
