"""3x3 convolutions with 16 multiplications for each 2x2 cells of a result, where the plain form takes 36.

Winograd's minimal filtering F(2x2, 3x3) as Lavin and Gray give it (2016, "Fast Algorithms for Convolutional Neural
Networks", section 4): tiles of 4x4 cells of the image, two cells apart, and the kernel are each mapped to 16 arrays;
each pair of arrays is multiplied over the channels, a matrix product; and the 16 products are mapped to the 2x2 cells
of the result. The maps add and halve, so they cost little beside products over many channels. The input gradient is
such a convolution of the output's gradient, and the kernel gradient is the transpose of the three maps.

Rounding differs from that of the plain form by a few units in the last place. Sums of small whole numbers are exact.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

# Lavin and Gray, section 4.1: of a tile's four cells, of a filter's three cells, and of the products.
TILE = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]], np.float32)
FILTER = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)
RESULT = np.array([[1, 1, 1, 0], [0, 1, -1, -1]], np.float32)
TURNED = (3, 1, 2, 0)  # where the arrays of a filter stand after those of the filter in reverse order
Grid = Sequence[Sequence[Array]]  # rows of arrays of one shape

# XLA computes an operation anew in each fusion that reads it, here 16 times. Behind a barrier it is computed once.
_once = lax.optimization_barrier


@jax.custom_vjp
def convolve(
    x: Float[Array, "n height width c_in"], kernel: Float[Array, "3 3 c_in c_out"]
) -> Float[Array, "n height width c_out"]:
    """`ops.correlate` with stride 1 and one cell of zeros on each side; height and width must be even.

    It works under `jit`, `vmap`, `grad` and their compositions, and under `jvp` of `grad`; not under `jvp` alone.

    Example:
        >>> x, kernel = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2, 5))
        >>> convolve(x, kernel)[0, :, :, 0].tolist()
        [[8.0, 12.0, 12.0, 8.0], [12.0, 18.0, 18.0, 12.0], [12.0, 18.0, 18.0, 12.0], [8.0, 12.0, 12.0, 8.0]]
    """
    return _output(x, kernel)


def _output(x: Array, kernel: Array) -> Array:
    products = [tile @ filter for tile, filter in zip(_tiles(x), _filters(kernel), strict=True)]
    return _joined(products, (*x.shape[:3], kernel.shape[3]))


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _output(x, kernel), (x, kernel)  # not `convolve`, so that the gradient has every derivative


def _backward(given: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = given
    return _input_gradient(gradient, kernel), _kernel_gradient(x, gradient)


convolve.defvjp(_forward, _backward)


def _input_gradient(gradient: Array, kernel: Array) -> Array:
    """A convolution of the output's gradient with the turned kernel, over the filters."""
    filters = _grid(_filters(kernel))
    turned = [filters[row][column] for row in TURNED for column in TURNED]
    products = [_product(tile, filter, 1, 1) for tile, filter in zip(_tiles(gradient), turned, strict=True)]
    return _joined(products, (*gradient.shape[:3], kernel.shape[2]))


def _kernel_gradient(x: Array, gradient: Array) -> Array:
    n, rows, columns, filters = gradient.shape
    cells = _once(gradient).reshape(n, rows // 2, 2, columns // 2, 2, filters)
    grid = [[cells[:, :, row, :, column] for column in range(2)] for row in range(2)]
    of_products = [array.reshape(-1, filters) for row in _mapped(RESULT.T, grid) for array in row]
    of_filters = _once([_product(tile, of, 0, 0) for tile, of in zip(_tiles(x), of_products, strict=True)])
    return jnp.stack([jnp.stack(row) for row in _mapped(FILTER.T, _grid(of_filters))])


def _tiles(x: Array) -> list[Array]:
    """The 16 arrays of the image, each [tiles, c_in]."""
    height, width, channels = x.shape[1:]
    x = _once(jnp.pad(_once(x), ((0, 0), (1, 1), (1, 1), (0, 0))))
    grid = [[x[:, i : i + height - 1 : 2, j : j + width - 1 : 2] for j in range(4)] for i in range(4)]
    return [array.reshape(-1, channels) for row in _mapped(TILE, grid) for array in row]


def _filters(kernel: Array) -> list[Array]:
    """The 16 arrays of the kernel, each [c_in, c_out]."""
    grid = _mapped(FILTER, [[kernel[i, j] for j in range(3)] for i in range(3)])
    return [array for row in grid for array in row]


def _joined(products: list[Array], shape: tuple[int, ...]) -> Array:
    """The result of this shape, from the 16 products, each [tiles, c_out]."""
    n, height, width, channels = shape
    tiles = [product.reshape(n, height // 2, width // 2, channels) for product in _once(products)]
    rows = [jnp.stack(row, 3) for row in _mapped(RESULT, _grid(tiles))]
    return jnp.stack(rows, 2).reshape(shape)


def _grid(arrays: Sequence[Array]) -> Grid:
    return [arrays[start : start + 4] for start in range(0, 16, 4)]


def _mapped(matrix: np.ndarray, grid: Grid) -> Grid:
    """The matrix times the grid, times the transposed matrix."""
    columns = [_sums(matrix, column) for column in zip(*grid, strict=True)]
    return [_sums(matrix, row) for row in zip(*columns, strict=True)]


def _sums(matrix: np.ndarray, arrays: Sequence[Array]) -> list[Array]:
    """For each row of the matrix, the sum of the arrays times its numbers."""
    return [functools.reduce(jnp.add, _terms(row, arrays)) for row in matrix]


def _terms(row: np.ndarray, arrays: Sequence[Array]) -> list[Array]:
    return [array if factor == 1 else factor * array for factor, array in zip(row, arrays, strict=True) if factor]


def _product(first: Array, second: Array, axis: int, other: int) -> Array:
    """A matrix product over one axis of each."""
    return lax.dot_general(first, second, (((axis,), (other,)), ((), ())))
