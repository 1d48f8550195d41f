"""From stored images to a network's input: augment a batch and normalise it. Pure functions, on the device.

Example:
    >>> images = jnp.arange(2 * 4 * 4 * 1, dtype=jnp.uint8).reshape(2, 4, 4, 1)
    >>> normalize(images, jnp.array([15.5]), jnp.array([9.2])).dtype
    dtype('float32')
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt8


def normalize(
    images: UInt8[Array, "n height width c"],
    mean: Float[Array, " c"],
    deviation: Float[Array, " c"],
    dtype: str = "float32",
) -> Float[Array, "n height width c"]:
    """The images less the mean, divided by the deviation, for each channel.

    Args:
        images: uint8 images.
        mean: of each channel over the training part, in pixel units (0 to 255).
        deviation: likewise the standard deviation.
        dtype: the type of the result; the arithmetic is float32.

    Returns:
        Images whose channels have mean 0 and deviation 1 over the training part.
    """
    shape = (1, 1, 1, -1)
    return ((images.astype(jnp.float32) - mean.reshape(shape)) * (1.0 / deviation).reshape(shape)).astype(dtype)


def moved(
    images: UInt8[np.ndarray, "n height width c"], down: int, right: int
) -> UInt8[np.ndarray, "n height width c"]:
    """All images moved by whole pixels. Pixels that come in at an edge repeat the edge's.

    Example:
        >>> moved(np.arange(4, dtype=np.uint8).reshape(1, 2, 2, 1), 1, 0).reshape(2, 2).tolist()
        [[0, 1], [0, 1]]
    """
    _, height, width, _ = images.shape
    rows = np.clip(np.arange(height) - down, 0, height - 1)
    columns = np.clip(np.arange(width) - right, 0, width - 1)
    return images[:, rows][:, :, columns]


def augment(
    key: Key[Array, ""], images: UInt8[Array, "n height width c"], flip: bool, shift: int
) -> UInt8[Array, "n height width c"]:
    """Each image mirrored left to right with probability one half, and moved at random on each axis.

    Args:
        key: decides for all images; each has draws of its own.
        images: uint8 images.
        flip: whether images are mirrored.
        shift: the largest move in pixels, in either direction. Pixels that come in at an edge repeat the edge's.

    Returns:
        The changed images; without flip and shift the images themselves.

    Example:
        >>> images = jnp.arange(9, dtype=jnp.uint8).reshape(1, 3, 3, 1)
        >>> augment(jax.random.key(0), images, flip=False, shift=0).reshape(3, 3).tolist()
        [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    """
    n, height, width, _ = images.shape
    if not flip and not shift:
        return images
    flip_key, shift_key = jax.random.split(key)
    rows = jnp.broadcast_to(jnp.arange(height).reshape(1, -1), (n, height))
    columns = jnp.broadcast_to(jnp.arange(width).reshape(1, -1), (n, width))
    if shift:
        moves = jax.random.randint(shift_key, (n, 2, 1), -shift, shift + 1)
        rows = jnp.clip(rows + moves[:, 0], 0, height - 1)
        columns = jnp.clip(columns + moves[:, 1], 0, width - 1)
    if flip:
        columns = jnp.where(jax.random.bernoulli(flip_key, shape=(n, 1)), width - 1 - columns, columns)
    return images[jnp.arange(n).reshape(n, 1, 1), rows.reshape(n, height, 1), columns.reshape(n, 1, width)]
