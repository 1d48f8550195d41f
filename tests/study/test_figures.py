"""The picture of an answer: its size, its ink, and that it appears whole or not at all."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from cnn.study import analysis, comparison, figures


def results(accuracies):
    """Comparison trials from {depth: [accuracy by seed]}; None is a diverged trial."""
    return pd.DataFrame(
        [
            {
                "phase": "compare",
                "blocks": blocks,
                "learning_rate": 1e-3,
                "seed": seed,
                "val_accuracy": value,
                "test_accuracy": value,
                "status": "diverged" if value is None else "done",
                "parameters": 1000 * (1 + blocks),
                "macs": 50_000 * (1 + blocks),
                "train_seconds": 1.0,
            }
            for blocks, values in accuracies.items()
            for seed, value in enumerate(values)
        ]
    ).astype({"val_accuracy": float, "test_accuracy": float})


def drawn(accuracies, path, **changes):
    trials = results(accuracies).assign(**changes)
    answer = analysis.answer(trials, dataset="mnist", match="width", margin=0.002)
    figures.accuracy_vs_blocks(answer, trials, path)
    return imread(path)[..., :3]


def ink(image, colour):
    """How many pixels have a colour given as #rrggbb."""
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return int((np.abs(image - wanted).max(axis=-1) < 0.02).sum())


@pytest.mark.parametrize(
    "accuracies, recommended, diverged",
    [
        pytest.param({0: [0.94, 0.95], 1: [0.98, 0.985], 2: [0.981, 0.985]}, True, False, id="usual"),
        pytest.param({1: [0.98]}, True, False, id="one depth, one seed"),
        pytest.param({1: [0.97, 0.97], 2: [0.98, None]}, True, True, id="some diverged"),
        pytest.param({1: [None, None], 2: [None, None]}, False, True, id="all diverged"),
    ],
)
def test_picture(accuracies, recommended, diverged, tmp_path):
    path = tmp_path / "accuracy_vs_blocks.png"
    image = drawn(accuracies, path)
    assert image.shape == (900, 1350, 3)
    assert 20_000 < path.stat().st_size < 500_000
    assert image.std() > 0.05
    assert (ink(image, figures.BLUE) > 100) == recommended  # only the recommended depth is blue
    assert (ink(image, figures.PURPLE) > 20) == recommended  # validation means, where a trial finished
    assert (ink(image, figures.VERMILION) > 100) == diverged
    assert ink(image, figures.GREEN) > 100  # cost is known in any case
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_blue_stands_in_the_column_of_the_recommended_depth(tmp_path):
    def middle(accuracies):
        image = drawn(accuracies, tmp_path / "a.png")
        blue = np.abs(image - np.array([0x00, 0x72, 0xB2]) / 255).max(axis=-1) < 0.02
        return np.median(np.nonzero(blue)[1])

    shallow, deep = middle({1: [0.98, 0.985], 2: [0.98, 0.985]}), middle({1: [0.90, 0.91], 2: [0.98, 0.985]})
    assert deep - shallow > 300


def test_same_answer_same_picture(tmp_path):
    accuracies = {1: [0.98, 0.985], 2: [0.98, 0.985]}
    assert np.array_equal(drawn(accuracies, tmp_path / "a.png"), drawn(accuracies, tmp_path / "b.png"))


def test_unknown_costs_are_left_out(tmp_path):
    image = drawn({1: [0.98, 0.985]}, tmp_path / "a.png", parameters=np.nan, macs=np.nan)
    assert ink(image, figures.GREEN) == 0 and ink(image, figures.BLUE) > 100


def test_other_variants(tmp_path):
    trials = results({1: [0.98, 0.985], 2: [0.98, 0.985]}).rename(columns={"blocks": "pooling"})
    trials["pooling"] = trials["pooling"].map({1: "max", 2: "average"})
    answer = analysis.answer(trials, dataset="mnist", match="width", margin=0.002, by="pooling")
    figures.accuracy_vs_blocks(answer, trials, tmp_path / "a.png")
    assert ink(imread(tmp_path / "a.png")[..., :3], figures.BLUE) > 100


def test_failed_write_leaves_the_old_picture(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    monkeypatch.setattr(Figure, "savefig", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        figures.write_png(Figure(), path)
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


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
        figures.variants(found, done, "title", tmp_path / "a.png")
    else:
        columns = {0: "test_accuracy", 1: "moved_1"}
        figures.variants_and_lines(found, done, "title", columns, "pixels", tmp_path / "a.png")
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
        figures.scenes(found, done, "title", panels, shown, ("a", "b"), tmp_path / f"{name}.png")
    shown, hidden = (
        [ink(imread(tmp_path / f"{name}.png")[..., :3], colour) for colour in (figures.GREEN, figures.VERMILION)]
        for name in ("with", "without")
    )
    assert min(shown) > 1000 and max(hidden) < 100


@pytest.fixture
def drawn_figures(monkeypatch):
    """The figures that are written, to look into."""
    kept, real = [], figures.write_png
    monkeypatch.setattr(figures, "write_png", lambda figure, path: (kept.append(figure), real(figure, path)))
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
    figures.variants(found, done, "title", tmp_path / "a.png", label="right")
    assert drawn_figures[0].axes[0].get_title(loc="left") == f"right (%)\n{words}"


def test_what_is_marked_on_the_axis_has_its_name(drawn_figures, tmp_path):
    figures.variants(*compared(COMPARED["one seed"]), "title", tmp_path / "a.png", lines={"the paper's": 0.97})
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
    figures.scenes(found, done, "title", panels, {"max": scene}, ("cat", "dog"), tmp_path / "a.png")
    first, second, last = drawn_figures[0].get_axes()
    assert first.get_title(loc="left").startswith("all right (%)")
    assert second.get_title(loc="left").startswith("moved (%)")
    assert [text.get_text() for text in second.texts] == ["48.90", "47.50"]
    assert last.get_xlabel() == "IoU 0.50, 0.50"
    assert [text.get_text() for text in last.texts] == ["cat", "dog", "dog", "dog"]
