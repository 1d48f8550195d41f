"""Chooses the images of a training step, and cuts batches for an exact evaluation.

Loops and steps know a data set only through `Batches`. `Resident` serves a data set that lies on the device as a whole;
`cnn.data.stream` serves one that stays on the host.

Random numbers come from named streams, folded with the seed and with the epoch or the step. So a resumed run draws the
same numbers as an uninterrupted one.

Example:
    >>> batches = Resident(size=4, steps_per_epoch=2)
    >>> order = batches.order(jnp.int32(0), jnp.arange(8), epoch=0)
    >>> data = Images(jnp.zeros((8, 5, 5, 1), jnp.uint8), jnp.arange(8))
    >>> given = batches.feed(data, order, first=0)
    >>> first, second = (batches.examples(next(given), step).labels.ravel().tolist() for step in (0, 1))
    >>> sorted(first + second)
    [0, 1, 2, 3, 4, 5, 6, 7]
"""

import itertools
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Int, Key, UInt8


class Images(flax.struct.PyTreeNode):
    """A part of a data set on the device, or the images of a batch of examples."""

    images: UInt8[Array, "*batch height width c"]
    labels: Int[Array, "*batch"]

    def take(self, indices: Int[Array | np.ndarray, "*batch"]) -> "Images":
        """The images and labels at these places."""
        return Images(self.images[indices], self.labels[indices])


def key(seed: int | Int[Array, ""]) -> Key[Array, ""]:
    """The key of a seed, whatever JAX's settings say of the default generator and of an offset of all seeds.

    Example:
        >>> bool(key(7) == jax.random.key(7))
        True
    """
    return jax.random.wrap_key_data(jnp.stack([jnp.uint32(0), jnp.asarray(seed, jnp.uint32)]), impl="threefry2x32")


def named_key(seed: int | Int[Array, ""], name: str) -> Key[Array, ""]:
    """The key of a named stream of random numbers: init, shuffle, augment or dropout.

    Example:
        >>> bool((named_key(0, "init") == named_key(0, "shuffle")).all())
        False
    """
    return jax.random.fold_in(key(seed), zlib.crc32(name.encode()) & 0x7FFFFFFF)


@runtime_checkable
class Batches(Protocol):
    """How a training step finds its examples; `data` is whatever an implementation keeps them in.

    JAX traces `order` and `examples`, and compiles the second into the step. The loop calls `feed` and `take` on the
    host, in several threads at once.
    """

    @property
    def size(self) -> int:
        """Examples in a step."""

    @property
    def steps_per_epoch(self) -> int:
        """How many steps make an epoch."""

    def order(self, seed: Array, train_indices: Array, epoch: int | Array) -> Any:
        """The training images in the order of an epoch."""

    def feed(self, data: Any, order: Any, first: int) -> Iterator[Any]:
        """What each step of an epoch takes as an argument, from step `first` on: arrays whose shapes never change."""

    def examples(self, given: Any, step: int | Array) -> Images:
        """The images [size, objects, height, width, c] and labels [size, objects] of a step, from what it was given."""

    def take(self, data: Any, indices: Int[np.ndarray, "batch objects"]) -> Images:
        """The images and labels at these places, on the device, for an evaluation."""


@dataclass(frozen=True)
class Shuffled:
    """Which images make the examples of each step, wherever the data set lies."""

    size: int
    steps_per_epoch: int
    objects: int = 1  # images that make one example

    def order(
        self, seed: Int[Array, ""], train_indices: Int[Array, " n_train"], epoch: int | Array
    ) -> Int[Array, " n_train"]:
        """The training images in the order of an epoch."""
        return jax.random.permutation(jax.random.fold_in(named_key(seed, "shuffle"), epoch), train_indices)

    def start(self, batch: int | Int[Array, ""], number: int) -> int | Int[Array, ""]:
        """Where in the order those images begin that are the first (0), or the second (1), of a batch's examples.

        The second image of each example comes from the batch half an epoch away, one place later.

        Example:
            >>> [Shuffled(size=4, steps_per_epoch=3, objects=2).start(batch, number=1) for batch in range(3)]
            [4, 8, 0]
        """
        return (batch + number * (self.steps_per_epoch // 2)) % self.steps_per_epoch * self.size


@dataclass(frozen=True)
class Resident(Shuffled):
    """Batches of a data set that lies on the device as a whole; each image is taken at most once in an epoch."""

    def feed(self, data: Images, order: Int[Array, " n_train"], first: int) -> Iterator[tuple[Images, Array]]:
        """The whole data and the order, for each step the same."""
        return itertools.repeat((data, order))

    def examples(self, given: tuple[Images, Int[Array, " n_train"]], step: int | Int[Array, ""]) -> Images:
        """The examples of a step."""
        data, order = given
        batch = step % self.steps_per_epoch
        columns = []
        for number in range(self.objects):
            part = lax.dynamic_slice_in_dim(order, self.start(batch, number), self.size)
            columns.append(jnp.roll(part, number))
        return data.take(jnp.stack(columns, axis=1))

    def take(self, data: Images, indices: Int[np.ndarray, "batch objects"]) -> Images:
        """The images and labels at these places."""
        return _take(data, indices)


_take = jax.jit(Images.take)


def members(part: Int[np.ndarray, " n"], objects: int) -> Int[np.ndarray, "n objects"]:
    """The images that make the examples of an evaluation: each image is the first of one example.

    Example:
        >>> members(np.array([7, 8, 9]), 2).tolist()
        [[7, 9], [8, 7], [9, 8]]
    """
    return np.stack([np.roll(part, number) for number in range(objects)], axis=1)


def padded(
    indices: Int[np.ndarray, "..."], size: int
) -> tuple[Int[np.ndarray, "..."], Bool[np.ndarray, "batches size"]]:
    """Indices cut into batches of `size`, and a mask. The last batch is padded; the mask lets every index count once.

    Example:
        >>> padded(np.array([7, 8, 9]), 2)[1].tolist()
        [[True, True], [True, False]]
    """
    batches = -(-len(indices) // size)
    filled = np.zeros((batches * size, *indices.shape[1:]), np.int32)
    filled[: len(indices)] = indices
    mask = (np.arange(len(filled)) < len(indices)).reshape(-1, size)
    return filled.reshape(batches, size, *indices.shape[1:]), mask
