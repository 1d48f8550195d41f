"""Pictures of what a network looks for and what it sees: filters, feature maps, and the patches that excite filters.

Each takes NumPy arrays. A signed number is blue below 0, white at 0 and vermilion above. Images of one channel are
grey.

Example:
    >>> figure = filters(np.random.default_rng(0).normal(size=(3, 3, 1, 16)))
    >>> [round(float(inches), 1) for inches in figure.get_size_inches()]
    [9.3, 2.6]
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Num

from cnn.errors import require
from cnn.show.canvas import (
    GAP,
    STRONG,
    Box,
    canvas,
    draw_image,
    draw_numbers,
    draw_signed,
    largest_magnitude,
    value_range,
)
from cnn.show.style import INK, QUIET, fit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FILTERS = 8  # in a row
MAPS = 12  # feature maps in a row; more would be too small to see
UNITS = 16  # more units than this would leave no room for their numbers
STRIP = 0.4  # height of a strip of units, where a tile is 1 wide


def filters(kernel: Num[np.ndarray, "f_height f_width c_in count"], title: str = "") -> "Figure":
    """The filters of a first layer as a grid, numbered.

    Filters over one channel are signed numbers, all in one scale, which stands at the right. Filters over three
    channels are colours: grey is 0, and each filter is stretched over the whole range.

    Args:
        kernel: weights [f_height, f_width, 1 or 3, count].
        title: what is shown; text, never a formula.

    Raises:
        RequestError: neither one nor three channels.
    """
    height, width, channels, count = kernel.shape
    require(channels in (1, 3), "kernel", kernel.shape, "[height, width, 1 or 3, filters]")
    columns = min(FILTERS, count)
    rows = math.ceil(count / columns)
    tall = height / width
    pitch = tall + 0.3
    wide = GAP + columns * (1 + GAP)
    figure, axes = canvas(wide + (0.9 if channels == 1 else 0.0), rows * pitch + GAP, inches=0.95, title=title)
    for number in range(count):
        row, column = divmod(number, columns)
        box = Box(GAP + column * (1 + GAP), row * pitch + 0.27, 1, tall)
        weights = kernel[..., number]
        if channels == 1:
            draw_signed(axes, weights[..., 0], box, largest_magnitude(kernel))
        else:
            limit = largest_magnitude(weights)
            draw_image(axes, weights, box, -limit, limit)
        axes.text(box.left + 0.5, box.top - 0.07, str(number), fontsize=9, color=INK, ha="center")
    if channels == 1:
        _scale(axes, Box(wide + 0.1, 0.27, 0.14, rows * pitch - 0.3), largest_magnitude(kernel))
    return figure


def _scale(axes: "Axes", box: Box, limit: float) -> None:
    """Draw a bar that says which colour is which number."""
    draw_signed(axes, np.linspace(limit, -limit, 255)[:, None], box, limit)
    right = box.left + box.width + 0.08
    for share, text, side in ((0, f"+{limit:.2g}", "top"), (0.5, "0", "center"), (1, f"\u2212{limit:.2g}", "bottom")):
        axes.text(right, box.top + share * box.height, text, fontsize=9, color=INK, va=side)


def feature_maps(
    image: Num[np.ndarray, "height width c"], maps: Mapping[str, Num[np.ndarray, "..."]], title: str = ""
) -> "Figure":
    """One image, and below it a row for each layer: what the layer makes of the image.

    Args:
        image: [height, width, 1 or 3].
        maps: each layer's output for this image by the layer's name, from the first layer to the last. Of an output
            [height, width, channels] the first 12 channels are shown. An output [units] is shown as a strip; at most
            16 units are numbered. Each layer has a scale of its own.
        title: what is shown; text, never a formula.
    """
    label = 1.9
    space = 2 * GAP
    rows = {"image": image, **maps}
    columns = max(min(MAPS, values.shape[2]) if values.ndim == 3 else MAPS for values in maps.values())
    wide = columns * (1 + GAP)
    heights = [values.shape[0] / values.shape[1] if values.ndim == 3 else STRIP for values in rows.values()]
    figure, axes = canvas(label + wide, sum(heights) + space * (len(rows) + 1), inches=0.66, title=title)
    top = space
    for (name, values), height in zip(rows.items(), heights, strict=True):
        _label(figure, axes, label - 0.2, top + height / 2, name, values.shape)
        if name == "image":
            draw_image(axes, values, Box(label, top, 1, height), *value_range(values))
        elif values.ndim == 3:
            _maps(axes, values, Box(label, top, 1, height))
        else:
            _strip(axes, values, Box(label, top, wide - GAP, height))
        top += height + space
    return figure


def _label(figure: "Figure", axes: "Axes", right: float, middle: float, name: str, shape: tuple[int, ...]) -> None:
    """Write a layer's name, and below it the shape of its output."""
    above = middle - 0.02
    fit(figure, axes.text(right, above, name, fontsize=9, color=INK, ha="right", va="bottom", parse_math=False))
    size = "x".join(map(str, shape)) + (f", first {MAPS}" if len(shape) == 3 and shape[2] > MAPS else "")
    axes.text(right, middle + 0.06, size, fontsize=7, color=QUIET, ha="right", va="top")


def _maps(axes: "Axes", values: np.ndarray, first: Box) -> None:
    """Draw the first channels of [height, width, channels] side by side, in one scale."""
    for channel in range(min(values.shape[2], MAPS)):
        box = first._replace(left=first.left + channel * (1 + GAP))
        draw_signed(axes, values[..., channel], box, largest_magnitude(values))


def _strip(axes: "Axes", values: np.ndarray, box: Box) -> None:
    """Draw [units] as a strip; number the units where there is room."""
    row = values.reshape(1, -1)
    limit = largest_magnitude(row)
    draw_signed(axes, row, box, limit)
    if row.size <= UNITS:
        units = np.arange(row.size)[None]
        draw_numbers(axes, units, box, np.abs(row) > STRONG * limit, [units])


def patches(patches: Num[np.ndarray, "filters k height width c"], names: Sequence[str], title: str = "") -> "Figure":
    """The patches of images that excite each filter most: a row for each filter, the most exciting patch first.

    Args:
        patches: [filters, k, height, width, 1 or 3], all in one scale of grey or colour. What is NaN lies beyond the
            border of an image, and is pale.
        names: of the filters, shown at the left; text, never a formula.
        title: what is shown; text, never a formula.

    Raises:
        RequestError: not one name for each filter.
    """
    require(len(names) == len(patches), "names", list(names), f"one for each of the {len(patches)} filters")
    label = 1.4
    tall = patches.shape[2] / patches.shape[3]
    width = label + patches.shape[1] * (1 + GAP)
    figure, axes = canvas(width, GAP + len(patches) * (tall + GAP), inches=0.66, title=title)
    low, high = value_range(patches)
    for row, (name, exciting) in enumerate(zip(names, patches, strict=True)):
        top = GAP + row * (tall + GAP)
        middle = top + tall / 2
        words: dict[str, Any] = {"fontsize": 9, "color": INK, "ha": "right", "va": "center", "parse_math": False}
        fit(figure, axes.text(label - 0.2, middle, name, **words))
        for place, patch in enumerate(exciting):
            draw_image(axes, patch, Box(label + place * (1 + GAP), top, 1, tall), low, high)
    return figure
