import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from cnn.errors import RequestError
from cnn.network import geometry, ops, trace

pytestmark = pytest.mark.thorough

IMAGE = np.array([[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]], np.float32).reshape(4, 4, 1)
EDGE = np.array([[1, -1], [1, -1]], np.float32).reshape(2, 2, 1)


def values(steps):
    """The output cells in the order of the steps, as an array."""
    rows, columns = (1 + last for last in steps[-1].cell)
    return np.array([step.value for step in steps]).reshape(rows, columns)


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_the_steps_are_conv2d(data):
    axes = []
    for _ in range(2):
        filter = data.draw(st.integers(1, 4))
        stride = data.draw(st.integers(1, 3))
        before = data.draw(st.integers(0, 2))
        after = data.draw(st.integers(0, 2))
        axes.append((data.draw(st.integers(max(filter - before - after, 1), 7)), filter, stride, (before, after)))
    sizes, filters, strides, sides = zip(*axes, strict=True)
    channels = data.draw(st.integers(1, 3))
    seed = data.draw(st.integers(0, 9))
    padding = data.draw(st.sampled_from([sides, "SAME"]))
    random = np.random.default_rng(seed)
    # Small whole numbers: float32 adds them without rounding.
    image = random.integers(-3, 4, (*sizes, channels)).astype(np.float32)
    filter = random.integers(-3, 4, (*filters, channels)).astype(np.float32)
    bias = np.float32(random.integers(-3, 4))
    convolved = ops.conv2d(
        jnp.asarray(image)[None], jnp.asarray(filter)[..., None], jnp.array([bias]), stride=strides, padding=padding
    )
    steps = trace.steps(image, filter, float(bias), stride=strides, padding=padding)
    assert [step.cell for step in steps] == list(np.ndindex(convolved.shape[1:3]))
    assert_array_equal(values(steps), convolved[0, :, :, 0])


@pytest.mark.parametrize(
    ("stride", "padding"),
    [
        pytest.param(1, 0, id="plain"),
        pytest.param(2, 1, id="both-axes"),
        pytest.param((1, 2), (0, 1), id="pairs-are-height-width"),
        pytest.param((2, 1), ((0, 1), (2, 0)), id="padding-per-side"),
        pytest.param(2, "SAME", id="same"),
        pytest.param(1, "VALID", id="valid"),
    ],
)
def test_stride_and_padding_in_every_form(stride, padding):
    image, filter = (np.random.default_rng(0).normal(size=shape).astype(np.float32) for shape in ((6, 7, 2), (3, 2, 2)))
    convolved = ops.conv2d(jnp.asarray(image)[None], jnp.asarray(filter)[..., None], stride=stride, padding=padding)
    steps = trace.steps(image, filter, stride=stride, padding=padding)
    assert values(steps).shape == geometry.output_size((6, 7), (3, 2), stride, padding)
    assert_allclose(values(steps), convolved[0, :, :, 0], rtol=1e-5, atol=1e-5)


def test_each_step_by_hand():
    first, second, *_, last = trace.steps(IMAGE, EDGE, bias=0.5, stride=(2, 1), padding=((1, 0), (0, 0)))
    assert_array_equal(first.segment[..., 0], [[0, 0], [1, 1]])  # zeros above the image
    assert first.corner == (-1, 0) and second.corner == (-1, 1) and last.corner == (1, 2)
    assert_array_equal(second.products[..., 0], [[0, 0], [1, -2]])
    assert second.value == -0.5
    assert_array_equal(last.segment[..., 0], [[7, 8], [1, 0]])
    assert last.cell == (1, 2) and last.value == 7 - 8 + 1 - 0 + 0.5
    assert all(step.value == step.products.sum() + step.bias for step in (first, second, last))


def test_a_segment_lies_where_its_corner_says():
    for step in trace.steps(IMAGE, EDGE, stride=(1, 2)):
        row, column = step.corner
        assert_array_equal(step.segment, IMAGE[row : row + 2, column : column + 2])


def test_pixels_as_bytes_do_not_overflow():
    image = np.full((2, 2, 1), 255, np.uint8)
    assert trace.steps(image, np.full((2, 2, 1), -2))[0].value == -8 * 255


@pytest.mark.parametrize(
    ("image", "filter"),
    [
        pytest.param((4, 4), (2, 2, 1), id="image-without-channels"),
        pytest.param((4, 4, 1), (2, 2), id="filter-without-channels"),
        pytest.param((4, 4, 1), (2, 2, 3), id="other-channels"),
        pytest.param((1, 4, 4, 1), (2, 2, 1), id="batch"),
    ],
)
def test_other_shapes_are_refused(image, filter, unchecked):
    with pytest.raises(RequestError, match="channels"):
        trace.steps(np.ones(image), np.ones(filter))


def test_a_filter_that_does_not_fit_is_refused():
    with pytest.raises(RequestError, match="filter 5, padding 0"):
        trace.steps(IMAGE, np.ones((5, 5, 1)))


@pytest.mark.parametrize(
    ("segment", "filter", "bias", "total"),
    [
        pytest.param([1, 2], [3, 4], 0, "3 + 8 = 11", id="sum"),
        pytest.param([1, 2], [-3, 4], -1, "-3 + 8 - 1 = 4", id="signs"),
        pytest.param([0, 2], [3, -4], 0, "-8 = -8", id="zeros-are-left-out"),
        pytest.param([0, 0], [-3, 4], 0, "0 = 0", id="nothing"),
        pytest.param([0, 0], [3, 4], 2, "2 = 2", id="bias-alone"),
        pytest.param([1 / 3, 1], [1, 0.5], 0, "0.3333 + 0.5 = 0.8333", id="fractions"),
    ],
)
def test_the_sum_in_words(segment, filter, bias, total):
    shape = (1, 2, 1)
    step = trace.steps(np.reshape(segment, shape), np.reshape(filter, shape), bias)[0]
    assert trace.text(step).splitlines()[-1].endswith(f"    {total}")


def test_channels_stand_below_each_other():
    image = np.arange(8.0).reshape(2, 2, 2)
    filter = np.array([10, -1]) * np.ones((2, 2, 2))
    assert trace.text(trace.steps(image, filter)[0]).splitlines() == [
        "output (0, 0): segment * filter -> products, sum",
        "  0 2  *  10 10  ->   0 20",
        "  4 6     10 10      40 60",
        "  1 3  *  -1 -1  ->  -1 -3",
        "  5 7     -1 -1      -5 -7    -1 + 20 - 3 + 40 - 5 + 60 - 7 = 104",
    ]
