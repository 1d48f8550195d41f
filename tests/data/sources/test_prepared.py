"""Prepared images that have no room as decoded arrays: read one by one, with the same fingerprint and results."""

import collections
import json

import jax
import numpy as np
import pytest

from cnn import machine
from cnn.config import NetworkConfig, TrainingConfig, TrialConfig
from cnn.data import datasets, records
from cnn.data.records import Records
from cnn.data.splits import channel_statistics, subset
from cnn.errors import RequestError
from cnn.training.fit import Session
from cnn.training.trial import Options, run
from tests.data.sources.prepared_sets import content, load, rows, write

pytestmark = pytest.mark.thorough

SPLITS = {"train": rows(1200), "test": rows(90)}  # more than two batches


@pytest.fixture
def no_room(monkeypatch):
    """A process without memory to spare, on a full disk. Calling the fixture's value frees so much of the disk."""
    usage = collections.namedtuple("usage", "total used free")
    free = [0]
    monkeypatch.setattr(machine, "memory", lambda: 1000)
    monkeypatch.setattr(records.shutil, "disk_usage", lambda path: usage(10**15, 0, free[0]))
    return lambda size=10**15: free.__setitem__(0, size)


@pytest.fixture
def toy(tmp_path):
    """A data folder with a prepared set."""
    write(tmp_path, "toy", SPLITS)
    return tmp_path


def of_records(dataset):
    return [isinstance(part, Records) for part in (dataset.train_images, dataset.test_images)]


def test_images_without_room_are_those_of_decoded_arrays(toy, no_room, recorder):
    without = load(toy, "toy", progress=recorder)
    assert of_records(without) == [True, True]
    arrays = datasets.load("toy", data_dir=toy, cache_dir=toy / "other")
    assert of_records(arrays) == [True, True]  # the other folder is on the same disk
    no_room()
    arrays = datasets.load("toy", data_dir=toy, cache_dir=toy / "third")
    assert of_records(arrays) == [False, False]
    assert without.fingerprint == arrays.fingerprint
    np.testing.assert_array_equal(without.train_images, arrays.train_images)
    np.testing.assert_array_equal(without.test_labels, arrays.test_labels)
    written = [row["image"] for row in SPLITS["test"]], [row["label"] for row in SPLITS["test"]]
    assert content(without.test_images, without.test_labels) == content(*written)
    np.testing.assert_array_equal(channel_statistics(without.train_images), channel_statistics(arrays.train_images))
    said = f"toy: no room for 92,880 bytes of images in memory or, twice, in {toy / 'cache'}; so "
    when = " images are decoded whenever a step takes them"
    assert recorder.lines == [f"{said}1,200{when}", f"{said}90{when}"]


def test_labels_and_fingerprint_are_kept_and_images_are_decoded_when_they_are_taken(toy, no_room, recorder):
    first = load(toy, "toy")
    (entry,) = (path for path in (toy / "cache").iterdir() if path.is_dir())
    assert {path.name for path in entry.iterdir()} == {"manifest.json", "train_labels.npy", "test_labels.npy"}
    again = load(toy, "toy", progress=recorder)
    assert recorder.tasks == [] and of_records(again) == [True, True]
    assert again.fingerprint == first.fingerprint
    np.testing.assert_array_equal(again.train_labels, first.train_labels)
    np.testing.assert_array_equal(again.train_images[[3, 800]], first.train_images[[3, 800]])


def test_once_there_is_room_all_is_decoded_and_kept(toy, no_room, recorder):
    without = load(toy, "toy")
    no_room()
    with_room = load(toy, "toy", progress=recorder)
    assert of_records(with_room) == [False, False] and len(recorder.tasks) == 2 and recorder.lines == []
    assert isinstance(with_room.train_images, np.memmap) and with_room.fingerprint == without.fingerprint
    assert len({path for path in (toy / "cache").iterdir() if path.is_dir()}) == 1
    load(toy, "toy", progress=recorder)
    assert len(recorder.tasks) == 2


def test_a_part_that_has_room_alone_is_not_decoded_at_each_start(tmp_path, no_room, recorder):
    """On the disk of 175,000 bytes twice 86,400 have room, but not with the 6,480 that the cache has still to write."""
    no_room()
    write(tmp_path, "toy", {"train": SPLITS["test"], "test": SPLITS["train"]})
    no_room(175_000)
    assert of_records(load(tmp_path, "toy")) == [False, True]
    again = load(tmp_path, "toy", progress=recorder)
    assert of_records(again) == [False, True] and recorder.tasks == []


def test_a_subset_is_not_decoded_before_it_is_taken(toy, no_room):
    without = subset(load(toy, "toy"), [2, 0])
    no_room()
    arrays = subset(datasets.load("toy", data_dir=toy, cache_dir=toy / "other"), [2, 0])
    assert of_records(without) == [True, True] and of_records(arrays) == [False, False]
    np.testing.assert_array_equal(without.train_images, arrays.train_images)
    assert without.fingerprint == arrays.fingerprint


def test_training_from_records_gives_the_bits_of_arrays(toy, no_room, recorder, monkeypatch):
    training = TrainingConfig(epochs=2, batch_size=64, flip=True)
    config = TrialConfig("toy", 0.1, network=NetworkConfig(blocks=1, width=4, hidden=8), training=training)
    options = Options(with_network=True)
    streamed = run(config, load(toy, "toy"), options=options, progress=recorder)
    said = "dataset='toy': its images have no room, decoded; so the host reads those of each step ahead"
    assert said in recorder.lines
    no_room()
    monkeypatch.setattr(machine, "memory", lambda: None)
    arrays = datasets.load("toy", data_dir=toy, cache_dir=toy / "other")
    with Session(arrays) as session:
        assert not session.streams
    resident = run(config, arrays, options=options)
    for one, other in zip(*map(jax.tree.leaves, (streamed.trained.variables, resident.trained.variables)), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(streamed.correct, resident.correct)
    assert streamed.result.val_accuracy == resident.result.val_accuracy


def test_damage_is_said_when_an_image_is_taken(toy, no_room):
    without = load(toy, "toy")
    shard = toy / "toy/1.0.0/toy-train.array_record-00000-of-00001"
    whole = bytearray(shard.read_bytes())
    middle = len(whole) // 2
    whole[middle : middle + 400] = bytes(400)
    shard.write_bytes(whole)
    with pytest.raises(RequestError, match="is damaged or incomplete"):
        without.train_images[:]


def test_another_format_has_to_have_room(toy, no_room, monkeypatch):
    monkeypatch.setattr("cnn.data.sources.prepared._Split._gives_single_images", lambda split: False)
    monkeypatch.setattr(
        "cnn.data.sources.prepared._Split._batches",
        lambda split: iter([[{"image": b"", "label": 0}]]),
    )
    monkeypatch.setattr("cnn.data.sources.prepared._Split._pixels", lambda split, rows: [np.zeros((4, 6, 3), np.uint8)])
    with pytest.raises(RequestError) as caught:
        load(toy, "toy")
    assert str(caught.value) == (
        f"dataset='toy': its decoded images take 86,400 bytes, for which neither the memory nor cache_dir="
        f"{str(toy / 'cache')!r} has room; must be smaller, or have a cache_dir on a disk with twice that free"
    )


def test_what_is_kept_of_images_is_checked(toy, no_room, recorder):
    load(toy, "toy")
    (entry,) = (path for path in (toy / "cache").iterdir() if path.is_dir())
    manifest = json.loads((entry / "manifest.json").read_text())
    manifest["records"]["train_images"][0] -= 1
    (entry / "manifest.json").write_text(json.dumps(manifest))
    dataset = load(toy, "toy", progress=recorder)
    assert len(dataset.train_images) == 1200 and "is damaged" in recorder.lines[0]
