"""Data sets by name: uint8 images and labels, the split of the training part, and its mean and deviation.

`load` knows scikit-learn's `digits`, every image classification set of TensorFlow Datasets, and `.npz` files. Decoded
arrays are kept in a cache folder and memory-mapped. The heavy libraries are imported only where they are needed.

Example:
    >>> digits = load("digits")
    >>> digits.train_images.shape, digits.test_images.shape, digits.classes
    ((1437, 8, 8, 1), (360, 8, 8, 1), 10)
    >>> train, validation = split(digits.train_labels, validation_fraction=0.1, seed=0)
    >>> len(train), len(validation)
    (1293, 144)
    >>> mean, deviation = channel_statistics(digits.train_images, train)
    >>> mean.shape, deviation.shape
    ((1,), (1,))
"""

import functools
import hashlib
import math
import os
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnn.config import RequestError, require, user_path
from cnn.data import cache, download, npz, prepared
from cnn.data.cache import Content
from cnn.progress import Progress


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels in a training and a test part; images may be read-only memory maps."""

    name: str
    train_images: np.ndarray  # uint8 [n, height, width, channels]
    train_labels: np.ndarray  # int32 [n], from 0 to classes - 1
    test_images: np.ndarray  # uint8 [n, height, width, channels]
    test_labels: np.ndarray  # int32 [n]
    class_names: tuple[str, ...]
    fingerprint: str  # short hex of the content, recorded with results

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return self.train_images.shape[1:]

    @property
    def classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)


def load(
    name: str,
    *,
    data_dir: str | os.PathLike | None = None,
    cache_dir: str | os.PathLike | None = None,
    progress: Progress = Progress(),
) -> Dataset:
    """A data set by its name.

    Args:
        name: `digits` (1797 images, of which a fixed stratified fifth is the test part; pixels from 0 to 16);
            the path of an `.npz` (see `cnn.data.npz`); or `NAME[/CONFIG][:VERSION]` of TensorFlow Datasets.
        data_dir: where TensorFlow Datasets keeps its data; by default `TFDS_DATA_DIR`, else `~/tensorflow_datasets`.
            What is not prepared there is downloaded.
        cache_dir: where decoded arrays are kept; by default `cnn.data.cache.default_folder()`.
        progress: shows downloads and decoding.

    Raises:
        RequestError: the name is unknown, or the data is damaged or not what can be learnt from; one line says what
            would be accepted.
        OSError: a download failed; one line names it.

    Example:
        >>> digits = load("digits")
        >>> digits.image_shape, digits.class_names[:3], int(digits.train_images.max())
        ((8, 8, 1), ('0', '1', '2'), 16)
    """
    if name.endswith(".npz"):
        content = npz.read(name)
        return Dataset(name, *content, cache.fingerprint(content))
    root = user_path("cache_dir", cache_dir) if cache_dir else cache.default_folder()
    if name == "digits":
        key, build = "digits", _digits
    else:
        key, build = _tensorflow_dataset(name, prepared.data_folder(data_dir), progress)
    content, mark = cache.load(root, key, build, progress)
    return Dataset(name, *content, mark)


def split(labels: np.ndarray, validation_fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The indices of the training and of the validation images: sorted int32, disjoint, together all of [n] labels.

    The validation part has round(fraction * n) images and each class its share of them, to within one image (largest
    remainder). A class keeps at least one image in training. The same seed gives the same split for every network. A
    fraction of 0 gives an empty validation part.

    Raises:
        RequestError: the fraction is not in [0, 1), or leaves no image for training or for validation.

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
    """How many of `total` images each class gives: its quota, rounded by largest remainder, at most all but one."""
    quotas = sizes * total / max(1, sizes.sum())
    taken = np.minimum(np.floor(quotas).astype(int), sizes - 1)
    while (missing := min(total, (sizes - 1).sum()) - taken.sum()) > 0:
        open_classes = np.flatnonzero(taken < sizes - 1)
        by_remainder = open_classes[np.argsort((taken - quotas)[open_classes], kind="stable")]
        taken[by_remainder[:missing]] += 1
    return taken


def subset(dataset: Dataset, classes: Iterable[int]) -> Dataset:
    """The images of some classes alone, in both parts and in their old order; class `classes[i]` becomes class i.

    Args:
        dataset: all classes; its arrays stay as they are, and are shared where no image is left out.
        classes: labels of `dataset`, in the order of the new ones.

    Returns:
        The data set with these classes, their names, and a fingerprint that follows from the old one and the classes.

    Raises:
        RequestError: a class that is unknown or given twice, or fewer than two.

    Example:
        >>> odd = subset(load("digits"), [9, 1, 3])
        >>> odd.name, odd.class_names, odd.train_images.shape
        ('digits, classes 9,1,3', ('9', '1', '3'), (436, 8, 8, 1))
    """
    classes = list(classes)
    known = all(label in range(dataset.classes) for label in classes)
    accepted = f"at least two labels from 0 to {dataset.classes - 1}, none twice"
    require(known and len(set(classes)) == len(classes) >= 2, "classes", classes, accepted)
    renumbered = np.full(dataset.classes, -1, np.int32)
    renumbered[classes] = np.arange(len(classes), dtype=np.int32)

    def part(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        labels = renumbered[labels]
        kept = labels >= 0
        return images if kept.all() else images[kept], labels[kept]

    train = part(dataset.train_images, dataset.train_labels)
    test = part(dataset.test_images, dataset.test_labels)
    text = _runs([int(label) for label in classes])
    mark = hashlib.sha256(f"{dataset.fingerprint} {text}".encode()).hexdigest()[:12]
    names = tuple(dataset.class_names[label] for label in classes)
    return Dataset(f"{dataset.name}, classes {text}", *train, *test, names, mark)


def _runs(numbers: list[int]) -> str:
    """`0-4,7` for 0, 1, 2, 3, 4, 7: rising runs of three and more by their ends."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs)


def channel_statistics(images: np.ndarray, indices: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, float32 [channels], in pixel units (0 to 255).

    They are those of all pixels of uint8 images [n, height, width, channels], or of the images that `indices` names.
    The sums are integers, so the result is exact and does not depend on the order. A constant channel has deviation 1.

    Example:
        >>> images = np.array([[[[0, 7]], [[4, 7]]]], np.uint8)  # one image of 2 x 1 pixels and 2 channels
        >>> mean, deviation = channel_statistics(images)
        >>> mean.tolist(), deviation.tolist()
        ([2.0, 7.0], [2.0, 1.0])
    """
    pixels, channels = math.prod(images.shape[1:]), images.shape[-1]
    count = len(images) if indices is None else len(indices)
    # Squares of 65536 pixels fit into 32 bits; a chunk of a few megabytes stays in the processor's cache.
    step = min(max(1, 2**20 // pixels), 65536)
    sums, squares = np.zeros(pixels, np.int64), np.zeros(pixels, np.int64)
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
    return mean, np.array([math.sqrt(v) if v > 0 else 1.0 for v in variance], np.float32)


def _tensorflow_dataset(name: str, data: Path, progress: Progress) -> tuple[str, Callable[[], Content]]:
    """The cache entry of a set of TensorFlow Datasets, and what builds it: prepared data first, then a download."""
    base, folder = prepared.base_name(name), prepared.find(data, name)
    if folder is None and base in download.PUBLISHED:
        return f"{prepared.slug(name)}-published", functools.partial(download.prepare, name, data, progress)
    if folder is None:
        folder = prepared.prepare(name, data, progress)
    return prepared.key(name, folder), functools.partial(prepared.read, name, folder, progress)


def _digits() -> Content:
    # scikit-learn takes more than a second to import; the cache saves it.
    from sklearn import datasets, model_selection

    digits = datasets.load_digits()
    images, labels = digits.images.astype(np.uint8)[..., np.newaxis], digits.target.astype(np.int32)
    train, test = model_selection.train_test_split(
        np.arange(len(labels)), test_size=360, stratify=labels, random_state=0
    )
    train, test = np.sort(train), np.sort(test)
    return Content(images[train], labels[train], images[test], labels[test], tuple(map(str, digits.target_names)))
