import dataclasses
import re

import pytest

from cnn.config import NetworkConfig
from cnn.errors import RequestError
from cnn.network import matching, models, summary
from cnn.network.models import build

pytestmark = pytest.mark.thorough


def cost(config, image, kind):
    return getattr(summary.cost(build(config, image, 10), image), kind)


@pytest.mark.parametrize("kind", ["parameters", "macs"])
@pytest.mark.parametrize(
    ("settings", "image"),
    [
        pytest.param({"width": 31.0}, (28, 28, 1), id="mnist"),
        pytest.param({"width": 16.0}, (8, 8, 1), id="digits"),
        pytest.param(
            {"width": 23.0, "pooling": "average", "normalization": "batch", "growth": 1.5}, (32, 32, 3), id="cifar"
        ),
        pytest.param({"width": 32.0, "model": "resnet"}, (32, 32, 3), id="resnet"),
    ],
)
def test_match_comes_within_two_per_cent(kind, settings, image):
    configs = [NetworkConfig(blocks=blocks, **settings) for blocks in (1, 3, 0, 2)]
    matched = matching.with_equal_cost(configs, kind, image, 10)
    wanted = cost(configs[1], image, kind)
    assert matched[1] == configs[1]
    for before, after in zip(configs, matched, strict=True):
        assert abs(cost(after, image, kind) / wanted - 1) <= 0.02
        name = "hidden" if before.model == "convnet" and before.blocks == 0 else "width"
        assert dataclasses.replace(after, **{name: getattr(before, name)}) == before


def test_match_by_width_changes_nothing():
    configs = [NetworkConfig(blocks=blocks) for blocks in (0, 1)]
    assert matching.with_equal_cost(configs, "width", (8, 8, 1), 10) == configs


@pytest.mark.parametrize("width", [2.0, 4.5])
def test_a_match_that_cannot_be_is_refused_with_the_nearest_width_that_can(width):
    image = (28, 28, 1)
    configs = [NetworkConfig(blocks=blocks, width=width) for blocks in (0, 1, 3)]
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


def test_a_match_says_up_to_which_width_it_looked():
    configs = [NetworkConfig(blocks=blocks, width=1.0) for blocks in (0, 1, 3)]
    with pytest.raises(RequestError, match=r"the nearest width that can be matched is 5$"):
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


def test_a_cost_that_cannot_be_reached_is_refused():
    with pytest.raises(
        RequestError, match=r"^parameters=1,000: the nearest that mlp .* can reach is 807, more than 2%"
    ):
        matching.with_cost(NetworkConfig(model="mlp"), "parameters", 1000, (28, 28, 1), 10)


def test_a_model_of_fixed_cost_cannot_be_matched():
    sizable = ", ".join(name for name, model in models.MODELS.items() if model.size)
    message = rf"^model='lenet5': its cost is fixed; models that can be matched: {sizable}$"
    with pytest.raises(RequestError, match=message):
        matching.with_cost(NetworkConfig(model="lenet5"), "parameters", 1000, (28, 28, 1), 10)
    reference = matching.equal_parameters(NetworkConfig(model="mlp"), NetworkConfig(model="lenet5"), (28, 28, 1), 10)
    assert cost(reference, (28, 28, 1), "parameters") == pytest.approx(61706, rel=0.02)
