"""Scenes, compared with ones that loops draw from the same boxes; overlaps, with hand arithmetic and counted cells."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cnn.data.scenes
from cnn.data.scenes import overlap

pytestmark = pytest.mark.thorough

compose = jax.jit(cnn.data.scenes.compose, static_argnums=2)  # without jit each operation would be compiled alone

CASES = [  # image shape, canvas shape, objects
    pytest.param((8, 8, 1), (16, 16), 1, id="digits"),
    pytest.param((28, 28, 1), (56, 56), 2, id="mnist, two"),
    pytest.param((9, 5, 3), (13, 31), 2, id="neither square"),
    pytest.param((8, 8, 1), (9, 8), 1, id="hardly larger than the image"),
    pytest.param((16, 12, 1), (7, 9), 1, id="smaller than the image"),
]


def keys(n, seed=0):
    return jax.random.split(jax.random.key(seed), n)


def pictures(n, objects, shape, seed=0):
    """Random ink inside a random rectangle, black around it; at the corners of the rectangle it is bright."""
    random = np.random.default_rng(seed)
    images = np.zeros((n * objects, *shape), np.uint8)
    inks = np.empty((n * objects, 4), int)
    for image, ink in zip(images, inks, strict=True):
        top, bottom = np.sort(random.choice(shape[0] + 1, 2, replace=False))
        left, right = np.sort(random.choice(shape[1] + 1, 2, replace=False))
        image[top:bottom, left:right] = random.integers(0, 256, (bottom - top, right - left, shape[2]))
        image[[top, bottom - 1], [left, right - 1]] = 255
        ink[:] = top, left, bottom - top, right - left
    return images.reshape(n, objects, *shape), inks.reshape(n, objects, 4)


def factor_and_offset(box, ink, canvas):
    """How an image was placed, from its ink and its box: the factor of each axis, and where it begins, in pixels."""
    box = np.asarray(box, float) * np.tile(canvas, 2)
    factors = box[2:] / ink[2:]
    return factors, box[:2] - box[2:] / 2 - factors * ink[:2]


def weights(size, canvas, factor, offset):
    """[canvas, size]: the weight of each pixel in each cell of the canvas, along one axis.

    The weights of a cell form a triangle around its centre and have the sum 1. The triangle reaches one pixel to either
    side, or one cell where a cell is larger than a pixel (antialiasing). They are 0 where the centre of the cell lies
    outside the image.
    """
    table = np.zeros((canvas, size))
    for cell in range(canvas):
        centre = (cell + 0.5 - offset) / factor
        if 0 <= centre <= size:
            near = [max(0.0, 1 - abs(centre - pixel - 0.5) * min(1.0, factor)) for pixel in range(size)]
            table[cell] = np.array(near) / sum(near)
    return table


def drawn(image, box, ink, canvas):
    factors, offsets = factor_and_offset(box, ink, canvas)
    rows, columns = (weights(*axis) for axis in zip(image.shape[:2], canvas, factors, offsets, strict=True))
    return np.einsum("rh,hwc,sw->rsc", rows, image.astype(float), columns)


@pytest.mark.parametrize("shape, canvas, objects", CASES)
def test_a_scene_is_its_images_drawn_at_its_boxes(shape, canvas, objects):
    images, inks = pictures(200, objects, shape)
    scenes, boxes = compose(keys(200), jnp.asarray(images), canvas)
    assert scenes.shape == (200, *canvas, shape[2]) and scenes.dtype == jnp.uint8
    assert boxes.shape == (200, objects, 4) and boxes.dtype == jnp.float32
    for scene, box, image, ink in zip(
        np.asarray(scenes)[:12], np.asarray(boxes)[:12], images[:12], inks[:12], strict=True
    ):
        expected = np.max([drawn(*parts, canvas) for parts in zip(image, box, ink, strict=True)], axis=0)
        # Where an edge of the image meets the centre of a cell, rounding decides: allow one wrong cell in a thousand.
        assert np.quantile(np.abs(scene - expected), 0.999) < 0.75


@pytest.mark.parametrize("shape, canvas, objects", CASES)
def test_objects_lie_inside_and_keep_their_proportions(shape, canvas, objects):
    images, inks = pictures(200, objects, shape)
    _, boxes = compose(keys(200), jnp.asarray(images), canvas)
    boxes = np.asarray(boxes, float).reshape(-1, 4)
    assert (boxes[:, :2] - boxes[:, 2:] / 2 > -1e-5).all() and (boxes[:, :2] + boxes[:, 2:] / 2 < 1 + 1e-5).all()
    pairs = zip(boxes, inks.reshape(-1, 4), strict=True)
    factors = np.array([factor_and_offset(*pair, canvas)[0] for pair in pairs])
    np.testing.assert_allclose(factors[:, 0], factors[:, 1], rtol=1e-4)
    largest = min(1.5, canvas[0] / shape[0], canvas[1] / shape[1])
    smallest = min(0.6, largest)
    assert smallest - 1e-4 < factors.min() and factors.max() < largest + 1e-4
    spread = largest - smallest
    assert factors.min() < smallest + 0.1 * spread + 1e-4 and factors.max() > largest - 0.1 * spread - 1e-4


def test_factors_and_places_are_uniform_and_independent():
    images, inks = pictures(1, 1, (8, 8, 1))
    images = jnp.asarray(images.repeat(200, axis=0))
    boxes = np.concatenate([compose(keys(200, seed), images, (16, 16))[1][:, 0] for seed in range(20)]).astype(float)
    factors = boxes[:, 2] * 16 / inks[0, 0, 2]
    draws = [(factors - 0.6) / 0.9, *((boxes[:, :2] - boxes[:, 2:] / 2) / (1 - boxes[:, 2:])).T]
    shares = [0.1, 0.25, 0.5, 0.75, 0.9]
    for draw in draws:  # the deviation of a quantile of 4000 is at most 0.5 / sqrt(4000) = 0.008
        np.testing.assert_allclose(np.quantile(draw, shares), shares, atol=0.03)
    assert np.abs(np.corrcoef(draws) - np.eye(3)).max() < 0.06


def test_the_box_of_a_solid_block_holds_the_bright_cells():
    """Halfway between black and white, linear interpolation crosses exactly at the block's edge."""
    images = np.zeros((60, 1, 20, 20, 1), np.uint8)
    images[:, :, 4:15, 6:17] = 255
    scenes, boxes = compose(keys(60, seed=3), jnp.asarray(images), (40, 50))
    rows = np.arange(40) + 0.5
    columns = np.arange(50) + 0.5
    in_pixels = np.asarray(boxes[:, 0], float) * [40, 50, 40, 50]
    for scene, box in zip(np.asarray(scenes), in_pixels, strict=True):
        inside = (np.abs(rows - box[0]) < box[2] / 2)[:, None] & (np.abs(columns - box[1]) < box[3] / 2)
        assert ((scene[..., 0] >= 128) != inside).sum() <= 4  # the rounded corners


@pytest.mark.parametrize(
    "ink, expected",
    [
        pytest.param({}, (0, 0, 6, 7), id="blank: the whole image"),
        pytest.param({(2, 3): 1}, (2, 3, 1, 1), id="one pixel, however dark"),
        pytest.param({(0, 0): 9, (5, 6): 9}, (0, 0, 6, 7), id="opposite corners"),
        pytest.param({(1, 2): 200, (4, 5): 20}, (1, 2, 1, 1), id="a tenth of the brightest is background"),
        pytest.param({(1, 2): 200, (4, 5): 21}, (1, 2, 4, 4), id="more than a tenth is ink"),
    ],
)
def test_what_counts_as_ink(ink, expected):
    image = np.zeros((6, 7, 2), np.uint8)
    for number, (place, value) in enumerate(ink.items()):
        image[(*place, number % 2)] = value  # whichever channel
    canvas = (6, 7)
    scenes, boxes = compose(keys(20), jnp.asarray(np.tile(image, (20, 1, 1, 1, 1))), canvas)
    factors = np.array([factor_and_offset(box, np.array(expected), canvas)[0] for box in np.asarray(boxes[:, 0])])
    np.testing.assert_allclose(factors[:, 0], factors[:, 1], rtol=1e-4)  # as wide for its height as the ink
    assert (factors > 0.6 - 1e-4).all() and (factors < 1 + 1e-4).all() and np.isfinite(np.asarray(boxes)).all()
    assert bool(scenes.any()) == bool(ink)


def test_a_photograph_is_its_whole_image():
    images = jnp.asarray(np.random.default_rng(0).integers(100, 256, (30, 1, 8, 8, 3), np.uint8))
    scenes, boxes = compose(keys(30), images, (16, 16))
    seen = (np.asarray(scenes) > 0).all(-1)
    rows = seen.any(2).sum(1)
    columns = seen.any(1).sum(1)
    sides = np.asarray(boxes[:, 0, 2:]) * 16
    assert np.abs(np.stack([rows, columns], axis=1) - sides).max() <= 1  # a cell is covered or not
    np.testing.assert_array_equal(seen.sum((1, 2)), rows * columns)  # a rectangle without holes


def test_a_scene_depends_on_its_own_key_and_images_only():
    images, _ = pictures(6, 2, (8, 8, 1))
    images = jnp.asarray(images)
    canvas = (16, 16)
    scenes, boxes = compose(keys(6), images, canvas)
    some, some_boxes = compose(keys(6)[3:5], images[3:5], canvas)
    np.testing.assert_allclose(some_boxes, boxes[3:5], rtol=1e-6)
    assert np.abs(np.asarray(some, int) - np.asarray(scenes[3:5], int)).max() <= 1
    again, _ = compose(keys(6), images, canvas)
    np.testing.assert_array_equal(again, scenes)
    _, others = compose(keys(6, seed=1), images, canvas)
    assert not np.isclose(np.asarray(others), np.asarray(boxes)).any()
    assert not np.isclose(boxes[:, 0], boxes[:, 1]).all(-1).any()  # two objects, two places


# Three quarters of the canvas, which share no area.
A = (0.25, 0.25, 0.5, 0.5)
B = (0.75, 0.75, 0.5, 0.5)
C = (0.25, 0.75, 0.5, 0.5)


@pytest.mark.parametrize(
    "first, second, ratio, generalized",
    [
        pytest.param(A, A, 1.0, 1.0, id="equal"),
        pytest.param(A, B, 0.0, -0.5, id="they meet at a corner: half of what is around both is empty"),
        pytest.param(A, C, 0.0, 0.0, id="they share an edge"),
        pytest.param(A, (0.25, 0.25, 0.4, 0.5), 0.8, 0.8, id="inside: nothing is left over around them"),
        pytest.param((0.5, 0.125, 1, 0.25), (0.5, 0.875, 1, 0.25), 0.0, -0.5, id="apart"),
        pytest.param((0.5, 0.25, 1, 0.5), (0.5, 0.5, 1, 0.5), 1 / 3, 1 / 3, id="side by side"),
        pytest.param((0.5, 0.5, 1.0, 0.5), (0.5, 0.5, 0.5, 1.0), 1 / 3, 1 / 3 - 1 / 4, id="a cross"),
        pytest.param((1, 1, 2, 2), (2, 2, 2, 2), 1 / 7, 1 / 7 - 2 / 9, id="any unit: 1 / (4 + 4 - 1), 2 of 9 empty"),
        pytest.param((0.5, 0.5, 0.0, 0.5), (0.5, 0.5, 0.0, 0.5), 0.0, 0.0, id="without area"),
        pytest.param((0.5, 0.5, -0.5, -0.5), A, 0.0, 0.0, id="turned inside out"),
    ],
)
def test_overlap_by_hand(first, second, ratio, generalized):
    first = np.array([first], float)
    second = np.array([second], float)
    assert overlap(first, second) == (pytest.approx(ratio, abs=1e-12), pytest.approx(generalized, abs=1e-12))
    assert overlap(first[0], second[0]).ratio.shape == ()
    on_device = jax.jit(overlap)(jnp.asarray(first), jnp.asarray(second))
    assert on_device == (pytest.approx(ratio, abs=1e-6), pytest.approx(generalized, abs=1e-6))


def test_boxes_apart_are_pulled_together():
    """The ratio has no gradient there; the generalised form grows as the first box moves right, even from a point."""
    far = jnp.array([0.5, 0.8, 0.2, 0.2])
    jacobian = jax.jit(jax.jacobian(overlap))
    for near in (jnp.array([0.5, 0.2, 0.2, 0.2]), jnp.array([0.5, 0.2, 0.0, 0.0])):
        ratio, generalized = jacobian(near, far)
        assert np.isfinite(ratio).all() and np.isfinite(generalized).all()
        assert ratio[1] == 0
    assert jacobian(jnp.array([0.5, 0.2, 0.2, 0.2]), far).generalized[1] > 0


sixty_fourths = st.integers(1, 64).map(lambda cells: cells / 64)  # corners are exact
box = st.tuples(sixty_fourths, sixty_fourths, sixty_fourths, sixty_fourths)


@settings(deadline=None)
@given(box, box)
def test_overlap_is_symmetric_and_one_only_for_equal_boxes(first, second):
    left = np.array(first)
    right = np.array(second)
    ratio, generalized = overlap(left, right)
    assert overlap(right, left) == (ratio, generalized)
    assert 0 <= ratio <= 1 and (ratio == 1) == (first == second)
    assert -1 < generalized <= ratio


@settings(deadline=None)
@given(box, box)
def test_overlap_counts_cells(first, second):
    """The grid is so fine that every corner lies on one of its lines."""

    def cells(box):
        low = np.array(box[:2]) - np.array(box[2:]) / 2
        high = np.array(box[:2]) + np.array(box[2:]) / 2
        grid = np.zeros((256, 256), bool)
        grid[tuple(slice(*ends) for ends in (64 + 128 * np.stack([low, high], axis=1)).astype(int))] = True
        return grid

    one = cells(first)
    other = cells(second)
    rows, columns = np.nonzero(one | other)
    area = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    union = (one | other).sum()
    overlaps = overlap(np.array(first), np.array(second))
    assert overlaps.ratio == pytest.approx((one & other).sum() / union)
    assert overlaps.generalized == pytest.approx(overlaps.ratio - (area - union) / area)
