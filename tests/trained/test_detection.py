"""Boxes and detections against tables worked by hand, plain loops and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_curve

from cnn.trained.detection import Objects, average_precision, mean_average_precision

pytestmark = pytest.mark.thorough

property_test = settings(max_examples=100, deadline=None)
A = (0.25, 0.25, 0.5, 0.5)
B = (0.75, 0.75, 0.5, 0.5)
C = (0.25, 0.75, 0.5, 0.5)  # quarters of the canvas, apart
A_LOW = (0.25, 0.25, 0.4, 0.5)  # inside A, 0.8 of it
A_HALF = (0.25, 0.25, 0.25, 0.5)  # inside A, half of it


def objects(*rows):
    """Objects from (image, class, box)."""
    images, classes, boxes = zip(*rows, strict=True) if rows else ((), (), ())
    return Objects(np.array(images, int), np.array(classes, int), np.array(boxes, float).reshape(-1, 4))


def scored(true, detections, threshold=0.5):
    """Average precision of (confidence, image, class, box)."""
    detected = objects(*(row[1:] for row in detections))
    return average_precision(objects(*true), detected, np.array([row[0] for row in detections], float), threshold)


@pytest.mark.parametrize(
    "true, detections, expected",
    [
        pytest.param([(0, 0, A), (1, 0, B)], [(0.9, 0, 0, A), (0.8, 1, 0, B)], {0: 1.0}, id="perfect"),
        pytest.param([(0, 0, A), (0, 1, B)], [], {0: 0.0, 1: 0.0}, id="nothing detected"),
        pytest.param([], [(0.9, 0, 0, A)], {}, id="nothing to detect"),
        pytest.param([], [], {}, id="nothing at all"),
        pytest.param([(0, 0, A)], [(0.9, 0, 1, A)], {0: 0.0}, id="another class; class 1 has no true object"),
        pytest.param([(0, 0, A)], [(0.9, 1, 0, A)], {0: 0.0}, id="another image"),
        pytest.param([(0, 0, A)], [(0.9, 0, 0, A_HALF)], {0: 1.0}, id="at the threshold"),
        # the duplicate is false, and comes after recall 1: no harm; before the second object: 1/2 x 1 + 1/2 x 2/3
        pytest.param([(0, 0, A)], [(0.9, 0, 0, A), (0.8, 0, 0, A)], {0: 1.0}, id="duplicate after the last object"),
        pytest.param(
            [(0, 0, A), (1, 0, A)], [(0.9, 0, 0, A), (0.8, 0, 0, A), (0.7, 1, 0, A)], {0: 5 / 6}, id="duplicate before"
        ),
        # the surer one takes the object, though the other fits better
        pytest.param([(0, 0, A)], [(0.9, 0, 0, A), (0.95, 0, 0, A_LOW)], {0: 1.0}, id="confidence goes before fit"),
        pytest.param([(0, 0, A)], [(0.9, 0, 0, B), (0.8, 0, 0, A)], {0: 0.5}, id="false one first: precision 1/2"),
        # both detections are nearest to A; the second finds it taken, and A_LOW near enough
        pytest.param(
            [(0, 0, A), (0, 0, A_LOW)], [(0.9, 0, 0, A), (0.8, 0, 0, A)], {0: 1.0}, id="the nearest that is free"
        ),
        pytest.param([(0, 0, A), (0, 0, A)], [(0.9, 0, 0, A), (0.8, 0, 0, A)], {0: 1.0}, id="two objects in one place"),
        # right, false, right, false, right of 4 objects: at the right ones 1, 2/3, 3/5
        pytest.param(
            [(image, 3, A) for image in range(4)],
            [(0.9, 0, 3, A), (0.8, 0, 3, B), (0.7, 1, 3, A), (0.6, 1, 3, B), (0.5, 2, 3, A)],
            {3: (1 + 2 / 3 + 3 / 5) / 4},
            id="a curve with teeth",
        ),
        # precision 0, 1/2, 2/3 at ranks 1 to 3, raised to 2/3
        pytest.param(
            [(0, 0, A), (1, 0, A)], [(9, 0, 0, B), (8, 0, 0, A), (7, 1, 0, A)], {0: 2 / 3}, id="raised to a later point"
        ),
        # one point with 2 of 3 right, whatever their order
        pytest.param(
            [(0, 0, A), (1, 0, A)], [(1, 0, 0, A), (1, 1, 0, A), (1, 1, 0, B)], {0: 2 / 3}, id="tie, the false one last"
        ),
        pytest.param(
            [(0, 0, A), (1, 0, A)],
            [(1, 1, 0, B), (1, 0, 0, A), (1, 1, 0, A)],
            {0: 2 / 3},
            id="tie, the false one first",
        ),
        pytest.param([(0, 0, A), (0, 2, B)], [(0.5, 0, 2, B), (0.9, 0, 0, C)], {0: 0.0, 2: 1.0}, id="two classes"),
    ],
)
def test_average_precision(true, detections, expected):
    assert scored(true, detections) == pytest.approx(expected)
    kinds = [objects(*true), objects(*(row[1:] for row in detections)), np.array([row[0] for row in detections], float)]
    mean = mean_average_precision(*kinds)
    assert mean is None if not expected else mean == pytest.approx(sum(expected.values()) / len(expected))


@pytest.mark.parametrize("threshold, expected", [(0.5, 1.0), (0.8, 1.0), (0.81, 0.0)])
def test_the_threshold(threshold, expected):
    assert scored([(0, 0, A)], [(0.9, 0, 0, A_LOW)], threshold) == {0: expected}


def shared_share(first, second):
    """Intersection over union of two boxes, in plain Python."""
    sides = [
        min(first[axis] + first[axis + 2] / 2, second[axis] + second[axis + 2] / 2)
        - max(first[axis] - first[axis + 2] / 2, second[axis] - second[axis + 2] / 2)
        for axis in (0, 1)
    ]
    shared = max(sides[0], 0.0) * max(sides[1], 0.0)
    return shared / (first[2] * first[3] + second[2] * second[3] - shared)


def by_loops(true, detections, threshold):
    """The definition, one detection and one limit on the confidence at a time."""
    result = {}
    for kind in {row[1] for row in true}:
        mine = [row for row in true if row[1] == kind]
        ranked = sorted((row for row in detections if row[2] == kind), key=lambda row: -row[0])  # stable
        free = list(range(len(mine)))
        right = []
        for _, image, _, box in ranked:
            fits = {place: shared_share(box, mine[place][2]) for place in free if mine[place][0] == image}
            best = max(fits, key=fits.get, default=None)
            right.append(best is not None and fits[best] >= threshold)
            if right[-1]:
                free.remove(best)
        points = []  # (recall, precision) of the detections at least as sure as each limit
        for limit in {row[0] for row in ranked}:
            kept = [hit for hit, row in zip(right, ranked, strict=True) if row[0] >= limit]
            points.append((sum(kept) / len(mine), sum(kept) / len(kept)))
        area = 0.0
        for step in range(1, len(mine) + 1):
            area += max((precision for recall, precision in points if recall >= step / len(mine)), default=0.0)
        result[kind] = area / len(mine)
    return result


coarse = st.sampled_from([0.25, 0.375, 0.5, 0.75])  # so that boxes often overlap by half and more
rough_box = st.tuples(coarse, coarse, coarse, coarse)
truth = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), rough_box), max_size=8)
confidence = st.integers(0, 5)  # many ties
guesses = st.lists(st.tuples(confidence, st.integers(0, 2), st.integers(0, 2), rough_box), max_size=10)


@property_test
@given(truth, guesses, st.sampled_from([0.3, 0.5, 1.0]))
def test_average_precision_against_loops(true, detections, threshold):
    assert scored(true, detections, threshold) == pytest.approx(by_loops(true, detections, threshold))


@property_test
@given(truth, guesses)
def test_only_the_order_of_confidences_counts(true, detections):
    value = scored(true, detections)
    assert all(0 <= precision <= 1 for precision in value.values())
    bent = [(np.exp(row[0]) - 100, *row[1:]) for row in detections]
    assert scored(true, bent) == value


@property_test
@given(truth, st.randoms())
def test_perfect_detections_have_precision_one(true, random):
    detections = [(random.random(), *row) for row in true]
    random.shuffle(detections)
    assert scored(true, detections) == {row[1]: 1.0 for row in true}


@property_test
@given(truth, guesses, st.randoms(), st.permutations(range(3)))
def test_neither_the_order_of_rows_nor_the_names_of_images_count(true, detections, random, names):
    """Where no two detections are equally sure."""
    detections = [(place, *row[1:]) for place, row in enumerate(detections)]
    value = scored(true, detections)
    true = list(true)
    detections = list(detections)
    random.shuffle(detections)
    assert scored(true, detections) == value
    renamed = [(row[0], 10 * names[row[1]], *row[2:]) for row in detections]
    assert scored([(10 * names[row[0]], *row[1:]) for row in true], renamed) == value


@property_test
@given(st.lists(st.tuples(st.booleans(), confidence), min_size=1, max_size=12))
def test_one_box_an_image_is_information_retrieval(rows):
    """Each image holds an object, hit or missed, so scikit-learn's curve, less the images that were missed."""
    true = [(image, 0, A) for image in range(len(rows))]
    detections = [(sure, image, 0, A if hit else B) for image, (hit, sure) in enumerate(rows)]
    hits = sum(hit for hit, _ in rows)
    expected = 0.0
    if hits:
        precision, recall, _ = precision_recall_curve([hit for hit, _ in rows], [sure for _, sure in rows])
        precision = np.maximum.accumulate(precision[:-1])
        recall = recall[:-1]  # both by ascending confidence
        expected = -np.diff(recall, append=0.0) @ precision * hits / len(rows)
    assert scored(true, detections) == pytest.approx({0: expected})
