"""The order in which the host reads batches: that of a resident data set, from any step of an epoch on."""

import threading
import time

import jax.numpy as jnp
import numpy as np
import pytest

from cnn.data.batches import Batches, Images, Resident
from cnn.data.stream import HostImages, Stream

SIZE = 4
STEPS = 5
COUNT = 23  # of the training images three are left over


def host(count=COUNT):
    images = np.arange(count * 6, dtype=np.uint8).reshape(count, 2, 3, 1)
    return HostImages(images, np.arange(count, dtype=np.int32))


def labels(given):
    return [np.asarray(images.labels).tolist() for images in given]


@pytest.mark.parametrize("objects", [1, 2])
@pytest.mark.parametrize("first", [0, 1, STEPS - 1, STEPS])
@pytest.mark.parametrize("epoch", [0, 3])
def test_the_batches_of_a_resident_data_set(objects, first, epoch):
    resident = Resident(SIZE, STEPS, objects)
    stream = Stream(SIZE, STEPS, objects)
    assert isinstance(stream, Batches)
    data = host()
    indices = jnp.arange(COUNT, dtype=jnp.int32)[::-1]
    order = stream.order(jnp.int32(7), indices, epoch)
    np.testing.assert_array_equal(order, resident.order(jnp.int32(7), indices, epoch))
    given = (Images(*map(jnp.asarray, data)), order)
    found = list(stream.feed(data, order, first))
    assert len(found) == STEPS - first
    for step, images in enumerate(found, start=first):
        expected = resident.examples(given, epoch * STEPS + step)
        np.testing.assert_array_equal(images.images, expected.images)
        np.testing.assert_array_equal(images.labels, expected.labels)


@pytest.mark.parametrize("objects", [1, 2])
def test_the_images_of_an_evaluation(objects):
    indices = np.random.default_rng(0).integers(0, COUNT, (6, objects), dtype=np.int32)
    data = host()
    expected = Resident(SIZE, STEPS, objects).take(Images(*map(jnp.asarray, data)), indices)
    found = Stream(SIZE, STEPS, objects).take(data, indices)
    np.testing.assert_array_equal(found.images, expected.images)
    np.testing.assert_array_equal(found.labels, expected.labels)


def test_a_memory_map_is_read_only_as_far_as_batches_need(tmp_path):
    np.save(tmp_path / "images.npy", host().images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    stream = Stream(SIZE, STEPS)
    order = stream.order(jnp.int32(0), jnp.arange(COUNT, dtype=jnp.int32), 0)
    found = list(stream.feed(HostImages(mapped, host().labels), order, 0))
    assert labels(found) == labels(stream.feed(host(), order, 0))


def test_an_epoch_that_is_left_leaves_no_thread():
    stream = Stream(SIZE, STEPS)
    before = threading.active_count()
    for _ in range(20):
        given = stream.feed(host(), jnp.arange(COUNT, dtype=jnp.int32), 0)
        next(given)
        given.close()
    end = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < end:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_an_error_of_a_reader_reaches_the_step():
    short = host(count=10)
    with pytest.raises(IndexError, match="out of bounds"):
        list(Stream(SIZE, STEPS).feed(short, jnp.arange(COUNT, dtype=jnp.int32), 0))
