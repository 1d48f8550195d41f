"""Scenes: stored images as objects at random places and sizes on a larger black canvas, and the box of each object.

These are pure functions with static shapes, which run on the device, so that every training step can make scenes of its
own. A box is `(centre row, centre column, height, width)` in fractions of the canvas; rows are counted from the top and
columns from the left. The box of an object is the smallest rectangle around its ink. Most photographs have no black
background; their box is the whole image.

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

# The factor of an object's side is drawn uniformly between these: the largest has 2.5 times the side of the smallest,
# and 6 times the area. The smallest can still be read: a support vector machine classifies 98.6 % of scikit-learn's
# digits correctly at 0.6 of their side, 99.4 % at full size and 95.6 % at 0.5. On MNIST, whose images have more pixels,
# it does equally well at all three sizes.
SMALLEST = 0.6
LARGEST = 1.5
FAINT = 0.1  # share of an image's brightest pixel; a pixel up to it is background, such as noise or the rim of a stroke


def compose(
    keys: Key[Array, " n"], images: UInt8[Array, "n objects height width c"], canvas_shape: tuple[int, int]
) -> tuple[UInt8[Array, "n canvas_height canvas_width c"], Float[Array, "n objects 4"]]:
    """One scene for each key, with its objects scaled and placed at random, and the boxes of the objects.

    The height and the width of an object are multiplied by one factor from 0.6 to 1.5, at most so far that the image
    fills the canvas. The image is resampled by linear interpolation with antialiasing. All places at which the box lies
    inside the canvas are equally likely, those between pixels too. Where objects overlap, the brighter pixel shows.

    Args:
        keys: one random key for each scene; a scene depends only on its key and its images.
        images: the objects, uint8, with a black background.
        canvas_shape: height and width of a scene in pixels.

    Returns:
        Scenes [n, canvas height, canvas width, c], and boxes [n, objects, 4] as the module describes them, in the order
        of the images.
    """
    draws = jax.vmap(lambda key: jax.random.uniform(key, (images.shape[1], 3)))(keys)
    placed, boxes = jax.vmap(jax.vmap(lambda draw, image: _place(draw, image, canvas_shape)))(draws, images)
    return jnp.round(placed.max(axis=1)).astype(jnp.uint8), boxes


def _place(
    draw: Float[Array, "3"], image: UInt8[Array, "height width c"], canvas_shape: tuple[int, int]
) -> tuple[Float[Array, "canvas_height canvas_width c"], Float[Array, "4"]]:
    """One image on an empty canvas, and its box. The draws, from 0 to 1, decide the factor, the row and the column."""
    canvas = jnp.array(canvas_shape, jnp.float32)
    largest = min(LARGEST, *(whole / side for whole, side in zip(canvas_shape, image.shape[:2], strict=True)))
    smallest = min(SMALLEST, largest)
    factor = smallest + (largest - smallest) * draw[0]
    first, size = _ink(image)
    corner = draw[1:] * (canvas - factor * size)
    placed = jax.image.scale_and_translate(
        image.astype(jnp.float32),
        (*canvas_shape, image.shape[-1]),
        (0, 1),
        jnp.stack([factor, factor]),
        corner - factor * first,  # the ink starts at the corner; the image's margin may lie outside the canvas
        "linear",
    )
    return placed, jnp.concatenate([(corner + factor * size / 2) / canvas, factor * size / canvas])


def _ink(image: UInt8[Array, "height width c"]) -> tuple[Float[Array, "2"], Float[Array, "2"]]:
    """The first row and column of the ink, and its height and width; ink is every pixel that is brighter than faint."""
    bright = (image > FAINT * image.max()).any(-1)
    rows = bright.any(1)
    columns = bright.any(0)
    # argmax finds the first True. In a blank image it gives 0 from both ends, which makes the whole image the ink.
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
    centre = boxes[..., :2]
    size = boxes[..., 2:]
    return centre - size / 2, centre + size / 2


class Overlap(NamedTuple):
    """How far two boxes agree; both numbers are 1 where the boxes are equal."""

    ratio: Float[Array | np.ndarray, "*n"]  # intersection over union, from 0 to 1
    generalized: Float[Array | np.ndarray, "*n"]  # ratio less the empty share of the box around both, from -1 to 1


def overlap(first: Float[Array | np.ndarray, "*n 4"], second: Float[Array | np.ndarray, "*n 4"]) -> Overlap:
    """Intersection over union of two boxes, and its generalised form, which has a gradient where the boxes lie apart.

    Intersection over union is the area that the boxes share, divided by the area that they cover together: Everingham
    et al. 2010, "The PASCAL Visual Object Classes (VOC) Challenge", equation 3. The generalised form subtracts the
    empty share of the smallest box around both: Rezatofighi et al. 2019, "Generalized intersection over union",
    algorithm 1. A box without area shares none. Returns NumPy arrays for NumPy input, JAX arrays for JAX input.

    Example:
        >>> left = np.array([0.5, 0.25, 1.0, 0.5])
        >>> right = np.array([0.5, 0.75, 1.0, 0.5])
        >>> [float(value) for value in overlap(left, left)], [float(value) for value in overlap(left, right)]
        ([1.0, 1.0], [0.0, 0.0])
    """
    numeric = first.__array_namespace__()

    def area(low: Any, high: Any) -> Any:
        return numeric.maximum(high - low, 0).prod(-1)

    def share(part: Any, whole: Any) -> Any:
        return part / numeric.where(whole > 0, whole, 1)  # 0, and no division by 0, where there is no area

    low, high = corners(first)
    other_low, other_high = corners(second)
    shared = area(numeric.maximum(low, other_low), numeric.minimum(high, other_high))
    around = area(numeric.minimum(low, other_low), numeric.maximum(high, other_high))
    union = area(low, high) + area(other_low, other_high) - shared
    ratio = share(shared, union)
    return Overlap(ratio, ratio - share(around - union, around))
