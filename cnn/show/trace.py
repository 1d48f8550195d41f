"""The picture of one filter on its way over one image, from the steps that `cnn.network.trace` gives.

It has a file of its own because it needs what no other picture of a network does: a layout of five columns, and the
image with its padding.

Example:
    >>> from cnn.network import trace
    >>> image = np.arange(16.0).reshape(4, 4, 1)
    >>> figure = filter_trace(image, trace.steps(image, np.ones((2, 2, 1))), [0, 8])
    >>> [text.get_text() for text in figure.axes[0].texts[:5]]
    ['image', 'segment', 'filter', 'products', 'output']
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Num

from cnn.errors import require
from cnn.network.trace import Step
from cnn.show.canvas import (
    BRIGHT,
    Box,
    canvas,
    draw_image,
    draw_numbers,
    draw_signed_numbers,
    number,
    outline,
    shade,
    value_range,
)
from cnn.show.style import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDEST = 9.5  # inches of the whole picture
CELL = 0.5  # inches that a cell of the image has at most


class _Columns(NamedTuple):
    """One value for each column of the picture."""

    image: Box
    segment: Box
    filter: Box
    products: Box
    output: Box


class _Padded(NamedTuple):
    """An image within the padding that the steps enter."""

    values: np.ndarray  # [height, width]; NaN in the padding
    top: int  # rows of padding above the image
    left: int  # columns of padding to the left of it


def filter_trace(image: Num[np.ndarray, "height width c"], steps: Sequence[Step], shown: Sequence[int]) -> "Figure":
    """One filter on its way over one image: a row for each step shown.

    From left to right: the image, with the padding that the filter enters and a frame where the filter stands; the
    segment under it; the filter; the products; and the output, filled as far as this step.

    Args:
        image: [height, width, 1].
        steps: all steps, as `cnn.network.trace.steps` gives them.
        shown: the places in `steps` of the steps to draw.

    Raises:
        RequestError: more than one channel.
    """
    require(image.shape[2] == 1, "image", image.shape, "[height, width, 1]")
    padded = _padded(image[..., 0].astype(float), steps)
    sizes = _sizes(padded.values.shape, steps)
    gap = 0.1 * max(padded.values.shape)
    tall = max(height for height, _ in sizes)
    lefts = [gap / 2 + sum(width + gap for _, width in sizes[:place]) for place in range(len(sizes))]
    whole = lefts[-1] + sizes[-1][1] + gap / 2
    figure, axes = canvas(whole, gap + len(shown) * (tall + gap) - gap / 2, inches=min(WIDEST / whole, CELL))
    for name, left, (_, width) in zip(_Columns._fields, lefts, sizes, strict=True):
        axes.text(left + width / 2, 0.75 * gap, name, fontsize=10, color=INK, ha="center")
    for row, place in enumerate(shown):
        middle = gap + row * (tall + gap) + tall / 2
        pairs = zip(lefts, sizes, strict=True)
        boxes = _Columns(*(Box(left, middle - height / 2, width, height) for left, (height, width) in pairs))
        _dot_product(axes, boxes, steps, place, *value_range(padded.values))
        _image(axes, boxes.image, padded, steps[place])
        _output(axes, boxes.output, steps, place)
    return figure


def _sizes(image: tuple[int, ...], steps: Sequence[Step]) -> list[tuple[float, float]]:
    """Height and width of each column's matrix; a filter that is small beside the image is drawn larger."""
    height, width = steps[0].filter.shape[:2]
    zoom = max(1.0, 0.36 * max(image) / max(height, width))
    small = (height * zoom, width * zoom)
    rows, columns = _output_shape(steps)
    return [(image[0], image[1]), small, small, small, (rows, columns)]


def _output_shape(steps: Sequence[Step]) -> tuple[int, int]:
    row, column = steps[-1].cell
    return row + 1, column + 1


def _padded(image: np.ndarray, steps: Sequence[Step]) -> _Padded:
    """The image [height, width] within the padding that the steps enter, and no more of it."""
    before = [max(0, -min(step.corner[axis] for step in steps)) for axis in (0, 1)]
    ends = [max(step.corner[axis] + step.filter.shape[axis] for step in steps) for axis in (0, 1)]
    after = [max(0, end - size) for end, size in zip(ends, image.shape, strict=True)]
    values = np.pad(image, tuple(zip(before, after, strict=True)), constant_values=np.nan)
    return _Padded(values, *before)


def _dot_product(axes: "Axes", boxes: _Columns, steps: Sequence[Step], place: int, low: float, high: float) -> None:
    """Draw the segment, the filter and the products of a step, and write their sum."""
    step = steps[place]
    segment = step.segment[..., 0]
    draw_image(axes, step.segment, boxes.segment, low, high)
    segments = [other.segment for other in steps]
    draw_numbers(axes, segment, boxes.segment, shade(segment, low, high) < BRIGHT, segments)
    draw_signed_numbers(axes, step.filter[..., 0], boxes.filter, [step.filter])
    draw_signed_numbers(axes, step.products[..., 0], boxes.products, [other.products for other in steps])
    gap = boxes.filter.left - boxes.segment.left - boxes.segment.width
    for box, sign in ((boxes.segment, "\u00d7"), (boxes.filter, "="), (boxes.products, "\u2192")):
        middle = box.top + box.height / 2
        axes.text(box.left + box.width + gap / 2, middle, sign, fontsize=13, color=INK, ha="center", va="center")
    total = f"sum {'+ bias ' if step.bias else ''}= {number(step.value, 4)}"
    box = boxes.products
    below = box.top + box.height + gap / 4
    axes.text(box.left + box.width / 2, below, total, fontsize=9, color=INK, ha="center", va="top")


def _image(axes: "Axes", box: Box, padded: _Padded, step: Step) -> None:
    """Draw the image in its padding, and a frame where the filter stands."""
    low, high = value_range(padded.values)
    known = np.nan_to_num(padded.values)
    draw_image(axes, padded.values[..., None], box, low, high)
    draw_numbers(axes, known, box, shade(padded.values, low, high) < BRIGHT, [known])
    row, column = step.corner
    height, width = step.filter.shape[:2]
    outline(axes, Box(box.left + column + padded.left, box.top + row + padded.top, width, height))


def _output(axes: "Axes", box: Box, steps: Sequence[Step], place: int) -> None:
    """Draw the output as far as this step has filled it, and a frame around the step's own cell."""
    filled = np.full(_output_shape(steps), np.nan)
    for step in steps[: place + 1]:
        filled[step.cell] = step.value
    draw_signed_numbers(axes, filled, box, [np.array([step.value]) for step in steps])
    row, column = steps[place].cell
    outline(axes, Box(box.left + column, box.top + row, 1, 1))
