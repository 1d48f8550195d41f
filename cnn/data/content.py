"""What a data set is, once it is read: its arrays, and what identifies them.

A source, one file in `cnn.data.sources`, finds a data set by its name and reads its `Content`. `cnn.data.datasets.load`
adds the name and the fingerprint, which makes a `Dataset`.

Example:
    >>> images = np.zeros((2, 4, 4, 1), np.uint8)
    >>> labels = np.array([0, 1], np.int32)
    >>> content = Content(images, labels, images, labels, ("no", "yes"))
    >>> dataset = Dataset("tiny", *content[:5], fingerprint(content), file_name("tiny"))
    >>> dataset.image_shape, dataset.classes, dataset.fingerprint
    ((4, 4, 1), 2, '436dab9c3802')
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cnn.data.records import IN_MEMORY, Records, Reopen, Room, chunks, never
from cnn.progress import Progress


class Content(NamedTuple):
    """The arrays that a source reads, the names of the classes, and what is to be said of them at each load."""

    train_images: np.ndarray | Records  # uint8 [n, height, width, channels]
    train_labels: np.ndarray  # int32 [n], from 0 to classes - 1
    test_images: np.ndarray | Records  # uint8 [n, height, width, channels]
    test_labels: np.ndarray  # int32 [n]
    class_names: tuple[str, ...]
    note: str = ""  # what was read, and what was done to it; of no meaning for what is learnt


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels in a training and a test part; images may be read-only memory maps, or `Records`."""

    name: str
    train_images: np.ndarray | Records  # uint8 [n, height, width, channels]
    train_labels: np.ndarray  # int32 [n], from 0 to classes - 1
    test_images: np.ndarray | Records  # uint8 [n, height, width, channels]
    test_labels: np.ndarray  # int32 [n]
    class_names: tuple[str, ...]
    fingerprint: str  # identifies the content, and is recorded with results; see `fingerprint`
    slug: str  # the name in a form that fits into the name of a file or a folder
    largest_pixel: int = 255  # the value of white

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        _, height, width, channels = self.train_images.shape
        return height, width, channels

    @property
    def classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)


@dataclass(frozen=True)
class Options:
    """What a source is told beside a name; see `cnn.data.datasets.load`."""

    data_dir: str | os.PathLike | None
    image_size: tuple[int, ...]  # (height, width); empty where nobody asks for a size
    progress: Progress
    room: Room = IN_MEMORY  # for decoded images


class Entry(NamedTuple):
    """A data set that a source has found, and how to read it."""

    slug: str
    read: Callable[[], Content]
    key: str | None = None  # names its decoded arrays in the cache; None where decoding is so quick that none are kept
    reopen: Reopen = never  # gives the images again that `read` gave as `Records`
    largest_pixel: int | None = 255  # the value of white; None where nobody declares it; see `largest_pixel`


@dataclass(frozen=True)
class Source:
    """A kind of data set: the names that it takes, and how it finds a data set by such a name.

    Attributes:
        accepts: the names that it takes, in words that follow "must be".
        takes: whether a name has the form of this source's names; quick, and without heavy imports.
        find: the data set of that name; None where the source knows none. It raises RequestError where it knows the
            name and cannot serve the data set.
        known: all names that the source can list, from which the error of an unknown name suggests the nearest.
        base_name: the name without configuration and version, where the source has such.
        forms: how such names are written, for the error of a name that no source takes.
        resizes: whether it gives images the size `Options.image_size`.
    """

    accepts: str
    takes: Callable[[str], bool]
    find: Callable[[str, Options], Entry | None]
    known: Callable[[], Iterable[str]] = tuple
    base_name: Callable[[str], str] = str
    forms: str = ""
    resizes: bool = False


def fingerprint(content: Content) -> str:
    """Twelve hexadecimal digits of the SHA-256 of the arrays, their shapes and types, and the class names.

    Example:
        >>> part = (np.zeros((2, 4, 4, 1), np.uint8), np.array([0, 1], np.int32))
        >>> fingerprint(Content(*part, *part, ("no", "yes")))
        '436dab9c3802'
    """
    digest = hashlib.sha256(json.dumps(content.class_names).encode())
    for array in content[:4]:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        for chunk in chunks(array):
            digest.update(np.ascontiguousarray(chunk).data)
    return digest.hexdigest()[:12]


def largest_pixel(content: Content) -> int:
    """The value of white in images whose range nobody declares: their largest one if it is below 128, else 255.

    Images of 8 bits that never use the upper half of their range have another one, such as 0 to 1 or 0 to 16.

    Example:
        >>> part = (np.full((2, 4, 4, 1), 16, np.uint8), np.array([0, 1], np.int32))
        >>> largest_pixel(Content(*part, *part, ("no", "yes")))
        16
    """
    largest = max(int(chunk.max()) for chunk in chunks(content.train_images))
    return largest if 0 < largest < 128 else 255


def file_name(name: str) -> str:
    """The name with `_` in place of all that does not belong into the name of a file.

    Example:
        >>> file_name("mnist:3.0.1"), file_name("emnist/letters")
        ('mnist_3.0.1', 'emnist_letters')
    """
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name)
