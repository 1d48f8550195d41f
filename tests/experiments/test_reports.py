"""What experiments say of results that are given, as hand arithmetic has it."""

import dataclasses
import math

import pytest

from cnn.config import NetworkConfig, StudyConfig
from cnn.data import datasets
from cnn.study.folder import StudyFolder
from cnn.study.plan import plan_study
from cnn.study.run import Results
from cnn.training.folder import Result
from experiments import one_by_one

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
        "narrower, as to a half": [0.91, 0.82],
        "narrower, as to a quarter": [0.89, 0.93],
    }
    report = reported(one_by_one, accuracies, network=NetworkConfig(blocks=3, width=16))
    comparisons = [report.answer.comparison, *report.answer.more.values()]
    tests = [variant for comparison in comparisons for variant in comparison.others]
    assert len(tests) == 6 and sorted(variant.p for variant in tests)[0] == pytest.approx(p)
    assert comparisons[0]["to a half"].p_adjusted == pytest.approx(6 * p)
    assert "Worse than" not in report.answer.sentence and f"p = {6 * p:.2g}" in report.answer.sentence
