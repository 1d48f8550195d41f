"""Pictures of what a network looks for and what it sees: filters, feature maps, exciting patches, one filter's steps.

They take arrays and know nothing of training. Each returns matplotlib's own `Figure`, as in `figures`, whose colours
they share: a signed number is blue below 0, white at 0 and vermilion above. Images of one channel are grey.

Example:
    >>> figure = filters(np.random.default_rng(0).normal(size=(3, 3, 1, 16)))
    >>> [round(float(inches), 1) for inches in figure.get_size_inches()]
    [9.3, 2.6]
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Num

from cnn.config import require
from cnn.network.trace import Step
from cnn.study.figures import BLUE, DOTS_PER_INCH, GREEN, INK, VERMILION

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

EDGE, PALE, QUIET = "#BDBDBD", "#F2F2F2", "#767676"  # of a picture; where there is nothing; words of less weight
MAPS = 12  # feature maps in a row; more would be too small to see
TITLE = 0.35  # inches of its height
GAP = 0.1  # between two tiles, whose width is 1
BRIGHT, STRONG = 0.55, 0.7  # grey from which ink, and colour from which white, is easier to read
SMALLEST = 5.0  # points of a number that can still be read


class _Box(NamedTuple):
    """A place on the canvas; `top` counts downwards."""

    left: float
    top: float
    width: float
    height: float


def filters(kernel: Num[np.ndarray, "f_height f_width c_in count"], title: str = "") -> "Figure":
    """The filters of a first layer as a grid, numbered.

    Filters over one channel are signed numbers in one scale; those over three are colours, each spread over the whole
    range, with grey for 0.

    Raises:
        ValueError: neither one nor three channels.
    """
    height, width, channels, count = kernel.shape
    require(channels in (1, 3), "kernel", kernel.shape, "[height, width, 1 or 3, filters]")
    columns, tall = min(8, count), height / width
    rows, pitch = math.ceil(count / columns), tall + 0.3
    wide = GAP + columns * (1 + GAP)
    figure, axes = _canvas(wide + (0.9 if channels == 1 else 0.0), rows * pitch + GAP, inches=0.95, title=title)
    for number in range(count):
        row, column = divmod(number, columns)
        box = _Box(GAP + column * (1 + GAP), row * pitch + 0.27, 1, tall)
        filter = kernel[..., number]
        if channels == 1:
            _signed(axes, filter[..., 0], box, _limit(kernel))
        else:
            _image(axes, filter, box, -_limit(filter), _limit(filter))
        axes.text(box.left + 0.5, box.top - 0.07, str(number), fontsize=9, color=INK, ha="center")
    if channels == 1:
        _scale(axes, _Box(wide + 0.1, 0.27, 0.14, rows * pitch - 0.3), _limit(kernel))
    return figure


def _scale(axes: "Axes", box: _Box, limit: float) -> None:
    """What the colours of signed numbers mean."""
    _signed(axes, np.linspace(limit, -limit, 255)[:, None], box, limit)
    for share, text in ((0, f"+{limit:.2g}"), (0.5, "0"), (1, f"\u2212{limit:.2g}")):
        place = (box.left + box.width + 0.08, box.top + share * box.height)
        axes.text(*place, text, fontsize=9, color=INK, va=("top", "center", "bottom")[round(2 * share)])


def feature_maps(
    image: Num[np.ndarray, "height width c"], maps: Mapping[str, Num[np.ndarray, "..."]], title: str = ""
) -> "Figure":
    """One image and, a row for each layer, what the layers make of it.

    Args:
        image: [height, width, 1 or 3].
        maps: by the name of a layer, its output for this image, in order: [height, width, channels], of which the
            first 12 channels are shown, or [units], shown as a strip (numbered, if at most 16). Each layer
            has a scale of its own.
        title: what is shown.
    """
    label, space, rows = 1.9, 2 * GAP, {"image": image, **maps}
    columns = max(min(MAPS, values.shape[2]) if values.ndim == 3 else MAPS for values in maps.values())
    wide = columns * (1 + GAP)
    heights = [values.shape[0] / values.shape[1] if values.ndim == 3 else 0.4 for values in rows.values()]
    figure, axes = _canvas(label + wide, sum(heights) + space * (len(rows) + 1), inches=0.66, title=title)
    top = space
    for (name, values), height in zip(rows.items(), heights):
        _label(axes, label - 0.2, top + height / 2, name, values.shape)
        if name == "image":
            _image(axes, values, _Box(label, top, 1, height), *_range(values))
        elif values.ndim == 3:
            for channel in range(min(values.shape[2], MAPS)):
                box = _Box(label + channel * (1 + GAP), top, 1, height)
                _signed(axes, values[..., channel], box, _limit(values))
        else:
            box, row = _Box(label, top, wide - GAP, height), values.reshape(1, -1)
            _signed(axes, row, box, _limit(row))
            if row.size <= 16:
                units = np.arange(row.size)[None]
                _numbers(axes, units, box, np.abs(row) > STRONG * _limit(row), [units])
        top += height + space
    return figure


def _label(axes: "Axes", right: float, middle: float, name: str, shape: tuple[int, ...]) -> None:
    axes.text(right, middle - 0.02, name, fontsize=9, color=INK, ha="right", va="bottom")
    size = "x".join(map(str, shape)) + (f", first {MAPS}" if len(shape) == 3 and shape[2] > MAPS else "")
    axes.text(right, middle + 0.06, size, fontsize=7, color=QUIET, ha="right", va="top")


def patches(patches: Num[np.ndarray, "filters k height width c"], names: Sequence[str], title: str = "") -> "Figure":
    """The patches that excite each filter most, a row for each, the most exciting first.

    Args:
        patches: pieces of images, [filters, k, height, width, 1 or 3], in one scale of grey or colour; where they are
            NaN, beyond the border of an image, they are pale.
        names: of the filters, shown at the left.
        title: what is shown.
    """
    label, tall = 1.4, patches.shape[2] / patches.shape[3]
    size = (label + patches.shape[1] * (1 + GAP), GAP + len(patches) * (tall + GAP))
    figure, axes = _canvas(*size, inches=0.66, title=title)
    for row, (name, mine) in enumerate(zip(names, patches, strict=True)):
        top = GAP + row * (tall + GAP)
        axes.text(label - 0.2, top + tall / 2, name, fontsize=9, color=INK, ha="right", va="center")
        for place, patch in enumerate(mine):
            _image(axes, patch, _Box(label + place * (1 + GAP), top, 1, tall), *_range(patches))
    return figure


def filter_trace(image: Num[np.ndarray, "height width c"], steps: Sequence[Step], shown: Sequence[int]) -> "Figure":
    """One filter on its way over one image: a row for each step shown.

    From left to right: the image, with the padding that the filter enters and the window where it stands; the segment
    under it; the filter; the products; and the output, filled as far as this step.

    Args:
        image: [height, width, 1].
        steps: all of them, as `cnn.network.trace.steps` gives them.
        shown: the places in `steps` of those to draw.

    Raises:
        ValueError: more than one channel.
    """
    require(image.shape[2] == 1, "image", image.shape, "[height, width, 1]")
    ground, first = _padded(image[..., 0].astype(float), steps)
    filter = steps[0].filter.shape[:2]
    zoom = max(1.0, 0.36 * max(ground.shape) / max(filter))
    small = (filter[0] * zoom, filter[1] * zoom)
    shapes = (ground.shape, small, small, small, tuple(1 + last for last in steps[-1].cell))
    gap, tall = 0.1 * max(ground.shape), max(shape[0] for shape in shapes)
    lefts = [gap / 2 + sum(shape[1] + gap for shape in shapes[:place]) for place in range(len(shapes))]
    width = lefts[-1] + shapes[-1][1] + gap / 2
    figure, axes = _canvas(width, gap + len(shown) * (tall + gap) - gap / 2, inches=min(9.5 / width, 0.5))
    for left, shape, name in zip(lefts, shapes, ("image", "segment", "filter", "products", "output")):
        axes.text(left + shape[1] / 2, 0.75 * gap, name, fontsize=10, color=INK, ha="center")
    for row, place in enumerate(shown):
        middle = gap + row * (tall + gap) + tall / 2
        boxes = [_Box(left, middle - shape[0] / 2, shape[1], shape[0]) for left, shape in zip(lefts, shapes)]
        _dot_product(axes, boxes[1:4], steps, place, *_range(ground))
        _image_and_output(axes, (boxes[0], boxes[4]), ground, first, steps, place)
    return figure


def _padded(image: np.ndarray, steps: Sequence[Step]) -> tuple[np.ndarray, tuple[int, int]]:
    """The image within the padding that the steps enter, which is NaN, and the place of its first cell there."""
    top, left = (max(0, -min(step.corner[axis] for step in steps)) for axis in (0, 1))
    ends = [max(step.corner[axis] + step.filter.shape[axis] for step in steps) for axis in (0, 1)]
    after = [max(0, end - size) for end, size in zip(ends, image.shape)]
    return np.pad(image, tuple(zip((top, left), after)), constant_values=np.nan), (top, left)


def _dot_product(
    axes: "Axes", boxes: Sequence[_Box], steps: Sequence[Step], place: int, low: float, high: float
) -> None:
    """The segment, the filter and the products of a step, and their sum."""
    step = steps[place]
    _image(axes, step.segment, boxes[0], low, high)
    _numbers(axes, step.segment, boxes[0], _shade(step.segment, low, high) < BRIGHT, [other.segment for other in steps])
    _signed_numbers(axes, step.filter, boxes[1], [step.filter])
    _signed_numbers(axes, step.products, boxes[2], [other.products for other in steps])
    gap = boxes[1].left - boxes[0].left - boxes[0].width
    for box, sign in zip(boxes, ("\u00d7", "=", "\u2192")):
        between = (box.left + box.width + gap / 2, box.top + box.height / 2)
        axes.text(*between, sign, fontsize=13, color=INK, ha="center", va="center")
    total = f"sum {'+ bias ' if step.bias else ''}= {_number(step.value, 4)}"
    below = (boxes[2].left + boxes[2].width / 2, boxes[2].top + boxes[2].height + gap / 4)
    axes.text(*below, total, fontsize=9, color=INK, ha="center", va="top")


def _image_and_output(
    axes: "Axes",
    boxes: Sequence[_Box],
    ground: np.ndarray,
    first: tuple[int, int],
    steps: Sequence[Step],
    place: int,
) -> None:
    """The image with the window of a step, and the output with its cell."""
    (image, output), step = boxes, steps[place]
    low, high = _range(ground)
    _image(axes, ground[..., None], image, low, high)
    _numbers(axes, np.nan_to_num(ground), image, _shade(ground, low, high) < BRIGHT, [np.nan_to_num(ground)])
    filled = np.full((round(output.height), round(output.width)), np.nan)
    for earlier in steps[: place + 1]:
        filled[earlier.cell] = earlier.value
    _signed_numbers(axes, filled, output, [np.array([other.value]) for other in steps])
    top, left = (cell + offset for cell, offset in zip(step.corner, first))
    _outline(axes, _Box(image.left + left, image.top + top, step.filter.shape[1], step.filter.shape[0]))
    _outline(axes, _Box(output.left + step.cell[1], output.top + step.cell[0], 1, 1))


def _canvas(width: float, height: float, inches: float, title: str = "") -> tuple["Figure", "Axes"]:
    """An empty figure whose units are `inches` long, the origin at the top left, with room above it for a title."""
    from matplotlib.figure import Figure

    above = TITLE / inches if title else 0.0
    figure = Figure(figsize=(width * inches, (above + height) * inches), dpi=DOTS_PER_INCH)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, -above))
    axes.set_axis_off()
    if title:
        axes.text(GAP, -above / 2, title, fontsize=11, fontweight="bold", color=INK, va="center", parse_math=False)
    return figure, axes


def _image(axes: "Axes", image: np.ndarray, box: _Box, low: float, high: float) -> None:
    """An image of one or three channels, `low` black and `high` white; pale where it is NaN."""
    import matplotlib

    scaled = _shade(image, low, high)
    if image.shape[2] == 1:
        scaled = matplotlib.colormaps["gray"].with_extremes(bad=PALE)(np.ma.masked_invalid(scaled[..., 0]))
    else:
        scaled = np.where(np.isnan(scaled), matplotlib.colors.to_rgb(PALE), scaled)
    _draw(axes, scaled, box)


def _shade(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """From 0, black, to 1, white."""
    return np.clip((image - low) / ((high - low) or 1), 0, 1)


def _signed(axes: "Axes", values: np.ndarray, box: _Box, limit: float) -> None:
    """Numbers from `-limit` to `limit` as colours; pale where they are NaN."""
    _draw(axes, _colours()(np.ma.masked_invalid(0.5 + 0.5 * values / limit)), box)


def _draw(axes: "Axes", pixels: np.ndarray, box: _Box) -> None:
    from matplotlib.patches import Rectangle

    extent = (box.left, box.left + box.width, box.top + box.height, box.top)
    axes.imshow(pixels, extent=extent, aspect="auto", interpolation="nearest")
    axes.add_patch(Rectangle((box.left, box.top), box.width, box.height, fill=False, edgecolor=EDGE, linewidth=0.6))


def _outline(axes: "Axes", box: _Box) -> None:
    from matplotlib.patches import Rectangle

    rectangle = Rectangle((box.left, box.top), box.width, box.height, fill=False, edgecolor=GREEN, linewidth=2.2)
    axes.add_patch(rectangle)


def _signed_numbers(axes: "Axes", values: np.ndarray, box: _Box, all_values: Sequence[np.ndarray]) -> None:
    """Signed numbers as colours and in words; colours and letters are those that suit `all_values`."""
    limit, flat = max(map(_limit, all_values)), values.reshape(values.shape[:2])
    _signed(axes, flat, box, limit)
    _numbers(axes, flat, box, np.abs(flat) > STRONG * limit, all_values)


def _numbers(axes: "Axes", values: np.ndarray, box: _Box, dark: np.ndarray, all_values: Sequence[np.ndarray]) -> None:
    """The known values in their cells, white on dark ones, where the longest of `all_values` has room."""
    wide, tall = box.width / values.shape[1], box.height / values.shape[0]
    points = 72 * wide * axes.figure.bbox.width / axes.figure.dpi / axes.get_xlim()[1]
    longest = max(len(_number(value, 2)) for other in all_values for value in np.unique(other).tolist())
    size = min(9.0, 1.4 * points / longest)  # a figure is about 0.65 of its size wide
    if size < SMALLEST:
        return
    for row, column in np.argwhere(~np.isnan(values.reshape(values.shape[:2]))):
        place = (box.left + (column + 0.5) * wide, box.top + (row + 0.5) * tall)
        colour = "white" if dark[row, column] else INK
        text = _number(values[row, column].item(), 2)
        axes.text(*place, text, fontsize=size, color=colour, ha="center", va="center_baseline")


def _number(value: float, digits: int) -> str:
    """A number with so many significant digits, and all of its whole part."""
    whole = abs(value) >= 10 ** (digits - 1)
    return (f"{value:.0f}" if whole else f"{value + 0.0:.{digits}g}").replace("-", "\u2212")


def _range(values: np.ndarray) -> tuple[float, float]:
    return float(np.nanmin(values)), float(np.nanmax(values))


def _limit(values: np.ndarray) -> float:
    """The largest magnitude, or 1 where everything is 0."""
    return float(np.abs(values).max()) or 1.0


@functools.cache
def _colours() -> "Colormap":
    """Blue, white, vermilion."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("signed", [BLUE, "white", VERMILION]).with_extremes(bad=PALE)
