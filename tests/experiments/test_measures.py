"""What experiments measure on a trained network, beside accuracy."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from cnn.config import NetworkConfig, SceneConfig, StudyConfig, TrainingConfig, TrialConfig
from cnn.data import datasets
from cnn.network.heads import HEADS
from cnn.network.summary import Cost
from cnn.progress import Progress
from cnn.study.plan import plan_study
from cnn.study.results import Row, summarize
from cnn.study.run import default_workdir
from cnn.training import tasks, trial
from cnn.training.fit import Session
from cnn.training.folder import Result
from cnn.training.prepared import prepare_trials
from experiments import convolutions, downsampling, features, lenet5, localize, one_by_one, why_convnets
from experiments.command import compiled
from tests.faults.harness import timeless

pytestmark = pytest.mark.thorough

NETWORK = NetworkConfig(blocks=2, width=8, hidden=16)
TRAINING = TrainingConfig(epochs=1, batch_size=256)


@pytest.fixture(scope="module", autouse=True)
def compiled_once(shared_cache):
    with compiled.kept(shared_cache / "measures"):
        yield


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


def config(rate, scene=SceneConfig()):
    return TrialConfig("digits", 0.1, rate, 0, NETWORK, TRAINING, scene)


def outcomes(experiment, configs, data, progress=Progress()):
    """What the trials leave when they are trained together and measured as the experiment does."""
    study = experiment.study(StudyConfig("digits", network=NETWORK, scene=configs[0].scene), data)
    options = trial.Options(measure=study.measure)
    with Session(study.dataset) as session:
        prepared = prepare_trials(configs[0], study.dataset)
        return trial.run_together(session, prepared, configs, options=options, progress=progress)


@pytest.mark.slow
@pytest.mark.parametrize("experiment", [why_convnets, localize, features], ids=lambda module: module.__name__)
def test_a_diverged_neighbour_leaves_the_others_their_measurements(digits, experiment):
    scene = SceneConfig(1 if experiment is localize else 0)
    (alone,) = outcomes(experiment, [config(3e-3, scene)], digits)
    good, bad = outcomes(experiment, [config(3e-3, scene), config(1e30, scene)], digits)
    assert timeless(good.result) == timeless(alone.result)
    assert bad.result.status == "diverged" and not bad.result.measured
    assert len(good.result.measured) >= 2 and bad.result.test_accuracy is None


@pytest.mark.slow
def test_images_that_do_not_move_are_the_test_images(digits):
    (outcome,) = outcomes(why_convnets, [config(3e-3)], digits)
    assert outcome.result.value("moved_0") == outcome.result.test_accuracy
    assert outcome.result.value("moved_1") < outcome.result.value("moved_0")


@pytest.mark.slow
@pytest.mark.parametrize("experiment, steps", [(why_convnets, 1 * 4), (features, 5)])
def test_work_after_training_is_shown(digits, experiment, steps):
    """Of each network. Moved images: four directions of one pixel; features: four kinds and the pictures."""

    class Seen(Progress):
        def __init__(self):
            self.tasks = []

        def task(self, label, total, done=0):
            self.tasks.append(super().task(label, total, done))
            return self.tasks[-1]

    progress = Seen()
    configs = [dataclasses.replace(config(3e-3), seed=seed) for seed in (0, 1)]
    outcomes(experiment, configs, digits, progress)
    for last in progress.tasks[-2:]:
        assert last.label in ("moved test images", "features") and last.done == last.total == steps


def test_a_network_that_sees_nothing_loses_nothing(digits):
    blank = dataclasses.replace(digits, test_images=np.full_like(digits.test_images, 7))
    (outcome,) = outcomes(why_convnets, [config(3e-3)], blank)
    assert outcome.result.value("moved_0") == pytest.approx(outcome.result.value("moved_1"))


@pytest.mark.parametrize("wrong", [0, 1, 2])
def test_objects_that_are_found_are_counted(wrong):
    """Of four scenes of one object each, the boxes of the first `wrong` lie elsewhere."""
    boxes = np.array([[[0.3, 0.3, 0.4, 0.4]]] * 4, np.float32)
    labels = np.arange(4).reshape(4, 1)
    placed = boxes.copy()
    placed[:wrong, 0, :2] = 0.8
    logits = 10 * np.eye(4, dtype=np.float32)[labels]
    values, arrays = localize.measured(
        tasks.Found(jnp.asarray(logits), placed), tasks.Found(labels, boxes), np.zeros((2, 8, 8, 1), np.uint8)
    )
    share = (4 - wrong) / 4
    assert values == pytest.approx({"class_accuracy": 1.0, "mean_iou": share, "average_precision": share})
    assert all(len(value) == 2 for value in arrays.values())


def test_features_by_kind_keep_to_their_own_numbers():
    accuracies = {"learnt filters, 5": 0.7, "pixels, 5": 0.5}
    done = Result("done", val_accuracy=0.9, test_accuracy=0.8, train_seconds=2.0, measured=accuracies)
    hidden = dataclasses.replace(done, test_accuracy=0.6, measured={"hidden units of an MLP, 5": 0.4})
    trials = [
        *(Row("tune", "convnet", rate, 7, Result("done", val_accuracy=rate)) for rate in (1e-3, 3e-3)),
        *(Row("tune", "mlp", rate, 7, Result("done", val_accuracy=-rate)) for rate in (1e-3, 3e-3)),
        Row("compare", "convnet", 3e-3, 0, done),
        Row("compare", "convnet", 3e-3, 1, Result("diverged", train_seconds=2.0)),
        Row("compare", "mlp", 1e-3, 0, hidden),
    ]
    costs = {"learnt filters": Cost(10, 100), "random filters": Cost(10, 100), "hidden units of an MLP": Cost(9, 8)}
    kinds = features.by_kind(trials, (5, 20), costs)
    rows = {(row.variant, row.seed): row for row in kinds if row.phase == "compare"}
    assert len(rows) == 9 and {seed for _, seed in rows} == {0, 1}
    learnt = rows["learnt filters", 0]
    assert [learnt.result.value(name) for name in ("5", "test_accuracy", "parameters")] == [0.7, 0.8, 10]
    units = rows["hidden units of an MLP", 0]
    assert [units.result.value(name) for name in ("5", "test_accuracy", "parameters")] == [0.4, 0.6, 9]
    pixels = rows["pixels", 0]
    assert pixels.result.value("5") == 0.5 and pixels.learning_rate is None
    assert [pixels.result.value(name) for name in ("20", "test_accuracy", "parameters")] == [None, None, None]
    assert rows["random filters", 0].result.parameters == 10
    rates = {summary.variant: (summary.learning_rate, summary.learning_rate_at_edge) for summary in summarize(kinds)}
    assert rates["learnt filters"] == (3e-3, True) and rates["hidden units of an MLP"] == (1e-3, True)
    assert rates["random filters"] == rates["pixels"] == (None, False)


def test_only_features_that_were_learnt_can_have_collapsed():
    """Pixels, components and random filters stand, whatever the training did."""
    measured = {f"{kind}, 5": 0.5 for kind in features.KINDS if kind != features.UNITS_LEARNT}
    collapsed = Result("done", val_accuracy=0.2, test_accuracy=0.2, collapsed=True, measured=measured)
    units = Result(
        "done", val_accuracy=0.9, test_accuracy=0.9, collapsed=False, measured={"hidden units of an MLP, 5": 0.5}
    )
    trials = [Row("compare", "convnet", 1e-3, 0, collapsed), Row("compare", "mlp", 1e-3, 0, units)]
    summaries = summarize(features.by_kind(trials, (5,), {}))
    assert {summary.variant: summary.collapsed for summary in summaries} == {
        "learnt filters": 1,
        "hidden units of an MLP": 0,
        "random filters": 0,
        "principal components": 0,
        "pixels": 0,
    }
    assert [summary.n for summary in summaries] == [0, 1, 1, 1, 1]


def test_hidden_units_of_an_mlp_are_judged_as_filters_are(digits):
    """The MLP learns the same images and classes with equal parameters; its last hidden layer is what is judged."""
    study = features.study(StudyConfig(network=NetworkConfig(width=16)), digits)
    parameters = [prepared.cost.parameters for prepared in plan_study(study).prepared.values()]
    assert len(parameters) == 2 and max(parameters) / min(parameters) <= 1.02
    mlp = dataclasses.replace(config(1e-2), network=study.variants["mlp"])
    with Session(study.dataset) as session:
        options = trial.Options(measure=study.measure)
        (outcome,) = trial.run_together(session, prepare_trials(mlp, study.dataset), [mlp], options=options)
    assert set(outcome.result.measured) == {f"hidden units of an MLP, {k}" for k in (1, 5, 20, 100)}
    assert outcome.result.measured["hidden units of an MLP, 20"] > 0.5


@pytest.mark.parametrize("head", HEADS)
def test_the_cost_of_features_is_that_of_the_layers_before_them(digits, head):
    network = NetworkConfig(blocks=2, width=16, head=head)
    filters = Cost(160 + 4640, 8 * 8 * 9 * 16 + 4 * 4 * 9 * 16 * 32)
    units = Cost(65 * 20 + 21 * 20, 64 * 20 + 20 * 20)
    variants = {"convnet": network, "mlp": NetworkConfig(model="mlp", hidden=20)}
    assert features.costs(variants, digits) == {
        "learnt filters": filters,
        "random filters": filters,
        "hidden units of an MLP": units,
    }


def test_a_setting_that_is_not_varied_has_a_folder_of_its_own(digits):
    for experiment in (why_convnets, localize, downsampling, convolutions, one_by_one):
        scene = SceneConfig(1 if experiment is localize else 0)
        networks = [NetworkConfig(blocks=3, width=width) for width in (16, 32)]
        kind = experiment.EXPERIMENT.config
        configs = [kind(network=network, scene=scene) for network in networks]
        folders = {default_workdir(experiment.study(config, digits)) for config in configs}
        assert len(folders) == 2
    assert default_workdir(lenet5.study(StudyConfig(), digits)).parts[:2] == ("runs", "lenet5")


@pytest.mark.parametrize(
    "name, paper", [("mnist", True), ("mnist:3.0.1", True), ("mnist_corrupted/shot_noise", False), ("mnist.npz", False)]
)
def test_only_the_papers_own_data_stand_beside_its_error(name, paper):
    assert lenet5.is_mnist(name) == paper
