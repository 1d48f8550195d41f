"""Scenes: stored images as objects at random places and sizes on a larger black canvas, with the box of each.

Pure functions on the device, of static shapes, so that every training step can make its own scenes. A box, here and
wherever boxes are compared, is `(centre row, centre column, height, width)` in fractions of the canvas, rows from the
top and columns from the left. That of an object is tight: the smallest rectangle around its ink, or around the whole
image where nothing is black, as in most photographs.

Example:
    >>> digits = jnp.full((2, 1, 8, 8, 1), 16, jnp.uint8)  # two scenes of one object each
    >>> keys = jax.random.split(jax.random.key(0), 2)
    >>> scenes, boxes = jax.jit(compose, static_argnames="canvas_shape")(keys, digits, canvas_shape=(16, 24))
    >>> scenes.shape, boxes.shape
    ((2, 16, 24, 1), (2, 1, 4))
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt8

# Factors of an object's side, drawn uniformly: sizes differ 2.5 times in side and 6 times in area, and the smallest can
# still be read. A support vector machine has 98.6 % of scikit-learn's digits right at 0.6 of their side, 99.4 % as they
# are, and 95.6 % at 0.5; MNIST's, which have more pixels, it reads equally well at all three.
SMALLEST, LARGEST = 0.6, 1.5
FAINT = 0.1  # of an image's brightest pixel: up to this a pixel is background, such as noise and the rim of a stroke


def compose(
    keys: Key[Array, " n"], images: UInt8[Array, "n objects height width c"], canvas_shape: tuple[int, int]
) -> tuple[UInt8[Array, "n canvas_height canvas_width c"], Float[Array, "n objects 4"]]:
    """One scene for each key: its objects, each scaled and moved at random, and their boxes in the order of the images.

    An object's height and width are multiplied by one factor from 0.6 to 1.5, but never so that the image is larger
    than the canvas; it is resampled by linear interpolation, antialiased. Its box lies anywhere inside the canvas, all
    places being equally likely, and not only at whole pixels. Where objects overlap the brighter pixel shows.

    Args:
        keys: one random key for each scene; a scene depends on nothing but its key and its images.
        images: the objects, uint8, black where there is background.
        canvas_shape: height and width of a scene in pixels.

    Returns:
        Scenes [n, canvas height, canvas width, c] and boxes [n, objects, 4]; the module says what a box is.
    """
    draws = jax.vmap(lambda key: jax.random.uniform(key, (images.shape[1], 3)))(keys)
    placed, boxes = jax.vmap(jax.vmap(lambda draw, image: _place(draw, image, canvas_shape)))(draws, images)
    return jnp.round(placed.max(axis=1)).astype(jnp.uint8), boxes


def _place(
    draw: Float[Array, "3"], image: UInt8[Array, "height width c"], canvas_shape: tuple[int, int]
) -> tuple[Float[Array, "canvas_height canvas_width c"], Float[Array, "4"]]:
    """An image alone on the canvas, and its box; the draws from 0 to 1 decide the factor, the row and the column."""
    canvas = jnp.array(canvas_shape, jnp.float32)
    largest = min(LARGEST, *(whole / side for whole, side in zip(canvas_shape, image.shape)))
    smallest = min(SMALLEST, largest)
    factor = smallest + (largest - smallest) * draw[0]
    first, size = _ink(image)
    corner = draw[1:] * (canvas - factor * size)
    placed = jax.image.scale_and_translate(
        image.astype(jnp.float32),
        (*canvas_shape, image.shape[-1]),
        (0, 1),
        jnp.stack([factor, factor]),
        corner - factor * first,  # the ink starts at the corner; a margin before it may lie outside
        "linear",
    )
    return placed, jnp.concatenate([(corner + factor * size / 2) / canvas, factor * size / canvas])


def _ink(image: UInt8[Array, "height width c"]) -> tuple[Float[Array, "2"], Float[Array, "2"]]:
    """The first row and column with a pixel that is not faint, and how many rows and columns reach to the last such."""
    bright = (image > FAINT * image.max()).any(-1)
    rows, columns = bright.any(1), bright.any(0)
    # argmax finds the first True; of a blank image, which has none, it gives 0 from both ends: the whole image
    before = jnp.stack([rows.argmax(), columns.argmax()])
    after = jnp.stack([rows[::-1].argmax(), columns[::-1].argmax()])
    size = jnp.array(bright.shape) - before - after
    return before.astype(jnp.float32), size.astype(jnp.float32)


def corners(
    boxes: Float[Array | np.ndarray, "*n 4"],
) -> tuple[Float[Array | np.ndarray, "*n 2"], Float[Array | np.ndarray, "*n 2"]]:
    """The top left and the bottom right corner of each box, as (row, column).

    Example:
        >>> low, high = corners(np.array([0.5, 0.25, 1.0, 0.5]))
        >>> low.tolist(), high.tolist()
        ([0.0, 0.0], [1.0, 0.5])
    """
    centre, size = boxes[..., :2], boxes[..., 2:]
    return centre - size / 2, centre + size / 2


class Overlap(NamedTuple):
    """How far two boxes agree: 1 where they are equal."""

    ratio: Float[Array | np.ndarray, "*n"]  # intersection over union, from 0
    generalized: Float[Array | np.ndarray, "*n"]  # the same less the empty share of what is around both, from -1


def overlap(first: Float[Array | np.ndarray, "*n 4"], second: Float[Array | np.ndarray, "*n 4"]) -> Overlap:
    """Intersection over union of two boxes, and its generalised form, which has a gradient where they lie apart.

    The area that they share over the area that they cover: Everingham et al. 2010, "The PASCAL Visual Object Classes
    (VOC) Challenge", equation 3. The second is less by the share of the smallest box around both that neither covers:
    Rezatofighi et al. 2019, "Generalized intersection over union", algorithm 1. A box without area shares none. Of
    NumPy's arrays it makes NumPy's, of JAX's JAX's.

    Example:
        >>> left, right = np.array([0.5, 0.25, 1.0, 0.5]), np.array([0.5, 0.75, 1.0, 0.5])
        >>> [float(value) for value in overlap(left, left)], [float(value) for value in overlap(left, right)]
        ([1.0, 1.0], [0.0, 0.0])
    """
    numeric = first.__array_namespace__()

    def area(low: Any, high: Any) -> Any:
        return numeric.maximum(high - low, 0).prod(-1)

    def share(part: Any, whole: Any) -> Any:
        return part / numeric.where(whole > 0, whole, 1)  # of nothing: 0, not a division by it

    (low, high), (other_low, other_high) = corners(first), corners(second)
    shared = area(numeric.maximum(low, other_low), numeric.minimum(high, other_high))
    around = area(numeric.minimum(low, other_low), numeric.maximum(high, other_high))
    union = area(low, high) + area(other_low, other_high) - shared
    ratio = share(shared, union)
    return Overlap(ratio, ratio - share(around - union, around))
