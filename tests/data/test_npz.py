"""The user's own `.npz`: what is accepted, and the line that refuses the rest."""

import numpy as np
import pytest

from cnn.config import RequestError
from cnn.data import datasets

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
    found = datasets.load(path)
    np.testing.assert_array_equal(found.train_images, written["x_train"])
    np.testing.assert_array_equal(found.test_images, written["x_test"])
    assert found.train_labels.tolist() == [2, 0, 1] * 3 and found.test_labels.tolist() == [1, 2, 1, 0]
    assert found.class_names == ("-1", "2", "30") and found.classes == 3 and found.image_shape == (5, 7, 2)
    assert found.name == path and found.train_labels.dtype == found.test_labels.dtype == np.int32
    written["x_test"][0, 0, 0, 0] ^= 1
    np.savez(path, **written)
    assert datasets.load(path).fingerprint != found.fingerprint


@pytest.mark.parametrize(
    "images",
    [RNG.integers(0, 256, (9, 5, 7)).astype(dtype) for dtype in (np.uint8, np.int16, np.int64, np.uint64)]
    + [RNG.integers(0, 2, (9, 5, 7)).astype(bool)],
    ids=lambda images: str(images.dtype),
)
def test_integer_images_without_channels(tmp_path, images):
    np.savez(tmp_path / "own.npz", **arrays(x_train=images, x_test=images, y_test=np.array([30, -1, 2] * 3)[:, None]))
    found = datasets.load(str(tmp_path / "own.npz"))
    assert found.image_shape == (5, 7, 1) and found.train_images.dtype == np.uint8
    np.testing.assert_array_equal(found.train_images[..., 0], images)
    assert found.test_labels.tolist() == [2, 0, 1] * 3


X, LABELS = np.zeros((9, 5, 7), np.uint8), np.array([30, -1, 2] * 3)
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
    refuses(tmp_path / "folder.npz", "no such file")


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


def test_npy_under_another_name(tmp_path):
    with (tmp_path / "one.npz").open("wb") as file:
        np.save(file, X)
    refuses(tmp_path / "one.npz", "not an .npz")
