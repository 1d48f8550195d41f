"""What experiments say of results that are given, as hand arithmetic has it."""

import dataclasses
import math

import pytest

from cnn.config import NetworkConfig, StudyConfig, TrainingConfig
from cnn.data import datasets
from cnn.study.finished import Results
from cnn.study.folder import StudyFolder
from cnn.study.plan import plan_study
from cnn.study.statistics import Estimate
from cnn.training.folder import Result
from experiments import lenet5, one_by_one, sweep_blocks

pytestmark = pytest.mark.thorough


@pytest.fixture
def reported(tmp_path):
    """The report of an experiment on test accuracies by variant and seed; None is a trial that diverged."""

    def report(experiment, accuracies, dataset="digits", **settings):
        data = dataclasses.replace(datasets.load("digits"), name=dataset)
        seeds = max(map(len, accuracies.values()))
        config = StudyConfig(dataset, learning_rates=(1e-3,), seeds=seeds, **settings)
        plan = plan_study(experiment.study(config, data))
        results = {}
        for trial in plan.comparing():
            accuracy = accuracies[trial.variant][trial.config.seed]
            status = "diverged" if accuracy is None else "done"
            results[trial] = Result(status, val_accuracy=accuracy, test_accuracy=accuracy, train_seconds=1.0)
        return experiment.EXPERIMENT.report(Results(plan, StudyFolder(tmp_path), results, {}))

    return report


def test_the_tests_of_one_by_one_are_one_family(reported):
    # Two seeds: p = 1 - 2 atan(t) / pi. Differences of -6 and -7 points: t = -13, p = 0.04888.
    p = 1 - 2 * math.atan(13) / math.pi
    accuracies = {
        "none": [0.9, 0.9],
        "to a half": [0.84, 0.83],
        "to a quarter": [0.9, 0.91],
        "narrower as to a half": [0.91, 0.82],
        "narrower as to a quarter": [0.89, 0.93],
    }
    report = reported(one_by_one, accuracies, network=NetworkConfig(blocks=3, width=16))
    comparisons = [report.answer.comparison, *report.answer.more.values()]
    tests = [variant for comparison in comparisons for variant in comparison.others]
    assert len(tests) == 6 and sorted(variant.p for variant in tests)[0] == pytest.approx(p)
    assert comparisons[0]["to a half"].p_adjusted == pytest.approx(6 * p)
    assert "Worse than" not in report.answer.sentence and f"p = {6 * p:.2g}" in report.answer.sentence


@pytest.mark.parametrize(
    "added, said",
    [((), None), ((0.1,), "extended itself by 0.1: a best"), ((0.1, 0.3), "extended itself by 0.1 and 0.3")],
)
@pytest.mark.parametrize("experiment", [one_by_one, sweep_blocks], ids=["one_by_one", "sweep_blocks"])
def test_a_grid_that_grew_is_said_and_recorded(tmp_path, experiment, added, said):
    config = experiment.EXPERIMENT.config(network=NetworkConfig(blocks=3, width=16), seeds=1)
    plan = plan_study(experiment.study(config, datasets.load("digits")))
    plan = dataclasses.replace(plan, grid=(*plan.grid, *added))
    rates = {variant: (0.01,) for variant in plan.study.variants}
    done = Result("done", val_accuracy=0.9, test_accuracy=0.9, train_seconds=1.0)
    results = {trial: done for trial in (*plan.tuning(), *plan.comparing(rates))}
    rows = {trial: replaced(result, trial, 0.01) for trial, result in results.items()}
    report = experiment.EXPERIMENT.report(Results(plan, StudyFolder(tmp_path), rows, {}))
    assert report.answer.to_json()["learning_rates"] == [1e-3, 3e-3, 1e-2, 3e-2, *added]
    assert said in report.text if said else "extended itself" not in report.text


def replaced(result, trial, best):
    """The result, with a lower validation accuracy at every other rate than the best."""
    return result if trial.config.learning_rate == best else dataclasses.replace(result, val_accuracy=0.5)


def test_no_name_of_a_bottleneck_holds_a_comma():
    """Names stand in lists whose items are parted by commas."""
    variants = one_by_one.study(
        StudyConfig(network=NetworkConfig(blocks=3, width=16)), datasets.load("digits")
    ).variants
    assert len(variants) == 5 and not [name for name in variants if "," in name]


@pytest.mark.parametrize(
    "accuracies, dataset, shift, said",
    [
        # Three seeds of deviation 0.001: the half width is 4.30265 x 0.1 / sqrt 3 = 0.25 points.
        ([0.990, 0.991, 0.992], "mnist", 0, "0.95 %, inside the interval of lenet5_1998"),  # 0.65 to 1.15
        ([0.988, 0.989, 0.990], "mnist", 0, "0.95 %, inside the interval of lenet5_1998"),  # 0.85 to 1.35
        ([0.986, 0.987, 0.988], "mnist", 0, "0.95 %, below the interval of lenet5_1998"),  # 1.05 to 1.55
        ([0.993, 0.994, 0.995], "mnist:3.0.1", 0, "0.95 %, above the interval of lenet5_1998"),  # 0.35 to 0.85
        ([0.986, 0.987, 0.988], "mnist", 1, "0.8 % with distorted images, below the interval of lenet5_1998"),
        ([0.991], "mnist", 0, "0.95 %"),
        ([0.991, 0.991], "mnist", 0, "0.95 %"),  # without variance
        ([0.991, None], "mnist", 0, "0.95 %"),
        ([0.990, 0.991, 0.992], "fashion_mnist", 0, None),
    ],
)
def test_the_papers_error_stands_beside_the_interval_on_its_own_data_alone(reported, accuracies, dataset, shift, said):
    both = {"lenet5_1998": accuracies, "lenet5": [0.5] * len(accuracies)}  # the other network has another interval
    sentence = reported(lenet5, both, dataset, training=TrainingConfig(shift=shift)).answer.sentence
    if said is None:
        assert "paper" not in sentence and "interval of" not in sentence
    else:
        assert f"; the paper's is {said}. All variants" in sentence


def test_an_error_at_the_end_of_an_interval_as_it_is_shown_lies_inside():
    assert lenet5.beside_interval(0.0095, Estimate(3, 0.01, 0.001, 0.009504, 0.011)) == "inside the interval"
