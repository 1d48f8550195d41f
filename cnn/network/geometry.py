"""Integers only: output sizes, paddings, how many blocks fit, receptive fields.

An axis of `size` cells is padded with `before` and `after` zeros. A filter that moves by `stride` cells then has

    output = (size - filter + before + after) / stride + 1, rounded down,

positions (Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning", relationship 5). With the
same padding on both sides this is the lecture's `(size - filter + 2 * padding) / stride + 1`. The formula holds for
each axis on its own.
"""

import contextlib
import operator
from collections.abc import Iterable
from typing import TypeAlias, overload

from cnn.errors import RequestError

Pair: TypeAlias = tuple[int, int]
Axes: TypeAlias = int | tuple[int, ...]  # given once for both axes, or as a pair; `pair` checks it
Sides: TypeAlias = tuple[Pair, Pair]
Padding: TypeAlias = Axes | Sides | str
Window: TypeAlias = tuple[Pair, Pair, Padding]  # filter, stride and padding of one layer


def pair(value: Axes, name: str, minimum: int = 1) -> Pair:
    """`(height, width)` of a value given once for both axes or as a pair.

    Raises:
        RequestError: the value is no integer and no pair of integers, or one of them is below `minimum`.

    Example:
        >>> pair(3, "stride"), pair((1, 2), "stride")
        ((3, 3), (1, 2))
    """
    values = value if isinstance(value, (tuple, list)) else (value, value)
    numbers: tuple[int, ...] = ()
    with contextlib.suppress(TypeError):
        numbers = tuple(operator.index(number) for number in values)
    if len(numbers) != 2 or min(numbers) < minimum:
        raise RequestError(f"{name}={value!r}: must be an integer of at least {minimum}, or a pair of them")
    return numbers


def padding_sides(padding: Padding, size: Axes, filter: Axes, stride: Axes = 1) -> Sides:
    """Every way to give a padding, as `((top, bottom), (left, right))`.

    Args:
        padding: `p`, `(p_height, p_width)`, `((top, bottom), (left, right))`, `"VALID"` (none) or `"SAME"` (the output
            has `size / stride` cells, rounded up; an odd cell of padding goes to the bottom and the right).
        size, filter, stride: of the axes; only `"SAME"` needs them.

    Raises:
        RequestError: the padding has none of these forms, or a negative number of cells.

    Example:
        >>> padding_sides((1, 2), 28, 3), padding_sides("SAME", 28, 3, 2)
        (((1, 1), (2, 2)), ((0, 1), (0, 1)))
    """
    accepted = "p, (p_height, p_width), ((top, bottom), (left, right)), 'SAME' or 'VALID', with integers of at least 0"
    if isinstance(padding, str):
        if padding == "VALID":
            return (0, 0), (0, 0)
        if padding == "SAME":
            sizes = zip(pair(size, "size"), pair(filter, "filter"), pair(stride, "stride"), strict=True)
            down, along = (max((-(-n // s) - 1) * s + f - n, 0) for n, f, s in sizes)
            return (down // 2, down - down // 2), (along // 2, along - along // 2)
        raise RequestError(f"padding={padding!r}: must be {accepted}")
    axes = padding if isinstance(padding, (tuple, list)) else (padding, padding)
    nested = {isinstance(axis, (tuple, list)) for axis in axes}
    try:
        if len(nested) != 1:
            raise RequestError("one axis has two sides, the other is a number")
        (top, bottom), (left, right) = (pair(axis, "padding", 0) for axis in axes)
    except ValueError:
        raise RequestError(f"padding={padding!r}: must be {accepted}") from None
    return (top, bottom), (left, right)


@overload
def output_size(size: int, filter: Axes, stride: Axes = 1, padding: Padding = 0, exact: bool = False) -> int | Pair: ...


@overload
def output_size(
    size: tuple[int, ...], filter: Axes, stride: Axes = 1, padding: Padding = 0, exact: bool = False
) -> Pair: ...


def output_size(size: Axes, filter: Axes, stride: Axes = 1, padding: Padding = 0, exact: bool = False) -> int | Pair:
    """The positions that a filter or a window takes: `(size - filter + both paddings) / stride + 1`, rounded down.

    Args:
        size: cells of the input, an integer or `(height, width)`.
        filter: cells of the filter, likewise.
        stride: cells from one position to the next, likewise.
        padding: any form of `padding_sides`.
        exact: refuse a filter that would leave cells over at the end; otherwise the result is rounded down.

    Returns:
        An integer where every argument was given once for both axes, otherwise `(height, width)`.

    Raises:
        RequestError: the filter is larger than the padded input, the stride is below 1, the padding is negative, or
        (`exact`) cells are left over.

    Example:
        >>> output_size(32, 5), output_size(28, 3, stride=2, padding=1), output_size((28, 20), 3, (1, 2), (1, 0))
        (28, 14, (28, 9))
        >>> output_size(28, 3, stride=2, exact=True)
        Traceback (most recent call last):
        cnn.errors.RequestError: size 28, filter 3, padding 0 + 0: 25 is not a multiple of stride 2
    """
    sizes = pair(size, "size")
    filters = pair(filter, "filter")
    strides = pair(stride, "stride")
    sides = padding_sides(padding, sizes, filters, strides)
    height, width = (_axis_output(*axis, exact) for axis in zip(sizes, filters, strides, sides, strict=True))
    scalar = not any(isinstance(value, (tuple, list)) for value in (size, filter, stride, padding))
    return height if scalar else (height, width)


def _axis_output(size: int, filter: int, stride: int, sides: Pair, exact: bool) -> int:
    before, after = sides
    room = size + before + after - filter
    where = f"size {size}, filter {filter}, padding {before} + {after}"
    if room < 0:
        raise RequestError(f"{where}: the filter must not be larger than the padded input of {size + before + after}")
    if exact and room % stride:
        raise RequestError(f"{where}: {room} is not a multiple of stride {stride}")
    return room // stride + 1


def halving_padding(filter: int, stride: int) -> Sides:
    """The padding with which a strided convolution gives `size / stride`, rounded down, as pooling by `stride` does.

    Raises:
        RequestError: the filter is smaller than the stride. It would skip cells, and no padding makes it round down.

    Example:
        >>> [output_size((size, size), 3, 2, halving_padding(3, 2))[0] for size in (28, 14, 7, 3)]
        [14, 7, 3, 1]
    """
    total = filter - stride
    if total < 0:
        raise RequestError(f"filter={filter}: must be at least the stride of {stride}, or it skips cells")
    side = (total // 2, total - total // 2)
    return side, side


def chain(size: tuple[int, ...], up: bool = False) -> list[Pair]:
    """The sizes of an image that is halved again and again.

    Args:
        size: `(height, width)` of the image.
        up: round half a cell up, as padded convolutions do: the chain ends where no axis can be halved any more.
            Otherwise half a cell is dropped, as pooling does: the chain ends with the first size that has no cell.

    Example:
        >>> " -> ".join(map(format_size, chain((28, 28))))
        '28 -> 14 -> 7 -> 3 -> 1 -> 0'
        >>> " -> ".join(map(format_size, chain((28, 28), up=True)))
        '28 -> 14 -> 7 -> 4 -> 2 -> 1'
    """
    sizes = [pair(size, "size")]
    while (max(sizes[-1]) > 1) if up else (min(sizes[-1]) > 0):
        height, width = sizes[-1]
        sizes.append(((height + up) // 2, (width + up) // 2))
    return sizes


def blocks_that_fit(size: tuple[int, ...]) -> int:
    """The largest number of blocks, each of which halves the image, after which a cell is left.

    Example:
        >>> blocks_that_fit((28, 28)), blocks_that_fit((8, 8))
        (4, 3)
    """
    return len(chain(size)) - 2


def format_size(size: tuple[int, ...]) -> str:
    """A size as text: `28` for a square, otherwise `28x20`.

    Example:
        >>> format_size((28, 20))
        '28x20'
    """
    return str(size[0]) if size[0] == size[1] else f"{size[0]}x{size[1]}"


def receptive_field(layers: Iterable[tuple[Pair, Pair]]) -> Pair:
    """How many input cells one output cell sees, on each axis, after layers given as `(filter, stride)`.

    A layer adds `(filter - 1)` cells times the product of the strides before it (Araujo et al. 2019, "Computing
    receptive fields of convolutional neural networks", equation 2).

    Example:
        >>> receptive_field([((3, 3), (1, 1)), ((2, 2), (2, 2)), ((3, 3), (1, 1))])
        (8, 8)
    """
    field = [1, 1]
    step = [1, 1]
    for filter, stride in layers:
        for axis in (0, 1):
            field[axis] += (filter[axis] - 1) * step[axis]
            step[axis] *= stride[axis]
    return field[0], field[1]


def input_window(
    cell: Pair, size: Pair, layers: Iterable[tuple[Axes, Axes, Padding]], clip: bool = False
) -> tuple[Pair, Pair]:
    """The input cells that one output cell sees: `(top, left), (height, width)`.

    Walking back from the output, cells `first` to `last` of a layer see the cells `first * stride - before` to
    `last * stride - before + filter - 1` of its input (Araujo et al. 2019, equations 3 and 4), for each axis on its
    own.

    Args:
        cell: `(row, column)` of the last layer's output.
        size: `(height, width)` of the input.
        layers: `(filter, stride, padding)` of each layer, from the input on; padding in any form of `padding_sides`.
        clip: leave out every layer's padding, so that only those cells of the image count on which the output depends.
            A cell that sees nothing but padding then has no height or width. Without `clip` the window has the size of
            `receptive_field` at every cell, and may begin before the image or end after it. Where a stride is larger
            than its filter, the cells between two positions count too.

    Raises:
        RequestError: a filter does not fit, or the cell lies outside the output.

    Example:
        >>> block = [(3, 1, "SAME"), (2, 2, 0)]  # CONV 3x3, POOL 2x2
        >>> input_window((0, 2), (8, 8), block), input_window((0, 2), (8, 8), block, clip=True)
        (((-1, 3), (4, 4)), ((0, 3), (3, 4)))
    """
    sizes: list[Pair] = [pair(size, "size")]
    steps: list[tuple[Pair, Pair, Sides]] = []
    for filter, stride, padding in layers:
        filters = pair(filter, "filter")
        strides = pair(stride, "stride")
        steps.append((filters, strides, padding_sides(padding, sizes[-1], filters, strides)))
        sizes.append(output_size(sizes[-1], *steps[-1]))
    if not all(0 <= place < count for place, count in zip(pair(cell, "cell", 0), sizes[-1], strict=True)):
        raise RequestError(f"cell={cell!r}: must lie in the output of {format_size(sizes[-1])} cells")
    (top, height), (left, width) = (_axis_window(axis, place, sizes, steps, clip) for axis, place in enumerate(cell))
    return (top, left), (height, width)


def _axis_window(axis: int, place: int, sizes: list[Pair], steps: list[tuple[Pair, Pair, Sides]], clip: bool) -> Pair:
    """Start and number of cells on one axis; `sizes` holds the size of each layer's input, and of the output."""
    start = place
    stop = place + 1
    for size, (filters, strides, sides) in zip(reversed(sizes[:-1]), reversed(steps), strict=True):
        before = sides[axis][0]
        start = start * strides[axis] - before
        stop = (stop - 1) * strides[axis] - before + filters[axis]
        if clip:
            start = max(start, 0)
            stop = min(stop, size[axis])
        if stop <= start:
            return 0, 0
    return start, stop - start
