"""Principal components, the examples that are drawn, and the few-shot classifier."""

import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats

from cnn.data import datasets
from cnn.errors import RequestError
from cnn.trained import features
from tests.trained.untrained import random_images


@pytest.mark.parametrize("count, shape, kept", [(200, (8, 8, 1), 40), (30, (8, 8, 1), 30), (200, (3, 3, 2), 18)])
def test_principal_components_are_the_singular_vectors(count, shape, kept):
    images = random_images(count, shape)
    images[..., 0] //= np.arange(1, shape[0] * shape[1] + 1, dtype=np.uint8).reshape(1, *shape[:2])  # unlike variances
    components = features.principal_components(images).transform(features.pixels(images))
    rows = images.reshape(count, -1).astype(float)
    rows -= rows.mean(axis=0)
    left, values, _ = np.linalg.svd(rows, full_matrices=False)
    assert components.shape == (count, kept)
    np.testing.assert_allclose(np.abs(components), np.abs(left * values)[:, :kept], atol=0.5)  # the sign is free


def test_principal_components_of_many_images_are_those_of_every_other():
    images = random_images(features.ENOUGH + 2, (3, 3, 1))
    components, expected = (features.principal_components(part).components_ for part in (images, images[::2]))
    np.testing.assert_array_equal(components, expected)
    assert not np.array_equal(components, features.principal_components(images[1::2]).components_)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_examples_are_distinct_and_of_their_class(k):
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [10, 20, 70]))
    drawn = features.draw_examples(labels, k, seed=4)
    assert drawn.shape == (3, k) and len(np.unique(drawn)) == 3 * k
    np.testing.assert_array_equal(labels[drawn], np.repeat([[0], [1], [2]], k, axis=1))
    np.testing.assert_array_equal(drawn, features.draw_examples(labels, 10, seed=4)[:, :k])
    assert not np.array_equal(drawn, features.draw_examples(labels, k, seed=5))


def test_every_image_is_drawn_as_often_as_any_other():
    labels = np.arange(30) % 3
    drawn = np.concatenate([features.draw_examples(labels, 2, seed).ravel() for seed in range(1000)])
    counts = np.bincount(drawn, minlength=30)
    assert scipy.stats.chisquare(counts).pvalue > 0.001 and counts.sum() == 6000


@pytest.mark.parametrize(
    "k, message",
    [(3, "k=3: class 1 has 2 images, so at most 2"), (0, "k=0: must be an integer of at least 1")],
)
def test_examples_that_cannot_be_drawn(k, message):
    with pytest.raises(RequestError) as caught:
        features.draw_examples(np.array([0, 0, 0, 1, 1, 2, 2, 2]), k, seed=0)
    assert str(caught.value) == message


def blobs(classes=3, k=8, dimensions=6, tests=400, seed=0):
    """Overlapping normal classes: examples [classes, k, d], test features and test labels."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(classes, dimensions))
    labels = rng.integers(0, classes, tests)
    examples = centers[:, np.newaxis] + rng.normal(size=(classes, k, dimensions))
    return examples, centers[labels] + rng.normal(size=(tests, dimensions)), labels


@pytest.mark.parametrize("k", [1, 8])
def test_accuracy_against_the_penalised_likelihood_itself(k):
    examples, tests, labels = blobs(k=k)
    classes, _, dimensions = examples.shape
    rows = examples.reshape(-1, dimensions)
    wanted = np.repeat(np.arange(classes), k)
    center = rows.mean(axis=0)
    scale = np.linalg.norm(rows - center) / np.sqrt(len(rows))

    def objective(flat):
        weights = flat[:-classes].reshape(dimensions, classes)
        bias = flat[-classes:]
        scores = (rows - center) / scale @ weights + bias
        losses = scipy.special.logsumexp(scores, axis=1) - scores[np.arange(len(rows)), wanted]
        return features.INVERSE_STRENGTH * losses.sum() + 0.5 * np.square(weights).sum()

    best = scipy.optimize.minimize(objective, np.zeros((dimensions + 1) * classes)).x
    scores = (tests - center) / scale @ best[:-classes].reshape(dimensions, classes) + best[-classes:]
    expected = (scores.argmax(axis=1) == labels).mean()
    accuracy = features.few_shot_accuracy(examples, tests, labels)
    one_image = 1.5 / len(labels)  # one may lie on a border
    assert 0.5 < accuracy < 1 and accuracy == pytest.approx(expected, abs=one_image)


TRANSFORMS = {
    "shifted": lambda rows: rows + 1000,
    "larger": lambda rows: rows * 1e4,
    "smaller": lambda rows: rows * 1e-4,
    "turned": lambda rows: rows @ scipy.stats.ortho_group.rvs(rows.shape[-1], random_state=1),
    "with constant features": lambda rows: np.concatenate([rows, np.full_like(rows, 7)], axis=-1),
}


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_accuracy_does_not_depend_on_shift_turn_and_scale(transform):
    examples, tests, labels = blobs()
    accuracy = features.few_shot_accuracy(transform(examples), transform(tests), labels)
    assert accuracy == pytest.approx(features.few_shot_accuracy(examples, tests, labels), abs=1.5 / len(labels))


def test_equal_examples_tell_nothing_apart():
    labels = np.array([0, 1, 1, 2])
    assert features.few_shot_accuracy(np.ones((3, 2, 5)), np.ones((4, 5)), labels) in (0.25, 0.5)


@pytest.mark.parametrize("k", [1, 5, 20, 100])
def test_raw_pixels_of_many_dimensions_converge(k):
    """In the precision of stored features, with as few as one example for each class; a warning would be an error."""
    images = random_images(600, (16, 16, 1))
    labels = np.arange(600) % 5
    images[np.arange(600), labels] = 255  # a bright row names the class
    rows = features.pixels(images)
    drawn = features.draw_examples(labels[:550], k, seed=0)
    assert features.few_shot_accuracy(rows[drawn], rows[550:], labels[550:]) > (0.5 if k == 1 else 0.9)


def test_accuracies_after_more_examples_are_those_of_more_examples():
    digits = datasets.load("digits")
    accuracies = features.few_shot_accuracies(digits, features.pixels, (1, 5), seed=3)
    for k in (1, 5):
        drawn = features.draw_examples(digits.train_labels, k, seed=3)
        rows = features.pixels(digits.train_images[drawn.ravel()]).reshape(10, k, 64)
        test = features.pixels(digits.test_images)
        assert accuracies[k] == features.few_shot_accuracy(rows, test, digits.test_labels)
    assert list(accuracies) == [1, 5] and accuracies[1] < accuracies[5]
