"""Pictures of comparisons: their ink, whatever has finished, and the numbers and names in them."""

import numpy as np
import pytest
from matplotlib.image import imread

from cnn.study import comparison, comparison_figures, figures
from tests.study.test_figures import ink, results

COMPARED = {
    "five seeds": {"max": [0.98, 0.97, 0.99, 0.98, 0.97], "stride": [0.95, 0.96, 0.95, 0.94, 0.95]},
    "one seed": {"max": [0.98], "stride": [0.96]},
    "two seeds whose interval leaves 0 to 100 %": {"max": [0.9, 0.5], "stride": [0.1, 0.3]},
    "a diverged trial": {"max": [0.98, 0.97, 0.99], "stride": [None, 0.9, 0.91]},
    "a variant without a result": {"max": [0.98, 0.97], "stride": [None, None]},
}


def compared(accuracies):
    """A comparison with one more measurement, and its finished trials."""
    trials = results(dict(enumerate(accuracies.values()))).rename(columns={"blocks": "pooling"})
    trials["pooling"] = trials["pooling"].map(dict(enumerate(accuracies)))
    trials["moved_1"] = trials["test_accuracy"] / 2
    found = comparison.compare(trials, by="pooling", reference="max", others=("moved_1",))
    return found, trials[trials["status"] == "done"]


@pytest.mark.parametrize("accuracies", COMPARED.values(), ids=COMPARED)
@pytest.mark.parametrize("kind", ["variants", "lines"])
def test_a_comparison_is_drawn_whatever_has_finished(accuracies, kind, tmp_path):
    found, done = compared(accuracies)
    if kind == "variants":
        comparison_figures.variants(found, done, "title", tmp_path / "a.png")
    else:
        columns = {0: "test_accuracy", 1: "moved_1"}
        comparison_figures.variants_and_lines(found, done, "title", columns, "pixels", tmp_path / "a.png")
    picture = imread(tmp_path / "a.png")[..., :3]
    assert picture.shape[1] == 1650 and picture.shape[0] == (390 if kind == "variants" else 600)
    assert (picture < 0.5).all(-1).mean() > 0.002  # ink


def test_true_boxes_are_green_and_found_ones_vermilion(tmp_path):
    found, done = compared(COMPARED["five seeds"])
    boxes = np.array([[[0.5, 0.5, 0.5, 0.5]]] * 3)
    scene = {
        "scenes": np.zeros((3, 16, 16, 1), np.uint8),
        "true_boxes": boxes,
        "boxes": boxes + np.array([0.1, 0.1, 0, 0]),
        "true_classes": np.zeros((3, 1), int),
        "classes": np.ones((3, 1), int),
    }
    panels = {"test_accuracy": "all right", "moved_1": "moved"}
    for name, shown in {"with": {"max": scene, "stride": scene}, "without": {}}.items():
        comparison_figures.scenes(found, done, "title", panels, shown, ("a", "b"), tmp_path / f"{name}.png")
    shown, hidden = (
        [ink(imread(tmp_path / f"{name}.png")[..., :3], colour) for colour in (figures.GREEN, figures.VERMILION)]
        for name in ("with", "without")
    )
    assert min(shown) > 1000 and max(hidden) < 100


@pytest.fixture
def drawn_figures(monkeypatch):
    """The figures that are written, to look into."""
    kept, real = [], comparison_figures.write_png
    monkeypatch.setattr(comparison_figures, "write_png", lambda figure, path: (kept.append(figure), real(figure, path)))
    return kept


@pytest.mark.parametrize(
    "accuracies, words",
    [
        ("five seeds", "mean and 95% interval, n=5"),
        ("one seed", "n=1"),
        ("a diverged trial", "mean and 95% interval, n=2 to 3"),
        ("a variant without a result", "mean and 95% interval, n=2"),
    ],
)
def test_the_title_of_a_panel_says_how_many_seeds_there_are(accuracies, words, drawn_figures, tmp_path):
    found, done = compared(COMPARED[accuracies])
    comparison_figures.variants(found, done, "title", tmp_path / "a.png", label="right")
    assert drawn_figures[0].axes[0].get_title(loc="left") == f"right (%)\n{words}"


def test_what_is_marked_on_the_axis_has_its_name(drawn_figures, tmp_path):
    comparison_figures.variants(
        *compared(COMPARED["one seed"]), "title", tmp_path / "a.png", lines={"the paper's": 0.97}
    )
    axes = drawn_figures[0].axes[0]
    (text,) = (text for text in axes.texts if text.get_text() == "the paper's")
    assert text.get_position()[0] == 97
    assert any(np.allclose(line.get_xdata(), 97) and line.get_linestyle() == "--" for line in axes.lines)
    low, high = axes.get_xlim()
    assert low < 97 < high


def test_each_panel_and_each_scene_has_its_number(drawn_figures, tmp_path):
    found, done = compared(COMPARED["five seeds"])
    boxes = np.array([[[0.5, 0.25, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]]])
    scene = {
        "scenes": np.zeros((1, 16, 16, 3), np.uint8),
        "true_boxes": boxes,
        "boxes": boxes * np.array([1, 1, 1, 0.5]),  # half as wide
        "true_classes": np.array([[0, 1]]),
        "classes": np.array([[1, 1]]),
    }
    panels = {"test_accuracy": "all right", "moved_1": "moved"}
    comparison_figures.scenes(found, done, "title", panels, {"max": scene}, ("cat", "dog"), tmp_path / "a.png")
    first, second, last = drawn_figures[0].get_axes()
    assert first.get_title(loc="left").startswith("all right (%)")
    assert second.get_title(loc="left").startswith("moved (%)")
    assert [text.get_text() for text in second.texts] == ["48.90", "47.50"]
    assert last.get_xlabel() == "IoU 0.50, 0.50"
    assert [text.get_text() for text in last.texts] == ["cat", "dog", "dog", "dog"]
