import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn.config import NetworkConfig
from cnn.network import summary
from cnn.network.geometry import input_window, receptive_field
from cnn.network.layers import Chain, Flatten, Signal
from cnn.network.models import LeNet5, build


def test_the_table_of_lenet5():
    lines = summary.table(LeNet5(10), (28, 28, 1)).splitlines()
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
        pytest.param({"model": "resnet", "blocks": 1}, id="resnet"),
        pytest.param({"model": "resnet", "blocks": 3}, id="resnet-of-three"),
        pytest.param({"model": "resnet", "blocks": 2, "filter_size": 2}, id="resnet-even-filter"),
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


def windows(network, image_shape, name):
    """`(filter, stride, padding)` of each layer from the image to the layer of that name."""
    (found,) = (visit.after.windows for visit in network.visits(Signal(image_shape)) if visit.name == name)
    return found if found is None else list(found)


def test_windows_lead_to_the_cells_under_a_unit():
    network = build(NetworkConfig(blocks=2, bottleneck=0.5, pooling="convolution"), (16, 16, 1), 10)
    assert windows(network, (16, 16, 1), "block1/conv2") == [
        ((3, 3), (1, 1), "SAME"),
        ((1, 1), (1, 1), 0),
        ((3, 3), (2, 2), ((0, 1), (0, 1))),
    ]
    for row in summary.rows(network, (16, 16, 1)):
        if len(row.output_shape) == 3:
            steps = [(filter, stride) for filter, stride, _ in windows(network, (16, 16, 1), row.name)]
            assert tuple(min(cells, 16) for cells in receptive_field(steps)) == row.receptive_field


def test_windows_count_the_cells_that_a_network_adds():
    steps = windows(LeNet5(10), (28, 27, 1), "conv1")
    assert steps == [((1, 1), (1, 1), ((2, 2), (2, 3))), ((5, 5), (1, 1), "VALID")]
    assert input_window((0, 0), (28, 27), steps) == ((-2, -2), (5, 5))


def test_windows_of_a_sum_are_those_of_the_branch():
    network = build(NetworkConfig(model="resnet", blocks=2, width=4), (9, 8, 1), 10)
    branch = windows(network, (9, 8, 1), "block2/conv2")
    assert windows(network, (9, 8, 1), "block2/sum") == branch
    assert [window[:2] for window in windows(network, (9, 8, 1), "block2/skip")][-1] == ((1, 1), (2, 2))


@pytest.mark.parametrize("name", ["flatten", "dense1", "logits"])
def test_a_unit_that_sees_the_whole_image_has_no_windows(name):
    assert windows(LeNet5(10), (28, 28, 1), name) is None


def products(jaxpr):
    """Multiply-accumulates of the matrix products and convolutions in what JAX has traced."""
    for equation in jaxpr.eqns:
        shapes = [value.aval.shape for value in (*equation.invars, *equation.outvars)]
        if equation.primitive.name == "conv_general_dilated":
            filters = shapes[1][equation.params["dimension_numbers"].rhs_spec[0]]
            yield math.prod(shapes[2]) * math.prod(shapes[1]) // filters
        elif equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            yield math.prod(shapes[2]) * math.prod(shapes[0][axis] for axis in contracted)
        for inner in equation.params.values():
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield from products(inner)


@pytest.mark.parametrize("settings", [{"blocks": 2}, {"blocks": 0}, {"blocks": 1, "convolutions": 2}, {"model": "mlp"}])
def test_operations_of_a_step_are_those_of_the_gradient_that_jax_traces(settings):
    network = build(NetworkConfig(width=3, hidden=5, **settings), (8, 8, 1), 10)
    x = jnp.zeros((1, 8, 8, 1))
    variables = jax.eval_shape(network.init, jax.random.key(0), x)
    traced = jax.make_jaxpr(jax.grad(lambda variables: network.apply(variables, x).sum()))(variables)
    assert summary.training_operations(network, (8, 8, 1)) == 2 * sum(products(traced.jaxpr))


def test_a_network_without_products_has_no_operations():
    class Flattened(Chain):
        @nn.nowrap
        def layers(self):
            return [Flatten(name="flatten")]

    assert summary.training_operations(Flattened(), (8, 8, 1)) == 0
