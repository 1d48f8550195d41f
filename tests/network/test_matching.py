import dataclasses
import re

import jax
import jax.numpy as jnp
import pytest

from cnn import recipes
from cnn.config import NetworkConfig
from cnn.errors import RequestError
from cnn.network import matching, models, summary
from cnn.network.geometry import blocks_that_fit
from cnn.network.heads import HEADS
from cnn.network.models import build

pytestmark = pytest.mark.thorough


def cost(config, image, kind):
    return getattr(summary.cost(build(config, image, 10), image), kind)


SHAPES = {"digits": (8, 8, 1), "mnist": (28, 28, 1), "fashion_mnist": (28, 28, 1), "cifar10": (32, 32, 3)}
SLOW = pytest.mark.slow
KINDS = pytest.mark.parametrize("kind", ["parameters", "macs"])


def real_parameters(config, image):
    """The parameters of the built network, counted array by array; nothing is computed."""
    network = build(config, image, 10)
    x = jax.ShapeDtypeStruct((1, *image), jnp.float32)
    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(network.init, jax.random.key(0), x)["params"]))


@pytest.mark.slow
@KINDS
@pytest.mark.parametrize("every", [pytest.param(False, id="3-and-most"), pytest.param(True, id="every", marks=SLOW)])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(
    "dataset", [name if name in ("digits", "mnist") else pytest.param(name, marks=SLOW) for name in recipes.DATASETS]
)
def test_every_known_data_set_can_be_matched_at_its_own_width(dataset, head, every, kind):
    """Every depth within 2 % of the deepest, which stays as it is; the deepest is 3, the most that fit, or each."""
    image = SHAPES[dataset]
    fields = {field.name for field in dataclasses.fields(NetworkConfig)}
    own = {name: value for name, value in recipes.defaults("sweep_blocks", dataset).items() if name in fields}
    assert own["width"] if dataset != "cifar10" else own["hidden"]
    least = HEADS[head].least_blocks
    most = blocks_that_fit(image[:2])
    for deepest in range(least + 1, most + 1) if every else sorted({3, most}):
        configs = [NetworkConfig(blocks=blocks, head=head, **own) for blocks in range(least, deepest + 1)]
        matched = matching.with_equal_cost(configs, kind, image, 10)
        wanted = cost(configs[-1], image, kind)
        assert matched[-1] == configs[-1]
        for before, after in zip(configs, matched, strict=True):
            assert abs(cost(after, image, kind) / wanted - 1) <= 0.02, after
            assert dataclasses.replace(after, width=before.width, hidden=before.hidden) == before
            assert head == "dense" or after.hidden == before.hidden
            assert before.blocks > 0 or after.width == before.width
    if kind == "parameters":  # of the last and longest list also as the arrays have them
        assert all(abs(real_parameters(config, image) / wanted - 1) <= 0.02 for config in matched)


@pytest.mark.slow
@KINDS
@pytest.mark.parametrize(
    ("settings", "image"),
    [
        pytest.param(
            {"width": 23.0, "pooling": "average", "normalization": "batch", "growth": 1.5}, (32, 32, 3), id="cifar"
        ),
        pytest.param({"width": 32.0, "model": "resnet"}, (32, 32, 3), id="resnet"),
    ],
)
def test_other_networks_are_matched_by_their_width(kind, settings, image):
    configs = [NetworkConfig(blocks=blocks, **settings) for blocks in (1, 2, 0, 3)]
    matched = matching.with_equal_cost(configs, kind, image, 10)
    wanted = cost(configs[-1], image, kind)
    assert matched[-1] == configs[-1]
    for before, after in zip(configs, matched, strict=True):
        assert abs(cost(after, image, kind) / wanted - 1) <= 0.02
        name = "hidden" if before.model == "convnet" and before.blocks == 0 else "width"
        assert dataclasses.replace(after, **{name: getattr(before, name)}) == before


def test_hidden_units_take_up_what_whole_channels_leave():
    """One block against four on MNIST: 4 channels cost too little, 5 too much. With 5, hidden units change less."""
    image = (28, 28, 1)
    shallow, deep = (NetworkConfig(blocks=blocks, width=16) for blocks in (1, 4))
    found, _ = matching.with_equal_cost([shallow, deep], "parameters", image, 10)
    wanted = real_parameters(deep, image)

    def hidden(channels):
        """The units with which so many channels come nearest: per unit 196 weights a channel, a bias, 10 weights."""
        rest = wanted - 10 * channels - 10
        return round(rest / (196 * channels + 11))

    assert (round(found.width), found.hidden) == (5, hidden(5))
    changes = {channels: max(hidden(channels) / 128, 128 / hidden(channels)) for channels in range(1, 20)}
    assert min(changes, key=changes.get) == 5 and 1.02 < changes[5] < changes[4]


def test_hidden_units_stay_where_a_width_comes_near_enough():
    configs = [NetworkConfig(blocks=blocks, width=16) for blocks in (1, 2, 3)]
    for config in matching.with_equal_cost(configs, "macs", (28, 28, 1), 10):
        assert config.hidden == 128


def test_match_by_width_changes_nothing():
    configs = [NetworkConfig(blocks=blocks) for blocks in (0, 1)]
    assert matching.with_equal_cost(configs, "width", (8, 8, 1), 10) == configs


@pytest.mark.slow
@pytest.mark.parametrize("width", [2.0, 4.5])
def test_a_match_that_cannot_be_is_refused_with_the_nearest_width_that_can(width):
    image = (28, 28, 1)
    configs = [NetworkConfig(blocks=blocks, width=width, head="average") for blocks in (1, 2, 3)]
    with pytest.raises(
        RequestError, match=rf"match='macs' with width={width}: .*nearest width that can be matched is \d+$"
    ) as caught:
        matching.with_equal_cost(configs, "macs", image, 10)
    nearest = int(re.search(r"\d+$", str(caught.value))[0])

    def matches(width):
        changed = [dataclasses.replace(config, width=float(width)) for config in configs]
        try:
            found = matching.with_equal_cost(changed, "macs", image, 10)
        except RequestError:
            return False
        costs = [cost(config, image, "macs") for config in found]
        return max(costs) / costs[-1] <= 1.02 and min(costs) / costs[-1] >= 0.98

    assert matches(nearest)
    nearer = [other for other in range(1, 2 * nearest) if abs(other - width) < abs(nearest - width)]
    assert not any(map(matches, nearer))


def test_a_match_says_between_which_widths_it_looked():
    configs = [NetworkConfig(blocks=blocks, width=1.0, hidden=1) for blocks in (0, 1, 3)]
    with pytest.raises(RequestError, match=r"no width from 1 to 5 can be matched$"):
        matching.with_equal_cost(configs, "parameters", (28, 28, 1), 10)


@pytest.mark.parametrize(
    "settings",
    [
        {"model": "mlp"},
        {"blocks": 0},
        {"blocks": 3, "pooling": "convolution"},
        {"model": "resnet", "blocks": 2},
        {"model": "resnet", "blocks": 0},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["parameters", "macs"])
def test_a_width_is_found_for_a_wanted_cost(settings, kind):
    config = NetworkConfig(**settings)
    found = matching.with_cost(config, kind, 250_000, (28, 28, 1), 10)
    assert cost(found, (28, 28, 1), kind) == pytest.approx(250_000, rel=0.02)
    assert dataclasses.replace(found, width=config.width, hidden=config.hidden) == config


@pytest.mark.parametrize("settings", [{"model": "mlp"}, {"blocks": 1}, {"blocks": 1, "head": "average"}], ids=str)
def test_no_size_beyond_the_largest_is_tried(settings):
    with pytest.raises(RequestError, match=r"^macs=1,000,000,000,000,000: the nearest that .* can reach is [\d,]+, "):
        matching.with_cost(NetworkConfig(**settings), "macs", 10**15, (28, 28, 1), 10)


def test_a_cost_that_cannot_be_reached_is_refused():
    with pytest.raises(
        RequestError, match=r"^parameters=1,000: the nearest that mlp .* can reach is 807, more than 2 %"
    ):
        matching.with_cost(NetworkConfig(model="mlp"), "parameters", 1000, (28, 28, 1), 10)


def test_a_model_of_fixed_cost_cannot_be_matched():
    sizable = ", ".join(name for name, model in models.MODELS.items() if model.sizes)
    message = rf"^model='lenet5': its cost is fixed; models that can be matched: {sizable}$"
    with pytest.raises(RequestError, match=message):
        matching.with_cost(NetworkConfig(model="lenet5"), "parameters", 1000, (28, 28, 1), 10)
    reference = matching.equal_parameters(NetworkConfig(model="mlp"), NetworkConfig(model="lenet5"), (28, 28, 1), 10)
    assert cost(reference, (28, 28, 1), "parameters") == pytest.approx(61706, rel=0.02)
