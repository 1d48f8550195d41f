import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn.network import geometry
from cnn.network.geometry import output_size, padding_sides

property_test = settings(max_examples=200, deadline=None)
sizes, filters, strides = st.integers(1, 40), st.integers(1, 9), st.integers(1, 6)


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
        with pytest.raises(ValueError, match=f"is not a multiple of stride {stride}"):
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
    with pytest.raises(ValueError, match=named):
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
    with pytest.raises(ValueError, match="filter=1"):
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
