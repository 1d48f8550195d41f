"""Which classes a trained network sees in picture files.

Each picture gets the size, the colours and the range of values that the network learned from: it is stretched, turned
to grey or RGB, and its white becomes the network's.

Example, a network that has not been trained:
    >>> import tempfile
    >>> import jax, jax.numpy as jnp
    >>> from PIL import Image
    >>> from cnn.config import NetworkConfig, TrialConfig
    >>> from cnn.network import models
    >>> config = TrialConfig("mine", network=NetworkConfig(blocks=1, width=4))
    >>> variables = models.build(config.network, (8, 8, 1), 2).init(jax.random.key(0), jnp.ones((1, 8, 8, 1)))
    >>> trained = Trained(config, variables, np.zeros(1), np.ones(1), (8, 8, 1), ("cat", "dog"), output_size=2)
    >>> path = Path(tempfile.mkdtemp()) / "black.png"
    >>> Image.new("RGB", (30, 20)).save(path)
    >>> (answer,) = predict(trained, [path])
    >>> [likely.name for likely in answer.likeliest], answer.problem
    (['cat', 'dog'], None)
"""

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from cnn.data import pictures
from cnn.data.sources.listing import SUFFIXES
from cnn.progress import Progress
from cnn.trained.network import BATCH_SIZE, Trained

LIKELIEST = 3  # classes that are named for a picture


class Likely(NamedTuple):
    """A class, and the probability that a network gives it."""

    name: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """The classes that a network takes for likeliest, or why a file could not be asked about."""

    path: Path
    likeliest: tuple[Likely, ...] = ()  # the likeliest first; empty where there is a problem
    problem: str | None = None


def picture_files(paths: Iterable[Path], progress: Progress = Progress()) -> list[Path]:
    """The paths; in the place of a folder stand the pictures in it and in the folders below it, sorted.

    As in a data set's folder, a picture's name has one of the endings `listing.SUFFIXES`, and hidden files are left
    out. So are links, which a line counts.
    """
    found = [_files(path, progress) if os.path.isdir(path) else [path] for path in paths]
    return list(itertools.chain.from_iterable(found))


def _files(folder: Path, progress: Progress) -> list[Path]:
    inside = [path.relative_to(folder).parts for path in sorted(folder.rglob("*"))]
    shown = [folder.joinpath(*parts) for parts in inside if not any(part.startswith(".") for part in parts)]
    pictures = [path for path in shown if path.name.lower().endswith(SUFFIXES)]
    named = set(pictures)
    links = [path for path in shown if path.is_symlink() and (path in named or path.is_dir())]
    if links:
        first = str(links[0].relative_to(folder))
        count = f"{len(links):,} link{' is' if len(links) == 1 else 's are'}"
        progress.line(f"{count} not followed in {str(folder)!r}, such as {first!r}")
    return [path for path in pictures if path.is_file() and not path.is_symlink()]


def predict(
    trained: Trained, paths: Sequence[Path], *, invert: bool = False, progress: Progress = Progress()
) -> Iterator[Prediction]:
    """The three likeliest classes of each picture, in the order of the paths.

    A file that cannot be read has a problem instead, as has a picture of more pixels than Pillow takes for safe; the
    others are answered all the same.

    Args:
        trained: the network; it must be a classifier.
        paths: picture files.
        invert: exchange dark and light, for dark strokes on white where the network learned from light ones on black.
        progress: shows how many pictures are done.

    Raises:
        RequestError: the network locates objects.
    """
    with pictures.quiet(), progress.task("pictures", len(paths)) as task:
        for start in range(0, len(paths), BATCH_SIZE):
            batch = [_read(trained, path, invert=invert) for path in paths[start : start + BATCH_SIZE]]
            readable = [pixels for pixels in batch if isinstance(pixels, np.ndarray)]
            images = np.stack(readable) if readable else np.zeros((0, *trained.image_shape), np.uint8)
            rows = iter(trained.probabilities(images))
            for path, pixels in zip(paths[start:], batch, strict=False):
                if isinstance(pixels, str):
                    yield Prediction(path, problem=pixels)
                else:
                    yield Prediction(path, _likeliest(trained.class_names, next(rows)))
            task.advance(len(batch))


def _read(trained: Trained, path: Path, *, invert: bool) -> np.ndarray | str:
    """The pixels as the network takes them, or what is wrong with the file."""
    try:
        return image(trained, path, invert=invert)
    except pictures.Unreadable as error:
        return str(error)


def image(trained: Trained, path: Path, *, invert: bool = False) -> UInt8[np.ndarray, "height width c"]:
    """A picture as the network takes it; the arguments are those of `predict`.

    Raises:
        Unreadable: the file is no picture that can be read, or is too large for the memory, or the network takes no
            pictures; the message says so, without the file's name.
    """
    height, width, channels = trained.image_shape
    if channels not in (1, 3):
        raise pictures.Unreadable(f"the network takes images of {channels} channels, and pictures have 1 or 3")
    try:
        pixels = pictures.pixels(path, channels, (height, width))
    except MemoryError:
        raise pictures.Unreadable("it needs more memory than there is") from None
    pixels = 255 - pixels if invert else pixels
    return np.rint(pixels * (trained.largest_pixel / 255)).astype(np.uint8)


def _likeliest(names: Sequence[str], probabilities: np.ndarray) -> tuple[Likely, ...]:
    order = np.argsort(-probabilities, kind="stable")[:LIKELIEST]
    return tuple(Likely(names[index], float(probabilities[index])) for index in order)
