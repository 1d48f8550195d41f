"""Data sets by name, the split, and the statistics of the channels."""

import subprocess
import sys
import time

import numpy as np
import pytest
import sklearn.datasets

from cnn.config import RequestError
from cnn.data import datasets


def test_digits(tmp_path):
    first = datasets.load("digits", cache_dir=tmp_path)
    assert first.train_images.shape == (1437, 8, 8, 1) and first.test_images.shape == (360, 8, 8, 1)
    assert first.class_names == tuple("0123456789") and first.image_shape == (8, 8, 1) and first.classes == 10
    assert first.fingerprint == "d8578e386c2a"  # the test part is fixed
    published = sklearn.datasets.load_digits()
    found = (
        np.concatenate([first.train_images, first.test_images])[..., 0],
        np.concatenate([first.train_labels, first.test_labels]),
    )
    pairs = [
        sorted((image.astype(np.uint8).tobytes(), int(label)) for image, label in zip(*part, strict=True))
        for part in (found, (published.images, published.target))
    ]
    assert pairs[0] == pairs[1]
    shares = np.bincount(first.test_labels) / np.bincount(published.target)
    assert np.all(np.abs(shares - 360 / 1797) < 0.005)


# Run where nothing is imported yet, with warnings as errors.
FRESH = """
import sys, time
from cnn.data import datasets
heavy = ("tensorflow_datasets", "array_record", "sklearn", "scipy", "PIL", "jax", "tensorflow")
assert not [name for name in heavy if name in sys.modules], sys.modules.keys() & set(heavy)
start = time.perf_counter()
data = datasets.load({name!r}, data_dir={data_dir!r}, cache_dir={cache_dir!r})
seconds = time.perf_counter() - start
assert not [name for name in heavy if name in sys.modules], sys.modules.keys() & set(heavy)
print(seconds, data.fingerprint)
"""


def load_in_fresh_process(name, cache_dir, data_dir="/none"):
    """Seconds and fingerprint of a load whose arrays are cached; fails where it imports anything heavy."""
    program = FRESH.format(name=name, data_dir=str(data_dir), cache_dir=str(cache_dir))
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    seconds, fingerprint = done.stdout.split()
    return float(seconds), fingerprint


def test_cached_load_imports_nothing_heavy(tmp_path):
    first = datasets.load("digits", cache_dir=tmp_path)
    assert load_in_fresh_process("digits", tmp_path)[1] == first.fingerprint


@pytest.fixture(scope="module")
def real_cache(real_data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    for name in ("mnist", "cifar10"):
        datasets.load(name, data_dir=real_data_dir, cache_dir=folder)
    return folder


REAL = {  # shape, training images, mean / 255 and deviation / 255 as published for this data
    "mnist": ((28, 28, 1), 60000, [0.1307], [0.3081]),
    "cifar10": ((32, 32, 3), 50000, [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]),
}


@pytest.mark.real_data
@pytest.mark.parametrize("name, expected", REAL.items(), ids=REAL)
def test_real_data(real_data_dir, real_cache, name, expected):
    shape, count, mean, deviation = expected
    found = datasets.load(name, data_dir=real_data_dir, cache_dir=real_cache)
    assert found.image_shape == shape and len(found.train_images) == count and len(found.test_images) == 10000
    assert np.bincount(found.train_labels).sum() == count and np.all(np.bincount(found.test_labels) > 800)
    found_mean, found_deviation = datasets.channel_statistics(found.train_images)
    np.testing.assert_allclose(found_mean / 255, mean, atol=5e-5)
    np.testing.assert_allclose(found_deviation / 255, deviation, atol=5e-5)
    if name == "cifar10":
        assert found.class_names[0] == "airplane" and np.all(np.bincount(found.train_labels) == 5000)


@pytest.mark.real_data
def test_second_load_of_cifar10_is_quick(real_data_dir, real_cache):
    seconds, _ = min(load_in_fresh_process("cifar10", real_cache, real_data_dir) for _ in range(3))
    assert seconds < 0.5  # 0.06 s measured


@pytest.mark.real_data
def test_statistics_of_cifar10_are_quick(real_data_dir, real_cache):
    found = datasets.load("cifar10", data_dir=real_data_dir, cache_dir=real_cache)
    train, _ = datasets.split(found.train_labels, 0.1, 0)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        datasets.channel_statistics(found.train_images, train)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5  # 0.06 s measured


def tiny(fingerprint="0123456789ab"):
    """Seven training and five test images of 1 x 2 pixels, each with a number of its own."""
    images = np.arange(24, dtype=np.uint8).reshape(12, 1, 2, 1)
    labels = np.array([0, 1, 2, 3, 2, 1, 0, 3, 3, 1, 2, 0], np.int32)
    return datasets.Dataset("tiny", images[:7], labels[:7], images[7:], labels[7:], tuple("abcd"), fingerprint)


def test_subset_by_hand():
    whole = tiny()
    found = datasets.subset(whole, [3, 1])
    assert found.name == "tiny, classes 3,1" and found.class_names == ("d", "b") and found.classes == 2
    np.testing.assert_array_equal(found.train_images, whole.train_images[[1, 3, 5]])
    np.testing.assert_array_equal(found.test_images, whole.test_images[[0, 1, 2]])
    assert found.train_labels.tolist() == [1, 0, 1] and found.test_labels.tolist() == [0, 0, 1]
    assert found.train_labels.dtype == found.test_labels.dtype == np.int32
    assert whole.train_labels.tolist() == [0, 1, 2, 3, 2, 1, 0]


def test_subset_of_all_classes_shares_the_images():
    whole = tiny()
    found = datasets.subset(whole, [1, 0, 2, 3])
    assert found.train_images is whole.train_images and found.test_images is whole.test_images
    assert found.train_labels.tolist() == [1, 0, 2, 3, 2, 0, 1] and found.class_names == ("b", "a", "c", "d")


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
    assert datasets.subset(datasets.load("digits", cache_dir=tmp_path), classes).name == f"digits, classes {text}"


def test_fingerprints_of_subsets_differ():
    choices = [(0, 1), (1, 0), (0, 1, 2), (0, 2), (0, 1, 2, 3)]
    sets = [datasets.subset(tiny(fingerprint=mark), classes) for mark in ("a" * 12, "b" * 12) for classes in choices]
    assert len({found.fingerprint for found in sets}) == 10 and all(len(found.fingerprint) == 12 for found in sets)
    assert datasets.subset(tiny(), (0, 2)).fingerprint == datasets.subset(tiny(), [0, 2]).fingerprint


@pytest.mark.parametrize("classes", [[], [1], [1, 1], [0, 2, 0], [0, 4], [0, -1], [0, 10]])
def test_subset_that_cannot_be(classes):
    with pytest.raises(RequestError) as caught:
        datasets.subset(tiny(), classes)
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
    train, validation = datasets.split(labels, fraction, seed)
    assert train.dtype == validation.dtype == np.int32
    assert np.all(np.diff(train) > 0) and np.all(np.diff(validation) > 0)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, validation])), np.arange(len(labels)))
    sizes = np.bincount(labels)
    taken = np.bincount(labels[validation], minlength=len(sizes))
    room = np.maximum(sizes - 1, 0)
    assert taken.sum() == min(round(fraction * len(labels)), room.sum()) and np.all(taken <= room)
    if np.all(sizes * fraction <= room):  # no class is held back, so each has its share
        assert np.all(np.abs(taken - sizes * fraction) <= 1)
    again = datasets.split(labels, fraction, seed)
    np.testing.assert_array_equal(again[1], validation)
    assert not np.array_equal(datasets.split(labels, fraction, seed // 2 + 1 + (seed == 1))[1], validation)


def test_split_is_recorded():
    """A resumed study must find the images of its first run: these indices never change."""
    train, validation = datasets.split(np.arange(20) % 2, 0.2, 0)
    assert validation.tolist() == [2, 5, 9, 12] and len(train) == 16


def test_split_is_random_within_a_class():
    """Over seeds every image is held out about as often as any other."""
    held_out = np.zeros(40)
    for seed in range(500):
        held_out[datasets.split(np.arange(40) % 4, 0.25, seed)[1]] += 1
    assert held_out.min() / 500 > 0.15 and held_out.max() / 500 < 0.35  # five standard deviations


def test_split_without_validation():
    train, validation = datasets.split(np.arange(6) % 2, 0.0, 3)
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
        datasets.split(labels, fraction, 0)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 4, 6, 3), (500, 8, 8, 1), (700, 33, 41, 5), (2, 1100, 1000, 1)])
@pytest.mark.parametrize("chosen", [False, True])
def test_channel_statistics(shape, chosen):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, shape, np.uint8)
    indices = np.flatnonzero(np.arange(shape[0]) % 3 != 1) if chosen else None
    part = images if indices is None else images[indices]
    mean, deviation = datasets.channel_statistics(images, indices)
    assert mean.dtype == deviation.dtype == np.float32 and mean.shape == deviation.shape == shape[-1:]
    expected = part.std(axis=(0, 1, 2), dtype=np.float64)
    np.testing.assert_allclose(mean, part.mean(axis=(0, 1, 2), dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(deviation, np.where(expected == 0, 1, expected), rtol=1e-6)


def test_statistics_do_not_overflow():
    """As many of the largest pixels as one chunk may sum, and one channel that never changes."""
    images = np.full((70000, 1, 1, 2), 255, np.uint8)
    images[0, ..., 1] = 0
    mean, deviation = datasets.channel_statistics(images)
    assert mean[0] == 255 and deviation[0] == 1
    np.testing.assert_allclose([mean[1], deviation[1]], [images[..., 1].mean(), images[..., 1].std()], rtol=1e-5)
