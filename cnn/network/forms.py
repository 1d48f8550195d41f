"""The fast form of each operation, by backend, and the measurement that chose it.

`ops` holds the plain forms, which any platform can run. A backend may compute the same numbers faster in another way.
Whoever runs a network asks `cnn.machine` for the backend once, and hands the layers the forms that `fast` gives. Where
a network is traced for another platform, it takes the `PLAIN` forms.

Example:
    >>> x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    >>> fast("cpu").max_pool2d(x, 2).tolist() == PLAIN.max_pool2d(x, 2).tolist()
    True
    >>> fast("cpu") == fast("cpu"), fast("cpu") == fast("gpu")
    (True, False)
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cnn import backends
from cnn.network import folding, ops, winograd
from cnn.network.geometry import Axes, Padding, Pair, Sides, output_size
from cnn.network.spread import HERE, Spread

MOST_CELLS = 16  # of a window that is compared cell by cell; the time to compile grows with the cells
FEW_WEIGHTS = 48  # of one filter; a first layer has so few
FEW_FILTERS = 16  # XLA on a CPU has a slower convolution for so few
FEW_CHANNELS = 8  # of an image beside few filters, or of a result; they fill half of a vector of AVX-512
LONG_ROW = 9  # cells of an output; on rows of 8, the digits', what is recorded was computed without folded columns
NARROW = 32  # filters; with so few, XLA's kernels for AVX-512 take 2 to 6 times as long for odd channels as for even
SMALL_MAP = 4  # cells of a convolution's output
DEEP = 64  # channels and filters; with fewer, Winograd's maps take what its products save
PART = 2**18  # bytes of an output's gradient; half of the smallest second-level cache that a core has today
MOST_PARTS = 8  # of one kernel gradient; the time to compile grows with the parts


@runtime_checkable
class Forms(Protocol):
    """A form of each operation that a layer computes with; arguments and results are those of `ops`.

    Instances are hashable and equal by value, so that they can be static arguments of a compiled function.
    """

    @property
    def spread(self) -> Spread:
        """Where the images of a batch lie."""

    def over(self, spread: Spread) -> "Forms":
        """The same forms, for a batch whose images lie so."""

    def at(self, first: Array | int) -> "Forms":
        """The same forms, for a part of a batch from this image on. They can no longer be a static argument."""

    def positions(self, count: int) -> Array:
        """The places in the whole batch of so many images, which are given to a layer here."""

    def conv2d(
        self, x: Array, kernel: Array, bias: Array | None = None, *, stride: Axes = 1, padding: Padding = 0
    ) -> Array:
        """`ops.conv2d`."""

    def max_pool2d(self, x: Array, window: Axes, stride: Axes | None = None, padding: Padding = 0) -> Array:
        """`ops.max_pool2d`."""

    def avg_pool2d(
        self,
        x: Array,
        window: Axes,
        stride: Axes | None = None,
        padding: Padding = 0,
        count_include_pad: bool = True,
    ) -> Array:
        """`ops.avg_pool2d`."""

    def dense(self, x: Array, kernel: Array, bias: Array | None = None) -> Array:
        """`ops.dense`."""


@dataclass(frozen=True)
class Chosen:
    """Forms that are one function for each operation, by default the plain one."""

    conv2d: Callable[..., Array] = ops.conv2d
    max_pool2d: Callable[..., Array] = ops.max_pool2d
    avg_pool2d: Callable[..., Array] = ops.avg_pool2d
    dense: Callable[..., Array] = ops.dense
    spread: Spread = HERE
    first: Array | int = 0

    def over(self, spread: Spread) -> "Chosen":
        return dataclasses.replace(self, spread=spread)

    def at(self, first: Array | int) -> "Chosen":
        return dataclasses.replace(self, first=first)

    def positions(self, count: int) -> Array:
        return self.first + self.spread.first() + jnp.arange(count)


PLAIN: Forms = Chosen()


def fast(backend: str) -> Forms:
    """The forms that `cnn.backends` names for a backend: `cpu`, `gpu` or `tpu`."""
    row = backends.of(backend)
    conv2d = {"by shape": _conv2d_by_shape, "plain": ops.conv2d}[row.convolution.value]
    max_pool2d = {"cells": _max_pool2d_of_cells, "windows": ops.max_pool2d}[row.max_pool.value]
    return Chosen(conv2d, max_pool2d)


def _conv2d_by_shape(
    x: Array, kernel: Array, bias: Array | None = None, *, stride: Axes = 1, padding: Padding = 0
) -> Array:
    given = ops.convolution(x, kernel, bias, stride, padding)
    if _deep(*given):
        y = winograd.convolve(given.x, given.kernel)
    elif _pointwise(*given):
        y = product(*given)
    elif _thin(*given):
        convolution = product if _small(given.kernel) else _correlate_thin
        y = folding.convolve(*given, _tile(given.kernel, given.strides), convolution)
    else:
        y = _convolve(*given)
    return ops.add_bias(y, bias)


def _max_pool2d_of_cells(x: Array, window: Axes, stride: Axes | None = None, padding: Padding = 0) -> Array:
    windows = ops.pooling(x, window, stride, padding, "max_pool2d")
    if not windows.touch or math.prod(windows.sizes) > MOST_CELLS:
        return ops.max_pool2d(x, window, stride, padding)
    # On a CPU a comparison of bfloat16 numbers takes 5 times as long as one of float32 numbers.
    compared = x.astype(jnp.float32) if x.dtype == jnp.bfloat16 else x
    return _largest(ops.tiles(compared, windows.sizes)).astype(x.dtype)


def product(x: Array, kernel: Array, strides: Pair, sides: Sides) -> Array:
    """A convolution as one matrix product: the shifted views of the image side by side, times the kernel as a matrix.

    Example:
        >>> x, kernel = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2, 5))
        >>> bool((product(x, kernel, (1, 1), ops.NO_PADDING) == ops.correlate(x, kernel, (1, 1), ops.NO_PADDING)).all())
        True
    """
    views = jnp.concatenate(_views(x, kernel, strides, sides), axis=-1)
    # As a matrix: XLA would transpose an array of four axes for the gradient of the kernel.
    y = views.reshape(-1, views.shape[-1]) @ kernel.reshape(-1, kernel.shape[-1])
    return y.reshape(*views.shape[:3], -1)


def _views(x: Array, kernel: Array, strides: Pair, sides: Sides) -> list[Array]:
    """For each cell of a filter, in reading order, the cells of the image that meet it: [n, rows, columns, c_in]."""
    height, width = kernel.shape[:2]
    rows, columns = output_size(x.shape[1:3], (height, width), strides, sides)
    x = jnp.pad(x, ((0, 0), *sides, (0, 0)))
    return [
        x[
            :,
            row : row + strides[0] * (rows - 1) + 1 : strides[0],
            column : column + strides[1] * (columns - 1) + 1 : strides[1],
        ]
        for row in range(height)
        for column in range(width)
    ]


def _small(kernel: Array) -> bool:
    """Whether a filter is as small as those of a first layer; cores share XLA's convolution badly there."""
    return kernel.shape[:2] != (1, 1) and math.prod(kernel.shape[:3]) <= FEW_WEIGHTS


def _small_map(x: Array, kernel: Array, strides: Pair, sides: Sides) -> bool:
    """Whether the output has at most 2x2 cells; XLA on a CPU then does not use its fast kernels."""
    cells = math.prod(output_size(x.shape[1:3], kernel.shape[:2], strides, sides))
    return kernel.shape[:2] != (1, 1) and cells <= SMALL_MAP


def _deep(x: Array, kernel: Array, strides: Pair, sides: Sides) -> bool:
    """Whether Winograd's form computes a convolution, and sooner than XLA's does; bfloat16 would lose digits in it."""
    fits = kernel.shape[:2] == (3, 3) and strides == (1, 1) and sides == ((1, 1), (1, 1))
    even = x.shape[1] % 2 == 0 and x.shape[2] % 2 == 0
    many = min(kernel.shape[2:]) >= DEEP and not _small_map(x, kernel, strides, sides)
    return fits and even and many and x.dtype == jnp.float32


def _pointwise(x: Array, kernel: Array, strides: Pair, sides: Sides) -> bool:
    """Whether a filter has one cell; XLA's gradient of its kernel transposes the images, also what strides skip."""
    return kernel.shape[:2] == (1, 1)


def _thin(x: Array, kernel: Array, strides: Pair, sides: Sides) -> bool:
    """Whether folded columns suit a convolution: one of few filters, and of few channels or weights.

    An even filter would leave folded columns unused. bfloat16 was not measured.
    """
    columns = output_size(x.shape[1:3], kernel.shape[:2], strides, sides)[1]
    few = _small(kernel) or (kernel.shape[2] <= FEW_CHANNELS and strides == (1, 1))
    fits = kernel.shape[1] % 2 == 1 and kernel.shape[1] > 1 and columns >= LONG_ROW
    return fits and few and kernel.shape[3] <= FEW_FILTERS and x.dtype == jnp.float32


class Passes(NamedTuple):
    """Which form computes a convolution, and of which it is the derivative by the image and by the kernel."""

    forward: Callable[..., Array]
    by_x: Callable[..., Array]
    by_kernel: Callable[..., Array]


def _tile(kernel: Array, strides: Pair) -> int:
    """How many cells of a row become one: more of them fill vectors, and take more multiplications by zero."""
    if strides[1] > 1:
        return 1
    return 4 if _small(kernel) and kernel.shape[1] > 3 and kernel.shape[3] <= FEW_CHANNELS else 2


# benchmarks/convolutions.py measures each pass of these, and benchmarks/README.md has the numbers.
@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3, 4))
def _by_passes(x: Array, kernel: Array, strides: Pair, sides: Sides, passes: Passes) -> Array:
    return passes.forward(x, kernel, strides, sides)


@_by_passes.defjvp
def _by_passes_jvp(
    strides: Pair, sides: Sides, passes: Passes, primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    x, kernel = primals
    x_tangent, kernel_tangent = tangents
    tangent = passes.by_x(x_tangent, kernel, strides, sides) + passes.by_kernel(x, kernel_tangent, strides, sides)
    return _by_passes(x, kernel, strides, sides, passes), tangent


def _convolve(x: Array, kernel: Array, strides: Pair, sides: Sides) -> Array:
    small_map = _small_map(x, kernel, strides, sides)
    forward = ops.correlate
    if _small(kernel) or small_map:
        forward = product
    elif kernel.shape[2] % 2 and kernel.shape[2] > 1 and kernel.shape[3] <= NARROW:
        forward = one_more_channel
    passes = Passes(forward, product if small_map else ops.correlate, in_parts)
    return _by_passes(x, kernel, strides, sides, passes)


def _correlate_thin(x: Array, kernel: Array, strides: Pair, sides: Sides) -> Array:
    """For few channels: the input gradient is a product, whose results move to their cells and add up.

    XLA's convolution takes three times as long for it in LeNet-5's second layer.
    """
    return _by_passes(x, kernel, strides, sides, Passes(ops.correlate, product, ops.correlate))


def one_more_channel(x: Array, kernel: Array, strides: Pair, sides: Sides) -> Array:
    """A convolution with a channel of zeros beside those of the image."""
    x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, 1)))
    return ops.correlate(x, jnp.pad(kernel, ((0, 0), (0, 0), (0, 1), (0, 0))), strides, sides)


def in_parts(x: Array, kernel: Array, strides: Pair, sides: Sides) -> Array:
    """A convolution whose gradient with respect to the kernel is added up over parts of the images.

    XLA reads the output's gradient once for every few rows of the result. So a part's output has at most `PART` bytes.
    """
    n = len(x)
    rows, columns = output_size(x.shape[1:3], kernel.shape[:2], strides, sides)
    size = n * rows * columns * kernel.shape[3] * x.dtype.itemsize
    parts = min(-(-size // PART), MOST_PARTS, n)
    if _small(kernel) or kernel.shape[3] <= FEW_FILTERS or parts < 2:
        return ops.correlate(x, kernel, strides, sides)
    images = -(-n // parts)
    return jnp.concatenate(
        [ops.correlate(x[start : start + images], kernel, strides, sides) for start in range(0, n, images)]
    )


def _cells(tiles: Array) -> list[Array]:
    """The cells of the windows in reading order, each [n, rows, columns, c]."""
    return [tiles[:, :, row, :, column] for row in range(tiles.shape[2]) for column in range(tiles.shape[4])]


# The maximum of windows that touch, with a derivative of its own: the gradient goes to the first cell that equals the
# maximum, and a NaN wins. It takes 0.15 of the time of `reduce_window` with XLA's backward pass
# (benchmarks/lowerings.py).
@jax.custom_jvp
def _largest(tiles: Array) -> Array:
    return functools.reduce(lambda best, cell: jnp.where((best >= cell) | (best != best), best, cell), _cells(tiles))


@_largest.defjvp
def _largest_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (tiles,) = primals
    (tangent,) = tangents
    largest = _largest(tiles)
    numbers = np.arange(math.prod(tiles.shape[2:5:2]), dtype=np.float32)
    numbers = numbers.reshape(1, 1, tiles.shape[2], 1, tiles.shape[4], 1)
    won = abs(_first(tiles, largest)[:, :, None, :, None] - numbers) < 0.5  # the root of an accelerator may be inexact
    return largest, jnp.where(won, tangent, jnp.zeros((), tangent.dtype)).sum((2, 4))


def _first(tiles: Array, largest: Array) -> Array:
    """The number of each window's first cell that equals the maximum, [n, rows, columns, c], in float32.

    The gradient of each cell needs it. XLA fuses a cheap operation into its reader, also across a barrier, and would
    compare the whole window again for each of its cells. It does not so with a root, so this is the root of a square.
    """
    square = jnp.zeros(largest.shape, jnp.float32)
    for number, cell in reversed(list(enumerate(_cells(tiles)))):
        wins = (cell == largest) | (cell != cell)  # a NaN equals nothing, but wins
        square = jnp.where(wins, jnp.float32(number**2), square)
    return jnp.sqrt(square)
