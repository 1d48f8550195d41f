"""Data that cannot be learnt from, through the commands: one line, exit status 2, nothing written."""

import json
import shutil

import numpy as np
import pytest

from tests.data.sources.test_folder import BAD
from tests.data.sources.test_folder import write as write_pictures
from tests.data.sources.test_npz import REFUSED
from tests.data.sources.test_tfds import rows, write
from tests.data.test_cache import DAMAGE

pytestmark = pytest.mark.thorough

SMALL = ("--epochs=1", "--width=4", "--hidden=8", "--batch_size=8", "--workdir=w")


def images(**changes):
    rng = np.random.default_rng(0)
    good = {
        "x_train": rng.integers(0, 256, (24, 8, 8), np.uint8),
        "y_train": np.arange(24) % 3,
        "x_test": rng.integers(0, 256, (12, 8, 8), np.uint8),
        "y_test": np.arange(12) % 3,
    }
    return good | changes


def refused(done, *parts):
    assert done.returncode == 2 and done.stdout == "", done.stderr
    line = done.stderr
    assert line.startswith("error: ") and line.count("\n") == 1 and all(part in line for part in parts), line


@pytest.mark.parametrize("name", ["train", "sweep_blocks", "localize"])
@pytest.mark.parametrize("arrays", [arrays for arrays, _ in REFUSED.values()], ids=REFUSED)
def test_arrays_that_do_not_fit(ask, tmp_path, name, arrays):
    np.savez(tmp_path / "own.npz", **arrays)
    refused(ask(name, "--dataset=own.npz", *SMALL), "dataset='own.npz'", "must ")
    assert [path.name for path in tmp_path.iterdir()] == ["own.npz"]


@pytest.mark.slow
def test_arrays_that_fit_are_learnt_from(ask, tmp_path):
    """So that what is refused above is refused for what is wrong with it."""
    np.savez(tmp_path / "own.npz", **images())
    done = ask("train", "--dataset=own.npz", *SMALL)
    assert done.returncode == 0, done.stderr
    np.savez(tmp_path / "own.npz", **images(x_test=np.zeros((12, 8, 8), np.uint8)))
    refused_later = ask("train", "--dataset=own.npz", *SMALL)
    assert refused_later.returncode == 2 and "dataset_fingerprint: " in refused_later.stderr


@pytest.mark.parametrize(
    "name, arrays, parts",
    [
        ("features", images(), ["classes=3", "at least 4"]),
        ("lenet5", images(), ["classes=3", "must be 10"]),
        ("train", images(x_train=np.zeros((24, 1, 8), np.uint8), x_test=np.zeros((12, 1, 8), np.uint8)), ["blocks=2"]),
        ("sweep_blocks", images(x_train=np.zeros((3, 8, 8), np.uint8), y_train=np.arange(3)), ["validation_fraction"]),
    ],
    ids=["too few classes", "not ten digits", "images too flat", "no image left to validate on"],
)
def test_data_that_an_experiment_cannot_use(ask, tmp_path, name, arrays, parts):
    np.savez(tmp_path / "own.npz", **arrays)
    flags = [flag for flag in SMALL if name != "lenet5" or flag.split("=")[0] not in ("--width", "--hidden")]
    refused(ask(name, "--dataset=own.npz", *flags), *parts)
    assert [path.name for path in tmp_path.iterdir()] == ["own.npz"]


PREPARED = {
    "a missing shard": lambda folder: (folder / "toy-train.array_record-00000-of-00001").unlink(),
    "an empty shard": lambda folder: (folder / "toy-test.array_record-00000-of-00001").write_bytes(b""),
    "another format": lambda folder: describe(folder, fileFormat="tfrecord"),
    "no format": lambda folder: describe(folder, fileFormat=None),
    "no splits": lambda folder: describe(folder, splits=[]),
    "no description": lambda folder: (folder / "dataset_info.json").unlink(),
    "no features": lambda folder: (folder / "features.json").unlink(),
    "another version": lambda folder: folder.rename(folder.with_name("2.0.0")),
}


@pytest.mark.parametrize("name", ["train", "sweep_blocks", "features"])
@pytest.mark.parametrize("damage, said", BAD.values(), ids=BAD)
def test_folders_of_pictures(ask, tmp_path, name, damage, said):
    write_pictures(tmp_path / "pets", (4, 4, 4), shape=(8, 8))
    damage(tmp_path / "pets")
    refused(ask(name, "--dataset=./pets", "--cache_dir=cache", *SMALL), "dataset='./pets'", said)
    assert {path.name for path in tmp_path.iterdir()} <= {"pets", "elsewhere"}


@pytest.mark.slow
def test_pictures_of_several_sizes(ask, tmp_path):
    write_pictures(tmp_path / "pets", (12, 12, 12, 12), shape=(8, 8))
    write_pictures(tmp_path / "pets" / "large", (12,), shape=(16, 12))
    (tmp_path / "pets" / "large" / "c0").rename(tmp_path / "pets" / "c4")
    (tmp_path / "pets" / "large").rmdir()
    flags = ("--dataset=pets", "--cache_dir=cache", *SMALL)
    refused(ask("train", *flags), "2 sizes, height x width: 8x8 (48), 16x12 (12)", "--image_size=8,8")
    assert [path.name for path in tmp_path.iterdir()] == ["pets"]
    done = ask("train", *flags, "--image_size=10,8")
    assert done.returncode == 0 and "resized to 10x8 by Lanczos resampling" in done.stderr, done.stderr
    assert json.loads((tmp_path / "w" / "config.json").read_text())["image_size"] == [10, 8]
    refused_later = ask("train", *flags, "--image_size=8,8")
    assert refused_later.returncode == 2 and "image_size: [10, 8], now [8, 8]" in refused_later.stderr
    again = ask("train", *flags, "--image_size=10,8")
    assert again.returncode == 0 and "resized to 10x8" in again.stderr  # the line comes from the cache


def describe(folder, **changes):
    path = folder / "dataset_info.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    write(folder, "toy", {"train": rows(40), "test": rows(7)})
    return folder


@pytest.mark.parametrize("damage", PREPARED.values(), ids=PREPARED)
def test_prepared_folders(ask, prepared, tmp_path, damage):
    shutil.copytree(prepared, tmp_path / "data")
    damage(tmp_path / "data" / "toy" / "1.0.0")
    flags = ("--dataset=toy:1.0.0", "--data_dir=data", "--cache_dir=cache", *SMALL)
    refused(ask("train", *flags), "dataset='toy:1.0.0'")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.fixture(scope="module")
def trained(answering, tmp_path_factory):
    """A folder with a training's work folder `w` and its cache."""
    folder = tmp_path_factory.mktemp("trained")
    done = answering.ask(folder, "train", "--cache_dir=cache", *SMALL)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_cache_is_said_and_made_anew(ask, trained, tmp_path, damage):
    shutil.copytree(trained / "cache", tmp_path / "cache")
    damage(tmp_path / "cache" / "digits")
    done = ask("train", "--cache_dir=cache", *SMALL)
    assert done.returncode == 0 and "is damaged (" in done.stderr and "building it again" in done.stderr
    again, expected = (json.loads((folder / "w" / "result.json").read_text()) for folder in (tmp_path, trained))
    assert again["test_accuracy"] == expected["test_accuracy"]
