"""How drawings of a data set are prepared: measured from its images, so that a new drawing can be prepared like them.

Grey images count as drawings where thin strokes of ink stand on a plain ground, dark or light.

Example:
    >>> from cnn.data import datasets
    >>> digits = measure(datasets.load("digits").train_images)
    >>> digits.ground, digits.ink, digits.side, digits.centred
    (0, 16, 8.0, 'box')
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from cnn.data.records import Records

MOST_IMAGES = 2000  # that are looked at, evenly spaced
FAINT = 1 / 8  # a share of ink up to which a cell counts as ground
PLAIN = 0.9  # share of the images whose four corners must be ground
STROKES = 10  # cells of a side at which a stroke is one or two cells wide
SOLID = 0.25  # share of ink within ink, at that size, from which images are no drawings


@dataclass(frozen=True)
class Drawing:
    """What the images of a data set have in common, as drawings; lengths and places are in pixels."""

    ground: int  # the pixel value of plain ground
    ink: int  # the pixel value of full ink
    side: float  # the longer side of the ink's bounding box: the median over the images
    pen: float  # the width of a stroke: likewise
    centred: Literal["mass", "box"]  # which centre varies less: that of the ink's mass, or of its bounding box
    centre: tuple[float, float]  # (row, column) where this centre lies, from the top left corner of the image


def measure(images: UInt8[np.ndarray, "n height width c"] | Records) -> Drawing | None:
    """What the images have in common as drawings; `None` for colours, photographs, solid shapes and empty images.

    The ground is the pixel value that corners have. The ink is the value farthest from it. The width of a stroke is its
    mass divided by half the length of its outline. The outline is counted along the edges of pixels, which makes it
    4/pi times too long, on average over all directions.
    """
    grey = images.shape[-1] == 1 and len(images) > 0
    sample = images[:: math.ceil(len(images) / MOST_IMAGES), ..., 0] if grey else images[:0, ..., 0]
    corners = sample[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    if not sample.size or sample.min() == sample.max():
        return None
    ground = int(np.median(corners))
    ink = int(max(sample.min(), sample.max(), key=lambda level: abs(int(level) - ground)))
    coverage = np.clip((sample.astype(np.float32) - ground) / (ink - ground), 0, 1)
    drawn = coverage[(coverage > FAINT).any(axis=(1, 2))]
    plain = (coverage[:, [0, 0, -1, -1], [0, -1, 0, -1]] <= FAINT).all(axis=1).mean()
    boxes = _boxes(drawn > FAINT)
    side = float(np.median(boxes.longer))
    if plain < PLAIN or _solid(drawn, side) >= SOLID:
        return None
    masses = _centres_of_mass(drawn)
    by_mass = masses.std(axis=0).sum() < boxes.centres.std(axis=0).sum()
    row, column = (masses if by_mass else boxes.centres).mean(axis=0).tolist()
    pen = float(np.median(drawn.sum(axis=(1, 2)) / (_outlines(drawn > FAINT) / 2)) * 4 / math.pi)
    return Drawing(ground, ink, side, pen, "mass" if by_mass else "box", (row, column))


class _Boxes(NamedTuple):
    longer: Float[np.ndarray, " n"]  # the longer side of each
    centres: Float[np.ndarray, "n 2"]


def _boxes(ink: Bool[np.ndarray, "n height width"]) -> _Boxes:
    """The bounding boxes of the ink in each image."""
    sides = []
    centres = []
    for across in (2, 1):  # rows with ink, then columns with ink
        lines = np.asarray(ink.any(axis=across))
        first = lines.argmax(axis=1)
        last = lines.shape[1] - lines[:, ::-1].argmax(axis=1)
        sides.append(last - first)
        centres.append((first + last) / 2)
    return _Boxes(np.max(sides, axis=0).astype(np.float64), np.stack(centres, axis=1))


def _centres_of_mass(coverage: Float[np.ndarray, "n height width"]) -> Float[np.ndarray, "n 2"]:
    mass = coverage.sum(axis=(1, 2))
    centres = [
        coverage.sum(axis=across) @ (np.arange(coverage.shape[3 - across]) + 0.5) / mass  # of rows, then of columns
        for across in (2, 1)
    ]
    return np.stack(centres, axis=1)


def _outlines(ink: Bool[np.ndarray, "n height width"]) -> np.ndarray:
    """How many edges between two pixels have ink on one side alone, for each image."""
    padded = np.pad(ink, ((0, 0), (1, 1), (1, 1)))
    down = (padded[:, 1:] != padded[:, :-1]).sum(axis=(1, 2))
    along = (padded[:, :, 1:] != padded[:, :, :-1]).sum(axis=(1, 2))
    return down + along


def _solid(coverage: Float[np.ndarray, "n height width"], side: float) -> float:
    """The share of inked cells whose four neighbours are inked too, where a side has about `STROKES` cells."""
    times = max(1, round(side / STROKES))
    images, height, width = coverage.shape
    whole = coverage[:, : height // times * times, : width // times * times]
    ink = whole.reshape(images, height // times, times, width // times, times).mean(axis=(2, 4)) > 0.5
    padded = np.pad(ink, ((0, 0), (1, 1), (1, 1)))
    beside = padded[:, 1:-1, :-2] & padded[:, 1:-1, 2:]
    inside = ink & beside & padded[:, :-2, 1:-1] & padded[:, 2:, 1:-1]
    return float(inside.sum() / max(ink.sum(), 1))
