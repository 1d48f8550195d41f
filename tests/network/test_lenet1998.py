import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from cnn.errors import RequestError
from cnn.network import summary
from cnn.network.lenet1998 import BITMAPS, CONNECTED, EdgePad, LeNet5_1998, RadialBasis, Squash, Subsampling
from tests.network import reference
from tests.network.helpers import normal_numbers

pytestmark = pytest.mark.thorough

NETWORK = LeNet5_1998(10)
DIGIT = (28, 28, 1)
IMAGES = normal_numbers(1, (2, *DIGIT))
PUBLISHED = {  # section II-B of the authors' preprint: trainable parameters and connections
    "c1": (156, 122_304),
    "s2": (12, 5_880),
    "c3": (1_516, 151_600),
    "s4": (32, 2_000),
    "c5": (48_120, 48_120),
    "f6": (10_164, 10_164),
    "output": (0, 840),  # ten units with 84 inputs each
}
# What section II-B says of Table I: contiguous subsets of three and of four maps, three of four that are not, and all.
C3_INPUTS = [
    *[{first, (first + 1) % 6, (first + 2) % 6} for first in range(6)],
    *[{first, (first + 1) % 6, (first + 2) % 6, (first + 3) % 6} for first in range(6)],
    *[{0, 1, 3, 4}, {1, 2, 4, 5}, {0, 2, 3, 5}],
    set(range(6)),
]


@functools.cache
def some_params():
    """Drawn by NumPy, which is quicker than initialising; large enough for every squash to bend."""
    generator = np.random.default_rng(0)
    shapes = jax.eval_shape(NETWORK.init, jax.random.key(0), IMAGES)["params"]
    bound = {name: 4 / math.sqrt(PUBLISHED[name][0] / layer["bias"].size) for name, layer in shapes.items()}
    return {
        name: {
            key: jnp.asarray(generator.uniform(-bound[name], bound[name], leaf.shape), jnp.float32)
            for key, leaf in layer.items()
        }
        for name, layer in shapes.items()
    }


def squash(a):
    return 1.7159 * np.tanh(2 * a / 3)


def subsample(x, coefficient, bias):
    n, height, width, maps = x.shape
    y = np.zeros((n, height // 2, width // 2, maps))
    for row in range(height // 2):
        for column in range(width // 2):
            window = x[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            y[:, row, column] = window.sum((1, 2)) * coefficient + bias
    return y


def c3(x, filters, bias):
    """Filters in the order of Table I's rows: for each map of S2, the maps of C3 that see it."""
    pairs = [(given, seen_by) for given in range(6) for seen_by in range(16) if given in C3_INPUTS[seen_by]]
    y = np.zeros((len(x), 10, 10, 16)) + bias
    for row in range(10):
        for column in range(10):
            for number, (given, seen_by) in enumerate(pairs):
                window = x[:, row : row + 5, column : column + 5, given]
                y[:, row, column, seen_by] += (window * filters[:, :, number]).sum((1, 2))
    return y


def by_the_paper(params, images):
    """Every layer of the network before it is squashed, in NumPy and float64."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    whole = ((0, 0), (0, 0))
    seen = {"pad": np.pad(np.asarray(images, np.float64), ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")}
    seen["c1"] = reference.conv2d(seen["pad"], **p["c1"], stride=(1, 1), sides=whole)
    seen["s2"] = subsample(squash(seen["c1"]), **p["s2"])
    seen["c3"] = c3(squash(seen["s2"]), p["c3"]["kernel"], p["c3"]["bias"])
    seen["s4"] = subsample(squash(seen["c3"]), **p["s4"])
    seen["c5"] = np.tensordot(squash(seen["s4"]), p["c5"]["kernel"], 3).reshape(-1, 1, 1, 120) + p["c5"]["bias"]
    seen["f6"] = squash(seen["c5"]) @ p["f6"]["kernel"][0, 0] + p["f6"]["bias"]
    penalties = np.zeros((len(images), 10))
    for image, state in enumerate(squash(seen["f6"]).reshape(-1, 84)):
        for digit in range(10):
            penalties[image, digit] = ((state - BITMAPS[digit]) ** 2).sum()
    return {**seen, "output": -penalties}


def test_parameters_and_connections_are_the_published():
    assert NETWORK.connections(DIGIT) == 340_908
    assert NETWORK.parameters(DIGIT) == 60_000 == sum(leaf.size for leaf in jax.tree.leaves(some_params()))
    shape = DIGIT
    for layer in NETWORK.layers():
        parameters, connections = PUBLISHED.get(layer.name, (0, 0))
        held = sum(leaf.size for leaf in jax.tree.leaves(some_params().get(layer.name, {})))
        assert layer.parameters(shape) == held == parameters, layer.name
        assert layer.connections(shape) == connections, layer.name
        shape = layer.output_shape(shape)


def test_the_table_says_shapes_work_and_receptive_fields():
    rows = {row.name: row for row in summary.rows(NETWORK, (32, 32, 1)) if not row.name.endswith("_squash")}
    assert {name: (row.output_shape, row.macs, row.receptive_field[0]) for name, row in rows.items()} == {
        "pad": ((32, 32, 1), 0, 1),
        "c1": ((28, 28, 6), 28 * 28 * 6 * 25, 5),
        "s2": ((14, 14, 6), 14 * 14 * 6, 6),
        "c3": ((10, 10, 16), 10 * 10 * 60 * 25, 14),
        "s4": ((5, 5, 16), 5 * 5 * 16, 16),
        "c5": ((1, 1, 120), 400 * 120, 32),
        "f6": ((1, 1, 84), 120 * 84, 32),
        "output": ((10,), 840, 32),
    }


def test_c3_is_connected_as_the_paper_describes():
    assert [set(np.flatnonzero(column).tolist()) for column in CONNECTED.T] == C3_INPUTS
    assert CONNECTED.sum() == 60


def test_the_bitmaps_are_those_of_figure_3():
    assert set(np.unique(BITMAPS)) == {-1, 1} and BITMAPS.shape == (10, 84)
    assert (BITMAPS == 1).sum(1).tolist() == [35, 27, 33, 32, 41, 35, 39, 25, 43, 39]  # counted in the figure
    seven = [0b1111111, 0b11, 0b11, 0b110, 0b1100, 0b1100, 0b11000, 0b11000, 0b11000, 0b11000, 0, 0]
    assert ["".join("01"[int(cell > 0)] for cell in line) for line in BITMAPS[7].reshape(12, 7)] == [
        f"{line:07b}" for line in seven
    ]
    differ = (BITMAPS.reshape(10, 1, 84) != BITMAPS.reshape(1, 10, 84)).sum(-1)
    assert differ[6, 8] == 12 == differ[~np.eye(10, dtype=bool)].min()  # 6 and 8 are the most alike


def test_the_forward_pass_is_the_papers():
    network = jax.jit(functools.partial(NETWORK.apply, intermediates=True))
    logits, seen = network({"params": some_params()}, IMAGES)
    assert_array_equal(logits, seen["output"])
    for name, expected in by_the_paper(some_params(), IMAGES).items():
        assert_allclose(seen[name], expected, rtol=1e-4, atol=1e-4, err_msg=name)


def test_the_squashing_function_keeps_1_and_saturates():
    """Appendix A: f(1) = 1, f(-1) = -1, and the second derivative is largest in size there."""
    f = functools.partial(Squash().apply, {})
    assert_allclose(f(jnp.array([-1.0, 0.0, 1.0, 100.0])), [-1, 0, 1, 1.7159], atol=1e-4)
    a = jnp.linspace(0, 3, 301)
    bend = jnp.abs(jax.vmap(jax.grad(jax.grad(f)))(a))
    assert a[bend.argmax()] == pytest.approx(1, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["c1", "s2", "c3", "s4", "c5", "f6"])
def test_initial_weights_are_uniform_within_the_fan_in(name):
    shape = DIGIT
    for layer in NETWORK.layers():
        if layer.name == name:
            break
        shape = layer.output_shape(shape)
    draw = jax.jit(jax.vmap(lambda key: layer.init(key, jnp.ones((1, *shape)))))
    params = draw(jax.random.split(jax.random.key(0), 40))
    sees = np.array([25 * len(maps) for maps in C3_INPUTS])  # by map of C3
    fan_in = {"c1": 25, "s2": 4, "c3": sees[np.nonzero(CONNECTED)[1]], "s4": 4, "c5": 400, "f6": 120}[name]
    for key, values in params["params"].items():
        unit = np.asarray(values) / 2.4 * (sees if (name, key) == ("c3", "bias") else fan_in)
        assert 0.9 < np.abs(unit).max() <= 1 + 1e-6, key
        assert abs(unit.mean()) < 4 * math.sqrt(1 / 3 / unit.size), key
        assert unit.var() == pytest.approx(1 / 3, abs=4 * math.sqrt(4 / 45 / unit.size)), key  # of a uniform square


def test_padding_repeats_the_edge_and_puts_the_odd_cell_last():
    y = EdgePad(6).apply({}, jnp.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]).reshape(1, 2, 3, 1))
    assert y[0, :, :, 0].tolist() == [[1, 1, 2, 3, 3, 3]] * 3 + [[4, 4, 5, 6, 6, 6]] * 3


def test_integer_pixels_become_numbers():
    y = EdgePad(4).apply({}, jnp.full((1, 3, 3, 1), 200, jnp.uint8))
    assert y.dtype == jnp.float32 and (y == 200).all()


def test_c1_takes_any_number_of_channels():
    shapes = jax.eval_shape(NETWORK.init, jax.random.key(0), jnp.ones((1, 32, 32, 3)))
    assert shapes["params"]["c1"]["kernel"].shape == (5, 5, 3, 6)
    assert NETWORK.parameters((32, 32, 3)) == 60_000 + 2 * 6 * 25


@pytest.mark.parametrize("shape", [(33, 32, 1), (8, 40, 3)], ids=str)
def test_a_large_image_is_refused(shape):
    message = rf"^lenet5_1998: a {shape[0]}x{shape[1]} image: must be at most 32x32\b"
    with pytest.raises(RequestError, match=message):
        NETWORK.output_shape(shape)
    with pytest.raises(RequestError, match=message):
        jax.eval_shape(NETWORK.init, jax.random.key(0), jnp.ones((1, *shape)))


@pytest.mark.parametrize("classes", [2, 100])
def test_other_than_ten_classes_are_refused(classes):
    with pytest.raises(RequestError, match=rf"^classes={classes}: must be 10, "):
        LeNet5_1998(classes)


def test_only_kernels_have_more_than_one_axis():
    names = {True: set(), False: set()}
    for path, leaf in jax.tree_util.tree_leaves_with_path(some_params()):
        names[leaf.ndim > 1].add(path[-1].key)
    assert names == {True: {"kernel"}, False: {"bias", "coefficient"}}


def gradient(params, x):
    def loss(params):
        logits = NETWORK.apply({"params": params}, x)
        assert logits.dtype == x.dtype
        return -jax.nn.log_softmax(logits.astype(jnp.float32))[:, 3].mean()

    return jax.grad(loss)(params)


@pytest.mark.slow
def test_gradients_are_finite_in_both_precisions_and_for_replicas_in_one_program():
    two = jax.tree.map(lambda leaf: np.stack([leaf, np.asarray(leaf) / 2]), some_params())
    full = jax.jit(jax.vmap(gradient, (0, None)))(two, IMAGES)
    low = jax.jit(gradient)(some_params(), IMAGES.astype(jnp.bfloat16))
    for path, leaf in jax.tree_util.tree_leaves_with_path((full, low)):
        values = np.asarray(leaf)
        assert np.isfinite(values).all() and values.any() and values.dtype == np.float32, path


@pytest.mark.parametrize("layer", [Subsampling(), Squash(), RadialBasis()], ids=lambda layer: type(layer).__name__)
def test_bfloat16_stays_bfloat16(layer):
    x = normal_numbers(0, (2, 2, 2, 21))
    y, variables = layer.init_with_output(jax.random.key(0), x)
    low = layer.apply(variables, x.astype(jnp.bfloat16))
    assert low.dtype == jnp.bfloat16
    assert_allclose(low.astype(jnp.float32), y, rtol=0.02, atol=0.05)
