"""A data set of the user's own: an `.npz` with `x_train`, `y_train`, `x_test`, `y_test`.

Images are [n, height, width] or [n, height, width, channels], of any integer or boolean type, with values 0 to 255.
The file does not say which value is white; `cnn.data.content.largest_pixel` does.
Labels are [n] or [n, 1], of any integer or boolean type. Each distinct training label is a class, the smallest class 0.

Example:
    >>> import tempfile
    >>> images = np.zeros((2, 5, 7), np.uint8)
    >>> labels = np.array([30, 10])
    >>> with tempfile.NamedTemporaryFile(suffix=".npz") as file:
    ...     np.savez(file.name, x_train=images, y_train=labels, x_test=images, y_test=labels)
    ...     content = read(file.name)
    >>> content.train_images.shape, content.train_labels.tolist(), content.class_names
    ((2, 5, 7, 1), [1, 0], ('10', '30'))
"""

import functools
import os
import warnings
import zipfile
from pathlib import Path
from typing import NoReturn

import numpy as np

from cnn.data.content import Content, Entry, Options, Source, file_name
from cnn.errors import RequestError, require
from cnn.places import user_path

KEYS = ("x_train", "y_train", "x_test", "y_test")


def read(name: str) -> Content:
    """The content of the `.npz` at path `name`. Pickled arrays are refused.

    Raises:
        RequestError: the file is missing or damaged, or an array is missing or does not fit; the line names the array,
            its shape and type, and what would be accepted.
    """
    arrays = _open(name)
    train_images, train_labels = _part(name, arrays, "train")
    test_images, test_labels = _part(name, arrays, "test")
    shape = train_images.shape[1:]
    if test_images.shape[1:] != shape:
        _refuse(name, "x_test", arrays["x_test"], f"images of the shape of x_train's, {shape}")
    values, train_classes = np.unique(train_labels, return_inverse=True)
    if len(values) < 2:
        _refuse(name, "y_train", arrays["y_train"], f"labels of at least 2 classes, not only {values.tolist()}")
    unknown = np.setdiff1d(test_labels, values)
    if unknown.size:
        _refuse(name, "y_test", arrays["y_test"], f"labels that occur in y_train, unlike {unknown[:5].tolist()}")
    test_classes = np.searchsorted(values, test_labels)
    names = tuple(str(value) for value in values)
    return Content(train_images, train_classes.astype(np.int32), test_images, test_classes.astype(np.int32), names)


def _open(name: str) -> dict[str, np.ndarray]:
    """The four arrays as they are stored."""
    path = user_path("dataset", name)
    require(name.isprintable(), "dataset", name, "a path of printable characters")  # messages and titles quote the name
    try:
        if not path.is_file():
            raise RequestError(f"dataset={name!r}: no such file; must be the path of an .npz with {', '.join(KEYS)}")
        if not zipfile.is_zipfile(path):
            raise RequestError(f"dataset={name!r}: damaged or not an .npz file; must be written by numpy.savez")
        # NumPy does not close a damaged archive that it has opened itself.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            wrong = [key for key in KEYS if archive.files.count(key) != 1]
            if wrong:
                held = ", ".join(map(repr, archive)) or "none"
                number = "several arrays" if wrong[0] in archive else "no array"
                raise RequestError(
                    f"dataset={name!r}: has {number} {wrong[0]} (found: {held}); must hold {', '.join(KEYS)}"
                )
            return {key: _member(name, archive, key) for key in KEYS}
    except RequestError:
        raise
    except Exception as error:  # NumPy, zipfile and its decoders raise errors of many types for a damaged file
        raise RequestError(
            f"dataset={name!r}: cannot be read as an .npz file: {_reason(error)}; must be written by numpy.savez"
        ) from error


def _member(name: str, archive: np.lib.npyio.NpzFile, key: str) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            array = archive[key]
    except Exception as error:  # the same errors, and MemoryError where a header promises too much
        raise RequestError(
            f"dataset={name!r}: {key} cannot be read: {_reason(error)}; must be an array of integers, "
            "written whole and without pickle"
        ) from error
    if not isinstance(array, np.ndarray):
        raise RequestError(f"dataset={name!r}: {key} is not an array; must be written by numpy.savez")
    return array


def _part(name: str, arrays: dict[str, np.ndarray], part: str) -> tuple[np.ndarray, np.ndarray]:
    """The checked images, uint8 [n, height, width, channels], and labels [n] of `train` or `test`."""
    images = _images(name, f"x_{part}", arrays[f"x_{part}"])
    labels = _labels(name, f"y_{part}", arrays[f"y_{part}"])
    if len(labels) != len(images):
        _refuse(name, f"y_{part}", arrays[f"y_{part}"], f"one label for each of the {len(images)} images")
    return images, labels


def _images(name: str, key: str, images: np.ndarray) -> np.ndarray:
    """uint8 [n, height, width, channels]."""
    if images.dtype.kind == "f":
        conversion = "convert floats from 0 to 1 by numpy.round(255 * images).astype('uint8')"
        _refuse(name, key, images, f"integers from 0 to 255: {conversion}")
    if images.dtype.kind not in "bui":
        _refuse(name, key, images, "integers from 0 to 255")
    if images.ndim not in (3, 4) or images.size == 0:
        _refuse(name, key, images, "[n, height, width] or [n, height, width, channels], none of them 0")
    low = int(images.min())
    high = int(images.max())
    if low < 0 or high > 255:
        _refuse(name, key, images, f"values from 0 to 255, not from {low} to {high}")
    images = images.astype(np.uint8, copy=False)
    return images if images.ndim == 4 else images[..., np.newaxis]


def _labels(name: str, key: str, labels: np.ndarray) -> np.ndarray:
    """Booleans [n], or int64 [n]; the values are those of the file."""
    if labels.dtype.kind not in "bui" or labels.size == 0 or labels.shape not in ((labels.size,), (labels.size, 1)):
        _refuse(name, key, labels, "integers [n] or [n, 1]")
    if labels.dtype.kind == "b":
        return labels.reshape(-1)
    # Both parts get one type, because NumPy compares int64 with uint64 as float64, where large labels become equal.
    if labels.max() > np.iinfo(np.int64).max:
        _refuse(name, key, labels, f"integers up to {np.iinfo(np.int64).max}, not {labels.max()}")
    return labels.reshape(-1).astype(np.int64)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _refuse(name: str, key: str, array: np.ndarray, accepted: str) -> NoReturn:
    raise RequestError(f"dataset={name!r}: {key} has shape {array.shape} and type {array.dtype}: must be {accepted}")


def _takes(name: str) -> bool:
    return name.endswith(".npz") and not os.path.isdir(name)


def _find(name: str, options: Options) -> Entry:
    return Entry(file_name(Path(name).stem), functools.partial(read, name), largest_pixel=None)


SOURCE = Source(accepts="the path of an .npz", takes=_takes, find=_find)
