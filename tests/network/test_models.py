from dataclasses import fields, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from cnn.config import NetworkConfig
from cnn.errors import RequestError
from cnn.network import summary
from cnn.network.heads import HEADS
from cnn.network.models import MODELS, LeNet5, build, check_names, choices, used
from tests.network.helpers import normal_numbers

pytestmark = pytest.mark.thorough

IMAGE = (16, 16, 1)
NETWORKS = {
    "0-blocks": ({"blocks": 0}, (8, 8, 1)),
    "1-block": ({"blocks": 1}, (8, 8, 1)),
    "2-blocks-of-a-photograph": ({"blocks": 2}, (32, 32, 3)),
    "3-blocks": ({"blocks": 3, "width": 4.0}, (28, 28, 1)),
    "as-deep-as-it-goes": ({"blocks": 4}, (28, 28, 1)),
    "average": ({"pooling": "average"}, (9, 9, 1)),
    "stride": ({"pooling": "stride", "blocks": 3}, (15, 15, 2)),
    "stride-5x5": ({"pooling": "stride", "filter_size": 5}, (8, 8, 1)),
    "batch": ({"normalization": "batch"}, (8, 8, 1)),
    "layer": ({"normalization": "layer"}, (8, 8, 1)),
    "dropout": ({"dropout": 0.5}, (8, 8, 1)),
    "2-convolutions": ({"convolutions": 2, "normalization": "batch", "pooling": "stride"}, (8, 8, 1)),
    "even-filter": ({"filter_size": 2}, (9, 8, 1)),
    "1x1-filter": ({"filter_size": 1}, (8, 8, 3)),
    "convolution": ({"pooling": "convolution"}, (9, 8, 1)),
    "bottleneck": ({"blocks": 3, "bottleneck": 0.5}, (8, 8, 3)),
    "average-head": ({"head": "average", "blocks": 3, "normalization": "batch"}, (28, 28, 1)),
    "average-head-not-square": ({"head": "average", "blocks": 1}, (9, 14, 3)),
    "permute": ({"permute": True}, (8, 6, 3)),
    "mlp-permute": ({"model": "mlp", "permute": True}, (8, 6, 3)),
    "growth": ({"blocks": 3, "growth": 1.5, "width": 6.5}, (16, 16, 1)),
    "shrinking": ({"blocks": 3, "growth": 0.1}, (16, 16, 1)),
    "not-square": ({"blocks": 2}, (28, 13, 3)),
    "lenet5": ({"model": "lenet5"}, (28, 28, 1)),
    "lenet5-of-a-large-photograph": ({"model": "lenet5"}, (40, 36, 3)),
    "resnet": ({"model": "resnet", "blocks": 3}, (32, 32, 3)),
    "resnet-of-digits": ({"model": "resnet", "blocks": 4, "normalization": "layer"}, (8, 8, 1)),
    "resnet-normalised": ({"model": "resnet", "blocks": 3, "normalization": "batch", "growth": 1.5}, (28, 28, 1)),
    "resnet-not-square": ({"model": "resnet", "blocks": 3, "filter_size": 5}, (9, 14, 3)),
    "resnet-even-filter": ({"model": "resnet", "blocks": 3, "filter_size": 2}, (9, 8, 1)),
    "resnet-1x1-filter": ({"model": "resnet", "blocks": 2, "filter_size": 1}, (9, 8, 1)),
    "resnet-without-a-block": ({"model": "resnet", "blocks": 0}, (8, 8, 1)),
    "resnet-of-one-width": ({"model": "resnet", "blocks": 2, "growth": 1.0}, (8, 8, 1)),
    "mlp": ({"model": "mlp", "dropout": 0.1, "hidden": 30}, (7, 5, 3)),
}
EVERY_NETWORK = pytest.mark.parametrize(("settings", "image"), NETWORKS.values(), ids=NETWORKS.keys())


def make(settings, image):
    return build(NetworkConfig(**{"width": 8.0, "hidden": 16} | settings), image, 10)


def shapes(network, image):
    """Logits, every intermediate and the variables of two images, as shapes; nothing is computed."""
    x = jax.ShapeDtypeStruct((2, *image), jnp.float32)
    variables = jax.eval_shape(network.init, jax.random.key(0), x)
    order = []  # JAX sorts the names of what it returns

    def apply(variables, x):
        logits, seen = network.apply(variables, x, intermediates=True)
        order.extend(seen)
        return logits, seen

    logits, seen = jax.eval_shape(apply, variables, x)
    return logits, {name: seen[name] for name in order}, variables


def some_variables(network, x):
    """Kernels drawn by NumPy, which is quicker than initialising, and 1 for every bias, scale and statistic."""
    generator = np.random.default_rng(0)

    def draw(leaf):
        deviation = (2 / np.prod(leaf.shape[:-1])) ** 0.5
        return jnp.asarray(
            generator.normal(0, deviation, leaf.shape) if leaf.ndim > 1 else np.ones(leaf.shape), jnp.float32
        )

    return jax.tree.map(draw, jax.eval_shape(network.init, jax.random.key(0), x))


@EVERY_NETWORK
def test_the_table_is_what_the_network_is(settings, image):
    """Shapes by name, parameters by name, and multiply-accumulates from the kernels' and outputs' shapes."""
    network = make(settings, image)
    logits, seen, variables = shapes(network, image)
    rows = summary.rows(network, image)
    assert logits.shape == (2, 10)
    assert network.output_shape(image) == (10,)
    assert [row.name for row in rows] == list(seen)
    parameters = {row.name: 0 for row in rows}
    macs = dict(parameters)
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables["params"]):
        *layer, name = [key.key for key in path]
        layer = "/".join(key for key in layer if key != "norm")
        parameters[layer] += leaf.size
        if name == "kernel":  # every output cell of a channel takes one filter's worth
            macs[layer] = leaf.size // leaf.shape[-1] * int(np.prod(seen[layer].shape[1:]))
    for row in rows:
        assert (row.output_shape, row.parameters) == (seen[row.name].shape[1:], parameters[row.name]), row.name
        assert row.macs == macs[row.name], row.name
    total = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert summary.cost(network, image) == (total, sum(macs.values()))
    assert (network.parameters(image), network.multiply_accumulates(image)) == summary.cost(network, image)


def test_lenet5_has_the_published_sizes():
    _, seen, variables = shapes(LeNet5(10), (28, 28, 1))
    sizes = {name: sum(leaf.size for leaf in jax.tree.leaves(layer)) for name, layer in variables["params"].items()}
    assert sizes == {"conv1": 156, "conv2": 2416, "dense1": 48120, "dense2": 10164, "logits": 850}
    assert sum(sizes.values()) == 61706
    chain = [
        seen[name].shape[1:]
        for name in ("pad", "conv1", "pool1", "conv2", "pool2", "flatten", "dense1", "dense2", "logits")
    ]
    assert chain == [(32, 32, 1), (28, 28, 6), (14, 14, 6), (10, 10, 16), (5, 5, 16), (400,), (120,), (84,), (10,)]
    assert summary.cost(LeNet5(10), (32, 32, 1)) == summary.cost(LeNet5(10), (28, 28, 1)) == (61706, 416520)


def test_convnet_has_the_channels_and_layers_that_its_settings_name():
    network = make(
        {"blocks": 3, "width": 6.5, "growth": 1.5, "convolutions": 2, "normalization": "batch", "dropout": 0.1},
        (16, 16, 1),
    )
    _, seen, _ = shapes(network, (16, 16, 1))
    assert [seen[f"block{block}/pool"].shape[1:] for block in (1, 2, 3)] == [(8, 8, 6), (4, 4, 10), (2, 2, 15)]
    block = ["conv1", "norm1", "relu1", "conv2", "norm2", "relu2", "pool"]
    head = ["flatten", "dense1", "dense1_relu", "dropout1", "logits"]
    assert list(seen) == [f"block{number}/{name}" for number in (1, 2, 3) for name in block] + head


def test_logits_start_with_the_variance_of_what_they_see():
    network = make({"blocks": 0, "hidden": 400}, (8, 8, 1))
    kernel = jax.jit(network.init)(jax.random.key(0), jnp.ones((1, 8, 8, 1)))["params"]["logits"]["kernel"]
    assert np.asarray(kernel).var() * 400 == pytest.approx(1, rel=0.1)


def test_no_blocks_is_the_plain_dense_network():
    names = [row.name for row in summary.rows(make({"blocks": 0}, (8, 8, 1)), (8, 8, 1))]
    assert names == ["flatten", "dense1", "dense1_relu", "logits"]


def test_a_convnet_computes_what_its_formula_says():
    network = make({"blocks": 1}, (4, 4, 1))
    x = normal_numbers(1, (2, 4, 4, 1))
    variables = some_variables(network, x)
    p = jax.tree.map(np.asarray, variables["params"])
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    conv = sum(
        padded[:, i : i + 4, j : j + 4] @ p["block1"]["conv1"]["kernel"][i, j] for i in range(3) for j in range(3)
    )
    pooled = np.maximum(conv + 1, 0).reshape(2, 2, 2, 2, 2, 8).max((2, 4)).reshape(2, -1)
    hidden = np.maximum(pooled @ p["dense1"]["kernel"] + 1, 0)
    assert_allclose(jax.jit(network.apply)(variables, x), hidden @ p["logits"]["kernel"] + 1, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("blocks", "image", "message"),
    [
        pytest.param(5, (28, 28, 1), "blocks=5: .*at most 4 blocks: 28 -> 14 -> 7 -> 3 -> 1 -> 0$", id="mnist"),
        pytest.param(9, (8, 8, 1), "blocks=9: .*at most 3 blocks: 8 -> 4 -> 2 -> 1 -> 0$", id="far-too-deep"),
        pytest.param(4, (28, 12, 3), "at most 3 blocks: 28x12 -> 14x6 -> 7x3 -> 3x1 -> 1x0$", id="not-square"),
    ],
)
@pytest.mark.parametrize("pooling", ["max", "average", "stride"])
def test_too_many_blocks_are_refused_with_the_chain_of_sizes(blocks, image, message, pooling):
    with pytest.raises(RequestError, match=message):
        make({"blocks": blocks, "pooling": pooling}, image)
    most = int(message.split("at most ")[1][0])
    assert make({"blocks": most, "pooling": pooling}, image).output_shape(image) == (10,)


@pytest.mark.parametrize(
    ("blocks", "image", "message"),
    [
        pytest.param(7, (28, 28, 1), "blocks=7: .*at most 6 blocks: 28 -> 14 -> 7 -> 4 -> 2 -> 1$", id="mnist"),
        pytest.param(9, (32, 32, 3), "blocks=9: .*at most 6 blocks: 32 -> 16 -> 8 -> 4 -> 2 -> 1$", id="cifar"),
        pytest.param(5, (8, 8, 1), "blocks=5: .*at most 4 blocks: 8 -> 4 -> 2 -> 1$", id="digits"),
        pytest.param(7, (28, 12, 3), "at most 6 blocks: 28x12 -> 14x6 -> 7x3 -> 4x2 -> 2x1 -> 1$", id="not-square"),
    ],
)
def test_a_resnet_too_deep_is_refused_with_the_chain_of_sizes(blocks, image, message):
    with pytest.raises(RequestError, match=message):
        make({"model": "resnet", "blocks": blocks, "growth": 1.0}, image)
    most = int(message.split("at most ")[1][0])
    for fitting in range(most + 1):
        network = make({"model": "resnet", "blocks": fitting, "growth": 1.0}, image)
        shapes = [row.output_shape[:2] for row in summary.rows(network, image) if row.name.endswith("relu2")]
        sizes = message.split(": ")[-1].removesuffix("$").split(" -> ")
        assert ["x".join(map(str, shape)) for shape in shapes] == [
            size if "x" in size else f"{size}x{size}" for size in sizes[:fitting]
        ]
        assert network.output_shape(image) == (10,)


def test_a_resnet_has_the_sizes_and_parameters_of_its_paper():
    """By hand, for 32x32x3, width 16 and two normalised blocks; He et al. 2016, section 4.2."""
    network = make({"model": "resnet", "width": 16, "normalization": "batch"}, (32, 32, 3))
    rows = {row.name: row for row in summary.rows(network, (32, 32, 3))}
    assert list(rows) == [
        *("conv1", "norm1", "relu1"),
        *(f"block1/{name}" for name in ("conv1", "norm1", "relu1", "conv2", "norm2", "sum", "relu2")),
        *("block2/skip", "block2/norm_skip"),
        *(f"block2/{name}" for name in ("conv1", "norm1", "relu1", "conv2", "norm2", "sum", "relu2")),
        *("pool", "logits"),
    ]
    parameters = {"conv1": 27 * 16 + 16, "block1/conv1": 144 * 16 + 16, "block1/conv2": 144 * 16 + 16}
    parameters |= {"block2/conv1": 144 * 32 + 32, "block2/conv2": 288 * 32 + 32, "block2/skip": 16 * 32 + 32}
    parameters |= {"norm1": 32, "block2/norm_skip": 64, "logits": 32 * 10 + 10, "pool": 0}
    assert {name: rows[name].parameters for name in parameters} == parameters
    assert rows["block2/conv1"].macs == 16 * 16 * 144 * 32 and rows["block2/skip"].macs == 16 * 16 * 16 * 32
    assert rows["block1/sum"].output_shape == (32, 32, 16) and rows["pool"].output_shape == (32,)
    fields = {"conv1": 3, "block1/conv1": 5, "block1/sum": 7, "block2/skip": 7, "block2/conv1": 9, "block2/relu2": 13}
    assert {name: rows[name].receptive_field for name in fields} == {name: (n, n) for name, n in fields.items()}
    assert rows["pool"].receptive_field == (32, 32)


def test_an_unknown_model_lists_the_known():
    with pytest.raises(
        RequestError,
        match=rf"^model='lenet': must be one of {', '.join(MODELS)}; nearest: lenet5$",
    ):
        make({"model": "lenet"}, (8, 8, 1))


@pytest.mark.parametrize("model", ["convnet", "mlp"])
def test_dropout_draws_by_key_and_vanishes_outside_training(model):
    network = make({"model": model, "dropout": 0.5, "blocks": 1}, (8, 8, 1))
    x = jnp.ones((2, 8, 8, 1))
    variables = some_variables(network, x)
    first, again, second = (
        network.apply(variables, x, True, rngs={"dropout": jax.random.key(seed)}) for seed in (0, 0, 1)
    )
    assert_array_equal(first, again)
    assert not np.allclose(first, second) and not np.allclose(first[0], first[1])
    assert_array_equal(*np.asarray(network.apply(variables, x)))
    without = make({"model": model, "blocks": 1}, (8, 8, 1))
    assert_array_equal(network.apply(variables, x), without.apply(variables, x, train=True))


def test_batch_normalisation_changes_its_statistics_in_training_only():
    network = make({"normalization": "batch"}, (8, 8, 1))
    x = normal_numbers(1, (4, 8, 8, 1))
    variables = some_variables(network, x)
    _, trained = jax.jit(lambda v, x: network.apply(v, x, train=True, mutable=["batch_stats"]))(variables, x)
    _, tested = jax.jit(lambda v, x: network.apply(v, x, mutable=["batch_stats"]))(variables, x)
    before, after, same = (jax.tree.leaves(stats["batch_stats"]) for stats in (variables, trained, tested))
    assert len(before) == 4
    before, after, same = jax.tree.map(np.asarray, (before, after, same))
    assert all((a != b).any() for a, b in zip(before, after, strict=True))
    assert all((a == b).all() for a, b in zip(before, same, strict=True))


@pytest.mark.parametrize(
    "settings", [{}, {"normalization": "layer"}, {"normalization": "batch"}, {"model": "mlp"}], ids=str
)
def test_bfloat16_images_give_bfloat16_logits(settings):
    network = make(settings, (8, 8, 1))
    x = normal_numbers(1, (4, 8, 8, 1))
    variables = some_variables(network, x)
    logits = jax.jit(network.apply)(variables, x.astype(jnp.bfloat16))
    assert logits.dtype == jnp.bfloat16
    assert_allclose(logits.astype(jnp.float32), jax.jit(network.apply)(variables, x), atol=0.1)


def test_a_permutation_is_nothing_to_a_dense_layer():
    """With the rows of its first kernel in the same order, the MLP gives the same logits."""
    images = normal_numbers(0, (2, 6, 5, 3))
    plain, permuted = (make({"model": "mlp", "hidden": 7, "permute": permute}, (6, 5, 3)) for permute in (False, True))
    variables = some_variables(plain, images)
    places = jnp.broadcast_to(jnp.arange(30.0).reshape(1, 6, 5, 1), (1, 6, 5, 3))
    _, seen = permuted.apply(variables, places, intermediates=True)
    order = np.asarray(seen["permute"][0, :, :, 0]).astype(int).ravel()
    assert sorted(order) == list(range(30)) and list(order) != list(range(30))
    dense = variables["params"]["dense1"]
    moved = np.asarray(dense["kernel"]).reshape(30, 3, 7)[order].reshape(90, 7)
    reordered = {"params": {**variables["params"], "dense1": {**dense, "kernel": moved}}}
    of_plain = jax.jit(plain.apply)(variables, images)
    of_permuted = jax.jit(permuted.apply)
    assert_allclose(of_permuted(reordered, images), of_plain, rtol=1e-4, atol=1e-5)
    assert not np.allclose(of_permuted(variables, images), of_plain, atol=1e-2)


@pytest.mark.parametrize("name", ["pooling", "normalization", "head"])
def test_an_unknown_name_lists_the_known(name):
    known = ", ".join(choices()[name])
    config = NetworkConfig(**{name: "batches"})
    with pytest.raises(RequestError, match=rf"^{name}='batches': must be one of {known}; nearest: "):
        check_names(config)
    with pytest.raises(RequestError, match=rf"^{name}='batches'"):
        build(config, (8, 8, 1), 10)


@pytest.mark.parametrize("pooling", ["stride", "convolution"])
def test_a_convolution_must_not_skip_cells(pooling):
    with pytest.raises(RequestError, match=rf"^filter_size=1: must be at least 2 with pooling='{pooling}'$"):
        check_names(NetworkConfig(filter_size=1, pooling=pooling))
    check_names(NetworkConfig(filter_size=2, pooling=pooling))
    check_names(NetworkConfig(filter_size=1))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("model", MODELS)
def test_a_network_uses_exactly_the_settings_that_are_named(model, head):
    """Any other setting leaves every shape as it is, and each that is named can change the network."""
    config = NetworkConfig(model=model, blocks=2, width=8, hidden=16, head=head)
    changes = {"head": "average" if head == "dense" else "dense"}
    changes |= {"blocks": 1, "width": 9, "growth": 1.5, "filter_size": 5, "convolutions": 2, "bottleneck": 0.5}
    changes |= {"pooling": "average", "normalization": "layer", "dropout": 0.1, "hidden": 8, "permute": True}

    def layers(config):
        return [(row.name, row.kind, row.output_shape, row.parameters) for row in summary.rows(network(config), IMAGE)]

    def network(config):
        return build(config, IMAGE, 10)

    found = {name for name, value in changes.items() if layers(replace(config, **{name: value})) != layers(config)}
    assert found == set(used(config)) <= set(MODELS[model].settings)
    assert set(changes) == {field.name for field in fields(NetworkConfig)} - {"model", "ghost_batch"}


def test_only_ghost_batch_normalisation_uses_a_ghost_batch_and_takes_images_together():
    for kind in choices()["normalization"]:
        for model in ("convnet", "resnet"):
            settings = {"normalization": kind, "model": model, "ghost_batch": 8}
            assert summary.images_together(make(settings, (8, 8, 1)), (8, 8, 1)) == (8 if kind == "ghost" else 1)
            assert ("ghost_batch" in used(NetworkConfig(**settings))) == (kind == "ghost")
