"""A trial's answers to the test images, as the table that its folder keeps: a row for each image; and other arrays.

Example:
    >>> right = np.array([True, False])
    >>> predictions = Predictions(np.array([3, 8], np.int32), np.array([0.9, 0.5], np.float32))
    >>> known, again = from_npy(to_npy(right, predictions))
    >>> known.tolist(), again.classes.tolist()
    ([True, False], [3, 8])
"""

import io
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np


class Predictions(NamedTuple):
    """The class that a network takes for likeliest, of each image."""

    classes: np.ndarray  # int32 [images]
    probabilities: np.ndarray  # float32 [images], of these classes


def to_npy(right: np.ndarray, predictions: Predictions | None) -> bytes:
    """The content of an `.npy`: which images were right and, of a classifier, what it predicted."""
    columns = {"right": right, **(predictions._asdict() if predictions else {})}
    table = np.zeros(len(right), [(name, column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        table[name] = column
    return array_to_npy(table)


def array_to_npy(array: np.ndarray) -> bytes:
    """The content of an `.npy` with one array."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def arrays_to_npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The content of an `.npz` with arrays by name.

    Example:
        >>> found = np.load(io.BytesIO(arrays_to_npz({"boxes": np.arange(3)})), allow_pickle=False)
        >>> found["boxes"].tolist()
        [0, 1, 2]
    """
    buffer = io.BytesIO()
    named: dict[str, Any] = {**arrays}  # no array has the name of a keyword of NumPy's
    np.savez_compressed(buffer, **named)
    return buffer.getvalue()


def from_npy(content: bytes) -> tuple[np.ndarray, Predictions | None]:
    """The inverse of `to_npy`."""
    table = np.load(io.BytesIO(content), allow_pickle=False)
    names = table.dtype.names or ()
    predictions = Predictions(table["classes"], table["probabilities"]) if "classes" in names else None
    return table["right"], predictions
