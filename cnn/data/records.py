"""Images that have no room as decoded arrays: each is decoded whenever it is taken.

A source asks for room for the images that it decodes. Few images get memory, more of them a file beside the cache.
Where the disk has no room either, a source that reads single images quickly gives `Records` in place of an array.

Example:
    >>> files = {0: 7, 1: 9, 2: 8}
    >>> images = Records((3, 2, 2, 1), lambda places: [np.full((2, 2, 1), files[place], np.uint8) for place in places])
    >>> images.nbytes, images[1:].shape, images[np.array([[2, 0]])][..., 0, 0, 0].tolist()
    (12, (2, 2, 2, 1), [[8, 7]])
"""

import functools
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cnn import machine

Room = Callable[[tuple[int, ...]], np.ndarray]  # zeros for uint8 images of a shape, or NoRoomError
Reopen = Callable[[str, tuple[int, ...]], "Records"]  # from `train_images` or `test_images`, and the shape
IN_MEMORY: Room = functools.partial(np.zeros, dtype=np.uint8)
MEMORY_SHARE = 0.25  # of the memory: the largest images that are decoded there
CHUNK = 500  # images that are decoded at once, where all are read in their order


class NoRoomError(Exception):
    """Neither memory nor the cache folder's disk has room for decoded images; the message says for how many bytes."""


class Records:
    """Images in files, decoded when they are taken; taken from as from a read-only array of type uint8.

    Args:
        shape: [n, height, width, channels].
        decode: gives the images at some places, each [height, width, channels]. Several threads call it at once.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, shape: tuple[int, ...], decode: Callable[[Sequence[int]], Sequence[np.ndarray]]) -> None:
        self.shape = shape
        self._decode = decode

    @property
    def nbytes(self) -> int:
        """The bytes of all images, decoded."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        """The decoded images that NumPy's key chooses: an integer, a slice, an array, or a tuple that begins so."""
        first, *rest = key if isinstance(key, tuple) else (key,)
        places = np.arange(len(self))[first]
        images = np.empty((places.size, *self.shape[1:]), np.uint8)
        if places.size:
            images[:] = self._decode(places.ravel().tolist())
        return images.reshape(*places.shape, *self.shape[1:])[(slice(None),) * places.ndim + tuple(rest)]

    def at(self, chosen: np.ndarray) -> "Records":
        """The images at some places, or where a mask is true, not yet decoded."""
        places = np.arange(len(self))[chosen]
        return Records((len(places), *self.shape[1:]), lambda own: self._decode(places[own].tolist()))

    def __iter__(self) -> Iterator[np.ndarray]:
        return (image for chunk in chunks(self) for image in chunk)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)


def never(part: str, shape: tuple[int, ...]) -> Records:
    """The `Reopen` of a source that gives arrays alone."""
    raise NotImplementedError(f"{part}: this source has no records")


def chunks(images: np.ndarray | Records) -> Iterator[np.ndarray]:
    """All images in their order: an array as it is, `Records` some at a time."""
    if isinstance(images, Records):
        yield from (images[start : start + CHUNK] for start in range(0, len(images), CHUNK))
    else:
        yield images


def rooms(cache: Path) -> Room:
    """Room for the parts of one data set.

    It gives zeros for uint8 images of a shape: in memory, or in a file of the cache folder, which goes with the array.
    The file has no name. The cache needs as much again where it keeps the images, of all parts in the end. Where images
    take more than a quarter of the memory, and the disk has no room for them twice, it raises `NoRoomError`.
    """
    promised = 0  # bytes that the cache has still to write of earlier parts

    def room(shape: tuple[int, ...]) -> np.ndarray:
        nonlocal promised
        size = math.prod(shape)
        images = IN_MEMORY(shape) if _in_memory(size) else _file(cache, shape, promised)
        promised += size
        return images

    return room


def _file(cache: Path, shape: tuple[int, ...], promised: int) -> np.ndarray:
    size = math.prod(shape)
    if not _on_disk(cache, size, promised):
        raise NoRoomError(f"{size:,} bytes")
    try:
        with tempfile.TemporaryFile(dir=cache) as file:
            if hasattr(os, "posix_fallocate"):  # else a disk that others fill would end the process as it writes
                os.posix_fallocate(file.fileno(), 0, size)
            file.truncate(size)
            return np.memmap(file, np.uint8, "r+", shape=shape)
    except OSError as error:
        raise NoRoomError(f"{size:,} bytes ({error})") from error


def has_room(cache: Path, sizes: Sequence[int]) -> bool:
    """Whether `rooms` would have room for all parts of a data set, of so many bytes, and for them in the cache too."""
    return all(map(_in_memory, sizes)) or _on_disk(cache, sum(sizes))


def _in_memory(size: int) -> bool:
    memory = machine.memory()
    return memory is None or size <= MEMORY_SHARE * memory


def _on_disk(cache: Path, size: int, promised: int = 0) -> bool:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(cache).free >= promised + 2 * size
    except OSError:
        return False
