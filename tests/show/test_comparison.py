"""Pictures of comparisons: their ink, whatever has finished, and the numbers and names in them."""

import numpy as np
import pytest

from cnn.show import comparison, style
from cnn.study.comparison import compare
from tests.show.looking import extent, ink, rendered
from tests.show.trials import trials

pytestmark = pytest.mark.thorough

COMPARED = {
    "five seeds": {"max": [0.98, 0.97, 0.99, 0.98, 0.97], "stride": [0.95, 0.96, 0.95, 0.94, 0.95]},
    "one seed": {"max": [0.98], "stride": [0.96]},
    "two seeds whose interval leaves 0 to 100 %": {"max": [0.9, 0.5], "stride": [0.1, 0.3]},
    "a diverged trial": {"max": [0.98, 0.97, 0.99], "stride": [None, 0.9, 0.91]},
    "a variant without a result": {"max": [0.98, 0.97], "stride": [None, None]},
    "no result at all": {"max": [None, None], "stride": [None, None]},
}
COLUMNS = {0: "test_accuracy", 1: "moved_1"}
PANELS = {"test_accuracy": "all right", "moved_1": "moved"}
FORMULA = r"$\frac$"  # as a formula it would be an error


def compared(accuracies):
    """A comparison with one more measurement, and its trials."""
    rows = trials(accuracies)
    return compare(rows, column="pooling", reference=next(iter(accuracies)), others=("moved_1",)), rows


def scenes_of(images, true_boxes, boxes, true_classes, classes):
    return comparison.Scenes(images, true_boxes, np.asarray(true_classes), boxes, np.asarray(classes))


@pytest.mark.slow
@pytest.mark.parametrize("accuracies", COMPARED.values(), ids=COMPARED)
@pytest.mark.parametrize("kind", ["variants", "lines"])
def test_a_comparison_is_drawn_whatever_has_finished(accuracies, kind):
    poolings, rows = compared(accuracies)
    if kind == "variants":
        figure = comparison.variants(poolings, rows, "title")
    else:
        figure = comparison.variants_and_lines(poolings, rows, "title", COLUMNS, "pixels")
    picture = rendered(figure)
    assert picture.shape[1] == 1650 and picture.shape[0] == (390 if kind == "variants" else 600)
    assert (picture < 0.5).all(-1).mean() > 0.002  # ink


def test_only_the_reference_is_blue():
    reference_first, rows = compared(COMPARED["five seeds"])
    reference_last = compare(rows, column="pooling", reference="stride")
    heights = []
    for poolings in (reference_first, reference_last):
        image = rendered(comparison.variants(poolings, rows, "title"))
        blue = np.abs(image - np.array([0x00, 0x72, 0xB2]) / 255).max(axis=-1) < 0.02
        assert blue.sum() > 100
        heights.append(np.bincount(np.nonzero(blue)[0]).argmax())  # the interval is the longest row
    assert heights[1] - heights[0] > 60


def test_true_boxes_are_green_and_found_ones_vermilion():
    poolings, rows = compared(COMPARED["five seeds"])
    boxes = np.array([[[0.5, 0.5, 0.5, 0.5]]] * 3)
    moved = boxes + np.array([0.1, 0.1, 0, 0])
    scene = scenes_of(np.zeros((3, 16, 16, 1), np.uint8), boxes, moved, np.zeros((3, 1), int), np.ones((3, 1), int))
    counts = {}
    for name, shown in {"with": {"max": scene, "stride": scene}, "without": {}}.items():
        image = rendered(comparison.scenes(poolings, rows, "title", PANELS, shown, ("a", "b")))
        counts[name] = [ink(image, colour) for colour in (style.GREEN, style.VERMILION)]
    assert min(counts["with"]) > 1000 and max(counts["without"]) < 100


@pytest.mark.parametrize(
    "accuracies, words",
    [
        ("five seeds", "mean and 95 % interval, n=5"),
        ("one seed", "n=1"),
        ("a diverged trial", "mean and 95 % interval, n=2 to 3"),
        ("a variant without a result", "mean and 95 % interval, n=2"),
    ],
)
def test_the_title_of_a_panel_says_how_many_seeds_there_are(accuracies, words):
    poolings, rows = compared(COMPARED[accuracies])
    figure = comparison.variants(poolings, rows, "title", label="right")
    assert figure.axes[0].get_title(loc="left") == f"right (%)\n{words}"


def test_what_is_marked_on_the_axis_has_its_name():
    poolings, rows = compared(COMPARED["one seed"])
    axes = comparison.variants(poolings, rows, "title", lines={"the paper's": 0.97}).axes[0]
    (text,) = (text for text in axes.texts if text.get_text() == "the paper's")
    assert text.get_position()[0] == 97
    assert any(np.allclose(line.get_xdata(), 97) and line.get_linestyle() == "--" for line in axes.lines)
    low, high = axes.get_xlim()
    assert low < 97 < high


@pytest.mark.parametrize("place", [0.5, 0.97, 0.999])
def test_the_name_of_a_mark_stays_within_its_panel(place):
    poolings, rows = compared({"max": [0.98, 0.97, 0.99], "stride": [0.95, 0.96, 0.95]})
    figure = comparison.variants(poolings, rows, "title", lines={"the paper's result": place})
    rendered(figure)  # which gives the text its place
    axes = figure.axes[0]
    (text,) = (text for text in axes.texts if text.get_text() == "the paper's result")
    left, right = extent(text)
    assert axes.bbox.x0 < left < right < axes.bbox.x1


def test_each_panel_and_each_scene_has_its_number():
    poolings, rows = compared(COMPARED["five seeds"])
    boxes = np.array([[[0.5, 0.25, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]]])
    half_as_wide = boxes * np.array([1, 1, 1, 0.5])
    scene = scenes_of(np.zeros((1, 16, 16, 3), np.uint8), boxes, half_as_wide, [[0, 1]], [[1, 1]])
    figure = comparison.scenes(poolings, rows, "title", PANELS, {"max": scene}, ("cat", "dog"))
    first, second, last = figure.get_axes()
    assert first.get_title(loc="left").startswith("all right (%)")
    assert second.get_title(loc="left").startswith("moved (%)")
    assert [text.get_text() for text in second.texts] == ["48.90", "47.50"]
    assert last.get_xlabel() == "IoU 0.50, 0.50"
    assert [text.get_text() for text in last.texts] == ["cat", "dog", "dog", "dog"]


def test_more_variants_than_colours_all_have_a_line():
    poolings, rows = compared({f"kind {number}": [0.9, 0.91] for number in range(len(comparison.LINES) + 1)})
    figure = comparison.variants_and_lines(poolings, rows, "title", COLUMNS, "x")
    assert len(figure.axes[1].lines) == len(comparison.LINES) + 1


def test_names_are_no_formulas():
    poolings, rows = compared({FORMULA: [0.98, 0.97], "stride": [0.95, 0.96]})
    boxes = np.array([[[0.5, 0.25, 0.5, 0.5]]])
    scene = scenes_of(np.zeros((1, 16, 16, 1), np.uint8), boxes, boxes, [[0]], [[0]])
    pictures = (
        comparison.variants(poolings, rows, FORMULA, FORMULA, {FORMULA: 0.9}),
        comparison.variants_and_lines(poolings, rows, FORMULA, COLUMNS, FORMULA),
        comparison.scenes(poolings, rows, FORMULA, {"test_accuracy": FORMULA}, {FORMULA: scene}, (FORMULA,)),
    )
    for figure in pictures:
        rendered(figure)
        assert figure.get_suptitle() == FORMULA
