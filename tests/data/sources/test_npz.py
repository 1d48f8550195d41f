"""The user's own `.npz`: what is accepted, and the line that refuses anything else."""

import io
import struct
import zipfile

import numpy as np
import pytest

from cnn.data import datasets
from cnn.data.content import fingerprint
from cnn.data.sources import npz
from cnn.errors import RequestError

pytestmark = pytest.mark.thorough

RNG = np.random.default_rng(0)


def arrays(**changes):
    """Four arrays that fit: images of 5 x 7 pixels and 2 channels, 3 classes. `None` leaves an array out."""
    good = {
        "x_train": RNG.integers(0, 256, (9, 5, 7, 2), np.uint8),
        "y_train": np.array([30, -1, 2] * 3),
        "x_test": RNG.integers(0, 256, (4, 5, 7, 2), np.uint8),
        "y_test": np.array([2, 30, 2, -1]),
    }
    return {key: value for key, value in (good | changes).items() if value is not None}


def test_not_square_and_many_channels(tmp_path):
    written = arrays()
    path = str(tmp_path / "own.npz")
    np.savez_compressed(path, **written)
    dataset = datasets.load(path)
    np.testing.assert_array_equal(dataset.train_images, written["x_train"])
    np.testing.assert_array_equal(dataset.test_images, written["x_test"])
    assert dataset.train_labels.tolist() == [2, 0, 1] * 3 and dataset.test_labels.tolist() == [1, 2, 1, 0]
    assert dataset.class_names == ("-1", "2", "30") and dataset.classes == 3 and dataset.image_shape == (5, 7, 2)
    assert dataset.name == path and dataset.train_labels.dtype == dataset.test_labels.dtype == np.int32
    written["x_test"][0, 0, 0, 0] ^= 1
    np.savez(path, **written)
    assert datasets.load(path).fingerprint != dataset.fingerprint


@pytest.mark.parametrize(
    "images",
    [RNG.integers(0, 256, (9, 5, 7)).astype(dtype) for dtype in (np.uint8, np.int16, np.int64, np.uint64)]
    + [RNG.integers(0, 2, (9, 5, 7)).astype(bool)],
    ids=lambda images: str(images.dtype),
)
def test_integer_images_without_channels(tmp_path, images):
    np.savez(tmp_path / "own.npz", **arrays(x_train=images, x_test=images, y_test=np.array([30, -1, 2] * 3)[:, None]))
    dataset = datasets.load(str(tmp_path / "own.npz"))
    assert dataset.image_shape == (5, 7, 1) and dataset.train_images.dtype == np.uint8
    np.testing.assert_array_equal(dataset.train_images[..., 0], images)
    assert dataset.test_labels.tolist() == [2, 0, 1] * 3
    assert dataset.largest_pixel == (1 if images.dtype == bool else 255)


@pytest.mark.parametrize("largest, white", [(0, 255), (1, 1), (16, 16), (127, 127), (128, 255), (200, 255), (255, 255)])
def test_the_value_of_white_is_that_of_the_training_images(tmp_path, largest, white):
    """A few bright test images say nothing of it."""
    given = arrays()
    np.savez(tmp_path / "own.npz", **given | {"x_train": np.minimum(given["x_train"] | 128, largest)})
    assert datasets.load(str(tmp_path / "own.npz")).largest_pixel == white


X = np.zeros((9, 5, 7), np.uint8)
LABELS = np.array([30, -1, 2] * 3)
REFUSED = {
    "missing array": (arrays(y_test=None), "no array y_test"),
    "float images": (arrays(x_train=X / 255), r"x_train has shape \(9, 5, 7\) and type float64.*astype\('uint8'\)"),
    "nan": (arrays(x_test=np.full((4, 5, 7, 2), np.nan, np.float32)), "x_test .* type float32"),
    "above 255": (arrays(x_train=X.astype(int) + 256), "x_train .* not from 256 to 256"),
    "below 0": (arrays(x_test=X.astype(np.int8) - 1), "x_test .* not from -1 to -1"),
    "text images": (arrays(x_train=X.astype(str)), "x_train .* integers from 0 to 255"),
    "two axes": (arrays(x_train=X[0]), r"x_train has shape \(5, 7\)"),
    "five axes": (arrays(x_train=X[None, None]), r"x_train has shape \(1, 1, 9, 5, 7\)"),
    "no images": (arrays(x_test=X[:0]), r"x_test has shape \(0, 5, 7\)"),
    "no pixels": (arrays(x_train=X[:, :0]), r"x_train has shape \(9, 0, 7\)"),
    "objects": (arrays(x_train=np.array([{}, 1], dtype=object)), "x_train cannot be read.*without pickle"),
    "object labels": (arrays(y_test=np.array(["a", None], dtype=object)), "y_test cannot be read.*without pickle"),
    "float labels": (arrays(y_train=LABELS / 1), "y_train .* type float64"),
    "one-hot labels": (arrays(y_train=np.eye(9, dtype=int)), r"y_train has shape \(9, 9\).*integers \[n\] or \[n, 1\]"),
    "too few labels": (arrays(y_train=LABELS[:8]), "y_train .* each of the 9 images"),
    "too many labels": (arrays(y_test=np.array([2, 30, 2, 2, 2])), "y_test .* each of the 4 images"),
    "another shape in test": (arrays(x_test=X[:4]), r"x_test has shape \(4, 5, 7\).*\(5, 7, 2\)"),
    "one class": (arrays(y_train=np.zeros(9, int), y_test=np.zeros(4, int)), r"y_train .* at least 2 classes.*\[0\]"),
    "one image for all": (arrays(x_train=np.uint8(7)), r"x_train has shape \(\)"),
    "a row of pixels": (arrays(x_train=X.ravel()), r"x_train has shape \(315,\)"),
    "half precision": (arrays(x_train=X.astype(np.float16)), "x_train .* type float16"),
    "complex images": (arrays(x_train=X * 1j), "x_train .* type complex128.*integers from 0 to 255"),
    "records": (arrays(x_train=np.zeros((9, 5, 7), [("red", "u1")])), "x_train .* integers from 0 to 255"),
    "dates": (arrays(y_train=LABELS.astype("M8[D]")), "y_train .* integers"),
    "text labels": (arrays(y_train=LABELS.astype(str)), "y_train .* integers"),
    "byte labels": (arrays(y_train=LABELS.astype(bytes)), "y_train .* integers"),
    "nan labels": (arrays(y_train=LABELS * np.nan), "y_train .* integers"),
    "one label": (arrays(y_train=np.int64(3)), r"y_train has shape \(\)"),
    "no labels": (arrays(y_train=LABELS[:0]), r"y_train has shape \(0,\)"),
    "labels in a row": (arrays(y_train=LABELS[None]), r"y_train has shape \(1, 9\)"),
    "labels beyond int64": (arrays(y_test=np.full(4, 2**63, np.uint64)), "y_test .* up to 9223372036854775807"),
    "nothing": ({}, "no array x_train"),
    "another kind": ({"images": X, "labels": LABELS}, "no array x_train .found: 'images', 'labels'"),
    "a name of two lines": ({"a\nb": X}, r"found: 'a\\nb'"),
    "class only in test": (arrays(y_test=np.array([2, 30, 4, -1])), r"y_test .* unlike \[4\]"),
}


@pytest.mark.parametrize("written, message", REFUSED.values(), ids=REFUSED)
def test_arrays_that_do_not_fit(tmp_path, written, message):
    path = tmp_path / "own.npz"
    np.savez(path, **written)
    refuses(path, message)


def refuses(path, message):
    with pytest.raises(RequestError, match=message) as caught:
        datasets.load(str(path))
    line = str(caught.value)
    assert str(path) in line and "\n" not in line and ("must be" in line or "must hold" in line)


def test_missing_file(tmp_path):
    refuses(tmp_path / "none.npz", "no such file")


def test_folder(tmp_path):
    (tmp_path / "folder.npz").mkdir()
    refuses(tmp_path / "folder.npz", "has no class folders")


@pytest.mark.parametrize("keep", [0, 20, 1000, -1])
def test_truncated(tmp_path, keep):
    np.savez(tmp_path / "own.npz", **arrays())
    (tmp_path / "cut.npz").write_bytes((tmp_path / "own.npz").read_bytes()[:keep])
    refuses(tmp_path / "cut.npz", "damaged or not an .npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_flipped_byte(tmp_path, save):
    save(tmp_path / "own.npz", **arrays())
    data = bytearray((tmp_path / "own.npz").read_bytes())
    data[300] ^= 255
    (tmp_path / "own.npz").write_bytes(data)
    refuses(tmp_path / "own.npz", "x_train cannot be read")


def header(shape, descr="|u1", version=(1, 0)):
    """The header of a `.npy` file."""
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}}}"
    return header_of(text, version)


def header_of(text, version=(1, 0)):
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H", len(text) + 1) + text.encode() + b"\n"


class Harmful:
    """An object whose pickle, once loaded, fails the test."""

    def __reduce__(self):
        return pytest.fail, ("it was unpickled",)


def npy(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


MEMBERS = {  # in the place of x_train.npy, with the right checksum
    "more than the memory holds": header((10**15,)),
    "a size beyond 64 bits": header((2**32, 2**32, 2)),
    "a negative size": header((-1, 5, 7)) + bytes(315),
    "a size of the wrong type": header((9.0, 5, 7)) + bytes(315),
    "a type that is none": header((9, 5, 7), "zzz") + bytes(315),
    "too few bytes": header((9, 5, 7)) + bytes(314),
    "half a header": header_of("{'descr':"),
    "a program as a header": header_of("__import__('os').abort()"),
    "a header of Python 2": header_of("{'descr': '|u1', 'fortran_order': False, 'shape': (9L, 5L, 7L)}") + bytes(315),
    "another version": header((9, 5, 7), version=(9, 0)) + bytes(315),
    "the first bytes alone": b"\x93NUMPY",
    "nothing": b"",
    "text": b"pixels",
    "pickled objects": npy(np.array([Harmful()] * 9, object)),
    "a bare pickle": b"cbuiltins\nexit\n(tR.",
}


@pytest.mark.parametrize("member", MEMBERS.values(), ids=MEMBERS)
def test_a_member_that_is_no_array_of_integers(tmp_path, member):
    np.savez(tmp_path / "own.npz", **arrays(x_train=None))
    with zipfile.ZipFile(tmp_path / "own.npz", "a") as archive:
        archive.writestr("x_train.npy", member)
    refuses(tmp_path / "own.npz", "x_train (cannot be read|is not an array)")


def test_an_array_that_is_there_twice(tmp_path):
    np.savez(tmp_path / "own.npz", **arrays())
    with zipfile.ZipFile(tmp_path / "own.npz", "a") as archive:
        archive.writestr("y_train", npy(LABELS[::-1]))
    refuses(tmp_path / "own.npz", "several arrays y_train")


def test_large_labels_stay_apart(tmp_path):
    """NumPy compares int64 with uint64 as float64, where 2**53 and 2**53 + 1 are equal."""
    labels = 2**53 + np.arange(3)
    np.savez(tmp_path / "own.npz", **arrays(y_train=np.tile(labels, 3), y_test=labels[[2, 1, 0, 1]].astype(np.uint64)))
    assert datasets.load(str(tmp_path / "own.npz")).test_labels.tolist() == [2, 1, 0, 1]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_no_damage_goes_unnoticed(tmp_path, save):
    """A file that is cut at any length, or has a bit of any byte turned, is refused or gives the same arrays."""
    path = tmp_path / "own.npz"
    small = X[:3, :2, :2]
    save(path, x_train=small, y_train=LABELS[:3], x_test=small, y_test=LABELS[:3])
    whole = path.read_bytes()
    mark = fingerprint(npz.read(str(path)))
    refused = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place])
        refuses(path, "damaged|cannot be read|no array")
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        try:
            assert fingerprint(npz.read(str(path))) == mark
        except RequestError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > len(whole) / 2  # the others are dates, permissions and padding


@pytest.mark.parametrize("name", ["~nobody-of-this-name/own.npz", "x" * 300 + ".npz", "a\0b.npz", "a\nb.npz", ".npz"])
def test_paths_that_lead_nowhere(name):
    with pytest.raises(RequestError) as caught:
        datasets.load(name)
    assert repr(name) in str(caught.value) and "\n" not in str(caught.value)


def test_npy_under_another_name(tmp_path):
    with (tmp_path / "one.npz").open("wb") as file:
        np.save(file, X)
    refuses(tmp_path / "one.npz", "not an .npz")
