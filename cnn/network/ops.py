"""What a ConvNet computes: pure functions on arrays, images as NHWC and kernels as HWIO.

These are the plain forms: the same on every platform, built from XLA's own convolution and windows. `forms` holds
faster forms that give the same numbers. Every function works under `jit`, `vmap`, `grad` and their compositions, in
float32 and bfloat16. Stride is `s` or `(s_height, s_width)`; padding is any form of `geometry.padding_sides`.

Example, the lecture's 4x4 image:
    >>> image = jnp.array([[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]], jnp.float32)
    >>> max_pool2d(image.reshape(1, 4, 4, 1), 2).reshape(2, 2).tolist()
    [[6.0, 8.0], [3.0, 4.0]]
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Num

from cnn.errors import RequestError
from cnn.network.geometry import Axes, Padding, Pair, Sides, output_size, padding_sides, pair

NO_PADDING: Sides = ((0, 0), (0, 0))


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
        RequestError: an array has the wrong rank, the image has other channels than the kernel, or a filter does not
        fit.

    Example:
        >>> conv2d(jnp.ones((1, 28, 28, 1)), jnp.ones((5, 5, 1, 6)), stride=(1, 2), padding=2).shape
        (1, 28, 14, 6)
    """
    return add_bias(correlate(*convolution(x, kernel, bias, stride, padding)), bias)


def max_pool2d(
    x: Num[Array, "n height width c"], window: Axes, stride: Axes | None = None, padding: Padding = 0
) -> Num[Array, "n out_height out_width c"]:
    """The largest value under a window, for each channel on its own; without a stride the windows touch.

    A padded cell is never the largest; a NaN always is. Among equal values the first in reading order takes the
    gradient.

    Raises:
        RequestError: the input has the wrong rank, a window does not fit, or the padding is so wide that a window would
        see no cell of the image.

    Example:
        >>> max_pool2d(jnp.arange(16.0).reshape(1, 4, 4, 1), 3, stride=1).reshape(2, 2).tolist()
        [[10.0, 11.0], [14.0, 15.0]]
    """
    windows = pooling(x, window, stride, padding, "max_pool2d")
    lowest = -jnp.inf if jnp.issubdtype(x.dtype, jnp.inexact) else jnp.iinfo(x.dtype).min
    return lax.reduce_window(x, np.array(lowest, x.dtype), lax.max, *windows.of_every_axis())


def avg_pool2d(
    x: Num[Array, "n height width c"],
    window: Axes,
    stride: Axes | None = None,
    padding: Padding = 0,
    count_include_pad: bool = True,
) -> Float[Array, "n out_height out_width c"]:
    """The mean under a window, for each channel on its own; without a stride the windows touch.

    Args:
        x: the images.
        window, stride, padding: of both axes, or one for each axis.
        count_include_pad: divide by the number of the window's cells, padded zeros included; otherwise by the number of
            its cells inside the image.

    Raises:
        RequestError: the input has the wrong rank, a window does not fit, or the padding is so wide that a window would
        see no cell of the image.

    Example:
        >>> avg_pool2d(jnp.ones((1, 4, 4, 1)), 2, padding=1, count_include_pad=False).shape
        (1, 3, 3, 1)
    """
    windows = pooling(x, window, stride, padding, "avg_pool2d")
    dtype = x.dtype if jnp.issubdtype(x.dtype, jnp.inexact) else jnp.float32
    x = x.astype(jnp.promote_types(dtype, jnp.float32))  # a bfloat16 sum would lose the small addends
    if windows.touch:
        return tiles(x, windows.sizes).mean((2, 4)).astype(dtype)
    total = _window_sum(x, windows)
    if count_include_pad:
        return (total / math.prod(windows.sizes)).astype(dtype)
    inside = _window_sum(jnp.ones((1, *x.shape[1:3], 1), x.dtype), windows)
    return (total / inside).astype(dtype)


def dense(
    x: Num[Array, "*batch c_in"], kernel: Num[Array, "c_in c_out"], bias: Num[Array, " c_out"] | None = None
) -> Num[Array, "*batch c_out"]:
    """Every output is a weighted sum of every input: `x @ kernel + bias`.

    Raises:
        RequestError: the kernel's first axis is not as long as the input's last axis.

    Example:
        >>> dense(jnp.ones((2, 3)), jnp.ones((3, 4)), jnp.ones(4)).tolist()[0]
        [4.0, 4.0, 4.0, 4.0]
    """
    if kernel.ndim != 2 or x.ndim < 1 or kernel.shape[0] != x.shape[-1]:
        raise RequestError(f"dense: kernel of shape {kernel.shape} must be [{x.shape[-1] if x.ndim else '?'}, outputs]")
    _require_bias(bias, kernel, "dense")
    return add_bias(x @ kernel, bias)


def flatten(x: Num[Array, "n ..."]) -> Num[Array, "n features"]:
    """One row for each image: all axes but the first become one, in reading order (height, width, channel).

    Raises:
        RequestError: the input is a number, without any axis.

    Example:
        >>> flatten(jnp.ones((2, 7, 5, 3))).shape
        (2, 105)
    """
    if x.ndim < 1:
        raise RequestError("flatten: a number has no batch axis; accepted: an array of one axis or more")
    return x.reshape(x.shape[0], math.prod(x.shape[1:]))


class Convolution(NamedTuple):
    """The checked arguments of a convolution, every form of stride and padding written out."""

    x: Array
    kernel: Array
    strides: Pair
    sides: Sides


def convolution(x: Array, kernel: Array, bias: Array | None, stride: Axes, padding: Padding) -> Convolution:
    """Check the arguments of `conv2d`, and bring image and kernel to one data type."""
    _require_images(x, "conv2d")
    if kernel.ndim != 4 or kernel.shape[2] != x.shape[3]:
        raise RequestError(f"conv2d: kernel of shape {kernel.shape} must be [height, width, {x.shape[3]}, filters]")
    _require_bias(bias, kernel, "conv2d")
    strides = pair(stride, "stride")
    sides = _sides(x, kernel.shape[:2], strides, padding)
    dtype = jnp.result_type(x, kernel)
    return Convolution(x.astype(dtype), kernel.astype(dtype), strides, sides)


def correlate(x: Array, kernel: Array, strides: Pair, sides: Sides) -> Array:
    """A convolution of checked arguments, as XLA computes it."""
    return lax.conv_general_dilated(x, kernel, strides, sides, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def add_bias(y: Array, bias: Array | None) -> Array:
    """The output with the bias of each channel added, where there is one."""
    return y if bias is None else y + bias.reshape((1,) * (y.ndim - 1) + (-1,))


class Windows(NamedTuple):
    """The checked arguments of a pooling, every form of window, stride and padding written out."""

    sizes: Pair
    strides: Pair
    sides: Sides

    @property
    def touch(self) -> bool:
        """Whether the windows tile the image: without gap, overlap or padding."""
        return self.sizes == self.strides and self.sides == NO_PADDING

    def of_every_axis(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[Pair, ...]]:
        """Windows, strides and paddings of the four axes of a batch of images, as `lax.reduce_window` takes them."""
        return (1, *self.sizes, 1), (1, *self.strides, 1), ((0, 0), *self.sides, (0, 0))


def pooling(x: Array, window: Axes, stride: Axes | None, padding: Padding, name: str) -> Windows:
    """Check the arguments of a pooling; error messages begin with `name`."""
    _require_images(x, name)
    sizes = pair(window, "window")
    strides = sizes if stride is None else pair(stride, "stride")
    sides = _sides(x, sizes, strides, padding)
    for cells, side in zip(sizes, sides, strict=True):
        if max(side) >= cells:
            raise RequestError(f"padding={padding!r}: must be below the window of {cells}, or a window sees no image")
    return Windows(sizes, strides, sides)


def tiles(x: Array, sizes: Pair) -> Array:
    """The image cut into windows that touch: [n, rows, window height, columns, window width, c].

    Cells at the bottom and the right that fill no window are left out.
    """
    n, height, width, c = x.shape
    rows = height // sizes[0]
    columns = width // sizes[1]
    x = x[:, : rows * sizes[0], : columns * sizes[1]]
    return x.reshape(n, rows, sizes[0], columns, sizes[1], c)


def _window_sum(x: Array, windows: Windows) -> Array:
    return lax.reduce_window(x, np.zeros((), x.dtype), lax.add, *windows.of_every_axis())


def _require_images(x: Array, name: str) -> None:
    if x.ndim != 4:
        raise RequestError(f"{name}: input of shape {x.shape} must be [images, height, width, channels]")


def _require_bias(bias: Array | None, kernel: Array, name: str) -> None:
    if bias is not None and bias.shape != kernel.shape[-1:]:
        raise RequestError(f"{name}: bias of shape {bias.shape} must be [{kernel.shape[-1]}]")


def _sides(x: Array, filter: Axes, strides: Pair, padding: Padding) -> Sides:
    size = (x.shape[1], x.shape[2])
    output_size(size, filter, strides, padding)  # refuses a filter that does not fit
    return padding_sides(padding, size, filter, strides)
