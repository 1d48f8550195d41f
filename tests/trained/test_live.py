"""What a page needs to run a network: steps, integers and weights, and which networks cannot run there."""

import dataclasses
import json

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn.network.layers import Signal
from cnn.trained import live as module
from cnn.trained.live import Live, NotLive, live, rounded
from tests.trained.exported import KINDS, make
from tests.trained.untrained import DEVIATION, MEAN, SHAPE, random_images

LIVE = {kind: settings for kind, settings in KINDS.items() if settings.get("model") != "lenet5_1998"}
NO_PADDING = ((0, 0), (0, 0))


def arrays(program, step):
    """The tensors of a step, read back from the buffer."""
    read = {}
    for tensor in step.tensors:
        count = int(np.prod(tensor.shape))
        flat = np.frombuffer(program.weights, tensor.type, count, tensor.start)
        read[tensor.name] = flat.reshape(tensor.shape)
    return read


def test_steps_of_a_convnet_by_hand():
    program = live(make(blocks=1, head="average", normalization="group", width=8))
    rows = [(step.name, step.kind, step.inputs, step.shape, step.pictured) for step in program.steps]
    assert rows == [
        ("block1/conv1", "conv", ("",), (8, 6, 8), False),
        ("block1/norm1", "group_norm", ("block1/conv1",), (8, 6, 8), False),
        ("block1/relu1", "relu", ("block1/norm1",), (8, 6, 8), True),
        ("block1/pool", "max_pool", ("block1/relu1",), (4, 3, 8), True),
        ("pool", "global_avg_pool", ("block1/pool",), (8,), False),
        ("logits", "dense", ("pool",), (3,), False),
    ]
    conv, norm, _, pool, *_ = program.steps
    assert (conv.size, conv.stride, conv.padding) == ((3, 3), (1, 1), ((1, 1), (1, 1)))
    assert (pool.size, pool.stride, pool.padding) == ((2, 2), (2, 2), NO_PADDING)
    assert (conv.groups, norm.groups) == (0, 2)
    assert [tensor.name for tensor in norm.tensors] == ["bias", "scale"]


def test_skip_connections_name_what_reaches_the_sum():
    program = live(make(model="resnet", normalization="batch"))
    inputs = {step.name: step.inputs for step in program.steps}
    assert inputs["block1/sum"] == ("block1/norm2", "relu1")
    assert inputs["block2/skip"] == inputs["block2/conv1"] == ("block1/relu2",)
    assert inputs["block2/sum"] == ("block2/norm2", "block2/norm_skip")


@pytest.mark.parametrize("kind", LIVE)
def test_steps_and_weights_are_those_of_the_network(kind):
    trained = make(**LIVE[kind])
    program = live(trained)
    visits = trained.network.visits(Signal(SHAPE))
    assert [(step.name, step.shape) for step in program.steps] == [(visit.name, visit.after.shape) for visit in visits]
    before = {""}
    for step in program.steps:
        assert set(step.inputs) <= before
        before.add(step.name)
    leaves = [
        array
        for step in program.steps
        for name, array in sorted(arrays(program, step).items())
        if name != "order"  # of the shuffled pixels, which is no variable
    ]
    total = sum(leaf.size for leaf in jax.tree.leaves(trained.variables))
    assert sum(leaf.size for leaf in leaves) == total
    first = next(step for step in program.steps if step.kind in ("conv", "dense"))
    kernel = arrays(program, first)["kernel"]
    own = flax.traverse_util.flatten_dict(trained.variables["params"], sep="/")[f"{first.name}/kernel"]
    assert kernel.dtype == np.float16
    np.testing.assert_allclose(kernel, own, rtol=1e-3)


def test_rounded_weights_are_close_and_float32():
    trained = make(normalization="batch", precision="bfloat16")
    close = rounded(trained)
    assert close.precision == "float32"
    program = live(trained)
    in_page = arrays(program, program.steps[0])["kernel"]
    np.testing.assert_array_equal(close.variables["params"]["block1"]["conv1"]["kernel"], in_page.astype(np.float32))
    images = random_images(5)
    exact = make(normalization="batch").outputs(images)
    assert 0 < np.abs(close.outputs(images) - exact).max() < 1e-2 * np.abs(exact).max()


def test_shuffled_pixels_come_with_their_order():
    program = live(make(permute=True))
    order = arrays(program, program.steps[0])["order"]
    image = jnp.arange(48).reshape(1, 8, 6, 1)
    layer = make(permute=True).network.layers()[0]
    np.testing.assert_array_equal(layer.apply({}, image).reshape(-1), image.reshape(-1)[order])


def test_statistics_keep_their_precision():
    trained = make(normalization="batch")
    statistics = jax.tree.map(lambda leaf: leaf * 1e6, trained.variables["batch_stats"])
    program = live(dataclasses.replace(trained, variables={**trained.variables, "batch_stats": statistics}))
    norm = next(step for step in program.steps if step.kind == "batch_norm")
    assert arrays(program, norm)["var"].tolist() == [1e6] * 4


@pytest.mark.parametrize(
    "settings, reason",
    [
        ({"objects": 1}, "The network locates objects, and a page shows classes alone."),
        ({"model": "lenet5_1998"}, "The layer pad is of the kind EdgePad, which a page does not compute."),
        (
            {"model": "mlp", "hidden": 500},
            "The weights would take 0.80 MB of a page, and 0.60 MB is the most.",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(value),
)
def test_networks_that_cannot_run_in_a_page(settings, reason):
    assert live(make(**settings)) == NotLive(reason)
    assert live(make(**settings)).to_json() == {"reason": reason}


def test_the_largest_network_that_fits(monkeypatch):
    program = live(make())
    characters = len(program.to_json()["weights"])
    monkeypatch.setattr(module, "MOST_CHARACTERS", characters)
    assert isinstance(live(make()), Live)
    monkeypatch.setattr(module, "MOST_CHARACTERS", characters - 1)
    assert isinstance(live(make()), NotLive)


@pytest.mark.parametrize("value", [1e6, np.nan])
def test_weights_that_16_bits_cannot_hold(value):
    trained = make()
    params = jax.tree.map(lambda leaf: leaf.at[(0,) * leaf.ndim].set(value), trained.variables["params"])
    assert live(dataclasses.replace(trained, variables={"params": params})) == NotLive(
        "Some weights are too large for 16 bits, or are no numbers."
    )


def test_json_is_what_was_said():
    program = live(make())
    values = json.loads(json.dumps(program.to_json(), allow_nan=False))
    assert values["class_names"] == ["a", "b", "c"] and values["image_shape"] == [*SHAPE]
    assert values["mean"] == MEAN.tolist() and values["deviation"] == DEVIATION.tolist()
    assert values["steps"][0]["tensors"][1] == {
        "name": "kernel",
        "type": "float16",
        "shape": [3, 3, 2, 4],
        "start": 16,
    }
