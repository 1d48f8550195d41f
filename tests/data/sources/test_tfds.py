"""Prepared folders, written by TensorFlow Datasets itself, with images as PNG, so that no TensorFlow is needed."""

import importlib.util
import io
import json
import shutil
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from cnn.data import datasets
from cnn.data.sources import tfds as source
from cnn.errors import RequestError
from tests.data.sources.prepared_sets import RNG, content, load, png, rows, saved, write

pytestmark = pytest.mark.thorough

needs_no_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is not None, reason="TensorFlow is installed: nothing is refused for it"
)


def refuses(root, name, message):
    with pytest.raises(RequestError, match=message) as caught:
        load(root, name)
    assert "\n" not in str(caught.value) and repr(name) in str(caught.value) and not (root / "cache").exists()


@pytest.mark.parametrize("shape", [(4, 6, 3), (6, 4, 1), (5, 5, 4)])
@pytest.mark.parametrize("test_split", ["test", "validation"])
def test_read(tmp_path, capfd, recorder, shape, test_split):
    splits = {"train": rows(1200, shape), test_split: rows(7, shape)}  # more than two batches
    features = {
        "image": tfds.features.Image(shape=(None, None, shape[-1])),
        "label": tfds.features.ClassLabel(names=["cat", "dog", "owl"]),
    }
    write(tmp_path, "toy", splits, features)
    capfd.readouterr()
    dataset = load(tmp_path, "toy", progress=recorder)
    assert [(task.done, task.total) for task in recorder.tasks] == [(1200, 1200), (7, 7)]
    assert dataset.image_shape == shape and dataset.class_names == ("cat", "dog", "owl") and dataset.name == "toy"
    for split, images, labels in (
        ("train", dataset.train_images, dataset.train_labels),
        (test_split, dataset.test_images, dataset.test_labels),
    ):
        written = [row["image"] for row in splits[split]], [row["label"] for row in splits[split]]
        assert content(images, labels) == content(*written)
        assert images.dtype == np.uint8 and labels.dtype == np.int32
    assert capfd.readouterr() == ("", "")


def test_colours_of_other_files_than_24_bits(tmp_path):
    """Grey, one bit and a palette become colours. The palette's first colour is the most frequent one, not black."""
    grey = RNG.integers(0, 256, (4, 6), np.uint8)
    colours = np.where(RNG.random((4, 6, 1)) < 0.5, (250, 10, 20), (30, 40, 200)).astype(np.uint8)
    files = {
        "grey": (Image.fromarray(grey), np.stack([grey] * 3, -1)),
        "one bit": (Image.fromarray(grey > 99), np.stack([255 * (grey > 99).astype(np.uint8)] * 3, -1)),
        "palette": (Image.fromarray(colours).quantize(2), colours),
    }
    assert [image.mode for image, _ in files.values()] == ["L", "1", "P"]
    part = [{"image": saved(image), "label": label} for label, (image, _) in enumerate(files.values())]
    write(tmp_path, "toy", {"train": part, "test": rows(3)})
    dataset = load(tmp_path, "toy")
    expected = [image for _, image in files.values()]
    assert content(dataset.train_images, dataset.train_labels) == content(expected, range(3))


def test_cached_arrays_go_with_the_folder(tmp_path):
    """Another version has another entry, and so has a folder that was prepared anew with other data."""
    write(tmp_path, "toy", {"train": rows(5), "test": rows(3)})
    first = load(tmp_path, "toy")
    write(tmp_path, "toy", {"train": rows(6), "test": rows(3)}, version="1.10.0")
    write(tmp_path, "toy", {"train": rows(8), "test": rows(3)}, version="1.9.0")
    assert [len(load(tmp_path, name).train_labels) for name in ("toy", "toy:1.9.0", "toy:1.0.*", "toy:1.*.*")] == [
        6,
        8,
        5,
        6,
    ]
    shutil.rmtree(tmp_path / "toy")
    write(tmp_path, "toy", {"train": rows(5), "test": rows(3)})
    assert load(tmp_path, "toy").fingerprint != first.fingerprint


def test_configurations(tmp_path):
    write(tmp_path, "toy", {"train": rows(5), "test": rows(3)}, config="small")
    write(tmp_path, "toy", {"train": rows(9), "test": rows(3)}, config="large")
    assert len(load(tmp_path, "toy/small").train_labels) == 5
    assert len(load(tmp_path, "toy/large:1.0.0").train_labels) == 9
    default = json.loads((tmp_path / "toy" / ".config" / "metadata.json").read_text())["default_config_name"]
    assert len(load(tmp_path, "toy").train_labels) == {"small": 5, "large": 9}[default]


@pytest.mark.parametrize("where", ["argument", "variable", "home"])
def test_where_prepared_data_is_found(tmp_path, monkeypatch, where):
    folder = tmp_path / "tensorflow_datasets"
    write(folder, "toy", {"train": rows(5), "test": rows(3)})
    monkeypatch.setenv("HOME", str(tmp_path if where == "home" else tmp_path / "other"))
    monkeypatch.setenv("TFDS_DATA_DIR", {"argument": "/none", "variable": str(folder), "home": ""}[where])
    argument = folder if where == "argument" else None
    assert len(datasets.load("toy", data_dir=argument, cache_dir=tmp_path / "cache").train_labels) == 5


TWO = {"image": tfds.features.Image(shape=(None, None, 3)), "label": tfds.features.ClassLabel(num_classes=3)}
TEXT = {"text": tfds.features.Text(), "label": tfds.features.ClassLabel(num_classes=3)}
REFUSED = {
    "no test": ({"splits": {"train": rows(3)}}, "splits train; must be a set with train, and test or validation"),
    "no train": ({"splits": {"test": rows(3)}}, "splits test; must be"),
    "several shapes": (
        {"splits": {"train": rows(3) + rows(2, (4, 9, 3)), "test": rows(3)}},
        r"several shapes, such as \(4, 6, 3\) and \(4, 9, 3\)",
    ),
    "another shape in test": ({"splits": {"train": rows(3), "test": rows(3, (4, 9, 3))}}, "several shapes"),
    "text": (
        {
            "splits": {"train": [{"text": "a", "label": 0}], "test": [{"text": "b", "label": 1}]},
            "features": TEXT,
            "supervised": ("text", "label"),
        },
        "features label, text; must be a set with one image",
    ),
    "two labels": (
        {
            "splits": {"train": rows(3, extra=1), "test": rows(3, extra=0)},
            "supervised": None,
            "features": TWO | {"extra": tfds.features.ClassLabel(num_classes=2)},
        },
        "one class label",
    ),
    "unlabelled": ({"splits": {"train": rows(3), "test": [row | {"label": -1} for row in rows(2)]}}, "labels -1 to -1"),
}


@pytest.mark.parametrize("written, message", REFUSED.values(), ids=REFUSED)
def test_sets_that_are_refused(tmp_path, written, message):
    write(tmp_path, "toy", **written)
    refuses(tmp_path, "toy", message)


def test_features_without_supervised_keys(tmp_path):
    more = {"id": tfds.features.Text()}
    write(tmp_path, "toy", {"train": rows(4, id="a"), "test": rows(3, id="b")}, TWO | more, supervised=None)
    assert load(tmp_path, "toy").class_names == ("0", "1", "2")


@needs_no_tensorflow
def test_tfrecord_says_what_to_install(tmp_path):
    folder = write(tmp_path, "toy", {"train": rows(4), "test": rows(3)})
    info = json.loads((folder / "dataset_info.json").read_text())
    (folder / "dataset_info.json").write_text(json.dumps(info | {"fileFormat": "tfrecord"}))
    refuses(tmp_path, "toy", "tfrecord.*needs TensorFlow.*array_record.*pip install tensorflow")


@pytest.mark.parametrize("module, package", [("array_record", "array_record"), ("PIL", "pillow")])
def test_missing_package_is_named(tmp_path, monkeypatch, module, package):
    write(tmp_path, "toy", {"train": rows(4), "test": rows(3)})
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)  # how Python itself marks a module that cannot be imported
    refuses(tmp_path, "toy", f"needs the package {package}, .*pip install {package}$")


@pytest.mark.parametrize("name", ["mnist", "svhn_cropped"])
def test_without_tensorflow_datasets(tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    refuses(tmp_path, name, "pip install tensorflow-datasets$")


SHARDS = [f"toy-{split}.array_record-00000-of-00001" for split in ("train", "test")]


def damages(folder, path):
    """Ways to damage a file of the folder: (what it is, its bytes then, or None where it is gone)."""
    whole = path.read_bytes()
    filled = np.flatnonzero(np.frombuffer(whole, np.uint8))  # the zeros between a shard's blocks belong to no record
    if path.name in SHARDS:  # records have checksums
        for place in np.random.default_rng(0).choice(filled, 12, replace=False):
            yield f"bit of byte {place}", whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
    for length in {0, 1, len(whole) // 3, filled[-1]}:
        yield f"cut to {length} bytes", whole[:length]
    yield "other content", b"[[[]]]"
    yield "gone", None


@pytest.mark.parametrize("file", [*SHARDS, "dataset_info.json", "features.json"])
def test_damaged_folder(tmp_path, file):
    """Damage never gives other images; it ends in one line that names the folder."""
    folder = write(tmp_path, "toy", {"train": rows(40), "test": rows(7)})
    whole = (folder / file).read_bytes()
    assert len(load(tmp_path, "toy").train_labels) == 40
    shutil.rmtree(tmp_path / "cache")
    for what, data in damages(folder, folder / file):
        (folder / file).unlink()
        if data is not None:
            (folder / file).write_bytes(data)
        with pytest.raises(RequestError) as caught:
            load(tmp_path, "toy")
        line = str(caught.value)
        prepared_set = data is not None or file in SHARDS  # a folder without a description is not taken for a data set
        known = f"{folder} is damaged or incomplete" if prepared_set else "dataset='toy': "
        assert known in line and "\n" not in line and not (tmp_path / "cache").exists(), f"{what}: {line}"
        (folder / file).write_bytes(whole)


BAD_ROWS = {
    "text instead of an image": ({"image": io.BytesIO(b"no picture"), "label": 0}, "damaged or incomplete"),
    "half an image": ({"image": io.BytesIO(png(np.ones((64, 64, 3), np.uint8)).read()[:90]), "label": 0}, "damaged"),
    "a label beyond the classes": ({"image": png(np.zeros((4, 6, 3), np.uint8)), "label": 3}, "labels 0 to 3"),
    "a file's first bytes alone": (
        {"image": io.BytesIO(b"\x89PNG\r\n\x1a\n" + bytes(40)), "label": 0},
        "damaged or incomplete",
    ),
    "16 bits": (
        {"image": saved(Image.fromarray(np.arange(0, 48000, 2000, dtype=np.uint16).reshape(4, 6))), "label": 0},
        "image of mode I;16 in its split train; must be a set with images of 8 bits a channel",
    ),
    "32 bits": ({"image": saved(Image.new("F", (6, 4), 300.5), "tiff"), "label": 0}, "image of mode F"),
    "four inks": ({"image": saved(Image.new("CMYK", (6, 4)), "jpeg"), "label": 0}, "image of mode CMYK"),
}


@pytest.mark.parametrize("row, message", BAD_ROWS.values(), ids=BAD_ROWS)
def test_a_bad_row(tmp_path, monkeypatch, row, message):
    monkeypatch.setattr(
        tfds.features.ClassLabel, "encode_example", lambda self, label: label
    )  # TFDS's own method refuses labels
    row["image"].seek(0)
    write(tmp_path, "toy", {"train": [*rows(5), row], "test": rows(3)})
    refuses(tmp_path, "toy", message)


@pytest.mark.parametrize("count", ["41", "0", "many"])
def test_other_images_than_described(tmp_path, count):
    folder = write(tmp_path, "toy", {"train": rows(40), "test": rows(7)})
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace('"40"', f'"{count}"'))
    refuses(tmp_path, "toy", "damaged or incomplete")


@needs_no_tensorflow
@pytest.mark.parametrize(
    "name, message",
    [
        ("svhn_cropped", "not prepared under .*needs TensorFlow.*pip install tensorflow"),
        ("emnist/letters", "not prepared under .*needs TensorFlow"),
        ("imdb_reviews", "features label, text; must be a set with one image"),
        ("emnist/nothing", "nothing"),
        ("coco/2017", "cannot be loaded .*No module named 'tensorflow'.*packages are installed"),
    ],
)
def test_what_cannot_be_prepared(tmp_path, capfd, name, message):
    refuses(tmp_path, name, message)
    assert capfd.readouterr() == ("", "") and list(tmp_path.iterdir()) == []


def test_find_ignores_unfinished_folders(tmp_path):
    for path in ("toy/1.0.0", "toy/incomplete.X_2.0.0", "toy/3.x.0"):
        (tmp_path / path).mkdir(parents=True)
        (tmp_path / path / "dataset_info.json").touch()
    assert source.prepared_folder(tmp_path, "toy") is None
    (tmp_path / "toy/1.0.0/features.json").touch()
    assert source.prepared_folder(tmp_path, "toy") == tmp_path / "toy/1.0.0"
