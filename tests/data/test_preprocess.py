"""Augmented images, against all that may come out; normalised images, by their mean and deviation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from cnn.config import TrainingConfig
from cnn.data import preprocess

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 5, 7, 2), dtype=np.uint8)


def at(image, row, column):
    return image[min(max(row, 0), image.shape[0] - 1), min(max(column, 0), image.shape[1] - 1)]


@pytest.mark.parametrize(("down", "right"), [(0, 0), (1, 0), (-2, 0), (0, 3), (0, -1), (9, -9)])
def test_moved_images_repeat_their_edge(down, right):
    moved = preprocess.moved(IMAGES, down, right)
    for image, after in zip(IMAGES[:3], moved[:3], strict=True):
        for row in range(5):
            for column in range(7):
                np.testing.assert_array_equal(after[row, column], at(image, row - down, column - right))


@pytest.mark.parametrize(("flip", "shift"), [(True, 0), (False, 2), (True, 2)])
def test_an_image_is_one_of_those_that_flips_and_moves_give(flip, shift):
    augmented = augmented_by(TrainingConfig(flip=flip, shift=shift))
    moves = [(down, right) for down in range(-shift, shift + 1) for right in range(-shift, shift + 1)]
    choices = [preprocess.moved(IMAGES, *move) for move in moves]
    if flip:
        choices += [preprocess.moved(IMAGES[:, :, ::-1], *move) for move in moves]
    equal = [[np.array_equal(image, choice[n]) for choice in choices] for n, image in enumerate(augmented)]
    assert all(map(any, equal))
    assert len({row.index(True) for row in equal}) > min(len(choices) // 3, 8)


def augmented_by(training, images=IMAGES):
    return np.asarray(jax.jit(preprocess.augment, static_argnums=2)(jax.random.key(0), jnp.asarray(images), training))


def test_without_augmentation_the_images_are_as_they_are():
    np.testing.assert_array_equal(augmented_by(TrainingConfig()), IMAGES)


@pytest.mark.parametrize(("degrees", "scale"), [(0, 1.0), (30, 1.0), (-75, 1.0), (0, 1.3), (0, 0.7), (20, 0.8)])
def test_turned_images_are_those_of_scipy(degrees, scale):
    angle = np.radians(degrees)
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / scale
    n, height, width, _ = IMAGES.shape
    centre = np.array([(height - 1) / 2, (width - 1) / 2])
    given = preprocess.turned(jnp.asarray(IMAGES), jnp.full(n, angle), jnp.full(n, scale))
    for image, found in zip(IMAGES, np.asarray(given), strict=True):
        for channel in range(image.shape[-1]):
            values = image[..., channel].astype(np.float64)
            offset = centre - matrix @ centre
            expected = ndimage.affine_transform(values, matrix, offset, order=1, mode="nearest")
            assert np.abs(found[..., channel] - expected).max() <= 0.51  # rounded


@pytest.mark.parametrize(("degrees", "row", "column"), [(90, 0, 0), (180, 4, 0), (-90, 4, 4)])
def test_positive_angles_turn_counter_clockwise(degrees, row, column):
    """The top right corner, which alone is white, comes to the top left after a quarter of a turn."""
    image = np.zeros((1, 5, 5, 1), np.uint8)
    image[0, 0, 4] = 255
    (found,) = np.asarray(preprocess.turned(jnp.asarray(image), jnp.radians(jnp.array([degrees])), jnp.ones(1)))
    assert found[row, column] == 255 and found.sum() == 255


def test_angles_and_scales_are_spread_over_all_that_is_allowed():
    """A white line shows the angle of each image, and a square its scale."""
    line = np.zeros((400, 41, 41, 1), np.uint8)
    line[:, 20, 20:] = 255
    turned = augmented_by(TrainingConfig(turn=40), line)[..., 0]
    rows, columns = np.meshgrid(np.arange(41) - 20, np.arange(41) - 20, indexing="ij")
    angles = np.degrees(np.arctan2(-(turned * rows).sum((1, 2)), (turned * columns).sum((1, 2))))
    assert -41 < angles.min() < -38 and 38 < angles.max() < 41 and abs(angles.mean()) < 4
    square = np.zeros((400, 41, 41, 1), np.uint8)
    square[:, 10:31, 10:31] = 255
    sides = np.sqrt(augmented_by(TrainingConfig(zoom=0.3), square)[..., 0].mean((1, 2)) / 255) * 41
    assert 0.69 < sides.min() / 21 < 0.74 and 1.26 < sides.max() / 21 < 1.32


@pytest.mark.parametrize("side", [1, 2, 3])
def test_a_square_anywhere_has_the_mean_colour(side):
    images = np.random.default_rng(1).integers(0, 256, (600, 6, 9, 2), dtype=np.uint8)
    images[:, 0, 0] = 255  # so that no image has one colour
    found = augmented_by(TrainingConfig(cutout=side), images)
    hidden = (found != images).any(-1)
    for image, after, mask in zip(images, found, hidden, strict=True):
        mean = np.round(image.astype(np.float64).mean((0, 1)))
        assert mask.sum() <= side**2 and np.abs(after[mask] - mean).max(initial=0) <= 1
    assert hidden.any(0).all()  # each pixel in some image
    assert hidden.sum((1, 2)).max() == side**2


def test_normalised_images_have_mean_0_and_deviation_1():
    mean = jnp.asarray(IMAGES.mean((0, 1, 2)), jnp.float32)
    deviation = jnp.asarray(IMAGES.std((0, 1, 2)), jnp.float32)
    x = preprocess.normalize(jnp.asarray(IMAGES), mean, deviation)
    np.testing.assert_allclose(x.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(x.std((0, 1, 2)), 1, atol=1e-5)
