"""The learning rate that tuning chooses, against hand arithmetic."""

import pandas as pd
import pytest

from cnn.study import tuning
from tests.study.trials import row, tuned


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
    assert tuning.best_learning_rates(tuned(trials)) == {1: (rate, at_edge)}


def test_learning_rate_is_not_chosen_on_test_accuracy():
    results = tuned([(1e-3, 8, 0.9), (1e-2, 8, 0.8)]).assign(test_accuracy=[0.1, 1.0])
    assert tuning.best_learning_rates(results)[1].learning_rate == 1e-3


def test_a_rate_with_a_failed_tuning_trial_ranks_last():
    failed = pd.DataFrame([row("tune", rate=1e-2, seed=9, status="failed")])
    results = pd.concat([tuned([(1e-3, 8, 0.9), (1e-3, 9, 0.9), (1e-2, 8, 0.95)]), failed])
    assert tuning.best_learning_rates(results)[1].learning_rate == 1e-3
