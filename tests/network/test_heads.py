import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose

from cnn.config import NetworkConfig
from cnn.errors import RequestError
from cnn.network import summary
from cnn.network.heads import HEADS
from cnn.network.models import MODELS, build, check_names

pytestmark = pytest.mark.thorough

IMAGE = (9, 14, 3)


def rows(**settings):
    config = NetworkConfig(**{"width": 8, "hidden": 16} | settings)
    return {row.name: row for row in summary.rows(build(config, IMAGE, 10), IMAGE)}


@pytest.mark.slow
def test_an_average_head_computes_what_its_formula_says():
    network = build(NetworkConfig(head="average", blocks=1, width=8), IMAGE, 10)
    x = jax.random.normal(jax.random.key(0), (2, *IMAGE))
    variables = network.init(jax.random.key(1), x)
    logits, seen = network.apply(variables, x, intermediates=True)
    last = np.asarray(seen["block1/pool"], np.float64)
    means = last.sum((1, 2)) / (4 * 7)
    assert last.shape == (2, 4, 7, 8)
    assert_allclose(seen["pool"], means, rtol=1e-5)
    kernel, bias = (np.asarray(variables["params"]["logits"][name]) for name in ("kernel", "bias"))
    assert_allclose(logits, means @ kernel + bias, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "names", "parameters", "macs"),
    [
        pytest.param(
            {"head": "average"}, ["pool", "logits"], {"logits": 16 * 10 + 10}, {"pool": 0, "logits": 160}, id="average"
        ),
        pytest.param(
            {"head": "dense"},
            ["flatten", "dense1", "dense1_relu", "logits"],
            {"dense1": 2 * 3 * 16 * 16 + 16, "logits": 16 * 10 + 10},
            {"dense1": 2 * 3 * 16 * 16, "logits": 160},
            id="dense",
        ),
        pytest.param(
            {"head": "dense", "dropout": 0.5},
            ["flatten", "dense1", "dense1_relu", "dropout1", "logits"],
            {"dense1": 2 * 3 * 16 * 16 + 16, "dropout1": 0},
            {"dropout1": 0},
            id="dense-with-dropout",
        ),
        pytest.param(
            {"model": "resnet"}, ["pool", "logits"], {"pool": 0, "logits": 16 * 10 + 10}, {"logits": 160}, id="resnet"
        ),
    ],
)
def test_a_head_by_hand(settings, names, parameters, macs):
    """Two blocks of width 8 leave 2x3x16 of a 9x14 image."""
    found = rows(blocks=2, **settings)
    assert list(found)[-len(names) :] == names and list(found)[-len(names) - 1].startswith("block2/")
    assert {name: found[name].parameters for name in parameters} == parameters
    assert {name: found[name].macs for name in macs} == macs
    assert all(found[name].receptive_field == (9, 14) for name in names)


def test_an_average_head_is_the_same_size_at_every_image():
    config = NetworkConfig(head="average", blocks=2, width=8)
    costs = {build(config, image, 10).parameters(image) for image in ((8, 8, 3), (32, 32, 3), (9, 14, 3))}
    assert len(costs) == 1


@pytest.mark.parametrize("head", HEADS)
def test_the_features_of_a_head_are_one_row_before_any_weight_of_it(head):
    config = NetworkConfig(head=head, blocks=2)
    found = list(rows(head=head, blocks=2).values())
    features = MODELS["convnet"].features(config)
    place = [row.name for row in found].index(features)
    assert len(found[place].output_shape) == 1 and found[place].parameters == 0
    assert [row.name.split("/")[0] for row in found[:place]] == ["block1"] * 3 + ["block2"] * 3


def test_nothing_is_averaged_without_a_block():
    message = r"^blocks=0: must be at least 1 with head='average'; heads that take 0 blocks: dense$"
    with pytest.raises(RequestError, match=message):
        build(NetworkConfig(head="average", blocks=0), IMAGE, 10)
    check_names(NetworkConfig(head="dense", blocks=0))
    check_names(NetworkConfig(model="resnet", head="average", blocks=0))  # its head is its own
