"""What is done with a data set before training: a validation part, fewer classes, the statistics of its pixels.

Example:
    >>> from cnn.data import datasets
    >>> digits = datasets.load("digits")
    >>> train, validation = split(digits.train_labels, validation_fraction=0.1, seed=0)
    >>> len(train), len(validation)
    (1293, 144)
    >>> mean, deviation = channel_statistics(digits.train_images, train)
    >>> mean.shape, deviation.shape
    ((1,), (1,))
"""

import hashlib
import math
import zlib
from collections.abc import Iterable

import numpy as np

from cnn.data.content import Dataset, file_name
from cnn.data.records import Records
from cnn.errors import RequestError, require


def split(labels: np.ndarray, validation_fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Divide n images, given their labels [n], at random into a training and a validation part.

    The validation part has round(fraction * n) images. Each class gives its share of them, rounded to within one image
    by the largest remainder, and keeps at least one image for training. The same seed gives the same split for every
    network.

    Returns:
        The indices of the training images and those of the validation images: sorted, int32, each image in exactly one
        of the two. A fraction of 0 gives an empty validation part.

    Raises:
        RequestError: the fraction is below 0, or not below 1, or leaves no image for training or for validation.

    Example:
        >>> train, validation = split(np.array([0, 0, 0, 0, 1, 1, 1, 1]), validation_fraction=0.25, seed=0)
        >>> len(train), len(validation), sorted(set(validation.tolist()) & {0, 1, 2, 3}) != []
        (6, 2, True)
    """
    count = len(labels)
    accepted = 0 <= validation_fraction < 1
    total = round(validation_fraction * count) if accepted else 0
    _, classes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    taken = _shares(sizes, total)
    if not accepted or (validation_fraction > 0 and not 0 < taken.sum() < count):
        raise RequestError(
            f"validation_fraction={validation_fraction!r}: must be at least 0 and below 1, and leave "
            f"at least one of {count} images for training and one for validation"
        )
    order = np.random.default_rng([zlib.crc32(b"split"), seed]).permutation(count)
    grouped = order[np.argsort(classes[order], kind="stable")]  # class by class, in random order inside a class
    rank = np.arange(count) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    chosen = rank < np.repeat(taken, sizes)
    return np.sort(grouped[~chosen]).astype(np.int32), np.sort(grouped[chosen]).astype(np.int32)


def _shares(sizes: np.ndarray, total: int) -> np.ndarray:
    """How many images each class gives, `total` in all: its quota, rounded by the largest remainder.

    A class gives at most all its images but one. What it cannot give, others give in its place.
    """
    quotas = sizes * total / max(1, sizes.sum())
    taken = np.minimum(np.floor(quotas).astype(int), sizes - 1)
    while (missing := min(total, (sizes - 1).sum()) - taken.sum()) > 0:
        open_classes = np.flatnonzero(taken < sizes - 1)
        by_remainder = open_classes[np.argsort((taken - quotas)[open_classes], kind="stable")]
        taken[by_remainder[:missing]] += 1
    return taken


def subset(dataset: Dataset, classes: Iterable[int]) -> Dataset:
    """The data set that has only the images of some classes, in both parts; class `classes[i]` becomes class i.

    Args:
        dataset: has all classes. Its arrays are not changed; the result shares them where no image is left out.
        classes: labels of `dataset`, in the order that the result's classes shall have.

    Returns:
        The chosen images in the order of `dataset`, the names of their classes, and a fingerprint that depends on that
        of `dataset` and on the classes.

    Raises:
        RequestError: a class is unknown or given twice, or there are fewer than two.

    Example:
        >>> from cnn.data import datasets
        >>> odd = subset(datasets.load("digits"), [9, 1, 3])
        >>> odd.name, odd.class_names, odd.train_images.shape
        ('digits, classes 9,1,3', ('9', '1', '3'), (436, 8, 8, 1))
    """
    classes = list(classes)
    known = all(label in range(dataset.classes) for label in classes)
    accepted = f"at least two labels from 0 to {dataset.classes - 1}, none twice"
    require(known and len(set(classes)) == len(classes) >= 2, "classes", classes, accepted)
    renumbered = np.full(dataset.classes, -1, np.int32)
    renumbered[classes] = np.arange(len(classes), dtype=np.int32)

    def part(images: np.ndarray | Records, labels: np.ndarray) -> tuple[np.ndarray | Records, np.ndarray]:
        labels = renumbered[labels]
        kept = labels >= 0
        if kept.all():
            return images, labels
        return images.at(kept) if isinstance(images, Records) else images[kept], labels[kept]

    train = part(dataset.train_images, dataset.train_labels)
    test = part(dataset.test_images, dataset.test_labels)
    text = _runs([int(label) for label in classes])
    mark = hashlib.sha256(f"{dataset.fingerprint} {text}".encode()).hexdigest()[:12]
    names = tuple(dataset.class_names[label] for label in classes)
    slug = file_name(f"{dataset.slug}_classes_{text}")
    return Dataset(f"{dataset.name}, classes {text}", *train, *test, names, mark, slug, dataset.largest_pixel)


def _runs(numbers: list[int]) -> str:
    """The numbers as text, in which the first and the last stand for three or more that rise by one.

    Example:
        >>> _runs([0, 1, 2, 3, 4, 7])
        '0-4,7'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs)


def channel_statistics(
    images: np.ndarray | Records, indices: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel over all pixels of uint8 images [n, height, width, channels].

    The sums are integers, so they are exact and do not depend on the order of the images.

    Args:
        images: uint8 [n, height, width, channels].
        indices: the images to take; all of them by default.

    Returns:
        Mean and deviation, each float32 [channels], in pixel units (0 to 255). The deviation of a constant channel is
        given as 1, so that it can be divided by.

    Example:
        >>> images = np.array([[[[0, 7]], [[4, 7]]]], np.uint8)  # one image of 2 x 1 pixels and 2 channels
        >>> mean, deviation = channel_statistics(images)
        >>> mean.tolist(), deviation.tolist()
        ([2.0, 7.0], [2.0, 1.0])
    """
    pixels = math.prod(images.shape[1:])
    channels = images.shape[-1]
    count = len(images) if indices is None else len(indices)
    # The sum of 65536 squares fits into 32 bits, and a chunk of a few megabytes into the processor's cache.
    step = min(max(1, 2**20 // pixels), 65536)
    sums = np.zeros(pixels, np.int64)
    squares = np.zeros(pixels, np.int64)
    for start in range(0, count, step):
        chosen = slice(start, start + step) if indices is None else indices[start : start + step]
        chunk = images[chosen].reshape(-1, pixels).astype(np.uint32)
        sums += chunk.sum(axis=0, dtype=np.uint32)
        np.square(chunk, out=chunk)
        squares += chunk.sum(axis=0, dtype=np.uint32)
    n = count * pixels // channels
    total = [int(value) for value in sums.reshape(-1, channels).sum(axis=0)]
    square = [int(value) for value in squares.reshape(-1, channels).sum(axis=0)]
    # Python's integers have no limit: n * sum(x^2) - sum(x)^2 is exact, and 0 for a constant channel only.
    variance = [(n * q - s * s) / (n * n) for s, q in zip(total, square, strict=True)]
    mean = np.array([s / n for s in total], np.float32)
    deviation = np.array([math.sqrt(v) if v > 0 else 1.0 for v in variance], np.float32)
    return mean, deviation
