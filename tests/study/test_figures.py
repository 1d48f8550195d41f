"""The picture of an answer: its size, its ink, and that it appears whole or not at all."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from cnn.study import analysis, figures


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
