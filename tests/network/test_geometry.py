import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn.errors import RequestError
from cnn.network import geometry
from cnn.network.geometry import output_size, padding_sides
from tests.network import reference

property_test = settings(max_examples=200, deadline=None)
sizes = st.integers(1, 40)
filters = st.integers(1, 9)
strides = st.integers(1, 6)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param((32, 5), 28, id="lenet"),
        pytest.param((28, 5, 1, 2), 28, id="kept"),
        pytest.param((28, 2, 2), 14, id="halved"),
        pytest.param((7, 2, 2), 3, id="rounded-down"),
        pytest.param((227, 11, 4), 55, id="alexnet"),
        pytest.param((224, 7, 2, 3), 112, id="resnet"),
        pytest.param((5, 5), 1, id="whole"),
        pytest.param((1, 3, 1, 1), 1, id="filter-larger-than-image"),
        pytest.param((28, 3, 2, "SAME"), 14, id="same"),
        pytest.param((7, 3, 2, "VALID"), 3, id="valid"),
        pytest.param(((28, 20), 3), (26, 18), id="pair-of-sizes"),
        pytest.param((28, (3, 5)), (26, 24), id="pair-of-filters"),
        pytest.param((28, 3, (1, 2)), (26, 13), id="pair-of-strides"),
        pytest.param((28, 3, 1, (0, 1)), (26, 28), id="padding-per-axis"),
        pytest.param((28, 3, 1, ((0, 1), (2, 3))), (27, 31), id="padding-per-side"),
        pytest.param(((28, 20), (3, 5), (1, 2), ((0, 1), (2, 2))), (27, 10), id="all-pairs"),
    ],
)
def test_output_size(arguments, expected):
    result = output_size(*arguments)
    assert result == expected and type(result) is type(expected)


@property_test
@given(sizes, filters, strides, st.integers(0, 4), st.integers(0, 4))
def test_output_size_counts_the_positions(size, filter, stride, before, after):
    starts = range(0, size + before + after - filter + 1, stride)
    padding = ((before, after), (before, after))
    if not starts:
        with pytest.raises(
            ValueError, match=f"filter {filter}, .*larger than the padded input of {size + before + after}"
        ):
            output_size(size, filter, stride, padding)
        return
    assert output_size(size, filter, stride, padding) == (len(starts), len(starts))
    if starts[-1] + filter == size + before + after:
        assert output_size(size, filter, stride, padding, exact=True) == (len(starts), len(starts))
    else:
        with pytest.raises(RequestError, match=f"is not a multiple of stride {stride}"):
            output_size(size, filter, stride, padding, exact=True)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        pytest.param((4, 5), r"size 4, filter 5, padding 0 \+ 0: .*padded input of 4", id="filter-too-large"),
        pytest.param((4, 7, 1, 1), "filter 7, padding 1 .*padded input of 6", id="filter-larger-than-padded"),
        pytest.param(((28, 4), 5), "size 4, filter 5", id="too-large-on-one-axis"),
        pytest.param((28, 3, 0), "stride=0", id="stride-0"),
        pytest.param((28, 3, -1), "stride=-1", id="stride-negative"),
        pytest.param((28, 3, (1, 0)), r"stride=\(1, 0\)", id="stride-0-on-one-axis"),
        pytest.param((28, 3, 1, -1), "padding=-1", id="padding-negative"),
        pytest.param((28, 3, 1, (1, -1)), r"padding=\(1, -1\)", id="padding-negative-on-one-axis"),
        pytest.param((28, 3, 1, ((0, 0), (0, -1))), "padding=", id="padding-negative-on-one-side"),
        pytest.param((28, 3, 1, "SAM"), "padding='SAM'.*'SAME' or 'VALID'", id="padding-misspelt"),
        pytest.param((28, 3, 1, "same"), "padding='same'", id="padding-lower-case"),
        pytest.param((0, 1), "size=0", id="size-0"),
        pytest.param((28, 0), "filter=0", id="filter-0"),
        pytest.param((28, 3, 2, 0, True), "25 is not a multiple of stride 2", id="exact"),
        pytest.param(((29, 28), 3, 2, 0, True), "size 28.*25 is not a multiple", id="exact-on-one-axis"),
        pytest.param((28.0, 3), "size=28.0", id="size-float"),
        pytest.param((28, 3, 1.0), "stride=1.0", id="stride-float"),
        pytest.param((28, 3, 1, 0.5), "padding=0.5", id="padding-float"),
        pytest.param((28, (3, 3, 3)), r"filter=\(3, 3, 3\)", id="three-filters"),
        pytest.param((28, 3, 1, (1, 2, 3)), "padding=", id="three-paddings"),
        pytest.param((28, 3, 1, (1, 1, 1, 1)), "padding=", id="four-paddings"),
        pytest.param((28, 3, 1, (1, (1, 1))), "padding=", id="mixed-padding"),
        pytest.param((28, 3, 1, ((1, 1),)), "padding=", id="one-axis-of-padding"),
        pytest.param((28, 3, 1, ()), "padding=", id="empty-padding"),
        pytest.param((28, None), "filter=None", id="none"),
    ],
)
def test_output_size_refuses(arguments, named, unchecked):
    with pytest.raises(RequestError, match=named):
        output_size(*arguments)


@pytest.mark.parametrize(
    ("padding", "expected"),
    [
        pytest.param(2, ((2, 2), (2, 2)), id="one"),
        pytest.param((1, 2), ((1, 1), (2, 2)), id="flat-pair-is-height-width"),
        pytest.param(((1, 2), (3, 4)), ((1, 2), (3, 4)), id="sides"),
        pytest.param("VALID", ((0, 0), (0, 0)), id="valid"),
        pytest.param("SAME", ((2, 2), (0, 1)), id="same-odd-cell-at-the-end"),
    ],
)
def test_padding_sides(padding, expected):
    assert padding_sides(padding, (9, 8), (5, 2)) == expected


@property_test
@given(sizes, filters, strides)
def test_same_padding_gives_size_over_stride_rounded_up_with_the_fewest_cells(size, filter, stride):
    (before, after), _ = padding_sides("SAME", size, filter, stride)
    assert output_size(size, filter, stride, "SAME") == -(-size // stride)
    assert after - before in (0, 1)
    if before + after:
        fewer = size + before + after - 1
        assert fewer < filter or output_size(fewer, filter, stride) < -(-size // stride)


@property_test
@given(st.integers(2, 64), st.integers(2, 9))
def test_halving_padding_halves_as_pooling_does(size, filter):
    assert output_size(size, filter, 2, geometry.halving_padding(filter, 2)) == (size // 2, size // 2)


def test_halving_padding_refuses_a_filter_that_skips_cells():
    with pytest.raises(RequestError, match="filter=1"):
        geometry.halving_padding(1, 2)


@pytest.mark.parametrize(
    ("size", "fit", "sizes"),
    [
        pytest.param((28, 28), 4, "28 -> 14 -> 7 -> 3 -> 1 -> 0", id="mnist"),
        pytest.param((32, 32), 5, "32 -> 16 -> 8 -> 4 -> 2 -> 1 -> 0", id="cifar"),
        pytest.param((8, 8), 3, "8 -> 4 -> 2 -> 1 -> 0", id="digits"),
        pytest.param((28, 12), 3, "28x12 -> 14x6 -> 7x3 -> 3x1 -> 1x0", id="not-square"),
        pytest.param((1, 1), 0, "1 -> 0", id="one-cell"),
    ],
)
def test_chain(size, fit, sizes):
    assert geometry.blocks_that_fit(size) == fit
    assert " -> ".join(map(geometry.format_size, geometry.chain(size))) == sizes


@pytest.mark.parametrize(
    ("size", "sizes"),
    [
        pytest.param((28, 28), "28 -> 14 -> 7 -> 4 -> 2 -> 1", id="mnist"),
        pytest.param((32, 32), "32 -> 16 -> 8 -> 4 -> 2 -> 1", id="cifar"),
        pytest.param((8, 8), "8 -> 4 -> 2 -> 1", id="digits"),
        pytest.param((28, 12), "28x12 -> 14x6 -> 7x3 -> 4x2 -> 2x1 -> 1", id="not-square"),
        pytest.param((1, 1), "1", id="one-cell"),
    ],
)
def test_chain_rounded_up(size, sizes):
    assert " -> ".join(map(geometry.format_size, geometry.chain(size, up=True))) == sizes


@property_test
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 3)), max_size=4))
def test_receptive_field_is_the_input_that_one_output_needs(layers):
    needed = 1  # walking back from one output cell: k cells under a stride s need (k - 1) * s + filter
    for filter, stride in reversed(layers):
        needed = (needed - 1) * stride + filter
    squares = [((filter, filter), (stride, stride)) for filter, stride in layers]
    assert geometry.receptive_field(squares) == (needed, needed)


def test_receptive_field_counts_each_axis_on_its_own():
    assert geometry.receptive_field([((3, 1), (2, 1)), ((3, 3), (1, 1))]) == (7, 3)


def seen(cell, size, layers):
    """Which input cells get a gradient from an output cell, through convolutions with filters of ones."""
    sizes = [size]
    for filter, stride, padding in layers:
        sizes.append(output_size(sizes[-1], filter, stride, padding))
    gradient = np.zeros((1, *sizes[-1], 1))
    gradient[0, cell[0], cell[1]] = 1
    for shape, (filter, stride, padding) in zip(reversed(sizes[:-1]), reversed(layers), strict=True):
        sides = padding_sides(padding, shape, filter, stride)
        strides = geometry.pair(stride, "stride")
        image = np.zeros((1, *shape, 1))
        ones = np.ones((*filter, 1, 1))
        gradient, _, _ = reference.conv2d_gradients(image, ones, gradient, strides, sides)
    return gradient[0, :, :, 0] > 0


def filled(window, size):
    """The cells of a window as an image."""
    (top, left), (height, width) = window
    image = np.zeros(size, bool)
    image[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)] = True
    return image


WINDOWS = [
    # cell, size, layers, window, clipped window
    pytest.param((3, 0), (4, 4), [], ((3, 0), (1, 1)), ((3, 0), (1, 1)), id="no-layer"),
    pytest.param((0, 5), (6, 6), [((3, 3), 1, "SAME")], ((-1, 4), (3, 3)), ((0, 4), (2, 2)), id="same"),
    pytest.param((1, 2), (6, 6), [((2, 2), 2, 0)], ((2, 4), (2, 2)), ((2, 4), (2, 2)), id="pool"),
    pytest.param((1, 2), (9, 9), [((3, 5), (2, 1), "VALID")], ((2, 2), (3, 5)), ((2, 2), (3, 5)), id="each-axis"),
    pytest.param(
        (0, 1),
        (8, 8),
        [((3, 3), 1, "SAME"), ((2, 2), 2, 0)] * 2,
        ((-3, 1), (10, 10)),
        ((0, 1), (7, 7)),
        id="two-blocks",
    ),
    # The pooling never looks at the seventh row, and the padding of the layer after it is not a row of the image.
    pytest.param(
        (2, 0), (7, 7), [((2, 2), 2, 0), ((3, 3), 1, 1)], ((2, -2), (6, 6)), ((2, 0), (4, 4)), id="rest-of-a-pooling"
    ),
    pytest.param((0, 0), (4, 4), [((2, 2), 1, 2)], ((-2, -2), (2, 2)), ((0, 0), (0, 0)), id="padding-alone"),
]


@pytest.mark.parametrize(("cell", "size", "layers", "window", "clipped"), WINDOWS)
def test_input_window(cell, size, layers, window, clipped):
    assert geometry.input_window(cell, size, layers) == window
    assert geometry.input_window(cell, size, layers, clip=True) == clipped
    assert np.array_equal(seen(cell, size, layers), filled(clipped, size))


@property_test
@given(st.data())
def test_the_clipped_window_is_where_the_gradient_is(data):
    size = data.draw(st.tuples(st.integers(4, 9), st.integers(4, 9)))
    layers = []
    current = size
    for _ in range(data.draw(st.integers(1, 3))):
        filters = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
        strides = tuple(data.draw(st.integers(1, cells)) for cells in filters)  # no cell is skipped
        sides = tuple(data.draw(st.tuples(st.integers(0, 2), st.integers(0, 2))) for _ in range(2))
        padding = data.draw(st.sampled_from([sides, "SAME"]))
        if any(f > n + b + a for f, n, (b, a) in zip(filters, current, sides, strict=True)):
            break
        layers.append((filters, strides, padding))
        current = output_size(current, filters, strides, padding)
    cell = tuple(data.draw(st.integers(0, cells - 1)) for cells in current)
    clipped = geometry.input_window(cell, size, layers, clip=True)
    assert np.array_equal(seen(cell, size, layers), filled(clipped, size))
    _, extent = geometry.input_window(cell, size, layers)
    assert extent == geometry.receptive_field([layer[:2] for layer in layers])


@pytest.mark.parametrize("cell", [(4, 0), (0, 4), (-1, 0)])
def test_input_window_refuses_a_cell_outside(cell):
    with pytest.raises(RequestError, match="cell="):
        geometry.input_window(cell, (8, 8), [(2, 2, 0)])
