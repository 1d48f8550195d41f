"""Images without room: taken from as from an array, decoded each time; and where decoded images find room."""

import collections
import contextlib
import itertools
import threading

import numpy as np
import pytest

from cnn import machine
from cnn.data import records
from cnn.data.records import NoRoomError, Records, chunks, has_room, rooms

IMAGES = np.random.default_rng(0).integers(0, 256, (1203, 4, 5, 3), np.uint8)  # more than two chunks
KEYS = {
    "a place": 7,
    "a place from the end": -2,
    "a slice": slice(3, 9),
    "no images": slice(5, 5),
    "every third": slice(None, None, 3),
    "places": np.array([4, 4, 0, -1]),
    "rows of places": np.array([[3, 1], [9, 9]]),
    "no places": np.array([], int),
    "a mask": np.arange(len(IMAGES)) % 7 == 0,
    "pixels of one": (5, slice(None, None, 2), 1),
    "pixels of some": (slice(2, 5), ..., 0),
    "corners": (slice(None, None, 100), [0, 0, -1, -1], [0, -1, 0, -1]),
}


def decode(places):
    return [IMAGES[place] for place in places]


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_taken_from_as_from_an_array(key):
    taken = Records(IMAGES.shape, decode)[key]
    np.testing.assert_array_equal(taken, IMAGES[key])
    assert taken.dtype == np.uint8


def test_what_it_says_of_itself():
    images = Records(IMAGES.shape, decode)
    known = images.shape, images.ndim, images.nbytes, images.dtype, len(images)
    assert known == (IMAGES.shape, IMAGES.ndim, IMAGES.nbytes, IMAGES.dtype, len(IMAGES))
    np.testing.assert_array_equal(np.asarray(images), IMAGES)
    np.testing.assert_array_equal(list(images), IMAGES)


@pytest.mark.parametrize("chosen", [[5, 2, 2], np.arange(len(IMAGES)) % 3 == 1], ids=["places", "mask"])
def test_some_of_them_are_not_decoded_before_they_are_taken(chosen):
    asked = []
    some = Records(IMAGES.shape, lambda places: asked.append(places) or decode(places)).at(np.array(chosen))
    assert asked == [] and some.shape == IMAGES[chosen].shape
    np.testing.assert_array_equal(some[1:3], IMAGES[chosen][1:3])
    assert [len(places) for places in asked] == [2]


def test_all_are_read_some_at_a_time():
    asked = []
    images = Records(IMAGES.shape, lambda places: asked.append(places) or decode(places))
    np.testing.assert_array_equal(np.concatenate(list(chunks(images))), IMAGES)
    assert list(itertools.chain(*asked)) == list(range(len(IMAGES))) and max(map(len, asked)) == records.CHUNK
    assert [chunk is IMAGES for chunk in chunks(IMAGES)] == [True]


def test_a_place_that_there_is_not():
    for key in (len(IMAGES), np.array([0, len(IMAGES)])):
        with pytest.raises(IndexError, match="out of bounds"):
            Records(IMAGES.shape, decode)[key]


def with_free(monkeypatch, memory, disk):
    """The process may have so much memory, and the disk has so much free."""
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(machine, "memory", lambda: memory)
    monkeypatch.setattr(records.shutil, "disk_usage", lambda path: usage(10**15, 0, disk))


SHAPE = (10, 8, 8, 3)
SIZE = 1920


@pytest.mark.parametrize(
    ("memory", "disk", "expected"),
    [
        (4 * SIZE, 0, np.ndarray),
        (None, 0, np.ndarray),
        (4 * SIZE - 1, 2 * SIZE, np.memmap),
        (4 * SIZE - 1, 2 * SIZE - 1, None),
    ],
)
def test_where_decoded_images_find_room(tmp_path, monkeypatch, memory, disk, expected):
    with_free(monkeypatch, memory, disk)
    cache = tmp_path / "cache"
    assert has_room(cache, [SIZE]) == (expected is not None)
    if expected is None:
        with pytest.raises(NoRoomError, match=r"^1,920 bytes$"):
            rooms(cache)(SHAPE)
        return
    images = rooms(cache)(SHAPE)
    assert type(images) is expected and images.shape == SHAPE and images.dtype == np.uint8 and not images.any()
    images[3] = 7
    assert images.sum() == 7 * SIZE // 10


def test_a_file_of_images_has_no_name(tmp_path, monkeypatch):
    with_free(monkeypatch, 0, 2 * SIZE)
    images = rooms(tmp_path)(SHAPE)
    assert isinstance(images, np.memmap) and list(tmp_path.iterdir()) == []


def test_parts_share_the_disk(tmp_path, monkeypatch):
    """The cache writes all of them in the end: two parts take four times their size, less the file that is there."""
    for free, fits in ((3 * SIZE, True), (3 * SIZE - 1, False)):
        room = rooms(tmp_path)
        with_free(monkeypatch, 0, 2 * SIZE)
        room(SHAPE)
        with_free(monkeypatch, 0, free)
        assert not has_room(tmp_path, [SIZE, SIZE])
        with contextlib.nullcontext() if fits else pytest.raises(NoRoomError):
            room(SHAPE)


def test_a_cache_that_cannot_be_made_has_no_room(tmp_path, monkeypatch):
    with_free(monkeypatch, 0, 2 * SIZE)
    (tmp_path / "file").write_text("")
    assert not has_room(tmp_path / "file" / "cache", [SIZE])
    with pytest.raises(NoRoomError):
        rooms(tmp_path / "file" / "cache")(SHAPE)


def test_several_threads_take_images_at_once():
    images = Records(IMAGES.shape, decode)
    wrong = []

    def take(start):
        for place in range(start, len(IMAGES), 4):
            if not np.array_equal(images[place], IMAGES[place]):
                wrong.append(place)

    threads = [threading.Thread(target=take, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
