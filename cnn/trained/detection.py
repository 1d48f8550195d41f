"""How well objects are found: average precision as in PASCAL VOC, in NumPy on the host.

A box is `(centre row, centre column, height, width)`, as in `cnn.data.scenes`.

Example, two true objects of class 0, of which one is found, and one detection where no object is:
    >>> boxes = np.array([[0.25, 0.25, 0.5, 0.5], [0.75, 0.75, 0.5, 0.5], [0.75, 0.25, 0.5, 0.5]])
    >>> true = Objects(np.array([0, 0]), np.array([0, 0]), boxes[:2])
    >>> detected = Objects(np.array([0, 0]), np.array([0, 0]), boxes[[2, 0]])
    >>> average_precision(true, detected, np.array([0.6, 0.9]))
    {0: 0.5}
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from cnn.data import scenes


class Objects(NamedTuple):
    """Objects of a set of images, true or detected: for each object its image, its class and its box."""

    images: Int[np.ndarray, " k"]
    classes: Int[np.ndarray, " k"]
    boxes: Float[np.ndarray, "k 4"]


def average_precision(
    true: Objects, detected: Objects, confidences: Float[np.ndarray, " k"], threshold: float = 0.5
) -> dict[int, float]:
    """The average precision of each class that has a true object (Everingham et al. 2010, section 4.2).

    In order of confidence, each detection takes a true object of its image and class: of those objects that are still
    free and whose intersection over union with it reaches the threshold, the one with the largest. A detection that
    finds no such object is false; a second detection of one object is false too.

    The average precision is the area under the curve of precision over recall. Each precision is first raised to the
    largest precision at the same or a higher recall, and every point of the curve counts (Everingham and Winn 2010,
    "VOC2010 Development Kit", section 3.4.1; earlier years took eleven points). Detections of equal confidence are one
    point of the curve, because no limit on the confidence tells them apart. Among themselves they take their objects in
    the order given.

    VOC's own program gives a detection the nearest true object even if that is taken. It so calls a detection false
    that finds another object beside it. The rule of the paper, which stands here, does not.

    Args:
        true: the true objects.
        detected: the detections.
        confidences: [detections], in any unit; only their order counts.
        threshold: the smallest intersection over union of a right detection.

    Returns:
        The average precision by class, from 0 to 1; 0 for a class of which nothing is detected.
    """
    order = np.argsort(-confidences, kind="stable")
    ranked = Objects(*(column[order] for column in detected))
    confidences = confidences[order]
    right = _right(true, ranked, threshold)
    precisions = {}
    for kind in np.unique(true.classes):
        own = ranked.classes == kind
        precisions[int(kind)] = _area_under_curve(right[own], confidences[own], int((true.classes == kind).sum()))
    return precisions


def mean_average_precision(
    true: Objects, detected: Objects, confidences: Float[np.ndarray, " k"], threshold: float = 0.5
) -> float | None:
    """The mean of `average_precision` over the classes that have a true object; `None` where there is no such class."""
    precisions = average_precision(true, detected, confidences, threshold)
    return float(np.mean(list(precisions.values()))) if precisions else None


def _right(true: Objects, ranked: Objects, threshold: float) -> Bool[np.ndarray, " k"]:
    """Which detections, given in order of confidence, find a true object that no earlier one has found."""
    detections, objects = _pairs(ranked, true)
    overlaps = scenes.overlap(ranked.boxes[detections], true.boxes[objects]).ratio
    near = np.flatnonzero(overlaps >= threshold)
    near = near[np.lexsort((-overlaps[near], detections[near]))]  # by rank, then the largest overlap first
    right = np.zeros(len(ranked.boxes), bool)
    taken = np.zeros(len(true.boxes), bool)
    for detection, target in zip(detections[near], objects[near], strict=True):
        if not right[detection] and not taken[target]:
            right[detection] = True
            taken[target] = True
    return right


def _pairs(first: Objects, second: Objects) -> tuple[np.ndarray, np.ndarray]:
    """The places of all pairs of objects of one image and one class: a join, so that memory grows with their number."""
    kinds = np.concatenate([np.stack(objects[:2], axis=1) for objects in (first, second)])
    _, keys = np.unique(kinds, axis=0, return_inverse=True)
    mine, theirs = np.split(keys.reshape(-1), [len(first.images)])
    order = np.argsort(theirs, kind="stable")
    start, stop = (np.searchsorted(theirs[order], mine, side=side) for side in ("left", "right"))
    counts = stop - start
    left = np.repeat(np.arange(len(mine)), counts)
    within = np.arange(len(left)) - np.repeat(np.cumsum(counts) - counts, counts)
    return left, order[start[left] + within]


def _area_under_curve(right: Bool[np.ndarray, " k"], confidences: Float[np.ndarray, " k"], objects: int) -> float:
    """The area under raised precision over recall, of one class's detections in order of confidence."""
    last = np.append(confidences[1:] != confidences[:-1], True)[: len(right)]  # where a run of equal confidences ends
    hits = np.cumsum(right)[last]
    precision = hits / (np.flatnonzero(last) + 1)
    raised = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(hits, prepend=0) * raised).sum() / objects)
