"""A convolution one step at a time: what a filter sees, multiplies and adds up at each of its positions.

A filter slides over the image and takes the dot product with the segment under it. `ops.conv2d` computes all positions
at once. `steps` takes them one after another, in NumPy and float64, and keeps every number of the calculation.

Example, a 2x2 filter on the lecture's 4x4 image, two cells at a time:
    >>> image = np.array([[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]]).reshape(4, 4, 1)
    >>> diagonal = np.array([[1, 0], [0, -1]]).reshape(2, 2, 1)
    >>> taken = steps(image, diagonal, bias=1, stride=2)
    >>> [step.value for step in taken]
    [-4.0, -5.0, 2.0, -2.0]
    >>> print(text(taken[1]))
    output (0, 1): segment * filter -> products, sum
      2 4  *   1  0  ->   2  0
      7 8      0 -1       0 -8    2 - 8 + 1 = -5
"""

import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Num

from cnn.errors import RequestError
from cnn.network.geometry import Axes, Padding, Pair, output_size, padding_sides, pair


class Step(NamedTuple):
    """One position of a filter: the output cell that it fills, and the numbers that the cell's value comes from."""

    cell: Pair  # (row, column) of the output
    corner: Pair  # (row, column) of the image under the filter's first cell; negative in the padding
    segment: np.ndarray  # [f_height, f_width, c_in], the cells under the filter; zeros in the padding
    filter: np.ndarray  # [f_height, f_width, c_in]
    products: np.ndarray  # [f_height, f_width, c_in], segment * filter
    bias: float
    value: float  # the sum of the products, plus the bias


def steps(
    image: Num[np.ndarray, "height width c_in"],
    filter: Num[np.ndarray, "f_height f_width c_in"],
    bias: float = 0.0,
    *,
    stride: Axes = 1,
    padding: Padding = 0,
) -> list[Step]:
    """Every step of one filter over one image, in reading order; the steps' values are one channel of `ops.conv2d`.

    Raises:
        RequestError: an array has the wrong rank, the image has other channels than the filter, or the filter does not
        fit.

    Example:
        >>> first = steps(np.ones((5, 5, 1)), np.ones((3, 3, 1)), padding=1)[0]
        >>> first.cell, first.corner, first.value
        ((0, 0), (-1, -1), 4.0)
    """
    if image.ndim != 3 or filter.ndim != 3 or filter.shape[2] != image.shape[2]:
        accepted = "[height, width, channels], both with the same channels"
        raise RequestError(f"steps: image of shape {image.shape} and filter of shape {filter.shape} must be {accepted}")
    size = image.shape[:2]
    cells = filter.shape[:2]
    strides = pair(stride, "stride")
    rows, columns = output_size(size, cells, strides, padding)
    sides = padding_sides(padding, size, cells, strides)
    padded = np.pad(image.astype(np.float64), (*sides, (0, 0)))
    return [
        _step(padded, filter.astype(np.float64), float(bias), cell, strides, (sides[0][0], sides[1][0]))
        for cell in itertools.product(range(rows), range(columns))
    ]


def _step(padded: np.ndarray, filter: np.ndarray, bias: float, cell: Pair, strides: Pair, before: Pair) -> Step:
    top = cell[0] * strides[0]
    left = cell[1] * strides[1]
    segment = padded[top : top + filter.shape[0], left : left + filter.shape[1]]
    products = segment * filter
    corner = (top - before[0], left - before[1])
    return Step(cell, corner, segment, filter, products, bias, float(products.sum() + bias))


def text(step: Step) -> str:
    """A step as lines of text: `segment * filter -> products, sum`, each channel below the one before it.

    Example:
        >>> print(text(steps(np.full((1, 2, 2), 0.5), np.array([[[1.0, -0.25]]]))[1]))
        output (0, 1): segment * filter -> products, sum
          0.5  *      1  ->     0.5
          0.5  *  -0.25  ->  -0.125    0.5 - 0.125 = 0.375
    """
    segment, filter, products = map(_lines, (step.segment, step.filter, step.products))
    middle = (step.filter.shape[0] - 1) // 2
    lines = [f"output {step.cell}: segment * filter -> products, sum"]
    for number, parts in enumerate(zip(segment, filter, products, strict=True)):
        signs = number % step.filter.shape[0] == middle
        times = "*" if signs else " "
        arrow = "->" if signs else "  "
        lines.append(f"  {parts[0]}  {times}  {parts[1]}  {arrow}  {parts[2]}")
    terms = [value for value in (*step.products.flat, step.bias) if value] or [0.0]
    rest = "".join(f" {'-' if value < 0 else '+'} {abs(value):.4g}" for value in terms[1:])
    lines[-1] += f"    {terms[0]:.4g}{rest} = {step.value + 0.0:.4g}"
    return "\n".join(lines)


def _lines(values: np.ndarray) -> list[str]:
    """The rows of [height, width, channels], channel after channel, as lines of text with columns of one width."""
    cells = [[f"{value + 0.0:.4g}" for value in row] for row in np.moveaxis(values, 2, 0).reshape(-1, values.shape[1])]
    width = max(len(cell) for row in cells for cell in row)
    return [" ".join(cell.rjust(width) for cell in row) for row in cells]
