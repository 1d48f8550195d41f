"""What experiments measure on a trained network, beside accuracy."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from cnn.config import ConvNetConfig, ExperimentConfig, NetworkConfig, SceneConfig, TrainingConfig, TrialConfig
from cnn.data import datasets
from cnn.network.summary import Cost
from cnn.progress import Progress
from cnn.training import tasks, trial
from experiments import downsampling, features, lenet5, localize, one_by_one, why_convnets

NETWORK = NetworkConfig(blocks=2, width=8, hidden=16)
TRAINING = TrainingConfig(epochs=1, batch_size=256)


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


def config(rate, scene=SceneConfig()):
    return TrialConfig("digits", 0.1, rate, 0, NETWORK, TRAINING, scene)


@pytest.mark.parametrize("experiment", [why_convnets, localize, features], ids=lambda module: module.__name__)
def test_a_diverged_neighbour_leaves_the_others_their_measurements(digits, experiment):
    scene, data = SceneConfig(1 if experiment is localize else 0), digits
    if experiment is features:
        classes = features.halves(digits)
        data, measure = classes.known, features.study(ExperimentConfig(network=ConvNetConfig()), classes).measure
    else:
        measure = {why_convnets: why_convnets.moved_accuracies, localize: localize.measure}[experiment]
    alone = trial.run_together([config(3e-3, scene)], data, measure=measure)[0]
    good, bad = trial.run_together([config(3e-3, scene), config(1e30, scene)], data, measure=measure)
    timeless = {name: value for name, value in good.items() if name != "train_seconds"}
    assert timeless == {name: value for name, value in alone.items() if name != "train_seconds"}
    assert bad["status"] == "diverged" and not (good.keys() - bad.keys()) & bad.keys()
    assert len(good.keys() - bad.keys()) >= 2 and bad["test_accuracy"] is None


def test_images_that_do_not_move_are_the_test_images(digits):
    result = trial.run_together([config(3e-3)], digits, measure=why_convnets.moved_accuracies)[0]
    assert result["moved_0"] == result["test_accuracy"]
    assert result["moved_1"] < result["moved_0"]


@pytest.mark.parametrize("experiment, steps", [(why_convnets, 1 * 4), (features, 2 * 5)])
def test_work_after_training_is_shown(digits, experiment, steps):
    """Moved images: four directions of one pixel; features: four kinds and the pictures, of two networks."""

    class Seen(Progress):
        def __init__(self):
            self.tasks = []

        def task(self, label, total, done=0):
            self.tasks.append(super().task(label, total, done))
            return self.tasks[-1]

    data, measure, progress = digits, why_convnets.moved_accuracies, Seen()
    if experiment is features:
        classes = features.halves(digits)
        data, measure = classes.known, features.study(ExperimentConfig(network=ConvNetConfig()), classes).measure
    configs = [dataclasses.replace(config(3e-3), seed=seed) for seed in (0, 1)]
    trial.run_together(configs, data, measure=measure, progress=progress)
    last = progress.tasks[-1]
    assert last.label in ("moved test images", "features") and last.done == last.total == steps


def test_a_network_that_sees_nothing_loses_nothing(digits):
    blank = dataclasses.replace(digits, test_images=np.full_like(digits.test_images, 7))
    result = trial.run_together([config(3e-3)], blank, measure=why_convnets.moved_accuracies)[0]
    assert result["moved_0"] == pytest.approx(result["moved_1"])


@pytest.mark.parametrize("wrong", [0, 1, 2])
def test_objects_that_are_found_are_counted(wrong):
    """Of four scenes of one object each, the boxes of the first `wrong` lie elsewhere."""
    boxes = np.array([[[0.3, 0.3, 0.4, 0.4]]] * 4, np.float32)
    labels = np.arange(4).reshape(4, 1)
    found = boxes.copy()
    found[:wrong, 0, :2] = 0.8
    logits = 10 * np.eye(4, dtype=np.float32)[labels]
    values, arrays = localize._measured(
        tasks.Found(jnp.asarray(logits), found), tasks.Found(labels, boxes), np.zeros((2, 8, 8, 1), np.uint8)
    )
    share = (4 - wrong) / 4
    assert values == pytest.approx({"class_accuracy": 1.0, "mean_iou": share, "average_precision": share})
    assert all(len(value) == 2 for value in arrays.values())


def test_features_by_kind_keep_to_their_own_numbers():
    trials = pd.DataFrame(
        {
            "phase": "compare",
            "seed": [0, 1],
            "status": ["done", "diverged"],
            "learning_rate": 3e-3,
            "val_accuracy": [0.9, None],
            "test_accuracy": [0.8, None],
            "train_seconds": [2.0, 2.0],
            "learnt filters, 5": [0.7, None],
            "pixels, 5": [0.5, None],
        }
    )
    rows = features.by_kind(trials, (5, 20), Cost(10, 100)).set_index(["features", "seed"])
    assert rows.loc[("learnt filters", 0), ["5", "test_accuracy", "parameters"]].tolist() == [0.7, 0.8, 10]
    assert rows.loc[("pixels", 0), "5"] == 0.5
    assert rows.loc[("pixels", 0), ["20", "test_accuracy", "learning_rate", "parameters"]].isna().all()
    assert rows.loc[("random filters", 0), "parameters"] == 10 and len(rows) == 8


def test_the_cost_of_features_is_that_of_the_layers_before_them(digits):
    config = ExperimentConfig(network=ConvNetConfig(blocks=2, width=16))
    assert features.frozen_cost(config, digits) == Cost(160 + 4640, 8 * 8 * 9 * 16 + 4 * 4 * 9 * 16 * 32)


def test_a_setting_that_is_not_varied_has_a_folder_of_its_own(digits):
    for experiment in (why_convnets, localize, downsampling, one_by_one):
        kind = localize.LocalizeConfig if experiment is localize else ExperimentConfig
        folders = {
            experiment.study(kind(network=ConvNetConfig(blocks=3, width=width)), digits).default_workdir()
            for width in (16, 32)
        }
        assert len(folders) == 2
    assert lenet5.study(ExperimentConfig()).default_workdir().parts[:2] == ("runs", "lenet5")


@pytest.mark.parametrize(
    "name, paper", [("mnist", True), ("mnist:3.0.1", True), ("mnist_corrupted/shot_noise", False), ("mnist.npz", False)]
)
def test_only_the_papers_own_data_stand_beside_its_error(name, paper):
    assert lenet5.is_mnist(name) == paper
