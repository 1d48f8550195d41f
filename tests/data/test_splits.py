"""The split into training and validation, the choice of classes, and the statistics of the channels."""

import dataclasses

import numpy as np
import pytest

from cnn.data import datasets, splits
from cnn.data.content import Dataset
from cnn.errors import RequestError


def tiny(fingerprint="0123456789ab"):
    """Seven training and five test images of 1 x 2 pixels, each with a number of its own."""
    images = np.arange(24, dtype=np.uint8).reshape(12, 1, 2, 1)
    labels = np.array([0, 1, 2, 3, 2, 1, 0, 3, 3, 1, 2, 0], np.int32)
    return Dataset("tiny", images[:7], labels[:7], images[7:], labels[7:], tuple("abcd"), fingerprint, "tiny")


def test_subset_by_hand():
    whole = tiny()
    part = splits.subset(dataclasses.replace(whole, largest_pixel=16), [3, 1])
    assert part.largest_pixel == 16
    assert part.name == "tiny, classes 3,1" and part.class_names == ("d", "b") and part.classes == 2
    assert part.slug == "tiny_classes_3_1"
    np.testing.assert_array_equal(part.train_images, whole.train_images[[1, 3, 5]])
    np.testing.assert_array_equal(part.test_images, whole.test_images[[0, 1, 2]])
    assert part.train_labels.tolist() == [1, 0, 1] and part.test_labels.tolist() == [0, 0, 1]
    assert part.train_labels.dtype == part.test_labels.dtype == np.int32
    assert whole.train_labels.tolist() == [0, 1, 2, 3, 2, 1, 0]


def test_subset_of_all_classes_shares_the_images():
    whole = tiny()
    part = splits.subset(whole, [1, 0, 2, 3])
    assert part.train_images is whole.train_images and part.test_images is whole.test_images
    assert part.train_labels.tolist() == [1, 0, 2, 3, 2, 0, 1] and part.class_names == ("b", "a", "c", "d")


@pytest.mark.parametrize(
    "classes, text",
    [
        (range(5), "0-4"),
        ([0, 1], "0,1"),
        ([5, 6, 7, 9], "5-7,9"),
        ([9, 0, 1, 2, 3, 5, 4], "9,0-3,5,4"),
        (range(2, -1, -1), "2,1,0"),
    ],
)
def test_name_of_a_subset(tmp_path, classes, text):
    assert splits.subset(datasets.load("digits", cache_dir=tmp_path), classes).name == f"digits, classes {text}"


def test_fingerprints_of_subsets_differ():
    choices = [(0, 1), (1, 0), (0, 1, 2), (0, 2), (0, 1, 2, 3)]
    sets = [splits.subset(tiny(fingerprint=mark), classes) for mark in ("a" * 12, "b" * 12) for classes in choices]
    assert len({part.fingerprint for part in sets}) == 10 and all(len(part.fingerprint) == 12 for part in sets)
    assert splits.subset(tiny(), (0, 2)).fingerprint == splits.subset(tiny(), [0, 2]).fingerprint


@pytest.mark.parametrize("classes", [[], [1], [1, 1], [0, 2, 0], [0, 4], [0, -1], [0, 10]])
def test_subset_that_cannot_be(classes):
    with pytest.raises(RequestError) as caught:
        splits.subset(tiny(), classes)
    assert str(caught.value) == f"classes={classes!r}: must be at least two labels from 0 to 3, none twice"


LABELS = {
    "balanced": np.arange(1000) % 10,
    "skewed": np.repeat([0, 1, 2, 3], [700, 200, 90, 10]),
    "rare": np.repeat([0, 1, 2], [50, 2, 1]),
    "missing class": np.repeat([0, 5], [30, 70]),
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("fraction", [0.05, 0.1, 1 / 3, 0.5, 0.9])
@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1])
def test_split(labels, fraction, seed):
    labels = np.random.default_rng(7).permutation(labels).astype(np.int32)
    train, validation = splits.split(labels, fraction, seed)
    assert train.dtype == validation.dtype == np.int32
    assert np.all(np.diff(train) > 0) and np.all(np.diff(validation) > 0)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, validation])), np.arange(len(labels)))
    sizes = np.bincount(labels)
    taken = np.bincount(labels[validation], minlength=len(sizes))
    room = np.maximum(sizes - 1, 0)
    assert taken.sum() == min(round(fraction * len(labels)), room.sum()) and np.all(taken <= room)
    if np.all(sizes * fraction <= room):  # no class is held back, so each has its share
        assert np.all(np.abs(taken - sizes * fraction) <= 1)
    again = splits.split(labels, fraction, seed)
    np.testing.assert_array_equal(again[1], validation)
    assert not np.array_equal(splits.split(labels, fraction, seed // 2 + 1 + (seed == 1))[1], validation)


def test_split_is_recorded():
    """A resumed study must find the images of its first run: these indices never change."""
    train, validation = splits.split(np.arange(20) % 2, 0.2, 0)
    assert validation.tolist() == [2, 5, 9, 12] and len(train) == 16


def test_split_is_random_within_a_class():
    """Over seeds every image is held out about as often as any other."""
    held_out = np.zeros(40)
    for seed in range(500):
        held_out[splits.split(np.arange(40) % 4, 0.25, seed)[1]] += 1
    assert held_out.min() / 500 > 0.15 and held_out.max() / 500 < 0.35  # five standard deviations


def test_split_without_validation():
    train, validation = splits.split(np.arange(6) % 2, 0.0, 3)
    assert train.tolist() == list(range(6)) and validation.shape == (0,) and validation.dtype == np.int32


@pytest.mark.parametrize(
    "labels, fraction",
    [
        (np.arange(100) % 10, 0.004),  # rounds to no image
        (np.arange(3), 0.5),  # every class has one image, which stays in training
        (np.arange(100) % 10, 1.0),
        (np.arange(100) % 10, -0.1),
        (np.arange(100) % 10, float("nan")),
    ],
)
def test_split_that_leaves_nothing(labels, fraction):
    with pytest.raises(RequestError, match=f"^validation_fraction={fraction}: must be"):
        splits.split(labels, fraction, 0)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 4, 6, 3), (500, 8, 8, 1), (700, 33, 41, 5), (2, 1100, 1000, 1)])
@pytest.mark.parametrize("chosen", [False, True])
def test_channel_statistics(shape, chosen):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, shape, np.uint8)
    indices = np.flatnonzero(np.arange(shape[0]) % 3 != 1) if chosen else None
    part = images if indices is None else images[indices]
    mean, deviation = splits.channel_statistics(images, indices)
    assert mean.dtype == deviation.dtype == np.float32 and mean.shape == deviation.shape == shape[-1:]
    expected = part.std(axis=(0, 1, 2), dtype=np.float64)
    np.testing.assert_allclose(mean, part.mean(axis=(0, 1, 2), dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(deviation, np.where(expected == 0, 1, expected), rtol=1e-6)


def test_statistics_do_not_overflow():
    """As many of the largest pixels as one chunk may sum, and one channel that never changes."""
    images = np.full((70000, 1, 1, 2), 255, np.uint8)
    images[0, ..., 1] = 0
    mean, deviation = splits.channel_statistics(images)
    assert mean[0] == 255 and deviation[0] == 1
    np.testing.assert_allclose([mean[1], deviation[1]], [images[..., 1].mean(), images[..., 1].std()], rtol=1e-5)
