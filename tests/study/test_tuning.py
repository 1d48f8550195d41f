"""The learning rate that tuning chooses, against hand arithmetic."""

import dataclasses

import pytest

from cnn.study.results import best_rates, compared
from tests.study.trials import LOG_SPACED, row, tuned


@pytest.mark.parametrize(
    "trials, rate, at_edge",
    [
        pytest.param([(1e-4, 8, 0.9), (1e-3, 8, 0.95), (1e-2, 8, 0.94)], 1e-3, False, id="inside"),
        pytest.param([(1e-4, 8, 0.96), (1e-3, 8, 0.95), (1e-2, 8, 0.94)], 1e-4, True, id="lowest"),
        pytest.param([(1e-4, 8, 0.9), (1e-3, 8, 0.91), (1e-2, 8, 0.94)], 1e-2, True, id="highest"),
        pytest.param([(1e-3, 8, 0.9), (1e-3, 9, 0.8)], 1e-3, False, id="one rate has no edge"),
        # means 0.945 and 0.94: the highest single trial loses
        pytest.param(
            [(1e-3, 8, 0.94), (1e-3, 9, 0.95), (1e-2, 8, 0.99), (1e-2, 9, 0.89)], 1e-3, True, id="mean of seeds"
        ),
        # 0.1 + 0.7 and 0.2 + 0.6 are not equal in floating point (0.7999999999999999 and 0.8); the tie still counts
        pytest.param(
            [(1e-3, 8, 0.1), (1e-3, 9, 0.7), (1e-2, 8, 0.2), (1e-2, 9, 0.6)], 1e-3, True, id="tie: smaller rate"
        ),
        pytest.param(
            [(1e-3, 8, 0.5), (1e-3, 9, 0.5), (1e-2, 8, 0.99), (1e-2, 9, None)], 1e-3, True, id="diverged is last"
        ),
        pytest.param(
            [(1e-3, 8, 0.5), (1e-3, 9, None), (1e-2, 8, 0.6), (1e-2, 9, None)], 1e-2, True, id="each diverged"
        ),
        pytest.param([(1e-2, 8, None), (1e-3, 8, None)], 1e-3, True, id="all diverged"),
    ],
)
def test_best_learning_rate(trials, rate, at_edge):
    assert best_rates(tuned(trials)) == {1: (rate, at_edge)}


def test_learning_rate_is_not_chosen_on_test_accuracy():
    low, high = tuned([(1e-3, 8, 0.9), (1e-2, 8, 0.8)])
    rows = [
        dataclasses.replace(trial, result=dataclasses.replace(trial.result, test_accuracy=accuracy))
        for trial, accuracy in ((low, 0.1), (high, 1.0))
    ]
    assert best_rates(rows)[1].learning_rate == 1e-3


def test_a_rate_with_a_failed_tuning_trial_ranks_last():
    rows = [*tuned([(1e-3, 8, 0.9), (1e-3, 9, 0.9), (1e-2, 8, 0.95)]), row("tune", rate=1e-2, seed=9, status="failed")]
    assert best_rates(rows)[1].learning_rate == 1e-3


@pytest.mark.parametrize("best", range(len(LOG_SPACED)))
def test_every_log_spaced_rate_is_found_again(best):
    rows = tuned([(rate, 8, 0.9 if place == best else 0.5) for place, rate in enumerate(LOG_SPACED)])
    rows += [row(rate=rate, seed=place) for place, rate in enumerate(LOG_SPACED)]
    assert best_rates(rows)[1].learning_rate == LOG_SPACED[best]
    assert [trial.seed for trial in compared(rows)] == [best]
