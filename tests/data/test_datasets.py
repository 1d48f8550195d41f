"""Data sets by name: what a load costs, the real sets, and the errors of unknown names."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
import sklearn.datasets

from cnn.data import datasets, splits
from cnn.data.content import Content, Entry, Source, fingerprint
from cnn.errors import RequestError


def test_digits(tmp_path):
    first = datasets.load("digits", cache_dir=tmp_path)
    assert first.train_images.shape == (1437, 8, 8, 1) and first.test_images.shape == (360, 8, 8, 1)
    assert first.class_names == tuple("0123456789") and first.image_shape == (8, 8, 1) and first.classes == 10
    assert first.fingerprint == "d8578e386c2a"  # the test part is fixed
    assert first.largest_pixel == 16 == first.train_images.max()
    published = sklearn.datasets.load_digits()
    images_and_labels = (
        np.concatenate([first.train_images, first.test_images])[..., 0],
        np.concatenate([first.train_labels, first.test_labels]),
    )
    pairs = [
        sorted((image.astype(np.uint8).tobytes(), int(label)) for image, label in zip(*part, strict=True))
        for part in (images_and_labels, (published.images, published.target))
    ]
    assert pairs[0] == pairs[1]
    shares = np.bincount(first.test_labels) / np.bincount(published.target)
    assert np.all(np.abs(shares - 360 / 1797) < 0.005)


# Runs in a process of its own, where nothing is imported yet and warnings are errors.
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
    """Seconds and fingerprint of a load whose arrays are cached; fails if the load imports a heavy library."""
    program = FRESH.format(name=name, data_dir=str(data_dir), cache_dir=str(cache_dir))
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    seconds, fingerprint = done.stdout.split()
    return float(seconds), fingerprint


def test_cached_load_imports_nothing_heavy(tmp_path):
    first = datasets.load("digits", cache_dir=tmp_path)
    assert load_in_fresh_process("digits", tmp_path)[1] == first.fingerprint


@pytest.fixture(scope="session")
def real_cache(tmp_path_factory):
    """One folder for the whole run, so that each real data set is decoded once, by whichever process needs it first."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "real_cache"


REAL = {  # shape, training images, mean / 255 and deviation / 255 as published for this data
    "mnist": ((28, 28, 1), 60000, [0.1307], [0.3081]),
    "cifar10": ((32, 32, 3), 50000, [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]),
}


@pytest.mark.real_data
@pytest.mark.parametrize(
    "name, expected",
    [
        pytest.param("mnist", REAL["mnist"], id="mnist"),
        pytest.param("cifar10", REAL["cifar10"], marks=pytest.mark.slow, id="cifar10"),
    ],
)
def test_real_data(real_data_dir, real_cache, name, expected):
    shape, count, mean, deviation = expected
    dataset = datasets.load(name, data_dir=real_data_dir, cache_dir=real_cache)
    assert dataset.image_shape == shape and len(dataset.train_images) == count and len(dataset.test_images) == 10000
    assert np.bincount(dataset.train_labels).sum() == count and np.all(np.bincount(dataset.test_labels) > 800)
    found_mean, found_deviation = splits.channel_statistics(dataset.train_images)
    np.testing.assert_allclose(found_mean / 255, mean, atol=5e-5)
    np.testing.assert_allclose(found_deviation / 255, deviation, atol=5e-5)
    if name == "cifar10":
        assert dataset.class_names[0] == "airplane" and np.all(np.bincount(dataset.train_labels) == 5000)


@pytest.mark.slow
@pytest.mark.real_data
def test_second_load_of_cifar10_is_quick(real_data_dir, real_cache):
    datasets.load("cifar10", data_dir=real_data_dir, cache_dir=real_cache)
    seconds, _ = min(load_in_fresh_process("cifar10", real_cache, real_data_dir) for _ in range(3))
    assert seconds < 0.5  # 0.06 s measured


@pytest.mark.slow
@pytest.mark.real_data
def test_statistics_of_cifar10_are_quick(real_data_dir, real_cache):
    dataset = datasets.load("cifar10", data_dir=real_data_dir, cache_dir=real_cache)
    train, _ = splits.split(dataset.train_labels, 0.1, 0)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        splits.channel_statistics(dataset.train_images, train)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5  # 0.06 s measured


@pytest.mark.parametrize(
    "name, nearest",
    [
        ("cifar1", "cifar10"),
        ("digit", "digits"),
        ("fashion-mnist", "fashion_mnist"),
        ("", None),
        ("mnist:latest", "mnist"),
        ("mnist/..", None),
        ("mnist/./..", None),
        ("toy/../toy", None),
        ("mnist:", None),
        ("mnist:3", None),
        ("mnist:../..", None),
        ("mnist;ls", None),
        ("$(ls)", None),
        ("<script>", None),
        ("mnist\n", None),
        ("mn\0ist", "mnist"),
        ("MNIST", "mnist"),
        ("mnïst", None),
        ("mnist:٣.0.1", None),
        ("a" * 101, None),
        ("mnist/" + "a" * 101, None),
        ("digits:1.0.0", "digits"),
    ],
)
def test_unknown_names(tmp_path, name, nearest):
    """The error lists what is known, and the nearest name; where no nearest is given here, any will do."""
    with pytest.raises(RequestError) as caught:
        datasets.load(name, data_dir=tmp_path, cache_dir=tmp_path / "cache")
    message = str(caught.value)
    form = "" if name in ("cifar1", "digit", "digits:1.0.0") else " (name, name/config, name:version)"
    start = f"dataset={name!r}: must be {datasets.ACCEPTED}{form}; nearest: "
    assert message.startswith(start) and "\n" not in message and list(tmp_path.iterdir()) == []
    assert message[len(start) :] == nearest if nearest else len(message) > len(start)


def test_unknown_names_without_tensorflow_datasets(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(RequestError, match=r"\(name, name/config, name:version\); nearest: fashion_mnist$"):
        datasets.load("fashion-mnist", data_dir=tmp_path, cache_dir=tmp_path)


def test_what_is_accepted_is_listed():
    assert all(source.accepts in datasets.ACCEPTED for source in datasets.SOURCES)
    assert datasets.ACCEPTED.startswith("digits, mnist, ") and ", or the path of a folder" in datasets.ACCEPTED


@pytest.mark.parametrize("name, slug", [("digits", "digits"), ("some folder/own images.npz", "own_images")])
def test_a_slug_fits_into_a_file_name(tmp_path, monkeypatch, name, slug):
    monkeypatch.chdir(tmp_path)
    images = np.zeros((2, 5, 7), np.uint8)
    (tmp_path / "some folder").mkdir()
    np.savez(tmp_path / "some folder/own images.npz", x_train=images, y_train=[0, 1], x_test=images, y_test=[1, 0])
    assert datasets.load(name, cache_dir=tmp_path / "cache").slug == slug


def test_a_path_is_asked_for_before_a_name(tmp_path, monkeypatch):
    """`mnist/first.npz` has the form of a name with a configuration, and is a path."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match=r"^dataset='mnist/first.npz': no such file"):
        datasets.load("mnist/first.npz")


def test_a_source_that_knows_no_such_data_set_leaves_it_to_the_next(tmp_path, monkeypatch):
    images = np.zeros((2, 4, 4, 1), np.uint8)
    labels = np.array([0, 1], np.int32)
    content = Content(images, labels, images, labels, ("no", "yes"))
    first = Source("nothing", lambda name: True, lambda *_: None)
    second = Source("blank", lambda name: name == "blank", lambda *_: Entry("blank", lambda: content))
    monkeypatch.setattr(datasets, "SOURCES", (first, second))
    dataset = datasets.load("blank", cache_dir=tmp_path / "cache")
    assert dataset.train_images is images and dataset.fingerprint == fingerprint(content) and dataset.slug == "blank"
    assert list(tmp_path.iterdir()) == []  # without a key nothing is kept
