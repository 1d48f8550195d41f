"""Augmented images, against all that may come out; normalised images, by their mean and deviation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
def test_an_augmented_image_is_one_of_those_that_may_be(flip, shift):
    augment = jax.jit(preprocess.augment, static_argnums=(2, 3))
    augmented = np.asarray(augment(jax.random.key(0), jnp.asarray(IMAGES), flip, shift))
    moves = [(down, right) for down in range(-shift, shift + 1) for right in range(-shift, shift + 1)]
    choices = [preprocess.moved(IMAGES, *move) for move in moves]
    if flip:
        choices += [preprocess.moved(IMAGES[:, :, ::-1], *move) for move in moves]
    equal = [[np.array_equal(image, choice[n]) for choice in choices] for n, image in enumerate(augmented)]
    assert all(map(any, equal))
    assert len({row.index(True) for row in equal}) > min(len(choices) // 3, 8)


def test_without_augmentation_the_images_are_as_they_are():
    np.testing.assert_array_equal(preprocess.augment(jax.random.key(0), jnp.asarray(IMAGES), False, 0), IMAGES)


def test_normalised_images_have_mean_0_and_deviation_1():
    mean = jnp.asarray(IMAGES.mean((0, 1, 2)), jnp.float32)
    deviation = jnp.asarray(IMAGES.std((0, 1, 2)), jnp.float32)
    x = preprocess.normalize(jnp.asarray(IMAGES), mean, deviation)
    np.testing.assert_allclose(x.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(x.std((0, 1, 2)), 1, atol=1e-5)
