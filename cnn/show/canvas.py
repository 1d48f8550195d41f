"""Arrays on a canvas: tiles of grey, colours or signed numbers, and the digits in them.

The pictures of a network (`network`, `trace`) are made of these parts. A canvas has one unit of length in both
directions, and its origin is at the top left. A signed number is blue below 0, white at 0 and vermilion above. What is
NaN is unknown, and pale.

Example:
    >>> figure, axes = canvas(width=3, height=2, inches=0.5, title="a title above")
    >>> draw_signed(axes, np.array([[-1.0, 0.0], [0.5, 1.0]]), Box(0.5, 0.5, 1, 1), limit=1.0)
    >>> [round(float(inches), 2) for inches in figure.get_size_inches()]
    [1.5, 1.35]
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Num

from cnn.show.style import BLUE, DOTS_PER_INCH, GREEN, INK, VERMILION, fit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EDGE = "#BDBDBD"  # the thin line around a tile
PALE = "#F2F2F2"  # where nothing is known
TITLE_HEIGHT = 0.35  # inches
GAP = 0.1  # between two tiles, whose width is 1
BRIGHT = 0.55  # from this grey on, dark digits are easier to read than white ones
STRONG = 0.7  # from this share of the strongest colour on, white digits are easier to read than dark ones
SMALLEST = 5.0  # points; smaller digits cannot be read
LARGEST = 9.0  # points


class Box(NamedTuple):
    """A rectangle on a canvas; `top` counts downwards."""

    left: float
    top: float
    width: float
    height: float


def canvas(width: float, height: float, inches: float, title: str = "") -> tuple["Figure", "Axes"]:
    """An empty figure, and its one panel, which fills it; a title gets room of its own above the canvas.

    Args:
        width: of the canvas, in its own units.
        height: of the canvas, in its own units.
        inches: how long one unit is.
        title: text, never a formula.
    """
    from matplotlib.figure import Figure

    above = TITLE_HEIGHT / inches if title else 0.0
    figure = Figure(figsize=(width * inches, (above + height) * inches), dpi=DOTS_PER_INCH)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, -above))
    axes.set_axis_off()
    if title:
        style: dict[str, Any] = {"fontsize": 11, "fontweight": "bold", "color": INK, "va": "center"}
        fit(figure, axes.text(GAP, -above / 2, title, parse_math=False, **style))
    return figure, axes


def draw_image(axes: "Axes", image: Num[np.ndarray, "height width c"], box: Box, low: float, high: float) -> None:
    """Draw an image of one channel (grey) or three (red, green, blue); `low` is black and `high` is white."""
    import matplotlib

    scaled = shade(image, low, high)
    if image.shape[2] == 1:
        pixels = matplotlib.colormaps["gray"].with_extremes(bad=PALE)(np.ma.masked_invalid(scaled[..., 0]))
    else:
        pixels = np.where(np.isnan(scaled), matplotlib.colors.to_rgb(PALE), scaled)
    _draw(axes, pixels, box)


def draw_signed(axes: "Axes", values: Num[np.ndarray, "height width"], box: Box, limit: float) -> None:
    """Draw numbers from `-limit` to `limit` as colours."""
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("signed", [BLUE, "white", VERMILION]).with_extremes(bad=PALE)
    _draw(axes, colours(np.ma.masked_invalid(0.5 + 0.5 * values / limit)), box)


def draw_signed_numbers(
    axes: "Axes", values: Num[np.ndarray, "height width"], box: Box, all_values: Sequence[np.ndarray]
) -> None:
    """Draw signed numbers as colours with their digits; the scale and the size of the digits suit `all_values`."""
    limit = max(largest_magnitude(other) for other in all_values)
    draw_signed(axes, values, box, limit)
    draw_numbers(axes, values, box, np.abs(values) > STRONG * limit, all_values)


def draw_numbers(
    axes: "Axes",
    values: Num[np.ndarray, "height width"],
    box: Box,
    dark: np.ndarray,
    all_values: Sequence[np.ndarray],
) -> None:
    """Write each known value into its cell; write none where the longest of `all_values` has no room.

    Args:
        axes: the canvas.
        values: [height, width]; NaN is left out.
        box: where the cells lie.
        dark: boolean [height, width]: the cells in which digits are white.
        all_values: all that is drawn in the same way elsewhere, so that digits have one size everywhere.
    """
    wide = box.width / values.shape[1]
    tall = box.height / values.shape[0]
    points = 72 * wide * axes.figure.bbox.width / axes.figure.dpi / axes.get_xlim()[1]
    longest = max(len(number(value, 2)) for other in all_values for value in np.unique(other).tolist())
    size = min(LARGEST, 1.4 * points / longest)  # a digit is about 0.65 of its size wide
    if size < SMALLEST:
        return
    for row, column in np.argwhere(~np.isnan(values)):
        x = box.left + (column + 0.5) * wide
        y = box.top + (row + 0.5) * tall
        colour = "white" if dark[row, column] else INK
        text = number(values[row, column].item(), 2)
        axes.text(x, y, text, fontsize=size, color=colour, ha="center", va="center_baseline")


def outline(axes: "Axes", box: Box) -> None:
    """Draw a green frame that says: here."""
    _frame(axes, box, GREEN, 2.2)


def _draw(axes: "Axes", pixels: np.ndarray, box: Box) -> None:
    extent = (box.left, box.left + box.width, box.top + box.height, box.top)
    axes.imshow(pixels, extent=extent, aspect="auto", interpolation="nearest")
    _frame(axes, box, EDGE, 0.6)


def _frame(axes: "Axes", box: Box, colour: str, line: float) -> None:
    from matplotlib.patches import Rectangle

    corner = (box.left, box.top)
    axes.add_patch(Rectangle(corner, box.width, box.height, fill=False, edgecolor=colour, linewidth=line))


def number(value: float, digits: int) -> str:
    """A number with so many significant digits, but never with less than its whole part.

    Example:
        >>> number(0.1234, 2), number(1234.5, 2), number(-0.0, 2)
        ('0.12', '1234', '0')
    """
    whole = abs(value) >= 10 ** (digits - 1)
    return (f"{value:.0f}" if whole else f"{value + 0.0:.{digits}g}").replace("-", "\u2212")


def shade(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """Brightness from 0, black, to 1, white; NaN stays NaN."""
    return np.clip((image - low) / ((high - low) or 1), 0, 1)


def value_range(values: np.ndarray) -> tuple[float, float]:
    """The smallest and the largest known value."""
    return float(np.nanmin(values)), float(np.nanmax(values))


def largest_magnitude(values: np.ndarray) -> float:
    """The largest absolute value, or 1 where everything is 0."""
    return float(np.abs(values).max()) or 1.0
