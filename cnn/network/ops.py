"""What a ConvNet computes: pure functions on arrays, images as NHWC and kernels as HWIO.

Every function works under `jit`, `vmap`, `grad` and their compositions, in float32 and bfloat16. Stride is `s` or
`(s_height, s_width)`; padding is any form of `geometry.padding_sides`.

Example, the lecture's 4x4 image:
    >>> image = jnp.array([[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]], jnp.float32)
    >>> max_pool2d(image.reshape(1, 4, 4, 1), 2).reshape(2, 2).tolist()
    [[6.0, 8.0], [3.0, 4.0]]
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Num

from cnn.config import RequestError
from cnn.network.geometry import Axes, Padding, Pair, Sides, output_size, padding_sides, pair


def conv2d(
    x: Num[Array, "n height width c_in"],
    kernel: Num[Array, "f_height f_width c_in c_out"],
    bias: Num[Array, " c_out"] | None = None,
    *,
    stride: Axes = 1,
    padding: Padding = 0,
) -> Num[Array, "n out_height out_width c_out"]:
    """Slide each filter over the image; each output cell is the dot product of a filter with the cells under it.

    This is the cross-correlation that deep learning calls convolution: the filter is not mirrored (Goodfellow et al.
    2016, "Deep Learning", equation 9.6). A kernel of height and width 1 mixes channels and keeps height and width.

    Raises:
        ValueError: wrong ranks, other channels in the image than in the kernel, or a filter that does not fit.

    Example:
        >>> conv2d(jnp.ones((1, 28, 28, 1)), jnp.ones((5, 5, 1, 6)), stride=(1, 2), padding=2).shape
        (1, 28, 14, 6)
    """
    _require_images(x, "conv2d")
    if kernel.ndim != 4 or kernel.shape[2] != x.shape[3]:
        raise RequestError(f"conv2d: kernel of shape {kernel.shape} must be [height, width, {x.shape[3]}, filters]")
    _require_bias(bias, kernel, "conv2d")
    strides = pair(stride, "stride")
    sides = _sides(x, kernel.shape[:2], strides, padding)
    dtype = jnp.result_type(x, kernel)
    y = _convolve(x.astype(dtype), kernel.astype(dtype), strides, sides)
    return y if bias is None else y + bias.reshape(1, 1, 1, -1)


def max_pool2d(
    x: Num[Array, "n height width c"], window: Axes, stride: Axes | None = None, padding: Padding = 0
) -> Num[Array, "n out_height out_width c"]:
    """The largest value under a window, for each channel on its own; without a stride the windows touch.

    Padded cells never win, and a NaN does. Among equal values the first in reading order takes the gradient.

    Raises:
        ValueError: wrong rank, a window that does not fit, or padding so wide that a window would see no cell of the
        image.
    """
    _require_images(x, "max_pool2d")
    windows, strides, sides = _pooling(x, window, stride, padding)
    if windows == strides and sides == ((0, 0), (0, 0)) and math.prod(windows) <= 16:  # compile time grows with cells
        if x.dtype == jnp.bfloat16 and _on_cpu():  # whose bfloat16 comparisons take 5 times as long
            return _largest(_tiles(x.astype(jnp.float32), windows)).astype(x.dtype)
        return _largest(_tiles(x, windows))
    lowest = -jnp.inf if jnp.issubdtype(x.dtype, jnp.inexact) else jnp.iinfo(x.dtype).min
    return lax.reduce_window(
        x, np.array(lowest, x.dtype), lax.max, (1, *windows, 1), (1, *strides, 1), _all_axes(sides)
    )


def avg_pool2d(
    x: Num[Array, "n height width c"],
    window: Axes,
    stride: Axes | None = None,
    padding: Padding = 0,
    count_include_pad: bool = True,
) -> Float[Array, "n out_height out_width c"]:
    """The mean under a window, for each channel on its own; without a stride the windows touch.

    Args:
        count_include_pad: divide by the window's cells, padded zeros included; otherwise by the cells inside the image.

    Raises:
        ValueError: wrong rank, a window that does not fit, or padding so wide that a window would see no cell of the
        image.

    Example:
        >>> avg_pool2d(jnp.ones((1, 4, 4, 1)), 2, padding=1, count_include_pad=False).shape
        (1, 3, 3, 1)
    """
    _require_images(x, "avg_pool2d")
    windows, strides, sides = _pooling(x, window, stride, padding)
    dtype = x.dtype if jnp.issubdtype(x.dtype, jnp.inexact) else jnp.float32
    x = x.astype(jnp.promote_types(dtype, jnp.float32))  # a bfloat16 sum would lose the small addends
    if windows == strides and sides == ((0, 0), (0, 0)):
        return _tiles(x, windows).mean((2, 4)).astype(dtype)
    total = _window_sum(x, windows, strides, sides)
    if count_include_pad:
        return (total / (windows[0] * windows[1])).astype(dtype)
    inside = _window_sum(jnp.ones((1, *x.shape[1:3], 1), x.dtype), windows, strides, sides)
    return (total / inside).astype(dtype)


def dense(
    x: Num[Array, "*batch c_in"], kernel: Num[Array, "c_in c_out"], bias: Num[Array, " c_out"] | None = None
) -> Num[Array, "*batch c_out"]:
    """Every output is a weighted sum of every input: `x @ kernel + bias`.

    Raises:
        ValueError: the kernel's first axis is not the input's last.

    Example:
        >>> dense(jnp.ones((2, 3)), jnp.ones((3, 4)), jnp.ones(4)).tolist()[0]
        [4.0, 4.0, 4.0, 4.0]
    """
    if kernel.ndim != 2 or x.ndim < 1 or kernel.shape[0] != x.shape[-1]:
        raise RequestError(f"dense: kernel of shape {kernel.shape} must be [{x.shape[-1] if x.ndim else '?'}, outputs]")
    _require_bias(bias, kernel, "dense")
    y = x @ kernel
    return y if bias is None else y + bias.reshape((1,) * (y.ndim - 1) + (-1,))


def flatten(x: Num[Array, "n ..."]) -> Num[Array, "n features"]:
    """One row for each image: all but the first axis become one, in reading order (height, width, channel).

    Example:
        >>> flatten(jnp.ones((2, 7, 5, 3))).shape
        (2, 105)
    """
    if x.ndim < 1:
        raise RequestError("flatten: a number has no batch axis; accepted: an array of one axis or more")
    return x.reshape(x.shape[0], math.prod(x.shape[1:]))


def _require_images(x: Array, name: str) -> None:
    if x.ndim != 4:
        raise RequestError(f"{name}: input of shape {x.shape} must be [images, height, width, channels]")


def _require_bias(bias: Array | None, kernel: Array, name: str) -> None:
    if bias is not None and bias.shape != kernel.shape[-1:]:
        raise RequestError(f"{name}: bias of shape {bias.shape} must be [{kernel.shape[-1]}]")


def _sides(x: Array, filter: Axes, strides: Pair, padding: Padding) -> Sides:
    size = (x.shape[1], x.shape[2])
    output_size(size, filter, strides, padding)  # refuses what does not fit
    return padding_sides(padding, size, filter, strides)


def _pooling(x: Array, window: Axes, stride: Axes | None, padding: Padding) -> tuple[Pair, Pair, Sides]:
    windows = pair(window, "window")
    strides = windows if stride is None else pair(stride, "stride")
    sides = _sides(x, windows, strides, padding)
    for cells, side in zip(windows, sides):
        if max(side) >= cells:
            raise RequestError(f"padding={padding!r}: must be below the window of {cells}, or a window sees no image")
    return windows, strides, sides


def _all_axes(sides: Sides) -> tuple[Pair, Pair, Pair, Pair]:
    return (0, 0), *sides, (0, 0)


def _window_sum(x: Array, windows: Pair, strides: Pair, sides: Sides) -> Array:
    return lax.reduce_window(x, np.zeros((), x.dtype), lax.add, (1, *windows, 1), (1, *strides, 1), _all_axes(sides))


def _tiles(x: Array, windows: Pair) -> Array:
    """The image cut into windows that touch, [n, rows, window height, columns, window width, c]; cells left over go."""
    n, height, width, c = x.shape
    rows, columns = height // windows[0], width // windows[1]
    x = x[:, : rows * windows[0], : columns * windows[1]]
    return x.reshape(n, rows, windows[0], columns, windows[1], c)


def _direct(x: Array, kernel: Array, strides: Pair, sides: Sides) -> Array:
    """XLA's convolution."""
    return lax.conv_general_dilated(x, kernel, strides, sides, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _product(x: Array, kernel: Array, strides: Pair, sides: Sides) -> Array:
    """The same as one matrix product: the shifted views of the image side by side, times the kernel as a matrix."""
    height, width, c_in, c_out = kernel.shape
    rows, columns = output_size(x.shape[1:3], (height, width), strides, sides)
    x = jnp.pad(x, _all_axes(sides))
    views = [
        x[
            :,
            row : row + strides[0] * (rows - 1) + 1 : strides[0],
            column : column + strides[1] * (columns - 1) + 1 : strides[1],
        ]
        for row in range(height)
        for column in range(width)
    ]
    return jnp.concatenate(views, axis=-1) @ kernel.reshape(height * width * c_in, c_out)


def _few_weights(kernel: Array) -> bool:
    """Whether a filter is as small as those of a first layer, whose convolution XLA's CPU kernels do badly."""
    return kernel.shape[0] * kernel.shape[1] * kernel.shape[2] <= 48


def _small_map(x: Array, kernel: Array, strides: Pair, sides: Sides) -> bool:
    """Whether the output has at most 2x2 cells, for which XLA on a CPU leaves its fast kernels."""
    return math.prod(output_size(x.shape[1:3], kernel.shape[:2], strides, sides)) <= 4


# The lowering of a convolution. On a CPU a matrix product wins for the forward pass of a first layer, and for maps of
# at most 2x2 cells, where it takes 0.21 of the time (64 images, 3x3 filters, 32 to 64 channels;
# benchmarks/lowerings.py). The gradient of the kernel is a convolution everywhere.
@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _convolve(x: Array, kernel: Array, strides: Pair, sides: Sides) -> Array:
    if not _on_cpu() or kernel.shape[:2] == (1, 1):
        return _direct(x, kernel, strides, sides)
    if _few_weights(kernel) or _small_map(x, kernel, strides, sides):
        return _product(x, kernel, strides, sides)
    return _direct(x, kernel, strides, sides)


@_convolve.defjvp
def _convolve_jvp(
    strides: Pair, sides: Sides, primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    (x, kernel), (x_tangent, kernel_tangent) = primals, tangents
    small = _on_cpu() and kernel.shape[:2] != (1, 1) and _small_map(x, kernel, strides, sides)
    by_x = (_product if small else _direct)(x_tangent, kernel, strides, sides)
    return _convolve(x, kernel, strides, sides), by_x + _direct(x, kernel_tangent, strides, sides)


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"


def _cells(tiles: Array) -> list[Array]:
    """The windows' cells in reading order, each [n, rows, columns, c]."""
    return [tiles[:, :, row, :, column] for row in range(tiles.shape[2]) for column in range(tiles.shape[4])]


# The maximum of windows that touch, with a derivative of its own: the gradient goes to the first cell that equals the
# maximum. It takes 0.19 of the time of `reduce_window` with XLA's backward pass (benchmarks/lowerings.py).
@jax.custom_jvp
def _largest(tiles: Array) -> Array:
    return functools.reduce(lambda best, cell: jnp.where((best >= cell) | (best != best), best, cell), _cells(tiles))


@_largest.defjvp
def _largest_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (tiles,), (tangent,) = primals, tangents
    largest = _largest(tiles)
    first, taken = [], jnp.zeros(largest.shape, bool)
    for cell in _cells(tiles):
        wins = (cell == largest) | (cell != cell)  # a NaN equals nothing, but wins
        first.append(wins & ~taken)
        taken |= wins
    n, rows, height, columns, width, c = tiles.shape
    won = jnp.stack(first, axis=3).reshape(n, rows, columns, height, width, c).transpose(0, 1, 3, 2, 4, 5)
    return largest, jnp.where(won, tangent, jnp.zeros((), tangent.dtype)).sum((2, 4))
