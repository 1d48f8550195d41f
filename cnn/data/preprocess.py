"""From stored images to a network's input: augment a batch and normalise it. Pure functions, on the device.

Example:
    >>> images = jnp.arange(2 * 4 * 4 * 1, dtype=jnp.uint8).reshape(2, 4, 4, 1)
    >>> normalize(images, jnp.array([15.5]), jnp.array([9.2])).dtype
    dtype('float32')
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float, Int, Key, UInt8

from cnn.config import TrainingConfig


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
    key: Key[Array, ""], images: UInt8[Array, "n height width c"], training: TrainingConfig
) -> UInt8[Array, "n height width c"]:
    """Each image mirrored, moved, turned and scaled at random, and in part hidden, as the settings say.

    An image is mirrored left to right with probability one half, and moved by whole pixels on each axis. Then it is
    turned and scaled about its centre, by bilinear interpolation, and last of all a square of it is hidden. Angle,
    scale, moves and the square's centre have uniform distributions. Pixels that come in at an edge repeat the edge's.

    Args:
        key: decides for all images; each has draws of its own.
        images: uint8 images.
        training: gives `flip`, `shift`, `turn`, `zoom` and `cutout`.

    Returns:
        The changed images; the images themselves where all of these are 0.

    Example:
        >>> images = jnp.arange(9, dtype=jnp.uint8).reshape(1, 3, 3, 1)
        >>> augment(jax.random.key(0), images, TrainingConfig()).reshape(3, 3).tolist()
        [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    """
    flip_key, shift_key = jax.random.split(key)
    if training.flip or training.shift:
        images = _flipped_and_moved(flip_key, shift_key, images, training.flip, training.shift)
    n, height, width, _ = images.shape
    if training.turn or training.zoom:
        draws = jax.random.uniform(jax.random.fold_in(key, 2), (2, n), minval=-1.0)
        images = turned(images, jnp.radians(training.turn) * draws[0], 1 + training.zoom * draws[1])
    if training.cutout:
        keys = jax.random.split(jax.random.fold_in(key, 3))
        centres = [jax.random.randint(own, (n,), 0, size) for own, size in zip(keys, (height, width), strict=True)]
        images = cut_out(images, jnp.stack(centres, 1), training.cutout)
    return images


def _flipped_and_moved(
    flip_key: Array, shift_key: Array, images: UInt8[Array, "n height width c"], flip: bool, shift: int
) -> UInt8[Array, "n height width c"]:
    n, height, width, _ = images.shape
    rows = jnp.broadcast_to(jnp.arange(height).reshape(1, -1), (n, height))
    columns = jnp.broadcast_to(jnp.arange(width).reshape(1, -1), (n, width))
    if shift:
        moves = jax.random.randint(shift_key, (n, 2, 1), -shift, shift + 1)
        rows = jnp.clip(rows + moves[:, 0], 0, height - 1)
        columns = jnp.clip(columns + moves[:, 1], 0, width - 1)
    if flip:
        columns = jnp.where(jax.random.bernoulli(flip_key, shape=(n, 1)), width - 1 - columns, columns)
    return images[jnp.arange(n).reshape(n, 1, 1), rows.reshape(n, height, 1), columns.reshape(n, 1, width)]


def turned(
    images: UInt8[Array, "n height width c"], angles: Float[Array, " n"], scales: Float[Array, " n"]
) -> UInt8[Array, "n height width c"]:
    """Each image turned about its centre and scaled, by bilinear interpolation; edges repeat.

    Args:
        images: uint8 images.
        angles: in radians, counter-clockwise.
        scales: 2 shows everything twice as large.

    Example:
        >>> image = jnp.arange(9, dtype=jnp.uint8).reshape(1, 3, 3, 1)
        >>> turned(image, jnp.array([jnp.pi / 2]), jnp.ones(1)).reshape(3, 3).tolist()
        [[2, 5, 8], [1, 4, 7], [0, 3, 6]]
    """
    n, height, width, _ = images.shape
    cosine = (jnp.cos(angles) / scales).reshape(n, 1, 1)
    sine = (jnp.sin(angles) / scales).reshape(n, 1, 1)
    down = jnp.arange(height).reshape(1, -1, 1) - (height - 1) / 2
    right = jnp.arange(width).reshape(1, 1, -1) - (width - 1) / 2
    rows = cosine * down + sine * right + (height - 1) / 2
    columns = cosine * right - sine * down + (width - 1) / 2

    def sample(image: Array, rows: Array, columns: Array) -> Array:
        return map_coordinates(image, [rows, columns], order=1, mode="nearest")

    return jax.vmap(jax.vmap(sample, (-1, None, None), -1))(images, rows, columns)


def cut_out(
    images: UInt8[Array, "n height width c"], centres: Int[Array, "n 2"], side: int
) -> UInt8[Array, "n height width c"]:
    """Each image with a square of one colour, the mean of its channels (DeVries and Taylor 2017, "Cutout").

    Args:
        images: uint8 images.
        centres: row and column of each square's centre. A square may lie partly outside, so that some are smaller.
        side: of the squares, in pixels.

    Example:
        >>> image = jnp.array([0, 0, 0, 8], jnp.uint8).reshape(1, 1, 4, 1)
        >>> cut_out(image, jnp.array([[0, 2]]), side=2).ravel().tolist()
        [0, 2, 2, 8]
    """
    n, height, width, _ = images.shape
    row, column = (centres - side // 2).T.reshape(2, n, 1)
    down = jnp.arange(height).reshape(1, -1) - row
    right = jnp.arange(width).reshape(1, -1) - column
    rows = ((down >= 0) & (down < side)).reshape(n, height, 1, 1)
    columns = ((right >= 0) & (right < side)).reshape(n, 1, width, 1)
    mean = jnp.round(images.astype(jnp.float32).mean((1, 2), keepdims=True)).astype(jnp.uint8)
    return jnp.where(rows & columns, mean, images)
