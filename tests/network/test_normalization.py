import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from cnn.errors import RequestError
from cnn.network.normalization import BatchNorm, GhostBatchNorm, GroupNorm, LayerNorm

IMAGES, SIDE, CHANNELS = 6, 5, 8
LAYERS = {  # and what shares a mean, as a shape whose axes 1 and 3 share it: parts, cells, groups, channels of a group
    "batch": (BatchNorm(), (1, IMAGES * SIDE**2, CHANNELS, 1)),
    "ghost": (GhostBatchNorm(2), (IMAGES // 2, 2 * SIDE**2, CHANNELS, 1)),
    "group": (GroupNorm(), (IMAGES, SIDE**2, 2, CHANNELS // 2)),
    "layer": (LayerNorm(), (IMAGES, SIDE**2, 1, CHANNELS)),
}


@pytest.fixture
def images():
    return np.random.default_rng(0).normal(3, 2, (IMAGES, SIDE, SIDE, CHANNELS))


def variables_of(layer):
    variables = layer.init(jax.random.key(0), jnp.ones((1, SIDE, SIDE, CHANNELS)))
    scale, bias = jnp.asarray(np.random.default_rng(1).normal(1, 0.5, (2, CHANNELS)), jnp.float32)
    return {**variables, "params": {"norm": {"scale": scale, "bias": bias}}}


def by_definition(x, shape, variables):
    x, norm = x.reshape(shape), variables["params"]["norm"]
    normal = (x - x.mean((1, 3), keepdims=True)) / np.sqrt(x.var((1, 3), keepdims=True) + 1e-5)
    return normal.reshape(IMAGES, SIDE, SIDE, CHANNELS) * np.float64(norm["scale"]) + np.float64(norm["bias"])


@pytest.mark.parametrize("layer, shape", LAYERS.values(), ids=LAYERS)
def test_values_and_gradients_against_numpy_in_float64(images, layer, shape):
    """The gradients are compared with differences of the loss, in three random directions of all arguments together."""
    variables, random = variables_of(layer), np.random.default_rng(2)
    weights = random.normal(size=images.shape)

    def loss(params, x):
        y, _ = layer.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])
        return (y * weights.astype(np.float32)).sum(), y

    params = variables["params"]
    (_, y), gradients = jax.value_and_grad(loss, (0, 1), has_aux=True)(params, jnp.asarray(images, jnp.float32))
    assert_allclose(y, by_definition(images, shape, variables), rtol=1e-4, atol=1e-5)
    leaves, structure = jax.tree.flatten(jax.tree.map(np.float64, (params, images)))
    for _ in range(3):
        steps = [random.normal(size=leaf.shape) for leaf in leaves]
        ends = []
        for sign in (1e-5, -1e-5):
            moved, x = structure.unflatten([leaf + sign * step for leaf, step in zip(leaves, steps, strict=True)])
            ends.append((by_definition(x, shape, {"params": moved}) * weights).sum())
        slope = sum((np.float64(g) * step).sum() for g, step in zip(jax.tree.leaves(gradients), steps, strict=True))
        assert_allclose(slope, (ends[0] - ends[1]) / 2e-5, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("layer", [BatchNorm(), GhostBatchNorm(2)], ids=["batch", "ghost"])
def test_running_statistics_are_those_of_the_whole_batch_and_evaluation_uses_them(images, layer):
    variables = variables_of(layer)
    x = jnp.asarray(images, jnp.float32)
    _, changed = layer.apply(variables, x, train=True, mutable=["batch_stats"])
    mean, variance = 0.1 * images.mean((0, 1, 2)), 0.9 + 0.1 * images.var((0, 1, 2))
    assert_allclose(changed["batch_stats"]["norm"]["mean"], mean, rtol=1e-5)
    assert_allclose(changed["batch_stats"]["norm"]["var"], variance, rtol=1e-5)
    trained = {**variables, **changed}
    y, unchanged = layer.apply(trained, x, mutable=["batch_stats"])
    norm = variables["params"]["norm"]
    assert_allclose(
        y,
        (images - mean) / np.sqrt(variance + 1e-5) * np.asarray(norm["scale"]) + np.asarray(norm["bias"]),
        rtol=1e-4,
        atol=1e-4,
    )
    jax.tree.map(assert_array_equal, unchanged, changed)
    for size in (1, 4, 5):  # any batch, also one that is no whole number of ghost batches
        assert_array_equal(layer.apply(trained, x[:size]), y[:size])


def test_a_ghost_batch_does_not_see_the_others(images):
    layer, x = GhostBatchNorm(2), jnp.asarray(images, jnp.float32)
    variables = variables_of(layer)
    whole, _ = layer.apply(variables, x, train=True, mutable=["batch_stats"])
    part, _ = layer.apply(variables, x[2:4], train=True, mutable=["batch_stats"])
    assert_allclose(whole[2:4], part, rtol=1e-5, atol=1e-5)


def test_a_batch_that_is_no_whole_number_of_ghost_batches_is_refused(images):
    layer = GhostBatchNorm(4)
    with pytest.raises(RequestError, match=r"^ghost_batch=4: must be a number of images that divides batch_size=6"):
        layer.apply(variables_of(layer), jnp.asarray(images, jnp.float32), train=True, mutable=["batch_stats"])


@pytest.mark.parametrize("layer", [BatchNorm(), GhostBatchNorm(2), GroupNorm(), LayerNorm()])
def test_bfloat16_images_are_normalised_in_float32(images, layer):
    variables, x = variables_of(layer), jnp.asarray(images, jnp.bfloat16)
    y, _ = layer.apply(variables, x, train=True, mutable=["batch_stats"])
    exact, _ = layer.apply(variables, x.astype(jnp.float32), train=True, mutable=["batch_stats"])
    assert y.dtype == jnp.bfloat16
    assert_array_equal(y, exact.astype(jnp.bfloat16))
