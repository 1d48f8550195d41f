"""Convolutions of few channels, with neighbouring columns of the image folded into its channels ("space to depth").

Few channels or filters leave a processor's vectors half empty, and a product over single cells copies each number once
for each cell of the filter. So `tile` cells of a row of the result, side by side, become the channels of one. The
columns of the image that belong to them become channels too, and the kernel has the filter once for each of the cells,
moved by the stride, with zeros elsewhere: a band (Toeplitz) matrix. The zeros cost multiplications: a filter `w` cells
wide takes at least `(tile + w - 1) / w` times as many. A NaN or an infinity times such a zero is NaN, so it spreads to
the other cells of the tiles that see it.

Example:
    >>> import jax.numpy as jnp
    >>> kernel = jnp.array([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1)
    >>> band(kernel, 2, 1, 2).reshape(4, 2).tolist()
    [[1.0, 0.0], [2.0, 1.0], [3.0, 2.0], [0.0, 3.0]]
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from cnn.network.geometry import Pair, Sides, output_size
from cnn.network.ops import NO_PADDING


def convolve(
    x: Float[Array, "n height width c_in"],
    kernel: Float[Array, "f_height f_width c_in c_out"],
    strides: Pair,
    sides: Sides,
    tile: int,
    convolution: Callable[[Array, Array, Pair, Sides], Array],
) -> Float[Array, "n out_height out_width c_out"]:
    """`ops.correlate`, by another convolution over folded columns.

    Example:
        >>> from cnn.network import ops
        >>> x, kernel = jnp.arange(6.0).reshape(1, 1, 6, 1), jnp.array([1.0, 2.0]).reshape(1, 2, 1, 1)
        >>> convolve(x, kernel, (1, 1), NO_PADDING, 2, ops.correlate).ravel().tolist()
        [2.0, 5.0, 8.0, 11.0, 14.0]
    """
    rows, columns = output_size(x.shape[1:3], kernel.shape[:2], strides, sides)
    step = tile * strides[1]  # columns of the image that become one
    tiles = -(-columns // tile)
    wide = -(-((tile - 1) * strides[1] + kernel.shape[1]) // step)  # the folded filter's width
    x = jnp.pad(x, ((0, 0), *sides, (0, 0)))
    n, height, width, c_in = x.shape
    needed = (tiles + wide - 1) * step
    x = jnp.pad(x, ((0, 0), (0, 0), (0, max(needed - width, 0)), (0, 0)))[:, :, :needed]
    x = x.reshape(n, height, tiles + wide - 1, step * c_in)
    y = convolution(x, band(kernel, tile, strides[1], wide), (strides[0], 1), NO_PADDING)
    return y.reshape(n, rows, tiles * tile, -1)[:, :, :columns]


def band(
    kernel: Float[Array, "f_height f_width c_in c_out"], tile: int, stride: int, wide: int
) -> Float[Array, "f_height {wide} {tile*stride}*c_in {tile}*c_out"]:
    """The kernel over folded columns, `wide` of them: the filter once for each cell of a tile, moved by the stride."""
    height, width, _, filters = kernel.shape
    more = wide * tile * stride - width
    before = [cell * stride for cell in range(tile)]
    moved = [jnp.pad(kernel, ((0, 0), (own, more - own), (0, 0), (0, 0))) for own in before]
    return jnp.stack(moved, axis=3).reshape(height, wide, -1, tile * filters)
