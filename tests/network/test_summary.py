import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn.config import NetworkConfig, RequestError
from cnn.network import summary
from cnn.network.geometry import input_window, receptive_field
from cnn.network.models import LeNet5, build


def cost(config, image, kind):
    return getattr(summary.cost(build(config, image, 10), image), kind)


def test_the_table_of_lenet5():
    lines = summary.summary(LeNet5(10), (28, 28, 1)).splitlines()
    table = {line.split()[0]: line.split()[1:] for line in lines}
    assert lines[0].split("  ")[0] == "layer"
    assert table["input"] == ["28x28x1"]
    assert table["conv1"] == ["Conv", "28x28x6", "156", "117,600", "5"]
    assert table["pool1"] == ["MaxPool", "14x14x6", "0", "0", "6"]
    assert table["conv2"] == ["Conv", "10x10x16", "2,416", "240,000", "14"]
    assert table["pool2"] == ["MaxPool", "5x5x16", "0", "0", "16"]
    assert table["dense1"] == ["Dense", "120", "48,120", "48,000", "28"]
    assert table["dense2"] == ["Dense", "84", "10,164", "10,080", "28"]
    assert table["logits"] == ["Dense", "10", "850", "840", "28"]
    assert table["total"] == ["61,706", "416,520"]
    assert list(table)[-1] == "total"


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"blocks": 2}, id="max"),
        pytest.param({"blocks": 2, "pooling": "average", "convolutions": 2}, id="average-of-two"),
        pytest.param({"blocks": 2, "pooling": "stride", "filter_size": 5}, id="stride"),
        pytest.param({"blocks": 1, "filter_size": 2}, id="even-filter"),
        pytest.param({"model": "lenet5"}, id="lenet5"),
    ],
)
def test_receptive_field_is_the_extent_of_what_moves_a_cell(settings):
    """With positive weights a cell in the middle is moved by each row and column that it sees, and by no other."""
    image = (40, 37, 1)
    network = build(NetworkConfig(width=2.0, hidden=2, **settings), image, 10)
    lines = [np.zeros(image)]
    for axis in (0, 1):  # the image with one row or one column raised so far that it wins every maximum that sees it
        for line in range(image[axis]):
            lines.append(np.zeros(image))
            np.moveaxis(lines[-1], axis, 0)[line] = 100
    x = jnp.asarray(1 + np.stack(lines), jnp.float32)
    variables = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.5), jax.eval_shape(network.init, jax.random.key(0), x))
    _, seen = jax.jit(lambda x: network.apply(variables, x, intermediates=True))(x)
    rows = [row for row in summary.rows(network, image) if len(row.output_shape) == 3]
    assert len(rows) >= 3
    for row in rows:
        cell = np.asarray(seen[row.name][:, row.output_shape[0] // 2, row.output_shape[1] // 2, 0])
        moved = cell[1:] - cell[0] > 1
        for field, along in zip(row.receptive_field, (moved[:40], moved[40:]), strict=True):
            first, *_, last = np.flatnonzero(along).repeat(2)
            assert field == last - first + 1 == along.sum(), row.name


def test_receptive_field_is_no_larger_than_the_image():
    rows = summary.rows(build(NetworkConfig(blocks=3, width=2.0), (8, 14, 1), 10), (8, 14, 1))
    fields = {row.name: row.receptive_field for row in rows}
    assert [fields[f"block{block}/pool"] for block in (1, 2, 3)] == [(4, 4), (8, 10), (8, 14)]


@pytest.mark.parametrize("kind", ["parameters", "macs"])
@pytest.mark.parametrize(
    ("settings", "image"),
    [
        pytest.param({"width": 31.0}, (28, 28, 1), id="mnist"),
        pytest.param({"width": 16.0}, (8, 8, 1), id="digits"),
        pytest.param(
            {"width": 23.0, "pooling": "average", "normalization": "batch", "growth": 1.5}, (32, 32, 3), id="cifar"
        ),
    ],
)
def test_match_comes_within_two_per_cent(kind, settings, image):
    configs = [NetworkConfig(blocks=blocks, **settings) for blocks in (1, 3, 0, 2)]
    matched = summary.match(configs, kind, image, 10)
    wanted = cost(configs[1], image, kind)
    assert matched[1] == configs[1]
    for before, after in zip(configs, matched, strict=True):
        assert abs(cost(after, image, kind) / wanted - 1) <= 0.02
        name = "hidden" if before.blocks == 0 else "width"
        assert dataclasses.replace(after, **{name: getattr(before, name)}) == before


def test_match_by_width_changes_nothing():
    configs = [NetworkConfig(blocks=blocks) for blocks in (0, 1)]
    assert summary.match(configs, "width", (8, 8, 1), 10) == configs


@pytest.mark.parametrize("width", [2.0, 4.5])
def test_a_match_that_cannot_be_is_refused_with_the_nearest_width_that_can(width):
    image, configs = (28, 28, 1), [NetworkConfig(blocks=blocks, width=width) for blocks in (0, 1, 3)]
    with pytest.raises(
        RequestError, match=rf"match='macs' with width={width}: .*nearest width that can be matched is \d+$"
    ) as caught:
        summary.match(configs, "macs", image, 10)
    nearest = int(re.search(r"\d+$", str(caught.value))[0])

    def matches(width):
        changed = [dataclasses.replace(config, width=float(width)) for config in configs]
        try:
            found = summary.match(changed, "macs", image, 10)
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
        summary.match(configs, "parameters", (28, 28, 1), 10)


def test_windows_lead_to_the_cells_under_a_unit():
    network = build(NetworkConfig(blocks=2, bottleneck=0.5, pooling="convolution"), (16, 16, 1), 10)
    assert summary.windows(network, (16, 16, 1), "block1/conv2") == [
        ((3, 3), (1, 1), "SAME"),
        ((1, 1), (1, 1), 0),
        ((3, 3), (2, 2), ((0, 1), (0, 1))),
    ]
    for row in summary.rows(network, (16, 16, 1)):
        if len(row.output_shape) == 3:
            steps = [(filter, stride) for filter, stride, _ in summary.windows(network, (16, 16, 1), row.name)]
            assert tuple(min(cells, 16) for cells in receptive_field(steps)) == row.receptive_field


def test_windows_count_the_cells_that_a_network_adds():
    steps = summary.windows(LeNet5(10), (28, 27, 1), "conv1")
    assert steps == [((1, 1), (1, 1), ((2, 2), (2, 3))), ((5, 5), (1, 1), "VALID")]
    assert input_window((0, 0), (28, 27), steps) == ((-2, -2), (5, 5))
    with pytest.raises(RequestError, match=r"^layer='conv3': must be one of pad, conv1"):
        summary.windows(LeNet5(10), (28, 28, 1), "conv3")


@pytest.mark.parametrize("settings", [{"model": "mlp"}, {"blocks": 0}, {"blocks": 3, "pooling": "convolution"}])
@pytest.mark.parametrize("kind", ["parameters", "macs"])
def test_a_width_is_found_for_a_wanted_cost(settings, kind):
    config = NetworkConfig(**settings)
    found = summary.matched(config, kind, 250_000, (28, 28, 1), 10)
    assert cost(found, (28, 28, 1), kind) == pytest.approx(250_000, rel=0.02)
    assert dataclasses.replace(found, width=config.width, hidden=config.hidden) == config


def test_a_cost_that_cannot_be_reached_is_refused():
    with pytest.raises(
        RequestError, match=r"^parameters=1,000: the nearest that mlp .* can reach is 807, more than 2%"
    ):
        summary.matched(NetworkConfig(model="mlp"), "parameters", 1000, (28, 28, 1), 10)
