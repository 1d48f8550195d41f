"""Batches of a data set that is larger than a device: the host reads each one while the step before it runs.

Grain reads ahead, in threads. Element i of what it reads is the whole batch i of an epoch, in the order of a resident
data set. So both train equally, and where a run continues follows from its step: no checkpoint has a position.

Example:
    >>> batches = Stream(size=4, steps_per_epoch=2)
    >>> data = HostImages(np.zeros((8, 5, 5, 1), np.uint8), np.arange(8, dtype=np.int32))
    >>> order = batches.order(jax.numpy.int32(0), jax.numpy.arange(8), epoch=0)
    >>> given = list(batches.feed(data, order, first=1))
    >>> len(given), given[0].labels.ravel().tolist() == order[4:].tolist()
    (1, True)
"""

import importlib.util
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Int

from cnn.data.batches import Images, Shuffled
from cnn.data.content import Dataset
from cnn.data.records import Records
from cnn.errors import require_extra

READERS = 2  # threads that read ahead for each replica
AHEAD = 4  # batches that wait on the device
SHARE = 0.5  # of a device's memory: the largest data set that lies there as a whole


class HostImages(NamedTuple):
    """A part of a data set that stays on the host; the images may be a memory map."""

    images: np.ndarray | Records  # uint8 [n, height, width, channels]
    labels: np.ndarray  # int32 [n]

    def take(self, indices: Int[np.ndarray, "*batch"]) -> tuple[Array, Array]:
        """The images and labels at these places, on the device."""
        images, labels = jax.device_put((self.images[indices], self.labels[indices]))
        return images, labels


@dataclass(frozen=True)
class Stream(Shuffled):
    """Batches that the host gives one by one; each image is taken at most once in an epoch."""

    def feed(self, data: HostImages, order: Int[Array, " n_train"], first: int) -> Iterator[Images]:
        """The examples of each step, read ahead until the iterator is closed or forgotten."""
        import grain

        batches = grain.MapDataset.source(_Epoch(self, data, np.asarray(order)))[first:]
        read = iter(batches.to_iter_dataset(grain.ReadOptions(num_threads=READERS, prefetch_buffer_size=AHEAD)))
        try:
            yield from itertools.starmap(Images, read)
        finally:
            read.close()

    def examples(self, given: Images, step: int | Int[Array, ""]) -> Images:
        """What `feed` gave."""
        return given

    def take(self, data: HostImages, indices: Int[np.ndarray, "batch objects"]) -> Images:
        """The images and labels at these places, on the device."""
        return Images(*data.take(indices))


@dataclass(frozen=True)
class _Epoch:
    """The batches of an epoch, as Grain wants them."""

    batches: Stream
    data: HostImages
    order: Int[np.ndarray, " n_train"]

    def __len__(self) -> int:
        return self.batches.steps_per_epoch

    def __getitem__(self, step: int) -> tuple[Array, Array]:
        size = self.batches.size
        starts = [self.batches.start(step, number) for number in range(self.batches.objects)]
        columns = [np.roll(self.order[start : start + size], number) for number, start in enumerate(starts)]
        return self.data.take(np.stack(columns, axis=1))


def is_installed() -> bool:
    """Whether Grain is there; nothing is imported."""
    return importlib.util.find_spec("grain") is not None


def require_installed(why: str = "stream=True") -> None:
    """Refuse unless Grain can be imported.

    Args:
        why: what needs it.

    Raises:
        RequestError: it cannot; the message says how to install it.
    """
    require_extra("grain", "stream", why)


def too_large(dataset: Dataset, memory: int | None) -> str:
    """Why a data set's images stay on the host, as a message begins; empty where they fit on a device.

    They fit if they take at most `SHARE` of its memory, in bytes, or if nobody knows how much it has. Images that have
    no room on the host, decoded, fit nowhere.

    Example:
        >>> from cnn.data import datasets
        >>> digits = datasets.load("digits")
        >>> too_large(digits, 2**17)
        "dataset='digits': its images take more than half of 131,072 bytes of memory"
        >>> too_large(digits, 2**30), too_large(digits, None)
        ('', '')
    """
    parts = (dataset.train_images, dataset.test_images)
    if any(isinstance(part, Records) for part in parts):
        return f"dataset={dataset.name!r}: its images have no room, decoded"
    if memory is not None and sum(part.nbytes for part in parts) > SHARE * memory:
        return f"dataset={dataset.name!r}: its images take more than half of {memory:,} bytes of memory"
    return ""


def require_readable(dataset: Dataset, memory: int | None) -> None:
    """Refuse a data set that is too large for a device's memory, in bytes, unless Grain can be imported.

    Raises:
        RequestError: it cannot; the message says how to install it.
    """
    why = too_large(dataset, memory)
    if why:
        require_installed(why)
