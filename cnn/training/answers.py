"""A trial's answers to the test images, as the table that its folder keeps: a row for each image.

Example:
    >>> right = np.array([True, False])
    >>> predictions = Predictions(np.array([3, 8], np.int32), np.array([0.9, 0.5], np.float32))
    >>> known, again = from_npy(to_npy(right, predictions))
    >>> known.tolist(), again.classes.tolist()
    ([True, False], [3, 8])
"""

import io
from typing import NamedTuple

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
    buffer = io.BytesIO()
    np.save(buffer, table, allow_pickle=False)
    return buffer.getvalue()


def from_npy(content: bytes) -> tuple[np.ndarray, Predictions | None]:
    """The inverse of `to_npy`."""
    table = np.load(io.BytesIO(content), allow_pickle=False)
    names = table.dtype.names or ()
    predictions = Predictions(table["classes"], table["probabilities"]) if "classes" in names else None
    return table["right"], predictions
